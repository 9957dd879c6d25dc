//! A bundle, held against what the roles sign and against the node.

use std::collections::BTreeSet;

use gabion_bundle::{Bundle, Digest, Kind, Manifest, Time, Use};
use sigstore_tuf::metadata::TargetFile;

use super::{Alarm, Believed, Custom, EMERGENCY_LIFE, Node};
use crate::refused::Refused;
use crate::role::Role;

/// Which role signed the bundle, and what it says of it.
pub(crate) fn signed_by(believed: &mut Believed<'_>, bundle: &Bundle) -> Result<(Role, Custom), Refused> {
    let manifest = bundle.manifest();
    if manifest.kind == Kind::Emergency {
        let emergency = signed(believed, bundle, Role::Emergency);
        // The many may do what the few may.
        return match emergency {
            Err(Refused::NotSigned { .. }) => signed(believed, bundle, Role::Policy).map_err(|error| match error {
                Refused::NotSigned { name, .. } => Refused::NotSigned { role: Role::Emergency, name },
                other => other,
            }),
            other => other,
        };
    }
    match signed(believed, bundle, Role::Policy) {
        Err(Refused::NotSigned { role, name }) => match signed(believed, bundle, Role::Emergency) {
            Ok(_) => Err(Refused::Emergency { name }),
            Err(_) => Err(Refused::NotSigned { role, name }),
        },
        other => other,
    }
}

fn signed(believed: &mut Believed<'_>, bundle: &Bundle, role: Role) -> Result<(Role, Custom), Refused> {
    let manifest = bundle.manifest();
    let name = || manifest.name.clone();
    let path = role.target(&manifest.name);
    let target = believed.role(role)?.and_then(|targets| targets.target(&path));
    let Some(target) = target else { return Err(Refused::NotSigned { role, name: name() }) };
    if !is(target, bundle.id(), bundle.id_length()) {
        let signed =
            target.hashes.get("sha256").map_or_else(|| "no sha256".to_owned(), |hex| format!("sha256:{hex:.64}"));
        return Err(Refused::Other { role, name: name(), signed, found: bundle.id() });
    }
    let custom = target.custom.clone().unwrap_or_default();
    let custom: Custom = serde_json::from_value(custom)
        .map_err(|error| Refused::Form { file: role.file(), what: format!("{path}: custom: {error}") })?;
    if custom.version != manifest.version {
        return Err(Refused::Version { role, name: name(), signed: custom.version, found: manifest.version });
    }
    Ok((role, custom))
}

fn is(target: &TargetFile, digest: Digest, length: u64) -> bool {
    target.length == length && target.hashes.get("sha256").is_some_and(|hex| *hex == digest.hex())
}

/// Every program and plugin is released, or came with the agent.
pub(crate) fn programs(believed: &mut Believed<'_>, bundle: &Bundle, own: &BTreeSet<Digest>) -> Result<(), Refused> {
    let files = &bundle.manifest().files;
    let code = files.iter().filter(|(_, it)| matches!(it.used_as, Use::Programs | Use::Plugin));
    let mut unknown = code.filter(|(_, it)| !own.contains(&it.digest)).peekable();
    if unknown.peek().is_none() {
        return Ok(());
    }
    let released: BTreeSet<(&str, u64)> = believed.role(Role::Release)?.map_or_else(BTreeSet::new, |targets| {
        let all = targets.targets.values();
        all.filter_map(|it| Some((it.hashes.get("sha256")?.as_str(), it.length))).collect()
    });
    match unknown.find(|(_, it)| !released.contains(&(it.digest.hex().as_str(), it.size))) {
        Some((path, it)) => Err(Refused::Program { path: path.clone(), digest: it.digest }),
        None => Ok(()),
    }
}

/// Its time has come, and is not over.
pub(crate) fn in_time(manifest: &Manifest, now: Time) -> Result<(), Refused> {
    if now < manifest.not_before {
        return Err(Refused::Future { not_before: manifest.not_before, now });
    }
    if now >= manifest.expires {
        return Err(Refused::Expired { expires: manifest.expires, now });
    }
    Ok(())
}

/// What few people signed ends before long.
pub(crate) fn soon_over(manifest: &Manifest, now: Time) -> Result<(), Refused> {
    let last = Time::from(now.moment() + EMERGENCY_LIFE);
    if manifest.kind == Kind::Emergency && manifest.expires > last {
        return Err(Refused::EmergencyLife { expires: manifest.expires, last });
    }
    Ok(())
}

/// It is for this node.
pub(crate) fn fits(manifest: &Manifest, node: &Node) -> Result<(), Refused> {
    // A deny list is beside what the node is given, and has a name of its own.
    if let (Kind::Generation, Some(wanted)) = (manifest.kind, &node.bundle)
        && manifest.name != *wanted
    {
        return Err(Refused::Stranger { found: manifest.name.clone(), wanted: wanted.clone() });
    }
    let join = |all: Vec<&str>| all.join(", ");
    let here: Vec<_> = manifest.targets.iter().filter(|it| it.architecture == node.architecture).collect();
    if !manifest.targets.is_empty() && here.is_empty() {
        let wanted = join(manifest.targets.iter().map(|it| it.architecture.as_str()).collect());
        return Err(Refused::Architecture { found: node.architecture.clone(), wanted });
    }
    if !here.is_empty() && !here.iter().any(|it| it.kernels.is_empty() || it.kernels.contains(&node.kernel)) {
        let wanted = join(here.iter().flat_map(|it| &it.kernels).map(|it| it.as_str()).collect());
        let (architecture, found) = (node.architecture.clone(), node.kernel.clone());
        return Err(Refused::Kernel { architecture, found, wanted });
    }
    let brings_programs = manifest.files.values().any(|it| it.used_as == Use::Programs);
    let expected = node.contracts.keys().filter(|_| brings_programs);
    let sets: BTreeSet<_> = manifest.contracts.keys().chain(expected).collect();
    let said = |digest: Option<&Digest>| digest.map_or_else(|| String::from("nothing"), Digest::to_string);
    for set in sets {
        let (bundle, agent) = (manifest.contracts.get(set), node.contracts.get(set));
        if bundle != agent {
            return Err(Refused::Contract { set: set.clone(), bundle: said(bundle), agent: said(agent) });
        }
    }
    Ok(())
}

/// It is not older than what was accepted, or somebody who may granted it.
pub(crate) fn above(
    floor: Option<u64>,
    manifest: &Manifest,
    custom: &Custom,
    now: Time,
) -> Result<Option<Alarm>, Refused> {
    let found = manifest.version;
    let Some(floor) = floor.filter(|floor| found < *floor) else { return Ok(None) };
    let name = manifest.name.clone();
    let Some(grant) = &custom.grant else { return Err(Refused::RolledBack { name, floor, found }) };
    let what = if grant.floor > found {
        format!("goes down to {}", grant.floor)
    } else if now >= grant.expires {
        format!("expired at {}", grant.expires)
    } else {
        return Ok(Some(Alarm::WentBack { floor, version: found, grant: grant.clone() }));
    };
    Err(Refused::Grant { name, floor, found, what })
}
