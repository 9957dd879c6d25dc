//! Whom a policy speaks about.
//!
//! Every kind of subject is a type with one trait, [`Subject`]; policies are generic over it.
//! Text yields [`AnySubject`].

use std::collections::BTreeMap;
use std::hash::Hash;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::index::Index;
use crate::inventory::Inventory;

/// A MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The low 48 bits hold the address, first octet on the wire most significant.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        self.0.iter().fold(0, |bits, &octet| bits << 8 | u64::from(octet))
    }

    /// From the low 48 bits.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        let b = bits.to_be_bytes();
        Self([b[2], b[3], b[4], b[5], b[6], b[7]])
    }
}

impl std::fmt::Display for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// One end of a packet, as a hook sees it.
#[derive(Clone, Copy, Debug, Default)]
pub struct End<'a> {
    /// IP address; none on frames without an IP header.
    pub address: Option<IpAddr>,
    /// MAC address; none on L3 devices.
    pub mac: Option<Mac>,
    /// Name of the interface on this end's side, where known.
    pub interface: Option<&'a str>,
}

/// What a subject covers, in terms of packets: the union of its parts.
///
/// `addresses` cover packets with an IP header, `macs_off_ip` only packets without one, `macs` and
/// `interfaces` all packets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Extent {
    /// Everything.
    pub any: bool,
    /// Address blocks.
    pub addresses: Vec<IpNet>,
    /// Address blocks that are taken out of `addresses` of this extent.
    pub except: Vec<IpNet>,
    /// MAC addresses, whatever the packet carries.
    pub macs: Vec<Mac>,
    /// MAC addresses of packets without an IP header.
    pub macs_off_ip: Vec<Mac>,
    /// Interfaces by name.
    pub interfaces: Vec<String>,
}

/// Someone a rule can name.
pub trait Subject: Clone + std::fmt::Debug + Eq + Hash + Send + Sync {
    /// Whether this end carries the subject: the definition, one packet at a time.
    fn carried_by(&self, end: &End<'_>, inventory: &Inventory) -> bool;

    /// All ends that carry the subject: the same, for the compiler. Subjects with exceptions give
    /// one extent for each block, so several extents form a union.
    fn extents(&self, index: &Index<'_>) -> Vec<Extent>;

    /// Positions of the inventory entries that carry the subject, ascending; for lints and explanations.
    fn entries(&self, index: &Index<'_>) -> Vec<u32>;

    /// The subject as policy text writes it, on one line.
    fn describe(&self) -> String;
}

/// Everyone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Any;

/// How one label is tested (Kubernetes `LabelSelectorRequirement`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LabelTest {
    /// The key has one of the values.
    In(String, Vec<String>),
    /// The key is absent or has none of the values.
    NotIn(String, Vec<String>),
    /// The key is there.
    Exists(String),
    /// The key is not there.
    DoesNotExist(String),
}

/// All tests must hold; an empty selector selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LabelSelector {
    /// Labels that must be there with this value.
    pub match_labels: BTreeMap<String, String>,
    /// Further tests.
    pub match_expressions: Vec<LabelTest>,
}

/// Inventory entries by their labels and by the labels of their namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Labels {
    /// Tests on the entry's labels.
    pub selector: LabelSelector,
    /// Which namespaces are searched.
    pub namespaces: Namespaces,
}

/// Which namespaces a label subject searches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Namespaces {
    /// All of them.
    #[default]
    All,
    /// One by name: what a `Policy` means when it does not say.
    Named(String),
    /// Those whose own labels match.
    Matching(LabelSelector),
}

/// Inventory entries by service account; without a namespace in any.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceAccount {
    /// Namespace of the account, none for any.
    pub namespace: Option<String>,
    /// Name of the account.
    pub name: String,
}

/// Inventory entries by SPIFFE ID (`spiffe://trust-domain/path`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SpiffeMatch {
    /// Trust domain, compared exactly.
    pub trust_domain: String,
    /// What the path must be.
    pub path: SpiffePath,
}

/// How the path of a SPIFFE ID is compared: by whole segments.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SpiffePath {
    /// Any path of the trust domain (written `spiffe://domain/*`).
    Any,
    /// Exactly this path, `/a/b`.
    Exact(String),
    /// This path and everything below it (written `spiffe://domain/a/*`): `/a` covers `/a/b`, not `/ab`.
    Prefix(String),
}

/// Trust domain and path of a SPIFFE ID; none of what is not one.
pub(crate) fn split_spiffe(id: &str) -> Option<(&str, &str)> {
    let rest = id.strip_prefix("spiffe://")?;
    Some(rest.split_at(rest.find('/').unwrap_or(rest.len())))
}

/// Addresses in a block but not in its exceptions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    /// The block.
    pub block: IpNet,
    /// Blocks inside it that are not meant.
    pub except: Vec<IpNet>,
}

/// Everything on one interface: what arrives there for a source, what leaves there for a destination.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InterfaceName(pub String);

/// Any of the kinds of subject.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AnySubject {
    /// Everyone.
    Any(Any),
    /// By labels.
    Labels(Labels),
    /// By service account.
    ServiceAccount(ServiceAccount),
    /// By SPIFFE ID.
    Spiffe(SpiffeMatch),
    /// By address block.
    Cidr(Cidr),
    /// By MAC address.
    Mac(Mac),
    /// By interface.
    Interface(InterfaceName),
}
