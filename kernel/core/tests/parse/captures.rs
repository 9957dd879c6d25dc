//! Real traffic: the counts come from the notes beside the captures, which come from tshark.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;

use gabion_abi::facts::{ETHERTYPE_LLC, FAMILY_V4, Facts, TRANSPORT_PORTS, VLAN_NONE, unparsed};
use gabion_kernel_core::parse::parse;
use pcap_parser::{Block, PcapBlockOwned, PcapError, create_reader};

/// The folder of captures: `GABION_TEST_DATA`, or `shared/data` beside the checkout.
fn data() -> Option<PathBuf> {
    let folder = std::env::var_os("GABION_TEST_DATA")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")), PathBuf::from);
    if folder.join("pcap").is_dir() {
        return Some(folder.join("pcap"));
    }
    println!("skipped: no captures in {} (set GABION_TEST_DATA to the folder that holds `pcap`)", folder.display());
    None
}

/// The frames of a capture, classic or pcapng.
fn frames(name: &str) -> Option<Vec<Vec<u8>>> {
    let path = data()?.join(name);
    let file = File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut reader = create_reader(1 << 20, file).unwrap();
    let mut frames = Vec::new();
    loop {
        match reader.next() {
            Ok((used, block)) => {
                match block {
                    PcapBlockOwned::Legacy(b) => frames.push(b.data[..b.caplen as usize].to_vec()),
                    PcapBlockOwned::NG(Block::EnhancedPacket(b)) => frames.push(b.data[..b.caplen as usize].to_vec()),
                    PcapBlockOwned::NG(Block::SimplePacket(b)) => frames.push(b.data.to_vec()),
                    _ => {}
                }
                reader.consume(used);
            }
            Err(PcapError::Eof) => return Some(frames),
            Err(PcapError::Incomplete(_)) => reader.refill().unwrap(),
            Err(e) => panic!("{}: {e:?}", path.display()),
        }
    }
}

fn capture(name: &str) -> Option<Vec<Facts>> {
    Some(frames(name)?.iter().map(|frame| parse(&frame.as_slice(), false)).collect())
}

/// How many frames have the value that `of` takes from them.
fn counts<K: Ord>(facts: &[Facts], of: impl Fn(&Facts) -> K) -> BTreeMap<K, usize> {
    facts.iter().fold(BTreeMap::new(), |mut all, f| {
        *all.entry(of(f)).or_default() += 1;
        all
    })
}

/// Frames with this port at either end.
fn with_port(facts: &[Facts], protocol: u8, port: u16) -> usize {
    let held = |f: &&Facts| {
        f.transport == TRANSPORT_PORTS && f.protocol == protocol && [f.source_port, f.destination_port].contains(&port)
    };
    facts.iter().filter(held).count()
}

fn unparsed_of(facts: &[Facts]) -> BTreeMap<&'static str, usize> {
    let mut all = counts(facts, |f| unparsed::NAMES[usize::from(f.unparsed)]);
    all.remove("parsed");
    all
}

fn none() -> BTreeMap<&'static str, usize> {
    BTreeMap::new()
}

#[test]
fn goose_frames_have_the_vlan_and_macs_that_tshark_decoded() {
    let Some(folder) = data() else { return };
    let table = std::fs::read_to_string(folder.join("goose/decoded.csv")).unwrap();
    let mut decoded: BTreeMap<&str, Vec<(usize, u64, u64, u16)>> = BTreeMap::new();
    let mac = |text: &str| u64::from_str_radix(&text.replace(':', ""), 16).unwrap();
    for line in table.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let vid = if cells[6].is_empty() { VLAN_NONE } else { cells[6].parse().unwrap() };
        decoded.entry(cells[0]).or_default().push((cells[1].parse().unwrap(), mac(cells[4]), mac(cells[5]), vid));
    }
    let mut frames = 0;
    for (file, expected) in decoded {
        let facts = capture(&format!("goose/{file}")).unwrap();
        let found: Vec<_> = facts
            .iter()
            .enumerate()
            .filter(|(_, f)| f.ethertype == 0x88b8)
            .map(|(number, f)| (number + 1, f.source_mac, f.destination_mac, f.vlan_outer))
            .collect();
        assert_eq!(found, expected, "{file}");
        frames += found.len();
    }
    assert_eq!(frames, 493);
}

#[test]
fn goose_files_parse_down_to_the_ethertype() {
    let Some(facts) = capture("goose/Sample_File_GOOSE.pcap") else { return };
    assert_eq!(counts(&facts, |f| (f.ethertype, f.vlan_outer, f.unparsed)), BTreeMap::from([((0x88b8, 0, 0), 451)]));
    for name in [
        "all_data_primitives_fallbacks",
        "malformed_asn1",
        "missing_conf_rev",
        "missing_gocb_ref",
        "missing_num_dat_set_entries",
        "truncated",
    ] {
        let facts = capture(&format!("goose/GOOSE_{name}.pcap")).unwrap();
        // What is wrong with them is wrong inside of the GOOSE PDU.
        let [only] = facts[..] else { panic!("{name} has {} frames", facts.len()) };
        assert_eq!((only.ethertype, only.vlan_outer, only.unparsed), (0x88b8, VLAN_NONE, unparsed::NONE));
        assert_eq!(only.source_mac, 0x00a0_f408_2f77);
    }
    let facts = capture("goose/Sample_File_MMS_and_GOOSE.pcap").unwrap();
    assert_eq!(facts.len(), 301);
    assert!(with_port(&facts, 6, 102) > 0, "MMS");
    assert!(facts.iter().any(|f| f.ethertype == ETHERTYPE_LLC && f.llc == 0x4242), "spanning tree");
}

#[test]
fn sampled_values_are_all_in_vlan_1() {
    let Some(facts) = capture("sv/SV_Normal_Traffic.pcap") else { return };
    let expected = BTreeMap::from([((0x88ba, 1, VLAN_NONE, 0xcafe_c0ff_ee69, 0), 10_161)]);
    let found = counts(&facts, |f| (f.ethertype, f.vlan_outer, f.vlan_inner, f.source_mac, f.unparsed));
    assert_eq!(found, expected);
}

#[test]
fn modbus_connections_have_their_ports() {
    let Some(facts) = capture("modbus/modbusBig.pcap") else { return };
    assert_eq!(facts.len(), 13_622);
    assert_eq!(unparsed_of(&facts), none());
    assert_eq!((with_port(&facts, 6, 502), with_port(&facts, 6, 102)), (11_098, 1_946 + 578));
    // 10.235.149.240:49226 and 10.235.149.243:502.
    let modbus = facts.iter().filter(|f| f.source_port == 502 || f.destination_port == 502);
    for f in modbus {
        let client =
            if f.destination_port == 502 { (f.source, f.source_port) } else { (f.destination, f.destination_port) };
        assert_eq!((client.0.words[0], client.1), (0x0aeb_95f0, 49_226));
    }
    // All three connections start in the middle.
    assert!(facts.iter().all(|f| f.tcp_flags & gabion_abi::facts::tcp::SYN == 0));
}

#[test]
fn iec104_and_s7_have_their_ports() {
    let Some(facts) = capture("iec104/090813_diverse.pcap") else { return };
    assert_eq!((facts.len(), with_port(&facts, 6, 2404)), (173, 172));
    assert_eq!(counts(&facts, |f| f.protocol)[&17], 1);
    let facts = capture("iec104/TestDissectIec104.pcap").unwrap();
    assert_eq!((facts.len(), with_port(&facts, 6, 2404)), (147, 147));
    let facts = capture("s7/s7comm_clean.pcap").unwrap();
    assert_eq!(facts.len(), 5_447);
    assert!(with_port(&facts, 6, 102) >= 5_447);
    let facts = capture("s7/s7comm.pcap").unwrap();
    assert_eq!((facts.len(), with_port(&facts, 6, 102)), (55, 55));
}

#[test]
fn dnp3_has_its_port_over_tcp_and_udp() {
    for (name, frames, protocol) in [
        ("zeek-dnp3", 214, 6),
        ("ndpi-dnp3", 543, 6),
        ("dnp3_select_operate", 13, 6),
        ("dnp3_file_write", 22, 6),
        ("dnp3_link_only", 35, 6),
        ("dnp3_udp_read", 23, 17),
        ("cold_restart_and_response", 10, 6),
    ] {
        let Some(facts) = capture(&format!("dnp3/{name}.pcap")) else { return };
        assert_eq!(facts.len(), frames, "{name}");
        assert_eq!(with_port(&facts, protocol, 20_000), frames, "{name}");
        assert_eq!(unparsed_of(&facts), none(), "{name}");
    }
    let facts = capture("dnp3/DNP3-Malformed.pcap").unwrap();
    assert_eq!((facts.len(), with_port(&facts, 6, 20_000)), (198, 198));
}

#[test]
fn ethernet_ip_shares_its_wire_with_stp_arp_and_lldp() {
    let Some(facts) = capture("enip/enip_cip_example.pcap") else { return };
    assert_eq!((facts.len(), unparsed_of(&facts)), (776, none()));
    assert_eq!((with_port(&facts, 6, 44_818), with_port(&facts, 17, 2222)), (351 + 8 + 3, 398));
    let by_type = counts(&facts, |f| f.ethertype);
    assert_eq!((by_type[&ETHERTYPE_LLC], by_type[&0x0806], by_type[&0x88cc]), (10, 4, 2));
    assert!(facts.iter().filter(|f| f.ethertype == ETHERTYPE_LLC).all(|f| f.llc == 0x4242));
}

#[test]
fn profinet_shares_its_wire_with_an_office() {
    let Some(facts) = capture("profinet/profinet_io_cm_mixed_1.pcap") else { return };
    assert_eq!((facts.len(), unparsed_of(&facts)), (1_635, none()));
    let expected = BTreeMap::from([(0x0800, 1_087), (0x88cc, 201), (0x8892, 164), (0x86dd, 164), (0x0806, 19)]);
    assert_eq!(counts(&facts, |f| f.ethertype), expected);
    assert!(facts.iter().any(|f| f.family == FAMILY_V4 && f.protocol == 2), "IGMP");
    assert!(with_port(&facts, 17, 34_964) > 0);
}

#[test]
fn opc_ua_has_its_three_connections() {
    let Some(facts) = capture("opcua/opcua_with-gap_with-handshake.pcap") else { return };
    assert_eq!((facts.len(), with_port(&facts, 6, 4840)), (411, 411));
    for (port, frames) in [(60_952, 259), (62_479, 130), (62_478, 22)] {
        assert_eq!(with_port(&facts, 6, port), frames);
    }
}
