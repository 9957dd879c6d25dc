//! `gabion trust ...`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{OutputArgs, SigningKeyArgs};

/// What can be done with the site's metadata.
#[derive(Debug, Subcommand)]
pub enum TrustCommand {
    /// Begin the folder: say who has which role, and how many of them have to sign
    Init(InitArgs),
    /// Show who has which role, what is in force, and what waits for whose signature
    Show(ShowTrustArgs),
    /// Sign what waits for this key
    Sign(SignTrustArgs),
    /// Give a role other keys, another threshold, or the same for longer
    Rotate(RotateArgs),
}

const ROLES: &str = "\
Roles: root says who root, targets and publisher are; targets says who release, policy and emergency are; publisher \
says what is current; release signs programs and plugins, policy signs bundles, emergency signs bundles of policy alone.

Nothing is in force before enough have signed it: `gabion trust sign`, each where their key is, with the folder \
carried from one to the next.";

/// `gabion trust init`.
#[derive(Debug, Args)]
#[command(after_help = format!("\
Examples:
  gabion trust init site-trust --role root=2:anna.pub,bert.pub,carl.pub --role targets=2:anna.pub,bert.pub \\
    --role publisher=1:server.pub --role release=2:dora.pub,emil.pub --role policy=2:anna.pub,bert.pub,carl.pub \\
    --role emergency=1:anna.pub,bert.pub,carl.pub

{ROLES}"))]
pub struct InitArgs {
    /// The folder, which must not be there yet, or be empty
    #[arg(value_name = "TRUST")]
    pub trust: PathBuf,
    /// Who has a role: its name, how many have to sign, and files of their public keys
    #[arg(long, required = true, value_name = "ROLE=N:KEY,KEY..")]
    pub role: Vec<String>,
    /// How long root and targets are good
    #[arg(long, value_name = "DURATION", default_value = "365days", value_parser = humantime::parse_duration)]
    pub expires_in: std::time::Duration,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}

/// `gabion trust show`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gabion trust show site-trust

Exit codes: 0 all is in force, 1 something waits for signatures or has expired, 2 it is no such folder")]
pub struct ShowTrustArgs {
    /// The folder
    #[arg(value_name = "TRUST")]
    pub trust: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}

/// `gabion trust sign`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gabion trust sign --key anna.key site-trust")]
pub struct SignTrustArgs {
    /// The folder
    #[arg(value_name = "TRUST")]
    pub trust: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub key: SigningKeyArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}

/// `gabion trust rotate`.
#[derive(Debug, Args)]
#[command(after_help = format!("\
Examples:
  gabion trust rotate site-trust --role policy=2:bert.pub,carl.pub,dora.pub    # without anna
  gabion trust rotate site-trust --role publisher=1:server.pub                 # the same, for another year

All keys that the role has from then on are named; one that is not named is revoked. A root needs the signatures of \
its old keys and of its new ones.

{ROLES}"))]
pub struct RotateArgs {
    /// The folder
    #[arg(value_name = "TRUST")]
    pub trust: PathBuf,
    /// Who has the role: its name, how many have to sign, and files of all their public keys
    #[arg(long, value_name = "ROLE=N:KEY,KEY..")]
    pub role: String,
    /// How long it is good
    #[arg(long, value_name = "DURATION", default_value = "365days", value_parser = humantime::parse_duration)]
    pub expires_in: std::time::Duration,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}
