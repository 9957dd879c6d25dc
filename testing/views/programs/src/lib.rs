//! What the programs read, for them and for those who load them.

#![cfg_attr(target_arch = "bpf", no_std)]

use gabion_view::{Address, KernelView};

/// A task, as it is on any kernel.
#[derive(Clone, Copy, Debug, KernelView)]
#[view(of = "task_struct")]
pub struct Task {
    /// Thread.
    pub pid: i32,
    /// Process.
    pub tgid: i32,
    /// Name of the program, ended by a NUL.
    pub comm: [u8; 16],
    /// Nanoseconds since the machine started.
    #[view(path = "start_boottime | real_start_time")]
    pub start: u64,
    /// Pages of its memory.
    #[view(path = "mm->total_vm")]
    pub total_vm: u64,
    /// Whose child it is.
    #[view(path = "real_parent->tgid")]
    pub parent: i32,
    /// Its credentials.
    pub cred: Address,
    /// The user whose it is.
    #[view(path = "real_cred->uid.val")]
    pub uid: u32,
    /// Its cgroup.
    #[view(path = "cgroups->dfl_cgrp->kn->id")]
    pub cgroup: u64,
    /// It is replacing its program.
    #[view(bits)]
    pub in_execve: u8,
    /// No kernel has it.
    #[view(path = "gabion_was_here", optional)]
    pub absent: Option<u64>,
    /// Every kernel that we support has it.
    #[view(exists = "function bpf_loop")]
    pub has_function: bool,
    /// See [`Task::absent`].
    #[view(exists = "function gabion_was_here")]
    pub has_no_function: bool,
    /// Since 6.6.
    #[view(exists = "value bpf_attach_type.BPF_TCX_EGRESS")]
    pub has_tcx: bool,
    /// See [`Task::absent`].
    #[view(exists = "value bpf_attach_type.BPF_GABION")]
    pub has_no_value: bool,
    /// Every kernel has it.
    #[view(exists = "type struct bpf_iter__task")]
    pub has_type: bool,
    /// See [`Task::absent`].
    #[view(exists = "type struct gabion_was_here")]
    pub has_no_type: bool,
}

/// What a program saw of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Child {
    /// See [`Task`].
    pub start: u64,
    /// See [`Task`].
    pub total_vm: u64,
    /// See [`Task`].
    pub cgroup: u64,
    /// See [`Task`].
    pub parent: i32,
    /// See [`Task`].
    pub uid: u32,
    /// See [`Task`].
    pub comm: [u8; 16],
}

/// What a program saw, in memory that it shares with the host.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Seen {
    /// How often.
    pub count: u64,
    /// See [`Task`].
    pub start: u64,
    /// See [`Task`].
    pub total_vm: u64,
    /// See [`Task`].
    pub cred: u64,
    /// See [`Task`].
    pub pid: i32,
    /// See [`Task`].
    pub tgid: i32,
    /// See [`Task`].
    pub parent: i32,
    /// See [`Task`].
    pub in_execve: u32,
    /// Bit 0 if there was one; what there was in the next six, in order.
    pub there: u64,
    /// See [`Task`].
    pub comm: [u8; 16],
}
