//! Whether a node is worse than it was before a change.
//!
//! Nothing here reads a clock or a kernel: [`Watching::judge`] is given what was seen, once a second. It looks at what
//! is dropped for each reason, at events that make no sense, at interfaces that lost their guard, and at what the site
//! says must go on. What the agent's own death means is decided where its successor starts ([`gabion_life`]).

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use gabion_abi::verdict::reason;
use gabion_life::Number;
use gabion_policy_model::site::{DropBound, Health, Look};

/// Time over which rates are taken.
const SPAN: Duration = Duration::from_secs(5);
/// Time after which a rate says something.
const SETTLED: Duration = Duration::from_secs(2);
/// Samples that are kept of the time before a change.
const BEFORE: usize = 60;

/// Packets dropped, by reason, since the state was made.
pub type Drops = [u64; reason::COUNT as usize];

/// What a node looks like at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Packets dropped, by reason.
    pub drops: Drops,
    /// Events that made no sense.
    pub malformed: u64,
    /// Interfaces that should be guarded, and are not.
    pub unguarded: BTreeSet<String>,
    /// Packets that passed by the rules that probes name, in the order of the probes; none for a rule that is not
    /// there.
    pub passed: Vec<Option<u64>>,
}

/// What was dropped lately, while nothing is on trial.
#[derive(Clone, Debug, Default)]
pub struct Before {
    samples: VecDeque<(Instant, Drops)>,
}

impl Before {
    /// Adds what was seen.
    pub fn add(&mut self, now: Instant, drops: Drops) {
        self.samples.push_back((now, drops));
        if self.samples.len() > BEFORE {
            self.samples.pop_front();
        }
    }

    /// Packets dropped a second; none while there is too little to say.
    fn rates(&self) -> Option<[f64; reason::COUNT as usize]> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        let span = last.0.saturating_duration_since(first.0);
        (span >= SETTLED).then(|| rates(&first.1, &last.1, span))
    }
}

fn rates(from: &Drops, to: &Drops, span: Duration) -> [f64; reason::COUNT as usize] {
    // Counts start over with the state.
    std::array::from_fn(|at| to[at].saturating_sub(from[at]) as f64 / span.as_secs_f64())
}

/// What must go on.
#[derive(Clone, Debug)]
struct Probing {
    name: String,
    look: Look,
    within: Duration,
    /// When it succeeded last, or the trial began.
    last: Instant,
    passed: u64,
}

/// A generation on trial.
#[derive(Clone, Debug)]
pub struct Watching {
    /// Which.
    pub number: Number,
    /// Since when.
    pub began: Instant,
    /// For how long.
    pub window: Duration,
    bound: DropBound,
    before: Option<[f64; reason::COUNT as usize]>,
    probes: Vec<Probing>,
    first: Option<Sample>,
    samples: VecDeque<(Instant, Drops)>,
}

/// What is to become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is watched on.
    Watch,
    /// It was not found worse.
    Over,
    /// It is worse: which signal, its value and its bound.
    Worse(String),
}

impl Watching {
    /// Begins.
    pub fn new(number: Number, window_ms: u64, health: Health, before: &Before, now: Instant) -> Self {
        let window = Duration::from_millis(window_ms);
        let probes = health.probes.into_iter().map(|probe| Probing {
            name: probe.name,
            look: probe.look,
            // What would take longer than the window is looked at when that ends.
            within: probe.within.min(window),
            last: now,
            passed: 0,
        });
        Self {
            number,
            began: now,
            window,
            bound: health.drops,
            before: before.rates(),
            probes: probes.collect(),
            first: None,
            samples: VecDeque::new(),
        }
    }

    /// Rules that probes look at, one for each probe that does.
    pub fn rules(&self) -> impl Iterator<Item = &str> {
        self.probes.iter().filter_map(|probe| match &probe.look {
            Look::Rule(rule) => Some(rule.as_str()),
            Look::Tcp(_) => None,
        })
    }

    /// Where connections are to be tried, and by which probe.
    pub fn ends(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.probes.iter().filter_map(|probe| match &probe.look {
            Look::Tcp(end) => Some((probe.name.as_str(), *end)),
            Look::Rule(_) => None,
        })
    }

    /// A connection was taken.
    pub fn taken(&mut self, name: &str, now: Instant) {
        for probe in self.probes.iter_mut().filter(|probe| probe.name == name) {
            probe.last = now;
        }
    }

    /// Time until the window is over.
    pub fn left(&self, now: Instant) -> Duration {
        (self.began + self.window).saturating_duration_since(now)
    }

    /// What is to become of it, by what is seen now.
    pub fn judge(&mut self, now: Instant, sample: Sample) -> Outcome {
        let first = self.first.get_or_insert_with(|| sample.clone()).clone();
        if sample.malformed > first.malformed {
            let more = sample.malformed - first.malformed;
            return Outcome::Worse(format!("events that make no sense: {more}, the bound is 0"));
        }
        let lost: Vec<&str> = sample.unguarded.difference(&first.unguarded).map(String::as_str).collect();
        if !lost.is_empty() {
            return Outcome::Worse(format!("interfaces that lost their guard: {}, the bound is none", lost.join(", ")));
        }
        if let Some(why) = self.dropping(now, sample.drops) {
            return Outcome::Worse(why);
        }
        let mut passed = sample.passed.into_iter();
        for probe in &mut self.probes {
            if let Look::Rule(rule) = &probe.look {
                let Some(count) = passed.next().flatten() else {
                    return Outcome::Worse(format!("probe {}: the policy has no rule {rule}", probe.name));
                };
                if count > probe.passed {
                    (probe.passed, probe.last) = (count, now);
                }
            }
            let silent = now.saturating_duration_since(probe.last);
            if silent >= probe.within {
                let what = match &probe.look {
                    Look::Rule(rule) => format!("nothing passed by {rule}"),
                    Look::Tcp(end) => format!("nobody took a connection at {end}"),
                };
                let (silent, bound) = (silent.as_secs_f64(), probe.within.as_secs_f64());
                return Outcome::Worse(format!(
                    "probe {}: {what} for {silent:.1} s, the bound is {bound:.1} s",
                    probe.name
                ));
            }
        }
        if now >= self.began + self.window { Outcome::Over } else { Outcome::Watch }
    }

    fn dropping(&mut self, now: Instant, drops: Drops) -> Option<String> {
        self.samples.push_back((now, drops));
        while self.samples.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= SPAN) {
            self.samples.pop_front();
        }
        let before = self.before?;
        let (since, from) = *self.samples.front()?;
        let span = now.saturating_duration_since(since);
        if span < SETTLED {
            return None;
        }
        let rates = rates(&from, &drops, span);
        let (times, above) = (f64::from(self.bound.times), f64::from(self.bound.above));
        rates.iter().zip(before).zip(reason::NAMES).find_map(|((rate, before), name)| {
            let bound = times * before + above;
            (*rate > bound).then(|| {
                format!(
                    "packets dropped for {name}: {rate:.1}/s, the bound is {bound:.1}/s ({times} x {before:.1}/s before, \
                     and {above}/s more)"
                )
            })
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use gabion_policy_model::site::HealthProbe;

    fn drops(denied: u64) -> Drops {
        let mut drops = Drops::default();
        drops[1] = denied;
        drops
    }

    fn sample(denied: u64) -> Sample {
        Sample { drops: drops(denied), ..Sample::default() }
    }

    /// Ten seconds in which so many packets a second were dropped.
    fn before(start: Instant, rate: u64) -> Before {
        let mut before = Before::default();
        for second in 0..=10 {
            before.add(start + Duration::from_secs(second), drops(second * rate));
        }
        before
    }

    fn watch(watching: &mut Watching, start: Instant, mut at: impl FnMut(u64) -> Sample) -> (u64, Outcome) {
        for second in 0.. {
            match watching.judge(start + Duration::from_secs(second), at(second)) {
                Outcome::Watch => {}
                outcome => return (second, outcome),
            }
        }
        unreachable!("windows end")
    }

    #[test]
    fn what_was_dropped_before_may_be_dropped_after() {
        let start = Instant::now();
        let begin = || Watching::new(2, 30_000, Health::default(), &before(start, 5), start);
        assert_eq!(watch(&mut begin(), start, |second| sample(1_000 + 20 * second)), (30, Outcome::Over));
        let (second, Outcome::Worse(why)) = watch(&mut begin(), start, |second| sample(1_000 + 40 * second)) else {
            panic!("not worse");
        };
        assert_eq!(second, 2);
        assert!(why.contains("40.0/s, the bound is 25.0/s (3 x 5.0/s before, and 10/s more)"), "{why}");
        // Late, after a quiet beginning.
        let late = |second: u64| sample(second.saturating_sub(20) * 100);
        assert!(matches!(watch(&mut begin(), start, late), (21..=23, Outcome::Worse(_))));
        // An agent that began just now knows of no rate, and does not guess one.
        let mut blind = Watching::new(2, 30_000, Health::default(), &Before::default(), start);
        assert_eq!(watch(&mut blind, start, |second| sample(second * 1_000)), (30, Outcome::Over));
    }

    #[test]
    fn what_must_go_on_is_asked_for() {
        let start = Instant::now();
        let probe = |name: &str, look| HealthProbe { name: name.into(), look, within: Duration::from_secs(5) };
        let end = SocketAddr::from(([192, 0, 2, 1], 2404));
        let probes = vec![probe("polls", Look::Rule("plc/poll".into())), probe("scada", Look::Tcp(end))];
        let health = Health { probes, ..Health::default() };
        let begin = || Watching::new(2, 30_000, health.clone(), &Before::default(), start);
        let passing = |second| Sample { passed: vec![Some(second)], ..Sample::default() };
        let mut watching = begin();
        let outcome = watch(&mut watching, start, passing);
        assert!(
            matches!(&outcome, (5, Outcome::Worse(why)) if why.contains("scada") && why.contains("5.0 s")),
            "{outcome:?}"
        );
        let mut watching = begin();
        for second in 0..30 {
            let now = start + Duration::from_secs(second);
            watching.taken("scada", now);
            assert_eq!(watching.judge(now, passing(second)), Outcome::Watch);
        }
        let mut silent = begin();
        silent.taken("scada", start + Duration::from_secs(9));
        let (second, outcome) = watch(&mut silent, start, |second| passing(second.min(3)));
        assert!(
            second == 8 && matches!(&outcome, Outcome::Worse(why) if why.contains("nothing passed by plc/poll")),
            "{outcome:?}"
        );
        let gone = begin().judge(start, Sample { passed: vec![None], ..Sample::default() });
        assert_eq!(gone, Outcome::Worse("probe polls: the policy has no rule plc/poll".into()));
    }

    #[test]
    fn a_lost_guard_and_nonsense_are_reasons() {
        let start = Instant::now();
        let mut watching = Watching::new(2, 30_000, Health::default(), &Before::default(), start);
        let with = |names: &[&str]| Sample {
            unguarded: names.iter().map(|it| (*it).to_owned()).collect(),
            ..Sample::default()
        };
        assert_eq!(watching.judge(start, with(&["eth1"])), Outcome::Watch, "it had none before");
        assert!(
            matches!(watching.judge(start, with(&["eth0", "eth1"])), Outcome::Worse(why) if why.contains("guard: eth0"))
        );
        let nonsense = Sample { malformed: 3, ..with(&["eth1"]) };
        assert_eq!(
            watching.judge(start, nonsense),
            Outcome::Worse("events that make no sense: 3, the bound is 0".into())
        );
    }
}
