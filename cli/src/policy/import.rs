//! `gabion policy import`: policy of other systems as Gabion YAML.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use gabion_policy_import::classbench::Actions;
use gabion_policy_import::{Diagnostic, Imported, Source, import_classbench, import_k8s, import_nft};
use gabion_policy_model::PolicySet;
use gabion_policy_model::finding::Severity;
use gabion_policy_model::set::Location;
use gabion_policy_model::text::{self, API_VERSION};

use crate::command::{ClassbenchActions, ImportArgs, ImportLanguage};
use crate::exit::{Exit, Failure, plain};
use crate::output;
use crate::report::{self, Problem};
use crate::sources;

pub fn run(arguments: &ImportArgs) -> Result<Exit, Failure> {
    if arguments.language != ImportLanguage::Classbench && arguments.actions != ClassbenchActions::Allow {
        return Err(Failure::input("--actions is for classbench: other languages have actions of their own"));
    }
    let read = sources::read_files(&arguments.files);
    if !read.problems.is_empty() {
        report::print(&read.problems, &read.texts);
        return Err(Failure::reported(read.exit()));
    }
    let texts: Vec<Source<'_>> = read.texts.iter().map(|text| Source { name: &text.name, text: &text.text }).collect();
    let imported = match arguments.language {
        ImportLanguage::K8s => import_k8s(&texts),
        ImportLanguage::Nft => import_nft(&texts),
        ImportLanguage::Classbench => match texts.as_slice() {
            [only] => import_classbench(*only, actions(arguments.actions)),
            _ => return Err(Failure::input("a ClassBench set is one file: import one after the other")),
        },
    };
    let problems = |diagnostics: &[Diagnostic], severity| {
        let problems: Vec<_> = diagnostics.iter().map(|d| Problem::imported(d, severity)).collect();
        report::print(&problems, &read.texts);
    };
    let imported: Imported = match imported {
        Ok(imported) => imported,
        Err(errors) => {
            problems(&errors, Severity::Error);
            let count = errors.len();
            let message = format!("nothing was imported: {count} {}", if count == 1 { "error" } else { "errors" });
            return Err(Failure::input(message));
        }
    };
    problems(&imported.warnings, Severity::Warning);
    if imported.policies == PolicySet::default() {
        let nothing = Problem::new(Severity::Warning, "import", Location::default(), "there is nothing to import");
        report::print(&[nothing.help("an inventory without entries stands for it")], &[]);
    }
    let Some(folder) = &arguments.out else {
        return output::print_bytes(yaml(&imported.policies).as_bytes()).map(|()| Exit::Fine);
    };
    let (files, others) = files(&stem(&arguments.files, arguments.language), &imported.policies);
    write(folder, &files, &others, arguments.force)?;
    let names: Vec<_> = files.iter().map(|(name, _)| folder.join(name).display().to_string()).collect();
    output::print(&format!("{}\n", names.join("\n"))).map(|()| Exit::Fine)
}

const fn actions(actions: ClassbenchActions) -> Actions {
    match actions {
        ClassbenchActions::Allow => Actions::Allow,
        ClassbenchActions::Deny => Actions::Deny,
        ClassbenchActions::Alternate => Actions::Alternate,
    }
}

/// What the written files are called after.
fn stem(files: &[PathBuf], language: ImportLanguage) -> String {
    let otherwise = match language {
        ImportLanguage::K8s => "k8s",
        ImportLanguage::Classbench => "classbench",
        ImportLanguage::Nft => "nft",
    };
    let stem = match files {
        [only] if only.as_os_str() != "-" => only.file_stem().and_then(|stem| stem.to_str()),
        _ => None,
    };
    let stem = stem.unwrap_or(otherwise).trim_start_matches('.');
    if stem.is_empty() { otherwise.to_owned() } else { stem.to_owned() }
}

/// Policy text; of an empty set a document that says nothing, because files without any are refused.
fn yaml(set: &PolicySet) -> String {
    if *set == PolicySet::default() {
        return format!("apiVersion: {API_VERSION}\nkind: Inventory\nmetadata: {{name: imported}}\nspec: {{}}\n");
    }
    text::to_yaml(set)
}

/// A file's name and its text.
type NamedText = (String, String);

/// One file for each kind of document that there is, and the names of the files that there would be for the others.
fn files(stem: &str, set: &PolicySet) -> (Vec<NamedText>, Vec<String>) {
    let inventory = PolicySet { inventory: set.inventory.clone(), ..PolicySet::default() };
    let site = PolicySet { site: set.site.clone(), ..PolicySet::default() };
    let cluster = PolicySet { cluster_policies: set.cluster_policies.clone(), ..PolicySet::default() };
    let policies = PolicySet { policies: set.policies.clone(), ..PolicySet::default() };
    let (mut files, mut others) = (Vec::new(), Vec::new());
    for (kind, part) in
        [("inventory", inventory), ("site", site), ("cluster-policies", cluster), ("policies", policies)]
    {
        let name = format!("{stem}-{kind}.yaml");
        if part != PolicySet::default() || (kind == "inventory" && *set == PolicySet::default()) {
            files.push((name, yaml(&part)));
        } else {
            others.push(name);
        }
    }
    (files, others)
}

/// Writes all files or none: first beside their places, then into them. `others` are what an earlier import of the same
/// name may have left: they would go on being read with the rest of the folder, so that they go.
fn write(folder: &Path, files: &[NamedText], others: &[String], force: bool) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|error| Failure::file(&folder.display().to_string(), "create", &error))?;
    let places: Vec<_> = files.iter().map(|(name, _)| folder.join(name)).collect();
    let others: Vec<_> = others.iter().map(|name| folder.join(name)).collect();
    let mut there = places.iter().chain(&others).filter(|place| place.symlink_metadata().is_ok());
    if !force && let Some(there) = there.next() {
        return Err(exists(there));
    }
    let mut drafts = Drafts(Vec::new());
    for ((name, text), place) in files.iter().zip(&places) {
        let draft = folder.join(format!(".{name}.{}.draft", std::process::id()));
        drafts.0.push(draft.clone());
        let written = File::create_new(&draft).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        written.map_err(|error| Failure::file(&place.display().to_string(), "write", &error))?;
    }
    for (draft, place) in drafts.0.iter().zip(&places) {
        // A link, unlike a rename, never replaces what came there in the meantime.
        let put = if force { fs::rename(draft, place) } else { fs::hard_link(draft, place) };
        put.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => exists(place),
            _ => Failure::file(&place.display().to_string(), "put in place", &error),
        })?;
    }
    for other in &others {
        match fs::remove_file(other) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Failure::file(&other.display().to_string(), "remove what an earlier import left", &error));
            }
            _ => {}
        }
    }
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| Failure::system(format!("{}: cannot sync: {}", folder.display(), plain(&error))))
}

fn exists(place: &Path) -> Failure {
    Failure::input(format!("{} is there already", place.display()))
        .help("--force replaces what an earlier import wrote")
}

/// Files that are not in place yet; they are gone when this is.
struct Drafts(Vec<PathBuf>);

impl Drop for Drafts {
    fn drop(&mut self) {
        for draft in &self.0 {
            // After a rename there is nothing left to remove.
            let _ = fs::remove_file(draft);
        }
    }
}
