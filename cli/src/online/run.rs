//! `gabion run`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};
use gabion_agent::load::TABLE_BYTES;
use gabion_agent::run::{RunOptions, Sealed};
use gabion_bundle::Name;

use super::{BPFFS, Connection, STATE, failed};
use crate::bundle::clock_policy;
use crate::exit::{Exit, Failure};

/// Flags of `gabion run`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gabion run --policy /etc/gabion/policy
  gabion run --policy site.yaml --policy rules/ --listen 127.0.0.1:9464 --log-format json
  gabion run --trust-root /etc/gabion/root.json     (then: gabion generation apply BUNDLE)
  gabion run --trust-root /etc/gabion/root.json --bundle substation-7

SIGHUP, `gabion apply` and changed files put the policy into force anew, as a whole or not at all.
SIGTERM stops the agent; enforcement stays. `gabion detach` takes it away.")]
pub struct RunArgs {
    /// Files or folders of policy
    #[arg(long, required_unless_present = "trust_root", conflicts_with = "trust_root", value_name = "PATH")]
    #[arg(num_args = 1..)]
    policy: Vec<PathBuf>,
    /// Take policy from signed bundles alone, and trust this root (root.json of `gabion trust init`) in the beginning
    #[arg(long, value_name = "FILE")]
    trust_root: Option<PathBuf>,
    /// Take bundles of this name alone [default: the name of the first one that it takes]
    #[arg(long, value_name = "NAME", requires = "trust_root", conflicts_with = "policy")]
    bundle: Option<Name>,
    /// What to do about bundles when the clock is not to be trusted: refuse, accept, or accept until=TIME
    #[arg(long, value_name = "CHOICE", default_value = "refuse", requires = "trust_root", conflicts_with = "policy")]
    clock: String,
    /// Folder of the bpffs that this agent owns
    #[arg(long, value_name = "DIR", default_value = BPFFS, env = "GABION_BPFFS")]
    bpffs: PathBuf,
    /// Folder for generation numbers, counts and the last good policy
    #[arg(long, value_name = "DIR", default_value = STATE, env = "GABION_STATE")]
    state: PathBuf,
    #[command(flatten)]
    connection: Connection,
    /// Also answer questions (and /metrics) on this loopback address, read-only
    #[arg(long, value_name = "127.0.0.1:PORT")]
    listen: Option<SocketAddr>,
    /// Most bytes that a policy's tables may take; more is refused, and the policy before stays in force
    #[arg(long, value_name = "BYTES", default_value_t = TABLE_BYTES as u64, value_parser = within_a_map())]
    table_bytes: u64,
    /// Do not follow sockets: events then do not say which process sent a packet or would have got it
    #[arg(long)]
    no_processes: bool,
    /// How to write the log
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// What to write to the log
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: LogLevel,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For people and the journal
    Text,
    /// One JSON object a line
    Json,
}

/// What is written to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogLevel {
    /// What needs a person
    Error,
    /// What may need one
    Warn,
    /// What happens
    Info,
    /// What a developer wants
    Debug,
}

/// A generation's map holds no more.
fn within_a_map() -> RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=TABLE_BYTES as u64)
}

pub(super) fn run(arguments: &RunArgs) -> Result<Exit, Failure> {
    start_log(arguments.log_format, arguments.log_level);
    let options = RunOptions {
        policy: arguments.policy.clone(),
        sealed: match &arguments.trust_root {
            Some(root) => Some(Sealed {
                root: root.clone(),
                clock: clock_policy(&arguments.clock)?,
                bundle: arguments.bundle.clone(),
            }),
            None => None,
        },
        bpffs: arguments.bpffs.clone(),
        state: arguments.state.clone(),
        socket: arguments.connection.socket.clone(),
        listen: arguments.listen,
        // No more than TABLE_BYTES, which is of that type.
        table_bytes: arguments.table_bytes as usize,
        processes: !arguments.no_processes,
    };
    gabion_agent::run::run(&options, gabion_agent::kernel::bpf::open).map_err(failed)?;
    Ok(Exit::Fine)
}

fn start_log(format: LogFormat, level: LogLevel) {
    let level = match level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
    };
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_target(false);
    match format {
        LogFormat::Json => log.json().flatten_event(true).init(),
        // The journal writes the time itself.
        LogFormat::Text if std::env::var_os("JOURNAL_STREAM").is_some() => log.with_ansi(false).without_time().init(),
        LogFormat::Text => {
            log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init();
        }
    }
}
