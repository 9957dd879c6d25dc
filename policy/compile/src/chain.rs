//! How many loads wait for each other: the longest chain of a decision, each load's address known from the one before.

use gabion_abi::tables::{self as t, EGRESS, GROUPS, INGRESS, LANES, direction, end, group, lane, service, trie};

use crate::Compiled;

/// Loads of the longest chain, by what a packet is. Loads that do not wait for each other run side by side and count
/// once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Usual IPv4 frames, which take a lane; none when the tables have none, or tell MACs apart.
    pub lane: Option<usize>,
    /// IPv4 otherwise.
    pub v4: usize,
    /// IPv6.
    pub v6: usize,
    /// What has no IP header.
    pub off_ip: usize,
}

/// A class in a paged array: the page, then the class.
const PAGED: usize = 2;
/// A value in a hash of MACs: the bucket, then the value.
const HASHED: usize = 2;

impl Compiled {
    /// The longest chains of loads.
    #[must_use]
    pub fn chain(&self) -> Chain {
        let service = self.service();
        let of = |end: fn(&Self, usize) -> usize| {
            let ends = end(self, t::SOURCE).max(end(self, t::DESTINATION));
            self.directions(ends, service, false)
        };
        let v4 = |compiled: &Self, at| compiled.end(at, compiled.trie(at + end::V4_ROOT, 4));
        let v6 = |compiled: &Self, at| compiled.end(at, compiled.trie(at + end::V6_ROOT, 16));
        let off_ip =
            |compiled: &Self, at| compiled.end(at, if compiled.has(at + end::OFF_IP_BASE) { HASHED } else { 0 });
        // MACs are not read by those who take a lane.
        let macs = [t::SOURCE, t::DESTINATION].iter().any(|at| self.has(at + end::MAC_BASE));
        let lane = (self.has(t::HAS_LANES) && !macs).then(|| {
            let ends = v4(self, t::SOURCE).max(v4(self, t::DESTINATION));
            self.directions(ends, self.lane(), true)
        });
        Chain { lane, v4: of(v4), v6: of(v6), off_ip: of(off_ip) }
    }

    fn has(&self, param: usize) -> bool {
        self.params[param] != 0
    }

    /// A combination of what was found so far with what was found beside it.
    fn combined(&self, param: usize, row: usize, column: usize) -> usize {
        if self.has(param + 1) { row.max(column) + 1 } else { row }
    }

    /// The deepest way through a trie of addresses of so many bytes.
    fn trie(&self, at: usize, bytes: usize) -> usize {
        let [root, nodes, form] = [at, at + 1, at + 2].map(|param| self.params[param]);
        if root == 0 {
            return 0;
        }
        let long = form & trie::LONG != 0;
        let entry = |base: u32, index: u32| {
            let per_word = if long { 2 } else { 4 };
            let word = self.words.get((base + index / per_word) as usize).copied().unwrap_or(0);
            let entry = (word >> (index % per_word * (64 / per_word))) as u32;
            if long { entry } else { entry & 0xffff }
        };
        let class = if long { trie::LONG_CLASS } else { trie::SHORT_CLASS };
        let (first, most) = if form & trie::WIDE != 0 { (trie::WIDE_FANOUT, bytes - 1) } else { (trie::FANOUT, bytes) };
        // Level by level: the nodes that the last one names.
        let mut level: Vec<u32> = (0..first).map(|index| entry(root, index)).collect();
        for depth in 1..most {
            level.retain(|entry| entry & class == 0);
            level.sort_unstable();
            level.dedup();
            if level.is_empty() {
                return depth;
            }
            let below = |node: u32| (0..trie::FANOUT).map(move |index| node * trie::FANOUT + index);
            level = level.into_iter().flat_map(below).map(|index| entry(nodes, index)).collect();
        }
        most
    }

    /// The class of one end, its address's class found after so many loads.
    fn end(&self, at: usize, address: usize) -> usize {
        let mac = if self.has(at + end::MAC_BASE) { HASHED } else { 0 };
        let link = self.combined(at + end::LINK_BASE, mac, 0);
        self.combined(at + end::CLASS_BASE, address, link)
    }

    /// The service class.
    fn service(&self) -> usize {
        let field = |param, loads| if self.has(param) { loads } else { 0 };
        let found = self.combined(service::KIND_DETAIL, field(service::KIND, 1), field(service::DETAIL, PAGED));
        let found = self.combined(service::PORTS, found, field(service::SOURCE_PORT, PAGED));
        let found = self.combined(service::TRANSPORT, found, field(service::FLAGS, 1));
        let tags = self.combined(service::VLANS, field(service::VLAN_OUTER, 1), field(service::VLAN_INNER, 1));
        let link = self.combined(service::LINK, field(service::ETHERTYPE, PAGED), tags);
        self.combined(service::SERVICE, found, link)
    }

    /// The service class by the longest lane; that of ICMP is a paged array.
    fn lane(&self) -> usize {
        let lanes = (0..lane::LANES).map(|number| {
            let at = LANES + number * lane::COUNT;
            let port = |param| if self.has(at + param) { PAGED } else { 0 };
            let mut found = port(lane::DESTINATION);
            if self.has(at + lane::SOURCE) {
                found = self.combined(at + lane::BOTH, found, port(lane::SOURCE));
            }
            if self.has(at + lane::FLAGS) { self.combined(at + lane::ALL, found, 1) } else { found }
        });
        lanes.chain([PAGED]).max().unwrap_or(0)
    }

    /// From the classes to the entry of the direction that takes longest.
    fn directions(&self, ends: usize, service: usize, in_lane: bool) -> usize {
        let of = |at: usize| {
            if in_lane && self.has(at + direction::LANE_ENTRY) {
                return 0;
            }
            let floor = if self.has(at + direction::FLOOR) { service + 1 } else { 0 };
            let groups =
                (0..GROUPS).map(|number| self.group(at + direction::GROUP + number * group::COUNT, ends, service));
            groups.fold(floor, usize::max) + 1
        };
        of(EGRESS).max(of(INGRESS))
    }

    /// The rank that a group says.
    fn group(&self, at: usize, ends: usize, service: usize) -> usize {
        if !self.has(at + group::SOURCE_MASK) {
            return 0;
        }
        let records = self.has(t::SOURCE + end::RECORD_BASE) || self.has(t::DESTINATION + end::RECORD_BASE);
        let pair = if self.has(at + group::PAIR_COLUMNS) { 1 } else { 2 };
        let payload = ends + usize::from(records) + pair;
        let wide = self.params[service::MATCH_WORDS] > 1;
        // One word of what the service meets is there before the candidate is; of several, the candidate says which.
        let met = |candidate: usize| if wide { candidate.max(service) + 1 } else { candidate.max(service + 1) };
        let list = if self.has(at + group::LIST_BASE) { met(payload + 1) } else { 0 };
        let row = if self.has(at + group::ROW_BASE) { payload.max(service + 1) + 1 } else { 0 };
        met(payload).max(list).max(row)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use gabion_policy_model::text::{Source, parse};

    fn chain(rules: &str) -> Chain {
        let text = format!(
            "apiVersion: gabion.dev/v1alpha1\nkind: ClusterPolicy\nmetadata: {{name: p}}\n\
             spec:\n  tier: {{name: t, order: 1}}\n  subject: any\n  ingress: [{rules}]\n"
        );
        let set = parse(&[Source::new("p", text)]).unwrap();
        crate::compile(&set, &crate::Options::default()).unwrap().chain()
    }

    #[test]
    fn defaults_alone_take_the_kind_and_the_entry() {
        // Page of the EtherType (ARP has a default of its own), its class, combination with the kind, rank by service
        // class, entry. In a lane nothing is left to look up.
        assert_eq!(chain(""), Chain { lane: Some(0), v4: 5, v6: 5, off_ip: 5 });
    }

    #[test]
    fn a_block_is_found_as_deep_as_it_is_long() {
        let of = |block: &str| chain(&format!("{{action: deny, from: [{{cidr: '{block}'}}]}}"));
        // A level of the trie for every eight bits, the pair, the entry.
        for (block, levels) in [("10.0.0.0/8", 1), ("10.1.0.0/16", 2), ("10.1.2.0/24", 3), ("10.1.2.3/32", 4)] {
            assert_eq!(of(block).lane, Some((levels + 2).max(4)), "{block}");
        }
        let six = of("fd00::/32");
        // Without an IPv4 block that is what the service takes.
        assert_eq!((six.v6, six.v4), (6, 5));
    }

    #[test]
    fn a_port_takes_a_page_and_its_entry() {
        // Index, page, rank by service class, entry.
        let of_port = chain("{action: deny, services: [{protocol: tcp, ports: 502}]}");
        assert_eq!(of_port.lane, Some(4));
        // The kind is there before the port: page, class, two combinations (with kind and EtherType), rank, entry.
        assert_eq!((of_port.v4, of_port.v6), (6, 6));
    }
}
