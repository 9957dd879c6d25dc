//! Each kind of rule, on real interfaces: what it names passes, its neighbour does not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use gabion_testing_netns::End::{self, Client, Node, Server};
use gabion_testing_netns::{Bench, CLIENT_MAC, NODE_C0_MAC, PORT, Probe, Site, addresses, rules, way};
use gabion_testing_site::frame::{Station, ether_type, ethernet, tagged, tcp_flag};
use gabion_testing_site::link::Prefix;

/// Documents, and what passes under them.
struct Case {
    documents: String,
    passes: Vec<Probe>,
    refused: Vec<Probe>,
}

/// Shows that all of it arrives without an agent, then compares under each case's documents.
fn compare(site: &Site, cases: &[Case]) {
    let Some(bench) = Bench::new() else { return };
    for case in cases {
        bench.baseline(&case.passes.iter().chain(&case.refused).collect::<Vec<_>>());
    }
    let Some(agent) = bench.guard_with(site, "") else { return };
    for case in cases {
        bench.apply_with(&agent, site, &case.documents);
        let passes = case.passes.iter().map(|probe| (probe, true));
        let refused = case.refused.iter().map(|probe| (probe, false));
        bench.verify(&passes.chain(refused).collect::<Vec<_>>());
    }
}

/// An ingress rule that allows a service from anyone.
fn service(text: &str) -> String {
    rules(&[&format!("{{name: r, action: allow, stateless: true, services: [{text}]}}")], &[])
}

/// The same asked of both ends: by whoever may send, too.
fn both_ways(text: &str) -> String {
    let rule = format!("{{name: r, action: allow, stateless: true, services: [{text}]}}");
    rules(&[&rule], &[&rule])
}

const INVENTORY: &str = "\
apiVersion: gabion.dev/v1alpha1
kind: Inventory
metadata: {name: bench}
spec:
  entries:
    - {name: client, labels: {role: client, tier: gold}, serviceAccount: poller, spiffeId: \"spiffe://bench/client/1\", addresses: [10.1.0.2, \"fd01::2\"]}
    - {name: server, labels: {role: server}, addresses: [10.2.0.2, \"fd02::2\"],
       ports: {control: tcp/502, stats: [udp/600, tcp/601]}}
";

#[test]
fn ports_and_protocols() {
    let mut cases = Vec::new();
    for (from, to) in [(Client, Server), (Server, Client), (Client, Node)] {
        for six in [false, true] {
            let syn = |source, port| Probe::tcp(from, to, six, source, port, tcp_flag::SYN);
            let udp = |source, port| Probe::udp(from, to, six, source, port);
            cases.push(Case {
                documents: service("{protocol: tcp, ports: [502, 8000-8010]}"),
                passes: vec![syn(1000, 502), syn(1001, 8000), syn(1002, 8010)],
                refused: vec![syn(1003, 501), syn(1004, 503), syn(1005, 7999), syn(1006, 8011), udp(1007, 502)],
            });
            cases.push(Case {
                documents: service("{protocol: udp, sourcePorts: 1024-2047}"),
                passes: vec![udp(1024, 5), udp(2047, 50_000)],
                refused: vec![udp(1023, 5), udp(2048, 5), syn(1500, 5)],
            });
            cases.push(Case {
                documents: service("{protocol: [vrrp, esp, 99]}"),
                passes: [112, 50, 99].map(|number| Probe::protocol(from, to, six, number)).into(),
                refused: vec![Probe::protocol(from, to, six, 47), udp(3000, 5)],
            });
            cases.push(Case {
                documents: service("{protocol: tcp, tcpFlags: \"syn,!ack\"}"),
                passes: vec![syn(4000, 80)],
                refused: vec![
                    Probe::tcp(from, to, six, 4001, 80, tcp_flag::SYN | tcp_flag::ACK),
                    Probe::tcp(from, to, six, 4002, 80, tcp_flag::ACK),
                ],
            });
        }
    }
    compare(&Site::default(), &cases);
}

#[test]
fn icmp_type_and_code() {
    let mut cases = Vec::new();
    for (from, to) in [(Client, Server), (Server, Node)] {
        let icmp = |six, kind, code| Probe::icmp(from, to, six, kind, code);
        // A rule for type 8 is not one for all of ICMP, and a code is looked at.
        cases.push(Case {
            documents: service("{protocol: icmp, icmp: [8/0, 13]}"),
            passes: vec![icmp(false, 8, 0), icmp(false, 13, 0), icmp(false, 13, 9)],
            refused: vec![icmp(false, 8, 1), icmp(false, 0, 0), icmp(false, 15, 0), icmp(true, 128, 0)],
        });
        cases.push(Case {
            documents: service("{protocol: icmpv6, icmp: 128/0}"),
            passes: vec![icmp(true, 128, 0)],
            refused: vec![icmp(true, 129, 0), icmp(true, 128, 1), icmp(false, 8, 0)],
        });
    }
    compare(&Site::default(), &cases);
}

#[test]
fn subjects_of_every_kind() {
    let mut cases = Vec::new();
    for six in [false, true] {
        let there = || Probe::udp(Client, Server, six, 700, 701);
        let back = || Probe::udp(Server, Client, six, 700, 701);
        let (mine, other) = if six { ("fd01::/64", "fd01::2/128") } else { ("10.1.0.0/24", "10.1.0.2/32") };
        let from = |subject: &str| {
            let rule = format!("{{name: r, action: allow, stateless: true, from: [{subject}]}}");
            format!("{INVENTORY}---\n{}", rules(&[&rule], &[]))
        };
        for subject in [
            &format!("{{cidr: \"{mine}\"}}"),
            "{labels: {role: client}}",
            "{matchExpressions: [{key: tier, operator: In, values: [gold, silver]}]}",
            "{serviceAccount: poller}",
            "{spiffeId: \"spiffe://bench/client/*\"}",
            "{mac: \"02:00:00:00:01:02\"}",
            "{interface: c0}",
        ] {
            cases.push(Case { documents: from(subject), passes: vec![there()], refused: vec![back()] });
        }
        for subject in [
            &format!("{{cidr: \"{mine}\", except: [\"{other}\"]}}"),
            "{spiffeId: \"spiffe://bench/clien/*\"}",
            "{mac: \"02:00:00:00:01:03\"}",
            "{labels: {role: client, tier: silver}}",
        ] {
            cases.push(Case { documents: from(subject), passes: vec![], refused: vec![there(), back()] });
        }
    }
    compare(&Site::default(), &cases);
}

#[test]
fn named_ports_belong_to_the_destination() {
    let mut cases = Vec::new();
    for six in [false, true] {
        let syn = |port| Probe::tcp(Client, Server, six, 900, port, tcp_flag::SYN);
        cases.push(Case {
            documents: format!("{INVENTORY}---\n{}", service("{ports: control}, {ports: stats, protocol: udp}")),
            passes: vec![syn(502), Probe::udp(Client, Server, six, 901, 600)],
            refused: vec![
                syn(601),
                syn(503),
                Probe::udp(Client, Server, six, 902, 502),
                // The client gives these ports no name.
                Probe::tcp(Server, Client, six, 903, 502, tcp_flag::SYN),
            ],
        });
    }
    compare(&Site::default(), &cases);
}

#[test]
fn deny_pass_audit_and_order() {
    let udp = |port| Probe::udp(Client, Server, false, 800, port);
    let tier = |name: &str, order: u32, stage: &str, rules: &[&str]| {
        let rules: String = rules.iter().map(|rule| format!("    - {rule}\n")).collect();
        format!(
            "apiVersion: gabion.dev/v1alpha1\nkind: ClusterPolicy\nmetadata: {{name: {name}}}\nspec:\n  \
             tier: {{name: {name}, order: {order}, stage: {stage}}}\n  subject: any\n  ingress:\n{rules}"
        )
    };
    let policy = "\
apiVersion: gabion.dev/v1alpha1
kind: Policy
metadata: {name: server}
spec:
  subject: {labels: {role: server}}
  ingress:
    - {name: some, services: [{protocol: udp, ports: 1000-1009}]}
    - {name: not-this, action: deny, services: [{protocol: udp, ports: 1005}]}
";
    compare(
        &Site::default(),
        &[
            Case {
                documents: rules(
                    &[
                        "{name: first, action: deny, services: [{protocol: udp, ports: 1001}]}",
                        "{name: watch, action: audit, services: [{protocol: udp, ports: 1002}]}",
                        "{name: rest, action: allow, services: [{protocol: udp, ports: 1000-1002}]}",
                    ],
                    &[],
                ),
                passes: vec![udp(1000), udp(1002)],
                refused: vec![udp(1001), udp(1003)],
            },
            Case {
                documents: [
                    tier(
                        "one",
                        1,
                        "admin",
                        &[
                            "{name: next, action: pass, services: [{protocol: udp, ports: 1000-1006}]}",
                            "{name: no, action: deny, services: [{protocol: udp, ports: 1000-1009}]}",
                        ],
                    ),
                    tier("two", 2, "admin", &["{name: no, action: deny, services: [{protocol: udp, ports: 1001}]}"]),
                    tier("last", 1, "baseline", &["{name: all, action: allow}"]),
                    policy.to_owned(),
                    INVENTORY.to_owned(),
                ]
                .join("---\n"),
                // 1007 is denied before the Policy is asked; 1005 by it; the baseline is for the others only.
                passes: vec![udp(1000), udp(1006), Probe::udp(Server, Client, false, 800, 2000)],
                refused: vec![udp(1001), udp(1005), udp(1007), udp(2000)],
            },
        ],
    );
}

#[test]
fn egress_rules_bind_the_sender_and_the_node_itself() {
    let site = Site { ingress: "allow", egress: "deny", ..Site::default() };
    let mut cases = Vec::new();
    for six in [false, true] {
        for (from, to) in [(Client, Server), (Server, Client), (Node, Client), (Node, Server)] {
            let udp = |port| Probe::udp(from, to, six, 1100, port);
            cases.push(Case {
                documents: rules(&[], &["{name: r, action: allow, services: [{protocol: udp, ports: 77}]}"]),
                passes: vec![udp(77)],
                refused: vec![udp(78)],
            });
        }
        // For a packet to the node itself the sender's egress is not asked.
        cases.push(Case {
            documents: String::new(),
            passes: vec![Probe::udp(Client, Node, six, 1101, 78)],
            refused: vec![Probe::udp(Client, Server, six, 1101, 78)],
        });
    }
    compare(&site, &cases);
}

/// A message of a neighbour discovery type, with a hop limit and to another address than the way's if need be.
fn discovery(from: End, to: End, kind: u8, code: u8, hop_limit: u8, destination: Option<&str>) -> Probe {
    let mut way = way(from, to, true);
    if let Some(address) = destination {
        way.to.address = address.parse().unwrap();
    }
    let what = format!("ICMPv6 {kind}/{code} hop limit {hop_limit} to {}, {from:?} to {to:?}", way.to.address);
    Probe::new(what, from, to, move |mark| {
        // The target, and what an option could smuggle.
        let target = "fd02::2".parse::<std::net::Ipv6Addr>().unwrap().octets();
        let mut frame = way.icmp(kind, code, [0; 4], &[&target, mark].concat());
        frame[14 + 7] = hop_limit;
        vec![frame]
    })
}

#[test]
fn neighbour_discovery_is_no_way_through() {
    let site = Site { ingress: "deny", egress: "deny", ..Site::default() };
    let mut through = Vec::new();
    for (from, to) in [(Client, Server), (Server, Client)] {
        for kind in 133..=137 {
            through.push(discovery(from, to, kind, 0, 255, None));
        }
        through.push(discovery(from, to, 135, 0, 64, None));
        through.push(discovery(from, to, 136, 1, 255, None));
    }
    let mut of_link = Vec::new();
    for kind in [135, 136] {
        // Known neighbours are probed at the address that they are known by.
        of_link.push(discovery(Client, Node, kind, 0, 255, None));
        of_link.push(discovery(Node, Client, kind, 0, 255, None));
        of_link.push(discovery(Node, Server, kind, 0, 255, None));
        for destination in ["fe80::1", "ff02::1", "ff02::1:ff00:1"] {
            of_link.push(discovery(Client, Node, kind, 0, 255, Some(destination)));
        }
    }
    let wrong = || {
        vec![
            discovery(Client, Node, 135, 0, 254, None),
            discovery(Client, Node, 136, 1, 255, None),
            discovery(Client, Node, 135, 0, 64, Some("ff02::1:ff00:1")),
            discovery(Client, Node, 135, 0, 255, Some("ff05::1")),
        ]
    };
    let named = "{name: r, action: allow, stateless: true, services: [{icmp: neighbour-solicitation}]}";
    compare(
        &site,
        &[
            Case { documents: String::new(), passes: of_link, refused: through.into_iter().chain(wrong()).collect() },
            // A rule that names it lets it go further, where somebody wants that.
            Case {
                documents: rules(&[named], &[named]),
                passes: vec![discovery(Client, Server, 135, 0, 255, None), discovery(Client, Node, 135, 0, 64, None)],
                refused: vec![discovery(Client, Server, 136, 0, 255, None)],
            },
        ],
    );
}

/// Under a policy that lets pings through and nothing else, hosts that nobody has heard of yet are found.
#[test]
fn neighbours_are_found_where_everything_else_is_refused() {
    let Some(bench) = Bench::new() else { return };
    let site = Site { ingress: "deny", egress: "deny", ..Site::default() };
    let ping = "{name: ping, action: allow, services: [{icmp: echo-request}]}";
    let Some(_agent) = bench.guard_with(&site, &rules(&[ping], &[ping])) else { return };
    let [mut new_client, _, _, mut new_server] = addresses(true);
    for (host, address, text) in
        [(&bench.client, &mut new_client, "fd01::22"), (&bench.server, &mut new_server, "fd02::22")]
    {
        *address = text.parse().unwrap();
        host.address(PORT, Prefix { address: *address, length: 64 }).unwrap();
    }
    // The node has to find the server's new address for the request and the client's for the reply.
    let mut request = way(Client, Server, true);
    request.from = Station { address: new_client, ..request.from };
    request.to = Station { address: new_server, ..request.to };
    let mark = bench.mark();
    let frame = request.echo(42, &mark);
    let heard = bench.reaching(Client, &mark, 1, || bench.transmitter(Client, Server).send(&frame).unwrap());
    assert_eq!(heard, 1, "the server's echo reply\n{}", bench.place.log());
}

#[test]
fn frames_without_ip() {
    let frame = |kind: u16| {
        Probe::new(format!("EtherType {kind:#06x}"), Client, Node, move |mark| {
            vec![ethernet(NODE_C0_MAC, CLIENT_MAC, kind, mark)]
        })
    };
    let goose = || frame(ether_type::GOOSE);
    let from_stranger = Probe::new("GOOSE of a stranger", Client, Node, |mark| {
        vec![ethernet(NODE_C0_MAC, [2, 0, 0, 0, 9, 9], ether_type::GOOSE, mark)]
    });
    let rule =
        "{name: r, action: allow, from: [{mac: \"02:00:00:00:01:02\"}], services: [{etherType: [goose, 0x8892]}]}";
    compare(
        &Site::default(),
        &[
            Case {
                documents: rules(&[rule], &[]),
                passes: vec![goose(), frame(0x8892)],
                refused: vec![frame(0x88ba), frame(0x88cc), from_stranger],
            },
            Case { documents: String::new(), passes: vec![], refused: vec![goose()] },
        ],
    );
}

#[test]
fn tags_inside_the_frame() {
    const Q: u16 = ether_type::VLAN;
    const AD: u16 = ether_type::QINQ;
    let mut cases = Vec::new();
    for six in [false, true] {
        let with = |what: &str, tags: &'static [(u16, u16)]| {
            let way = way(Client, Node, six);
            let what = format!("{what}, IPv6 {six}");
            Probe::new(what, Client, Node, move |mark| vec![tagged(&way.udp(1, 2, mark), tags)])
        };
        let plain = || with("untagged", &[]);
        let ten = || with("VLAN 10", &[(Q, 10)]);
        let stacked = || with("VLAN 10 in 200", &[(AD, 200), (Q, 10)]);
        let three = || with("three tags", &[(AD, 200), (Q, 10), (Q, 11)]);
        cases.extend([
            Case {
                documents: service("{vlan: 10}"),
                passes: vec![ten()],
                refused: vec![plain(), stacked(), with("VLAN 11", &[(Q, 11)])],
            },
            Case {
                documents: service("{vlan: untagged}"),
                passes: vec![plain()],
                refused: vec![ten(), stacked(), with("priority tag", &[(Q, 0)])],
            },
            Case {
                documents: service("{vlan: 200, innerVlan: 10}"),
                passes: vec![stacked()],
                refused: vec![ten(), with("VLAN 200", &[(AD, 200)])],
            },
            // A tag does not hide what is behind it.
            Case {
                documents: service("{protocol: udp, ports: 2}"),
                passes: vec![plain(), ten(), stacked()],
                refused: vec![three()],
            },
            // Nobody knows whom a third tag hides, so that both ends are asked, as of a forwarded packet.
            Case {
                documents: both_ways("{unparsed: vlan-depth}"),
                passes: vec![three()],
                refused: vec![plain(), ten()],
            },
        ]);
    }
    compare(&Site::default(), &cases);
}

#[test]
fn what_cannot_be_parsed_is_refused_unless_named() {
    let bad = |what: &'static str, at: usize, octet: u8| {
        let way = way(Client, Node, false);
        Probe::new(what, Client, Node, move |mark| {
            let mut frame = way.udp(1, 2, mark);
            frame[at] = octet;
            vec![frame]
        })
    };
    let (short, long) = (|| bad("IHL of four words", 14, 0x44), || bad("total length beyond the frame", 16, 0x7f));
    compare(
        &Site { ingress: "allow", ..Site::default() },
        &[
            Case {
                documents: rules(&["{name: all, action: allow}"], &[]),
                passes: vec![],
                refused: vec![short(), long()],
            },
            Case { documents: service("{unparsed: network-malformed}"), passes: vec![short()], refused: vec![] },
            Case { documents: service("{unparsed: any}"), passes: vec![short(), long()], refused: vec![] },
        ],
    );
}
