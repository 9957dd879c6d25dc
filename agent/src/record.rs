//! What the agent keeps in its store: what it must remember across its own death.
//!
//! | record | what |
//! | --- | --- |
//! | `life` | [`Life`]: which generation is in force where, on trial, given up |
//! | `generation/N`, `policy/N`, `object/N`, `bundle/N` | [`Record`] of a generation, and what it is made of |
//! | `base`, `counted` | what rules of earlier generations counted, and of those in force when the agent stopped |
//! | `emergency/NAME` | an [`Emergency`] that is in force beside them |
//! | `mode` | an operator's choice of mode |
//! | `trust`, `trust-root` | what a sealed node trusts, with the versions below which it does not go; how that began |

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use gabion_abi::event::{FAILSAFE_LIMIT, Settings};
use gabion_bundle::Name;
use gabion_life::{Arrow, Event, Life, Number};
use gabion_store::{Batch, Store, StoreError};
use gabion_trust::Trust;
use serde::{Deserialize, Serialize};

use crate::api::wire::Amount;
use crate::counters::{BaseEntry, RuleName};
use crate::emergency::{Emergency, Ids, Lists};
use crate::events::timestamp;
use crate::policy::{self, SourceFile};

/// An operator's choice of mode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModeOverride {
    /// Audit instead of enforce, or the reverse.
    pub audit: bool,
    /// Since when, RFC 3339.
    pub since: String,
}

/// What is known of a generation without its policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Its number.
    pub number: Number,
    /// Since when it is loaded, RFC 3339.
    pub since: String,
    /// Digest of the policy text.
    pub digest: String,
    /// Where it came from.
    pub origin: String,
    /// Digest of the kernel programs.
    pub programs: String,
    /// What its rule numbers mean.
    pub rules: Arc<[RuleName]>,
    /// Interface classes of its tables.
    pub classes: Vec<String>,
    /// Name of the site.
    pub site: String,
    /// Interfaces that it guards: name or pattern, and role.
    pub interfaces: Vec<(String, Option<String>)>,
    /// The mode that its policy asks for.
    pub audit: bool,
    /// Its site wants only the agent to load programs.
    pub seal: bool,
    /// Rates and fail-safe ports of its site.
    pub limits: Limits,
    /// The deny lists that it was made with.
    pub emergencies: Ids,
}

impl Record {
    /// Whether it was remembered: of a generation that is only found in the kernel, nothing is known but its number.
    pub fn is_known(&self) -> bool {
        !self.digest.is_empty()
    }
}

/// [`Settings`] without the mode, for the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Denials reported a second, for each CPU.
    pub denied_rate: u32,
    /// Denials reported at once.
    pub denied_burst: u32,
    /// Allowed packets reported a second.
    pub allowed_rate: u32,
    /// One in so many allowed packets is reported.
    pub allowed_sample: u32,
    /// Fail-safe ports: protocol << 16 | port.
    pub failsafe: Vec<u32>,
}

impl Limits {
    /// As the kernel programs read them.
    pub fn settings(&self, audit: bool) -> Settings {
        let mut failsafe = [0; FAILSAFE_LIMIT];
        let count = self.failsafe.len().min(FAILSAFE_LIMIT);
        failsafe[..count].copy_from_slice(&self.failsafe[..count]);
        Settings {
            denied_rate: self.denied_rate,
            denied_burst: self.denied_burst,
            allowed_rate: self.allowed_rate,
            allowed_sample: self.allowed_sample,
            audit_mode: u32::from(audit),
            // At most FAILSAFE_LIMIT.
            failsafe_count: count as u32,
            failsafe,
        }
    }
}

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When, RFC 3339.
    pub time: String,
    /// Which generation; 0 is none.
    pub generation: Number,
    /// What was about to happen: a step of a generation's life, or something else that an operator wants to know.
    pub step: String,
    /// The step before, of a generation's life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Why, or what.
    pub detail: String,
}

impl Line {
    /// An arrow of a generation's life.
    pub fn of(arrow: &Arrow, time: &str) -> Self {
        let from = arrow.from.map(|step| step.name().to_owned());
        let step = arrow.to.name().to_owned();
        Self { time: time.to_owned(), generation: arrow.number, step, from, detail: arrow.why.clone() }
    }

    /// Something else.
    pub fn note(time: &str, step: &str, generation: Number, detail: &str) -> Self {
        let (time, step, detail) = (time.to_owned(), step.to_owned(), detail.to_owned());
        Self { time, generation, step, from: None, detail }
    }
}

/// What an earlier agent left in the store.
#[derive(Debug, Default)]
pub struct Remembered {
    /// Its generations.
    pub life: Life,
    /// What is known of them.
    pub records: BTreeMap<Number, Record>,
    /// What rules of generations before them counted.
    pub base: Vec<BaseEntry>,
    /// What rules of these had counted when the agent stopped.
    pub counted: BTreeMap<Number, Vec<Amount>>,
    /// An operator's choice of mode.
    pub mode: Option<ModeOverride>,
    /// What the node trusts, and the digest of the root by which that began.
    pub trust: Option<(Trust, String)>,
    /// Deny lists in force.
    pub lists: Lists,
}

fn list(name: &str) -> String {
    format!("emergency/{name}")
}

fn record(number: Number) -> String {
    // Names sort as text; numbers are to sort as numbers.
    format!("generation/{number:010}")
}

fn policy_of(number: Number) -> String {
    format!("policy/{number:010}")
}

fn bundle_of(number: Number) -> String {
    format!("bundle/{number:010}")
}

fn object_of(number: Number) -> String {
    format!("object/{number:010}")
}

/// What a generation is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MadeOf {
    /// Its policy.
    pub files: Vec<SourceFile>,
    /// Its kernel programs, when they are not the agent's own.
    pub object: Option<Vec<u8>>,
    /// The bundle that both came in.
    pub bundle: Option<Bundled>,
}

impl MadeOf {
    /// What it is known by.
    pub fn digest(&self) -> String {
        self.bundle.as_ref().map_or_else(|| policy::digest(&self.files), |bundle| bundle.id.clone())
    }
}

/// What a bundle is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundled {
    /// For whom it is.
    pub name: Name,
    /// How new.
    pub version: u64,
    /// Digest of every byte of it.
    pub id: String,
}

impl std::fmt::Display for Bundled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

impl Remembered {
    /// Reads all of it but the texts.
    pub fn read(store: &mut Store) -> Result<Self, StoreError> {
        let mut records = BTreeMap::new();
        for name in store.names("generation/")? {
            if let Some(record) = store.read::<Record>(&name)? {
                records.insert(record.number, record);
            }
        }
        let mut lists = Lists::new();
        for name in store.names("emergency/")? {
            if let Some(it) = store.read::<Emergency>(&name)? {
                lists.insert(it.name.clone(), it);
            }
        }
        Ok(Self {
            lists,
            life: store.read("life")?.unwrap_or_default(),
            records,
            base: store.read("base")?.unwrap_or_default(),
            counted: store.read("counted")?.unwrap_or_default(),
            mode: store.read("mode")?,
            trust: trust(store)?,
        })
    }
}

/// What is stored that makes no sense is not trusted: the root that the operator names is.
fn trust(store: &mut Store) -> Result<Option<(Trust, String)>, StoreError> {
    let stored = store.bytes("trust")?;
    let trust = stored.and_then(|stored| Trust::open(&stored).ok());
    Ok(trust.zip(store.read("trust-root")?))
}

/// Records of ours in a [`Batch`].
pub trait Records {
    /// Remembers the lives of generations.
    fn life(&mut self, life: &Life) -> &mut Self;
    /// Remembers a generation and what it was made of.
    fn generation(&mut self, record: &Record, made_of: &MadeOf) -> &mut Self;
    /// Remembers a generation, of which the text is there already.
    fn record(&mut self, record: &Record) -> &mut Self;
    /// Remembers what is trusted, and by which root that began.
    fn trust(&mut self, trust: &Trust, root: &str) -> &mut Self;
    /// Remembers a deny list that is in force.
    fn emergency(&mut self, emergency: &Emergency) -> &mut Self;
    /// Forgets one that is not any more.
    fn no_emergency(&mut self, name: &str) -> &mut Self;
    /// Forgets a generation.
    fn forget(&mut self, number: Number) -> &mut Self;
}

impl Records for Batch {
    fn life(&mut self, life: &Life) -> &mut Self {
        self.put("life", life)
    }

    fn generation(&mut self, it: &Record, made_of: &MadeOf) -> &mut Self {
        self.put(&record(it.number), it).put(&policy_of(it.number), &made_of.files);
        if let Some(object) = &made_of.object {
            self.put_bytes(&object_of(it.number), object);
        }
        if let Some(bundle) = &made_of.bundle {
            self.put(&bundle_of(it.number), bundle);
        }
        self
    }

    fn record(&mut self, it: &Record) -> &mut Self {
        self.put(&record(it.number), it)
    }

    fn trust(&mut self, trust: &Trust, root: &str) -> &mut Self {
        self.put_bytes("trust", &trust.text()).put("trust-root", &root)
    }

    fn emergency(&mut self, it: &Emergency) -> &mut Self {
        self.put(&list(&it.name), it)
    }

    fn no_emergency(&mut self, name: &str) -> &mut Self {
        self.remove(&list(name))
    }

    fn forget(&mut self, number: Number) -> &mut Self {
        let parts = [record(number), policy_of(number), object_of(number), bundle_of(number)];
        parts.iter().fold(self, |batch, name| batch.remove(name))
    }
}

/// Remembers that all was taken out of the kernel while no agent ran.
pub fn detached(store: &mut Store) -> Result<(), StoreError> {
    let life: Life = store.read("life")?.unwrap_or_default();
    // It always follows.
    let Ok(decision) = life.take(Event::Detached) else { return Ok(()) };
    let time = timestamp(SystemTime::now());
    let mut batch = Batch::default();
    batch.life(&decision.life);
    for arrow in &decision.arrows {
        batch.note(&Line::of(arrow, &time));
    }
    store.write(&batch)
}

/// What a generation was made of.
pub fn made_of(store: &mut Store, number: Number) -> Result<Option<MadeOf>, StoreError> {
    let (object, bundle) = (store.bytes(&object_of(number))?, bundled(store, number)?);
    Ok(store.read(&policy_of(number))?.map(|files| MadeOf { files, object, bundle }))
}

/// The bundle that it came in.
pub fn bundled(store: &mut Store, number: Number) -> Result<Option<Bundled>, StoreError> {
    store.read(&bundle_of(number))
}
