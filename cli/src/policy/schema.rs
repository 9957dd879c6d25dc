//! `gabion policy schema`.

use std::collections::BTreeSet;

use gabion_policy_model::text;
use serde_json::{Value, json};

use crate::command::{Kind, SchemaArgs};
use crate::exit::{Exit, Failure};
use crate::output;

pub fn run(arguments: &SchemaArgs) -> Result<Exit, Failure> {
    let schema = match arguments.kind {
        None => text::schema(),
        Some(Kind::PolicyTest) => super::test::schema(),
        Some(kind) => of_kind(text::schema(), kind.name())
            .ok_or_else(|| Failure::defect(format!("the schema knows no kind {}", kind.name())))?,
    };
    let text = serde_json::to_string_pretty(&schema).map_err(|error| Failure::defect(error.to_string()))?;
    output::print(&(text + "\n")).map(|()| Exit::Fine)
}

/// The schema of all documents, narrowed to one kind and to the definitions that it needs.
fn of_kind(mut schema: Value, kind: &str) -> Option<Value> {
    let wanted = format!("#/$defs/{kind}");
    if !schema.get("oneOf")?.as_array()?.iter().any(|one| one["$ref"] == wanted.as_str()) {
        return None;
    }
    let mut needed = BTreeSet::new();
    let mut open = vec![kind.to_owned()];
    while let Some(name) = open.pop() {
        if let Some(definition) = schema["$defs"].get(&name)
            && needed.insert(name)
        {
            references(definition, &mut open);
        }
    }
    schema["$defs"].as_object_mut()?.retain(|name, _| needed.contains(name));
    schema.as_object_mut()?.remove("oneOf");
    schema["$ref"] = json!(wanted);
    schema["title"] = json!(kind);
    // Two schemas must not claim one identity.
    schema.as_object_mut()?.remove("$id");
    Some(schema)
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            let reference = fields.get("$ref").and_then(Value::as_str);
            found.extend(reference.and_then(|to| to.strip_prefix("#/$defs/")).map(str::to_owned));
            fields.values().for_each(|field| references(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}
