//! What the intruder tries: every attack is a bounded list of frames, and how to tell that one arrived.

use crate::error::Result;
use crate::expectation::Signature;
use crate::frame::{Flow, ether_type, ethernet, holds, tagged, tcp_flag};
use crate::goose::Publisher;
use crate::host::Host;
use crate::link::Mac;
use crate::plant::{Device, GOOSE_GROUP, HISTORIAN, HMI, IED1, IED2, INTRUDER, PORT, RTU, SPARE};
use crate::role::server::{IEC104, MMS, MODBUS, SSH};
use crate::wire::{Matcher, Transmitter};

/// One attack.
pub struct Attack {
    /// Whom it is aimed at: where arrivals are counted.
    pub target: Device,
    /// What it is.
    pub what: &'static str,
    /// From which of the two cables: the one on the access network or the one in the station bus.
    pub cable: Device,
    /// What is sent.
    pub frames: Vec<Vec<u8>>,
    /// Tells an arrived frame of this attack from all others.
    pub arrives: Matcher,
    /// How events about it are recognised.
    pub signature: Signature,
}

/// Ports that a scan tries: what plants run, and what scanners start with.
const SCANNED: [u16; 16] =
    [21, SSH, 23, 80, MMS, 443, 445, MODBUS, 1911, IEC104, 3389, 4840, 5900, 20000, 44818, 47808];

/// Source ports by which packets of one attack are found again.
const SCAN_FROM: u16 = 40_001;
const SCAN_V6_FROM: u16 = 40_006;
const FLOOD_FROM: u16 = 41_000;

/// Marks of packets that carry something.
const SPOOFED_WRITE: &[u8] = b"\x67\xadspoofed write";
const FORGED_OWN: &str = "INTRUDERLD0/LLN0$GO$own";
const FORGED_STOLEN: &str = "INTRUDERLD0/LLN0$GO$stolen";
const FRAGMENTED: &[u8] = b"gabion-plant-fragment";
const MALFORMED: &[u8] = b"gabion-plant-malformed";
const SAMPLED: &[u8] = b"gabion-plant-sampled-values";

/// All attacks; floods have `flood` packets each.
#[must_use]
pub fn attacks(flood: u16) -> Vec<Attack> {
    let mut all: Vec<Attack> = [RTU, HMI, HISTORIAN, IED1, IED2].iter().map(|target| scan(target, false)).collect();
    all.push(scan(&RTU, true));
    all.extend([spoofed_write(), forged_goose(SPARE.mac, FORGED_OWN), forged_goose(IED1.mac, FORGED_STOLEN)]);
    // Floods come last: the agent limits its reports, and would have none left for the others.
    all.extend([sampled_values(), fragments(), malformed(), udp_flood(flood), syn_flood(flood)]);
    all
}

/// Sends all frames of an attack.
pub fn strike(host: &Host, attack: &Attack) -> Result<u64> {
    let interface = if attack.cable == SPARE { SPARE.name } else { PORT };
    let transmitter = Transmitter::open(host, interface)?;
    for frame in &attack.frames {
        transmitter.send(frame)?;
    }
    Ok(attack.frames.len() as u64)
}

fn scan(target: &Device, six: bool) -> Attack {
    let way = INTRUDER.way_to(target, six);
    let from = if six { SCAN_V6_FROM } else { SCAN_FROM };
    Attack {
        target: *target,
        what: if six { "TCP port scan, IPv6" } else { "TCP port scan" },
        cable: INTRUDER,
        frames: SCANNED.iter().map(|&port| way.tcp(from, port, tcp_flag::SYN, 1, &[])).collect(),
        arrives: Box::new(move |frame| Flow::of(frame).is_some_and(|flow| flow.source_port == from && flow.opens())),
        signature: Signature {
            source: Some(way.from.address),
            destination: Some(way.to.address),
            protocol: Some("tcp"),
            ..Signature::default()
        },
    }
}

/// Force a coil, in the HMI's name: Modbus function 5 behind a TCP header that fits an open connection.
fn spoofed_write() -> Attack {
    let mut way = INTRUDER.way_to(&RTU, false);
    way.from.address = HMI.v4();
    let mut request = vec![0x67, 0xad, 0, 0, 0, 6, 1, 5, 0, 1, 0xff, 0];
    request.extend(SPOOFED_WRITE);
    let flags = tcp_flag::PSH | tcp_flag::ACK;
    Attack {
        target: RTU,
        what: "Modbus write in the HMI's name",
        cable: INTRUDER,
        frames: (0..4).map(|n| way.tcp(50_000 + n, MODBUS, flags, 1, &request)).collect(),
        arrives: Box::new(|frame| holds(frame, SPOOFED_WRITE)),
        signature: Signature {
            source: Some(HMI.v4()),
            destination: Some(RTU.v4()),
            port: Some(MODBUS),
            interface: Some(INTRUDER.name),
            ..Signature::default()
        },
    }
}

/// A trip that no relay sent, with the intruder's own MAC or a relay's.
fn forged_goose(source: Mac, gocb_ref: &'static str) -> Attack {
    let publisher = Publisher { source, group: GOOSE_GROUP, appid: 0x3001, gocb_ref: gocb_ref.to_owned(), conf_rev: 5 };
    let stolen = source == IED1.mac;
    Attack {
        target: IED2,
        what: if stolen { "forged GOOSE with ied1's MAC" } else { "forged GOOSE with a foreign MAC" },
        cable: SPARE,
        frames: (0..8).map(|n| publisher.frame(60_000, n, &[true; 8])).collect(),
        arrives: Box::new(move |frame| holds(frame, gocb_ref.as_bytes())),
        signature: Signature {
            ethertype: Some("0x88b8"),
            source_mac: Some(source),
            interface: Some(SPARE.name),
            unparsed: Some(false),
            ..Signature::default()
        },
    }
}

/// An EtherType that nobody declared on this bus.
fn sampled_values() -> Attack {
    Attack {
        target: IED2,
        what: "sampled values that nobody declared",
        cable: SPARE,
        frames: vec![ethernet([0x01, 0x0c, 0xcd, 0x04, 0, 0], SPARE.mac, 0x88ba, SAMPLED); 4],
        arrives: Box::new(|frame| holds(frame, SAMPLED)),
        signature: Signature { ethertype: Some("0x88ba"), interface: Some(SPARE.name), ..Signature::default() },
    }
}

fn udp_flood(count: u16) -> Attack {
    let way = INTRUDER.way_to(&RTU, false);
    Attack {
        target: RTU,
        what: "UDP flood",
        cable: INTRUDER,
        frames: (0..count).map(|n| way.udp(FLOOD_FROM, 1024 + n % 30_000, b"flood")).collect(),
        arrives: Box::new(|frame| {
            Flow::of(frame).is_some_and(|flow| flow.protocol == 17 && flow.source_port == FLOOD_FROM)
        }),
        signature: Signature {
            source: Some(way.from.address),
            destination: Some(way.to.address),
            protocol: Some("udp"),
            fragment: Some(false),
            ..Signature::default()
        },
    }
}

fn syn_flood(count: u16) -> Attack {
    let way = INTRUDER.way_to(&RTU, false);
    let from = move |n: u16| 10_000 + n % 30_000;
    Attack {
        target: RTU,
        what: "SYN flood at the Modbus port",
        cable: INTRUDER,
        frames: (0..count).map(|n| way.tcp(from(n), MODBUS, tcp_flag::SYN, n.into(), &[])).collect(),
        arrives: Box::new(move |frame| {
            Flow::of(frame).is_some_and(|flow| {
                flow.source == way.from.address && flow.opens() && (10_000..40_000).contains(&flow.source_port)
            })
        }),
        signature: Signature {
            source: Some(way.from.address),
            destination: Some(way.to.address),
            protocol: Some("tcp"),
            port: Some(MODBUS),
            ..Signature::default()
        },
    }
}

/// Datagrams in pieces, as one hides ports from a filter that looks at first fragments only: an honest
/// train, a first fragment too short for its header, and a piece that would overwrite the header.
fn fragments() -> Attack {
    let way = INTRUDER.way_to(&RTU, false);
    let mut payload = FRAGMENTED.repeat(16);
    payload.truncate(320);
    let segment = way.udp_segment(FLOOD_FROM + 1, MODBUS, &payload);
    let mut frames = way.fragments(17, &segment, 0x6761, 64);
    let mut train = way.fragments(17, &segment, 0x6762, 64);
    // Later fragments whose first one never comes.
    frames.extend(train.split_off(1));
    let header = way.tcp(FLOOD_FROM + 2, MODBUS, tcp_flag::SYN, 1, FRAGMENTED)[34..].to_vec();
    frames.push(way.fragment_of(6, &header[..8], 0x6763, 0, true));
    frames.push(way.fragment_of(6, &header[8..], 0x6763, 8, false));
    Attack {
        target: RTU,
        what: "fragments: train, headless, overlapping",
        cable: INTRUDER,
        frames,
        // The kernel of a router forwards fragments as they are, so pieces of the mark arrive.
        arrives: Box::new(|frame| holds(frame, b"plant-fragment")),
        signature: Signature {
            source: Some(way.from.address),
            destination: Some(way.to.address),
            fragment: Some(true),
            ..Signature::default()
        },
    }
}

/// Frames that contradict themselves. They go to the bridge, which forwards what it does not understand.
fn malformed() -> Attack {
    let mut way = SPARE.way_to(&RTU, false);
    way.from.address = IED1.v4();
    let whole = way.udp(FLOOD_FROM + 3, MODBUS, MALFORMED);
    let edited = |at: usize, octet: u8| {
        let mut frame = whole.clone();
        frame[at] = octet;
        frame
    };
    let three_tags = [(ether_type::QINQ, 10), (ether_type::VLAN, 20), (ether_type::VLAN, 30)];
    Attack {
        target: RTU,
        what: "malformed headers",
        cable: SPARE,
        frames: vec![
            // Header length of 4 words, where 5 is the least.
            edited(14, 0x44),
            // Version 7.
            edited(14, 0x75),
            // Total length beyond the end of the frame.
            edited(16, 0xff),
            tagged(&whole, &three_tags),
            // TCP with a data offset of 2 words.
            way.packet(
                6,
                &[&[0x9c, 0x41, 1, 0xf6, 0, 0, 0, 1, 0, 0, 0, 0, 0x20, 2, 0, 0, 0, 0, 0, 0], MALFORMED].concat(),
            ),
        ],
        arrives: Box::new(|frame| holds(frame, MALFORMED)),
        signature: Signature { interface: Some(SPARE.name), unparsed: Some(true), ..Signature::default() },
    }
}
