//! The site's metadata: what is in force, and drafts to which people add signatures one after the other, each where
//! their key is. It is a value; whoever keeps it in a folder reads and writes the files.

mod document;
mod plan;
mod publish;

use std::collections::BTreeMap;
use std::fmt;

use gabion_bundle::{Metadata, Time};
use serde::Serialize;
use serde_json::{Value, json};

use crate::role::Role;
use crate::signer::{Signer, Unsigned};
use crate::verify::Signed;
pub(crate) use document::{Authority, Document};
pub use plan::{Keys, Lives, Plan, Who};
pub use publish::Published;

/// Files, by name.
type Files = BTreeMap<String, Document>;

/// A site's metadata.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Repository {
    files: Files,
    drafts: Files,
}

/// Why something cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Wrong {
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: &'static str,
}

impl Wrong {
    pub(crate) fn new(what: impl Into<String>, remedy: &'static str) -> Self {
        Self { what: what.into(), remedy }
    }
}

impl From<Unsigned> for Wrong {
    fn from(error: Unsigned) -> Self {
        Self::new(error.to_string(), "see that the token is there and its PIN is right")
    }
}

/// A file of metadata, and whether it is signed by enough.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Its name.
    pub file: String,
    /// Whose it is.
    pub role: String,
    /// Its version.
    pub version: u64,
    /// Until when it is good.
    pub expires: String,
    /// Whether it is in force, or still waits for signatures.
    pub draft: bool,
    /// Signatures that count.
    pub valid: usize,
    /// Signatures that it takes.
    pub threshold: usize,
    /// All signatures.
    pub signed: Vec<Signed>,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.draft { "waits" } else { "in force" };
        write!(f, "{} (version {}): {} of {} signatures, {state}", self.file, self.version, self.valid, self.threshold)
    }
}

fn root_file(version: u64) -> String {
    format!("{version}.root.json")
}

fn root_version(name: &str) -> Option<u64> {
    name.strip_suffix(".root.json")?.parse().ok()
}

impl Repository {
    /// Of files, as they were written.
    ///
    /// # Errors
    /// One of them is no metadata.
    pub fn of<'f>(
        files: impl IntoIterator<Item = (&'f str, &'f [u8])>,
        drafts: impl IntoIterator<Item = (&'f str, &'f [u8])>,
    ) -> Result<Self, Wrong> {
        let parsed = |(name, bytes): (&str, &[u8])| match Document::parse(bytes) {
            Ok(document) => Ok((name.to_owned(), document)),
            Err(what) => Err(Wrong::new(format!("{name}: {what}"), "take it out of the folder, or restore it")),
        };
        let files = files.into_iter().map(parsed).collect::<Result<_, _>>()?;
        Ok(Self { files, drafts: drafts.into_iter().map(parsed).collect::<Result<_, _>>()? })
    }

    /// What is in force, to be written.
    pub fn files(&self) -> impl Iterator<Item = (&str, Vec<u8>)> {
        self.files.iter().map(|(name, document)| (name.as_str(), document.text()))
    }

    /// What waits for signatures, to be written.
    pub fn drafts(&self) -> impl Iterator<Item = (&str, Vec<u8>)> {
        self.drafts.iter().map(|(name, document)| (name.as_str(), document.text()))
    }

    /// All that is in force, to be attached to a bundle.
    #[must_use]
    pub fn metadata(&self) -> Metadata {
        self.files.iter().filter_map(|(name, document)| Some((name.parse().ok()?, document.text()))).collect()
    }

    /// The newest root that is in force, and its version.
    fn root(&self) -> Option<(u64, &Document)> {
        self.files.iter().filter_map(|(name, it)| Some((root_version(name)?, it))).max_by_key(|(version, _)| *version)
    }

    fn draft_root(&self) -> Option<(u64, &Document)> {
        self.drafts.iter().find_map(|(name, it)| Some((root_version(name)?, it)))
    }

    /// The text of the newest root that is in force.
    #[must_use]
    pub fn newest_root(&self) -> Option<Vec<u8>> {
        self.root().map(|(_, root)| root.text())
    }

    /// What a file is signed by, where it is in force or a draft: by whom it must be, all of them.
    fn authorities(&self, name: &str, document: &Document, drafts: bool) -> Vec<Authority> {
        let of_root = |root: &Document, role: &str| Authority::of(&root.signed["keys"], &root.signed["roles"][role]);
        if let Some(version) = root_version(name) {
            let before = version.checked_sub(1).and_then(|version| self.files.get(&root_file(version)));
            return before.into_iter().chain([document]).map(|root| of_root(root, "root")).collect();
        }
        let root = if drafts { self.draft_root() } else { None }.or_else(|| self.root()).map(|(_, root)| root);
        match name.strip_suffix(".json") {
            Some(top @ ("targets" | "snapshot" | "timestamp")) => root.into_iter().map(|it| of_root(it, top)).collect(),
            Some(role) => {
                let draft = self.drafts.get("targets.json").filter(|_| drafts);
                let targets = draft.or_else(|| self.files.get("targets.json"));
                let of = |targets: &Document| {
                    let delegations = &targets.signed["delegations"];
                    let roles = delegations["roles"].as_array();
                    let role = roles.into_iter().flatten().find(|it| it["name"] == role)?;
                    Some(Authority::of(&delegations["keys"], role))
                };
                targets.and_then(of).into_iter().collect()
            }
            None => Vec::new(),
        }
    }

    /// Whether a file has all the signatures that it takes, by what is in force.
    fn complete(&self, name: &str, document: &Document) -> bool {
        let all = self.authorities(name, document, false);
        !all.is_empty() && all.iter().all(|by| document.complete(by))
    }

    /// Puts into force what has its signatures, top down; what has not enough any more, as keys changed, waits again.
    fn settle(&mut self) {
        let mut order: Vec<String> = self.drafts.keys().filter(|it| root_version(it).is_some()).cloned().collect();
        order.push("targets.json".to_owned());
        order.extend(Role::ALL.map(Role::file));
        for name in order {
            match self.drafts.get(&name) {
                Some(draft) if self.complete(&name, draft) => {
                    let mut draft = draft.clone();
                    let all = self.authorities(&name, &draft, false);
                    draft.prune(&all.iter().collect::<Vec<_>>());
                    self.drafts.remove(&name);
                    self.files.insert(name, draft);
                }
                Some(_) => {}
                None => {
                    let short = self.files.get(&name).filter(|it| !self.complete(&name, it)).cloned();
                    if let Some(mut short) = short {
                        // The same text: others have to sign it.
                        let all = self.authorities(&name, &short, false);
                        short.prune(&all.iter().collect::<Vec<_>>());
                        self.drafts.insert(name, short);
                    }
                }
            }
        }
    }

    /// Signs every draft that this key may sign, or only that of one role. What has its signatures comes into force.
    ///
    /// # Errors
    /// There is nothing for this key to sign, or the token did not sign.
    pub fn sign(&mut self, key: &dyn Signer, only: Option<Role>) -> Result<Vec<Status>, Wrong> {
        let id = key.public().id();
        let mut touched = Vec::new();
        let names: Vec<String> = self.drafts.keys().cloned().collect();
        for name in names {
            let publishing = name == "snapshot.json" || name == "timestamp.json";
            if publishing || only.is_some_and(|role| name != role.file()) {
                continue;
            }
            let Some(draft) = self.drafts.get(&name) else { continue };
            let mut may = self.authorities(&name, draft, true);
            may.extend(self.authorities(&name, draft, false));
            if draft.signed_by(&id) || !may.iter().any(|by| by.has(&id)) {
                continue;
            }
            if let Some(draft) = self.drafts.get_mut(&name) {
                draft.sign(key)?;
            }
            touched.push(name);
        }
        if touched.is_empty() {
            let what = format!("no draft waits for a signature by key {id}");
            return Err(Wrong::new(what, "`gabion trust show` says what waits, and for whom"));
        }
        self.settle();
        Ok(self.status().into_iter().filter(|it| touched.contains(&it.file)).collect())
    }

    /// Every file, drafts too, with its signatures.
    #[must_use]
    pub fn status(&self) -> Vec<Status> {
        let in_force = self.files.iter().map(|(name, it)| (name, it, false));
        let all = in_force.chain(self.drafts.iter().map(|(name, it)| (name, it, true)));
        let newest = self.root().map_or(0, |(version, _)| version);
        let shown = all.filter(|(name, _, _)| root_version(name).is_none_or(|version| version >= newest));
        shown.map(|(name, document, draft)| self.status_of(name, document, draft)).collect()
    }

    fn status_of(&self, name: &str, document: &Document, draft: bool) -> Status {
        let all = self.authorities(name, document, draft);
        // Of several, the one that lacks most.
        let missing = |by: &&Authority| by.threshold.saturating_sub(document.valid(by));
        let by = all.iter().max_by_key(missing).cloned().unwrap_or_default();
        let role = root_version(name).map_or_else(|| name.trim_end_matches(".json").to_owned(), |_| "root".to_owned());
        Status {
            file: name.to_owned(),
            role,
            version: document.version(),
            expires: document.expires().to_owned(),
            draft,
            valid: document.valid(&by),
            threshold: by.threshold,
            signed: document.judged(&by),
        }
    }

    /// Has a role say something of a target, and signs that: a draft that others add to. Where it is said already, the
    /// signature is added to what is in force.
    ///
    /// # Errors
    /// The key has not the role; the draft says something else already; it was signed by this key before.
    pub fn sign_targets(
        &mut self,
        role: Role,
        entries: &[(String, Value)],
        key: &dyn Signer,
        expires: Time,
    ) -> Result<Status, Wrong> {
        let (name, id) = (role.file(), key.public().id());
        let empty = Document::new("targets", 0, expires, json!({"targets": {}}));
        let authority = self.authorities(&name, &empty, false);
        if authority.is_empty() {
            let what = format!("there is no role {role} in force");
            return Err(Wrong::new(
                what,
                "root and targets have to be signed before: `gabion trust show`, `gabion trust sign`",
            ));
        }
        if !authority.iter().any(|by| by.has(&id)) {
            let what = format!("key {id} does not have the role {role}");
            return Err(Wrong::new(what, "`gabion trust show` lists the keys of each role"));
        }
        let says = |document: &Document| {
            let targets = document.targets();
            entries.iter().all(|(path, entry)| targets.get(path) == Some(entry))
        };
        if let Some(draft) = self.drafts.get_mut(&name) {
            if says(draft) && draft.signed_by(&id) {
                let what = format!("key {id} signed the draft of {name} already");
                return Err(Wrong::new(what, "it waits for others: `gabion trust show`"));
            }
            if !says(draft) && draft.has_signatures() {
                let what = format!("the draft of {name} says something else, and is signed");
                return Err(Wrong::new(what, "let it be signed to its end, or remove it from the folder drafts"));
            }
        }
        match (self.drafts.get(&name), self.files.get(&name)) {
            (Some(draft), _) if says(draft) => {}
            (None, Some(current)) if says(current) && !current.signed_by(&id) => {
                let mut more = current.clone();
                more.sign(key)?;
                self.files.insert(name.clone(), more.clone());
                return Ok(self.status_of(&name, &more, false));
            }
            (draft, current) => {
                let base = draft.or(current);
                let mut targets = base.map(Document::targets).unwrap_or_default();
                targets.extend(entries.iter().cloned());
                let version = current.map_or(0, Document::version) + 1;
                let draft = Document::new("targets", version, expires, json!({"targets": targets}));
                self.drafts.insert(name.clone(), draft);
            }
        }
        if let Some(draft) = self.drafts.get_mut(&name) {
            draft.sign(key)?;
        }
        self.settle();
        let found = self.status().into_iter().rfind(|it| it.file == name);
        found.ok_or_else(|| Wrong::new(format!("{name} is not there"), "this is a defect of gabion"))
    }

    /// What a role says of a target, in force or not yet.
    #[must_use]
    pub fn target(&self, role: Role, path: &str) -> Option<Value> {
        let said = |files: &Files| files.get(&role.file()).and_then(|it| it.targets().get(path).cloned());
        said(&self.drafts).or_else(|| said(&self.files))
    }

    /// What a role says of a target, with all signatures that it takes.
    #[must_use]
    pub fn target_in_force(&self, role: Role, path: &str) -> Option<Value> {
        self.files.get(&role.file())?.targets().get(path).cloned()
    }
}
