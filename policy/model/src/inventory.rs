//! Who carries which subjects now.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::set::Spanned;
use crate::subject::Mac;

/// Everyone known, merged from all `Inventory` documents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Entries in the order of the documents.
    pub entries: Vec<Spanned<Entry>>,
    /// Labels of namespaces by name. Every namespace also carries `kubernetes.io/metadata.name`
    /// with its own name, listed here or not.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
}

/// A port that has a name at one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPort {
    /// The name.
    pub name: String,
    /// IP protocol number.
    pub protocol: u8,
    /// The number.
    pub port: u16,
}

/// Someone: a device, a pod, a host.
///
/// How an end of a packet is recognised as this entry:
/// - by its IP address, when the packet has one and the entry lists addresses;
/// - by its MAC, when the packet has no IP header, or when the entry lists no addresses;
/// - by its interface, when the entry lists neither addresses nor MACs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Name, unique in its namespace.
    pub name: String,
    /// Namespace, `default` when the text does not say.
    pub namespace: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Service account in the entry's namespace.
    pub service_account: Option<String>,
    /// SPIFFE ID, `spiffe://domain/path`.
    pub spiffe_id: Option<String>,
    /// IP addresses.
    pub addresses: Vec<IpAddr>,
    /// MAC addresses.
    pub macs: Vec<Mac>,
    /// Interfaces of the node behind which the entry sits.
    pub interfaces: Vec<String>,
    /// Ports with names.
    pub ports: Vec<NamedPort>,
}

/// Name of the namespace of entries and policies that do not say.
pub const DEFAULT_NAMESPACE: &str = "default";

/// Label that every namespace carries with its own name.
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";
