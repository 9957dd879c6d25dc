//! The table of the kinds of document: every key, its shape and what it means.

use super::form::{
    ACCOUNT, ADDRESS, CIDR, END, ETHER_TYPE, FLAGS, ICMP, INTERFACE, INTERFACES, LABEL_KEY, LABEL_VALUE, LLC, MAC,
    NAME, NAMED, NAMESPACE, NAMESPACES, PORT, PORT_NAME, PROTOCOL, ROLE, RULE_NAME, RULE_PATH, SOURCE_PORT, SPIFFE,
    SPIFFE_ID, VLAN, VLAN_ID,
};
use super::shape::Shape::{Bool, Either, Integer, List, Record as Map, Table, Text, Word};
use super::shape::{Field, Record, Shape};

/// The version of the policy language that is read and written.
pub const API_VERSION: &str = "gabion.dev/v1alpha1";

const U32: Shape = Integer { min: 0, max: u32::MAX as u64 };

const fn required(key: &'static str, shape: Shape, doc: &'static str) -> Field {
    Field { key, shape, required: true, doc }
}

const fn optional(key: &'static str, shape: Shape, doc: &'static str) -> Field {
    Field { key, shape, required: false, doc }
}

const ONE_WAY_TO_WRITE_LABELS: &str = r#"{"not": {"required": ["labels", "matchLabels"]}}"#;
const ONE_WAY_TO_WRITE_LABELS_AND_A_BLOCK: &str =
    r#"{"not": {"required": ["labels", "matchLabels"]}, "dependentRequired": {"except": ["cidr"]}}"#;
const VALUES_BY_OPERATOR: &str = r#"{
    "if": {"properties": {"operator": {"enum": ["In", "NotIn"]}}},
    "then": {"required": ["values"], "properties": {"values": {"minItems": 1}}},
    "else": {"properties": {"values": {"maxItems": 0}}}
}"#;
const SOME_DIRECTION: &str = r#"{"anyOf": [{"required": ["ingress"]}, {"required": ["egress"]}]}"#;
const NO_RESERVED_TIER: &str = r#"{"not": {"properties": {"name": {"enum": ["policy", "default"]}}}}"#;
const NO_RESERVED_RULE: &str = r#"{"not": {"required": ["name"], "properties": {"name": {"const": "isolation"}}}}"#;
/// Keys that no packet has together.
const KEYS_OF_ONE_PACKET: &str = r#"{"not": {"anyOf": [
    {"required": ["icmp"], "anyOf": [
        {"required": ["ports"]}, {"required": ["sourcePorts"]}, {"required": ["tcpFlags"]}]},
    {"required": ["unparsed"], "anyOf": [
        {"required": ["protocol"]}, {"required": ["ports"]}, {"required": ["sourcePorts"]}, {"required": ["icmp"]},
        {"required": ["tcpFlags"]}, {"required": ["fragments"]}, {"required": ["llc"]}]},
    {"required": ["llc"], "anyOf": [
        {"required": ["protocol"]}, {"required": ["ports"]}, {"required": ["sourcePorts"]}, {"required": ["icmp"]},
        {"required": ["tcpFlags"]}, {"required": ["fragments"]}]}
]}}"#;

const DIRECTION_DEFAULT: Shape = Word(&["allow", "deny"]);

macro_rules! one_or_more {
    ($form:ident) => {
        one_or_more!($form, $form)
    };
    ($one:ident, $each:ident) => {
        Either(&[Text(&$one), List { of: &Text(&$each), empty: Some("leave it out to match any") }])
    };
}

const LABEL_MAP: Shape = Table { key: "label keys", keys: &LABEL_KEY, value: &Text(&LABEL_VALUE) };

pub(crate) static METADATA: Record = Record {
    name: "Metadata",
    doc: "Name of a document.",
    fields: &[required("name", Text(&NAME), "name, unique among documents of its kind")],
    groups: &[],
    also: "",
};

pub(crate) static NAMESPACED: Record = Record {
    name: "NamespacedMetadata",
    doc: "Name and namespace of a Policy.",
    fields: &[
        required("name", Text(&NAME), "name, unique in its namespace"),
        optional("namespace", Text(&NAMESPACE), "namespace, `default` unless stated"),
    ],
    groups: &[],
    also: "",
};

static REQUIREMENT: Record = Record {
    name: "LabelTest",
    doc: "One test of a label, as in Kubernetes.",
    fields: &[
        required("key", Text(&LABEL_KEY), "label that is tested"),
        required("operator", Word(&["In", "NotIn", "Exists", "DoesNotExist"]), "how"),
        optional(
            "values",
            List { of: &Text(&LABEL_VALUE), empty: None },
            "values for In and NotIn; Exists and DoesNotExist have none",
        ),
    ],
    groups: &[],
    also: VALUES_BY_OPERATOR,
};

const EXPRESSIONS: Shape = List { of: &Map(&REQUIREMENT), empty: None };

static SELECTOR: Record = Record {
    name: "NamespaceSelector",
    doc: "Namespaces by their labels. Every namespace carries `kubernetes.io/metadata.name`.",
    fields: &[
        optional("labels", LABEL_MAP, "labels that must be there; the same as matchLabels"),
        optional("matchLabels", LABEL_MAP, "labels that must be there"),
        optional("matchExpressions", EXPRESSIONS, "further tests; all must hold"),
    ],
    groups: &[],
    also: ONE_WAY_TO_WRITE_LABELS,
};

pub(crate) static SUBJECT: Record = Record {
    name: "Subject",
    doc: "Someone, by exactly one kind of property.",
    fields: &[
        optional(
            "labels",
            LABEL_MAP,
            "inventory entries with these labels; {} is every entry. The same as matchLabels",
        ),
        optional("matchLabels", LABEL_MAP, "inventory entries with these labels"),
        optional("matchExpressions", EXPRESSIONS, "further tests of labels; all must hold"),
        optional(
            "namespaces",
            Either(&[Text(&NAMESPACES), Map(&SELECTOR)]),
            "where entries with the labels are looked for: a namespace, \"*\", or labels of namespaces. \
             In a Policy its own namespace unless stated, elsewhere all",
        ),
        optional(
            "serviceAccount",
            Text(&ACCOUNT),
            "inventory entries with this service account, `namespace/name`. `name` alone is in the Policy's own \
             namespace, elsewhere in any; `*/name` is in any",
        ),
        optional("spiffeId", Text(&SPIFFE), "inventory entries with this SPIFFE ID, or below it with `/*`"),
        optional("cidr", Text(&CIDR), "addresses of this block"),
        optional("except", List { of: &Text(&CIDR), empty: None }, "blocks inside `cidr` that are not meant"),
        optional("mac", Text(&MAC), "this MAC address"),
        optional("interface", Text(&INTERFACE), "what arrives on this interface, or leaves by it"),
    ],
    groups: &[
        &["labels", "matchLabels", "matchExpressions", "namespaces"],
        &["serviceAccount"],
        &["spiffeId"],
        &["cidr", "except"],
        &["mac"],
        &["interface"],
    ],
    also: ONE_WAY_TO_WRITE_LABELS_AND_A_BLOCK,
};

const ANYONE: Shape = Either(&[Word(&["any"]), Map(&SUBJECT)]);
const PEERS: Shape = Either(&[
    Word(&["nobody"]),
    List { of: &ANYONE, empty: Some("it names nobody: leave it out for anyone, or write `nobody` if that is meant") },
]);

pub(crate) static SERVICE: Record = Record {
    name: "Service",
    doc: "What a packet is. Every key that is there must match.",
    fields: &[
        optional("protocol", one_or_more!(PROTOCOL), "IP protocol; any number of names, numbers and ranges"),
        optional("ports", one_or_more!(PORT), "destination ports; names are those that the destination's entry gives"),
        optional("sourcePorts", one_or_more!(SOURCE_PORT), "source ports"),
        optional(
            "icmp",
            one_or_more!(ICMP),
            "ICMP or ICMPv6 types: `echo-request`, 8, 3/4 (type and code), 3/0-5, \"9-10\", or `any`",
        ),
        optional(
            "tcpFlags",
            Text(&FLAGS),
            "TCP flags that must be set, with `!` those that must not be; `any` for any",
        ),
        optional(
            "fragments",
            Word(&["none", "any", "first", "later"]),
            "whole packets, fragments, first or later fragments",
        ),
        optional(
            "etherType",
            one_or_more!(ETHER_TYPE),
            "EtherType behind VLAN tags; ARP is matched only by naming it here",
        ),
        optional("llc", Text(&LLC), "DSAP << 8 | SSAP of 802.3 frames with an LLC header"),
        optional("vlan", one_or_more!(VLAN, VLAN_ID), "outer VLAN tag"),
        optional("innerVlan", one_or_more!(VLAN, VLAN_ID), "inner VLAN tag (QinQ)"),
        optional(
            "unparsed",
            Either(&[
                Word(&UNPARSED_WORDS),
                List { of: &Word(&UNPARSED_REASONS), empty: Some("write `any` for every reason") },
            ]),
            "packets that cannot be parsed, by reason or `any`; stands only beside etherType and VLANs",
        ),
    ],
    groups: &[],
    also: KEYS_OF_ONE_PACKET,
};

/// Names of the reasons without "parsed", which is none.
const UNPARSED_REASONS: [&str; gabion_abi::facts::unparsed::COUNT as usize - 1] = {
    let mut reasons = [""; gabion_abi::facts::unparsed::COUNT as usize - 1];
    let mut index = 0;
    while index < reasons.len() {
        reasons[index] = gabion_abi::facts::unparsed::NAMES[index + 1];
        index += 1;
    }
    reasons
};

const UNPARSED_WORDS: [&str; UNPARSED_REASONS.len() + 1] = {
    let mut words = ["any"; UNPARSED_REASONS.len() + 1];
    let mut index = 0;
    while index < UNPARSED_REASONS.len() {
        words[index + 1] = UNPARSED_REASONS[index];
        index += 1;
    }
    words
};

const SERVICES: Shape = List { of: &Map(&SERVICE), empty: Some("leave it out to match any packet") };

macro_rules! rule_fields {
    ($action:expr) => {
        &[
            optional(
                "name",
                Text(&RULE_NAME),
                "name, unique in the document; `ingress-0`, `egress-3`, ... unless stated",
            ),
            $action,
            optional("from", PEERS, "who sends: any of these; anyone unless stated"),
            optional("to", PEERS, "who receives: any of these; anyone unless stated"),
            optional(
                "services",
                SERVICES,
                "what is sent: any of these; anything unless stated, but for ARP, neighbour discovery and unparsed packets",
            ),
            optional(
                "stateless",
                Bool,
                "return traffic is not let in for what this allows, nor let through what this denies; false unless stated",
            ),
            optional("log", Bool, "report every packet that this decides, within the rate limit; false unless stated"),
        ]
    };
}

pub(crate) static RULE: Record = Record {
    name: "Rule",
    doc: "A rule of a Policy.",
    fields: rule_fields!(optional("action", Word(&["allow", "deny", "audit"]), "what happens; allow unless stated")),
    groups: &[],
    also: NO_RESERVED_RULE,
};

pub(crate) static CLUSTER_RULE: Record = Record {
    name: "ClusterRule",
    doc: "A rule of a ClusterPolicy.",
    fields: rule_fields!(required(
        "action",
        Word(&["allow", "deny", "pass", "audit"]),
        "what happens: allow, deny, pass (to the next tier) or audit"
    )),
    groups: &[],
    also: "",
};

static POLICY: Record = Record {
    name: "PolicySpec",
    doc: "Isolates whom it selects, in the directions it speaks of; rules add up, a deny wins.",
    fields: &[
        required("subject", ANYONE, "whom it selects"),
        optional(
            "ingress",
            List { of: &Map(&RULE), empty: None },
            "what they may receive; [] isolates entirely, leaving it out leaves ingress alone",
        ),
        optional("egress", List { of: &Map(&RULE), empty: None }, "what they may send; likewise"),
    ],
    groups: &[],
    also: "",
};

pub(crate) static TIER: Record = Record {
    name: "Tier",
    doc: "Where a ClusterPolicy is consulted. All documents of a tier agree on it.",
    fields: &[
        required("name", Text(&NAMESPACE), "name of the tier"),
        required("order", U32, "lower is consulted first, within the stage"),
        optional(
            "stage",
            Word(&["admin", "baseline"]),
            "before any Policy (admin, unless stated) or after all of them",
        ),
    ],
    groups: &[],
    also: NO_RESERVED_TIER,
};

static CLUSTER_POLICY: Record = Record {
    name: "ClusterPolicySpec",
    doc: "Ordered rules in an ordered tier: the first that matches decides, `pass` leaves the tier.",
    fields: &[
        required("tier", Map(&TIER), "tier it belongs to"),
        optional("order", U32, "lower is consulted first, within the tier; 0 unless stated, equal orders by name"),
        required("subject", ANYONE, "whom it applies to"),
        optional("ingress", List { of: &Map(&CLUSTER_RULE), empty: None }, "what they may receive, in order"),
        optional("egress", List { of: &Map(&CLUSTER_RULE), empty: None }, "what they may send, in order"),
    ],
    groups: &[],
    also: "",
};

static NAMESPACE_LABELS: Record = Record {
    name: "Namespace",
    doc: "Labels of a namespace.",
    fields: &[optional("labels", LABEL_MAP, "labels of the namespace")],
    groups: &[],
    also: "",
};

static ENTRY: Record = Record {
    name: "Entry",
    doc: "A device, a pod, a host: known by its addresses; else by its MACs; else by its interfaces.",
    fields: &[
        required("name", Text(&NAME), "name, unique in its namespace"),
        optional("namespace", Text(&NAMESPACE), "namespace, `default` unless stated"),
        optional("labels", LABEL_MAP, "labels"),
        optional("serviceAccount", Text(&NAME), "service account, in the entry's namespace"),
        optional("spiffeId", Text(&SPIFFE_ID), "SPIFFE ID"),
        optional("addresses", List { of: &Text(&ADDRESS), empty: None }, "IP addresses"),
        optional("macs", List { of: &Text(&MAC), empty: None }, "MAC addresses"),
        optional(
            "interfaces",
            List { of: &Text(&INTERFACE), empty: None },
            "interfaces of the node behind which it sits",
        ),
        optional(
            "ports",
            Table {
                key: "port names",
                keys: &PORT_NAME,
                value: &Either(&[Text(&NAMED), List { of: &Text(&NAMED), empty: Some("leave the name out") }]),
            },
            "ports with names, `modbus: tcp/502`",
        ),
    ],
    groups: &[],
    also: "",
};

static INVENTORY: Record = Record {
    name: "InventorySpec",
    doc: "Who carries which addresses, MACs, labels and identities. Several documents add up.",
    fields: &[
        optional(
            "namespaces",
            Table { key: "namespaces", keys: &NAMESPACE, value: &Map(&NAMESPACE_LABELS) },
            "labels of namespaces",
        ),
        optional("entries", List { of: &Map(&ENTRY), empty: None }, "everyone known"),
    ],
    groups: &[],
    also: "",
};

static SITE_INTERFACE: Record = Record {
    name: "Interface",
    doc: "An interface of the node that is guarded.",
    fields: &[
        required("name", Text(&INTERFACES), "name, or the beginning of names with `*` behind it"),
        optional("role", Text(&ROLE), "what it is there for, shown in `status`"),
        optional(
            "addresses",
            List { of: &Text(&ADDRESS), empty: None },
            "the node's own addresses on it, for answers without a running agent",
        ),
    ],
    groups: &[],
    also: "",
};

static SUBJECT_DEFAULT: Record = Record {
    name: "SubjectDefault",
    doc: "A default for those who carry a subject; the first that fits decides.",
    fields: &[
        required("subject", ANYONE, "whose"),
        optional("ingress", DIRECTION_DEFAULT, "what they may receive"),
        optional("egress", DIRECTION_DEFAULT, "what they may send"),
    ],
    groups: &[],
    also: SOME_DIRECTION,
};

static DEFAULTS: Record = Record {
    name: "Defaults",
    doc: "What applies when no rule does.",
    fields: &[
        optional("ingress", DIRECTION_DEFAULT, "what anyone may receive; allow unless stated"),
        optional("egress", DIRECTION_DEFAULT, "what anyone may send; allow unless stated"),
        optional("linkControl", DIRECTION_DEFAULT, "ARP and genuine IPv6 neighbour discovery; allow unless stated"),
        optional("unparsed", DIRECTION_DEFAULT, "packets that cannot be parsed; deny unless stated"),
        optional("subjects", List { of: &Map(&SUBJECT_DEFAULT), empty: None }, "exceptions by subject, in order"),
    ],
    groups: &[],
    also: "",
};

static FAILSAFE: Record = Record {
    name: "FailsafePort",
    doc: "A port of the node itself that no policy can close.",
    fields: &[
        required("protocol", Text(&PROTOCOL), "tcp, udp, or another protocol with ports"),
        required("port", Integer { min: 1, max: 65_535 }, "port at the node"),
    ],
    groups: &[],
    also: "",
};

static EVENTS: Record = Record {
    name: "EventLimits",
    doc: "How many verdicts are reported, for each CPU.",
    fields: &[
        optional("deniedRate", U32, "denials a second; 500 unless stated"),
        optional("deniedBurst", U32, "denials at once; 200 unless stated"),
        optional("allowedRate", U32, "allowed packets a second; 100 unless stated"),
        optional(
            "allowedSample",
            U32,
            "one in so many allowed packets; 0, unless stated, reports those of `log` rules only",
        ),
    ],
    groups: &[],
    also: "",
};

/// Entries of a connection table: one to as many as a kernel map of this size can hold in 4 GiB.
const CONNECTION_COUNT: Shape = Integer { min: 1, max: 1 << 26 };

static CONNECTIONS: Record = Record {
    name: "ConnectionLimits",
    doc: "Connections that are tracked at once.",
    fields: &[
        optional(
            "established",
            CONNECTION_COUNT,
            "TCP, SCTP and DCCP connections of which both sides have sent; 65536 unless stated",
        ),
        optional(
            "datagrams",
            CONNECTION_COUNT,
            "connections of all other protocols of which both sides have sent; 65536 unless stated",
        ),
        optional(
            "opening",
            CONNECTION_COUNT,
            "connections of any protocol of which one side has sent; 65536 unless stated",
        ),
        optional("fragments", CONNECTION_COUNT, "datagrams in fragments; 8192 unless stated"),
    ],
    groups: &[],
    also: "",
};

static DROPS: Record = Record {
    name: "DropBound",
    doc: "How far the packets dropped a second for any one reason may rise above what they were: so many times that, \
          and so many more.",
    fields: &[
        optional("times", Integer { min: 1, max: 1_000_000 }, "a multiple of what it was; 3 unless stated"),
        optional("above", U32, "packets a second beyond it; 10 unless stated"),
    ],
    groups: &[],
    also: "",
};

static HEALTH_PROBE: Record = Record {
    name: "HealthProbe",
    doc: "Something that must go on while a change is on trial.",
    fields: &[
        required("name", Text(&RULE_NAME), "what it is called"),
        optional("rule", Text(&RULE_PATH), "a packet passes by this rule"),
        optional("tcp", Text(&END), "a TCP connection from this node is taken there"),
        optional("withinSeconds", Integer { min: 1, max: 3_600 }, "at least once in so many seconds; 5 unless stated"),
    ],
    groups: &[&["rule"], &["tcp"]],
    also: "",
};

static HEALTH: Record = Record {
    name: "Health",
    doc: "When a change makes the node worse, so that it is undone by itself.",
    fields: &[
        optional(
            "windowSeconds",
            Integer { min: 0, max: 86_400 },
            "how long a change is on trial before the node relies on it; 30 unless stated, 0 is not at all",
        ),
        optional(
            "onAgentDeath",
            Word(&["rollBack", "keep"]),
            "what an agent's death means for a change on trial: rollBack, unless stated, or keep, which begins the \
             window anew",
        ),
        optional(
            "inventory",
            Word(&["inPlace", "onTrial"]),
            "another inventory alone goes into the tables in force at once: inPlace, unless stated; or it is a change as \
             any other: onTrial, for inventories that people write",
        ),
        optional("drops", Map(&DROPS), "how far drops may rise"),
        optional("probes", List { of: &Map(&HEALTH_PROBE), empty: None }, "what must go on"),
    ],
    groups: &[],
    also: "",
};

static GATEKEEPER: Record = Record {
    name: "Gatekeeper",
    doc: "Who may load BPF programs on this node. It takes a kernel that was booted with BPF among its security \
          modules (lsm=...,bpf); where it is not, the agent says so and enforces all the same.",
    fields: &[optional(
        "seal",
        Bool,
        "only the agent loads programs, and only those that it verified: its own and those of bundles in use; \
         everybody else is refused, root too. false unless stated",
    )],
    groups: &[],
    also: "",
};

static SITE: Record = Record {
    name: "SiteSpec",
    doc: "The node's place in the plant. At most one document.",
    fields: &[
        optional("interfaces", List { of: &Map(&SITE_INTERFACE), empty: None }, "interfaces that are guarded"),
        optional("defaults", Map(&DEFAULTS), "what applies when no rule does"),
        optional("mode", Word(&["enforce", "audit"]), "enforce, unless stated, or audit: let pass and report"),
        optional(
            "failsafe",
            List { of: &Map(&FAILSAFE), empty: None },
            "ports of the node that stay open; tcp 22 unless stated",
        ),
        optional("events", Map(&EVENTS), "how many verdicts are reported"),
        optional("connections", Map(&CONNECTIONS), "how many connections are tracked"),
        optional("health", Map(&HEALTH), "when a change is undone"),
        optional("gatekeeper", Map(&GATEKEEPER), "who may load BPF programs"),
    ],
    groups: &[],
    also: "",
};

macro_rules! document {
    ($kind:literal, $metadata:ident, $spec:ident) => {
        Record {
            name: $kind,
            doc: $spec.doc,
            fields: &[
                required("apiVersion", Word(&[API_VERSION]), "version of the policy language"),
                required("kind", Word(&[$kind]), "kind of document"),
                required("metadata", Map(&$metadata), "name of the document"),
                required("spec", Map(&$spec), "what it says"),
            ],
            groups: &[],
            also: "",
        }
    };
}

/// The kinds of document.
pub(crate) static KINDS: [Record; 4] = [
    document!("Policy", NAMESPACED, POLICY),
    document!("ClusterPolicy", METADATA, CLUSTER_POLICY),
    document!("Inventory", METADATA, INVENTORY),
    document!("Site", METADATA, SITE),
];
