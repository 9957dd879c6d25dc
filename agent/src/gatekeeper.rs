//! Who may load programs on this node: the gatekeeper as the agent holds it, and attempts that it refused.
//!
//! Nothing here knows of generations: what is wanted, and which programs may be loaded, `life` says
//! ([`crate::life`]). Why it goes by digests, and what it does not cover: `docs/decisions/0028-the-gatekeeper.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use gabion_abi::gate::{Attempt, attempt};
use gabion_btf::Btf;
use gabion_gatekeeper::{Digest, Failure, Gatekeeper, KERNEL_TYPES};
use gabion_generation::{ProgramDigest, digests};

use crate::processes::name;

/// Pause before it is tried again what failed.
const RETRY: Duration = Duration::from_secs(60);
/// Time after which somebody who goes on trying is told of again.
const TELL_AGAIN: Duration = Duration::from_secs(60);
/// Attempts of different processes that are told of in that time, each with a line of the journal.
const TELL_LIMIT: usize = 20;
/// Processes whose attempts are counted one by one.
const CALLERS: usize = 256;

/// A gatekeeper that stands at its hooks.
pub trait Keeper {
    /// What the kernel's digest of such a program is.
    fn digest(&self, program: &ProgramDigest) -> Digest;
    /// Lets the agent load a program.
    ///
    /// # Errors
    /// Why it does not, in words; so for all of these.
    fn allow(&mut self, digest: &Digest) -> Result<(), String>;
    /// Lets it no more.
    fn forbid(&mut self, digest: &Digest) -> Result<(), String>;
    /// Refuses everybody else from now on.
    fn seal(&mut self) -> Result<(), String>;
    /// Stays when the agent dies.
    fn pin(&mut self) -> Result<(), String>;
    /// How many attempts there were in all, and then those since it was asked last that there was room for. In this
    /// order: what is counted was put into the ring before, if it was.
    fn attempts(&mut self) -> (u64, Vec<Attempt>);
    /// Leaves its hooks.
    fn open(self: Box<Self>) -> Result<(), String>;
}

/// The real one, and where it is pinned.
struct Real(Gatekeeper, std::path::PathBuf);

impl Keeper for Real {
    fn digest(&self, program: &ProgramDigest) -> Digest {
        self.0.hash().digest(&program.sha1, &program.sha256)
    }

    fn allow(&mut self, digest: &Digest) -> Result<(), String> {
        self.0.allow(digest).map_err(said)
    }

    fn forbid(&mut self, digest: &Digest) -> Result<(), String> {
        self.0.forbid(digest).map_err(said)
    }

    fn seal(&mut self) -> Result<(), String> {
        self.0.seal().map_err(said)
    }

    fn pin(&mut self) -> Result<(), String> {
        self.0.pin(&self.1).map_err(said)
    }

    fn attempts(&mut self) -> (u64, Vec<Attempt>) {
        // What the kernel does not say is no more than what is found.
        let refused = self.0.gate().map_or(0, |gate| gate.refused);
        (refused, self.0.attempts())
    }

    fn open(self: Box<Self>) -> Result<(), String> {
        self.0.open().map_err(said)
    }
}

fn said(failure: Failure) -> String {
    failure.to_string()
}

/// A gatekeeper, and the programs that the agent itself brings along.
pub struct Standing {
    /// It.
    pub keeper: Box<dyn Keeper + Send>,
    /// What the agent may load at any time.
    pub own: Vec<ProgramDigest>,
}

/// Puts a gatekeeper at its hooks, which refuses nothing yet, to be pinned in this folder. Takes some time: the
/// kernel's types are read.
///
/// # Errors
/// Why none stands there.
pub fn attach(folder: &Path) -> Result<Standing, String> {
    let keeper = Gatekeeper::attach().map_err(said)?;
    let own = own_programs().map_err(|error| error.to_string())?;
    Ok(Standing { keeper: Box::new(Real(keeper, folder.to_owned())), own })
}

/// Digests of what this agent has within it: programs that judge packets, that follow sockets, and the gatekeeper's.
fn own_programs() -> Result<Vec<ProgramDigest>, Box<dyn std::error::Error>> {
    let kernel = Btf::open(KERNEL_TYPES)?;
    let mut own = digests(gabion_kernel_object::object()?)?;
    own.extend(digests(&gabion_owners::bound(&kernel)?.0)?);
    own.extend(digests(&gabion_gatekeeper::bound(&kernel)?.0)?);
    Ok(own)
}

/// Why no gatekeeper can stand on this kernel, as far as that shows at once.
#[must_use]
pub fn obstacle() -> Option<String> {
    gabion_gatekeeper::among_modules().err().map(said)
}

/// Opens the gate that an earlier agent left sealed. An agent that starts does so before it loads anything: it may be
/// of another version, whose programs that gate does not let in.
///
/// # Errors
/// It cannot be opened.
pub fn let_go(folder: &Path) -> Result<bool, String> {
    gabion_gatekeeper::let_go(folder).map_err(said)
}

/// What the agent knows of its gate.
#[derive(Default)]
pub struct Gate {
    /// The gatekeeper, once it stands and seals.
    standing: Option<Standing>,
    /// What may be loaded.
    allowed: BTreeSet<Digest>,
    /// Since when it is sealed, RFC 3339.
    pub since: Option<String>,
    /// Why it is not, although it should be; or what else is wrong with it.
    pub problem: Option<String>,
    /// Somebody is putting one at its hooks.
    busy: bool,
    tried: Option<Instant>,
    /// Attempts that were refused.
    pub attempts: Attempts,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("since", &self.since).field("problem", &self.problem).finish_non_exhaustive()
    }
}

impl Gate {
    /// Whether it is sealed.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.standing.is_some()
    }

    /// How many programs may be loaded.
    #[must_use]
    pub fn programs(&self) -> usize {
        self.allowed.len()
    }

    /// Whether a gatekeeper is to be put at its hooks now; [`Self::stands`] is told what came of it.
    pub fn begin(&mut self, now: Instant) -> bool {
        let due = self.tried.is_none_or(|tried| now.saturating_duration_since(tried) >= RETRY);
        if self.is_sealed() || self.busy || !due {
            return false;
        }
        (self.busy, self.tried) = (true, Some(now));
        true
    }

    /// Nobody wants it, or it was wanted anew: what failed before says nothing.
    pub fn forget(&mut self) {
        (self.tried, self.problem) = (None, None);
    }

    /// It stands: lets in what the agent may load, and seals.
    ///
    /// # Errors
    /// Why it does not, and nothing is sealed. What is wrong with one that is sealed, [`Self::problem`] says.
    pub fn stands(
        &mut self,
        outcome: Result<Standing, String>,
        others: &BTreeSet<&ProgramDigest>,
        time: String,
    ) -> Result<(), String> {
        self.busy = false;
        let sealed = outcome.and_then(|mut standing| {
            let allowed = wanted(&standing, others);
            allowed.iter().try_for_each(|digest| standing.keeper.allow(digest))?;
            standing.keeper.seal()?;
            Ok((standing, allowed))
        });
        match sealed {
            Ok((mut standing, allowed)) => {
                let outlives = standing.keeper.pin();
                self.problem = outlives.err().map(|why| format!("it opens when the agent ends: {why}"));
                (self.standing, self.allowed, self.since) = (Some(standing), allowed, Some(time));
                Ok(())
            }
            Err(why) => {
                self.problem = Some(why.clone());
                Err(why)
            }
        }
    }

    /// Lets in programs that are about to be loaded, beside those that may be.
    ///
    /// # Errors
    /// Why the gatekeeper does not.
    pub fn admit(&mut self, programs: &[ProgramDigest]) -> Result<(), String> {
        let Some(standing) = &mut self.standing else { return Ok(()) };
        for program in programs {
            let digest = standing.keeper.digest(program);
            if !self.allowed.contains(&digest) {
                standing.keeper.allow(&digest)?;
                self.allowed.insert(digest);
            }
        }
        Ok(())
    }

    /// Lets in these beside the agent's own, and nothing else from now on.
    ///
    /// # Errors
    /// Why the gatekeeper does not; it lets in more than it should, or less.
    pub fn only(&mut self, others: &BTreeSet<&ProgramDigest>) -> Result<(), String> {
        let Some(standing) = &mut self.standing else { return Ok(()) };
        let wanted = wanted(standing, others);
        for digest in wanted.difference(&self.allowed) {
            standing.keeper.allow(digest)?;
        }
        for digest in self.allowed.difference(&wanted) {
            standing.keeper.forbid(digest)?;
        }
        self.allowed = wanted;
        Ok(())
    }

    /// Opens it; whether it was sealed.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(&mut self) -> Result<bool, String> {
        (self.since, self.allowed) = (None, BTreeSet::new());
        self.attempts.begin_anew();
        self.forget();
        let Some(Standing { keeper, .. }) = self.standing.take() else { return Ok(false) };
        keeper.open().map(|()| true)
    }

    /// Takes the attempts of late; what to tell of them, a line each.
    pub fn watch(&mut self, now: Instant) -> Vec<String> {
        let Some(standing) = &mut self.standing else { return Vec::new() };
        let (refused, found) = standing.keeper.attempts();
        self.attempts.take(&found, refused, now)
    }
}

fn wanted(standing: &Standing, others: &BTreeSet<&ProgramDigest>) -> BTreeSet<Digest> {
    standing.own.iter().chain(others.iter().copied()).map(|program| standing.keeper.digest(program)).collect()
}

/// Who tried, and what.
type Caller = (u32, u32, [u8; 16]);

/// What is known of one of them.
#[derive(Clone, Debug)]
pub struct Tries {
    /// How often.
    pub count: u64,
    /// The last attempt.
    pub last: Attempt,
    untold: u64,
    told: Option<Instant>,
}

/// Attempts that were refused, by who tried and what.
#[derive(Debug, Default)]
pub struct Attempts {
    /// Those at gatekeepers that are gone.
    past: u64,
    /// At the one that stands: all of them, those that were looked at, and those for which the ring had no room.
    refused: u64,
    seen: u64,
    lost: u64,
    by: BTreeMap<Caller, Tries>,
    /// Of those that are not told of one by one.
    others: u64,
    since: Option<Instant>,
    told: usize,
}

impl Attempts {
    /// All of them, since the agent started.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.past + self.refused.max(self.seen + self.lost)
    }

    /// Another gatekeeper counts from the beginning.
    fn begin_anew(&mut self) {
        self.past = self.total();
        (self.refused, self.seen, self.lost) = (0, 0, 0);
    }

    /// By who tried, the latest first.
    pub fn list(&self) -> Vec<&Tries> {
        let mut list: Vec<&Tries> = self.by.values().collect();
        list.sort_by_key(|tries| std::cmp::Reverse(tries.last.time_ns));
        list
    }

    /// Adds attempts, of which there were so many in all at this gatekeeper; what to tell.
    fn take(&mut self, found: &[Attempt], refused: u64, now: Instant) -> Vec<String> {
        self.refused = self.refused.max(refused);
        self.seen += found.len() as u64;
        let lost = self.refused.saturating_sub(self.seen).max(self.lost);
        self.others += lost - self.lost;
        self.lost = lost;
        for attempt in found {
            self.add(attempt);
        }
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= TELL_AGAIN) {
            (self.since, self.told) = (Some(now), 0);
        }
        let mut lines = Vec::new();
        for tries in self.by.values_mut().filter(|tries| tries.untold != 0) {
            let due = tries.told.is_none_or(|told| now.saturating_duration_since(told) >= TELL_AGAIN);
            if due && self.told < TELL_LIMIT {
                self.told += 1;
                lines.push(line(&tries.last, tries.untold));
                (tries.untold, tries.told) = (0, Some(now));
            }
        }
        // The last line that may be told in that time is for all who had none.
        if self.others != 0 && self.told < TELL_LIMIT + 1 && (self.told == TELL_LIMIT || !lines.is_empty()) {
            self.told = TELL_LIMIT + 1;
            lines.push(format!("{} more attempts, which were not looked at one by one", self.others));
            self.others = 0;
        }
        lines
    }

    fn add(&mut self, attempt: &Attempt) {
        let caller = (attempt.reason, attempt.pid, attempt.comm);
        if self.by.len() >= CALLERS && !self.by.contains_key(&caller) {
            let quiet = self.by.iter().min_by_key(|(_, tries)| tries.last.time_ns).map(|(caller, _)| *caller);
            if let Some(gone) = quiet.and_then(|caller| self.by.remove(&caller)) {
                self.others += gone.untold;
            }
        }
        let first = || Tries { count: 0, last: *attempt, untold: 0, told: None };
        let tries = self.by.entry(caller).or_insert_with(first);
        (tries.count, tries.untold, tries.last) = (tries.count + 1, tries.untold + 1, *attempt);
    }
}

/// Why an attempt was refused, as people and programs read it.
#[must_use]
pub fn reason(attempt: &Attempt) -> &'static str {
    match attempt.reason {
        attempt::WHO => "not-the-agent",
        attempt::WHAT => "not-allowed",
        attempt::GATE => "map-of-the-gate",
        _ => "unknown",
    }
}

/// What somebody tried.
fn line(attempt: &Attempt, count: u64) -> String {
    let what = match attempt.reason {
        attempt::WHO => String::from("wanted to load a program, and is not the agent"),
        attempt::WHAT => {
            format!("wanted to load a program that is not allowed, with the digest {}", digest(&attempt.digest))
        }
        _ => String::from("wanted to open a map of the gatekeeper"),
    };
    let often = if count == 1 { String::new() } else { format!(", {count} times") };
    format!("process {} ({}) in cgroup {} {what}{often}", attempt.pid, name(&attempt.comm), attempt.cgroup)
}

/// The digest of the program, where that was the reason.
#[must_use]
pub fn digest_of(attempt: &Attempt) -> Option<String> {
    (attempt.reason == attempt::WHAT).then(|| digest(&attempt.digest))
}

/// A digest in digits, as many of them as the kernel keeps.
fn digest(digest: &Digest) -> String {
    let (tag, rest) = digest.split_at(8);
    if rest.iter().all(|&byte| byte == 0) { crate::policy::hex(tag) } else { crate::policy::hex(digest) }
}

#[cfg(test)]
#[path = "gatekeeper_tests.rs"]
pub(crate) mod tests;
