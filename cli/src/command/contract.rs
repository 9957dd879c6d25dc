//! `gabion contract ...`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::OutputArgs;

/// What can be done with contracts.
#[derive(Debug, Subcommand)]
pub enum ContractCommand {
    /// Name every record with its size and the digest of its contract
    List(ListArgs),
    /// Name every field that two sides lay out differently, the first first
    Diff(DiffArgs),
    /// Write contracts for others: as text, as a C header or as JSON Schema
    Export(ExportArgs),
}

/// `gabion contract list`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gabion contract list
  gabion contract list --output json old-programs.o")]
pub struct ListArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub of: OfArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}

/// `gabion contract diff`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gabion contract diff programs.o                # does this gabion take what those programs share?
  gabion contract export > 1.0.contracts         # with one version, and with the next:
  gabion contract diff 1.0.contracts --output json

Exit codes: 0 they say the same, 1 they do not, 2 one of them cannot be read")]
pub struct DiffArgs {
    /// A text that export wrote, or an object with one in it; - is stdin
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Another one, of which FILE says what is expected [default: FILE is what is found, and this gabion expects]
    #[arg(value_name = "FOUND")]
    pub found: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}

/// `gabion contract export`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gabion contract export > gabion.contracts
  gabion contract export --format c > gabion.h
  gabion contract export --format json-schema --set state")]
pub struct ExportArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub of: OfArgs,
    /// What to write
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: ExportFormat,
}

/// Whose contracts.
#[derive(Debug, Args)]
pub struct OfArgs {
    /// A text that export wrote, or an object with one in it; - is stdin [default: this gabion]
    #[arg(value_name = "FILE", conflicts_with = "set")]
    pub file: Option<PathBuf>,
    /// Which of this gabion's
    #[arg(long, value_name = "SET", default_value = "object")]
    pub set: ContractSet,
}

/// What this gabion says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ContractSet {
    /// What kernel programs and agent share
    Object,
    /// What outlives a generation, pinned
    State,
    /// What the programs that follow sockets and the agent share
    Owners,
    /// What the gatekeeper and the agent share
    Gatekeeper,
}

/// How contracts are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// The canonical text, which diff reads
    Text,
    /// JSON Schema of the records as JSON objects
    JsonSchema,
    /// A header for C11 that asserts every size and place
    C,
}
