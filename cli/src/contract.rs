//! `gabion contract ...`: what this binary, a text or an object says of the records that it shares.

use std::path::Path;

use gabion_abi::boundary::{GATEKEEPER, OBJECT, OWNERS, STATE};
use gabion_abi::contract::Set;
use gabion_contracts::{Contracts, Difference, differences, embedded, export, text};
use serde::Serialize;

use crate::command::{ContractCommand, ContractSet, DiffArgs, ExportArgs, ExportFormat, ListArgs, OfArgs};
use crate::exit::{Exit, Failure};
use crate::file::Input;
use crate::output;

pub fn run(command: ContractCommand) -> Result<Exit, Failure> {
    match command {
        ContractCommand::List(arguments) => list(&arguments),
        ContractCommand::Diff(arguments) => diff(&arguments),
        ContractCommand::Export(arguments) => export(&arguments),
    }
}

fn list(arguments: &ListArgs) -> Result<Exit, Failure> {
    let contracts = parsed(&said(&arguments.of)?)?;
    output::show(arguments.output.output, &Listing::of(&contracts), Listing::table)?;
    Ok(Exit::Fine)
}

fn diff(arguments: &DiffArgs) -> Result<Exit, Failure> {
    let (expected, found) = match &arguments.found {
        Some(found) => (parsed(&file(&arguments.file)?)?, parsed(&file(found)?)?),
        None => {
            let found = parsed(&file(&arguments.file)?)?;
            let ours = if found.name == STATE.name { &STATE } else { &OBJECT };
            (parsed(&ours_of(ours))?, found)
        }
    };
    let all = differences(&expected, &found);
    let shown: Vec<Shown<'_>> = all.iter().map(Shown::of).collect();
    output::show(arguments.output.output, &shown, |_| match all.as_slice() {
        [] => "no difference\n".to_owned(),
        all => all.iter().map(|difference| format!("{difference}\n")).collect(),
    })?;
    Ok(if all.is_empty() { Exit::Fine } else { Exit::No })
}

fn export(arguments: &ExportArgs) -> Result<Exit, Failure> {
    let said = said(&arguments.of)?;
    // What is passed on was understood.
    let contracts = parsed(&said)?;
    let text = match arguments.format {
        ExportFormat::Text => String::from_utf8_lossy(&said.bytes).into_owned(),
        ExportFormat::C => export::c(&contracts),
        ExportFormat::JsonSchema => {
            let json = serde_json::to_string_pretty(&export::json_schema(&contracts));
            json.map_err(|error| Failure::defect(format!("cannot write JSON: {error}")))? + "\n"
        }
    };
    output::print(&text).map(|()| Exit::Fine)
}

fn said(of: &OfArgs) -> Result<Input, Failure> {
    match (&of.file, of.set) {
        (Some(path), _) => file(path),
        (None, ContractSet::Object) => Ok(ours_of(&OBJECT)),
        (None, ContractSet::State) => Ok(ours_of(&STATE)),
        (None, ContractSet::Owners) => Ok(ours_of(&OWNERS)),
        (None, ContractSet::Gatekeeper) => Ok(ours_of(&GATEKEEPER)),
    }
}

fn ours_of(set: &Set<'_>) -> Input {
    Input { by: "this gabion".to_owned(), bytes: text(set).into_bytes() }
}

fn parsed(said: &Input) -> Result<Contracts, Failure> {
    Contracts::parse(&said.bytes).map_err(|error| {
        let help = "what is read here is what `gabion contract export` writes, or an object of kernel programs";
        Failure::input(format!("{}: {error}", said.by)).help(help)
    })
}

/// A text, or the one in an object.
fn file(path: &Path) -> Result<Input, Failure> {
    let mut file = Input::read(path)?;
    if file.is_object() {
        let text = embedded(&file.bytes).map_err(|error| Failure::input(format!("{}: {error}", file.by)))?;
        file.bytes = text.to_vec();
    }
    Ok(file)
}

#[derive(Serialize)]
struct Listing {
    set: String,
    version: u32,
    records: Vec<Row>,
    maps: Vec<Named>,
    services: Vec<Named>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    size: u64,
    align: u64,
    digest: String,
}

#[derive(Serialize)]
struct Named {
    name: String,
    holds: String,
}

impl Listing {
    fn of(contracts: &Contracts) -> Self {
        let named = |name: &String, holds: String| Named { name: name.clone(), holds };
        Self {
            set: contracts.name.clone(),
            version: contracts.version,
            records: contracts
                .records
                .iter()
                .map(|record| Row {
                    name: record.layout.name.clone(),
                    size: record.layout.size,
                    align: record.layout.align,
                    digest: format!("{:016x}", record.digest),
                })
                .collect(),
            maps: contracts.places.iter().map(|place| named(&place.name, place.to_string())).collect(),
            services: contracts.services.iter().map(|service| named(&service.name, service.to_string())).collect(),
        }
    }

    fn table(&self) -> String {
        let mut rows = vec![["RECORD", "BYTES", "ALIGN", "CONTRACT"].map(str::to_owned).to_vec()];
        rows.extend(
            self.records
                .iter()
                .map(|row| vec![row.name.clone(), row.size.to_string(), row.align.to_string(), row.digest.clone()]),
        );
        let mut text = output::columns(&rows);
        for (head, named) in [("MAP", &self.maps), ("SERVICE", &self.services)] {
            if !named.is_empty() {
                let mut rows = vec![vec![head.to_owned(), "HOLDS".to_owned()]];
                rows.extend(named.iter().map(|one| vec![one.name.clone(), one.holds.clone()]));
                text += "\n";
                text += &output::columns(&rows);
            }
        }
        text
    }
}

#[derive(Serialize)]
struct Shown<'d> {
    path: &'d str,
    expected: Option<&'d str>,
    found: Option<&'d str>,
}

impl<'d> Shown<'d> {
    fn of(difference: &'d Difference) -> Self {
        let Difference { path, expected, found } = difference;
        Self { path, expected: expected.as_deref(), found: found.as_deref() }
    }
}
