//! Who may load programs on this node: the gatekeeper as the agent holds it, and attempts that it refused.
//!
//! Nothing here knows of generations: what is wanted, and which programs may be loaded, `life` says
//! ([`crate::life`]). Why it goes by digests, and what it does not cover: `docs/decisions/0028-the-gatekeeper.md`.

mod attempts;
mod earlier;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gabion_abi::gate::Attempt;
use gabion_btf::Btf;
use gabion_gatekeeper::{Digest, Failure, Gatekeeper, KERNEL_TYPES};
use gabion_generation::{ProgramDigest, digests};

pub use attempts::{Attempts, Tries, digest_of, reason};
use earlier::own_folder;
pub use earlier::{LetGo, let_go, take_over};

/// Pause before it is tried again what failed.
const RETRY: Duration = Duration::from_secs(60);
/// Programs by which the loader of the gatekeeper and of those that follow sockets asks what the kernel can do, and
/// which do nothing: a program without anything, one that writes a global, one that asks for a number. What the kernel
/// refuses of them counts as "it cannot".
const QUESTIONS: [(&str, &[u8]); 3] = [
    ("nothing", b"\xb7\0\0\0\0\0\0\0\x95\0\0\0\0\0\0\0"),
    ("global", b"\x18\x21\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x7a\x01\0\0\x2a\0\0\0\xb7\0\0\0\0\0\0\0\x95\0\0\0\0\0\0\0"),
    ("cookie", b"\x85\0\0\0\xae\0\0\0\x95\0\0\0\0\0\0\0"),
];

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
struct Real(Gatekeeper, PathBuf);

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
        let outcome = self.0.open().map_err(said);
        // It is empty, or gone with the folder around it.
        let _ = std::fs::remove_dir(&self.1);
        outcome
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

/// Puts a gatekeeper at its hooks, which refuses nothing yet, to be pinned within this folder. Takes some time: the
/// kernel's types are read.
///
/// # Errors
/// Why none stands there.
pub fn attach(folder: &Path) -> Result<Standing, String> {
    let keeper = Gatekeeper::attach().map_err(said)?;
    let own = own_programs().map_err(|error| error.to_string())?;
    Ok(Standing { keeper: Box::new(Real(keeper, own_folder(folder))), own })
}

/// Digests of what this agent has within it: programs that judge packets, that follow sockets, and the gatekeeper's;
/// and of the loader's questions.
fn own_programs() -> Result<Vec<ProgramDigest>, Box<dyn std::error::Error>> {
    let kernel = Btf::open(KERNEL_TYPES)?;
    let mut own = digests(gabion_kernel_object::object()?)?;
    own.extend(digests(&gabion_owners::bound(&kernel)?.0)?);
    own.extend(digests(&gabion_gatekeeper::bound(&kernel)?.0)?);
    own.extend(QUESTIONS.map(|(name, instructions)| ProgramDigest::of(name, instructions)));
    Ok(own)
}

/// Why no gatekeeper can stand on this kernel, as far as that shows at once.
#[must_use]
pub fn obstacle() -> Option<String> {
    gabion_gatekeeper::among_modules().err().map(said)
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
    /// The gate of an earlier agent, which is kept until this one's is sealed.
    inherited: Option<LetGo>,
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

    /// An earlier agent's gate is sealed, and lets this one in.
    pub fn inherit(&mut self, let_go: LetGo) {
        self.inherited = Some(let_go);
    }

    /// Lets go of what an earlier agent left; whether there was something.
    fn disinherit(&mut self) -> Result<bool, String> {
        self.inherited.take().map_or(Ok(false), |let_go| let_go())
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
                let outlives = standing.keeper.pin().map_err(|why| format!("it opens when the agent ends: {why}"));
                // Both are asked until the old one goes.
                let alone = self.disinherit().map_err(|why| format!("an earlier agent's gate stands beside it: {why}"));
                self.problem = outlives.err().or(alone.err());
                (self.standing, self.allowed, self.since) = (Some(standing), allowed, Some(time));
                Ok(())
            }
            Err(mut why) => {
                // Nobody could change what that one lets in.
                if let Err(more) = self.disinherit() {
                    why = format!("{why}; and an earlier agent's gate stays sealed: {more}");
                }
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
        let Some(standing) = &mut self.standing else {
            // What an earlier agent's gate does not know it does not let in.
            return if programs.is_empty() { Ok(()) } else { self.disinherit().map(drop) };
        };
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
        let inherited = self.disinherit()?;
        let Some(Standing { keeper, .. }) = self.standing.take() else { return Ok(inherited) };
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

#[cfg(test)]
pub(crate) mod tests;
