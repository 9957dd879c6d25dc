//! Text that is read again and again, as somebody edits it: documents whose text is the same are not parsed again.
//!
//! Only what is right is kept. When anything is wrong, everything is read as [`parse`] does it, so that there is one
//! way to say so.

use std::sync::Arc;

use hashbrown::HashMap;
use hashbrown::hash_map::EntryRef;
use memchr::{memchr, memchr_iter};

use super::decode::{Decoder, Document};
use super::gather::Gathered;
use super::place::Place;
use super::tree::{self, NODE_LIMIT, SOURCE_LIMIT};
use super::{Source, parse};
use crate::finding::Finding;
use crate::inventory::Inventory;
use crate::set::{Location, PolicySet};

/// Bytes of text below which nothing is kept: it is read in a few milliseconds anyway.
const WORTH_BYTES: usize = if cfg!(test) { 1 } else { 256 << 10 };

/// What was read last.
#[derive(Debug, Default)]
pub struct Rereader {
    known: HashMap<Box<str>, Read>,
    /// The inventory of the last set, and where each of its documents stood.
    inventory: Option<(Vec<Stands>, Arc<Inventory>)>,
    /// Parts that were ever parsed.
    count: u64,
    /// Parts that were parsed for the last set.
    parsed: usize,
}

/// Number of a part, name of its source, and where it begins: byte and line.
type Stands = (u64, Arc<str>, usize, u32);

/// What is in one part of a source, from one document marker to the next, as if it stood alone.
#[derive(Debug, Default)]
struct Read {
    documents: Vec<Document>,
    nodes: usize,
    lines: u32,
    /// Which part it is.
    number: u64,
    /// It was there before.
    again: bool,
}

impl Rereader {
    /// Reads policy documents: what [`parse`] gives.
    ///
    /// # Errors
    /// As [`parse`].
    pub fn parse(&mut self, sources: &[Source]) -> Result<PolicySet, Vec<Finding>> {
        let bytes: usize = sources.iter().map(|source| source.text.len()).sum();
        if bytes < WORTH_BYTES {
            *self = Self::default();
            return parse(sources);
        }
        let mut kept = HashMap::with_capacity(self.known.len());
        let set = self.reread(sources, &mut kept);
        if let Some(set) = set {
            self.known = kept;
            return Ok(set);
        }
        // What was right before is there for the next attempt; more is not, or each would add to it.
        kept.retain(|_, read| read.again);
        self.known.extend(kept);
        parse(sources)
    }

    /// None when anything is unusual, or wrong.
    fn reread(&mut self, sources: &[Source], kept: &mut HashMap<Box<str>, Read>) -> Option<PolicySet> {
        self.parsed = 0;
        let mut parts_of = Vec::with_capacity(sources.len());
        let mut fresh = Vec::new();
        for source in sources {
            if source.text.len() > SOURCE_LIMIT {
                return None;
            }
            let parts = parts(&source.text)?;
            for &part in &parts {
                if let EntryRef::Vacant(place) = kept.entry_ref(part) {
                    let (text, read) = match self.known.remove_entry(part) {
                        Some((text, read)) => (text, Read { again: true, ..read }),
                        None => {
                            fresh.push(part);
                            (part.into(), Read::default())
                        }
                    };
                    place.insert_with_key(text, read);
                }
            }
            parts_of.push(parts);
        }
        self.parsed = fresh.len();
        for (part, read) in fresh.iter().zip(read_all(&fresh)) {
            // Every one of them is there, for as long as it is not read.
            if let (Some(place), Some(read)) = (kept.get_mut(*part), read) {
                self.count += 1;
                *place = Read { number: self.count, ..read };
            } else {
                fresh.iter().for_each(|part| drop(kept.remove(*part)));
                return None;
            }
        }
        let inventory_stands = stands_of(sources, &parts_of, kept);
        let mut gathered = Gathered::default();
        let known = self.inventory.take().filter(|(stands, _)| *stands == inventory_stands);
        if let Some((_, inventory)) = &known {
            gathered.with_inventory(Arc::clone(inventory));
        }
        for (source, parts) in sources.iter().zip(parts_of) {
            let (mut offset, mut line, mut nodes) = (0, 0, 0);
            for part in parts {
                let read = kept.get(part)?;
                nodes += read.nodes;
                if nodes > NODE_LIMIT {
                    return None;
                }
                for document in &read.documents {
                    if known.is_some() && matches!(document, Document::Inventory(..)) {
                        gathered.count();
                        continue;
                    }
                    let mut document = document.clone();
                    document.each_location(&mut |location| {
                        location.source = Arc::clone(&source.name);
                        location.offset += offset;
                        location.line += line;
                    });
                    gathered.add(document);
                }
                offset += part.len();
                line += read.lines;
            }
        }
        let mut findings = Vec::new();
        let there_are = gathered.documents() > 0;
        let set = gathered.finish(&mut findings);
        let is_right = there_are && findings.is_empty();
        if is_right {
            self.inventory = Some((inventory_stands, Arc::clone(&set.inventory)));
        }
        is_right.then_some(set)
    }
}

/// Where each part stands that has a document of the inventory in it.
fn stands_of(sources: &[Source], parts_of: &[Vec<&str>], kept: &HashMap<Box<str>, Read>) -> Vec<Stands> {
    let mut stands = Vec::new();
    for (source, parts) in sources.iter().zip(parts_of) {
        let (mut offset, mut line) = (0, 0);
        for part in parts {
            let Some(read) = kept.get(*part) else { continue };
            if read.documents.iter().any(|document| matches!(document, Document::Inventory(..))) {
                stands.push((read.number, Arc::clone(&source.name), offset, line));
            }
            offset += part.len();
            line += read.lines;
        }
    }
    stands
}

/// Parts that one thread reads at least.
const WORTH_A_THREAD: usize = 64;

/// Parses parts, on as many processors as there are and as it is worth.
fn read_all(parts: &[&str]) -> Vec<Option<Read>> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let share = parts.len().div_ceil(processors).max(WORTH_A_THREAD);
    std::thread::scope(|scope| {
        let mut shares = parts.chunks(share);
        let own = shares.next().unwrap_or_default();
        let others: Vec<_> =
            shares.map(|share| (share, std::thread::Builder::new().spawn_scoped(scope, || all(share)))).collect();
        let mut reads = all(own);
        for (share, thread) in others {
            // What no thread could be had for is read here; what made one panic does so again, where it is seen.
            reads.extend(thread.ok().and_then(|thread| thread.join().ok()).unwrap_or_else(|| all(share)));
        }
        reads
    })
}

fn all(parts: &[&str]) -> Vec<Option<Read>> {
    parts.iter().map(|part| read(part)).collect()
}

/// Parses a part; none when anything is wrong with it.
fn read(part: &str) -> Option<Read> {
    let mut findings = Vec::new();
    let mut documents = Vec::new();
    let place = Place::new(Arc::default(), part);
    let nodes = tree::read(&place, &mut findings, |tree, findings| {
        documents.extend(Decoder { place: &place, findings }.document(tree));
    });
    let lines = memchr_iter(b'\n', part.as_bytes()).count() as u32;
    findings.is_empty().then_some(Read { documents, nodes, lines, ..Read::default() })
}

/// A source in parts, each of which begins with a document marker, but for the first. None when something else than
/// these markers says where documents begin and end, or how they are to be read.
fn parts(text: &str) -> Option<Vec<&str>> {
    let bytes = text.as_bytes();
    let ends_a_line = |at: usize| bytes.get(at + 1).is_some_and(|&byte| byte == b'\n') || at + 1 == bytes.len();
    if memchr(b'\r', bytes).is_some() && !memchr_iter(b'\r', bytes).all(ends_a_line) {
        return None;
    }
    let mut parts = Vec::new();
    let mut start = 0;
    for at in std::iter::once(0).chain(memchr_iter(b'\n', bytes).map(|end| end + 1)) {
        let line = &bytes[at..];
        let marks = |mark: &[u8]| line.strip_prefix(mark).is_some_and(is_blank);
        // Most lines begin with a blank.
        match line.first() {
            Some(b'%') => return None,
            Some(0xef) if line.starts_with("\u{feff}".as_bytes()) => return None,
            Some(b'.') if marks(b"...") => return None,
            Some(b'-') if at > start && marks(b"---") => {
                parts.push(&text[start..at]);
                start = at;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    Some(parts)
}

fn is_blank(rest: &[u8]) -> bool {
    rest.first().is_none_or(|byte| b" \t\r\n".contains(byte))
}

impl Document {
    /// Every place that the document knows of.
    fn each_location(&mut self, each: &mut impl FnMut(&mut Location)) {
        match self {
            Self::Policy(policy) => {
                each(&mut policy.location);
                let rules = [&mut policy.ingress, &mut policy.egress];
                rules.into_iter().flatten().flatten().for_each(|rule| each(&mut rule.location));
            }
            Self::ClusterPolicy(policy) => {
                each(&mut policy.location);
                policy.ingress.iter_mut().chain(&mut policy.egress).for_each(|rule| each(&mut rule.location));
            }
            Self::Inventory(entries, namespaces) => {
                entries.iter_mut().for_each(|entry| each(&mut entry.location));
                namespaces.iter_mut().for_each(|(_, _, location)| each(location));
            }
            Self::Site(site) => {
                each(&mut site.location);
                site.interfaces.iter_mut().for_each(|interface| each(&mut interface.location));
                site.defaults.subjects.iter_mut().for_each(|default| each(&mut default.location));
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use fastrand::Rng;

    use super::*;

    fn document(rng: &mut Rng) -> String {
        let marker = ["---\n", "--- # a comment\n", "---\r\n", "\n---\n# x\n"][rng.usize(..4)];
        let header = |kind: &str, name: u32| {
            format!("apiVersion: gabion.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: n{name}}}\nspec:\n")
        };
        let name = rng.u32(..400);
        let body = match rng.usize(..8) {
            0 => {
                header("Inventory", name)
                    + &format!(
                        "  entries:\n    - {{name: e{name}, labels: {{a: b}}, addresses: [10.0.0.{}]}}\n",
                        name % 256
                    )
            }
            1 => String::from("# nothing but a comment, with a marker in it: ---\n"),
            _ => {
                let rules: String = (0..rng.usize(1..40))
                    .map(|rule| {
                        format!(
                            "    - {{name: r{rule}, action: allow, services: [{{protocol: tcp, ports: [{}]}}]}} # ä\n",
                            rng.u16(1..)
                        )
                    })
                    .collect();
                header("Policy", name) + &format!("  subject: {{cidr: 10.0.0.{}/32}}\n  ingress:\n{rules}", name % 256)
            }
        };
        format!("{marker}{body}")
    }

    #[test]
    fn what_is_read_again_is_what_is_read_anew() {
        let mut rng = Rng::with_seed(1);
        let mut files: Vec<Vec<String>> = (0..2).map(|_| (0..200).map(|_| document(&mut rng)).collect()).collect();
        let mut reader = Rereader::default();
        let (mut good, mut saved) = (0, 0);
        for _ in 0..30 {
            for _ in 0..rng.usize(..4) {
                let file = rng.usize(..2);
                let at = rng.usize(..files[file].len());
                match rng.usize(..8) {
                    0 => files[file].insert(at, document(&mut rng)),
                    1 => drop(files[file].remove(at)),
                    2 => files[file].swap(at, 0),
                    3 => files[file][at].push_str("  nonsense: true\n"),
                    4 => files[file][at].push_str("...\n"),
                    _ => files[file][at] = document(&mut rng),
                }
            }
            let names = ["a.yaml", "b.yaml"];
            let sources: Vec<Source> =
                names.into_iter().zip(&files).map(|(name, parts)| Source::new(name, parts.concat())).collect();
            let (again, anew) = (reader.parse(&sources), parse(&sources));
            assert_eq!(again, anew);
            if anew.is_ok() {
                good += 1;
                saved += usize::from(reader.parsed < 20);
                continue;
            }
            // Mend what is wrong, so that there is something to read the next time.
            for file in &mut files {
                file.retain(|part| !part.contains("nonsense") && !part.contains("...\n"));
            }
            let mut seen = std::collections::HashSet::new();
            for file in &mut files {
                file.retain(|part| part.split("name: ").nth(1).is_none_or(|name| seen.insert(name[..5].to_owned())));
            }
        }
        assert!(good > 10 && saved > 8, "{good} of 30 were good, of {saved} little was parsed");
    }

    #[test]
    fn markers_are_markers_only_at_the_beginning_of_a_line() {
        let text = "a: 1\n--- b\n---c\n ---\n---\nd\n---";
        assert_eq!(parts(text).unwrap(), ["a: 1\n", "--- b\n---c\n ---\n", "---\nd\n", "---"]);
        for unusual in ["%YAML 1.2\n---\na", "a\n...\nb", "a\rb\n", "\u{feff}a", "a\n..."] {
            assert_eq!(parts(unusual), None, "{unusual:?}");
        }
        assert_eq!(parts("").unwrap(), [""]);
    }
}
