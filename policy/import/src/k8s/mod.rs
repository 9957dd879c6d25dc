//! Kubernetes objects.
//!
//! Read are `NetworkPolicy` (networking.k8s.io/v1), `AdminNetworkPolicy` and `BaselineAdminNetworkPolicy`
//! (policy.networking.k8s.io/v1alpha1), and as inventory `Namespace`, `Pod` and `Node`; alone, as several YAML
//! documents, in a `List` or one of the typed lists, as YAML or JSON, in any order.
//!
//! | object | becomes |
//! | --- | --- |
//! | `NetworkPolicy` | a `Policy` of the same name and namespace |
//! | `AdminNetworkPolicy` | a `ClusterPolicy` in tier `admin`, its priority the order |
//! | `BaselineAdminNetworkPolicy` | a `ClusterPolicy` in the baseline tier `baseline` |
//! | `Pod` | an inventory entry with labels, service account, addresses and named ports |
//! | `Namespace` | its labels |
//! | `Node` | its addresses, where a peer selects it and for the pods that run on it |
//!
//! Rules are named `ingress-0`, `egress-1` and so on, by their place in the object.
//!
//! # Where the specifications leave room
//!
//! - *Other protocols.* NetworkPolicy speaks of TCP, UDP and SCTP. Here a pod that is isolated is so for all of
//!   IP (ICMP too), and a rule without `ports` allows all of IP. Frames without an IP header are
//!   nobody's: a pod is known by its addresses.
//! - *A pod and itself.* A pod can not block access to itself. Tier `pod-itself`, before all others, lets each pod
//!   that some policy selects talk with its own addresses.
//! - *A pod and its node.* NetworkPolicies never block traffic between a pod and the node that it runs on. Tier
//!   `pod-node`, before the NetworkPolicies and behind the AdminNetworkPolicies, allows it where the node's addresses
//!   are known (`status.hostIPs` of the pod, or its Node object). Where they are not, that is a warning.
//! - *Host network.* Pods on their node's network have its address and are selected by nobody; a warning says so.
//! - *policyTypes.* Unstated (or an empty list, as the API server has it) means ingress, and egress when there is at
//!   least one egress rule.
//! - *AdminNetworkPolicies of the same priority* are ordered by name; the specification leaves it open, and a warning
//!   says so.
//! - *domainNames* are refused: a packet carries no names.
//! - The addresses of pods and nodes are those of the objects that are imported: import again when they change.

mod admin_policy;
mod exempt;
mod network_policy;
mod object;
mod selector;
mod workload;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use gabion_policy_model::PolicySet;
use gabion_policy_model::inventory::NAMESPACE_NAME_LABEL;
use gabion_policy_model::subject::{AnySubject, LabelSelector, LabelTest, Namespaces};

use crate::Imported;
use crate::diagnostic::{Diagnostic, ERROR_LIMIT};
use crate::names;
use crate::source::{Lines, Source};
use crate::yaml::{self, Node};
use object::{Fields, Metadata, Text};
use workload::Cluster;

/// Kinds that are read, with their API.
const READ: [(&str, &str); 6] = [
    ("NetworkPolicy", "networking.k8s.io/v1"),
    ("AdminNetworkPolicy", "policy.networking.k8s.io/v1alpha1"),
    ("BaselineAdminNetworkPolicy", "policy.networking.k8s.io/v1alpha1"),
    ("Namespace", "v1"),
    ("Pod", "v1"),
    ("Node", "v1"),
];

/// Kinds of Kubernetes that say nothing about which packets may pass between which addresses.
const IRRELEVANT: [&str; 44] = [
    "APIService",
    "CSIDriver",
    "CSINode",
    "CSIStorageCapacity",
    "CertificateSigningRequest",
    "ClusterRole",
    "ClusterRoleBinding",
    "ConfigMap",
    "ControllerRevision",
    "CronJob",
    "CustomResourceDefinition",
    "DaemonSet",
    "Deployment",
    "EndpointSlice",
    "Endpoints",
    "Event",
    "FlowSchema",
    "HorizontalPodAutoscaler",
    "Ingress",
    "IngressClass",
    "Job",
    "Lease",
    "LimitRange",
    "MutatingWebhookConfiguration",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "PodDisruptionBudget",
    "PodTemplate",
    "PriorityClass",
    "PriorityLevelConfiguration",
    "ReplicaSet",
    "ReplicationController",
    "ResourceQuota",
    "Role",
    "RoleBinding",
    "RuntimeClass",
    "Secret",
    "Service",
    "ServiceAccount",
    "StatefulSet",
    "StorageClass",
    "ValidatingAdmissionPolicy",
    "ValidatingWebhookConfiguration",
    "VolumeAttachment",
];

/// Reads objects from all sources together.
///
/// # Errors
/// Everything that is not what the specifications allow, and kinds that might mean something but are not known.
pub fn import_k8s(sources: &[Source<'_>]) -> Result<Imported, Vec<Diagnostic>> {
    let (errors, warnings) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
    let texts: Vec<Lines<'_>> = sources.iter().map(Lines::new).collect();
    let texts: Vec<Text<'_, '_>> =
        texts.iter().map(|lines| Text { lines, errors: &errors, warnings: &warnings }).collect();
    let mut objects = Objects::default();
    for text in &texts {
        match yaml::documents(text.lines) {
            Ok(documents) => {
                for document in documents {
                    objects.sort(text, &document, None);
                }
            }
            Err(error) => errors.borrow_mut().push(error),
        }
        objects.report_skipped(text);
    }
    let imported = objects.read(&errors);
    let mut errors = errors.into_inner();
    match imported {
        Some((set, mut last)) if errors.is_empty() => {
            let mut warnings = warnings.into_inner();
            warnings.append(&mut last);
            Ok(Imported { policies: set, warnings })
        }
        _ => {
            // What objects are called is read twice: to find doubles, and with the rest of the object.
            let mut told = HashSet::new();
            errors.retain(|e| told.insert((e.location.clone(), e.message.clone())));
            errors.truncate(ERROR_LIMIT);
            Err(errors)
        }
    }
}

/// Objects by kind, before any is read: pods want to know the nodes, policies everyone.
#[derive(Default)]
struct Objects<'t, 'l, 'a> {
    by_kind: HashMap<&'static str, Vec<(&'t Text<'l, 'a>, Rc<Node>)>>,
    /// Names of the objects of this text that are left out, by kind, with the first of them.
    skipped: BTreeMap<String, (Rc<Node>, Vec<String>)>,
}

impl<'t, 'l, 'a> Objects<'t, 'l, 'a> {
    /// Puts an object where it belongs. Elements of a typed list may leave out API and kind.
    fn sort(&mut self, text: &'t Text<'l, 'a>, node: &Rc<Node>, element_of: Option<(&str, &str)>) -> Option<()> {
        let fields = Fields::open(text, node, "an object")?;
        let stated = |field: &str, implied: Option<&str>| match (fields.of(field), implied) {
            (None, Some(implied)) => Some(implied.to_owned()),
            _ => text.string(fields.required(text, field, "an object")?, field).map(str::to_owned),
        };
        let kind = stated("kind", element_of.map(|(kind, _)| kind))?;
        let api = stated("apiVersion", element_of.map(|(_, api)| api))?;
        let place = fields.of("kind").unwrap_or(node);
        if let Some(element) = kind.strip_suffix("List")
            && element_of.is_none()
        {
            let implied = (!element.is_empty()).then_some((element, api.as_str()));
            for item in text.list(fields.of("items"), "items") {
                self.sort(text, item, implied);
            }
            return Some(());
        }
        if let Some(&(kind, known)) = READ.iter().find(|(name, _)| *name == kind) {
            if api != known {
                let place = fields.of("apiVersion").unwrap_or(node);
                text.refuse(place, format!("this version of {kind} is not read"), format!("write it as {known}"));
                return None;
            }
            self.by_kind.entry(kind).or_default().push((text, Rc::clone(node)));
            return Some(());
        }
        if IRRELEVANT.contains(&kind.as_str()) {
            let name = fields.of("metadata").and_then(|metadata| {
                let metadata = Fields::open(text, metadata, "metadata")?;
                text.string(metadata.of("name")?, "the name").map(str::to_owned)
            });
            let first = || (Rc::clone(node), Vec::new());
            let (_, names) = self.skipped.entry(kind).or_insert_with(first);
            names.push(name.unwrap_or_else(|| "without a name".to_owned()));
            return Some(());
        }
        let known: Vec<&str> = READ.iter().map(|(name, _)| *name).collect();
        // Kinds of other groups may be called almost the same and mean something else.
        let of_group: Vec<&str> = READ.iter().filter(|(_, known)| *known == api).map(|(name, _)| *name).collect();
        let remedy = match names::nearest(&kind, &of_group) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("read are {}; remove it if it does not matter", known.join(", ")),
        };
        text.refuse(place, "a kind that is not known here and might say which packets pass", remedy);
        None
    }

    fn report_skipped(&mut self, text: &Text<'_, '_>) {
        for (kind, (first, names)) in std::mem::take(&mut self.skipped) {
            let shown = names.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
            let more = if names.len() > 5 { ", ..." } else { "" };
            let message = format!("{} {kind} left out ({shown}{more})", names.len());
            text.warn(&first, message, "this kind says nothing about which packets pass");
        }
    }

    fn read(self, errors: &RefCell<Vec<Diagnostic>>) -> Option<(PolicySet, Vec<Diagnostic>)> {
        let mut seen = HashSet::new();
        let mut of_kind = |kind: &'static str| -> Vec<(&'t Text<'l, 'a>, Rc<Node>)> {
            let objects = self.by_kind.get(kind).cloned().unwrap_or_default();
            let unique = |(text, node): &(&Text<'_, '_>, Rc<Node>)| is_first(text, node, kind, &mut seen);
            objects.into_iter().filter(unique).collect()
        };
        let mut cluster = Cluster::default();
        for (text, node) in of_kind("Namespace") {
            cluster.namespace(text, &open(text, &node)?);
        }
        for (text, node) in of_kind("Node") {
            cluster.node(text, &open(text, &node)?);
        }
        for (text, node) in of_kind("Pod") {
            cluster.pod(text, &open(text, &node)?);
        }
        let mut set = PolicySet::default();
        for (text, node) in of_kind("NetworkPolicy") {
            set.policies.extend(network_policy::read(text, &closed(text, &node)?));
        }
        let mut admin = Vec::new();
        for (text, node) in of_kind("AdminNetworkPolicy") {
            let policy = admin_policy::read(text, &closed(text, &node)?, admin_policy::Kind::Admin, &cluster);
            admin.extend(policy.map(|policy| (policy, text, node)));
        }
        admin.sort_by(|(a, ..), (b, ..)| (a.order, &a.name).cmp(&(b.order, &b.name)));
        for pair in admin.windows(2) {
            let [(first, ..), (second, text, node)] = pair else { continue };
            if first.order == second.order {
                let message = format!("`{}` and `{}` have priority {}", first.name, second.name, first.order);
                text.warn(node, message, "which one is first is not specified; here the names decide");
            }
        }
        set.cluster_policies.extend(admin.into_iter().map(|(policy, ..)| policy));
        for (text, node) in of_kind("BaselineAdminNetworkPolicy") {
            let policy = admin_policy::read(text, &closed(text, &node)?, admin_policy::Kind::Baseline, &cluster);
            if let Some(mut policy) = policy {
                policy.name = exempt::free_name(&set, &policy.name);
                set.cluster_policies.push(policy);
            }
        }
        if !errors.borrow().is_empty() {
            return None;
        }
        set.policies.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        set.inventory = cluster.inventory.into();
        let unknown_node = exempt::exempt(&mut set, &cluster.node_addresses);
        set.cluster_policies.sort_by(|a, b| {
            let key = |p: &gabion_policy_model::rule::ClusterPolicy| (p.tier.stage, p.tier.order, p.order);
            key(a).cmp(&key(b)).then_with(|| a.name.cmp(&b.name))
        });
        let mut warnings = Vec::new();
        if let Some(pod) = unknown_node {
            warnings.push(about_unknown_node(&set, pod));
        }
        warnings.extend(about_unknown_namespaces(&set));
        Some((set, warnings))
    }
}

fn open<'n>(text: &Text<'_, '_>, node: &'n Node) -> Option<Fields<'n>> {
    Fields::open(text, node, "an object")
}

fn closed<'n>(text: &Text<'_, '_>, node: &'n Node) -> Option<Fields<'n>> {
    Fields::closed(text, node, "the object", &["apiVersion", "kind", "metadata", "spec", "status"])
}

/// Whether this is the first object with its kind and name; a second one is refused.
fn is_first(
    text: &Text<'_, '_>,
    node: &Node,
    kind: &'static str,
    seen: &mut HashSet<(&'static str, String, String)>,
) -> bool {
    let Some(metadata) = open(text, node).and_then(|object| Metadata::read(text, &object, kind)) else { return false };
    // Namespaces mean nothing to objects of the cluster.
    let namespace = if matches!(kind, "Pod" | "NetworkPolicy") { metadata.namespace } else { String::new() };
    let unique = seen.insert((kind, namespace, metadata.name));
    if !unique {
        text.refuse(node, format!("a second {kind} of this name"), "keep one of the two");
    }
    unique
}

fn about_unknown_node(set: &PolicySet, pod: usize) -> Diagnostic {
    let entry = &set.inventory.entries[pod];
    Diagnostic {
        location: entry.location.clone(),
        text: format!("{}/{}", entry.namespace, entry.name),
        message: "the addresses of this pod's node are not known (the first such pod), so its policies may block \
                  traffic with it, which Kubernetes always allows"
            .to_owned(),
        remedy: "import pods with their status, or the Node objects".to_owned(),
    }
}

/// Namespaces with pods whose labels a policy asks for, but of which there is no object.
fn about_unknown_namespaces(set: &PolicySet) -> Vec<Diagnostic> {
    let by_policies = set.policies.iter().flat_map(|policy| {
        let rules = policy.ingress.iter().chain(&policy.egress).flatten();
        std::iter::once(&*policy.subject).chain(rules.flat_map(|rule| rule.from.iter().chain(&rule.to).flatten()))
    });
    let by_cluster_policies = set.cluster_policies.iter().flat_map(|policy| {
        let rules = policy.ingress.iter().chain(&policy.egress);
        std::iter::once(&policy.subject).chain(rules.flat_map(|rule| rule.from.iter().chain(&rule.to).flatten()))
    });
    if !by_policies.chain(by_cluster_policies).any(asks_for_namespace_labels) {
        return Vec::new();
    }
    let mut reported = BTreeSet::new();
    let entries = set.inventory.entries.iter();
    entries
        .filter(|entry| !set.inventory.namespaces.contains_key(&entry.namespace))
        .filter(|entry| reported.insert(&entry.namespace))
        .map(|entry| Diagnostic {
            location: entry.location.clone(),
            text: entry.namespace.clone(),
            message: "a policy asks for labels of namespaces, and this one has pods but no Namespace object".to_owned(),
            remedy: "import the Namespace objects too; without them it carries its name only".to_owned(),
        })
        .collect()
}

fn asks_for_namespace_labels(subject: &AnySubject) -> bool {
    let AnySubject::Labels(labels) = subject else { return false };
    let Namespaces::Matching(LabelSelector { match_labels, match_expressions }) = &labels.namespaces else {
        return false;
    };
    let other = |key: &String| key != NAMESPACE_NAME_LABEL;
    match_labels.keys().any(other)
        || match_expressions.iter().any(|test| match test {
            LabelTest::In(key, _)
            | LabelTest::NotIn(key, _)
            | LabelTest::Exists(key)
            | LabelTest::DoesNotExist(key) => other(key),
        })
}
