//! The table of shapes as JSON Schema and as the page of reference.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::form::{Form, Pattern};
use super::kinds::{API_VERSION, KINDS};
use super::shape::{Field, Record, Shape};

/// JSON Schema (2020-12) of one document of any kind.
///
/// It knows keys, types and the forms of values. What values say together (host bits of a block, a range that runs
/// backwards, contradictions in a service, names that stand twice) only [`super::parse`] checks.
#[must_use]
pub fn schema() -> Value {
    let mut definitions = BTreeMap::new();
    let kinds: Vec<_> = KINDS.iter().map(|kind| reference(kind, &mut definitions)).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": format!("https://{API_VERSION}/policy.schema.json"),
        "title": "Gabion policy documents",
        "type": "object",
        "oneOf": kinds,
        "$defs": definitions,
    })
}

fn reference(record: &'static Record, definitions: &mut BTreeMap<&'static str, Value>) -> Value {
    if !definitions.contains_key(record.name) {
        // Taken before the record is walked, so that it may contain itself.
        definitions.insert(record.name, Value::Null);
        let definition = self::record(record, definitions);
        definitions.insert(record.name, definition);
    }
    json!({ "$ref": format!("#/$defs/{}", record.name) })
}

fn record(record: &'static Record, definitions: &mut BTreeMap<&'static str, Value>) -> Value {
    let mut properties = Map::new();
    for field in record.fields {
        let mut value = shape(&field.shape, definitions);
        if let Value::Object(object) = &mut value {
            object.insert("description".into(), field.doc.into());
        }
        properties.insert(field.key.into(), value);
    }
    let required: Vec<_> = record.fields.iter().filter(|field| field.required).map(|field| field.key).collect();
    let mut definition = json!({
        "type": "object",
        "description": record.doc,
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        definition["required"] = json!(required);
    }
    if !record.groups.is_empty() {
        let group =
            |keys: &[&str]| json!({ "anyOf": keys.iter().map(|key| json!({ "required": [key] })).collect::<Vec<_>>() });
        definition["oneOf"] = record.groups.iter().map(|keys| group(keys)).collect();
    }
    if let (Ok(Value::Object(also)), Value::Object(definition)) = (serde_json::from_str(record.also), &mut definition) {
        definition.extend(also);
    }
    definition
}

fn text(form: &Form) -> Value {
    let mut value = json!({ "type": "string" });
    if let Some(regex) = form.regex() {
        value["pattern"] = regex.into();
    }
    if let Some(longest) = form.longest {
        value["maxLength"] = longest.into();
    }
    if let Pattern::Numbers(numbers) = &form.pattern {
        value["type"] = json!(["string", "integer"]);
        value["minimum"] = 0.into();
        value["maximum"] = numbers.max.into();
    }
    value
}

fn shape(shape: &'static Shape, definitions: &mut BTreeMap<&'static str, Value>) -> Value {
    match shape {
        Shape::Text(form) => text(form),
        Shape::Integer { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Shape::Bool => json!({ "type": "boolean" }),
        Shape::Word([word]) => json!({ "const": word }),
        Shape::Word(words) => json!({ "enum": words }),
        Shape::List { of, empty } => {
            let mut value = json!({ "type": "array", "items": self::shape(of, definitions) });
            if empty.is_some() {
                value["minItems"] = 1.into();
            }
            value
        }
        Shape::Table { keys, value, .. } => json!({
            "type": "object",
            "propertyNames": text(keys),
            "additionalProperties": self::shape(value, definitions),
        }),
        Shape::Record(record) => reference(record, definitions),
        Shape::Either(shapes) => {
            json!({ "anyOf": shapes.iter().map(|one| self::shape(one, definitions)).collect::<Vec<_>>() })
        }
    }
}

/// The table as Markdown, for `docs/policy-reference.md`.
#[must_use]
pub fn reference_tables() -> String {
    let mut page = String::new();
    let mut written = Vec::new();
    for kind in &KINDS {
        // The first four keys are the same everywhere; what differs is below `spec`.
        let spec = kind.fields.iter().find(|field| field.key == "spec");
        if let Some(Field { shape: Shape::Record(spec), .. }) = spec {
            let _ = write!(page, "## {}\n\n{}\n\n", kind.name, kind.doc);
            table(&mut page, spec, &mut written);
        }
    }
    page
}

fn table(page: &mut String, record: &'static Record, written: &mut Vec<&'static str>) {
    written.push(record.name);
    // Writing to a string cannot fail.
    let _ = writeln!(page, "| key | value | meaning |\n| --- | --- | --- |");
    let mut below = Vec::new();
    for field in record.fields {
        let needed = if field.required { " (required)" } else { "" };
        let value = brief(&field.shape, &mut below).replace('|', "\\|");
        let _ = writeln!(page, "| `{}`{needed} | {value} | {} |", field.key, field.doc.replace('|', "\\|"));
    }
    page.push('\n');
    for record in below {
        if !written.contains(&record.name) {
            let _ = write!(page, "### {}\n\n{}\n\n", record.name, record.doc);
            table(page, record, written);
        }
    }
}

/// A shape in a cell of a table, and the records that it leads to.
fn brief(shape: &'static Shape, below: &mut Vec<&'static Record>) -> String {
    match shape {
        Shape::Record(record) => {
            below.push(record);
            format!("[{}](#{})", record.name, record.name.to_lowercase())
        }
        Shape::List { of, .. } => format!("list of: {}", brief(of, below)),
        Shape::Table { key, value, .. } => format!("map from {key} to: {}", brief(value, below)),
        Shape::Either(shapes) => match shapes {
            [one @ Shape::Text(_), Shape::List { .. }] => format!("one or a list of: {}", brief(one, below)),
            _ => shapes.iter().map(|one| brief(one, below)).collect::<Vec<_>>().join(", or "),
        },
        Shape::Word(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        other => other.describe(),
    }
}
