//! Names and the node's own addresses: what turns a question into a packet.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::OnceLock;

use gabion_abi::facts::{self, Address, Facts};
use gabion_policy_model::PolicySet;
use gabion_policy_model::index::Index;
use gabion_policy_model::inventory::{DEFAULT_NAMESPACE, Entry};
use gabion_policy_model::set::Spanned;
use gabion_policy_model::site::{FailsafePort, Interface};
use gabion_policy_model::subject::{Mac, Subject};

use crate::fields::{ether_type, interface, invalid, mac};
use crate::fill::{frame, network, tags};
use crate::packet::{Asked, Assumption, Packet, Place};
use crate::query::{Query, QueryError, shorten};

/// What is looked up for each question, prepared once, and entries by name when somebody asks for one.
#[derive(Debug)]
pub struct Directory<'s> {
    entries: &'s [Spanned<Entry>],
    index: Index<'s>,
    names: OnceLock<Names<'s>>,
    node_addresses: Vec<IpAddr>,
    failsafe: &'s [FailsafePort],
    interfaces: &'s [Interface],
}

/// Positions of entries.
#[derive(Debug)]
struct Names<'s> {
    full: HashMap<(&'s str, &'s str), usize>,
    bare: HashMap<&'s str, Vec<usize>>,
}

impl<'s> Names<'s> {
    fn of(entries: &'s [Spanned<Entry>]) -> Self {
        let mut bare: HashMap<&str, Vec<usize>> = HashMap::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            bare.entry(&entry.name).or_default().push(index);
        }
        let full = entries.iter().enumerate().map(|(index, e)| ((e.namespace.as_str(), e.name.as_str()), index));
        Self { full: full.collect(), bare }
    }
}

/// One end as the question names it.
#[derive(Clone, Copy, Default)]
pub(crate) struct NamedEnd<'a> {
    pub(crate) address: Option<IpAddr>,
    mac: Option<Mac>,
    entry: Option<&'a Entry>,
}

impl<'a> NamedEnd<'a> {
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> + 'a {
        let listed: &'a [IpAddr] = self.entry.map_or(&[], |entry| &entry.addresses);
        self.address.into_iter().chain(listed.iter().copied())
    }

    pub(crate) fn has_family(&self, v4: bool) -> bool {
        self.addresses().any(|address| address.is_ipv4() == v4)
    }

    fn mac(&self) -> u64 {
        self.mac.or_else(|| self.entry.and_then(|entry| entry.macs.first().copied())).map_or(0, Mac::to_bits)
    }

    fn interface(&self) -> Option<&'a str> {
        self.entry.and_then(|entry| entry.interfaces.first()).map(String::as_str)
    }
}

impl<'s> Directory<'s> {
    /// Prepares what questions about this set look up.
    #[must_use]
    pub fn new<S: Subject>(set: &'s PolicySet<S>) -> Self {
        let site = set.site.as_ref();
        let interfaces: &[Interface] = site.map_or(&[], |site| &site.interfaces);
        let mut node_addresses: Vec<_> = interfaces.iter().flat_map(|i| i.addresses.iter().copied()).collect();
        node_addresses.sort_unstable();
        node_addresses.dedup();
        Self {
            entries: &set.inventory.entries,
            index: Index::new(&set.inventory),
            names: OnceLock::new(),
            node_addresses,
            failsafe: site.map_or(&[], |s| &s.failsafe),
            interfaces,
        }
    }

    /// The inventory.
    pub(crate) fn index(&self) -> &Index<'s> {
        &self.index
    }

    /// Whether the site lists addresses of the node at all.
    #[must_use]
    pub fn knows_node(&self) -> bool {
        !self.node_addresses.is_empty()
    }

    /// Whether the site says that the node itself has this address.
    #[must_use]
    pub fn is_node(&self, address: IpAddr) -> bool {
        self.node_addresses.binary_search(&address).is_ok()
    }

    fn guards(&self, interface: &str) -> bool {
        self.interfaces.iter().any(|guarded| covers(&guarded.name, interface))
    }

    /// Whether the hook that judges the packet is that of a guarded interface where it arrives: not so for what the
    /// node itself sends, nor for what comes from an interface that is not guarded.
    fn is_judged_on_arrival(&self, place: Place, source_interface: Option<&str>, facts: &Facts) -> bool {
        let from = gabion_policy_model::oracle::address(facts.family, facts.source);
        !self.interfaces.is_empty()
            && source_interface.is_none_or(|name| self.guards(name))
            && match place {
                Place::Arrival => true,
                Place::Departure => false,
                Place::EndToEnd => !from.is_some_and(|address| self.is_node(address)),
            }
    }

    /// The fail-safe port of the node that lets a denied packet pass: on arrival by its destination, on departure by
    /// its source.
    #[must_use]
    pub fn failsafe(&self, packet: &Packet<'_>) -> Option<FailsafePort> {
        let f = &packet.facts;
        if f.unparsed != facts::unparsed::NONE || f.transport != facts::TRANSPORT_PORTS {
            return None;
        }
        let at_node = |address: Address, port: u16| {
            let wanted = FailsafePort { protocol: f.protocol, port };
            let local = gabion_policy_model::oracle::address(f.family, address).is_some_and(|a| self.is_node(a));
            (local && self.failsafe.contains(&wanted)).then_some(wanted)
        };
        let arriving = || at_node(f.destination, f.destination_port);
        let leaving = || at_node(f.source, f.source_port);
        match packet.place {
            Place::Arrival => arriving(),
            Place::Departure => leaving(),
            Place::EndToEnd => arriving().or_else(leaving),
        }
    }

    /// Fills in a question:
    ///
    /// - an end that is the name of an inventory entry brings its first address of the right family, its first MAC
    ///   and its first interface;
    /// - TCP without flags is a SYN; ICMP without type is an echo request; a source port that is not given is
    ///   [`CLIENT_PORT`](crate::packet::CLIENT_PORT); a destination port that is not given is 0 and a protocol that
    ///   is not given [`NO_PROTOCOL`](crate::packet::NO_PROTOCOL), which only rules for every port or protocol cover;
    /// - without an EtherType the packet is IP; a frame between MAC addresses needs one;
    /// - where a packet arrives nobody knows the interface that it will leave by, so that none is taken from `out` or
    ///   from the destination's entry when it is judged there.
    ///
    /// # Errors
    /// What the question lacks, or what is wrong with it.
    pub fn packet<'a>(&'a self, query: &'a Query<'_>) -> Result<Packet<'a>, QueryError> {
        let mut assumed = Vec::new();
        let source = self.end("src", query.src.as_deref(), query.src_mac.as_deref())?;
        let destination = self.end("dst", query.dst.as_deref(), query.dst_mac.as_deref())?;
        let arrives = query.arrives.as_deref().map(|name| interface("in", name)).transpose()?;
        let leaves = query.leaves.as_deref().map(|name| interface("out", name)).transpose()?;

        let mut facts = Facts { source_mac: source.mac(), destination_mac: destination.mac(), ..Facts::UNKNOWN };
        tags(query, &mut facts)?;
        let ether_type = query.ethertype.as_ref().map(ether_type).transpose()?;
        let ether_type = match (ether_type, &query.llc) {
            (None, Some(_)) => Some(facts::ETHERTYPE_LLC),
            (given, _) => given,
        };
        match ether_type {
            None | Some(facts::ETHERTYPE_IPV4 | facts::ETHERTYPE_IPV6) => {
                network(query, ether_type, &source, &destination, &mut facts, &mut assumed)?;
            }
            Some(other) => frame(query, other, &source, &destination, &mut facts)?,
        }

        let place = match (arrives, leaves) {
            (None, None) => Place::EndToEnd,
            (Some(_), _) => Place::Arrival,
            (None, Some(_)) => Place::Departure,
        };
        for name in [arrives, leaves].into_iter().flatten() {
            if !self.interfaces.is_empty() && !self.guards(name) {
                assumed.push(Assumption::NotGuarded(name.to_owned()));
            }
        }
        let source_interface = arrives.or_else(|| source.interface());
        let mut destination_interface = leaves.or_else(|| destination.interface());
        if let Some(name) = destination_interface
            && self.is_judged_on_arrival(place, source_interface, &facts)
        {
            assumed.push(Assumption::LeavesLater(name.to_owned()));
            destination_interface = None;
        }
        let asked = match (arrives, leaves) {
            (None, None) | (Some(_), Some(_)) => Asked::BOTH,
            (None, Some(_)) => Asked::EGRESS,
            // As at the hook: only an address can be the node's.
            (Some(_), None) if facts.family == facts::FAMILY_NONE => Asked::BOTH,
            (Some(_), None) if self.node_addresses.is_empty() => Asked::INGRESS,
            (Some(_), None) => {
                let to = gabion_policy_model::oracle::address(facts.family, facts.destination);
                if to.is_some_and(|address| self.is_node(address)) { Asked::INGRESS } else { Asked::BOTH }
            }
        };
        let end_is_node = |address| {
            gabion_policy_model::oracle::address(facts.family, address).is_some_and(|address| self.is_node(address))
        };
        facts.node = u8::from(match place {
            Place::EndToEnd => end_is_node(facts.source) || end_is_node(facts.destination),
            // As at the hook: the node itself is an end when the other end's policy is asked alone.
            Place::Arrival | Place::Departure => facts.family != facts::FAMILY_NONE && asked != Asked::BOTH,
        });
        Ok(Packet { facts, source_interface, destination_interface, asked, place, assumed })
    }

    fn end<'a>(
        &'a self,
        field: &'static str,
        name: Option<&str>,
        beside: Option<&str>,
    ) -> Result<NamedEnd<'a>, QueryError> {
        let mut end = NamedEnd::default();
        if let Some(name) = name {
            if let Ok(address) = name.parse() {
                end.address = Some(address);
            } else if let Some(mac) = mac(name) {
                end.mac = Some(mac);
            } else {
                end.entry = Some(self.entry(field, name)?);
            }
        }
        if let Some(text) = beside {
            let field = if field == "src" { "src-mac" } else { "dst-mac" };
            let value = mac(text).ok_or_else(|| invalid(field, text, "a MAC address like 02:00:00:00:00:01"))?;
            if end.mac.is_some_and(|mac| mac != value) {
                let remedy = "give the MAC address once".to_owned();
                return Err(QueryError::Contradiction { one: "src or dst", other: field, remedy });
            }
            end.mac = Some(value);
        }
        Ok(end)
    }

    fn entry(&self, field: &'static str, name: &str) -> Result<&Spanned<Entry>, QueryError> {
        let names = self.names.get_or_init(|| Names::of(self.entries));
        let found = match name.split_once('/') {
            Some((namespace, name)) => names.full.get(&(namespace, name)),
            None => match names.bare.get(name).map_or(&[][..], Vec::as_slice) {
                [only] => Some(only),
                [] => None,
                several => {
                    let full = names.full.get(&(DEFAULT_NAMESPACE, name));
                    if full.is_none() {
                        let choices = several.iter().filter_map(|&index| self.entries.get(index));
                        let choices: Vec<_> = choices.map(|e| format!("{}/{}", e.namespace, e.name)).collect();
                        let name = name.to_owned();
                        return Err(QueryError::Ambiguous { field, name, choices: choices.join(", ") });
                    }
                    full
                }
            },
        };
        found.and_then(|&index| self.entries.get(index)).ok_or_else(|| QueryError::NobodyNamed {
            field,
            name: shorten(name),
            similar: self.similar(name),
        })
    }

    fn similar(&self, name: &str) -> String {
        if name.len() > 256 {
            return String::new();
        }
        let best = self
            .entries
            .iter()
            .map(|entry| (strsim::jaro_winkler(&entry.name, name), entry))
            .filter(|(likeness, _)| *likeness > 0.8)
            .max_by(|(a, _), (b, _)| a.total_cmp(b));
        match best {
            Some((_, entry)) if entry.namespace == DEFAULT_NAMESPACE => format!("; did you mean {}?", entry.name),
            Some((_, entry)) => format!("; did you mean {}/{}?", entry.namespace, entry.name),
            None => String::new(),
        }
    }
}

/// Whether an interface of the site is this one: by name, or by a pattern with one trailing `*`.
fn covers(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |prefix| name.starts_with(prefix))
}
