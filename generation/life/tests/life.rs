//! Whatever happens, and whenever the agent dies: hooks run one generation that was decided for them.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};

use gabion_life::{Arrow, Change, Effect, Event, Life, OnDeath, Refusal, Step};
use proptest::prelude::*;

const PORTS: [&str; 3] = ["eth0", "eth1", "eth2"];

/// What survives an agent: its disk, and the kernel.
#[derive(Default)]
struct Node {
    disk: Life,
    journal: Vec<Arrow>,
    loaded: BTreeSet<u32>,
    hooks: BTreeMap<&'static str, u32>,
}

/// Where the agent dies, if it does: after so many steps.
struct Fuse(Option<usize>);

impl Fuse {
    fn burns(&mut self) -> bool {
        let Some(left) = &mut self.0 else { return false };
        *left = left.saturating_sub(1);
        *left == 0
    }
}

#[derive(Debug)]
struct Died;

/// What goes wrong in the kernel.
#[derive(Clone, Copy, Debug, Default)]
struct Refusals {
    load: bool,
    probe: bool,
    swap: bool,
}

impl Node {
    /// Does what an event comes to, as an agent does it.
    fn drive(&mut self, event: Event, refusals: Refusals, fuse: &mut Fuse) -> Result<Result<(), Refusal>, Died> {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let decision = match self.disk.take(event) {
                Ok(decision) => decision,
                Err(refusal) => return Ok(Err(refusal)),
            };
            if fuse.burns() {
                return Err(Died);
            }
            self.disk = decision.life;
            self.journal.extend(decision.arrows);
            for effect in decision.effects {
                if fuse.burns() {
                    return Err(Died);
                }
                events.extend(self.perform(effect, refusals, fuse)?);
            }
        }
        Ok(Ok(()))
    }

    fn perform(&mut self, effect: Effect, refusals: Refusals, fuse: &mut Fuse) -> Result<Option<Event>, Died> {
        let failed = |why: &str| Some(Event::Failed { why: why.into() });
        Ok(match effect {
            Effect::Load if refusals.load => failed("the verifier says no"),
            Effect::Load => {
                self.loaded.insert(self.disk.making.as_ref().unwrap().number);
                Some(Event::Loaded)
            }
            Effect::Probe if refusals.probe => failed("a golden packet"),
            Effect::Probe => Some(Event::Probed),
            Effect::Point => {
                let wanted = self.disk.wanted();
                let before = self.hooks.clone();
                for (nth, port) in PORTS.into_iter().enumerate() {
                    if fuse.burns() {
                        return Err(Died);
                    }
                    let Some(number) = wanted.of(port) else { continue };
                    assert!(self.loaded.contains(&number), "{port} is to run {number}, which is not loaded");
                    if refusals.swap && nth == 1 && self.disk.live.is_some() {
                        self.hooks = before;
                        return Ok(failed("the driver says no"));
                    }
                    self.hooks.insert(port, number);
                }
                self.disk.live.is_some().then_some(Event::Swapped)
            }
            Effect::Prune => {
                let kept = self.disk.kept();
                self.loaded.retain(|number| kept.contains(number));
                None
            }
            Effect::Watch => None,
        })
    }

    fn start(&mut self) {
        let running = self.hooks.values().copied().max();
        let there = self.loaded.clone();
        let last_number = there.last().copied().unwrap_or(0);
        let event = Event::Started { there, running, last_number };
        self.drive(event, Refusals::default(), &mut Fuse(None)).unwrap().unwrap();
    }

    fn reboot(&mut self) {
        self.loaded.clear();
        self.hooks.clear();
    }

    /// What holds whenever nothing is under way.
    fn check(&self) {
        let wanted = self.disk.wanted();
        for port in PORTS {
            assert_eq!(self.hooks.get(port).copied(), wanted.of(port), "{port} of {:?}", self.disk);
        }
        assert_eq!(self.loaded, self.disk.kept(), "what is loaded is what something refers to");
        assert!(self.disk.making.is_none());
    }

    /// Arrows of one generation follow one another.
    fn check_journal(&self) {
        let mut at: BTreeMap<u32, Step> = BTreeMap::new();
        for arrow in &self.journal {
            assert_eq!(arrow.from, at.get(&arrow.number).copied(), "{arrow:?}");
            let order = arrow.from.is_none_or(|from| from < arrow.to) || arrow.from == Some(Step::Live);
            assert!(order, "{arrow:?}");
            at.insert(arrow.number, arrow.to);
        }
    }
}

fn change(digest: &str, window_ms: u64) -> Change {
    Change {
        digest: digest.into(),
        origin: "files".into(),
        vouched: "root".into(),
        window_ms,
        only: BTreeSet::new(),
        on_death: OnDeath::RollBack,
        insisted: false,
    }
}

fn run(node: &mut Node, event: Event) -> Result<(), Refusal> {
    let outcome = node.drive(event, Refusals::default(), &mut Fuse(None)).unwrap();
    node.check();
    node.check_journal();
    outcome
}

/// A node with generation 1 committed.
fn begun() -> Node {
    let mut node = Node::default();
    run(&mut node, Event::Wanted(change("a", 30_000))).unwrap();
    assert_eq!(node.disk.committed.all, Some(1), "the first has nothing to go back to, and is not watched");
    node
}

#[test]
fn a_window_ends_in_a_commit_or_in_what_was_before() {
    let mut node = begun();
    run(&mut node, Event::Wanted(change("b", 30_000))).unwrap();
    assert_eq!((node.disk.wanted().all, node.disk.committed.all), (Some(2), Some(1)));
    assert_eq!(node.loaded, BTreeSet::from([1, 2]), "what it would go back to stays loaded");
    run(&mut node, Event::WindowOver).unwrap();
    assert_eq!(node.loaded, BTreeSet::from([2]));

    run(&mut node, Event::Wanted(change("c", 30_000))).unwrap();
    run(&mut node, Event::Worse { why: "drops".into() }).unwrap();
    assert_eq!((node.disk.wanted().all, node.loaded.len()), (Some(2), 1));
    let refusal = run(&mut node, Event::Wanted(change("c", 30_000))).unwrap_err();
    assert_eq!(refusal, Refusal::Condemned { number: 3, why: "drops".into() });
    run(&mut node, Event::Wanted(Change { insisted: true, ..change("c", 0) })).unwrap();
    assert!(node.disk.condemned.is_empty(), "it was committed after all");
}

#[test]
fn the_last_of_several_edits_is_what_is_watched_and_all_of_them_are_what_is_undone() {
    let mut node = begun();
    run(&mut node, Event::Wanted(change("b", 30_000))).unwrap();
    run(&mut node, Event::Wanted(change("c", 30_000))).unwrap();
    assert_eq!(node.loaded, BTreeSet::from([1, 3]));
    assert!(
        node.drive(Event::Wanted(change("d", 30_000)), Refusals { load: true, ..Default::default() }, &mut Fuse(None))
            .unwrap()
            .is_ok()
    );
    node.check();
    assert_eq!(node.disk.wanted().all, Some(3), "a change that came to nothing does not end the trial of another");
    run(&mut node, Event::RollBack { why: "an operator".into() }).unwrap();
    assert_eq!(node.disk.wanted().all, Some(1));
    assert!(matches!(run(&mut node, Event::RollBack { why: String::new() }), Err(Refusal::NothingOnTrial { .. })));
}

#[test]
fn one_port_runs_ahead_until_all_follow() {
    let mut node = begun();
    let only = BTreeSet::from(["eth1".to_owned()]);
    run(&mut node, Event::Wanted(Change { only: only.clone(), ..change("b", 30_000) })).unwrap();
    assert_eq!(node.hooks, BTreeMap::from([("eth0", 1), ("eth1", 2), ("eth2", 1)]));
    run(&mut node, Event::WindowOver).unwrap();
    assert_eq!(node.loaded, BTreeSet::from([1, 2]));
    run(&mut node, Event::Wanted(Change { only, ..change("c", 30_000) })).unwrap();
    run(&mut node, Event::Worse { why: "drops".into() }).unwrap();
    assert_eq!(node.hooks["eth1"], 2, "it goes back to what this port ran");
    run(&mut node, Event::Wanted(change("d", 0))).unwrap();
    assert_eq!((node.hooks["eth1"], node.loaded.len()), (4, 1));
    let mut fresh = Node::default();
    let ahead = Change { only: BTreeSet::from(["eth1".to_owned()]), ..change("a", 0) };
    assert_eq!(run(&mut fresh, Event::Wanted(ahead)), Err(Refusal::NothingCommitted));
}

#[test]
fn what_is_pinned_stays() {
    let mut node = begun();
    run(&mut node, Event::Pin(Some("harvest".into()))).unwrap();
    assert!(run(&mut node, Event::Wanted(change("b", 0))).unwrap_err().to_string().contains("harvest"));
    run(&mut node, Event::Pin(None)).unwrap();
    run(&mut node, Event::Wanted(change("b", 0))).unwrap();
}

#[test]
fn a_state_folder_that_was_lost_does_not_open_the_node() {
    let mut node = begun();
    run(&mut node, Event::Wanted(change("b", 30_000))).unwrap();
    node.disk = Life::default();
    node.journal.clear();
    node.start();
    node.check();
    assert_eq!(node.disk.committed.all, Some(2), "the newest that runs");
    run(&mut node, Event::Wanted(change("c", 0))).unwrap();
    assert_eq!(node.disk.committed.all, Some(3), "numbers go on");
}

#[test]
fn an_agents_death_in_the_window_is_a_reason_to_go_back_unless_said_otherwise() {
    for (on_death, expected) in [(OnDeath::RollBack, 1), (OnDeath::Keep, 2)] {
        let mut node = begun();
        run(&mut node, Event::Wanted(Change { on_death, ..change("b", 30_000) })).unwrap();
        node.start();
        node.check();
        node.check_journal();
        assert_eq!(node.disk.wanted().all, Some(expected));
        assert_eq!(node.disk.condemned("b").is_some(), on_death == OnDeath::RollBack);
    }
}

fn an_event() -> impl Strategy<Value = Event> {
    let only = proptest::collection::btree_set(prop::sample::select(&PORTS[..]).prop_map(str::to_owned), 0..2);
    let wanted = ("[a-e]", prop::sample::select(vec![0u64, 30_000]), only, any::<bool>(), any::<bool>());
    let wanted = wanted.prop_map(|(digest, window_ms, only, keep, insisted)| {
        let on_death = if keep { OnDeath::Keep } else { OnDeath::RollBack };
        Event::Wanted(Change { only, on_death, insisted, ..change(&digest, window_ms) })
    });
    prop_oneof![
        6 => wanted,
        2 => Just(Event::WindowOver),
        2 => Just(Event::Worse { why: "drops".into() }),
        1 => Just(Event::RollBack { why: "an operator".into() }),
        1 => Just(Event::Commit),
        1 => Just(Event::Stopping),
        1 => Just(Event::Pin(Some("p".into()))),
        2 => Just(Event::Pin(None)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn whatever_happens_hooks_run_what_was_decided(
        steps in proptest::collection::vec(
            (an_event(), any::<[bool; 3]>(), proptest::option::of(1usize..20), 0u8..10),
            1..30,
        ),
    ) {
        let mut node = Node::default();
        for (event, [load, probe, swap], fuse, reboot) in steps {
            let before = (node.disk.wanted(), node.disk.committed.clone());
            // Most of the time nothing is refused.
            let refusals = Refusals { load: load && reboot > 6, probe: probe && reboot > 6, swap: swap && reboot > 6 };
            let died = node.drive(event, refusals, &mut Fuse(fuse)).is_err();
            if died {
                let rebooted = reboot == 0;
                if rebooted {
                    node.reboot();
                }
                node.start();
                let (after, disk) = (node.disk.wanted(), &node.disk);
                let decided = after == disk.committed || disk.live.is_some();
                prop_assert!(
                    rebooted || after == before.0 || after == before.1 || decided,
                    "neither the old nor the new"
                );
                if !rebooted && before.1.all.is_some() {
                    prop_assert!(node.hooks.len() == PORTS.len(), "a port is open");
                }
            }
            node.check();
            node.check_journal();
            let text = serde_json::to_string(&node.disk).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Life>(&text).unwrap(), &node.disk);
        }
    }
}
