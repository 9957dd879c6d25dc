//! `gabion trust ...`: the site's metadata, which people sign one after the other.

mod folder;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use gabion_bundle::Time;
use gabion_trust::{Keys, Plan, Repository, Status, Who, Worth, Wrong};
use serde::Serialize;

use crate::command::{InitArgs, OutputArgs, RotateArgs, ShowTrustArgs, SignTrustArgs, TrustCommand};
use crate::exit::{Exit, Failure};
use crate::key;
use crate::output;
pub use folder::{Folder, replace};

pub fn run(command: TrustCommand) -> Result<Exit, Failure> {
    match command {
        TrustCommand::Init(arguments) => init(&arguments),
        TrustCommand::Show(arguments) => show(&arguments),
        TrustCommand::Sign(arguments) => sign(&arguments),
        TrustCommand::Rotate(arguments) => rotate(&arguments),
    }
}

/// What cannot be done is the caller's mistake.
pub fn failure(error: &Wrong, place: &str) -> Failure {
    let failure = Failure::input(format!("{place}: {error}"));
    if error.remedy.is_empty() { failure } else { failure.help(error.remedy) }
}

/// So long from now.
pub fn after(life: Duration) -> Result<Time, Failure> {
    let moment = SystemTime::now().checked_add(life);
    let moment = moment.ok_or_else(|| Failure::input("--expires-in is longer than there is time"))?;
    Ok(Time::from(moment))
}

fn init(arguments: &InitArgs) -> Result<Exit, Failure> {
    let mut keys = BTreeMap::new();
    for text in &arguments.role {
        let (who, of) = role(text)?;
        if keys.insert(who, of).is_some() {
            return Err(Failure::input(format!("--role {who} is there twice")));
        }
    }
    let site = Repository::begin(&Plan { keys }, after(arguments.expires_in)?);
    let site = site.map_err(|error| failure(&error, &arguments.trust.display().to_string()))?;
    let folder = Folder::begin(&arguments.trust, site)?;
    folder.save()?;
    print(arguments.output, &folder.site).map(|_| Exit::Fine)
}

/// `ROLE=N:KEY,KEY..`.
fn role(text: &str) -> Result<(Who, Keys), Failure> {
    let wrong = |why: String| Failure::input(format!("--role {text}: {why}")).help("write ROLE=N:KEY,KEY..");
    let (who, rest) = text.split_once('=').ok_or_else(|| wrong("there is no =".to_owned()))?;
    let who: Who = who.parse().map_err(|_| {
        wrong(format!("{who:?} is no role: root, targets, publisher, release, policy and emergency are"))
    })?;
    let (threshold, files) = rest.split_once(':').ok_or_else(|| wrong("there is no :".to_owned()))?;
    let threshold = threshold.parse().map_err(|_| wrong(format!("{threshold:?} is no number of signatures")))?;
    let keys = files.split(',').map(|file| key::public(Path::new(file))).collect::<Result<_, _>>()?;
    Ok((who, Keys { keys, threshold }))
}

fn show(arguments: &ShowTrustArgs) -> Result<Exit, Failure> {
    let folder = Folder::open(&arguments.trust)?;
    print(arguments.output, &folder.site)
}

fn sign(arguments: &SignTrustArgs) -> Result<Exit, Failure> {
    let mut folder = Folder::open(&arguments.trust)?;
    let key = key::signer(&arguments.key)?;
    let signed = folder.site.sign(key.as_ref(), None);
    let signed = signed.map_err(|error| failure(&error, &arguments.trust.display().to_string()))?;
    folder.save()?;
    output::show(arguments.output.output, &signed, |all| all.iter().map(|it| format!("{it}\n")).collect())?;
    Ok(Exit::Fine)
}

fn rotate(arguments: &RotateArgs) -> Result<Exit, Failure> {
    let mut folder = Folder::open(&arguments.trust)?;
    let (who, keys) = role(&arguments.role)?;
    let rotated = folder.site.rotate(who, keys, after(arguments.expires_in)?);
    rotated.map_err(|error| failure(&error, &arguments.trust.display().to_string()))?;
    folder.save()?;
    print(arguments.output, &folder.site).map(|_| Exit::Fine)
}

#[derive(Serialize)]
struct Shown {
    roles: Vec<Role>,
    files: Vec<Status>,
}

#[derive(Serialize)]
struct Role {
    role: String,
    threshold: usize,
    keys: Vec<String>,
}

/// Who has which role, and what is signed; whether all is in force and good.
fn print(arguments: OutputArgs, site: &Repository) -> Result<Exit, Failure> {
    let roles = site.plan().keys.into_iter().map(|(who, keys)| Role {
        role: who.to_string(),
        threshold: keys.threshold,
        keys: keys.keys.iter().map(gabion_trust::PublicKey::id).collect(),
    });
    let shown = Shown { roles: roles.collect(), files: site.status() };
    let now = Time::from(SystemTime::now()).to_string();
    // Both are written in the same way, in which the later one is the greater one.
    let good = shown.files.iter().all(|it| !it.draft && it.valid >= it.threshold && it.expires > now);
    output::show(arguments.output, &shown, |it| table(it, &now))?;
    Ok(if good { Exit::Fine } else { Exit::No })
}

fn table(shown: &Shown, now: &str) -> String {
    let mut rows = vec![["ROLE", "SIGNATURES", "KEYS"].map(str::to_owned).to_vec()];
    for role in &shown.roles {
        let keys: Vec<&str> = role.keys.iter().map(|key| short(key)).collect();
        let needed = format!("{} of {}", role.threshold, keys.len());
        rows.push(vec![role.role.clone(), needed, keys.join(" ")]);
    }
    output::columns(&rows) + "\n" + &files(&shown.files, now)
}

/// Enough of a key's name to tell it.
pub fn short(key: &str) -> &str {
    key.get(..12).unwrap_or(key)
}

/// Files of metadata, with their signatures.
pub fn files(all: &[Status], now: &str) -> String {
    let mut rows = vec![["FILE", "VERSION", "EXPIRES", "SIGNATURES", "STATE", "BY"].map(str::to_owned).to_vec()];
    for it in all {
        let state = match it {
            it if it.draft => "waits",
            it if it.expires.as_str() <= now => "expired",
            it if it.valid < it.threshold => "short",
            _ => "in force",
        };
        let by: Vec<String> = it.signed.iter().map(|it| format!("{}{}", short(&it.key), worth(it.worth))).collect();
        rows.push(vec![
            it.file.clone(),
            it.version.to_string(),
            it.expires.clone(),
            format!("{} of {}", it.valid, it.threshold),
            state.to_owned(),
            by.join(" "),
        ]);
    }
    output::columns(&rows)
}

fn worth(worth: Worth) -> &'static str {
    match worth {
        Worth::Counts => "",
        Worth::Wrong => "(of another text)",
        Worth::Revoked => "(revoked)",
        Worth::Unknown => "(not of this role)",
        Worth::Again => "(again)",
    }
}
