//! Links, addresses and routes over rtnetlink: what `ip` would do, without `ip`.

use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, VlanProtocol,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::net::if_::if_nametoindex;

use crate::error::{Calling, Result, SiteError};
use crate::host::Host;

/// One address with the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The address.
    pub address: IpAddr,
    /// Bits that are the network's.
    pub length: u8,
}

impl std::str::FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let wrong = || format!("{text:?} is not ADDRESS/LENGTH");
        let (address, length) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let length = length.parse().map_err(|_| wrong())?;
        if length > if address.is_ipv4() { 32 } else { 128 } {
            return Err(wrong());
        }
        Ok(Self { address, length })
    }
}

/// A MAC address.
pub type Mac = [u8; 6];

/// Which kind of VLAN tag a device adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// 802.1Q.
    Customer(u16),
    /// 802.1ad, the outer tag of QinQ.
    Service(u16),
}

/// One end of a cable.
#[derive(Clone, Copy)]
pub struct Plug<'a> {
    /// Where it is plugged in.
    pub host: &'a Host,
    /// Name of the interface there.
    pub name: &'a str,
    /// Its MAC; the kernel's choice when none.
    pub mac: Option<Mac>,
}

/// Lays a veth pair between two hosts and sets both ends up.
pub fn cable(one: Plug<'_>, other: Plug<'_>) -> Result<()> {
    let mut near = LinkMessage::default();
    near.attributes.push(LinkAttribute::IfName(one.name.to_owned()));
    near.attributes.extend(one.mac.map(|mac| LinkAttribute::Address(mac.to_vec())));
    let mut far = LinkMessage::default();
    far.attributes.push(LinkAttribute::IfName(other.name.to_owned()));
    far.attributes.push(LinkAttribute::NetNsFd(other.host.network().as_raw_fd()));
    far.attributes.extend(other.mac.map(|mac| LinkAttribute::Address(mac.to_vec())));
    near.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(far))),
    ]));
    let words = format!("veth {} in {} to {} in {}", one.name, one.host.name(), other.name, other.host.name());
    one.host.run(|| create(near, words))?;
    one.host.up(one.name)?;
    other.host.up(other.name)?;
    one.host.operational(one.name)?;
    other.host.operational(other.name)
}

/// How long the kernel may take to put a link into operation; it is done in a work queue.
const OPERATION: Duration = Duration::from_secs(5);

impl Host {
    /// Sets an interface up.
    pub fn up(&self, name: &str) -> Result<()> {
        self.change(name, "set up", |link| {
            link.header.flags |= LinkFlags::Up;
            link.header.change_mask |= LinkFlags::Up;
        })
    }

    /// Waits until an interface with a carrier is in operation. Before that the kernel drops what is sent, and says
    /// nothing.
    pub fn operational(&self, name: &str) -> Result<()> {
        let path = Path::new("/sys/class/net").join(name).join("operstate");
        let end = Instant::now() + OPERATION;
        loop {
            let state = self.run(|| std::fs::read_to_string(&path));
            let state = state.map_err(|source| SiteError::File { path: path.clone(), source })?;
            // Not "unknown": so begins every link, also one whose carrier a work queue has not looked at yet.
            if state.trim() == "up" {
                // The state is shown shortly before the queue is in place, both under the lock that this takes.
                return self.up(name);
            }
            if Instant::now() > end {
                let source = std::io::ErrorKind::TimedOut.into();
                let request = format!("{name} in {} in operation (it is {})", self.name(), state.trim());
                return Err(SiteError::Link { request, source });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Sets an interface down.
    pub fn down(&self, name: &str) -> Result<()> {
        self.change(name, "set down", |link| link.header.change_mask |= LinkFlags::Up)
    }

    /// Makes a bridge, without spanning tree, and sets it up.
    pub fn bridge(&self, name: &str, mac: Option<Mac>) -> Result<()> {
        let mut link = LinkMessage::default();
        link.attributes.push(LinkAttribute::IfName(name.to_owned()));
        link.attributes.extend(mac.map(|mac| LinkAttribute::Address(mac.to_vec())));
        link.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]));
        self.run(|| create(link, format!("bridge {name} in {}", self.name())))?;
        // Where the kernel has bridge netfilter it is on for a new namespace, and drops on its own what a
        // switch would forward (wrong IP headers, for one). Where it has not, there is no such file.
        for family in ["ip", "ip6", "arp"] {
            let switch = format!("net/bridge/bridge-nf-call-{family}tables");
            if Path::new("/proc/sys").join(&switch).exists() {
                self.sysctl(&switch, "0")?;
            }
        }
        self.up(name)
    }

    /// Makes an interface a port of a bridge.
    pub fn enslave(&self, port: &str, bridge: &str) -> Result<()> {
        let index = self.index(bridge)?;
        self.change(port, "enslave", |link| link.attributes.push(LinkAttribute::Controller(index)))
    }

    /// Makes a VLAN device on top of another and sets it up.
    pub fn vlan(&self, below: &str, name: &str, tag: Tag) -> Result<()> {
        let (protocol, id) = match tag {
            Tag::Customer(id) => (VlanProtocol::Ieee8021Q, id),
            Tag::Service(id) => (VlanProtocol::Ieee8021Ad, id),
        };
        let mut link = LinkMessage::default();
        link.attributes.push(LinkAttribute::IfName(name.to_owned()));
        link.attributes.push(LinkAttribute::Link(self.index(below)?));
        link.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Vlan),
            LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(id), InfoVlan::Protocol(protocol)])),
        ]));
        self.run(|| create(link, format!("VLAN {id} {name} on {below} in {}", self.name())))?;
        self.up(name)?;
        self.operational(name)
    }

    /// Takes a link away; with a veth its peer goes too.
    pub fn unplug(&self, name: &str) -> Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = self.index(name)?;
        self.run(|| ask(RouteNetlinkMessage::DelLink(link), 0, format!("delete {name} in {}", self.name())))
    }

    /// Sets the MTU.
    pub fn mtu(&self, name: &str, bytes: u32) -> Result<()> {
        self.change(name, "set the MTU of", |link| link.attributes.push(LinkAttribute::Mtu(bytes)))
    }

    /// Gives an interface an address.
    pub fn address(&self, name: &str, prefix: Prefix) -> Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = family(prefix.address);
        message.header.prefix_len = prefix.length;
        message.header.index = self.index(name)?;
        message.header.scope = AddressScope::Universe;
        if prefix.address.is_ipv6() {
            message.header.flags = AddressHeaderFlags::Nodad;
        }
        message.attributes.push(AddressAttribute::Local(prefix.address));
        message.attributes.push(AddressAttribute::Address(prefix.address));
        let words = format!("address {}/{} on {name} in {}", prefix.address, prefix.length, self.name());
        self.run(|| ask(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL, words))
    }

    /// Adds a route. Length 0 makes it the default.
    pub fn route(&self, to: Prefix, via: IpAddr) -> Result<()> {
        let mut message = route_message(to);
        message.attributes.push(RouteAttribute::Gateway(RouteAddress::from(via)));
        self.add_route(message, format!("route to {}/{} via {via} in {}", to.address, to.length, self.name()))
    }

    /// Adds a route out of an interface without a next hop (tun and other point-to-point links).
    pub fn route_out(&self, to: Prefix, name: &str) -> Result<()> {
        let mut message = route_message(to);
        message.header.scope = RouteScope::Link;
        message.attributes.push(RouteAttribute::Oif(self.index(name)?));
        self.add_route(message, format!("route to {}/{} out of {name} in {}", to.address, to.length, self.name()))
    }

    /// Adds the default route of the next hop's family.
    pub fn default_route(&self, via: IpAddr) -> Result<()> {
        let address = if via.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
        self.route(Prefix { address, length: 0 }, via)
    }

    /// Makes the host a router.
    pub fn forwarding(&self) -> Result<()> {
        self.sysctl("net/ipv4/ip_forward", "1")?;
        self.sysctl("net/ipv6/conf/all/forwarding", "1")
    }

    /// Index of an interface.
    pub fn index(&self, name: &str) -> Result<u32> {
        self.run(|| if_nametoindex(name)).calling(format!("interface {name} of {}", self.name()))
    }

    fn add_route(&self, message: RouteMessage, words: String) -> Result<()> {
        self.run(|| ask(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_REPLACE, words))
    }

    fn change(&self, name: &str, verb: &str, edit: impl FnOnce(&mut LinkMessage)) -> Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = self.index(name)?;
        edit(&mut link);
        let words = format!("{verb} {name} in {}", self.name());
        self.run(|| ask(RouteNetlinkMessage::SetLink(link), 0, words))
    }
}

fn route_message(to: Prefix) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(to.address);
    message.header.destination_prefix_length = to.length;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    if to.length > 0 {
        message.attributes.push(RouteAttribute::Destination(RouteAddress::from(to.address)));
    }
    message
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn create(link: LinkMessage, words: String) -> Result<()> {
    ask(RouteNetlinkMessage::NewLink(link), NLM_F_CREATE | NLM_F_EXCL, words)
}

/// One request, one acknowledgement, in the namespace of the calling thread.
fn ask(message: RouteNetlinkMessage, flags: u16, words: String) -> Result<()> {
    let failed = |source| SiteError::Link { request: words.clone(), source };
    let socket = Socket::new(NETLINK_ROUTE).map_err(failed)?;
    let mut request = NetlinkMessage::from(message);
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send_to(&bytes, &SocketAddr::new(0, 0), 0).map_err(failed)?;
    let (answer, _) = socket.recv_from_full().map_err(failed)?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)
        .map_err(|error| failed(std::io::Error::other(error.to_string())))?;
    match answer.payload {
        NetlinkPayload::Error(error) if error.code.is_none() => Ok(()),
        NetlinkPayload::Error(error) => Err(failed(error.to_io())),
        other => Err(failed(std::io::Error::other(format!("an unexpected message: {other:?}")))),
    }
}
