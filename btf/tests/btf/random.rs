//! Random types, laid out by the rules of C, and cut, split and swapped at random.

use std::collections::BTreeMap;

use gabion_btf::extract::{Need, extract};
use gabion_btf::{Btf, Field, Shape};
use proptest::prelude::*;

use crate::fields::path;
use gabion_testing_types::{Build, Member, SIGNED};

/// A type of C.
#[derive(Clone, Debug)]
enum C {
    Int { size: u32, signed: bool },
    Array(Box<C>, u32),
    Const(Box<C>),
    Pointer(Box<C>),
    Composite { union: bool, nameless: bool, members: Vec<C> },
}

/// Where a path leads to: pointers, offset, size, and the sign of what is a number.
type Leaf = (Vec<u32>, u32, u32, Option<bool>);

fn types() -> impl Strategy<Value = C> {
    let leaf = (0u32..4, any::<bool>()).prop_map(|(power, signed)| C::Int { size: 1 << power, signed });
    leaf.prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            (inner.clone(), 1u32..4).prop_map(|(of, count)| C::Array(Box::new(of), count)),
            inner.clone().prop_map(|of| C::Const(Box::new(of))),
            inner.clone().prop_map(|of| C::Pointer(Box::new(of))),
            (any::<bool>(), any::<bool>(), prop::collection::vec(inner, 1..5))
                .prop_map(|(union, nameless, members)| C::Composite { union, nameless, members }),
        ]
    })
}

/// What is being laid out: BTF in one or two parts, and every path with what it must lead to.
struct Layout {
    parts: Vec<Build>,
    /// Types in the first part.
    limit: usize,
    names: u32,
}

impl Layout {
    fn build(&mut self) -> &mut Build {
        if self.parts.len() == 1 && self.parts[0].next() as usize > self.limit {
            let split = self.parts[0].split();
            self.parts.push(split);
        }
        self.parts.last_mut().unwrap()
    }

    /// Number, size and alignment of the type, and the paths that go on below it.
    fn add(&mut self, of: &C) -> (u32, u32, u32, BTreeMap<String, Leaf>) {
        let here = |size, sign| BTreeMap::from([(String::new(), (Vec::new(), 0, size, sign))]);
        match of {
            C::Int { size, signed } => {
                let name = format!("int{size}{signed}");
                let id = self.build().int(&name, *size, if *signed { SIGNED } else { 0 });
                (id, *size, *size, here(*size, Some(*signed)))
            }
            C::Array(of, count) => {
                let (id, size, align, below) = self.add(of);
                let id = self.build().array(id, *count);
                let mut paths = here(size * count, None);
                for element in 0..*count {
                    paths.extend(
                        below.iter().map(|(text, leaf)| (format!("[{element}]{text}"), moved(leaf, element * size))),
                    );
                }
                (id, size * count, align, paths)
            }
            C::Const(of) => {
                let (id, size, align, below) = self.add(of);
                (self.build().constant(id), size, align, below)
            }
            C::Pointer(of) => {
                let (id, _, _, below) = self.add(of);
                let mut paths = here(8, None);
                // Only members are reached through a pointer, and none through two at once.
                let members = matches!(plain(of), C::Composite { .. });
                for (text, (chain, offset, size, sign)) in
                    below.iter().filter(|(text, _)| members && text.starts_with('.'))
                {
                    paths.insert(text.clone(), ([&[0], chain.as_slice()].concat(), *offset, *size, *sign));
                }
                (self.build().pointer(id), 8, 8, paths)
            }
            C::Composite { union, nameless, members } => self.composite(*union, *nameless, members),
        }
    }

    fn composite(&mut self, union: bool, nameless: bool, of: &[C]) -> (u32, u32, u32, BTreeMap<String, Leaf>) {
        let (mut members, mut paths) = (Vec::new(), BTreeMap::new());
        let (mut end, mut widest) = (0u32, 1);
        for of in of {
            let (id, size, align, below) = self.add(of);
            let offset = if union { 0 } else { end.next_multiple_of(align) };
            (end, widest) = (end.max(offset + size), widest.max(align));
            self.names += 1;
            // A struct in a struct may be without a name; then its members are those of the outer one.
            let name = match of {
                C::Composite { nameless: true, .. } => String::new(),
                _ => format!("m{}", self.names),
            };
            for (text, leaf) in &below {
                let text = match (name.is_empty(), text.is_empty()) {
                    (true, true) => continue,
                    (true, false) => text.clone(),
                    (false, _) => format!(".{name}{text}"),
                };
                paths.insert(text, moved(leaf, offset));
            }
            members.push((name, id, offset * 8));
        }
        let size = end.next_multiple_of(widest);
        paths.insert(String::new(), (Vec::new(), 0, size, None));
        self.names += 1;
        let name = if nameless { String::new() } else { format!("type{}", self.names) };
        let members: Vec<Member<'_>> = members.iter().map(|(name, id, at)| (name.as_str(), *id, *at, 0)).collect();
        (self.build().composite(4 + u32::from(union), &name, size, &members), size, widest, paths)
    }
}

fn plain(of: &C) -> &C {
    match of {
        C::Const(of) => plain(of),
        of => of,
    }
}

fn moved((chain, offset, size, sign): &Leaf, by: u32) -> Leaf {
    match chain.split_first() {
        // What moves is the first pointer.
        Some((first, rest)) => ([&[first + by], rest].concat(), *offset, *size, *sign),
        None => (Vec::new(), offset + by, *size, *sign),
    }
}

fn leaf(field: &Field) -> Leaf {
    let sign = match (field.shape, field.elements) {
        (Shape::Integer { signed }, None) => Some(signed),
        _ => None,
    };
    (field.chain.clone(), field.offset, field.size, sign)
}

fn parsed(parts: &[Build]) -> Btf {
    let first = Btf::parse(parts[0].bytes()).unwrap();
    parts.get(1).map_or(first.clone(), |second| Btf::split(&first, second.bytes()).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_path_leads_where_c_puts_it(
        members in prop::collection::vec(types(), 1..6),
        big_endian in any::<bool>(),
        limit in 0usize..60,
        chosen in prop::collection::vec(any::<prop::sample::Index>(), 1..6),
    ) {
        let first = if big_endian { Build::big_endian() } else { Build::new() };
        let mut layout = Layout { parts: vec![first], limit, names: 0 };
        let (id, size, _, paths) = layout.composite(false, false, &members);
        let btf = parsed(&layout.parts);
        let root = btf.get(id).unwrap().name().unwrap().to_owned();
        prop_assert_eq!(btf.type_named(&root).unwrap().size(), Some(size));
        let paths: Vec<(&str, &Leaf)> =
            paths.iter().filter_map(|(text, leaf)| Some((text.strip_prefix('.')?, leaf))).collect();
        for (text, want) in &paths {
            let field = btf.resolve(&root, path(text)).unwrap();
            prop_assert_eq!(&leaf(&field), *want, "{}", text);
        }
        let chosen: Vec<&str> = chosen.iter().map(|index| index.get(&paths).0).collect();
        let needs: Vec<Need<'_>> = chosen.iter().map(|text| Need::Field { root: &root, path: path(text) }).collect();
        let cut = Btf::parse(extract(&btf, &needs).unwrap()).unwrap();
        for (text, want) in paths {
            match cut.resolve(&root, path(text)) {
                Ok(field) => prop_assert_eq!(&leaf(&field), want, "{}", text),
                Err(error) => prop_assert!(!chosen.contains(&text), "{}", error),
            }
        }
    }

    #[test]
    fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..600), big_endian in any::<bool>()) {
        let _ = Btf::parse(bytes.clone());
        // As types of a sound header.
        let mut build = if big_endian { Build::big_endian() } else { Build::new() };
        build.string("a");
        build.words = bytes.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect();
        if let Ok(btf) = Btf::parse(build.bytes()) {
            for found in btf.types() {
                let _ = btf.describe(found.id());
                let _ = btf.outlines(found.name().unwrap_or("a"));
            }
            let _ = btf.resolve("a", path("a.a[1] | a"));
        }
    }
}
