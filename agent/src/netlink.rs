//! Links and addresses of this network namespace, as the kernel announces them: no polling.

use std::collections::BTreeSet;
use std::net::IpAddr;

use futures_util::{StreamExt, TryStreamExt};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{Handle, MulticastGroup};

use crate::interfaces::{Link, Links, Stacking};

/// What the kernel announced.
#[derive(Debug, PartialEq, Eq)]
pub enum Change {
    /// A link is there, or has changed.
    Link(u32, Link),
    /// A link is gone.
    LinkGone(u32),
    /// An address came (true) or went.
    Address(u32, IpAddr, bool),
    /// Announcements were lost: list everything afresh.
    Lost,
}

/// A connection to the kernel's announcements.
pub struct Monitor {
    handle: Handle,
    messages: Box<dyn futures_util::Stream<Item = NetlinkMessage<RouteNetlinkMessage>> + Unpin>,
    connection: tokio::task::JoinHandle<()>,
}

impl std::fmt::Debug for Monitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Monitor").finish_non_exhaustive()
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Monitor {
    /// Subscribes first, so that nothing is missed between listing and listening.
    pub fn open() -> std::io::Result<Self> {
        let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
        let (connection, handle, messages) = rtnetlink::new_multicast_connection(&groups)?;
        let connection = tokio::spawn(connection);
        Ok(Self { handle, messages: Box::new(messages.map(|(message, _)| message)), connection })
    }

    /// All links and addresses now.
    pub async fn list(&self) -> Result<(Links, BTreeSet<(u32, IpAddr)>), rtnetlink::Error> {
        let mut links = Links::new();
        let mut listed = self.handle.link().get().execute();
        while let Some(message) = listed.try_next().await? {
            if let Some((index, link)) = link_of(&message) {
                links.insert(index, link);
            }
        }
        let mut addresses = BTreeSet::new();
        let mut listed = self.handle.address().get().execute();
        while let Some(message) = listed.try_next().await? {
            addresses.extend(address_of(&message));
        }
        Ok((links, addresses))
    }

    /// The next announcement; none when the connection broke.
    pub async fn next(&mut self) -> Option<Change> {
        loop {
            let message = self.messages.next().await?;
            if let Some(change) = change_of(message.payload) {
                return Some(change);
            }
        }
    }
}

fn change_of(payload: NetlinkPayload<RouteNetlinkMessage>) -> Option<Change> {
    match payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(message)) => {
            link_of(&message).map(|(index, link)| Change::Link(index, link))
        }
        // A bridge announces with its own address family that a port left it; the port is still there.
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(message)) => {
            is_unspecific(&message).then_some(Change::LinkGone(message.header.index))
        }
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(message)) => {
            address_of(&message).map(|(index, address)| Change::Address(index, address, true))
        }
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelAddress(message)) => {
            address_of(&message).map(|(index, address)| Change::Address(index, address, false))
        }
        NetlinkPayload::Overrun(_) => Some(Change::Lost),
        _ => None,
    }
}

fn is_unspecific(message: &LinkMessage) -> bool {
    message.header.interface_family == AddressFamily::Unspec
}

fn link_of(message: &LinkMessage) -> Option<(u32, Link)> {
    if !is_unspecific(message) {
        return None;
    }
    let mut link = Link {
        link_type: u16::from(message.header.link_layer_type),
        up: message.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
        ..Link::default()
    };
    let mut parent_elsewhere = false;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Link(index) => link.parent = Some(*index),
            LinkAttribute::LinkNetNsId(_) => parent_elsewhere = true,
            LinkAttribute::Controller(index) => link.controller = (*index != 0).then_some(*index),
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    if let LinkInfo::Kind(kind) = info {
                        link.stacking = stacking_of(kind);
                    }
                }
            }
            _ => {}
        }
    }
    if parent_elsewhere {
        // An index in another network namespace means nothing here.
        link.parent = None;
    }
    (!link.name.is_empty()).then_some((message.header.index, link))
}

fn stacking_of(kind: &InfoKind) -> Stacking {
    match kind {
        InfoKind::Vlan => Stacking::OnParent,
        InfoKind::Bridge | InfoKind::Bond | InfoKind::Team | InfoKind::Vrf => Stacking::OnPorts,
        _ => Stacking::None,
    }
}

fn address_of(message: &AddressMessage) -> Option<(u32, IpAddr)> {
    let mut own = None;
    for attribute in &message.attributes {
        match attribute {
            // On point-to-point links `Address` is the peer's, and `Local` ours; IPv6 may give `Address` only.
            AddressAttribute::Local(address) => own = Some(*address),
            AddressAttribute::Address(address) => own = own.or(Some(*address)),
            _ => {}
        }
    }
    own.map(|address| (message.header.index, address))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn message(index: u32, attributes: Vec<LinkAttribute>) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes = attributes;
        message
    }

    #[test]
    fn a_port_that_leaves_its_bridge_is_not_gone() {
        let mut left = message(3, vec![LinkAttribute::IfName("eth0".into())]);
        left.header.interface_family = AddressFamily::Bridge;
        assert_eq!(change_of(NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(left))), None);
        let gone = message(3, vec![]);
        assert_eq!(
            change_of(NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(gone))),
            Some(Change::LinkGone(3))
        );
    }

    #[test]
    fn the_parent_in_another_namespace_is_nobody_here() {
        let kind = LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Vlan)]);
        let name = LinkAttribute::IfName("eth0.7".into());
        let here = message(4, vec![name.clone(), kind.clone(), LinkAttribute::Link(2)]);
        assert_eq!(link_of(&here).unwrap().1.parent, Some(2));
        let moved = message(4, vec![name, kind, LinkAttribute::Link(2), LinkAttribute::LinkNetNsId(0)]);
        assert_eq!(link_of(&moved).unwrap().1.parent, None);
    }

    #[test]
    fn our_end_of_a_point_to_point_link_is_the_local_address() {
        let mut message = AddressMessage::default();
        message.header.index = 5;
        let (peer, ours) = (IpAddr::from([10, 0, 0, 2]), IpAddr::from([10, 0, 0, 1]));
        message.attributes = vec![AddressAttribute::Address(peer), AddressAttribute::Local(ours)];
        assert_eq!(address_of(&message), Some((5, ours)));
    }
}
