//! Wrong policies and what is said about them: each `tests/wrong/*.yaml` has the exact report in a
//! `.txt` beside it. `UPDATE_GOLDEN=1` writes the reports anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use gabion_policy_model::{Source, parse};
use miette::{GraphicalReportHandler, GraphicalTheme};

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    files
}

fn source(path: &Path) -> Source {
    Source::new(path.file_name().unwrap().to_str().unwrap(), std::fs::read_to_string(path).unwrap())
}

fn render(sources: &[Source]) -> String {
    let findings = parse(sources).expect_err("a wrong policy was accepted");
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::none()).with_width(110);
    let mut text = String::new();
    for finding in &findings {
        writeln!(text, "{finding}").unwrap();
        handler.render_report(&mut text, &finding.report(sources)).unwrap();
        text.push('\n');
    }
    text
}

#[test]
fn good_policies_are_accepted() {
    for path in files("good") {
        let source = source(&path);
        if let Err(findings) = parse(std::slice::from_ref(&source)) {
            panic!("{}: {findings:#?}", path.display());
        }
    }
}

#[test]
fn wrong_policies_are_reported_exactly() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let files = files("wrong");
    assert!(files.len() >= 40, "only {} wrong policies", files.len());
    let mut differ = Vec::new();
    for path in files {
        let said = render(&[source(&path)]);
        let golden = path.with_extension("txt");
        if update {
            std::fs::write(&golden, &said).unwrap();
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != said {
            differ.push(format!("{}:\n{said}", path.display()));
        }
    }
    assert!(differ.is_empty(), "reports differ from their golden texts:\n{}", differ.join("\n"));
}
