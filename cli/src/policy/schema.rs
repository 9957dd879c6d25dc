//! `gabion policy schema`.

use crate::command::{Kind, SchemaArgs};
use crate::exit::{Exit, Failure};
use crate::output;

pub fn run(arguments: &SchemaArgs) -> Result<Exit, Failure> {
    let schema = match arguments.kind {
        Some(Kind::PolicyTest) => super::test::schema(),
        kind => crate::pending::schema(kind.map(Kind::name)),
    };
    let text = serde_json::to_string_pretty(&schema).map_err(|error| Failure::defect(error.to_string()))?;
    output::print(&(text + "\n")).map(|()| Exit::Fine)
}
