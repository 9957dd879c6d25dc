//! Whose sockets there are: what the programs that follow sockets leave for the agent.

use crate::contract::Contract;
use crate::facts::Address;

/// The process that made a socket, or listened where it came from.
#[repr(C)]
#[derive(Contract, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// When the process began, nanoseconds since the machine started. With the number it names the process for good.
    #[contract(unit = "ns")]
    pub start_ns: u64,
    /// Its cgroup (version 2): the number that the kernel gives it, and that of the folder's inode.
    pub cgroup: u64,
    /// Its number in the first namespace of processes, as the node sees it; 0 when more than one may own the socket.
    pub pid: u32,
    /// Explicit padding.
    pub padding: u32,
    /// Name of its program as `/proc/PID/comm` has it, ended by a NUL.
    pub comm: [u8; 16],
}

/// Where somebody listens.
#[repr(C)]
#[derive(Contract, Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenKey {
    /// Address of the network namespace in the kernel: compared, never followed.
    pub namespace: u64,
    /// The address, all zero for any.
    pub address: Address,
    /// The port.
    pub port: u16,
    /// Family of the socket as the kernel numbers it, which for IPv6 may take IPv4, too.
    pub family: u16,
    /// Explicit padding.
    pub padding: u32,
}

/// Who listens there.
#[repr(C)]
#[derive(Contract, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The process; its number is 0 when several share the port, as each of them may get the next connection.
    pub owner: Owner,
    /// How many sockets listen there.
    pub sockets: u32,
    /// Explicit padding.
    pub padding: u32,
}
