//! `gabion bundle build`.

use std::collections::BTreeMap;
use std::path::{Path as OsPath, PathBuf};
use std::time::SystemTime;

use gabion_bundle::{Attachment, Builder, Bundle, Kind, Manifest, Path, Time, Use};
use gabion_policy_model::text::{self, Source};
use gabion_trust::Statement;
use gabion_trust::statement::{self, Resource};
use serde::Serialize;
use serde_json::json;

use super::{archive, compiled, is_archive, target};
use crate::command::BuildArgs;
use crate::exit::{Exit, Failure};
use crate::file::Input;
use crate::output;
use crate::progress::Progress;
use crate::report::{self, Problem};
use crate::sources;
use crate::trust::replace;

/// The last moment that can be written.
const FOR_EVER: &str = "9999-12-31T23:59:59Z";
const BUILD_TYPE: &str = "https://gabion.dev/bundle/v1";

#[derive(Serialize)]
struct Built {
    bundle: String,
    name: String,
    version: u64,
    tables: String,
    files: usize,
    #[serde(rename = "goldenPackets")]
    golden_packets: usize,
    out: String,
}

pub fn run(arguments: &BuildArgs) -> Result<Exit, Failure> {
    absent(&arguments.out)?;
    let progress = Progress::begin("reading policy");
    let read = sources::read(&arguments.policy);
    if !read.problems.is_empty() {
        report::print(&read.problems, &read.texts);
        return Err(Failure::reported(read.exit()));
    }
    let set = text::parse(&read.texts).map_err(|findings| {
        let problems: Vec<Problem> = findings.into_iter().map(Problem::from).collect();
        report::print(&problems, &read.texts);
        Failure::reported(Exit::Input)
    })?;
    let probes = sources::read_files(&arguments.probes);
    if !probes.problems.is_empty() {
        report::print(&probes.problems, &probes.texts);
        return Err(Failure::reported(probes.exit()));
    }
    let tables = compiled::tables(&set)?;
    let golden_packets = compiled::golden(&probes.texts, &set)?;
    let object = match &arguments.object {
        _ if arguments.emergency => None,
        Some(path) => Some(Input::read(path)?),
        None => Some(Input::programs()?),
    };
    let contracts = match &object {
        Some(object) => compiled::contracts_of(&object.bytes, &object.by)?,
        None => BTreeMap::new(),
    };
    let for_ever = || Time::try_from(FOR_EVER.to_owned()).map_err(Failure::defect);
    let manifest = Manifest {
        bundle: 1,
        kind: if arguments.emergency { Kind::Emergency } else { Kind::Generation },
        name: arguments.name.clone(),
        version: arguments.version,
        not_before: arguments.not_before.unwrap_or_else(|| Time::from(SystemTime::UNIX_EPOCH)),
        expires: arguments.expires.map_or_else(for_ever, Ok)?,
        targets: arguments.target.iter().map(|text| target(text)).collect::<Result<_, _>>()?,
        tables,
        contracts,
        files: BTreeMap::new(),
    };
    let mut files = Files { builder: Builder::new(manifest), named: BTreeMap::new() };
    for source in &read.texts {
        let within = within(&arguments.policy, source);
        files.add(
            &format!("policy/{}", within.display()),
            &source.name,
            Use::Policy,
            source.text.as_bytes().to_vec(),
        )?;
    }
    for source in &probes.texts {
        let path = format!("probes/{}", file_name(OsPath::new(&*source.name)));
        files.add(&path, &source.name, Use::Probes, source.text.as_bytes().to_vec())?;
    }
    for plugin in &arguments.plugin {
        let input = Input::read(plugin)?;
        files.add(&format!("plugins/{}", file_name(plugin)), &input.by, Use::Plugin, input.bytes)?;
    }
    if let Some(object) = object {
        files.add("programs/hooks.o", &object.by, Use::Programs, object.bytes)?;
    }
    let refused = |error: gabion_bundle::Refused| Failure::input(format!("{}: {error}", error.code()));
    let mut bundle = files.builder.finish().map_err(refused)?;
    let statement = provenance(arguments, &bundle);
    bundle.attach(Attachment::Statement(statement.text()));
    write(&bundle, &arguments.out)?;
    drop(progress);
    let manifest = bundle.manifest();
    let built = Built {
        bundle: bundle.id().to_string(),
        name: manifest.name.to_string(),
        version: manifest.version,
        tables: tables.to_string(),
        files: manifest.files.len(),
        golden_packets,
        out: arguments.out.display().to_string(),
    };
    output::show(arguments.output.output, &built, |it| {
        let row = |name: &str, value: String| vec![name.to_owned(), value];
        output::columns(&[
            row("bundle", it.bundle.clone()),
            row("name", format!("{}, version {}", it.name, it.version)),
            row("tables", it.tables.clone()),
            row("files", it.files.to_string()),
            row("golden packets", it.golden_packets.to_string()),
            row("written to", it.out.clone()),
        ])
    })?;
    Ok(Exit::Fine)
}

/// Files under construction, and what each path was before.
struct Files {
    builder: Builder,
    named: BTreeMap<Path, String>,
}

impl Files {
    fn add(&mut self, path: &str, from: &str, used_as: Use, bytes: Vec<u8>) -> Result<(), Failure> {
        let path: Path = path.parse().map_err(|error| {
            Failure::input(format!("{from}: {error}"))
                .help("rename the file: its name has to be one that can be carried")
        })?;
        if let Some(other) = self.named.insert(path.clone(), from.to_owned()) {
            let message = format!("{from} and {other} would both be {path} in the bundle");
            return Err(Failure::input(message).help("rename one of them, or put both into one folder"));
        }
        self.builder.add(path, used_as, bytes);
        Ok(())
    }
}

fn file_name(path: &OsPath) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// The path of a text below the folder that was named, or else its name.
fn within(named: &[PathBuf], source: &Source) -> PathBuf {
    let path = OsPath::new(&*source.name);
    if &*source.name == "<stdin>" {
        return PathBuf::from("stdin.yaml");
    }
    let below = named.iter().filter(|it| it.is_dir()).find_map(|folder| path.strip_prefix(folder).ok());
    below.map_or_else(|| PathBuf::from(file_name(path)), OsPath::to_owned)
}

fn absent(out: &OsPath) -> Result<(), Failure> {
    let empty = std::fs::read_dir(out).is_ok_and(|mut it| it.next().is_none());
    if out.symlink_metadata().is_ok() && (!empty || is_archive(out)) {
        let message = format!("{} is there already", out.display());
        return Err(Failure::input(message).help("a bundle is never written over: remove it, or choose another name"));
    }
    Ok(())
}

fn write(bundle: &Bundle, out: &OsPath) -> Result<(), Failure> {
    let layout = bundle.layout();
    let written = if is_archive(out) {
        archive(&layout).and_then(|bytes| replace(out, &bytes))
    } else {
        layout.write_folder(out)
    };
    written.map_err(|error| Failure::file(&out.display().to_string(), "write this bundle", &error))
}

/// What went in, as a statement about what came out.
fn provenance(arguments: &BuildArgs, bundle: &Bundle) -> Statement {
    let manifest = bundle.manifest();
    let mut dependencies: Vec<Resource> =
        manifest.files.iter().map(|(path, it)| Resource::file(path.as_str(), it.digest.hex())).collect();
    dependencies.extend(arguments.commit.as_ref().map(|hash| Resource::commit(arguments.source.clone(), hash)));
    let provenance = statement::Provenance {
        build_definition: statement::Definition {
            build_type: BUILD_TYPE.to_owned(),
            external_parameters: json!({
                "kind": manifest.kind, "name": manifest.name, "version": manifest.version,
                "notBefore": manifest.not_before, "expires": manifest.expires, "targets": manifest.targets,
            }),
            resolved_dependencies: dependencies,
        },
        run_details: statement::Run {
            builder: statement::Builder {
                id: arguments.builder.clone(),
                version: BTreeMap::from([("gabion".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]),
            },
        },
    };
    Statement::provenance(vec![Resource::file(manifest.name.as_str(), bundle.id().hex())], &provenance)
}
