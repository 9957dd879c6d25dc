//! The plant: who is there, with which addresses, on which cable.
//!
//! Every cable ends in the gateway, in a port of one of its three bridges, so that no conversation
//! goes round it: what stays within a network crosses a bridge there, what does not is routed.
//!
//! ```text
//! hmi ──┐                        ┌── rtu            laptop ───┐
//!       ├─ control ─┐   ┌─ station ─ ied1                     ├─ access
//! historian ──┘     gateway      ├── ied2           intruder ─┘
//!                                └── spare ── intruder (who found a free port)
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::Result;
use crate::frame::{Station, Way};
use crate::host::Host;
use crate::link::{Mac, Plug, Prefix, cable};

/// A network of the plant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Name of the gateway's bridge.
    pub bridge: &'static str,
    /// Third octet of its addresses.
    number: u8,
}

/// Where operators sit.
pub const CONTROL: Network = Network { bridge: "control", number: 1 };
/// Where the field devices are.
pub const STATION: Network = Network { bridge: "station", number: 2 };
/// Where visitors plug in.
pub const ACCESS: Network = Network { bridge: "access", number: 3 };

/// A device of the plant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Name, of its namespace and of its port at the gateway.
    pub name: &'static str,
    /// Its network.
    pub network: Network,
    /// Last octet of its addresses.
    number: u8,
    /// Its MAC.
    pub mac: Mac,
}

const fn device(name: &'static str, network: Network, number: u8) -> Device {
    Device { name, network, number, mac: [0x02, 0x67, 0x62, 0x6e, network.number, number] }
}

/// Polls the RTU.
pub const HMI: Device = device("hmi", CONTROL, 10);
/// Archives what the RTU says.
pub const HISTORIAN: Device = device("historian", CONTROL, 20);
/// Serves measurements and takes commands.
pub const RTU: Device = device("rtu", STATION, 10);
/// Protection relay. Its MAC is that of a publisher in the captures, so that those are its own frames.
pub const IED1: Device = Device { mac: [0x0a, 0xbb, 0xfe, 0x10, 0xc9, 0x06], ..device("ied1", STATION, 21) };
/// Protection relay, likewise.
pub const IED2: Device = Device { mac: [0x0a, 0xbb, 0xfe, 0x10, 0xc9, 0x08], ..device("ied2", STATION, 22) };
/// The engineer's.
pub const LAPTOP: Device = device("laptop", ACCESS, 10);
/// Nobody's.
pub const INTRUDER: Device = device("intruder", ACCESS, 66);
/// The intruder's second cable, in a free port of the station bus. It has no address.
pub const SPARE: Device = device("spare", STATION, 66);

/// All cables.
pub const DEVICES: [Device; 8] = [HMI, HISTORIAN, RTU, IED1, IED2, LAPTOP, INTRUDER, SPARE];

/// Destination of GOOSE of both relays, as in the captures.
pub const GOOSE_GROUP: Mac = [0x01, 0x0c, 0xcd, 0x01, 0x00, 0x00];

impl Network {
    /// The gateway's addresses here.
    #[must_use]
    pub fn gateway(&self) -> [IpAddr; 2] {
        self.addresses(1)
    }

    /// The gateway's MAC here.
    #[must_use]
    pub fn gateway_mac(&self) -> Mac {
        [0x02, 0x67, 0x62, 0x6e, self.number, 1]
    }

    fn addresses(&self, number: u8) -> [IpAddr; 2] {
        [
            Ipv4Addr::new(10, 67, self.number, number).into(),
            Ipv6Addr::new(0xfd67, 0, 0, self.number.into(), 0, 0, 0, number.into()).into(),
        ]
    }
}

impl Device {
    /// IPv4 and IPv6 address.
    #[must_use]
    pub fn addresses(&self) -> [IpAddr; 2] {
        self.network.addresses(self.number)
    }

    /// IPv4 address.
    #[must_use]
    pub fn v4(&self) -> IpAddr {
        self.addresses()[0]
    }

    /// IPv6 address.
    #[must_use]
    pub fn v6(&self) -> IpAddr {
        self.addresses()[1]
    }

    /// How its packets look that go to another device: by the gateway when that is elsewhere.
    #[must_use]
    pub fn way_to(&self, other: &Self, six: bool) -> Way {
        let address = |device: &Self| device.addresses()[usize::from(six)];
        let next = if self.network == other.network { other.mac } else { self.network.gateway_mac() };
        Way {
            from: Station { mac: self.mac, address: address(self) },
            to: Station { mac: next, address: address(other) },
        }
    }
}

/// The machines of the plant, wired up. Dropping it takes everything away.
pub struct Plant {
    /// Where the agent runs. Its ports have the names of [`DEVICES`].
    pub gateway: Host,
    /// See [`HMI`].
    pub hmi: Host,
    /// See [`HISTORIAN`].
    pub historian: Host,
    /// See [`RTU`].
    pub rtu: Host,
    /// See [`IED1`].
    pub ied1: Host,
    /// See [`IED2`].
    pub ied2: Host,
    /// See [`LAPTOP`].
    pub laptop: Host,
    /// See [`INTRUDER`]; has a second interface `spare`.
    pub intruder: Host,
}

/// Name of a device's interface in its own namespace.
pub const PORT: &str = "eth0";

impl Plant {
    /// Builds it all. Needs root.
    pub fn build() -> Result<Self> {
        let host = |name: &str| Host::new(format!("gbn-{}-{name}", std::process::id()));
        let plant = Self {
            gateway: host("gateway")?,
            hmi: host(HMI.name)?,
            historian: host(HISTORIAN.name)?,
            rtu: host(RTU.name)?,
            ied1: host(IED1.name)?,
            ied2: host(IED2.name)?,
            laptop: host(LAPTOP.name)?,
            intruder: host(INTRUDER.name)?,
        };
        plant.gateway.forwarding()?;
        // Strict source checks would hide spoofed packets from the policy that has to refuse them.
        for scope in ["all", "default"] {
            plant.gateway.sysctl(&format!("net/ipv4/conf/{scope}/rp_filter"), "0")?;
        }
        for network in [CONTROL, STATION, ACCESS] {
            plant.gateway.bridge(network.bridge, Some(network.gateway_mac()))?;
            let [v4, v6] = network.gateway();
            plant.gateway.address(network.bridge, Prefix { address: v4, length: 24 })?;
            plant.gateway.address(network.bridge, Prefix { address: v6, length: 64 })?;
        }
        for device in DEVICES {
            plant.plug_in(&device)?;
        }
        for network in [CONTROL, STATION, ACCESS] {
            plant.gateway.operational(network.bridge)?;
        }
        Ok(plant)
    }

    /// The machine of a device.
    #[must_use]
    pub fn host(&self, device: &Device) -> &Host {
        match device.name {
            "hmi" => &self.hmi,
            "historian" => &self.historian,
            "rtu" => &self.rtu,
            "ied1" => &self.ied1,
            "ied2" => &self.ied2,
            "laptop" => &self.laptop,
            _ => &self.intruder,
        }
    }

    /// Name of a device's interface in its own namespace.
    #[must_use]
    pub fn interface(device: &Device) -> &'static str {
        if *device == SPARE { SPARE.name } else { PORT }
    }

    fn plug_in(&self, device: &Device) -> Result<()> {
        let (host, interface) = (self.host(device), Self::interface(device));
        cable(
            Plug { host: &self.gateway, name: device.name, mac: None },
            Plug { host, name: interface, mac: Some(device.mac) },
        )?;
        self.gateway.enslave(device.name, device.network.bridge)?;
        if *device == SPARE {
            return Ok(());
        }
        let [v4, v6] = device.addresses();
        host.address(interface, Prefix { address: v4, length: 24 })?;
        host.address(interface, Prefix { address: v6, length: 64 })?;
        for gateway in device.network.gateway() {
            host.default_route(gateway)?;
        }
        Ok(())
    }
}
