//! Which interfaces are guarded, and what the kernel programs must know about each: pure.

use std::collections::BTreeMap;

use gabion_abi::verdict::{Interface as KernelInterface, interface as flag};

/// How a link refers to the one it sits on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stacking {
    /// It is a link of its own (or a tunnel, whose payload nobody has seen before).
    #[default]
    None,
    /// What arrives here arrived on its parent before (VLAN). Not macvlan and ipvlan: they switch between
    /// themselves without passing the parent.
    OnParent,
    /// What arrives here arrived on one of its ports before (bridge, bond, team, VRF).
    OnPorts,
}

/// A network interface, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Name.
    pub name: String,
    /// Link type, ARPHRD_*.
    pub link_type: u16,
    /// Index of the link it sits on.
    pub parent: Option<u32>,
    /// Index of the bridge, bond or VRF that it is a port of.
    pub controller: Option<u32>,
    /// How it refers to the one below.
    pub stacking: Stacking,
    /// Operational.
    pub up: bool,
}

/// All interfaces of the network namespace by index.
pub type Links = BTreeMap<u32, Link>;

/// Link types whose packets start with the IP header (`include/uapi/linux/if_arp.h`).
pub fn is_l3(link_type: u16) -> bool {
    const ARPHRD_PPP: u16 = 512;
    const ARPHRD_RAWIP: u16 = 519;
    const ARPHRD_TUNNEL: u16 = 768;
    const ARPHRD_TUNNEL6: u16 = 769;
    const ARPHRD_SIT: u16 = 776;
    const ARPHRD_IPGRE: u16 = 778;
    const ARPHRD_IP6GRE: u16 = 823;
    const ARPHRD_NONE: u16 = 0xfffe;
    matches!(
        link_type,
        ARPHRD_PPP
            | ARPHRD_RAWIP
            | ARPHRD_TUNNEL
            | ARPHRD_TUNNEL6
            | ARPHRD_SIT
            | ARPHRD_IPGRE
            | ARPHRD_IP6GRE
            | ARPHRD_NONE
    )
}

/// Whether a name is this one, or begins with what stands before a trailing `*`.
pub fn name_matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == name,
    }
}

/// Links that a site guards.
pub fn guarded<'l>(links: &'l Links, patterns: &'l [String]) -> impl Iterator<Item = (u32, &'l Link)> {
    links
        .iter()
        .filter(|(_, link)| patterns.iter().any(|pattern| name_matches(pattern, &link.name)))
        .map(|(&index, link)| (index, link))
}

/// Stacks deeper than this are not followed: the egress hook then judges once more, which is safe.
const STACK_DEPTH: usize = 8;

/// Whether all that arrives on `index` was judged by a hook that is attached now.
fn is_judged(links: &Links, attached: &dyn Fn(u32) -> bool, index: u32, depth: usize) -> bool {
    if attached(index) {
        return true;
    }
    let Some(link) = links.get(&index) else { return false };
    if depth == 0 {
        return false;
    }
    match link.stacking {
        Stacking::None => false,
        Stacking::OnParent => link.parent.is_some_and(|parent| is_judged(links, attached, parent, depth - 1)),
        Stacking::OnPorts => {
            let mut ports = links.iter().filter(|(_, port)| port.controller == Some(index)).peekable();
            ports.peek().is_some() && ports.all(|(&port, _)| is_judged(links, attached, port, depth - 1))
        }
    }
}

/// What the kernel programs must know: `attached` says where an ingress hook stands, `classes` are the
/// interface names of the generation's tables, element `i` of class `i + 1`.
///
/// Links that would be all zero are left out: that is what the programs assume of an index they do not find.
pub fn kernel_view(
    links: &Links,
    attached: &dyn Fn(u32) -> bool,
    classes: &[String],
) -> BTreeMap<u32, KernelInterface> {
    let mut view = BTreeMap::new();
    for (&index, link) in links {
        let position = classes.iter().position(|name| *name == link.name);
        // More classes than 16 bits hold cannot come from the compiler, which packs them in 16 bits too.
        let class = position.and_then(|at| u16::try_from(at + 1).ok()).unwrap_or(0);
        let mut flags = 0;
        if is_l3(link.link_type) {
            flags |= flag::L3;
        }
        if is_judged(links, attached, index, STACK_DEPTH) {
            flags |= flag::JUDGED;
        }
        if class != 0 || flags != 0 {
            view.insert(index, KernelInterface { class, flags, padding: 0 });
        }
    }
    view
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    const ETHER: u16 = 1;

    fn link(name: &str) -> Link {
        Link { name: name.into(), link_type: ETHER, up: true, ..Link::default() }
    }

    fn judged(view: &BTreeMap<u32, KernelInterface>, index: u32) -> bool {
        view.get(&index).is_some_and(|entry| entry.flags & flag::JUDGED != 0)
    }

    #[test]
    fn a_trailing_star_matches_any_end_of_the_name() {
        assert!(name_matches("eth*", "eth0"));
        assert!(name_matches("eth*", "eth"));
        assert!(!name_matches("eth*", "wan-eth0"));
        assert!(!name_matches("eth0", "eth01"));
    }

    #[test]
    fn a_vlan_on_a_guarded_parent_is_judged_and_a_tunnel_is_not() {
        let links = Links::from([
            (2, link("eth0")),
            (3, Link { parent: Some(2), stacking: Stacking::OnParent, ..link("eth0.7") }),
            (4, Link { parent: Some(3), stacking: Stacking::OnParent, ..link("eth0.7.9") }),
            (5, Link { parent: Some(2), ..link("vxlan0") }),
        ]);
        let view = kernel_view(&links, &|index| index == 2, &[]);
        assert!(judged(&view, 2) && judged(&view, 3) && judged(&view, 4));
        assert!(!judged(&view, 5));
    }

    #[test]
    fn a_bridge_is_judged_only_when_every_port_is() {
        let mut links = Links::from([
            (2, Link { controller: Some(9), ..link("eth0") }),
            (3, Link { controller: Some(9), ..link("eth1") }),
            (9, Link { stacking: Stacking::OnPorts, ..link("br0") }),
        ]);
        assert!(judged(&kernel_view(&links, &|index| index == 2 || index == 3, &[]), 9));
        assert!(!judged(&kernel_view(&links, &|index| index == 2, &[]), 9));
        links.retain(|&index, _| index == 9);
        assert!(!judged(&kernel_view(&links, &|_| false, &[]), 9), "a bridge without ports");
    }

    #[test]
    fn a_ring_of_parents_ends() {
        let links = Links::from([
            (2, Link { parent: Some(3), stacking: Stacking::OnParent, ..link("a") }),
            (3, Link { parent: Some(2), stacking: Stacking::OnParent, ..link("b") }),
        ]);
        assert!(kernel_view(&links, &|_| false, &[]).is_empty());
    }

    #[test]
    fn classes_count_from_one_and_l3_comes_from_the_link_type() {
        let links = Links::from([(2, link("eth0")), (7, Link { link_type: 0xfffe, ..link("tun0") })]);
        let view = kernel_view(&links, &|_| false, &["wan".into(), "eth0".into()]);
        assert_eq!(view[&2], KernelInterface { class: 2, flags: 0, padding: 0 });
        assert_eq!(view[&7], KernelInterface { class: 0, flags: flag::L3, padding: 0 });
    }
}
