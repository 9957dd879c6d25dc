//! Rules filed by their ends, so that those that could cover another are looked up.

use std::collections::HashMap;

use ipnet::IpNet;

use super::order::Listed;
use crate::subject::{AnySubject, LabelSelector, LabelTest, Labels, Namespaces, SpiffeMatch, SpiffePath};

/// What a subject can be looked up by. Whatever covers a subject is filed under one of the keys of
/// [`keys_above`].
#[derive(PartialEq, Eq, Hash)]
enum Key<'s> {
    Anyone,
    Block(IpNet),
    /// The first thing that a selector asks for, and where.
    Labels(Asked<'s>, &'s Namespaces),
    Account(&'s str, Option<&'s str>),
    /// Trust domain and path; an empty one for all.
    Spiffe(&'s str, &'s str),
    Other(&'s AnySubject),
}

/// What a selector asks for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Asked<'s> {
    Nothing,
    Label(&'s str, &'s str),
    Test(&'s LabelTest),
}

fn asked(selector: &LabelSelector) -> impl Iterator<Item = Asked<'_>> {
    let labels = selector.match_labels.iter().map(|(name, value)| Asked::Label(name, value));
    labels.chain(selector.match_expressions.iter().map(Asked::Test))
}

fn key(subject: &AnySubject) -> Key<'_> {
    match subject {
        AnySubject::Any(_) => Key::Anyone,
        AnySubject::Cidr(cidr) => Key::Block(cidr.block),
        AnySubject::Labels(Labels { selector, namespaces }) => {
            Key::Labels(asked(selector).next().unwrap_or(Asked::Nothing), namespaces)
        }
        AnySubject::ServiceAccount(account) => Key::Account(&account.name, account.namespace.as_deref()),
        AnySubject::Spiffe(SpiffeMatch { trust_domain, path }) => match path {
            SpiffePath::Any => Key::Spiffe(trust_domain, ""),
            SpiffePath::Exact(path) | SpiffePath::Prefix(path) => Key::Spiffe(trust_domain, path),
        },
        other => Key::Other(other),
    }
}

fn keys(peers: Option<&[AnySubject]>) -> Vec<Key<'_>> {
    peers.map_or_else(|| vec![Key::Anyone], |peers| peers.iter().map(key).collect())
}

/// Prefix lengths of the blocks that are filed: few of those that there are. One bit each, by family.
#[derive(Default)]
struct Lengths([[u128; 2]; 2]);

impl Lengths {
    fn place(block: &IpNet) -> (usize, usize, u128) {
        let length = usize::from(block.prefix_len());
        (usize::from(block.addr().is_ipv4()), length / 128, 1 << (length % 128))
    }

    fn add(&mut self, block: &IpNet) {
        let (family, half, bit) = Self::place(block);
        self.0[family][half] |= bit;
    }

    fn has(&self, block: &IpNet) -> bool {
        let (family, half, bit) = Self::place(block);
        self.0[family][half] & bit != 0
    }
}

/// Keys of all subjects that could cover these peers: those that could cover the first of them.
fn keys_above<'s>(peers: Option<&'s [AnySubject]>, lengths: &Lengths) -> Vec<Key<'s>> {
    let mut above = vec![Key::Anyone];
    match peers.and_then(<[_]>::first) {
        Some(AnySubject::Cidr(cidr)) => {
            let blocks = std::iter::successors(Some(cidr.block), IpNet::supernet);
            above.extend(blocks.filter(|block| lengths.has(block)).map(Key::Block));
        }
        Some(AnySubject::Labels(Labels { selector, namespaces })) => {
            for asked in asked(selector).chain([Asked::Nothing]) {
                above.push(Key::Labels(asked, namespaces));
                if *namespaces != Namespaces::All {
                    above.push(Key::Labels(asked, &Namespaces::All));
                }
            }
        }
        Some(AnySubject::ServiceAccount(account)) => {
            above.extend([Key::Labels(Asked::Nothing, &Namespaces::All), Key::Account(&account.name, None)]);
            above.extend(account.namespace.as_deref().map(|namespace| Key::Account(&account.name, Some(namespace))));
        }
        Some(AnySubject::Spiffe(SpiffeMatch { trust_domain, path })) => {
            above.extend([Key::Labels(Asked::Nothing, &Namespaces::All), Key::Spiffe(trust_domain, "")]);
            if let SpiffePath::Exact(path) | SpiffePath::Prefix(path) = path {
                let parents = path.match_indices('/').skip(1).map(|(end, _)| &path[..end]);
                above.extend(parents.chain([path.as_str()]).map(|path| Key::Spiffe(trust_domain, path)));
            }
        }
        Some(AnySubject::Any(_)) | None => {}
        Some(other) => above.push(key(other)),
    }
    above
}

/// Rules by the keys of their source, their destination and the subject of their document.
#[derive(Default)]
pub(super) struct Filed<'s> {
    /// Numbers of the keys under which there is a rule: most of those that are asked for are not among them.
    numbers: HashMap<Key<'s>, u32>,
    rules: HashMap<[u32; 3], Vec<usize>>,
    lengths: Lengths,
}

impl<'s> Filed<'s> {
    pub fn add(&mut self, listed: &Listed<'s>, index: usize) {
        let Self { numbers, rules, lengths } = self;
        let mut numbered = |keys: Vec<Key<'s>>| -> Vec<u32> {
            let number = |key| {
                if let Key::Block(block) = &key {
                    lengths.add(block);
                }
                let next = numbers.len() as u32;
                *numbers.entry(key).or_insert(next)
            };
            keys.into_iter().map(number).collect()
        };
        let from = numbered(keys(listed.rule.from.as_deref()));
        let to = numbered(keys(listed.rule.to.as_deref()));
        let subject = numbered(vec![key(listed.subject)]);
        combine([&from, &to, &subject], |keys| {
            rules.entry(keys).or_default().push(index);
            true
        });
    }

    /// Goes through the rules that could cover one, as long as it is told to go on.
    pub fn above(&self, listed: &Listed<'s>, mut go_on: impl FnMut(usize) -> bool) {
        let known = |peers: Option<&[AnySubject]>| -> Vec<u32> {
            keys_above(peers, &self.lengths).iter().filter_map(|key| self.numbers.get(key).copied()).collect()
        };
        let from = known(listed.rule.from.as_deref());
        let to = known(listed.rule.to.as_deref());
        let subject = known(Some(std::slice::from_ref(listed.subject)));
        combine([&from, &to, &subject], |keys| self.rules.get(&keys).into_iter().flatten().all(|&rule| go_on(rule)));
    }
}

/// Goes through one of each, as long as it is told to go on.
fn combine(lists: [&[u32]; 3], mut go_on: impl FnMut([u32; 3]) -> bool) {
    let [a, b, c] = lists;
    a.iter().all(|&a| b.iter().all(|&b| c.iter().all(|&c| go_on([a, b, c]))));
}
