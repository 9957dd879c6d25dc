//! `gabion bundle inspect`.

use std::time::SystemTime;

use gabion_bundle::{Attachment, Bundle, Manifest, Time};
use gabion_trust::{Envelope, Repository, Statement, Status};
use serde::Serialize;

use super::diff::{Diff, policy};
use super::{compiled, open};
use crate::command::InspectArgs;
use crate::exit::{Exit, Failure};
use crate::output::{self, columns};
use crate::trust::{failure, files, short};

#[derive(Serialize)]
struct Inspected {
    bundle: String,
    manifest: Manifest,
    metadata: Vec<Vec<Status>>,
    provenance: Vec<Provenance>,
    #[serde(skip_serializing_if = "Option::is_none")]
    diff: Option<Diff>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Provenance {
    predicate_type: String,
    builder: Option<String>,
    commit: Option<String>,
    signed: Vec<String>,
}

pub fn run(arguments: &InspectArgs) -> Result<Exit, Failure> {
    let bundle = open(&arguments.bundle)?;
    let (mut metadata, mut provenance) = (Vec::new(), Vec::new());
    let place = arguments.bundle.display().to_string();
    for attachment in bundle.attached() {
        match attachment {
            Attachment::Trust(files) => {
                let files = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
                let site = Repository::of(files, []).map_err(|error| failure(&error, &place))?;
                metadata.push(site.status());
            }
            Attachment::Statement(text) => provenance.push(said(text, Vec::new(), &place)?),
            Attachment::Envelope(bytes) => {
                let wrong = |error: &dyn std::fmt::Display| Failure::input(format!("{place}: {error}"));
                let envelope = Envelope::parse(bytes).map_err(|error| wrong(&error))?;
                let signed = envelope.signatures(|_| None).map(|(key, _)| key.chars().take(64).collect()).collect();
                provenance.push(said(&envelope.payload(), signed, &place)?);
            }
        }
    }
    let diff = match &arguments.against {
        Some(other) => Some(Diff::of(&policy(other)?, &compiled::policy(&bundle)?)),
        None => None,
    };
    let shown =
        Inspected { bundle: bundle.id().to_string(), manifest: bundle.manifest().clone(), metadata, provenance, diff };
    output::show(arguments.output.output, &shown, |it| table(it, &bundle))?;
    Ok(Exit::Fine)
}

fn said(text: &[u8], signed: Vec<String>, place: &str) -> Result<Provenance, Failure> {
    let wrong = |error: String| Failure::input(format!("{place}: {error}"));
    let statement = Statement::parse(text).map_err(wrong)?;
    let built = statement.built().map_err(wrong)?;
    Ok(Provenance {
        builder: built.as_ref().map(|it| it.run_details.builder.id.clone()),
        commit: built.as_ref().and_then(|it| it.commit().map(str::to_owned)),
        predicate_type: statement.predicate_type,
        signed,
    })
}

fn table(shown: &Inspected, bundle: &Bundle) -> String {
    let manifest = bundle.manifest();
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let targets = manifest.targets.iter().map(|it| {
        let kernels: Vec<&str> = it.kernels.iter().map(|it| it.as_str()).collect();
        format!("{}/{}", it.architecture, if kernels.is_empty() { "any".to_owned() } else { kernels.join(",") })
    });
    let targets: Vec<String> = targets.collect();
    let kind = match manifest.kind {
        gabion_bundle::Kind::Generation => "a generation",
        gabion_bundle::Kind::Emergency => "emergency: policy alone",
    };
    let mut text = columns(&[
        row("bundle", shown.bundle.clone()),
        row("name", format!("{}, version {}", manifest.name, manifest.version)),
        row("kind", kind.to_owned()),
        row("good", format!("from {} until {}", manifest.not_before, manifest.expires)),
        row("targets", if targets.is_empty() { "any".to_owned() } else { targets.join(" ") }),
        row("tables", manifest.tables.to_string()),
    ]);
    let mut rows = vec![["FILE", "USE", "BYTES", "DIGEST"].map(str::to_owned).to_vec()];
    rows.extend(manifest.files.iter().map(|(path, it)| {
        let used_as = format!("{:?}", it.used_as).to_lowercase();
        vec![path.to_string(), used_as, it.size.to_string(), it.digest.to_string()]
    }));
    text += &format!("\n{}", columns(&rows));
    let mut rows = vec![["CONTRACT", "DIGEST"].map(str::to_owned).to_vec()];
    rows.extend(manifest.contracts.iter().map(|(name, digest)| vec![name.to_string(), digest.to_string()]));
    text += &format!("\n{}", columns(&rows));
    for provenance in &shown.provenance {
        let by: Vec<&str> = provenance.signed.iter().map(|key| short(key)).collect();
        let by = if by.is_empty() { "nobody".to_owned() } else { by.join(" ") };
        let of = provenance.commit.as_ref().map_or_else(String::new, |commit| format!(", of commit {commit}"));
        let builder = provenance.builder.as_deref().unwrap_or("nobody says");
        text += &format!("\nprovenance: built by {builder}{of}; signed by {by}\n");
    }
    let now = Time::from(SystemTime::now()).to_string();
    for set in &shown.metadata {
        text += &format!("\nby the root that came with it:\n{}", files(set, &now));
    }
    if shown.metadata.is_empty() {
        text += "\nno metadata is attached: it is not published\n";
    }
    if let Some(diff) = &shown.diff {
        text += &format!("\nrules:\n{}", diff.table());
    }
    text
}
