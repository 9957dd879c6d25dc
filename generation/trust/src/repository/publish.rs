//! What is current: a snapshot of everything in force, and a timestamp of that.

use gabion_bundle::{Digest, Time};
use serde_json::{Map, Value, json};

use super::{Document, Repository, Status, Wrong};
use crate::role::Role;
use crate::signer::Signer;

/// What came of publishing.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// Snapshot and timestamp.
    pub files: Vec<Status>,
    /// Whether both are in force. When not, others have to publish, too.
    pub whole: bool,
}

fn pin(document: &Document) -> Value {
    let text = document.text();
    json!({"version": document.version(), "length": text.len(), "hashes": {"sha256": Digest::of(&text).hex()}})
}

impl Repository {
    /// Signs a snapshot of what is in force, and a timestamp of it; or adds a signature to those that wait.
    ///
    /// # Errors
    /// Something has not the signatures that it takes; or the key is not the publisher's.
    pub fn publish(&mut self, key: &dyn Signer, expires: Time) -> Result<Published, Wrong> {
        let id = key.public().id();
        let authority = self.authorities("timestamp.json", &Document::new("", 0, expires, json!({})), false);
        if !authority.iter().any(|by| by.has(&id)) {
            let what = format!("key {id} is not the publisher's");
            return Err(Wrong::new(what, "`gabion trust show` lists the keys of each role"));
        }
        let pins = self.pins()?;
        let same = |document: &Document| document.signed["meta"].as_object() == Some(&pins);
        let timestamps =
            |snapshot: &Document, timestamp: &Document| timestamp.signed["meta"]["snapshot.json"] == pin(snapshot);
        let current = self.files.get("snapshot.json").filter(|it| same(it));
        // A snapshot that has its signatures and waits for its timestamp, or else one more.
        let waits = current.is_some_and(|it| self.files.get("timestamp.json").is_none_or(|time| !timestamps(it, time)));
        if !waits {
            let next = self.files.get("snapshot.json").map_or(0, Document::version) + 1;
            let draft = self.drafts.get("snapshot.json").filter(|it| same(it)).cloned();
            let draft = draft.unwrap_or_else(|| Document::new("snapshot", next, expires, json!({"meta": pins})));
            self.add("snapshot.json", draft, key)?;
            // It was of another snapshot.
            self.drafts.remove("timestamp.json");
        }
        let whole = match self.files.get("snapshot.json").filter(|it| same(it)) {
            Some(snapshot) if !self.drafts.contains_key("snapshot.json") => {
                let meta = json!({"snapshot.json": pin(snapshot)});
                let next = self.files.get("timestamp.json").map_or(0, Document::version) + 1;
                let draft = self.drafts.get("timestamp.json").filter(|it| timestamps(snapshot, it)).cloned();
                let draft = draft.unwrap_or_else(|| Document::new("timestamp", next, expires, json!({"meta": meta})));
                self.add("timestamp.json", draft, key)?
            }
            _ => false,
        };
        let of = |it: &Status| it.file == "snapshot.json" || it.file == "timestamp.json";
        Ok(Published { files: self.status().into_iter().filter(of).collect(), whole })
    }

    /// Adds a signature; true when that was the last that it took.
    fn add(&mut self, name: &str, mut draft: Document, key: &dyn Signer) -> Result<bool, Wrong> {
        let id = key.public().id();
        if draft.signed_by(&id) {
            let what = format!("key {id} signed the draft of {name} already");
            return Err(Wrong::new(what, "it waits for others: `gabion trust show`"));
        }
        draft.sign(key)?;
        let whole = self.complete(name, &draft);
        let (into, from) =
            if whole { (&mut self.files, &mut self.drafts) } else { (&mut self.drafts, &mut self.files) };
        if whole {
            from.remove(name);
        }
        into.insert(name.to_owned(), draft);
        Ok(whole)
    }

    /// Version, length and digest of everything in force.
    fn pins(&self) -> Result<Map<String, Value>, Wrong> {
        let mut pins = Map::new();
        let names = ["targets.json".to_owned()].into_iter().chain(Role::ALL.map(Role::file));
        for name in names {
            match self.files.get(&name) {
                Some(document) if self.complete(&name, document) => {
                    pins.insert(name, pin(document));
                }
                None if name != "targets.json" => {}
                _ => {
                    let what = format!("{name} has not the signatures that it takes");
                    return Err(Wrong::new(what, "`gabion trust show` says which: `gabion trust sign` adds them"));
                }
            }
        }
        Ok(pins)
    }
}
