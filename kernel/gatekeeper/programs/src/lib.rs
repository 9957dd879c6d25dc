//! What the programs read of kernel types, for them and for those who load them.

#![cfg_attr(target_arch = "bpf", no_std)]

use gabion_view::{KernelView, View};

/// The program that a task runs.
#[derive(Clone, Copy, Debug, KernelView)]
#[view(of = "task_struct")]
pub struct Task {
    /// Inode of the file.
    #[view(path = "mm->exe_file->f_inode->i_ino")]
    pub inode: u64,
    /// Device of that.
    #[view(path = "mm->exe_file->f_inode->i_sb->s_dev")]
    pub device: u32,
    /// Name of the process's program, ended by a NUL.
    #[view(path = "group_leader->comm")]
    pub comm: [u8; 16],
}

/// A BPF program.
#[derive(Clone, Copy, Debug, KernelView)]
#[view(of = "bpf_prog")]
pub struct Program {
    /// Eight bytes of what its instructions amount to.
    pub tag: [u8; 8],
    /// All of it, where the kernel keeps that (Linux 6.18).
    #[view(optional)]
    pub digest: Option<[u8; 32]>,
}

/// A BPF map.
#[derive(Clone, Copy, Debug, KernelView)]
#[view(of = "bpf_map")]
pub struct Map {
    /// Its number.
    pub id: u32,
}

/// All of them.
pub const VIEWS: [View<'static>; 3] = [Task::VIEW, Program::VIEW, Map::VIEW];
