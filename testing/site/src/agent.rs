//! The agent in the gateway: `gabion` as a process, in the namespaces of a host.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::error::{Calling, Result, SiteError};
use crate::host::Host;

/// Folders of this crate are named so, and after the process that made them.
const PREFIX: &str = "gbn-";

/// How long the agent may take to answer anything.
pub const ANSWER: Duration = Duration::from_secs(10);

/// Events that are kept of one follower.
const EVENT_LIMIT: usize = 50_000;

/// The `gabion` binary: `GABION_BIN`, else beside the running program, else one folder up (test programs
/// run from `deps`). None when it is not built.
#[must_use]
pub fn binary() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("GABION_BIN") {
        return Some(PathBuf::from(named)).filter(|path| path.is_file());
    }
    let program = std::env::current_exe().ok()?;
    let beside = program.parent()?;
    [Some(beside), beside.parent()].into_iter().flatten().map(|dir| dir.join("gabion")).find(|path| path.is_file())
}

/// Folders of one agent: policy, state, socket, and a bpffs that only its host sees.
pub struct Workplace {
    root: PathBuf,
}

impl Workplace {
    /// Makes the folders and mounts the bpffs. Sweeps away what killed processes left.
    pub fn new(host: &Host) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let base = std::env::temp_dir();
        sweep(&base);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let place = Self { root: base.join(format!("{PREFIX}{}-{number}", std::process::id())) };
        for folder in [&place.root, &place.bpffs(), &place.state(), &place.policy()] {
            fs::create_dir(folder).map_err(|source| SiteError::File { path: folder.clone(), source })?;
        }
        host.mount_bpffs(&place.bpffs())?;
        Ok(place)
    }

    /// Where the bpffs is.
    #[must_use]
    pub fn bpffs(&self) -> PathBuf {
        self.root.join("bpf")
    }

    /// Where the agent keeps what survives it.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// A folder for policy, empty at first.
    #[must_use]
    pub fn policy(&self) -> PathBuf {
        self.root.join("policy")
    }

    /// The agent's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.root.join("agent.sock")
    }

    /// What the agent has written on its error output.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Puts a policy file in place as a whole, as an editor does: the agent never sees half of it.
    pub fn write_policy(&self, text: &str) -> Result<()> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| SiteError::File { path, source }
        };
        let (draft, file) = (self.root.join("draft"), self.policy().join("policy.yaml"));
        fs::write(&draft, text).map_err(failed(&draft))?;
        fs::rename(&draft, &file).map_err(failed(&file))
    }

    fn log_path(&self) -> PathBuf {
        self.root.join("agent.log")
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        // The bpffs is mounted in the host's namespace only: here its mount point is an empty folder.
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// Removes folders whose process is gone.
fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse::<u32>().ok());
        let Some(process) = process else { continue };
        let ours = entry.metadata().is_ok_and(|data| {
            data.is_dir() && std::os::unix::fs::MetadataExt::uid(&data) == nix::unistd::geteuid().as_raw()
        });
        if ours && !Path::new("/proc").join(process.to_string()).exists() {
            // Another process may sweep at the same time; what it removed needs no removing.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A running agent. Dropping it kills it, and leaves what it has pinned in force.
pub struct Agent<'h> {
    host: &'h Host,
    place: &'h Workplace,
    binary: PathBuf,
    /// The agent, or the program that runs it.
    child: Child,
    under: bool,
}

impl<'h> Agent<'h> {
    /// Starts `gabion run` on the workplace's own policy folder.
    pub fn start(host: &'h Host, place: &'h Workplace, binary: &Path) -> Result<Self> {
        Self::start_on(host, place, binary, &[place.policy()])
    }

    /// Starts `gabion run` on these files and folders.
    pub fn start_on(host: &'h Host, place: &'h Workplace, binary: &Path, policy: &[PathBuf]) -> Result<Self> {
        Self::start_under(host, place, binary, policy, &[])
    }

    /// The same under another program, which is given the command line.
    pub fn start_under(
        host: &'h Host,
        place: &'h Workplace,
        binary: &Path,
        policy: &[PathBuf],
        under: &[&str],
    ) -> Result<Self> {
        let mut arguments = vec![PathBuf::from("--policy")];
        arguments.extend_from_slice(policy);
        Self::start_with(host, place, binary, &arguments, under)
    }

    /// Starts `gabion run` on signed bundles: the arguments say whose.
    pub fn start_sealed(host: &'h Host, place: &'h Workplace, binary: &Path, arguments: &[PathBuf]) -> Result<Self> {
        Self::start_with(host, place, binary, arguments, &[])
    }

    fn start_with(
        host: &'h Host,
        place: &'h Workplace,
        binary: &Path,
        arguments: &[PathBuf],
        under: &[&str],
    ) -> Result<Self> {
        let path = place.log_path();
        let log =
            File::options().create(true).append(true).open(&path).map_err(|source| SiteError::File { path, source })?;
        let mut command = match under {
            [] => Command::new(binary),
            [program, arguments @ ..] => {
                let mut command = Command::new(program);
                command.args(arguments).arg(binary);
                command
            }
        };
        command.arg("run").args(arguments);
        command.arg("--bpffs").arg(place.bpffs());
        command.arg("--state").arg(place.state());
        command.arg("--socket").arg(place.socket());
        let log_too = log.try_clone().calling("duplicate a log file")?;
        command.stdin(Stdio::null()).stdout(log_too).stderr(log);
        // Ctrl-C is for us: the agent is stopped when everyone else is.
        command.process_group(0);
        let child = host.start(command)?;
        Ok(Self { host, place, binary: binary.to_owned(), child, under: !under.is_empty() })
    }

    /// Kills it and waits until it is gone.
    fn end(&mut self) -> std::io::Result<()> {
        // A tracer that is killed lets go of what it traces; once that is dead, it ends by itself.
        let traced = if self.under { children(self.child.id()) } else { Vec::new() };
        for pid in &traced {
            // It may have died by itself.
            let _ = kill(*pid, Signal::SIGKILL);
        }
        if traced.is_empty() {
            self.child.kill()?;
        }
        self.child.wait().map(drop)
    }

    /// Waits until `gabion status` says what the test wants to hear, and gives it back.
    pub fn until(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let end = Instant::now() + ANSWER;
        loop {
            if let Some(status) = self.child.try_wait().calling("wait for the agent")? {
                return Err(self.failed(format!("ended with {status} before {what}")));
            }
            let last = match self.status() {
                Ok(status) if wanted(&status) => return Ok(status),
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            };
            if Instant::now() > end {
                return Err(self.failed(format!("not {what} after {ANSWER:?}; last answer: {last}")));
            }
            // The question itself takes some milliseconds; this only keeps a slow start from being asked 500 times.
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until a generation is in force on at least so many interfaces.
    pub fn enforcing(&mut self, interfaces: usize) -> Result<Value> {
        self.until("enforcing", |status| {
            let guarded = status["interfaces"].as_array().map_or(0, |all| {
                all.iter().filter(|interface| interface["ingress"].as_str().is_some_and(|hook| hook != "none")).count()
            });
            status["generation"]["number"].as_u64().is_some_and(|number| number > 0) && guarded >= interfaces
        })
    }

    /// The process, for signals.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `gabion status`.
    pub fn status(&self) -> Result<Value> {
        json(&self.ask(&["status", "--output", "json"])?)
    }

    /// Any command that talks to the agent: `--socket` is added.
    pub fn ask(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.binary);
        command.args(arguments).arg("--socket").arg(self.place.socket()).stdin(Stdio::null());
        let what = format!("run gabion {}", arguments.join(" "));
        self.host.run(move || command.output()).calling(what)
    }

    /// Follows events; those that happen after this returned are not missed once the stream is open.
    pub fn events(&self, arguments: &[&str]) -> Result<Events> {
        let mut command = Command::new(&self.binary);
        command.args(["events", "--follow", "--output", "json"]).args(arguments);
        command.arg("--socket").arg(self.place.socket());
        Events::follow(self.host, command)
    }

    /// Starts `gabion top` on this terminal.
    pub fn top(&self) -> Result<Child> {
        let mut command = Command::new(&self.binary);
        command.arg("top").arg("--socket").arg(self.place.socket());
        self.host.start(command)
    }

    /// Waits until the process is gone, or status says what the test wants to hear; whether it is gone.
    pub fn dies_before(&mut self, wanted: impl Fn(&Value) -> bool) -> Result<bool> {
        let end = Instant::now() + ANSWER;
        while Instant::now() < end {
            if self.child.try_wait().calling("wait for the agent")?.is_some() {
                return Ok(true);
            }
            if self.status().is_ok_and(|status| wanted(&status)) {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(self.failed(format!("neither dead nor ready after {ANSWER:?}")))
    }

    /// SIGKILL, as a crash would be; waits until the process is gone.
    pub fn crash(mut self) -> Result<()> {
        self.end().calling("kill the agent")
    }

    /// SIGTERM; gives back how it ended, or kills it after a while.
    pub fn stop(mut self) -> Result<ExitStatus> {
        // The pid is the child's own: it is not reaped yet, so it cannot be anyone else's.
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).calling("terminate the agent")?;
        let end = Instant::now() + ANSWER;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().calling("wait for the agent")? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(self.failed(format!("still there {ANSWER:?} after SIGTERM")))
    }

    fn failed(&self, what: String) -> SiteError {
        let log = self.place.log();
        let tail: Vec<_> = log.lines().rev().take(20).collect();
        let tail: Vec<_> = tail.into_iter().rev().collect();
        SiteError::Agent { what: format!("{what}\nits last words:\n{}", tail.join("\n")) }
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        // It fails only when it ended and was waited for already.
        let _ = self.end();
    }
}

/// Processes that another one started.
fn children(parent: u32) -> Vec<Pid> {
    let parent = parent.to_string();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name in parentheses may hold anything; state and parent follow it.
            let (_, after) = stat.rsplit_once(')')?;
            (after.split_whitespace().nth(1)? == parent).then(|| Pid::from_raw(pid))
        })
        .collect()
}

/// What a command printed, as JSON; an error that carries its words when it failed.
pub fn json(output: &Output) -> Result<Value> {
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(SiteError::Agent { what: format!("{}: {}", output.status, words.trim()) });
    }
    serde_json::from_slice(&output.stdout).map_err(|error| SiteError::Agent { what: format!("no JSON: {error}") })
}

/// Events as they come.
pub struct Events {
    child: Child,
    kept: Arc<Mutex<Vec<Value>>>,
    reader: Option<JoinHandle<()>>,
}

impl Events {
    fn follow(host: &Host, mut command: Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = host.start(command)?;
        let kept = Arc::new(Mutex::new(Vec::new()));
        let reader = child.stdout.take().map(|lines| {
            let kept = Arc::clone(&kept);
            std::thread::spawn(move || {
                for line in BufReader::new(lines).lines() {
                    let Ok(line) = line else { return };
                    if let Ok(event) = serde_json::from_str::<Value>(&line) {
                        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                        if kept.len() < EVENT_LIMIT {
                            kept.push(event);
                        }
                    }
                }
            })
        });
        Ok(Self { child, kept, reader })
    }

    /// Events so far, oldest first.
    #[must_use]
    pub fn so_far(&self) -> Vec<Value> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until one of the events fits.
    #[must_use]
    pub fn wait(&self, bound: Duration, fits: impl Fn(&Value) -> bool) -> bool {
        let end = Instant::now() + bound;
        loop {
            if self.so_far().iter().any(&fits) {
                return true;
            }
            if Instant::now() > end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Forgets what came so far.
    pub fn forget(&self) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // Both fail only when the follower ended by itself, as it does with the agent.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}
