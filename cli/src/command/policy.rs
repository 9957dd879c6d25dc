//! `gabion policy ...`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{OutputArgs, PolicyPaths};

/// What can be done with policy text.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Report every error in policy text, then what looks wrong
    Check(CheckArgs),
    /// Print the JSON Schema of policy text
    Schema(SchemaArgs),
    /// Compile policy to tables and say what they need
    Compile(CompileArgs),
    /// Translate policy of other systems
    Import(ImportArgs),
    /// Say what two policies say differently, rule by rule
    Diff(PolicyDiffArgs),
    /// Hold a policy to the verdicts that its owner expects
    Test(TestArgs),
}

/// `gabion policy check`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gabion policy check /etc/gabion/policy
  gabion policy check --deny-warnings --output json site.yaml rules/

Exit codes: 0 usable, 1 usable but lints fired and --deny-warnings was given, 2 errors")]
pub struct CheckArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub policy: PolicyPaths,
    /// Answer no (exit code 1) when lints fire
    #[arg(long)]
    pub deny_warnings: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}

/// `gabion policy schema`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gabion policy schema > gabion.schema.json
  gabion policy schema --kind Policy")]
pub struct SchemaArgs {
    /// One kind of document only
    #[arg(long, value_name = "KIND", ignore_case = true)]
    pub kind: Option<Kind>,
}

/// Kinds of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Rules for whom it selects
    #[value(name = "Policy")]
    Policy,
    /// Rules in tiers
    #[value(name = "ClusterPolicy")]
    ClusterPolicy,
    /// Who carries which subjects
    #[value(name = "Inventory")]
    Inventory,
    /// The node's place in the plant
    #[value(name = "Site")]
    Site,
    /// Probes with expected verdicts
    #[value(name = "PolicyTest")]
    PolicyTest,
}

impl Kind {
    /// As documents write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Policy => "Policy",
            Self::ClusterPolicy => "ClusterPolicy",
            Self::Inventory => "Inventory",
            Self::Site => "Site",
            Self::PolicyTest => "PolicyTest",
        }
    }
}

/// `gabion policy compile`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gabion policy compile --stats /etc/gabion/policy
  gabion policy compile --table-bytes 67108864 --output json rules/

With --stats, for each direction: list, groups, pairs, lists. Then classes by dimension, what each field alone tells \
apart (1: the policy does not look at it); tables with their bytes; and the longest chain of loads that wait for each \
other, by what a packet is.

Then the programs, which are loaded for that into this kernel a few times, and neither attached nor pinned. For each \
program and its functions: instructions in the object, which is the same for every policy, and as loaded, after the \
verifier took away what this policy does not use and put in what it adds itself (look-ups in maps, fields of the \
context). For each program: bytes of these, bytes of machine code, instructions that the verifier walked, and the \
median of how long a load took. That takes root, or CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN; without, all else is \
printed, and the exit code is 3.

Exit codes: 0 it fits, 1 it does not (with the number that did not fit), 2 errors in the policy, 3 the kernel refused \
the programs")]
pub struct CompileArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub policy: PolicyPaths,
    /// Also say what each direction takes, classes, tables, chains of loads, and what the kernel makes of the programs
    #[arg(long)]
    pub stats: bool,
    /// Most bytes that the tables may take [default: as the agent's]
    #[arg(long, value_name = "BYTES")]
    pub table_bytes: Option<usize>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}

/// `gabion policy import`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kubectl get networkpolicies,pods,namespaces -A -o yaml | gabion policy import k8s - > imported.yaml
  gabion policy import nft /etc/nftables.conf --out policy/
  gabion policy import classbench acl1_1k --actions alternate

What cannot be translated exactly is refused with its place; what is left out without changing a verdict is warned \
of.")]
pub struct ImportArgs {
    /// Language of the files
    pub language: ImportLanguage,
    /// Files to translate; - is stdin
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Write files into this folder instead of printing
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Replace what an earlier import of this name wrote, all of it
    #[arg(long, requires = "out")]
    pub force: bool,
    /// What the rules of a ClassBench set do, which has no actions of its own; what no rule matches is left to the
    /// defaults of the site
    #[arg(long, value_name = "ACTIONS", default_value = "allow")]
    pub actions: ClassbenchActions,
}

/// Languages that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ImportLanguage {
    /// Kubernetes NetworkPolicy, AdminNetworkPolicy, BaselineAdminNetworkPolicy, with pods and namespaces
    K8s,
    /// A ClassBench filter set: the first match decides
    Classbench,
    /// An nftables ruleset: the common subset
    Nft,
}

/// What the rules of a ClassBench set do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ClassbenchActions {
    /// Every rule allows
    Allow,
    /// Every rule denies
    Deny,
    /// Rules 0, 2, 4, ... allow, the others deny
    Alternate,
}

/// `gabion policy diff`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gabion policy diff /etc/gabion/policy policy/
  git show HEAD:plant.yaml | gabion policy diff - plant.yaml --output json

Rules are told apart by policy, name and direction, wherever they stand in files; beside them the site, the entries of \
the inventory, and what each policy says before its rules. A rule moved when it says the same at another place of a \
list in which the first match decides.

Exit codes: 0 both say the same, 1 they do not, 2 errors in either")]
pub struct PolicyDiffArgs {
    /// The policy as it was: a file or a folder; - is stdin
    #[arg(value_name = "OLD")]
    pub old: PathBuf,
    /// The policy as it is to be
    #[arg(value_name = "NEW")]
    pub new: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}

/// `gabion policy test`.
#[derive(Debug, Args)]
#[command(after_help = "\
A test file says what its owner expects:

  apiVersion: gabion.dev/v1alpha1
  kind: PolicyTest
  policies: [.]                 # files or folders, relative to this file; [.] when absent
  tests:
    - name: the HMI polls the RTU
      from: hmi
      to: rtu
      protocol: tcp
      port: 502
      expect: allow
      rule: rtu/modbus          # optional: which rule decides
    - name: nobody else does
      from: 10.0.0.66
      to: rtu
      protocol: tcp
      port: 502
      expect: deny

Further fields: fromMac, toMac, sourcePort, in, out, etherType, llc, icmp, hopLimit, tcpFlags, vlan, innerVlan,
fragment, unparsed, tier. They mean what gabion explain says.

Examples:
  gabion policy test policy/plant.test.yaml
  gabion policy test --policy /etc/gabion/policy tests/*.yaml --output json")]
pub struct TestArgs {
    /// Files of probes
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Policy to test instead of what the files name: files or folders
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub policy: Vec<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}
