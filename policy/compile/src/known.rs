//! What one compilation leaves to the next, so that an edit costs what it changes.
//!
//! Subjects, services and rules are looked up rather than worked out when they are the same values as before, and cost
//! the same steps: whether a policy is refused does not depend on what was compiled before it. Numbers that are given
//! here outlive a compilation, and none of them reaches a table: `canonical` replaces them.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use gabion_policy_model::inventory::{Entry, Inventory};
use gabion_policy_model::rule::{Action, Rule};
use gabion_policy_model::service::Service;
use gabion_policy_model::set::Spanned;
use gabion_policy_model::subject::{AnySubject, Subject};
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use crate::Excess;
use crate::intern::Interner;
use crate::lists::ListInterner;
use crate::normal::Union;
use crate::term::Term;
use crate::work::Work;

/// Everyone, as an interned who.
pub(crate) const EVERYONE: u32 = 0;
/// No number.
pub(crate) const NONE: u32 = u32::MAX;

/// What was found out about subjects, services and rules.
#[derive(Debug)]
pub struct Known<S: Subject = AnySubject> {
    /// Whom subjects were looked up among.
    entries: Vec<Arc<Entry>>,
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// Counts compilations.
    pub(crate) round: u32,
    pub(crate) unions: Interner<Arc<Union>>,
    /// All of some unions at once; none of them for anyone.
    pub(crate) whos: ListInterner,
    pub(crate) terms: Interner<Arc<Term>>,
    /// Any of some terms.
    pub(crate) whats: ListInterner,
    /// Two whos at once.
    meets: HashMap<(u32, u32), u32>,
    pub(crate) lists: Vec<List>,
    subjects_of: Vec<Subjects<S>>,
    by_subjects: HashTable<u32>,
    pub(crate) services: Vec<KnownService>,
    by_service: HashMap<Service, u32>,
    pub(crate) ports: Vec<PortName>,
    pub(crate) by_port: HashMap<String, u32>,
    pub(crate) rules: Vec<KnownRule<S>>,
    /// By their addresses, which are theirs as long as they are kept here.
    by_rule: HashMap<usize, u32>,
    /// The rule that is expected next.
    next_rule: u32,
    /// Numbers of services, as rules name them.
    pub(crate) rule_services: Vec<u32>,
    /// Lists of one subject by its address, and the round that used it last.
    subjects: HashMap<usize, (Arc<S>, u32, u32)>,
    hasher: DefaultHashBuilder,
}

/// What it took to work something out, which every compilation that uses it pays once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Price {
    paid_in: u32,
    steps: usize,
    bytes: usize,
}

impl Price {
    /// What was spent since `before`, which [`Self::before`] gave.
    pub fn since(before: (usize, usize), round: u32, work: &Work) -> Self {
        Self { paid_in: round, steps: work.steps() - before.0, bytes: work.held() - before.1 }
    }

    pub fn before(work: &Work) -> (usize, usize) {
        (work.steps(), work.held())
    }

    pub fn pay(&mut self, what: &'static str, round: u32, work: &mut Work) -> Result<(), Excess> {
        if self.paid_in == round {
            return Ok(());
        }
        self.paid_in = round;
        work.spend(what, self.steps)?;
        work.hold(what, self.bytes)
    }
}

/// A list of subjects, where it stands.
#[derive(Debug)]
pub(crate) enum Subjects<S: Subject> {
    From(Arc<Rule<S>>),
    To(Arc<Rule<S>>),
    One(S),
}

impl<S: Subject> Subjects<S> {
    pub fn list(&self) -> &[S] {
        match self {
            Self::From(rule) => rule.from.as_deref().unwrap_or_default(),
            Self::To(rule) => rule.to.as_deref().unwrap_or_default(),
            Self::One(subject) => std::slice::from_ref(subject),
        }
    }
}

/// What a list of subjects is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List {
    /// Interned; [`NONE`] when nobody carries any of them.
    pub who: u32,
    pub price: Price,
}

/// What a service says of packets.
#[derive(Debug)]
pub(crate) enum Meaning {
    /// One term; none when it matches nothing.
    Plain(Option<u32>),
    /// A named port, by its number in [`Known::ports`]: the destinations that have it as interned whos, and what it
    /// is there as interned whats.
    Named(u32, Vec<(u32, u32)>),
}

/// What a service is.
#[derive(Debug)]
pub(crate) struct KnownService {
    pub meaning: Meaning,
    pub price: Price,
}

/// Protocol and number of a named port, and the union of those where it is that.
pub(crate) type Destination = ((u8, u16), u32);

/// What a port name stands for.
#[derive(Debug)]
pub(crate) struct PortName {
    pub destinations: Vec<Destination>,
    pub price: Price,
}

/// What a rule does to the packets that it matches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Does {
    pub action: Action,
    pub stateless: bool,
    pub log: bool,
}

/// What a rule says, as numbers.
#[derive(Debug)]
pub(crate) struct KnownRule<S: Subject> {
    rule: Arc<Rule<S>>,
    used_in: u32,
    pub does: Does,
    /// Whether the rest was found out: it is when it is asked for.
    pub is_resolved: bool,
    /// Numbers of lists; [`NONE`] for anyone.
    pub from: u32,
    pub to: u32,
    /// Interned: what the services without a named port match; [`NONE`] when they match nothing.
    pub plain: u32,
    /// Where the numbers of its services begin and end in [`Known::rule_services`].
    pub services: (u32, u32),
}

impl<S: Subject> Default for Known<S> {
    fn default() -> Self {
        let mut whos = ListInterner::default();
        whos.intern(&[]);
        Self {
            entries: Vec::new(),
            namespaces: BTreeMap::new(),
            round: 0,
            unions: Interner::default(),
            whos,
            terms: Interner::default(),
            whats: ListInterner::default(),
            meets: HashMap::new(),
            lists: Vec::new(),
            subjects_of: Vec::new(),
            by_subjects: HashTable::new(),
            services: Vec::new(),
            by_service: HashMap::new(),
            ports: Vec::new(),
            by_port: HashMap::new(),
            rules: Vec::new(),
            by_rule: HashMap::new(),
            next_rule: 0,
            rule_services: Vec::new(),
            subjects: HashMap::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }
}

impl<S: Subject> Known<S> {
    /// Begins a compilation: forgets what another inventory makes untrue.
    pub(crate) fn begin(&mut self, inventory: &Inventory) {
        let same =
            |known: &Arc<Entry>, entry: &Spanned<Entry>| Arc::ptr_eq(known, entry.shared()) || **known == **entry;
        let entries = &inventory.entries;
        let is_same = self.entries.len() == entries.len()
            && self.entries.iter().zip(entries).all(|(known, entry)| same(known, entry))
            && self.namespaces == inventory.namespaces;
        if !is_same {
            *self = Self::default();
            self.entries = entries.iter().map(|entry| Arc::clone(entry.shared())).collect();
            self.namespaces.clone_from(&inventory.namespaces);
        }
        self.round += 1;
        self.next_rule = 0;
    }

    /// Ends a compilation: forgets rules that are gone, and everything when most of it is of rules that are gone.
    pub(crate) fn end(&mut self) {
        let Self { rules, by_rule, rule_services, subjects, lists, round, .. } = self;
        let used = rules.iter().filter(|rule| rule.used_in == *round).count()
            + subjects.values().filter(|(.., used_in)| used_in == round).count();
        if rules.len() + subjects.len() > used + used / 8 + 1_024 {
            rules.retain(|rule| rule.used_in == *round);
            subjects.retain(|_, (_, _, used_in)| *used_in == *round);
            by_rule.clear();
            by_rule.extend((0..).zip(&*rules).map(|(number, rule)| (Arc::as_ptr(&rule.rule) as usize, number)));
            let old = std::mem::take(rule_services);
            for rule in rules {
                let start = rule_services.len() as u32;
                rule_services.extend_from_slice(&old[rule.services.0 as usize..rule.services.1 as usize]);
                rule.services = (start, rule_services.len() as u32);
            }
        }
        let used = lists.iter().filter(|list| list.price.paid_in == *round).count();
        if lists.len() > 2 * used + 4_096 {
            *self = Self::default();
        }
    }

    /// Whether nothing is known: what was found out was found out just now.
    pub(crate) fn is_new(&self) -> bool {
        self.round <= 1
    }

    /// Both at once.
    pub(crate) fn meet(&mut self, a: u32, b: u32) -> u32 {
        if a == b || b == EVERYONE {
            return a;
        }
        if a == EVERYONE {
            return b;
        }
        let Self { meets, whos, .. } = self;
        *meets.entry((a.min(b), a.max(b))).or_insert_with(|| {
            let mut both: Vec<u32> = whos.get(a).iter().chain(whos.get(b)).copied().collect();
            both.sort_unstable();
            both.dedup();
            whos.intern(&both)
        })
    }

    /// The number of a list of subjects, if it is known.
    pub(crate) fn list(&self, subjects: &[S]) -> Option<u32> {
        let hash = self.hasher.hash_one(subjects);
        let is_it = |&number: &u32| self.subjects_of[number as usize].list() == subjects;
        self.by_subjects.find(hash, is_it).copied()
    }

    /// Keeps what a list of subjects is.
    pub(crate) fn add_list(&mut self, subjects: Subjects<S>, who: u32, price: Price) -> u32 {
        let Self { lists, subjects_of, by_subjects, hasher, .. } = self;
        let number = lists.len() as u32;
        let hash = hasher.hash_one(subjects.list());
        lists.push(List { who, price });
        subjects_of.push(subjects);
        by_subjects.insert_unique(hash, number, |&number| hasher.hash_one(subjects_of[number as usize].list()));
        number
    }

    /// The number of a service, if it is known.
    pub(crate) fn service(&self, service: &Service) -> Option<u32> {
        self.by_service.get(service).copied()
    }

    /// Keeps what a service is.
    pub(crate) fn add_service(&mut self, service: &Service, meaning: Meaning, price: Price) -> u32 {
        let number = self.services.len() as u32;
        self.services.push(KnownService { meaning, price });
        self.by_service.insert(service.clone(), number);
        number
    }

    /// The list of a subject of a policy, if it is known.
    pub(crate) fn subject(&mut self, subject: &Arc<S>) -> Option<u32> {
        let (_, list, used_in) = self.subjects.get_mut(&(Arc::as_ptr(subject) as usize))?;
        *used_in = self.round;
        Some(*list)
    }

    /// Keeps the list of a subject of a policy.
    pub(crate) fn add_subject(&mut self, subject: &Arc<S>, list: u32) {
        self.subjects.insert(Arc::as_ptr(subject) as usize, (Arc::clone(subject), list, self.round));
    }

    /// The number of a rule.
    pub(crate) fn rule(&mut self, rule: &Arc<Rule<S>>) -> u32 {
        // Rules mostly come in the order in which they came the last time.
        let expected = self.next_rule as usize;
        let number = match self.rules.get(expected) {
            Some(known) if Arc::ptr_eq(&known.rule, rule) => expected as u32,
            _ => self.rule_by_address(rule),
        };
        self.next_rule = number + 1;
        self.rules[number as usize].used_in = self.round;
        number
    }

    fn rule_by_address(&mut self, rule: &Arc<Rule<S>>) -> u32 {
        let Self { rules, by_rule, .. } = self;
        *by_rule.entry(Arc::as_ptr(rule) as usize).or_insert_with(|| {
            let does = Does { action: rule.action, stateless: rule.stateless, log: rule.log };
            let (from, to, plain, services) = (NONE, NONE, NONE, (0, 0));
            let rule = Arc::clone(rule);
            rules.push(KnownRule { rule, used_in: 0, does, is_resolved: false, from, to, plain, services });
            rules.len() as u32 - 1
        })
    }

    /// The rule of a number.
    pub(crate) fn shared_rule(&self, number: u32) -> Arc<Rule<S>> {
        Arc::clone(&self.rules[number as usize].rule)
    }

    /// Keeps what a rule says.
    pub(crate) fn resolve(&mut self, number: u32, (from, to): (u32, u32), services: &[u32], plain: u32) {
        let start = self.rule_services.len() as u32;
        self.rule_services.extend_from_slice(services);
        let services = (start, self.rule_services.len() as u32);
        let rule = &mut self.rules[number as usize];
        *rule = KnownRule { is_resolved: true, from, to, plain, services, rule: Arc::clone(&rule.rule), ..*rule };
    }
}
