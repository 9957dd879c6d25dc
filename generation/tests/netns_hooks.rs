//! The hooks on a real interface: XDP of the driver on arrival, tcx or clsact (whichever this kernel has) on departure.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use aya::programs::links::{FdLink, PinnedLink};
use gabion_abi::verdict::Interface;
use gabion_generation::{EgressHook, InterfaceEntry, Node, Programs, Sizes, XdpWay};
use gabion_life::Pointers;
use gabion_policy_compile::{Compiled, Options, compile};
use gabion_policy_model::text::{Source, parse};
use gabion_testing_site::error::SiteError;
use gabion_testing_site::frame::{Station, Way, holds};
use gabion_testing_site::host::Host;
use gabion_testing_site::link::{Plug, cable};
use gabion_testing_site::wire::{Tap, Transmitter};
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// The interface that is guarded, and the one at the other end of its cable.
const GUARDED: &str = "n0.1";
const OUTSIDE: &str = "eth0";
/// How long a frame that is let through may take on a busy machine.
const ARRIVAL: Duration = Duration::from_secs(10);
/// Tells the second process of a test where to work.
const ROOT: &str = "GABION_TEST_ROOT";

/// Two namespaces with a cable between them, and a bpffs that goes with them.
struct Bench {
    outside: Host,
    node: Host,
    mount: PathBuf,
}

impl Bench {
    fn new(name: &str) -> Option<Self> {
        match Self::build(name) {
            Ok(bench) => return Some(bench),
            Err(error @ SiteError::Unable { .. }) => {
                assert!(std::env::var_os("GABION_REQUIRE_ROOT").is_none(), "demanded, and cannot run: {error}");
                println!("skipped: {error}");
            }
            Err(error) => panic!("the bench could not be built: {error}"),
        }
        None
    }

    fn build(name: &str) -> Result<Self, SiteError> {
        // One CPU: frames are then judged in the order in which they were sent.
        let mut one = nix::sched::CpuSet::new();
        one.set(0).unwrap();
        nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &one).unwrap();
        let (outside, node) = (Host::new("outside")?, Host::new("node")?);
        let mount = std::env::temp_dir().join(format!("gabion-hooks-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&mount).unwrap();
        let bench = Self { outside, node, mount };
        bench.node.mount_bpffs(&bench.mount)?;
        bench.cable();
        Ok(bench)
    }

    fn cable(&self) {
        let plug = |host, name| Plug { host, name, mac: None };
        cable(plug(&self.outside, OUTSIDE), plug(&self.node, GUARDED)).unwrap();
    }

    fn root(&self) -> PathBuf {
        self.mount.join("gabion")
    }

    fn entry(&self) -> InterfaceEntry {
        InterfaceEntry { ifindex: self.node.index(GUARDED).unwrap(), interface: Interface::default() }
    }

    /// Which of two ports can be reached, in both directions; `passes` must be one of them.
    fn hold(&self, passes: u16, refused: Option<u16>, context: &str) {
        for (from, to, sender, receiver, low) in
            [(&self.outside, &self.node, OUTSIDE, GUARDED, 1), (&self.node, &self.outside, GUARDED, OUTSIDE, 2)]
        {
            let tap = Tap::open(to, Some(receiver)).unwrap();
            let station = |low: u8| Station { mac: [2, 0, 0, 0, 0, low], address: [10, 0, 0, low].into() };
            let way = Way { from: station(low), to: station(3 - low) };
            let transmitter = Transmitter::open(from, sender).unwrap();
            let bad = tap.watch(|frame| holds(frame, b"the refused one"));
            let good = tap.watch(|frame| holds(frame, b"the passing one"));
            if let Some(refused) = refused {
                transmitter.send(&way.udp(700, refused, b"the refused one")).unwrap();
            }
            // It proves that what was sent before it was judged.
            transmitter.send(&way.udp(701, passes, b"the passing one")).unwrap();
            assert!(good.reaches(1, ARRIVAL), "{context}: port {passes} cannot be reached from {sender}");
            assert_eq!(bad.seen(), 0, "{context}: port {refused:?} can be reached from {sender}");
        }
    }

    /// Kinds of the qdiscs of the guarded interface.
    fn qdiscs(&self) -> Vec<String> {
        self.node.run(|| {
            let index = nix::net::if_::if_nametoindex(GUARDED).unwrap().cast_signed();
            let socket = Socket::new(NETLINK_ROUTE).unwrap();
            let mut request =
                NetlinkMessage::from(RouteNetlinkMessage::GetQueueDiscipline(TcMessage::with_index(index)));
            request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
            request.finalize();
            let mut bytes = vec![0; request.buffer_len()];
            request.serialize(&mut bytes);
            socket.send_to(&bytes, &SocketAddr::new(0, 0), 0).unwrap();
            let mut kinds = Vec::new();
            loop {
                let (answer, _) = socket.recv_from_full().unwrap();
                let mut rest = answer.as_slice();
                while !rest.is_empty() {
                    let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).unwrap();
                    rest = &rest[message.header.length as usize..];
                    match message.payload {
                        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewQueueDiscipline(qdisc)) => {
                            let kind = |attribute: &TcAttribute| match attribute {
                                TcAttribute::Kind(kind) => Some(kind.clone()),
                                _ => None,
                            };
                            // Kernels that do not filter a dump list those of all interfaces.
                            if qdisc.header.index == index {
                                kinds.extend(qdisc.attributes.iter().find_map(kind));
                            }
                        }
                        NetlinkPayload::Done(_) => return kinds,
                        other => panic!("{other:?}"),
                    }
                }
            }
        })
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // The mount itself goes with the namespace of the node.
        let _ = std::fs::remove_dir(&self.mount);
    }
}

/// UDP to one port passes, in both directions; all else is refused.
fn only(port: u16) -> Compiled {
    let text = format!(
        "apiVersion: gabion.dev/v1alpha1\nkind: ClusterPolicy\nmetadata: {{name: test}}\nspec:\n  \
         tier: {{name: test, order: 0}}\n  subject: any\n  \
         ingress:\n    - {{name: in, action: allow, stateless: true, \
         services: [{{protocol: udp, ports: {port}}}]}}\n    \
         - {{name: no, action: deny}}\n  \
         egress:\n    - {{name: out, action: allow, stateless: true, \
         services: [{{protocol: udp, ports: {port}}}]}}\n    \
         - {{name: none, action: deny}}\n"
    );
    compile(&parse(&[Source::new("test", text)]).unwrap(), &Options::default()).unwrap()
}

fn open(root: &Path) -> Node {
    Node::open(root, &Sizes::default(), Programs::parse().unwrap()).unwrap().0
}

/// The second process of the test below: it guards an interface and dies without a word.
#[test]
fn guards_and_dies() {
    let Some(root) = std::env::var_os(ROOT) else { return };
    let mut node = open(Path::new(&root));
    let ifindex = nix::net::if_::if_nametoindex(GUARDED).unwrap();
    let entry = InterfaceEntry { ifindex, interface: Interface::default() };
    let staged = node.stage(&only(5000), &[entry]).unwrap();
    node.commit(staged).unwrap();
    let attachment = node.attach(GUARDED, entry).unwrap();
    println!("{attachment:?}");
    assert_eq!(attachment.xdp, Some(XdpWay::Native));
    std::process::abort();
}

#[test]
fn hooks_outlive_their_process_are_adopted_swapped_and_leave_nothing() {
    let Some(bench) = Bench::new("life") else { return };
    let before = bench.qdiscs();
    bench.hold(5000, None, "unguarded");
    bench.hold(5001, None, "unguarded");

    let mut agent = Command::new(std::env::current_exe().unwrap());
    agent.args(["--exact", "guards_and_dies", "--nocapture"]).env(ROOT, bench.root());
    let died = bench.node.start(agent).unwrap().wait().unwrap();
    assert!(!died.success() && died.code().is_none(), "{died}");
    bench.hold(5000, Some(5001), "nobody there");

    bench.node.run(|| {
        let (mut node, adopted) = Node::open(&bench.root(), &Sizes::default(), Programs::parse().unwrap()).unwrap();
        assert_eq!((adopted.running, adopted.attachments.len()), (Some(1), 1));
        assert_eq!(adopted.attachments[0].xdp, Some(XdpWay::Native));
        let clsact = adopted.attachments[0].egress == Some(EgressHook::Clsact);
        assert_eq!(bench.qdiscs().contains(&"clsact".to_owned()), clsact);
        bench.hold(5000, Some(5001), "adopted");
        let staged = node.stage(&only(5001), &[bench.entry()]).unwrap();
        node.commit(staged).unwrap();
        bench.hold(5001, Some(5000), "swapped");
        node.detach(GUARDED).unwrap();
        bench.hold(5000, None, "detached");
        bench.hold(5001, None, "detached");
        assert_eq!(bench.qdiscs(), before, "left behind");
        node.attach(GUARDED, bench.entry()).unwrap();
        bench.hold(5001, Some(5000), "attached again");
        node.detach_all().unwrap();
    });
    bench.hold(5000, None, "all detached");
    assert_eq!(bench.qdiscs(), before, "left behind");
}

#[test]
fn an_interface_made_anew_while_nobody_looked_is_guarded_by_the_next_start() {
    let Some(bench) = Bench::new("anew") else { return };
    bench.node.run(|| {
        let mut node = open(&bench.root());
        let staged = node.stage(&only(5000), &[bench.entry()]).unwrap();
        node.commit(staged).unwrap();
        node.attach(GUARDED, bench.entry()).unwrap();
    });
    bench.node.unplug(GUARDED).unwrap();
    bench.cable();
    bench.hold(5001, None, "made anew");
    bench.node.run(|| {
        let mut node = open(&bench.root());
        let staged = node.stage(&only(5000), &[bench.entry()]).unwrap();
        node.commit(staged).unwrap();
        node.attach(GUARDED, bench.entry()).unwrap();
        bench.hold(5000, Some(5001), "guarded again");
        node.detach_all().unwrap();
    });
}

/// A generation for each interface, and a swap of several as a whole or not at all.
#[test]
fn one_interface_runs_ahead_and_a_swap_is_undone_as_a_whole() {
    const SECOND: &str = "n0.2";
    let Some(bench) = Bench::new("ahead") else { return };
    let plug = |host, name| Plug { host, name, mac: None };
    cable(plug(&bench.outside, "eth1"), plug(&bench.node, SECOND)).unwrap();
    let second = InterfaceEntry { ifindex: bench.node.index(SECOND).unwrap(), interface: Interface::default() };
    let entries = [bench.entry(), second];
    bench.node.run(|| {
        let mut node = open(&bench.root());
        let staged = node.stage(&only(5000), &entries).unwrap();
        node.commit(staged).unwrap();
        node.attach(GUARDED, entries[0]).unwrap();
        node.attach(SECOND, entries[1]).unwrap();
        let staged = node.stage(&only(5001), &entries).unwrap();
        node.keep(staged);
        bench.hold(5000, Some(5001), "staged");
        let ahead = Pointers { all: Some(1), ahead: BTreeMap::from([(GUARDED.to_owned(), 2)]) };
        node.point(&ahead).unwrap();
        node.prune(&ahead.numbers().collect()).unwrap();
        bench.hold(5001, Some(5000), "ahead");
        assert_eq!(runs(&node, &bench, SECOND), 1);

        // The second of two interfaces refuses: what is pinned there is no link.
        let (pin, aside) = (bench.root().join("links/n0%2E2-xdp"), bench.root().join("aside"));
        std::fs::rename(&pin, &aside).unwrap();
        std::fs::create_dir(&pin).unwrap();
        let staged = node.stage(&only(5002), &entries).unwrap();
        node.keep(staged);
        node.point(&Pointers::all(3)).unwrap_err();
        bench.hold(5001, Some(5002), "undone");
        std::fs::remove_dir(&pin).unwrap();
        std::fs::rename(&aside, &pin).unwrap();
        node.point(&Pointers::all(3)).unwrap();
        assert_eq!(node.prune(&BTreeSet::from([3])).unwrap().len(), 2);
        bench.hold(5002, Some(5001), "all of them");
        assert_eq!(runs(&node, &bench, SECOND), 3);
        node.detach_all().unwrap();
    });
}

/// The generation whose ingress program an interface runs.
fn runs(node: &Node, bench: &Bench, interface: &str) -> u32 {
    let pin = bench.root().join(format!("links/{}-xdp", interface.replace('.', "%2E")));
    let id = FdLink::from(PinnedLink::from_pin(pin).unwrap()).info().unwrap().program_id();
    let of = |number: &u32| node.generation(*number).is_some_and(|it| it.programs().unwrap()[0].id() == id);
    (1..=3).find(of).unwrap()
}

#[test]
fn links_whose_interface_is_gone_are_orphans_and_those_of_others_are_not() {
    let Some(bench) = Bench::new("orphan") else { return };
    let found = || {
        let found = bench.node.run(|| gabion_generation::survey().unwrap());
        let below = |orphan: &&gabion_generation::Orphan| orphan.pins.iter().any(|pin| pin.starts_with(&bench.mount));
        found.orphans.iter().filter(below).cloned().collect::<Vec<_>>()
    };
    bench.node.run(|| {
        let mut node = open(&bench.root());
        let staged = node.stage(&only(5000), &[bench.entry()]).unwrap();
        node.commit(staged).unwrap();
        node.attach(GUARDED, bench.entry()).unwrap();
    });
    assert_eq!(found(), [], "a hook runs it, whether its agent lives or not");
    bench.node.unplug(GUARDED).unwrap();
    let left = found();
    let link = left.iter().find(|orphan| orphan.kind == gabion_generation::Kind::Link).unwrap();
    assert!(link.name.starts_with("n0%2E1-"), "{link:?}");
    assert_eq!(link.why, "its interface is gone");
    assert!(left.iter().any(|orphan| orphan.kind == gabion_generation::Kind::Folder), "{left:?}");
    bench.node.run(|| open(&bench.root()).detach_all().unwrap());
    assert_eq!(found(), []);
}
