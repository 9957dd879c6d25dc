//! What the programs read of kernel types, for them and for those who load them.

#![cfg_attr(target_arch = "bpf", no_std)]

use gabion_view::{Address, KernelView, View};

/// The process of a task.
#[derive(Clone, Copy, Debug, KernelView)]
#[view(of = "task_struct")]
pub struct Task {
    /// Its number in the first namespace.
    pub tgid: i32,
    /// Name of its program, ended by a NUL.
    #[view(path = "group_leader->comm")]
    pub comm: [u8; 16],
    /// When it began, nanoseconds since the machine started.
    #[view(path = "group_leader->start_boottime")]
    pub start_ns: u64,
    /// Its cgroup.
    #[view(path = "cgroups->dfl_cgrp->kn->id")]
    pub cgroup: u64,
}

/// Where a socket is bound.
#[derive(Clone, Copy, Debug, KernelView)]
#[view(of = "inet_sock")]
pub struct Socket {
    /// `AF_INET` or `AF_INET6`.
    #[view(path = "sk.__sk_common.skc_family")]
    pub family: u16,
    /// State of a TCP socket.
    #[view(path = "sk.__sk_common.skc_state")]
    pub state: u8,
    /// Its own port as packets have it. Unlike the one that the kernel looks sockets up by it stays when the socket is
    /// closed.
    #[view(path = "inet_sport")]
    pub port: u16,
    /// Its network namespace.
    #[view(path = "sk.__sk_common.skc_net.net")]
    pub namespace: Address,
    /// Its own address, if that is of IPv4, as it is in packets.
    #[view(path = "sk.__sk_common.skc_rcv_saddr")]
    pub v4: u32,
    /// The same of IPv6, which a kernel can do without.
    #[view(path = "sk.__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr8", optional)]
    pub v6: Option<[u8; 16]>,
}

/// What a file that is a socket is.
#[derive(Clone, Copy, Debug, KernelView)]
#[view(of = "socket")]
pub struct File {
    /// The socket of the protocol. A `struct inet_sock` begins with it.
    pub sk: Address,
}

/// All of them.
pub const VIEWS: [View<'static>; 3] = [Task::VIEW, Socket::VIEW, File::VIEW];
