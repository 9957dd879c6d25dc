//! One round in the life of the plant: everyone does what they do, and every arrival is counted.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use crate::error::{Result, SiteError};
use crate::expectation::{Case, Promise, Signature, words};
use crate::frame::{Flow, holds};
use crate::goose::is_goose;
use crate::plant::{ACCESS, Device, HISTORIAN, HMI, IED1, IED2, INTRUDER, LAPTOP, PORT, Plant, RTU, SPARE};
use crate::role::client::{self, Answered};
use crate::role::goose::{Programme, programme, publish};
use crate::role::intruder::{Attack, attacks, strike};
use crate::role::server::{IEC104, MMS, MODBUS, SSH};
use crate::wire::{Tap, Transmitter, Watch};

/// How much happens in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Polls of the HMI, a second apart in a real plant.
    pub polls: u16,
    /// Time between two polls.
    pub pause: Duration,
    /// GOOSE frames of each relay.
    pub goose: usize,
    /// How many times as fast as captured.
    pub haste: u32,
    /// Packets of each flood.
    pub flood: u16,
}

impl Extent {
    /// One minute's worth in about three seconds.
    pub const MINUTE: Self = Self { polls: 60, pause: Duration::from_millis(30), goose: 120, haste: 20, flood: 5_000 };
}

/// How long arrivals of what was sent may take: softirqs of a loaded machine, not the network.
const ARRIVAL: Duration = Duration::from_secs(2);
/// How long publishing may take in one round.
const PUBLISHING: Duration = Duration::from_secs(5);
const PING: &[u8] = b"gabion-plant-ping-from-";

/// Everyone's part, ready to be played round after round.
pub struct Scenario<'p> {
    plant: &'p Plant,
    extent: Extent,
    taps: Vec<(Device, Tap)>,
    gateway: Tap,
    programmes: [(Device, Programme); 2],
}

impl<'p> Scenario<'p> {
    /// Opens the taps and reads the captures.
    pub fn new(plant: &'p Plant, extent: Extent) -> Result<Self> {
        let tap = |device: Device| Ok((device, Tap::open(plant.host(&device), Some(PORT))?));
        Ok(Self {
            plant,
            extent,
            taps: [HMI, HISTORIAN, RTU, IED1, IED2].into_iter().map(tap).collect::<Result<_>>()?,
            gateway: Tap::open(&plant.gateway, None)?,
            programmes: [(IED1, programme(&IED1, extent.goose)?), (IED2, programme(&IED2, extent.goose)?)],
        })
    }

    /// Whether the relays publish captured frames.
    #[must_use]
    pub fn captured(&self) -> bool {
        self.programmes.iter().all(|(_, programme)| programme.captured)
    }

    /// Plays one round.
    pub fn round(&self) -> Result<Vec<Case>> {
        self.speak_up()?;
        let result = self.play(attacks(self.extent.flood));
        for (_, tap) in &self.taps {
            tap.clear();
        }
        self.gateway.clear();
        result
    }

    /// Each relay repeats a message, as relays do all the time. In an unguarded round the intruder stole a relay's MAC,
    /// and a bridge sends what is meant for a MAC to whoever spoke last in its name, whoever guards it since.
    fn speak_up(&self) -> Result<()> {
        for (relay, part) in &self.programmes {
            let Some((_, frame)) = part.frames.last() else { continue };
            // At the other relay: the bridge learns a source before it passes a frame on.
            let heard = Relay::heard(self, relay);
            Transmitter::open(self.plant.host(relay), Plant::interface(relay))?.send(frame)?;
            // A policy that refuses it is what the round itself will show.
            let _ = heard.reaches(1, ARRIVAL);
        }
        Ok(())
    }

    fn tap(&self, device: &Device) -> &Tap {
        // The taps are of the devices that cases name; the gateway's is the fallback for all others.
        self.taps.iter().find(|(tapped, _)| tapped == device).map_or(&self.gateway, |(_, tap)| tap)
    }

    fn play(&self, mut attacks: Vec<Attack>) -> Result<Vec<Case>> {
        let plant = self.plant;
        let mut watches: Vec<Watch> = Vec::new();
        for attack in &mut attacks {
            let arrives = std::mem::replace(&mut attack.arrives, Box::new(|_| false));
            watches.push(self.tap(&attack.target).watch(arrives));
        }
        let relays: Vec<_> = self.programmes.iter().map(|(relay, part)| Relay::of(self, relay, part)).collect();
        let knocks = Knock::all(self);
        let pings = [Ping::of(self, HMI, Promise::Pass), Ping::of(self, INTRUDER, Promise::Refuse)];

        let Extent { polls, pause, haste, .. } = self.extent;
        let tests = polls / 6;
        let played = thread::scope(|scope| -> Result<_> {
            let hmi = scope.spawn(|| client::poll(&plant.hmi, RTU.v4(), polls, pause, true));
            let hmi_six = scope.spawn(|| client::poll(&plant.hmi, RTU.v6(), polls / 2, pause * 2, false));
            let archive = scope.spawn(|| client::poll(&plant.historian, RTU.v4(), polls / 2, pause * 2, false));
            let telecontrol = scope.spawn(|| client::keep_alive(&plant.historian, RTU.v6(), tests, pause * 4));
            let maintenance = scope.spawn(|| client::log_in(&plant.laptop, IED1.v4()));
            let failsafe = scope.spawn(|| client::log_in(&plant.laptop, ACCESS.gateway()[0]));
            let published: Vec<_> = relays
                .iter()
                .map(|relay| {
                    scope
                        .spawn(move || publish(plant.host(&relay.device), &relay.device, relay.part, haste, PUBLISHING))
                })
                .collect();
            let knocking: Vec<_> = knocks
                .iter()
                .map(|knock| scope.spawn(move || client::knock(plant.host(&knock.from), &[knock.door])))
                .collect();
            let pinging: Vec<_> = pings.iter().map(|ping| scope.spawn(move || ping.send(plant))).collect();
            let struck: Vec<Result<u64>> = attacks.iter().map(|attack| strike(&plant.intruder, attack)).collect();

            let published: Vec<u64> = published.into_iter().map(joined).collect::<Result<_>>()?;
            knocking.into_iter().try_for_each(joined)?;
            pinging.into_iter().try_for_each(joined)?;
            Ok(Played {
                answered: [joined(hmi)?, joined(hmi_six)?, joined(archive)?, joined(telecontrol)?],
                logins: [joined(maintenance)?, joined(failsafe)?],
                published,
                struck: struck.into_iter().collect::<Result<_>>()?,
            })
        })?;

        // What was let through has arrived when the last legitimate frame behind it has.
        for (relay, &sent) in relays.iter().zip(&played.published) {
            let _ = relay.watch.reaches(sent, ARRIVAL);
        }
        for tap in self.taps.iter().map(|(_, tap)| tap).chain([&self.gateway]) {
            if !tap.drained(ARRIVAL) {
                return Err(SiteError::Role { role: "tap", what: format!("still busy after {ARRIVAL:?}") });
            }
        }

        let mut cases = conversations(&played);
        cases.extend(relays.iter().zip(&played.published).map(|(relay, &sent)| relay.case(sent)));
        cases.extend(pings.iter().map(Ping::case));
        cases.extend(knocks.iter().map(Knock::case));
        let hostile = attacks.into_iter().zip(watches).zip(played.struck);
        cases.extend(hostile.map(|((attack, watch), sent)| Case {
            who: format!("{} → {}", attack.cable.name.replace("spare", "intruder (spare port)"), attack.target.name),
            what: attack.what.to_owned(),
            promise: Promise::Refuse,
            sent,
            delivered: watch.seen(),
            signature: attack.signature,
        }));
        Ok(cases)
    }
}

struct Played {
    answered: [Answered; 4],
    logins: [Answered; 2],
    published: Vec<u64>,
    struck: Vec<u64>,
}

fn joined<T>(handle: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn conversations(played: &Played) -> Vec<Case> {
    let [hmi, hmi_six, archive, telecontrol] = played.answered;
    let [maintenance, failsafe] = played.logins;
    let gateway = ACCESS.gateway()[0];
    [
        (HMI, RTU.name, "Modbus polls and a command", hmi, HMI.v4(), RTU.v4(), MODBUS),
        (HMI, RTU.name, "Modbus polls, IPv6", hmi_six, HMI.v6(), RTU.v6(), MODBUS),
        (HISTORIAN, RTU.name, "Modbus reads", archive, HISTORIAN.v4(), RTU.v4(), MODBUS),
        (HISTORIAN, RTU.name, "IEC 104 link tests, IPv6", telecontrol, HISTORIAN.v6(), RTU.v6(), IEC104),
        (LAPTOP, IED1.name, "maintenance login", maintenance, LAPTOP.v4(), IED1.v4(), SSH),
        (LAPTOP, "gateway", "login at the fail-safe port", failsafe, LAPTOP.v4(), gateway, SSH),
    ]
    .into_iter()
    .map(|(from, to, what, count, source, destination, port)| Case {
        who: format!("{} → {to}", from.name),
        what: what.to_owned(),
        promise: Promise::Pass,
        sent: count.sent,
        delivered: count.answered,
        signature: Signature {
            source: Some(source),
            destination: Some(destination),
            port: Some(port),
            protocol: Some("tcp"),
            ..Signature::default()
        },
    })
    .collect()
}

/// A relay's publication, counted at the other relay.
struct Relay<'s> {
    device: Device,
    part: &'s Programme,
    watch: Watch,
}

impl<'s> Relay<'s> {
    fn of(scenario: &Scenario<'_>, device: &Device, part: &'s Programme) -> Self {
        Self { device: *device, part, watch: Self::heard(scenario, device) }
    }

    fn heard(scenario: &Scenario<'_>, device: &Device) -> Watch {
        let (reader, source) = (if *device == IED1 { IED2 } else { IED1 }, device.mac);
        scenario
            .tap(&reader)
            .watch(move |frame| is_goose(frame) && frame.get(6..12) == Some(&source[..]) && !holds(frame, b"INTRUDER"))
    }

    fn case(&self, sent: u64) -> Case {
        Case {
            who: format!("{} → station bus", self.device.name),
            what: format!("GOOSE, {}", if self.part.captured { "captured" } else { "generated" }),
            promise: Promise::Pass,
            sent,
            delivered: self.watch.seen(),
            signature: Signature {
                ethertype: Some("0x88b8"),
                source_mac: Some(self.device.mac),
                interface: Some(self.device.name),
                ..Signature::default()
            },
        }
    }
}

/// An attempt to open a TCP connection that nobody declared.
struct Knock {
    from: Device,
    to: String,
    what: &'static str,
    door: SocketAddr,
    watch: Watch,
}

impl Knock {
    fn all(scenario: &Scenario<'_>) -> Vec<Self> {
        let to = |from: Device, to: Device, port, what| {
            Self::of(scenario, from, to.name, what, SocketAddr::new(to.v4(), port), scenario.tap(&to))
        };
        vec![
            to(LAPTOP, IED2, SSH, "login at the other relay"),
            to(LAPTOP, IED1, MMS, "another port of its relay"),
            to(LAPTOP, RTU, MODBUS, "Modbus"),
            to(HMI, RTU, IEC104, "the historian's protocol"),
            to(RTU, HMI, 445, "a connection outwards"),
            to(IED1, RTU, MODBUS, "Modbus within the station bus"),
            Self::of(
                scenario,
                INTRUDER,
                "gateway",
                "the node's own web port",
                SocketAddr::new(ACCESS.gateway()[0], 80),
                &scenario.gateway,
            ),
        ]
    }

    fn of(_: &Scenario<'_>, from: Device, to: &str, what: &'static str, door: SocketAddr, tap: &Tap) -> Self {
        let source = from.v4();
        let watch = tap.watch(move |frame| {
            Flow::of(frame).is_some_and(|flow| {
                flow.source == source
                    && flow.destination == door.ip()
                    && flow.destination_port == door.port()
                    && flow.opens()
                    // The intruder's scan has a case of its own.
                    && flow.source_port != 40_001
            })
        });
        Self { from, to: to.to_owned(), what, door, watch }
    }

    fn case(&self) -> Case {
        Case {
            who: format!("{} → {}", self.from.name, self.to),
            what: format!("{} (tcp/{})", self.what, self.door.port()),
            promise: Promise::Refuse,
            sent: 1,
            delivered: self.watch.seen(),
            signature: Signature {
                source: Some(self.from.v4()),
                destination: Some(self.door.ip()),
                port: Some(self.door.port()),
                protocol: Some("tcp"),
                ..Signature::default()
            },
        }
    }
}

/// Echo requests to the RTU.
struct Ping {
    from: Device,
    promise: Promise,
    mark: Vec<u8>,
    watch: Watch,
}

const PINGS: u16 = 4;

impl Ping {
    fn of(scenario: &Scenario<'_>, from: Device, promise: Promise) -> Self {
        let mark = [PING, &from.mac].concat();
        let mine = mark.clone();
        let watch = scenario.tap(&RTU).watch(move |frame| holds(frame, &mine));
        Self { from, promise, mark, watch }
    }

    fn send(&self, plant: &Plant) -> Result<()> {
        let transmitter = Transmitter::open(plant.host(&self.from), Plant::interface(&self.from))?;
        for id in 0..PINGS {
            transmitter.send(&self.from.way_to(&RTU, false).echo(id + 1, &self.mark))?;
        }
        Ok(())
    }

    fn case(&self) -> Case {
        Case {
            who: format!("{} → rtu", self.from.name),
            what: "ping".to_owned(),
            promise: self.promise,
            sent: PINGS.into(),
            delivered: self.watch.seen(),
            signature: Signature {
                source: Some(self.from.v4()),
                destination: Some(RTU.v4()),
                protocol: Some("icmp"),
                ..Signature::default()
            },
        }
    }
}

/// Words about the plant for people.
#[must_use]
pub fn legend() -> String {
    [HMI, HISTORIAN, RTU, IED1, IED2, LAPTOP, INTRUDER, SPARE]
        .iter()
        .map(|device| match *device {
            SPARE => format!(
                "  {:<10} {}  a free port of the station bus, found by the intruder\n",
                SPARE.name,
                words(SPARE.mac)
            ),
            _ => format!("  {:<10} {}  {}  {}\n", device.name, words(device.mac), device.v4(), device.v6()),
        })
        .collect()
}
