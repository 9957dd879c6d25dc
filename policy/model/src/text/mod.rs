//! YAML → [`PolicySet`], with every error of every file at once.
//!
//! `tree` reads YAML into a tree that knows its places, `shape` checks it against the table in
//! `kinds`, `decode` turns it into documents, and `gather` makes one set of them.

mod decode;
pub mod diff;
mod form;
mod gather;
mod kinds;
pub mod names;
mod place;
mod print;
mod print_service;
mod reread;
mod schema;
mod service;
mod shape;
mod site;
mod subject;
mod tree;

use std::collections::HashMap;
use std::sync::Arc;

use decode::Decoder;
use gather::Gathered;
use place::Place;

use crate::finding::{Code, Finding};
use crate::set::{Location, PolicySet};

pub use kinds::API_VERSION;
pub use print::to_yaml;
pub use reread::Rereader;
pub use schema::{reference_tables, schema};
pub use subject::parse_block;
pub use tree::{DEPTH_LIMIT, NODE_LIMIT, SOURCE_LIMIT};

/// One file, or whatever else text came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// A path, or `<stdin>`.
    pub name: Arc<str>,
    /// What is in it.
    pub text: Arc<str>,
}

impl Source {
    /// A source of text.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, text: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), text: text.into() }
    }

    /// A source of bytes from outside.
    ///
    /// # Errors
    /// Says where the bytes stop being UTF-8.
    pub fn from_bytes(name: impl Into<Arc<str>>, bytes: Vec<u8>) -> Result<Self, Box<Finding>> {
        let name = name.into();
        String::from_utf8(bytes).map(|text| Self { name: Arc::clone(&name), text: text.into() }).map_err(|error| {
            let offset = error.utf8_error().valid_up_to();
            let before = &error.as_bytes()[..offset];
            let line = before.iter().filter(|&&byte| byte == b'\n').count() as u32 + 1;
            let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
            // What stands before is UTF-8: its characters are the bytes that continue none.
            let column = before[line_start..].iter().filter(|&&byte| byte & 0xc0 != 0x80).count() as u32 + 1;
            let byte = error.as_bytes()[offset];
            let location = Location { source: Arc::clone(&name), offset, length: 0, line, column };
            let message = format!("the byte 0x{byte:02x} at offset {offset} is not UTF-8");
            let mut finding = Finding::new(Code::NotUtf8, location, message).help("save the file as UTF-8");
            finding.text = format!("\\x{byte:02x}");
            Box::new(finding)
        })
    }
}

/// Whether a text is a file of probes for `gabion policy test`, which may lie beside the policy in a folder. One with
/// any other document is not, so that no policy is ever passed over.
#[must_use]
pub fn is_policy_test(text: &str) -> bool {
    let kinds = text.lines().filter_map(|line| line.strip_prefix("kind:"));
    let mut probes = kinds.map(|rest| {
        let kind = rest.split('#').next().unwrap_or_default().trim();
        kind.trim_matches(['"', '\'']) == "PolicyTest"
    });
    probes.next() == Some(true) && probes.all(|probes| probes)
}

/// Findings that are reported; what is beyond is counted.
pub const FINDING_LIMIT: usize = 1_000;

/// Reads policy documents.
///
/// # Errors
/// Everything that is wrong with any of the sources, in the order of the text.
pub fn parse(sources: &[Source]) -> Result<PolicySet, Vec<Finding>> {
    parse_counting(sources).map(|(set, _)| set)
}

/// Reads policy documents, and says how many there are.
///
/// # Errors
/// Everything that is wrong with any of the sources, in the order of the text.
pub fn parse_counting(sources: &[Source]) -> Result<(PolicySet, usize), Vec<Finding>> {
    let mut findings = Vec::new();
    let mut gathered = Gathered::default();
    for source in sources {
        let place = Place::new(Arc::clone(&source.name), &source.text);
        tree::read(&place, &mut findings, |tree, findings| {
            if let Some(document) = (Decoder { place: &place, findings }).document(tree) {
                gathered.add(document);
            }
        });
    }
    let documents = gathered.documents();
    if documents == 0 && findings.is_empty() {
        findings.push(no_documents(sources));
    }
    let set = gathered.finish(&mut findings);
    if findings.is_empty() {
        return Ok((set, documents));
    }
    let by_name = by_name(sources);
    let order = |finding: &Finding| by_name.get(&*finding.location.source).copied();
    for finding in findings.iter_mut().filter(|finding| finding.text.is_empty()) {
        if let Some(source) = order(finding) {
            excerpt(finding, &sources[source]);
        }
    }
    findings.sort_by_cached_key(|finding| (order(finding), finding.location.offset));
    if findings.len() > FINDING_LIMIT {
        let more = findings.len() - FINDING_LIMIT;
        findings.truncate(FINDING_LIMIT);
        let message = format!("{more} further findings are not shown; {FINDING_LIMIT} are");
        findings.push(Finding::new(Code::TooManyFindings, Location::default(), message).help("mend these first"));
    }
    Err(findings)
}

/// Positions of sources by their names; of two with one name the first.
pub(crate) fn by_name(sources: &[Source]) -> HashMap<&str, usize> {
    sources.iter().enumerate().rev().map(|(position, source)| (&*source.name, position)).collect()
}

/// Findings between documents know only their places.
fn excerpt(finding: &mut Finding, source: &Source) {
    let Location { offset, length, .. } = &finding.location;
    let text = source.text.get(*offset..offset + length).unwrap_or_default();
    finding.text = crate::finding::excerpt(text);
}

fn no_documents(sources: &[Source]) -> Finding {
    let location = match sources {
        [only] => Location { source: Arc::clone(&only.name), line: 1, column: 1, ..Location::default() },
        _ => Location::default(),
    };
    let message = match sources {
        [] => "there are no files to read policies from".to_owned(),
        [_] => "there is no document in this file".to_owned(),
        many => format!("there is no document in any of the {} files", many.len()),
    };
    let help = format!(
        "a document begins with `apiVersion: {API_VERSION}` and `kind: Policy`, ClusterPolicy, Inventory or Site"
    );
    Finding::new(Code::NoDocuments, location, message).help(help)
}
