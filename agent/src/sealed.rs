//! Bundles: what a sealed node takes its policy from, and how it judges them.
//!
//! [`Seal::judge`] opens a bundle and has [`gabion_trust`] verify it. What the bundle lets the node trust from then on
//! is in what comes back, and is put on disk when the generation made of it goes live, not before: a bundle that is
//! refused later on has changed nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::SystemTime;

use gabion_abi::boundary::{OBJECT, STATE};
use gabion_abi::contract::Set;
use gabion_bundle::{Bundle, Digest, Kind, Name, Use};
use gabion_policy_compile::Compiled;
use gabion_trust::{Accepted, Circumstances, Clock, ClockPolicy, EMERGENCY_LIFE, Node, Trust, clock};

use crate::api::wire::Problem;
use crate::emergency::Emergency;
use crate::events::timestamp;
use crate::life::problem;
use crate::policy::SourceFile;
use crate::record::Bundled;

/// How bundles are judged on this node.
#[derive(Clone, Debug)]
pub struct Seal {
    /// What is trusted where nothing is stored.
    root: Vec<u8>,
    policy: ClockPolicy,
    node: Node,
    /// Programs that need no signature.
    own: BTreeSet<Digest>,
}

/// A bundle that may be taken.
#[derive(Clone, Debug)]
pub struct Judged {
    /// Which it is.
    pub bundled: Bundled,
    /// Who vouches for it.
    pub vouched: String,
    /// Its policy.
    pub files: Vec<SourceFile>,
    /// What it is, when it is a deny list for beside a policy. Nobody looked into it yet.
    pub emergency: Option<Emergency>,
    /// Its golden packets.
    pub golden: Vec<SourceFile>,
    /// Its kernel programs, when they are not the agent's own.
    pub object: Option<Vec<u8>>,
    /// What its policy must compile to.
    tables: Digest,
    /// What to trust from then on.
    pub next: Trust,
    /// What to tell.
    pub alarms: Vec<String>,
}

fn refused(code: &str, message: String) -> Problem {
    problem(code, "refused", message)
}

fn name(text: &str) -> Result<Name, Problem> {
    text.parse().map_err(|error| problem("name", "system", format!("{text:?} is no name in a bundle: {error}")))
}

/// Digests of the contracts that this gabion has, by the name of their set.
///
/// # Errors
/// None that a test would not show: the names are ours.
pub fn contracts() -> Result<BTreeMap<Name, Digest>, Problem> {
    let of = |set: &Set<'_>| Ok((name(set.name)?, Digest::of(gabion_contracts::text(set).as_bytes())));
    [of(&OBJECT), of(&STATE)].into_iter().collect()
}

/// What this machine is, to those who say where a bundle may run.
///
/// # Errors
/// The system is called what no bundle could name.
pub fn this_node() -> Result<Node, Problem> {
    let system = rustix::system::uname();
    let release = system.release().to_string_lossy();
    let series: Vec<&str> = release.splitn(3, ['.', '-', '+']).take(2).collect();
    let architecture = name(&system.machine().to_string_lossy())?;
    Ok(Node { architecture, kernel: name(&series.join("."))?, contracts: contracts()?, bundle: None })
}

impl Seal {
    /// Of a node that is running this agent, with a root that somebody brought there.
    ///
    /// # Errors
    /// The root is none, or the system does not say what it is.
    pub fn new(root: &Path, policy: ClockPolicy, bundle: Option<Name>) -> Result<Self, Problem> {
        let unreadable = |error| problem("trust-root", "input", format!("{}: cannot read: {error}", root.display()));
        let bytes = std::fs::read(root).map_err(unreadable)?;
        let wrong =
            |refused: gabion_trust::Refused| problem(refused.code(), "input", format!("{}: {refused}", root.display()));
        Trust::begin(&bytes).map_err(wrong)?;
        let node = Node { bundle, ..this_node()? };
        let own = gabion_kernel_object::object().ok().map(Digest::of).into_iter().collect();
        Ok(Self { root: bytes, policy, node, own })
    }

    /// The name of bundles that may be taken, when somebody said so.
    #[must_use]
    pub fn bundle(&self) -> Option<&Name> {
        self.node.bundle.as_ref()
    }

    /// The same, for a node that takes bundles of this name, unless somebody said another.
    #[must_use]
    pub fn or_bundle(mut self, name: Option<Name>) -> Self {
        self.node.bundle = self.node.bundle.or(name);
        self
    }

    /// What the site wants where the clock cannot be trusted.
    #[must_use]
    pub fn clock_policy(&self) -> ClockPolicy {
        self.policy
    }

    /// Digest of the root that was brought: another one begins trust anew.
    #[must_use]
    pub fn root(&self) -> String {
        Digest::of(&self.root).to_string()
    }

    /// What is trusted in the beginning.
    ///
    /// # Errors
    /// None that did not show when this was made.
    pub fn begin(&self) -> Result<Trust, Problem> {
        Trust::begin(&self.root).map_err(|wrong| problem(wrong.code(), "input", wrong.to_string()))
    }

    /// Opens a bundle, and says whether it may be taken by what is trusted.
    ///
    /// # Errors
    /// Why not, by its code.
    pub fn judge(&self, path: &Path, trust: &Trust) -> Result<Judged, Problem> {
        let bundle =
            Bundle::open(path).map_err(|wrong| refused(wrong.code(), format!("{}: {wrong}", path.display())))?;
        let clock = Clock { now: SystemTime::now(), trusted: clock::synchronised().unwrap_or(false) };
        let circumstances = Circumstances { clock, policy: self.policy, node: &self.node, programs: &self.own };
        let accepted = trust
            .verify(&bundle, &circumstances)
            .map_err(|wrong| refused(wrong.code(), format!("{}: {wrong}", path.display())))?;
        let manifest = bundle.manifest();
        if manifest.files.values().any(|it| it.used_as == Use::Plugin) {
            let message = format!("{}: it has plugins, which this version does not run", path.display());
            return Err(refused("bundle-plugins", message));
        }
        let (name, version) = (manifest.name.clone(), manifest.version);
        let bundled = Bundled { name, version, id: bundle.id().to_string() };
        let files = texts(&bundle, &bundled, Use::Policy)?;
        let emergency = (manifest.kind == Kind::Emergency).then(|| Emergency {
            name: manifest.name.to_string(),
            version: manifest.version,
            id: bundle.id().to_string(),
            vouched: vouched(&accepted),
            since: timestamp(clock.now),
            at: accepted.at,
            // Where the clock was doubted, nobody looked how far off its end is.
            until: manifest.expires.min((accepted.at.moment() + EMERGENCY_LIFE).into()),
            denials: 0,
            files: files.clone(),
        });
        Ok(Judged {
            vouched: vouched(&accepted),
            files,
            emergency,
            golden: texts(&bundle, &bundled, Use::Probes)?,
            object: self.object(&bundle)?,
            tables: manifest.tables,
            alarms: accepted.alarms.iter().map(ToString::to_string).collect(),
            next: accepted.next,
            bundled,
        })
    }

    /// The programs of a bundle, when they are not our own.
    fn object(&self, bundle: &Bundle) -> Result<Option<Vec<u8>>, Problem> {
        let programs = bundle.manifest().files.iter().filter(|(_, it)| it.used_as == Use::Programs);
        let foreign: Vec<_> = programs.filter(|(_, it)| !self.own.contains(&it.digest)).collect();
        match foreign.as_slice() {
            [] => Ok(None),
            [(path, _)] => Ok(bundle.file(path).map(<[u8]>::to_vec)),
            more => Err(refused("bundle-programs", format!("{} objects of programs; one is loaded", more.len()))),
        }
    }
}

impl Judged {
    /// Whether its policy compiled to what it says.
    ///
    /// # Errors
    /// It did not.
    pub fn hold(&self, compiled: &Compiled) -> Result<(), Problem> {
        let found = Digest::of_parts(|part| compiled.parts(part));
        if found == self.tables {
            return Ok(());
        }
        let Self { bundled: what, tables, .. } = self;
        let message = format!(
            "{what}: its policy compiles to tables {found} here, and its manifest says {tables}: build it with this \
             version of gabion"
        );
        Err(refused("bundle-tables", message))
    }
}

fn texts(bundle: &Bundle, what: &Bundled, used_as: Use) -> Result<Vec<SourceFile>, Problem> {
    let of_use = bundle.manifest().files.iter().filter(|(_, it)| it.used_as == used_as);
    let texts = of_use.map(|(path, _)| {
        let odd = || refused("bundle-text", format!("{what}, {path}: is no text (UTF-8)"));
        let text = std::str::from_utf8(bundle.file(path).unwrap_or_default()).map_err(|_| odd())?;
        Ok(SourceFile { name: path.to_string(), text: text.into() })
    });
    texts.collect()
}

fn vouched(accepted: &Accepted) -> String {
    let keys: Vec<&str> = accepted.signed.iter().map(|it| it.key.get(..12).unwrap_or(&it.key)).collect();
    format!("{}: {}", accepted.by, keys.join(", "))
}
