//! `gabion btf ...`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::OutputArgs;

/// What can be done with kernel types.
#[derive(Debug, Subcommand)]
pub enum BtfCommand {
    /// Show a kernel type as C declares it, with places and sizes
    Show(ShowArgs),
    /// Say where the fields are that kernel programs read
    Bind(BindArgs),
    /// Write the few types that kernel programs need as a file of their own
    Extract(ExtractArgs),
}

/// Whose types.
#[derive(Debug, Args)]
pub struct TypesArgs {
    /// A file of types: BTF, or ELF with a section .BTF [default: of the kernel that runs]
    #[arg(long, value_name = "FILE")]
    pub btf: Option<PathBuf>,
    /// The types that those of a module stand on [default: of the kernel that runs, for its own modules]
    #[arg(long, value_name = "FILE", requires = "btf")]
    pub base: Option<PathBuf>,
}

/// `gabion btf show`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gabion btf show task_struct
  gabion btf show 'union bpf_attr' --btf vmlinux-6.1.btf
  gabion btf show nf_conn --btf /sys/kernel/btf/nf_conntrack

Before each member stand its place in bytes and its size; of a bit-field byte:bit, and its bits with a b. All types \
of that name are shown.

Exit codes: 0 shown, 2 there is no such type, or the types cannot be read")]
pub struct ShowArgs {
    /// The name of a struct, union, enum or typedef; with its kind in front, of that kind alone
    #[arg(value_name = "TYPE")]
    pub name: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub types: TypesArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}

/// `gabion btf bind`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gabion btf bind
  gabion btf bind --object programs.o --btf vmlinux-6.1.btf

Arrows stand for pointers that are followed. Of a bit-field, the place of what is read is followed by the bits below it.

Exit codes: 0 all fields fit or may be absent, or there are none; 1 a field does not fit; 2 something cannot be read")]
pub struct BindArgs {
    /// An object of kernel programs; - is stdin [default: this gabion]
    #[arg(long, value_name = "FILE")]
    pub object: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub types: TypesArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}

/// `gabion btf extract`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gabion btf extract --for programs.o -o kernels/6.18.btf
  gabion btf extract --for programs.o --btf vmlinux-6.1 -o kernels/6.1.btf

`gabion abi check --kernels kernels` then says on which of them the programs can be loaded.")]
pub struct ExtractArgs {
    /// An object of kernel programs; - is stdin [default: this gabion]
    #[arg(long = "for", value_name = "OBJECT")]
    pub object: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub types: TypesArgs,
    /// Where to; - is stdout
    #[arg(long, short = 'o', value_name = "FILE")]
    pub to: PathBuf,
}
