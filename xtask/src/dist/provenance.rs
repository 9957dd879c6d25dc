//! What the release was made of: an in-toto statement with SLSA provenance, in a signed envelope when there is a key.

use std::collections::BTreeMap;
use std::path::Path;

use gabion_bundle::Digest;
use gabion_trust::statement::{Builder, Definition, Provenance, Resource, Run};
use gabion_trust::{Envelope, FileKey, Signer, Statement, token};

use super::{TARGET, read};
use crate::machine::first_line;
use crate::root;

const BUILD_TYPE: &str = "https://gabion.dev/release/v1";

/// Writes it beside what was made, and says what was written. GABION_SIGNING_KEY names the key: an encrypted file, or
/// the URI of one in a token; GABION_PASSPHRASE opens it. GABION_BUILDER says who builds.
pub fn write(folder: &Path, made: &[&Path]) -> Result<String, String> {
    let statement = statement(made)?.text();
    let (path, bytes) = match std::env::var("GABION_SIGNING_KEY").ok().filter(|key| !key.is_empty()) {
        None => (folder.join("provenance.json"), statement),
        Some(key) => {
            let mut envelope = Envelope::around(&statement);
            envelope.sign(signer(&key)?.as_ref()).map_err(|error| format!("GABION_SIGNING_KEY={key}: {error}"))?;
            (folder.join("provenance.dsse.json"), envelope.text())
        }
    };
    std::fs::write(&path, bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path.display().to_string())
}

fn signer(key: &str) -> Result<Box<dyn Signer>, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("GABION_SIGNING_KEY={key}: {error}");
    let passphrase =
        std::env::var("GABION_PASSPHRASE").map_err(|_| wrong(&"GABION_PASSPHRASE does not say how to open it"))?;
    if key.starts_with("pkcs11:") {
        let uri = key.parse().map_err(|error| wrong(&error))?;
        return token::open(&uri, &passphrase).map_err(|error| wrong(&error));
    }
    let text = String::from_utf8(read(Path::new(key))?).map_err(|error| wrong(&error))?;
    Ok(Box::new(FileKey::of_pem(&text, passphrase.as_bytes()).map_err(|error| wrong(&error))?))
}

/// The commit, and that files differ from it when they do: a statement that leaves this out names the wrong source.
fn source() -> Option<Resource> {
    let repository = root().display().to_string();
    let commit = Resource::commit(None, first_line("git", &["-C", &repository, "rev-parse", "HEAD"])?);
    match first_line("git", &["-C", &repository, "status", "--porcelain"]) {
        None => Some(commit),
        Some(_) => {
            println!("x: files differ from the commit (git status): the statement says uncommittedChanges");
            Some(commit.changed_since())
        }
    }
}

/// The same for the same commit: it says no time, and no place.
fn statement(made: &[&Path]) -> Result<Statement, String> {
    let resource = |name: &str, path: &Path| Ok(Resource::file(name, Digest::of(&read(path)?).hex()));
    let subject = made.iter().map(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        resource(&name, path)
    });
    let subject = subject.collect::<Result<Vec<_>, String>>()?;
    let mut dependencies = vec![resource("Cargo.lock", &root().join("Cargo.lock"))?];
    dependencies.extend(source());
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = [("rustc", compiler.as_str()), ("bpf-linker", "bpf-linker")]
        .into_iter()
        .filter_map(|(name, program)| Some((name.to_owned(), first_line(program, &["--version"])?)));
    let provenance = Provenance {
        build_definition: Definition {
            build_type: BUILD_TYPE.to_owned(),
            external_parameters: serde_json::json!({"version": env!("CARGO_PKG_VERSION"), "target": TARGET}),
            resolved_dependencies: dependencies,
        },
        run_details: Run {
            builder: Builder {
                id: std::env::var("GABION_BUILDER").unwrap_or_else(|_| "https://gabion.dev/x-dist".to_owned()),
                version: version.collect::<BTreeMap<_, _>>(),
            },
        },
    };
    Ok(Statement::provenance(subject, &provenance))
}
