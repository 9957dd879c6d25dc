//! Where something that decides is put: a namespace with one device, and a wire to the generator.

use aya::programs::xdp::XdpLinkId;
use gabion_testing_site::host::Host;
use gabion_testing_site::link::{Plug, cable};

use crate::Failure;
use crate::header::RECEIVER_MAC;
use crate::live::Generator;

/// Name of the device in a stand.
pub const DEVICE: &str = "in0";

/// Whose frames the device takes for its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressee {
    /// Its own: a packet that nothing drops goes up to the routing decision.
    Device,
    /// Somebody else: IP drops first thing what got so far, which is the cheapest end for a packet that passes.
    Stranger,
}

/// One place.
pub struct Stand {
    host: Host,
    port: u32,
    ifindex: u32,
    near: String,
    program: Option<(String, XdpLinkId)>,
}

/// IPv6 speaks up by itself on a new link, and would be counted.
pub(crate) fn quiet(host: &Host) -> Result<(), Failure> {
    for scope in ["all", "default"] {
        host.sysctl(&format!("net/ipv6/conf/{scope}/disable_ipv6"), "1")?;
    }
    Ok(())
}

impl Stand {
    /// A place at `port` of the generator.
    pub fn new(generator: &mut Generator, port: u32, addressee: Addressee) -> Result<Self, Failure> {
        let host = Host::new(format!("stand{port}"))?;
        let near = format!("out{port}");
        quiet(&host)?;
        let mac = (addressee == Addressee::Device).then_some(RECEIVER_MAC);
        cable(Plug { host: generator.host(), name: &near, mac: None }, Plug { host: &host, name: DEVICE, mac })?;
        let ifindex = host.index(DEVICE)?;
        let wire = generator.host().index(&near)?;
        generator.wire(port, wire)?;
        Ok(Self { host, port, ifindex, near, program: None })
    }

    /// Its namespace.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port of the generator.
    #[must_use]
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Index of its device.
    #[must_use]
    pub fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// Puts one of the generator's bare programs there.
    pub fn attach(&mut self, generator: &mut Generator, program: &str) -> Result<(), Failure> {
        let link = generator.attach(program, &self.host, self.ifindex)?;
        self.program = Some((program.to_owned(), link));
        Ok(())
    }

    /// Packets that its device received.
    pub fn received(&self) -> Result<u64, Failure> {
        let path = format!("/sys/class/net/{DEVICE}/statistics/rx_packets");
        Ok(self.host.run(|| std::fs::read_to_string(path))?.trim().parse()?)
    }

    /// Takes the place away.
    pub fn remove(self, generator: &mut Generator) -> Result<(), Failure> {
        if let Some((program, link)) = self.program {
            generator.detach(&program, link)?;
        }
        Ok(generator.host().unplug(&self.near)?)
    }
}
