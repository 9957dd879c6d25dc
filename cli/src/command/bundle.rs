//! `gabion bundle ...`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use gabion_bundle::{Name, Time};

use super::{OutputArgs, SigningKeyArgs};

/// What can be done with bundles.
#[derive(Debug, Subcommand)]
pub enum BundleCommand {
    /// Make policy, programs and golden packets into a bundle
    Build(Box<BuildArgs>),
    /// Sign a bundle in a role, with one key of those it takes
    Sign(SignBundleArgs),
    /// Say that what is signed is current, and attach all metadata to the bundle
    Publish(PublishArgs),
    /// Say whether a node would accept a bundle
    Verify(VerifyArgs),
    /// Show what is in a bundle, who signed it, and what would change
    Inspect(InspectArgs),
}

/// `gabion bundle build`.
#[derive(Debug, Args)]
#[command(
    disable_version_flag = true,
    after_help = "\
Examples:
  gabion bundle build --name substation-7 --version 42 --policy /etc/gabion/policy --out substation-7.tar
  gabion bundle build --name substation-7 --version 43 --policy policy/ --probes policy/plant.test.yaml \\
    --target x86_64/6.1,6.12 --not-before 2027-03-01T00:00:00Z --expires 2027-09-01T00:00:00Z --out substation-7.tar
  gabion bundle build --emergency --name worm --version 1 --expires 2027-03-08T00:00:00Z --policy deny.yaml --out w.tar

The same inputs give the same bytes. A bundle is an OCI image layout, so that registries carry it. The policy is \
compiled, and golden packets are judged, as `gabion policy test` does: a policy that does not fit, or does not give \
the expected verdicts, makes no bundle.

Exit codes: 0 built, 1 the policy does not fit or a golden packet got another verdict, 2 what was given is wrong"
)]
pub struct BuildArgs {
    /// What it is a bundle of
    #[arg(long, value_name = "NAME")]
    pub name: Name,
    /// Its version: nodes take higher ones
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub version: u64,
    /// Policy: files, or folders as all policy files below them
    #[arg(long, required = true, value_name = "PATH", num_args = 1..)]
    pub policy: Vec<PathBuf>,
    /// Where to write it: an archive when its name ends with .tar, or else a folder
    #[arg(long, value_name = "FILE|DIR")]
    pub out: PathBuf,
    /// From when on nodes may take it [default: from ever]
    #[arg(long, value_name = "TIME")]
    pub not_before: Option<Time>,
    /// Until when nodes may take it [default: for ever; an emergency bundle has to say it]
    #[arg(long, value_name = "TIME", required_if_eq("emergency", "true"))]
    pub expires: Option<Time>,
    /// Where it may run: an architecture, and series of kernels [default: anywhere]
    #[arg(long, value_name = "ARCH[/KERNEL,KERNEL..]")]
    pub target: Vec<String>,
    /// Object of kernel programs [default: this gabion's]
    #[arg(long, value_name = "FILE", conflicts_with = "emergency")]
    pub object: Option<PathBuf>,
    /// Golden packets, as `gabion policy test` reads them
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "emergency")]
    pub probes: Vec<PathBuf>,
    /// Plugins
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "emergency")]
    pub plugin: Vec<PathBuf>,
    /// Policy alone, which fewer people may sign
    #[arg(long)]
    pub emergency: bool,
    /// Commit of the policy, for the provenance
    #[arg(long, value_name = "HASH")]
    pub commit: Option<String>,
    /// Where that commit is, for the provenance
    #[arg(long, value_name = "URI", requires = "commit")]
    pub source: Option<String>,
    /// Who builds, for the provenance
    #[arg(long, value_name = "URI", default_value = "https://gabion.dev/gabion-bundle-build")]
    pub builder: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}

/// `gabion bundle sign`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gabion bundle sign --role release --key dora.key --trust site-trust substation-7.tar   # its programs, once
  gabion bundle sign --role policy --key anna.key --trust site-trust substation-7.tar    # each of those it takes
  gabion bundle sign --role policy --key anna.key --trust site-trust --grant-floor 41 \\
    --grant-expires 2027-03-02T00:00:00Z --grant-reason 'drops the polling' old.tar      # back to 41

Each signs alone, and hands folder and bundle on. Policy and emergency also sign the bundle's provenance.

Exit codes: 0 signed, 1 the role may not sign that, 2 what was given is wrong")]
pub struct SignBundleArgs {
    /// The bundle
    #[arg(value_name = "BUNDLE")]
    pub bundle: PathBuf,
    /// In which role: release, policy or emergency
    #[arg(long, value_name = "ROLE")]
    pub role: gabion_trust::Role,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub key: SigningKeyArgs,
    /// The site's folder of metadata
    #[arg(long, value_name = "TRUST")]
    pub trust: PathBuf,
    /// How long what the role says is good
    #[arg(long, value_name = "DURATION", default_value = "365days", value_parser = humantime::parse_duration)]
    pub expires_in: std::time::Duration,
    /// Let nodes go back to this version, which is below what they accepted
    #[arg(long, value_name = "VERSION", requires_all = ["grant_expires", "grant_reason"])]
    pub grant_floor: Option<u64>,
    /// Until when they may
    #[arg(long, value_name = "TIME", requires = "grant_floor")]
    pub grant_expires: Option<Time>,
    /// Why they may
    #[arg(long, value_name = "TEXT", requires = "grant_floor")]
    pub grant_reason: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}

/// `gabion bundle publish`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gabion bundle publish --key server.key --trust site-trust substation-7.tar

What is published is good for --expires-in: nodes refuse what nobody renewed since, because somebody may hold back \
what is newer. To renew, publish again.

Exit codes: 0 published, 1 another publisher has to sign, too, 2 what was given is wrong, or is not signed yet")]
pub struct PublishArgs {
    /// The bundle
    #[arg(value_name = "BUNDLE")]
    pub bundle: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub key: SigningKeyArgs,
    /// The site's folder of metadata
    #[arg(long, value_name = "TRUST")]
    pub trust: PathBuf,
    /// How long it is good
    #[arg(long, value_name = "DURATION", default_value = "30days", value_parser = humantime::parse_duration)]
    pub expires_in: std::time::Duration,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}

/// `gabion bundle verify`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gabion bundle verify --trust-root site-trust/1.root.json substation-7.tar
  gabion bundle verify --trust-root 1.root.json --state node --target aarch64/6.12 --now 2027-03-01T00:00:00Z b.tar

It never touches a network. The policy is compiled anew and golden packets are judged, as a node does. With --state it \
remembers, as a node does: what it accepted is the floor of what it accepts.

Exit codes: 0 accepted, 1 refused (with a code, and why), 2 it is no bundle, or what was given is wrong")]
pub struct VerifyArgs {
    /// The bundle
    #[arg(value_name = "BUNDLE")]
    pub bundle: PathBuf,
    /// A root that came here by a way that is trusted
    #[arg(long, value_name = "FILE")]
    pub trust_root: PathBuf,
    /// What was trusted before, and is from then on; written anew when the bundle is accepted
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// The name of bundles that the node takes [default: every one]
    #[arg(long, value_name = "NAME")]
    pub name: Option<Name>,
    /// Judge by this time [default: by the clock]
    #[arg(long, value_name = "TIME")]
    pub now: Option<Time>,
    /// What to do when the clock is not to be trusted: refuse, accept, or accept until a time
    #[arg(long, value_name = "refuse|accept|until=TIME", default_value = "accept")]
    pub clock: String,
    /// For which node: an architecture and a series of kernels [default: this machine]
    #[arg(long, value_name = "ARCH/KERNEL")]
    pub target: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}

/// `gabion bundle inspect`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gabion bundle inspect substation-7.tar
  gabion bundle inspect --against /etc/gabion/policy substation-7.tar
  gabion bundle inspect --against substation-7-41.tar --output json substation-7.tar

Signatures are held against the root that came with the bundle, which anybody could have made: `gabion bundle verify` \
says whether it is one to trust.")]
pub struct InspectArgs {
    /// The bundle
    #[arg(value_name = "BUNDLE")]
    pub bundle: PathBuf,
    /// Also show which rules it adds, removes and changes, beside another bundle or this policy
    #[arg(long, value_name = "BUNDLE|POLICY")]
    pub against: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}
