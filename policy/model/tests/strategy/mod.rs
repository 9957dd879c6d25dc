//! Random sets that text can say.

use std::collections::BTreeMap;
use std::net::IpAddr;

use gabion_policy_model::PolicySet;
use gabion_policy_model::inventory::{Entry, Inventory, NamedPort};
use gabion_policy_model::range::RangeSet;
use gabion_policy_model::rule::{Action, ClusterPolicy, Policy, Rule, Stage, Tier};
use gabion_policy_model::service::{FlagMatch, FragmentMatch, PortMatch, Service, Vlan};
use gabion_policy_model::set::{Location, Spanned};
use gabion_policy_model::site::{
    ConnectionLimits, DefaultAction, Defaults, DropBound, EventLimits, FailsafePort, Gatekeeper, Health, HealthProbe,
    Interface, Look, Mode, Site, SubjectDefault,
};
use gabion_policy_model::subject::{
    Any, AnySubject, Cidr, InterfaceName, LabelSelector, LabelTest, Labels, Mac, Namespaces, ServiceAccount,
    SpiffeMatch, SpiffePath,
};
use ipnet::IpNet;
use proptest::prelude::*;

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9]([-a-z0-9]{0,8}[a-z0-9])?",
        Just("no".to_owned()),
        Just("1e3".to_owned()),
        Just("true".to_owned())
    ]
}

fn namespace() -> impl Strategy<Value = String> {
    prop_oneof![Just("default".to_owned()), Just("field".to_owned()), Just("null".to_owned())]
}

fn label_value() -> impl Strategy<Value = String> {
    prop_oneof!["([A-Za-z0-9]([-A-Za-z0-9_.]{0,8}[A-Za-z0-9])?)?", Just("y".to_owned()), Just("0x1f".to_owned())]
}

fn label_key() -> impl Strategy<Value = String> {
    "([a-z]{1,4}\\.[a-z]{1,3}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,8}[A-Za-z0-9])?"
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map(label_key(), label_value(), 0..3)
}

fn selector() -> impl Strategy<Value = LabelSelector> {
    let values = || prop::collection::vec(label_value(), 1..3);
    let test = prop_oneof![
        (label_key(), values()).prop_map(|(key, values)| LabelTest::In(key, values)),
        (label_key(), values()).prop_map(|(key, values)| LabelTest::NotIn(key, values)),
        label_key().prop_map(LabelTest::Exists),
        label_key().prop_map(LabelTest::DoesNotExist),
    ];
    (labels(), prop::collection::vec(test, 0..2))
        .prop_map(|(match_labels, match_expressions)| LabelSelector { match_labels, match_expressions })
}

fn ranges(max: u32) -> impl Strategy<Value = RangeSet> {
    prop::collection::vec((0..=max, 0..=max), 1..4).prop_map(|pairs| {
        let mut set = RangeSet::new();
        for (a, b) in pairs {
            set.insert(a.min(b)..=if a % 3 == 0 { a.min(b) } else { a.max(b) });
        }
        set
    })
}

fn block() -> impl Strategy<Value = IpNet> {
    (any::<IpAddr>(), any::<u8>()).prop_map(|(address, length)| {
        let length = if address.is_ipv4() { length % 33 } else { length % 129 };
        IpNet::new(address, length).unwrap().trunc()
    })
}

fn mac() -> impl Strategy<Value = Mac> {
    (1..1_u64 << 48).prop_map(Mac::from_bits)
}

fn subject() -> impl Strategy<Value = AnySubject> {
    let namespaces = prop_oneof![
        Just(Namespaces::All),
        namespace().prop_map(Namespaces::Named),
        selector().prop_map(Namespaces::Matching)
    ];
    let path = prop_oneof![
        Just(SpiffePath::Any),
        Just(SpiffePath::Exact(String::new())),
        "(/[a-z]{1,4}){1,3}".prop_map(SpiffePath::Exact),
        "(/[a-z]{1,4}){1,3}".prop_map(SpiffePath::Prefix),
    ];
    prop_oneof![
        Just(AnySubject::Any(Any)),
        (selector(), namespaces).prop_map(|(selector, namespaces)| AnySubject::Labels(Labels { selector, namespaces })),
        (prop::option::of(namespace()), name())
            .prop_map(|(namespace, name)| AnySubject::ServiceAccount(ServiceAccount { namespace, name })),
        ("[a-z0-9._-]{1,12}", path)
            .prop_map(|(trust_domain, path)| AnySubject::Spiffe(SpiffeMatch { trust_domain, path })),
        (block(), any::<bool>()).prop_map(|(block, some)| {
            let except = if some { block.subnets(block.prefix_len()).unwrap().take(1).collect() } else { Vec::new() };
            AnySubject::Cidr(Cidr { block, except })
        }),
        mac().prop_map(AnySubject::Mac),
        "[a-z0-9.]{3,15}".prop_map(|name| AnySubject::Interface(InterfaceName(name))),
    ]
}

fn vlan() -> impl Strategy<Value = Vlan> {
    prop_oneof![Just(Vlan::Untagged), ranges(4095).prop_map(Vlan::Ids)]
}

fn service() -> impl Strategy<Value = Service> {
    let link = (
        prop::option::of(ranges(0xffff)),
        prop::option::weighted(0.1, any::<u16>()),
        prop::option::of(vlan()),
        prop::option::of(vlan()),
    );
    let ports = prop_oneof![
        ranges(0xffff).prop_map(PortMatch::Numbers),
        "[a-z]([a-z0-9]{0,6}[a-z0-9])?".prop_map(PortMatch::Named)
    ];
    let fragments =
        prop::sample::select(vec![FragmentMatch::None, FragmentMatch::Any, FragmentMatch::First, FragmentMatch::Later]);
    let flags = any::<(u8, u8)>().prop_map(|(mask, value)| FlagMatch { mask, value: value & mask });
    let protocols = prop_oneof![
        ranges(255),
        Just(RangeSet::from_range(1..=1)),
        Just(RangeSet::from_range(58..=58)),
        Just(RangeSet::from_range(6..=6))
    ];
    let transport = (
        prop::option::of(protocols),
        prop::option::of(ports),
        prop::option::of(ranges(0xffff)),
        prop::option::of(ranges(0xffff)),
        prop::option::of(flags),
        prop::option::of(fragments),
    );
    let unparsed = prop::option::weighted(
        0.2,
        ranges(11).prop_map(|set| {
            let mut above = RangeSet::new();
            set.iter().for_each(|(low, high)| above.insert(low + 1..=high + 1));
            above
        }),
    );
    let any = (link, transport, unparsed).prop_map(
        |(
            (ether_types, llc, vlan, inner_vlan),
            (protocols, ports, source_ports, icmp, tcp_flags, fragments),
            unparsed,
        )| {
            Service {
                ether_types,
                llc,
                vlan,
                inner_vlan,
                protocols,
                ports,
                source_ports,
                icmp,
                tcp_flags,
                fragments,
                unparsed,
            }
        },
    );
    // What contradicts itself cannot be said; the fields at the end give way until it can.
    any.prop_map(|mut service| {
        let reductions: [fn(&mut Service); 7] = [
            |s| s.unparsed = None,
            |s| s.llc = None,
            |s| s.icmp = None,
            |s| s.ether_types = None,
            |s| s.inner_vlan = None,
            |s| s.fragments = None,
            |s| s.protocols = None,
        ];
        for reduce in reductions {
            if service.matches_nothing() {
                reduce(&mut service);
            }
        }
        service
    })
}

fn rules(direction: &'static str, cluster: bool) -> impl Strategy<Value = Vec<Spanned<Rule>>> {
    let actions: usize = if cluster { 4 } else { 3 };
    let action = (0..actions).prop_map(|n| [Action::Allow, Action::Deny, Action::Audit, Action::Pass][n]);
    let peers = || prop::option::of(prop::collection::vec(subject(), 0..3));
    let rule = (
        name(),
        any::<bool>(),
        action,
        peers(),
        peers(),
        prop::collection::vec(service(), 0..3),
        any::<(bool, bool)>(),
    );
    prop::collection::vec(rule, 0..3).prop_map(move |rules| {
        let rules = rules.into_iter().enumerate();
        rules
            .map(|(index, (name, named, action, from, to, services, (stateless, log)))| {
                let name = if named { format!("{name}.{direction}.{index}") } else { format!("{direction}-{index}") };
                Rule { name, action, from, to, services, stateless, log }.into()
            })
            .collect()
    })
}

fn entries() -> impl Strategy<Value = Vec<Spanned<Entry>>> {
    let ports = prop::collection::btree_map(
        "[a-z]{1,8}",
        prop::collection::vec((prop::sample::select(vec![6_u8, 17, 132]), any::<u16>()), 1..3),
        0..3,
    );
    let entry = (
        namespace(),
        labels(),
        prop::option::of(name()),
        prop::option::of("spiffe://[a-z]{1,5}(/[a-z]{1,4}){0,2}"),
        prop::collection::vec(any::<IpAddr>(), 0..3),
        prop::collection::vec(mac(), 0..2),
        prop::collection::vec("[a-z0-9]{3,8}", 0..2),
        ports,
    );
    prop::collection::vec(entry, 0..4).prop_map(|entries| {
        let entries = entries.into_iter().enumerate();
        entries
            .map(|(index, (namespace, labels, service_account, spiffe_id, addresses, macs, interfaces, ports))| Entry {
                name: format!("entry-{index}"),
                namespace,
                labels,
                service_account,
                spiffe_id,
                addresses,
                macs,
                interfaces,
                ports: ports
                    .into_iter()
                    .flat_map(|(name, pairs)| {
                        pairs.into_iter().map(move |(protocol, port)| NamedPort { name: name.clone(), protocol, port })
                    })
                    .collect(),
            })
            .map(Spanned::from)
            .collect()
    })
}

fn default_action() -> impl Strategy<Value = DefaultAction> {
    any::<bool>().prop_map(|deny| if deny { DefaultAction::Deny } else { DefaultAction::Allow })
}

fn site() -> impl Strategy<Value = Site> {
    let interface =
        ("[a-z0-9]{3,8}\\*?", prop::option::of(any::<String>()), prop::collection::vec(any::<IpAddr>(), 0..2))
            .prop_map(|(name, role, addresses)| Interface { name, role, addresses, location: Location::default() });
    let of_subject =
        (subject(), default_action(), prop::option::of(default_action())).prop_map(|(subject, ingress, egress)| {
            SubjectDefault { subject, ingress: Some(ingress), egress, location: Location::default() }
        });
    let defaults = (
        default_action(),
        default_action(),
        default_action(),
        default_action(),
        prop::collection::vec(of_subject, 0..3),
    )
        .prop_map(|(ingress, egress, link_control, unparsed, subjects)| Defaults {
            ingress,
            egress,
            subjects,
            link_control,
            unparsed,
        });
    let failsafe = (prop::sample::select(vec![6_u8, 17, 33, 132, 136]), 1..=u16::MAX)
        .prop_map(|(protocol, port)| FailsafePort { protocol, port });
    (
        name(),
        prop::collection::vec(interface, 0..3),
        defaults,
        any::<bool>(),
        prop::collection::vec(failsafe, 0..4),
        any::<[u32; 4]>(),
        prop::array::uniform4(1..1_u32 << 26),
        health(),
        any::<bool>(),
    )
        .prop_map(
            |(
                name,
                interfaces,
                defaults,
                audit,
                failsafe,
                [denied_rate, denied_burst, allowed_rate, allowed_sample],
                [established, datagrams, opening, fragments],
                health,
                seal,
            )| Site {
                name,
                interfaces,
                defaults,
                mode: if audit { Mode::Audit } else { Mode::Enforce },
                failsafe,
                events: EventLimits { denied_rate, denied_burst, allowed_rate, allowed_sample },
                connections: ConnectionLimits { established, datagrams, opening, fragments },
                health,
                gatekeeper: Gatekeeper { seal },
                location: Location::default(),
            },
        )
}

fn health() -> impl Strategy<Value = Health> {
    let look = prop_oneof![
        Just(Look::Rule("plc/poll".into())),
        Just(Look::Rule("ns/plc/12".into())),
        any::<std::net::SocketAddrV4>().prop_map(|end| Look::Tcp(end.into())),
        any::<(std::net::Ipv6Addr, u16)>().prop_map(|end| Look::Tcp(end.into())),
    ];
    let seconds = |range: std::ops::Range<u64>| range.prop_map(std::time::Duration::from_secs);
    let probe = ("[a-z][a-z0-9]{0,8}", look, seconds(1..3_600));
    let probe = probe.prop_map(|(name, look, within)| HealthProbe { name, look, within });
    let drops = (1..1_000_000_u32, any::<u32>()).prop_map(|(times, above)| DropBound { times, above });
    (seconds(0..86_400), any::<bool>(), any::<bool>(), drops, prop::collection::vec(probe, 0..3)).prop_map(
        |(window, keep_on_death, inventory_in_place, drops, probes)| Health {
            window,
            keep_on_death,
            inventory_in_place,
            drops,
            probes,
        },
    )
}

/// A set that text can say, in the order in which it is read.
pub fn set() -> impl Strategy<Value = PolicySet> {
    let policy =
        (namespace(), subject(), prop::option::of(rules("ingress", false)), prop::option::of(rules("egress", false)));
    let cluster = (0..3_u32, any::<u32>(), subject(), rules("ingress", true), rules("egress", true));
    let inventory = (entries(), prop::collection::btree_map(namespace(), labels(), 0..2))
        .prop_map(|(entries, namespaces)| Inventory { entries, namespaces });
    (prop::collection::vec(policy, 0..3), prop::collection::vec(cluster, 0..3), inventory, prop::option::of(site()))
        .prop_map(|(policies, cluster_policies, inventory, site)| {
            let policies =
                policies.into_iter().enumerate().map(|(index, (namespace, subject, ingress, egress))| Policy {
                    name: format!("policy-{index}"),
                    namespace,
                    subject: subject.into(),
                    ingress,
                    egress,
                    location: Location::default(),
                });
            let tier = |number: u32| Tier {
                name: format!("tier-{number}"),
                stage: if number == 2 { Stage::Baseline } else { Stage::Admin },
                order: number * 10,
            };
            let cluster_policies =
                cluster_policies.into_iter().enumerate().map(|(index, (number, order, subject, ingress, egress))| {
                    ClusterPolicy {
                        name: format!("cluster-{index}"),
                        tier: tier(number),
                        order,
                        subject,
                        ingress,
                        egress,
                        location: Location::default(),
                    }
                });
            let mut set = PolicySet {
                policies: policies.collect(),
                cluster_policies: cluster_policies.collect(),
                inventory: inventory.into(),
                site,
            };
            set.sort();
            set
        })
}
