//! What metadata may say at all. The library counts names of keys: that no key has two of them is seen to here, and
//! that every role has what it is to have and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use sigstore_tuf::Key;
use sigstore_tuf::metadata::{Delegations, MetaFile, RoleKeys, Root, Targets};

use crate::key::PublicKey;
use crate::refused::Refused;
use crate::role::Role;

const TOP: [&str; 4] = ["root", "snapshot", "targets", "timestamp"];

fn wrong(file: &str, role: &str, what: impl Into<String>) -> Refused {
    Refused::Role { file: file.to_owned(), role: role.chars().take(40).collect(), what: what.into() }
}

/// Keys of which each is there once.
fn keys(file: &str, keys: &BTreeMap<String, Key>) -> Result<(), Refused> {
    let mut seen: BTreeMap<Vec<u8>, &str> = BTreeMap::new();
    for (name, key) in keys {
        let form = |what: String| Refused::Form { file: file.to_owned(), what };
        let public = PublicKey::of_metadata(key).map_err(|error| form(format!("key {name:.64}: {error}")))?;
        if let Some(one) = seen.insert(public.material(), name) {
            let short = |name: &str| name.chars().take(64).collect();
            return Err(Refused::KeyTwice { file: file.to_owned(), one: short(one), other: short(name) });
        }
    }
    Ok(())
}

/// A threshold that can be reached, by keys that are there.
fn role(file: &str, name: &str, role: &RoleKeys, all: &BTreeMap<String, Key>) -> Result<(), Refused> {
    let ids: BTreeSet<&String> = role.keyids.iter().collect();
    if ids.len() != role.keyids.len() {
        return Err(wrong(file, name, "has one key twice"));
    }
    if let Some(id) = ids.iter().find(|id| !all.contains_key(id.as_str())) {
        return Err(wrong(file, name, format!("has key {id:.64}, which is not there")));
    }
    if role.threshold == 0 || role.threshold > ids.len() {
        let what = format!("needs {} signatures, and has {} keys", role.threshold, ids.len());
        return Err(wrong(file, name, what));
    }
    Ok(())
}

/// A root: the four roles, each of which can sign.
pub(crate) fn root(file: &str, root: &Root) -> Result<(), Refused> {
    keys(file, &root.keys)?;
    if let Some(name) = root.roles.keys().find(|name| !TOP.contains(&name.as_str())) {
        return Err(wrong(file, name, "is no role of a root"));
    }
    for name in TOP {
        let Some(found) = root.role(name) else { return Err(wrong(file, name, "is not there")) };
        role(file, name, found, &root.keys)?;
    }
    Ok(())
}

/// The top of targets: it delegates to our roles, and signs nothing itself.
pub(crate) fn targets(targets: &Targets) -> Result<&Delegations, Refused> {
    const FILE: &str = "targets.json";
    if let Some(path) = targets.targets.keys().next() {
        return Err(path_of(FILE, "targets", path));
    }
    let delegations = targets.delegations.as_ref();
    let delegations = delegations.ok_or_else(|| wrong(FILE, "targets", "delegates nothing"))?;
    keys(FILE, &delegations.keys)?;
    let mut seen = BTreeSet::new();
    for delegated in &delegations.roles {
        let name = delegated.name.as_str();
        let Ok(ours) = name.parse::<Role>() else {
            return Err(wrong(FILE, name, "is no role: release, policy and emergency are"));
        };
        if !seen.insert(ours) {
            return Err(wrong(FILE, name, "is there twice"));
        }
        let paths = delegated.paths.as_deref().unwrap_or_default();
        if paths != [ours.paths()] || delegated.path_hash_prefixes.is_some() || !delegated.terminating {
            let what = format!("signs other paths than {}, or is not where a search ends", ours.paths());
            return Err(wrong(FILE, name, what));
        }
        role(FILE, name, &delegated.role_keys(), &delegations.keys)?;
    }
    Ok(delegations)
}

fn path_of(file: &str, role: &str, path: &str) -> Refused {
    Refused::Path { file: file.to_owned(), role: role.to_owned(), path: path.chars().take(120).collect() }
}

/// What a delegated role signs: paths of its own, and no roles further down.
pub(crate) fn delegated(ours: Role, targets: &Targets) -> Result<(), Refused> {
    if let Some(path) = targets.targets.keys().find(|path| !ours.may_sign(path)) {
        return Err(path_of(&ours.file(), ours.name(), path));
    }
    match &targets.delegations {
        Some(further) if !further.roles.is_empty() => Err(wrong(&ours.file(), ours.name(), "delegates further")),
        _ => Ok(()),
    }
}

/// A pin on a file, which says how long it is and what its digest is.
pub(crate) fn pinned(file: &str, pins: &str, pin: Option<&MetaFile>) -> Result<(), Refused> {
    let form = |what: String| Err(Refused::Form { file: file.to_owned(), what });
    match pin {
        None => form(format!("says nothing of {pins}")),
        Some(pin) if pin.length.is_none() || pin.hashes.as_ref().is_none_or(|it| !it.contains_key("sha256")) => {
            form(format!("says of {pins} no length, or no sha256"))
        }
        Some(_) => Ok(()),
    }
}
