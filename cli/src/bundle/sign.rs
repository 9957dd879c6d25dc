//! `gabion bundle sign` and `publish`: what a role says of a bundle goes to the site's metadata, and that to the
//! bundle.

use gabion_bundle::{Attachment, Bundle, Kind, Use};
use gabion_trust::{Envelope, Grant, Role, Signer, Status};
use serde::Serialize;
use serde_json::{Value, json};

use super::{open, save};
use crate::command::{PublishArgs, SignBundleArgs};
use crate::exit::{Exit, Failure};
use crate::key;
use crate::output;
use crate::trust::{Folder, after, failure};

pub fn sign(arguments: &SignBundleArgs) -> Result<Exit, Failure> {
    let mut bundle = open(&arguments.bundle)?;
    let mut folder = Folder::open(&arguments.trust)?;
    let entries = match arguments.role {
        Role::Release => released(&bundle)?,
        role => vec![of_bundle(arguments, role, &bundle, &folder)?],
    };
    let key = key::signer(&arguments.key)?;
    let signed = folder.site.sign_targets(arguments.role, &entries, key.as_ref(), after(arguments.expires_in)?);
    let status = signed.map_err(|error| failure(&error, &arguments.trust.display().to_string()))?;
    // The folder first: what it lacks cannot be found in a bundle.
    folder.save()?;
    if arguments.role != Role::Release && envelop(&mut bundle, key.as_ref())? {
        save(&bundle, &arguments.bundle)?;
    }
    output::show(arguments.output.output, &status, |it| format!("{it}\n"))?;
    Ok(Exit::Fine)
}

/// What release says: each program and plugin, by its digest.
fn released(bundle: &Bundle) -> Result<Vec<(String, Value)>, Failure> {
    let files = &bundle.manifest().files;
    let code = files.iter().filter(|(_, it)| matches!(it.used_as, Use::Programs | Use::Plugin));
    let entries: Vec<_> = code
        .map(|(path, it)| {
            let hex = it.digest.hex();
            let target = json!({"length": it.size, "hashes": {"sha256": hex}, "custom": {"path": path}});
            (format!("release/{hex}"), target)
        })
        .collect();
    if entries.is_empty() {
        let failure = Failure::input("there are neither programs nor plugins in this bundle");
        return Err(failure.help("release signs nothing else; policy and emergency sign bundles"));
    }
    Ok(entries)
}

/// What policy and emergency say: the bundle, by what it is known by.
fn of_bundle(
    arguments: &SignBundleArgs,
    role: Role,
    bundle: &Bundle,
    folder: &Folder,
) -> Result<(String, Value), Failure> {
    let manifest = bundle.manifest();
    let refused = |message: String| {
        let mut failure = Failure::input(message);
        failure.exit = Exit::No;
        failure
    };
    if role == Role::Emergency && manifest.kind != Kind::Emergency {
        let message = format!("{}: emergency signs emergency bundles, and this is a whole generation", manifest.name);
        return Err(refused(message).help("`gabion bundle build --emergency`, or let policy sign it"));
    }
    let path = format!("{role}/{}", manifest.name);
    let grant = match (arguments.grant_floor, arguments.grant_expires, &arguments.grant_reason) {
        (Some(floor), Some(expires), Some(reason)) => Some(Grant { floor, expires, reason: reason.clone() }),
        _ => None,
    };
    let before = folder.site.target(role, &path);
    let signed = before.as_ref().and_then(|it| it["custom"]["version"].as_u64()).unwrap_or(0);
    let grants = before.as_ref().is_some_and(|it| it["custom"]["grant"].is_object());
    if manifest.version < signed && grant.is_none() {
        let message =
            format!("{role} signed version {signed} of {}, and this is version {}", manifest.name, manifest.version);
        return Err(refused(message).help("going back takes a grant: --grant-floor, --grant-expires, --grant-reason"));
    }
    if let Some(grant) = grant.as_ref().filter(|it| it.floor > manifest.version) {
        return Err(refused(format!(
            "--grant-floor {} does not reach down to version {}",
            grant.floor, manifest.version
        )));
    }
    let mut custom = json!({"version": manifest.version});
    if let Some(grant) = grant {
        custom["grant"] = json!(grant);
    } else if grants && manifest.version == signed {
        // Whoever signs second adds to what was granted, and does not take it away.
        custom = before.map(|it| it["custom"].clone()).unwrap_or(custom);
    }
    let hashes = json!({"sha256": bundle.id().hex()});
    Ok((path, json!({"length": bundle.id_length(), "hashes": hashes, "custom": custom})))
}

/// Signs where the bundle comes from; whether there was such a statement.
fn envelop(bundle: &mut Bundle, key: &dyn Signer) -> Result<bool, Failure> {
    let mut envelopes = Vec::new();
    for attachment in bundle.attached() {
        let mut envelope = match attachment {
            Attachment::Trust(_) => continue,
            Attachment::Statement(text) => Envelope::around(text),
            Attachment::Envelope(bytes) => Envelope::parse(bytes).map_err(|error| Failure::input(error.to_string()))?,
        };
        envelope.sign(key).map_err(|error| Failure::system(error.to_string()))?;
        envelopes.push(Attachment::Envelope(envelope.text()));
    }
    let found = !envelopes.is_empty();
    bundle.retain(|it| matches!(it, Attachment::Trust(_)));
    envelopes.into_iter().for_each(|it| bundle.attach(it));
    Ok(found)
}

#[derive(Serialize)]
struct Published {
    published: bool,
    /// Whether enough people signed the bundle itself.
    signed: bool,
    bundle: String,
    files: Vec<Status>,
}

pub fn publish(arguments: &PublishArgs) -> Result<Exit, Failure> {
    let mut bundle = open(&arguments.bundle)?;
    let mut folder = Folder::open(&arguments.trust)?;
    let manifest = bundle.manifest();
    let id = bundle.id().hex();
    let by = [Role::Policy, Role::Emergency].map(|role| (role, format!("{role}/{}", manifest.name)));
    let is = |target: &serde_json::Value| target["hashes"]["sha256"] == *id;
    let signed = by.iter().any(|(role, path)| folder.site.target_in_force(*role, path).as_ref().is_some_and(is));
    if !signed && !by.iter().any(|(role, path)| folder.site.target(*role, path).as_ref().is_some_and(is)) {
        let message = format!("{}: nobody signed this bundle {}", arguments.bundle.display(), manifest.name);
        return Err(Failure::input(message).help("`gabion bundle sign --role policy`, before it is published"));
    }
    let key = key::signer(&arguments.key)?;
    let published = folder.site.publish(key.as_ref(), after(arguments.expires_in)?);
    let published = published.map_err(|error| failure(&error, &arguments.trust.display().to_string()))?;
    folder.save()?;
    if published.whole {
        bundle.attach(Attachment::Trust(folder.site.metadata()));
        save(&bundle, &arguments.bundle)?;
    }
    let shown =
        Published { published: published.whole, signed, bundle: bundle.id().to_string(), files: published.files };
    output::show(arguments.output.output, &shown, |it| {
        let mut text: String = it.files.iter().map(|it| format!("{it}\n")).collect();
        text += if it.published { "published\n" } else { "not published yet: another publisher has to sign, too\n" };
        if !it.signed {
            text += "nodes refuse it: too few have signed it yet (`gabion trust show`), sign and publish again\n";
        }
        text
    })?;
    Ok(if published.whole { Exit::Fine } else { Exit::No })
}
