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

Exit codes: 0 compatible, 1 breaking, 5 compatible with a migration, 2 one of them cannot be read")]
pub struct AbiCheckArgs {
    /// The version before: a lock, or an object of kernel programs; - is stdin [default: abi.lock]
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
    /// NEW, or OLD NEW: a lock or an object each [default: NEW is this gabion]
    #[arg(value_name = "FILE", num_args = 0..=2)]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}
