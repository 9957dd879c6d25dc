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

/// A document of a kind with one value in its spec; `@` stands for the value.
const PLACES: &[(&str, &str, &[&str])] = &[
    ("Policy", r#"{"subject": "any", "ingress": [{"name": @}]}"#, &["r.1_a", "-a", "a-", "isolation", "", "é"]),
    ("Policy", r#"{"subject": {"labels": {"a": @}}}"#, &["b", "", "b c", "-b", "1.5-x_Y"]),
    ("Policy", r#"{"subject": {"labels": {@: "b"}}}"#, &["a", "x.y/z", "", "/z", "a/b/c", "X.y/z", "a..b/c", "a b"]),
    ("Policy", r#"{"subject": {"labels": {}, "namespaces": @}}"#, &["a", "*", "a.b", "A", ""]),
    ("Policy", r#"{"subject": {"serviceAccount": @}}"#, &["a", "n/a", "*/a", "a.b", "n.m/a", "/a", "n/", "a/b/c", "*"]),
    (
        "Policy",
        r#"{"subject": {"spiffeId": @}}"#,
        &[
            "spiffe://d",
            "spiffe://d/a/*",
            "spiffe://d/*",
            "spiffe://d/.a/..b/...",
            "spiffe://d/a/",
            "spiffe://D/a",
            "spiffe://d/./a",
            "spiffe://d/..",
            "spiffe://d//a",
            "spiffe://d/a*",
            "spiffe://d/*/a",
            "spiffe://",
            "x",
        ],
    ),
    (
        "Policy",
        r#"{"subject": {"cidr": @}}"#,
        &[
            "10.0.0.0/8",
            "0.0.0.0/0",
            "::/0",
            "2001:db8::/32",
            "10.0.0.0",
            "010.0.0.0/8",
            "10.0.0.0/08",
            "10.0.0.0/33",
            "256.0.0.0/8",
            "::/129",
            "1.2.3/8",
            "fe80::1%eth0/128",
        ],
    ),
    (
        "Policy",
        r#"{"subject": {"mac": @}}"#,
        &["02:00:00:00:00:01", "02-00-00-00-00-01", "02:00-00:00:00:01", "2:0:0:0:0:1"],
    ),
    (
        "Policy",
        r#"{"subject": {"interface": @}}"#,
        &["eth0.1", ".", "..", "...", "eth*", "a b", "a/b", "a:b", "abcdefghijklmnop"],
    ),
    ("Policy", r#"{"subject": {"matchExpressions": [{"key": "a", "operator": @}]}}"#, &["Exists", "In", "Gt"]),
    (
        "Policy",
        r#"{"subject": {"matchExpressions": [{"key": "a", "operator": @, "values": ["b"]}]}}"#,
        &["In", "NotIn", "Exists", "DoesNotExist"],
    ),
    (
        "Policy",
        r#"{"subject": "any", "ingress": [{"services": [{"protocol": @}]}]}"#,
        &[
            "tcp",
            "icmp-tcp",
            "0x06",
            "0x0006",
            "0x100",
            "255",
            "256",
            "06",
            "TCP",
            "foo",
            "50 - 51",
            "1-2-3",
            "ipv6-icmp",
        ],
    ),
    (
        "Policy",
        r#"{"subject": "any", "ingress": [{"services": [{"protocol": "tcp", "ports": @}]}]}"#,
        &[
            "80",
            "080",
            "65535",
            "65536",
            "0x50",
            "80-90",
            "http",
            "a--b",
            "-a",
            "1-2-c",
            "abcdefghijklmnop",
            "0o17",
            "HTTP",
            "",
        ],
    ),
    (
        "Policy",
        r#"{"subject": "any", "ingress": [{"services": [{"icmp": @}]}]}"#,
        &[
            "any",
            "8",
            "8/0",
            "3/0-5",
            "redirect/1",
            "9-10",
            "3-4/0",
            "256",
            "8/256",
            "8/",
            "/8",
            "8/any",
            "echo-request",
        ],
    ),
    (
        "Policy",
        r#"{"subject": "any", "ingress": [{"services": [{"tcpFlags": @}]}]}"#,
        &["any", "syn,!ack", "syn , ack", "!", "SYN", "", "foo", "syn,"],
    ),
    (
        "Policy",
        r#"{"subject": "any", "ingress": [{"services": [{"etherType": @}]}]}"#,
        &["goose", "slow-protocols", "goose-sv", "0x88b8-0x88ba", "35000", "0x10000", "GOOSE"],
    ),
    ("Policy", r#"{"subject": "any", "ingress": [{"services": [{"llc": @}]}]}"#, &["stp", "0x4242", "0x10000", "1-2"]),
    (
        "Policy",
        r#"{"subject": "any", "ingress": [{"services": [{"vlan": @}]}]}"#,
        &["untagged", "4095", "4096", "0x0fff", "0x1000", "1-4094", "x"],
    ),
    ("Policy", r#"{"subject": "any", "ingress": [{"services": [{"vlan": [@]}]}]}"#, &["untagged", "7"]),
    ("ClusterPolicy", r#"{"subject": "any", "tier": {"name": @, "order": 1}}"#, &["a", "policy", "default", "a.b"]),
    ("Inventory", r#"{"entries": [{"name": @}]}"#, &["a", "a.b", "a..b", "A", "a-"]),
    (
        "Inventory",
        r#"{"entries": [{"name": "a", "addresses": [@]}]}"#,
        &["10.0.0.1", "::1", "010.0.0.1", "10.0.0.1/32"],
    ),
    (
        "Inventory",
        r#"{"entries": [{"name": "a", "ports": {"web": @}}]}"#,
        &["tcp/80", "6/80", "0x6/0x50", "icmp/1", "tcp/080"],
    ),
    ("Inventory", r#"{"entries": [{"name": "a", "ports": {@: "tcp/80"}}]}"#, &["web", "1", "a--b", "WEB"]),
    ("Inventory", r#"{"namespaces": {@: {}}}"#, &["a", "a.b", "A"]),
    ("Site", r#"{"interfaces": [{"name": @}]}"#, &["eth0", "eth*", "*", "**", "", ".", ".*"]),
    ("Site", r#"{"defaults": {"subjects": [{"subject": "any", @: "deny"}]}}"#, &["ingress", "egress", "unparsed"]),
];

#[test]
fn the_schema_takes_the_values_that_the_reader_takes() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let (mut fine, mut wrong) = (0, 0);
    for (kind, spec, values) in PLACES {
        for value in *values {
            let spec = spec.replace('@', &serde_json::to_string(value).unwrap());
            let head = r#""apiVersion": "gabion.dev/v1alpha1", "metadata": {"name": "x"}"#;
            let text = format!(r#"{{{head}, "kind": "{kind}", "spec": {spec}}}"#);
            let read = parse(&[Source::new("x.json", text.as_str())]);
            let valid = validator.is_valid(&serde_json::from_str(&text).unwrap());
            assert_eq!(valid, read.is_ok(), "{text}\n{read:?}");
            if valid { fine += 1 } else { wrong += 1 }
        }
    }
    assert!(fine >= 60 && wrong >= 60, "{fine} fine, {wrong} wrong");
}

#[test]
fn the_schema_refuses_services_that_no_packet_fits() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    for keys in [
        r#""icmp": 8, "ports": 80"#,
        r#""icmp": 8, "tcpFlags": "syn""#,
        r#""unparsed": "any", "protocol": "tcp""#,
        r#""llc": "stp", "fragments": "any""#,
    ] {
        let head = r#""apiVersion": "gabion.dev/v1alpha1", "kind": "Policy", "metadata": {"name": "x"}"#;
        let text = format!(r#"{{{head}, "spec": {{"subject": "any", "egress": [{{"services": [{{{keys}}}]}}]}}}}"#);
        assert!(parse(&[Source::new("x.json", text.as_str())]).is_err(), "{text}");
        assert!(!validator.is_valid(&serde_json::from_str(&text).unwrap()), "{text}");
    }
}
