//! `gabion abi ...`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::OutputArgs;

/// What can be done about layouts from one version to the next.
#[derive(Debug, Subcommand)]
pub enum AbiCommand {
    /// Write down what is shared: records, maps, variables and numbers
    Lock(LockArgs),
    /// Say whether a version is compatible with the one before, and by which rule each change is or is not
    Check(AbiCheckArgs),
}

/// `gabion abi lock`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gabion abi lock                          # of this gabion, into abi.lock
  gabion abi lock programs.o --to -        # of any BPF object with types (clang -g), to stdout")]
pub struct LockArgs {
    /// An object of kernel programs; - is stdin [default: this gabion]
    #[arg(value_name = "OBJECT")]
    pub object: Option<PathBuf>,
    /// Where to; - is stdout
    #[arg(long, value_name = "FILE", default_value = "abi.lock")]
    pub to: PathBuf,
}

/// `gabion abi check`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gabion abi check                         # abi.lock, and this gabion
  gabion abi check --against v1/abi.lock
  gabion abi check --against programs.lock programs.o
  gabion abi check old.o new.o             # of any BPF objects with types (clang -g)
  gabion abi check --kernels btf/kernels   # what the programs read, on each of those kernels

Of a kernel, a field *fits* where the first kernel that has it has it, *moved* from there (which is put right before \
the programs are loaded), is *absent* and may be, or *changed*: the programs cannot be loaded.

Exit codes: 0 compatible, 1 breaking, 5 compatible with a migration, 2 one of them cannot be read")]
pub struct AbiCheckArgs {
    /// The version before: a lock, or an object of kernel programs; - is stdin [default: abi.lock]
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
    /// NEW, or OLD NEW: a lock or an object each [default: NEW is this gabion]
    #[arg(value_name = "FILE", num_args = 0..=2)]
    pub files: Vec<PathBuf>,
    /// Hold what kernel programs read to the kernels whose types are in this folder (*.btf), instead
    #[arg(long, value_name = "DIR", conflicts_with_all = ["against", "files"])]
    pub kernels: Option<PathBuf>,
    /// With --kernels: an object of kernel programs; - is stdin [default: this gabion]
    #[arg(long, value_name = "FILE", requires = "kernels")]
    pub object: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}
