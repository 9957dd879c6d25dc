//! The one table of flags: parser, help, man pages and completions come from here.

mod abi;
mod btf;
mod bundle;
mod contract;
mod explain;
mod key;
mod policy;
mod trust;

use std::path::PathBuf;

use clap::builder::Styles;
use clap::builder::styling::AnsiColor;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

pub use crate::online::OnlineCommand;
pub use crate::output::Format;
pub use abi::{AbiCheckArgs, AbiCommand, LockArgs};
pub use btf::{BindArgs, BtfCommand, ExtractArgs, ShowArgs, TypesArgs};
pub use bundle::{BuildArgs, BundleCommand, InspectArgs, PublishArgs, SignBundleArgs, VerifyArgs};
pub use contract::{ContractCommand, ContractSet, DiffArgs, ExportArgs, ExportFormat, ListArgs, OfArgs};
pub use explain::ExplainArgs;
pub use key::{KeyAlgorithm, KeyCommand, NewKeyArgs, PassphraseArgs, ShowKeyArgs, SigningKeyArgs};
pub use policy::{
    CheckArgs, ClassbenchActions, CompileArgs, ImportArgs, ImportLanguage, Kind, PolicyCommand, PolicyDiffArgs,
    SchemaArgs, TestArgs,
};

pub use trust::{InitArgs, RotateArgs, ShowTrustArgs, SignTrustArgs, TrustCommand};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const EXIT_CODES: &str = "\
Exit codes:
  0  fine, or the answer is yes
  1  the answer is no (denied, a test failed, lints with --deny-warnings)
  2  what was given is wrong (arguments, policy, question)
  3  the system refused (permissions, disk, kernel)
  4  a defect of gabion
  5  the answer is yes, with a migration (abi check)
  6  held back: generations are pinned, or it failed before (apply, generation)
  7  refused: signatures, versions, time or contents of a bundle (generation apply)";

/// Typed network policy for the nodes that run power, water and transport.
#[derive(Debug, Parser)]
#[command(name = "gabion", version, styles = STYLES, after_help = EXIT_CODES, propagate_version = true)]
#[command(disable_help_subcommand = true, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What gabion can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check, compile, test and import policy
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Say whether a packet passes, which rule decides, and what would have let it pass
    #[command(long_about = explain::ABOUT)]
    Explain(Box<ExplainArgs>),
    /// List, compare and export the layouts of records that kernel programs, agent and others share
    #[command(subcommand)]
    Contract(ContractCommand),
    /// Lock what kernel programs share with others, and say whether a change of it is compatible
    #[command(subcommand)]
    Abi(AbiCommand),
    /// Show kernel types, and where on a kernel the fields are that kernel programs read
    #[command(subcommand)]
    Btf(BtfCommand),
    /// Make keys that sign
    #[command(subcommand)]
    Key(KeyCommand),
    /// Say who may sign what runs on the nodes of a site
    #[command(subcommand)]
    Trust(TrustCommand),
    /// Make, sign, publish and check what nodes are given to run
    #[command(subcommand)]
    Bundle(BundleCommand),
    /// Say what this node lacks, and what of gabion was left behind in its kernel
    Doctor(DoctorArgs),
    /// Commands that start an agent or talk to one
    #[command(flatten)]
    Online(OnlineCommand),
    /// Print completions for a shell
    #[command(after_help = "Examples:\n  gabion completions bash > /etc/bash_completion.d/gabion")]
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// `gabion doctor`.
#[derive(Clone, Copy, Debug, Args)]
#[command(after_help = "\
Looked at: types of the kernel, a bpffs, tcx, the JIT, who may load programs, membarrier, security modules, the clock, \
signatures of programs. Then every program, map and link that is named as gabion's, every bpffs that a process sees, \
and who holds descriptors: whose folder each belongs to, and which belong to none.

Examples:
  gabion doctor
  gabion doctor --output json

Exit codes: 0 all is well, 1 something was left behind, or nothing works without what is needed, 3 the kernel shows \
nothing (not root)")]
pub struct DoctorArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}

/// How facts are printed.
#[derive(Clone, Copy, Debug, Args)]
pub struct OutputArgs {
    /// For people (table) or for programs
    #[arg(long, short = 'o', value_name = "FORMAT", default_value = "table")]
    pub output: Format,
}

/// Paths of policy text.
#[derive(Clone, Debug, Args)]
pub struct PolicyPaths {
    /// Files or folders of policy; - is stdin
    ///
    /// A folder stands for all *.yaml and *.yml below it, sorted by path. Hidden files and folders are passed over,
    /// and so are policy tests (*.test.yaml, or kind: PolicyTest). Links are followed, to a
    /// folder once.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}
