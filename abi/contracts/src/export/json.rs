//! JSON Schema of the records as JSON objects, for who passes them on as such.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{identifiers, layouts};
use crate::layout::{Contracts, Layout, Type};

/// A schema (2020-12) with a definition for each record. What JSON does not say of a record (places, sizes, units,
/// digests) is in keywords that begin with `x-gabion-`, which validators pass over.
#[must_use]
pub fn json_schema(contracts: &Contracts) -> Value {
    let layouts = layouts(contracts);
    let names = identifiers(&layouts);
    let definitions: Map<String, Value> =
        layouts.iter().map(|layout| (key(layout, &names), record(contracts, layout, &names))).collect();
    let any: Vec<Value> =
        contracts.records.iter().map(|record| json!({ "$ref": reference(&record.layout, &names) })).collect();
    let places: Map<String, Value> = contracts
        .places
        .iter()
        .map(|place| (place.name.clone(), json!({ "kind": place.kind, "key": place.key, "value": place.value })))
        .collect();
    let services: Map<String, Value> = contracts
        .services
        .iter()
        .map(|service| (service.name.clone(), json!({ "version": service.version, "payload": service.payload })))
        .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": format!("gabion contracts: {} version {}", contracts.name, contracts.version),
        "anyOf": any,
        "$defs": definitions,
        "x-gabion-maps": places,
        "x-gabion-services": services,
    })
}

fn key(layout: &Layout, names: &BTreeMap<&str, String>) -> String {
    names.get(layout.name.as_str()).cloned().unwrap_or_default()
}

fn reference(layout: &Layout, names: &BTreeMap<&str, String>) -> String {
    format!("#/$defs/{}", key(layout, names))
}

fn record(contracts: &Contracts, layout: &Layout, names: &BTreeMap<&str, String>) -> Value {
    let mut properties = Map::new();
    for field in &layout.fields {
        let mut property = value(&field.ty, names);
        property["x-gabion-offset"] = field.offset.into();
        if let Some(unit) = &field.unit {
            property["x-gabion-unit"] = unit.clone().into();
        }
        properties.insert(field.name.clone(), property);
    }
    let required: Vec<&str> = layout.fields.iter().map(|field| field.name.as_str()).collect();
    let mut schema = json!({
        "title": layout.name,
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
        "x-gabion-size": layout.size,
        "x-gabion-align": layout.align,
    });
    if let Some(record) = contracts.record(&layout.name) {
        schema["x-gabion-contract"] = format!("{:016x}", record.digest).into();
    }
    schema
}

fn value(ty: &Type, names: &BTreeMap<&str, String>) -> Value {
    match ty {
        Type::Integer { signed: false, bytes, .. } => json!({
            "type": "integer",
            "minimum": 0,
            "maximum": u64::MAX >> (64 - bytes * 8),
            "x-gabion-type": ty.to_string(),
        }),
        Type::Integer { signed: true, bytes, .. } => json!({
            "type": "integer",
            "minimum": i64::MIN >> (64 - bytes * 8),
            "maximum": i64::MAX >> (64 - bytes * 8),
            "x-gabion-type": ty.to_string(),
        }),
        Type::Array { element, length } => {
            json!({ "type": "array", "items": value(element, names), "minItems": length, "maxItems": length })
        }
        Type::Record(layout) => json!({ "$ref": reference(layout, names) }),
    }
}
