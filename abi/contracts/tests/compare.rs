//! Two sides that drifted apart: what differs is named, the first first.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use gabion_abi::boundary;
use gabion_abi::contract::{Contract, Invalid, Payload, Place, ServiceContract, Set};
use gabion_contracts::{Contracts, Mismatch, Refusal, check, differences, meet, text};

mod ours {
    use super::*;

    #[repr(C)]
    #[derive(Contract)]
    pub struct Flow {
        pub source: [u8; 4],
        pub source_port: u16,
        pub destination_port: u16,
    }

    #[repr(C)]
    #[derive(Contract)]
    pub struct Event {
        #[contract(unit = "ns")]
        pub time_ns: u64,
        pub flow: Flow,
        pub flows: [Flow; 2],
    }

    impl Payload for Event {
        fn validate(&self) -> Result<(), Invalid> {
            Ok(())
        }
    }

    pub const SERVICE: ServiceContract<Event> = ServiceContract::new("events", 1);
    pub const SET: Set<'static> = Set {
        name: "demo",
        version: 1,
        records: &[Event::SHAPE, Flow::SHAPE],
        places: &[Place::keyed::<Flow, u32>("FLOWS", "hash"), Place::of::<Event>("EVENTS", "ring")],
        services: &[SERVICE.service()],
    };
}

/// The same with a wider port.
mod wider {
    use super::*;

    #[repr(C)]
    #[derive(Contract)]
    pub struct Flow {
        pub source: [u8; 4],
        pub source_port: u32,
        pub destination_port: u16,
        pub padding: [u8; 2],
    }

    #[repr(C)]
    #[derive(Contract)]
    pub struct Event {
        #[contract(unit = "ns")]
        pub time_ns: u64,
        pub flow: Flow,
        pub flows: [Flow; 2],
        pub padding: u32,
    }

    impl Payload for Event {
        fn validate(&self) -> Result<(), Invalid> {
            Ok(())
        }
    }

    pub const SET: Set<'static> = Set {
        name: "demo",
        version: 1,
        records: &[Event::SHAPE, Flow::SHAPE],
        places: &[Place::keyed::<Flow, u64>("FLOWS", "hash"), Place::of::<Event>("EVENTS", "ring")],
        services: &[ServiceContract::<Event>::new("events", 1).service()],
    };
}

fn parsed(set: &Set<'_>) -> Contracts {
    Contracts::parse(text(set).as_bytes()).unwrap()
}

fn told(expected: &Set<'_>, found: &Set<'_>) -> Vec<String> {
    differences(&parsed(expected), &parsed(found)).iter().map(ToString::to_string).collect()
}

#[test]
fn every_field_that_differs_is_named_where_it_lies_the_first_first() {
    assert_eq!(
        told(&ours::SET, &wider::SET),
        [
            "Event.flow.source_port: expected u16 at 12, found u32 at 12",
            "Event.flow.destination_port: expected u16 at 14, found u16 at 16",
            "Event.flow.padding: expected nothing, found [u8; 2] at 18",
            "Event.flows: expected [Flow; 2] at 16, found [Flow; 2] at 20",
            "Event.flows[0].source_port: expected u16 at 20, found u32 at 24",
            "Event.flows[0].destination_port: expected u16 at 22, found u16 at 28",
            "Event.flows[0].padding: expected nothing, found [u8; 2] at 30",
            "Event.padding: expected nothing, found u32 at 44",
            "Flow.source_port: expected u16 at 4, found u32 at 4",
            "Flow.destination_port: expected u16 at 6, found u16 at 8",
            "Flow.padding: expected nothing, found [u8; 2] at 10",
            "map FLOWS: expected hash of Flow to u32, found hash of Flow to u64",
        ]
    );
    assert!(told(&ours::SET, &ours::SET).is_empty());
}

#[test]
fn a_provider_and_a_consumer_of_two_processes_refuse_each_other() {
    let (ours, theirs) = (parsed(&ours::SET), parsed(&wider::SET));
    assert_eq!(meet(&ours, &ours, "events"), Ok(()));
    let refusal = meet(&ours, &theirs, "events").unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "service events: Event.flow.source_port: expected u16 at 12, found u32 at 12 (and 7 more differences)"
    );
    let Refusal::Differs { differences, .. } = refusal else { panic!("{refusal}") };
    assert_eq!(differences[0].path, "Event.flow.source_port");
    assert_eq!(meet(&ours, &theirs, "alarms"), Err(Refusal::Absent { service: "alarms".to_owned(), side: "our side" }));
    let newer = [ServiceContract::<ours::Event>::new("events", 2).service()];
    let refusal = meet(&ours, &parsed(&Set { services: &newer, ..ours::SET }), "events").unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "service events: service events: expected version 1 of Event, found version 2 of Event"
    );
}

/// One record `R`, of which two sides say other things.
fn record(body: &str) -> Contracts {
    let signature = format!("R\n{body}");
    // Written by hand, so that the digest is taken from what the refusal says.
    let text = |digest: &str| format!("gabion contracts 1\nset s version 1\ncontract {digest} {signature}");
    match Contracts::parse(text("0000000000000000").as_bytes()).unwrap_err().what {
        gabion_contracts::What::Digest { is, .. } => Contracts::parse(text(&format!("{is:016x}")).as_bytes()).unwrap(),
        what => panic!("{what}: {body}"),
    }
}

#[test]
fn a_rename_a_unit_and_an_alignment_are_differences() {
    let ours = record("  size 8 align 4\n  a: u32 at 0 unit ns\n  b: u32 at 4\n");
    for (body, expected) in [
        (
            "  size 8 align 4\n  a: u32 at 0 unit ms\n  b: u32 at 4\n",
            "R.a: expected u32 at 0 unit ns, found u32 at 0 unit ms",
        ),
        ("  size 8 align 4\n  a: u32 at 0\n  b: u32 at 4\n", "R.a: expected u32 at 0 unit ns, found u32 at 0"),
        ("  size 8 align 4\n  a: u32 at 0 unit ns\n  c: u32 at 4\n", "R.b: expected b: u32 at 4, found c: u32 at 4"),
        ("  size 8 align 4\n  a: u32 at 0 unit ns\n  b: i32 at 4\n", "R.b: expected u32 at 4, found i32 at 4"),
        (
            "  size 8 align 8\n  a: u32 at 0 unit ns\n  b: u32 at 4\n",
            "R: expected a record of size 8 align 4, found a record of size 8 align 8",
        ),
        ("  size 4 align 4\n  a: u32 at 0 unit ns\n", "R.b: expected u32 at 4, found nothing"),
        (
            "  size 12 align 4\n  a: u32 at 0 unit ns\n  x: u32 at 4\n  b: u32 at 8\n",
            "R.x: expected nothing, found u32 at 4",
        ),
        (
            "  size 8 align 4\n  b: u32 at 0\n  a: u32 at 4 unit ns\n",
            "R.a: expected u32 at 0 unit ns, found u32 at 4 unit ns",
        ),
        (
            "  size 8 align 4\n  a: u32be at 0 unit ns\n  b: u32 at 4\n",
            "R.a: expected u32 at 0 unit ns, found u32be at 0 unit ns",
        ),
    ] {
        let found = differences(&ours, &record(body));
        assert_eq!(found.first().map(ToString::to_string).as_deref(), Some(expected));
    }
}

#[test]
fn what_is_embedded_is_held_to_what_is_expected() {
    let set = &boundary::OBJECT;
    assert_eq!(check(set, text(set).as_bytes()), Ok(()));
    // In another order it says the same.
    let mut places = set.places.to_vec();
    places.reverse();
    assert_eq!(check(set, text(&Set { places: &places, ..*set }).as_bytes()), Ok(()));
    let fewer = text(&Set { places: &places[..places.len() - 1], ..*set });
    let error = check(set, fewer.as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "map ESTABLISHED: expected lru-hash of ConnKey to ConnValue, found nothing");
    assert!(matches!(check(set, b"gabion"), Err(Mismatch::Malformed(_))));
    let older = check(set, text(&Set { version: 0, ..*set }).as_bytes()).unwrap_err();
    assert_eq!(older.to_string(), format!("set: expected object version {}, found object version 0", set.version));
}
