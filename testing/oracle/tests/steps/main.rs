//! How many instructions a packet runs through, of those that its program has.
#![allow(clippy::unwrap_used)]

mod machine;

use gabion_abi::facts::{Address, FAMILY_V4, Facts, TRANSPORT_PORTS, VLAN_NONE, protocol, tcp};
use gabion_policy_compile::{Options, compile};
use gabion_testing_oracle::{everything, features, frame};

use crate::machine::Machine;

fn segment(source: u32, destination_port: u16, flags: u8) -> Vec<u8> {
    frame(&Facts {
        source: Address::v4(source),
        destination: Address::v4(0x0a00_0001),
        source_port: 1024,
        destination_port,
        ethertype: 0x0800,
        family: FAMILY_V4,
        protocol: protocol::TCP,
        transport: TRANSPORT_PORTS,
        tcp_flags: flags,
        vlan_outer: VLAN_NONE,
        vlan_inner: VLAN_NONE,
        source_mac: 0x0200_0000_0001,
        destination_mac: 0x0200_0000_0002,
        ..Facts::UNKNOWN
    })
}

fn bare(ethertype: u16) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    bytes.extend(ethertype.to_be_bytes());
    bytes.resize(60, 0);
    bytes
}

/// What the first packet of a connection or of a denial costs once (the connection, the report) is not what packets
/// cost: those are held to a fifth of the program, decided the short way or the long.
#[test]
fn a_packet_of_a_policy_of_one_feature_runs_through_less_than_a_fifth_of_the_program() {
    if let Err(missing) = gabion_kernel_object::object() {
        println!("skipped: {missing}");
        return;
    }
    let modbus = |flags| segment(0x0a00_0002, 502, flags);
    let mut policies: Vec<_> = features().into_iter().map(|feature| (feature.name, feature.set)).collect();
    policies.push(("everything", everything()));
    for (name, set) in policies {
        let mut machine = Machine::new(&compile(&set, &Options::default()).unwrap());
        let fifth = machine.instructions() / 5;
        let packets = [
            ("SYN to 502", modbus(tcp::SYN)),
            ("ACK to 502", modbus(tcp::ACK)),
            ("SYN to 80", segment(0x0a01_0102, 80, tcp::SYN)),
            ("GOOSE", bare(0x88b8)),
            ("ARP", bare(0x0806)),
        ];
        for (what, packet) in packets {
            let [(passes, first), _, (again, steps)] = [(); 3].map(|()| machine.run(&packet));
            assert_eq!(passes, again);
            println!("{name}: {what} {}, first {first}, then {steps}", if passes { "passes" } else { "falls" });
            // Of a connection that is opened over and over each SYN goes the long way, and finds it.
            let opens = what == "SYN to 502" || what == "SYN to 80";
            let held = name != "everything" && !opens;
            assert!(steps < fifth || !held, "{name}: {what} takes {steps} instructions, a fifth are {fifth}");
        }
    }
}
