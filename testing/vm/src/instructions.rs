//! How much work the verifiers of the kernel matrix have with each program. A change of our code, of the compiler or
//! of a kernel that makes a program harder to verify is a regression long before it is a refusal, so that the counts
//! are kept in `testing/vm/instructions.json` and compared.
//!
//! A test inside a guest prints one line for each program that it loaded: `verified NAME COUNT`, with the
//! `verified_insns` of `bpf_prog_info` (kernels from 5.16).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Programs by name, with the instructions that the verifier walked.
pub type Counts = BTreeMap<String, u64>;

/// A count may grow by a tenth before it is a difference: compilers of different age lay the same code out differently.
const TOLERANCE_PERCENT: u64 = 10;

/// The recorded counts by kernel series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record(pub BTreeMap<String, Counts>);

/// Takes the counts from what a guest printed; other lines are not looked at.
pub fn parse(printed: &str) -> Counts {
    let count = |line: &str| {
        let mut words = line.strip_prefix("verified ")?.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
    };
    printed.lines().filter_map(count).collect()
}

/// The file that holds the recorded counts.
pub fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.json")
}

/// Whether counts are kept for this series.
pub fn is_recorded(series: &str) -> std::io::Result<bool> {
    let text = std::fs::read_to_string(path())?;
    Ok(Record::read(&text)?.0.contains_key(series))
}

/// Compares what a guest of this series printed with the kept file. With GABION_RECORD set the file is rewritten
/// instead, for a change that is meant and will be committed with its reason.
///
/// # Errors
///
/// One sentence for each difference, or for the file that cannot be read or written.
pub fn hold(series: &str, printed: &str) -> Result<(), Vec<String>> {
    let path = path();
    let broken = |cause: String| vec![format!("{}: {cause}", path.display())];
    let text = std::fs::read_to_string(&path).map_err(|error| broken(error.to_string()))?;
    let mut record = Record::read(&text).map_err(|error| broken(error.to_string()))?;
    let measured = parse(printed);
    if std::env::var_os("GABION_RECORD").is_some() {
        record.0.insert(series.to_owned(), measured);
        return std::fs::write(&path, record.text()).map_err(|error| broken(error.to_string()));
    }
    let differences = record.differences(series, &measured);
    if differences.is_empty() { Ok(()) } else { Err(differences) }
}

impl Record {
    /// Reads the recorded counts.
    pub fn read(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text).map(Self)
    }

    /// Writes them, sorted, so that a change is a readable diff.
    pub fn text(&self) -> String {
        let mut text = serde_json::to_string_pretty(&self.0).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Says what differs from the record, one sentence each: programs that are new or gone, and counts beyond the
    /// tolerance in either direction (a count that fell should be recorded, so that it cannot creep back).
    pub fn differences(&self, series: &str, measured: &Counts) -> Vec<String> {
        let empty = Counts::new();
        let recorded = self.0.get(series).unwrap_or(&empty);
        let mut differences = Vec::new();
        for (name, count) in measured {
            match recorded.get(name) {
                None => differences.push(format!("{name} on {series}: {count} instructions, none recorded")),
                Some(before) if count.abs_diff(*before) * 100 > before * TOLERANCE_PERCENT => {
                    differences.push(format!("{name} on {series}: {count} instructions, {before} recorded"));
                }
                Some(_) => {}
            }
        }
        let gone = recorded.keys().filter(|name| !measured.contains_key(*name));
        differences.extend(gone.map(|name| format!("{name} on {series}: recorded, but not loaded")));
        differences
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn counts_are_taken_from_the_lines_that_state_them() {
        let counts = parse("running 1 test\nverified xdp_ingress 1200\nverified broken\ntest loads ... ok\n");
        assert_eq!(counts, Counts::from([("xdp_ingress".to_owned(), 1200)]));
    }

    #[test]
    fn a_tenth_is_tolerated_and_more_is_not() {
        let record = Record::read(r#"{"6.1":{"a":1000,"b":50}}"#).unwrap();
        let measured = |a| Counts::from([("a".to_owned(), a), ("b".to_owned(), 50)]);
        assert!(record.differences("6.1", &measured(1100)).is_empty());
        assert_eq!(record.differences("6.1", &measured(1101)).len(), 1);
        assert_eq!(record.differences("6.1", &measured(899)).len(), 1);
        assert_eq!(record.differences("6.12", &measured(1000)).len(), 2);
        assert_eq!(record.differences("6.1", &Counts::new()).len(), 2);
    }

    #[test]
    fn the_kept_file_is_as_it_would_be_written() {
        let text = std::fs::read_to_string(path()).unwrap();
        assert_eq!(Record::read(&text).unwrap().text(), text);
    }
}
