//! The example plant: what its policy promises, seen on its wires.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use gabion_testing_netns::agent_binary;
use gabion_testing_site::agent::{Agent, Workplace};
use gabion_testing_site::error::SiteError;
use gabion_testing_site::expectation::{Case, Promise, table};
use gabion_testing_site::plant::{DEVICES, Plant};
use gabion_testing_site::role::server::serve;
use gabion_testing_site::scenario::{Extent, Scenario};
use gabion_testing_site::update;

/// The plant, or why there is none.
fn plant() -> Option<Plant> {
    match Plant::build() {
        Ok(plant) => Some(plant),
        Err(SiteError::Unable { what, need, remedy }) => {
            gabion_testing_netns::skip(&format!("{what} needs {need}; {remedy}"));
            None
        }
        Err(error) => panic!("the plant could not be built: {error}"),
    }
}

#[test]
fn the_example_substation_keeps_its_promises() {
    let Some(plant) = plant() else { return };
    let _servers = serve(&plant).unwrap();
    let scenario = Scenario::new(&plant, Extent { polls: 12, goose: 24, flood: 500, ..Extent::MINUTE }).unwrap();

    // Without an agent every attack arrives. (What is declared need not: the intruder steals a relay's
    // MAC, and the bridge believes it.)
    let cases = scenario.round().unwrap();
    let blunt: Vec<&Case> =
        cases.iter().filter(|case| case.promise == Promise::Refuse && case.delivered == 0).collect();
    assert!(blunt.is_empty(), "these attacks do not even arrive without an agent: {blunt:#?}");

    let Some(binary) = agent_binary() else { return };
    let place = Workplace::new(&plant.gateway).unwrap();
    let policy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/substation");
    let mut agent = Agent::start_on(&plant.gateway, &place, &binary, &[policy]).unwrap();
    agent.enforcing(DEVICES.len()).unwrap();
    for _ in 0..3 {
        let cases = scenario.round().unwrap();
        assert!(cases.iter().all(Case::kept), "{}", table(&cases, &[]));
    }
}

/// Who reads it learns what an operator sees: `./x up --once --scenario bad-update`.
#[test]
fn an_update_that_takes_the_rtu_away_is_undone_by_the_node() {
    let Some(plant) = plant() else { return };
    let _servers = serve(&plant).unwrap();
    let Some(binary) = agent_binary() else { return };
    let place = Workplace::new(&plant.gateway).unwrap();
    let policy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/substation");
    update::copy(&[policy], &place.policy()).unwrap();
    let mut agent = Agent::start(&plant.gateway, &place, &binary).unwrap();
    agent.enforcing(DEVICES.len()).unwrap();
    assert!(update::bad_update(&plant, &mut agent, &place.policy()).unwrap());
}
