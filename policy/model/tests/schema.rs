//! The published schema and the reader agree about keys and types, and the reference is up to date.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};

use gabion_policy_model::finding::Code;
use gabion_policy_model::text::{reference_tables, schema};
use gabion_policy_model::{Source, parse};
use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// YAML as JSON values, by the core schema; none when it is not YAML.
fn documents(text: &str) -> Option<Vec<Value>> {
    enum Open {
        List(Vec<Value>),
        Map(Map<String, Value>, Option<String>),
    }
    let mut open: Vec<Open> = Vec::new();
    let mut documents = Vec::new();
    for next in Parser::new_from_str(text) {
        let value = match next.ok()?.0 {
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Map(Map::new(), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop()? {
                Open::List(items) => Value::Array(items),
                Open::Map(map, _) => Value::Object(map),
            },
            Event::Scalar(text, ScalarStyle::Plain, ..) => match &*text {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                "" | "null" => Value::Null,
                hex if hex.starts_with("0x") => u64::from_str_radix(&hex[2..], 16).map_or(hex.into(), Value::from),
                number => number.parse::<i64>().map_or(number.into(), Value::from),
            },
            Event::Scalar(text, ..) => Value::String(text.into()),
            _ => continue,
        };
        match open.last_mut() {
            None => documents.push(value),
            Some(Open::List(items)) => items.push(value),
            Some(Open::Map(map, key)) => match key.take() {
                Some(name) => drop(map.insert(name, value)),
                None => *key = Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned)),
            },
        }
    }
    Some(documents)
}

fn yaml_files(name: &str) -> Vec<(String, String)> {
    let mut files: Vec<_> = std::fs::read_dir(folder(name))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(&path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn the_schema_is_one_and_accepts_good_policies() {
    let schema = schema();
    assert!(jsonschema::meta::is_valid(&schema));
    let validator = jsonschema::validator_for(&schema).unwrap();
    for (name, text) in yaml_files("good") {
        for document in documents(&text).unwrap() {
            let errors: Vec<_> = validator.iter_errors(&document).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{name}: {errors:#?}");
        }
    }
}

#[test]
fn the_schema_rejects_what_the_reader_rejects_for_keys_and_types() {
    const STRUCTURAL: [Code; 11] = [
        Code::UnknownKey,
        Code::MissingKey,
        Code::WrongType,
        Code::NoValue,
        Code::UnknownWord,
        Code::OutOfRange,
        Code::EmptyList,
        Code::ApiVersion,
        Code::Kind,
        Code::Pass,
        Code::Subject,
    ];
    // These are about several fields together, or about more than one number: the reader's business.
    const BEYOND: [&str; 1] = ["site-too-many-failsafe.yaml"];
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let mut rejected = 0;
    for (name, text) in yaml_files("wrong") {
        let findings = parse(&[Source::new(name.as_str(), text.as_str())]).unwrap_err();
        if BEYOND.contains(&name.as_str()) || !findings.iter().any(|finding| STRUCTURAL.contains(&finding.code)) {
            continue;
        }
        let Some(documents) = documents(&text) else { continue };
        assert!(!documents.iter().all(|document| validator.is_valid(document)), "the schema accepts {name}");
        rejected += 1;
    }
    assert!(rejected >= 20, "only {rejected} policies are structurally wrong");
}

#[test]
fn the_reference_lists_every_key_as_it_is() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/policy-reference.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let marker = "<!-- keys -->\n";
    let (head, tables) = page.split_once(marker).expect("the page has a marker before its tables");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, format!("{head}{marker}\n{}", reference_tables())).unwrap();
    } else {
        assert_eq!(tables.trim(), reference_tables().trim(), "run with UPDATE_GOLDEN=1 to write the page anew");
    }
}

#[test]
fn the_examples_of_the_reference_are_read() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/policy-reference.md"));
    let page = page.unwrap();
    let examples: Vec<_> = page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(examples.len() >= 4, "one example for each kind");
    for example in examples {
        if let Err(findings) = parse(&[Source::new("docs/policy-reference.md", example)]) {
            panic!("{}\n{example}", findings[0]);
        }
    }
}
