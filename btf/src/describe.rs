//! Types in words, for people.

use crate::btf::Btf;
use crate::record::{Kind, Type};

/// Types within types that a declaration goes through before it gives up.
const DEPTH: u32 = 16;
/// Types that a declaration names before it gives up: prototypes branch.
const TYPES: u32 = 64;

impl Btf {
    /// The type as C says it, near enough for a person: `struct mm_struct *`, `char [16]`, `unsigned int`.
    #[must_use]
    pub fn describe(&self, id: u32) -> String {
        self.declaration(id, "")
    }

    /// What C declares something of that type and name with: `struct mm_struct *mm`, `char comm[16]`,
    /// `int (*get)(void *)`.
    #[must_use]
    pub fn declaration(&self, id: u32, name: &str) -> String {
        let (word, declarator) = self.declared(id, name);
        spaced(&word, &declarator)
    }

    /// A declaration in two: what it is of, and the name with all that C writes around it.
    pub(crate) fn declared(&self, id: u32, name: &str) -> (String, String) {
        Declarer { btf: self, left: TYPES }.declared(id, name.to_owned(), DEPTH)
    }
}

struct Declarer<'b> {
    btf: &'b Btf,
    left: u32,
}

impl Declarer<'_> {
    /// From the inside out: `name` is what has been declared so far.
    fn declared(&mut self, id: u32, name: String, depth: u32) -> (String, String) {
        let (Some(left), Some(depth)) = (self.left.checked_sub(1), depth.checked_sub(1)) else {
            return ("…".to_owned(), name);
        };
        self.left = left;
        let Ok(found) = self.btf.at(id) else { return (format!("no type ({id})"), name) };
        let own = found.name().unwrap_or("?");
        let named = |word: &str| match own {
            "" => format!("{word} without a name"),
            own => format!("{word} {own}"),
        };
        let target = found.target().unwrap_or(0);
        let word = match found.kind() {
            Kind::Void => "void".to_owned(),
            Kind::Int | Kind::Float | Kind::Typedef => own.to_owned(),
            Kind::Struct => named("struct"),
            Kind::Union => named("union"),
            Kind::Enum | Kind::Enum64 => named("enum"),
            Kind::Fwd => named(if found.flag() { "union" } else { "struct" }),
            Kind::Ptr => {
                let within = matches!(self.behind(target), Kind::Array | Kind::FuncProto);
                let name = if within { format!("(*{name})") } else { format!("*{name}") };
                return self.declared(target, name, depth);
            }
            Kind::Array => return self.declared(target, format!("{name}[{}]", found.elements().unwrap_or(0)), depth),
            Kind::FuncProto => {
                let parameters = self.parameters(found, depth);
                return self.declared(target, format!("{name}({parameters})"), depth);
            }
            Kind::Volatile => return self.qualified("volatile", target, name, depth),
            Kind::Const => return self.qualified("const", target, name, depth),
            Kind::Restrict => return self.qualified("restrict", target, name, depth),
            Kind::TypeTag => return self.declared(target, name, depth),
            Kind::Func => format!("function {own}"),
            Kind::Var => format!("variable {own}"),
            Kind::Datasec => format!("data section {own}"),
            Kind::DeclTag => format!("declaration tag {own}"),
        };
        (word, name)
    }

    /// A qualifier stands before what it is of, but behind the asterisk of a pointer.
    fn qualified(&mut self, qualifier: &str, target: u32, name: String, depth: u32) -> (String, String) {
        match self.behind(target) {
            Kind::Ptr => self.declared(target, spaced(qualifier, &name), depth),
            _ => {
                let (word, name) = self.declared(target, name, depth);
                (format!("{qualifier} {word}"), name)
            }
        }
    }

    /// What a type is behind qualifiers and notes, which C writes elsewhere.
    fn behind(&self, id: u32) -> Kind {
        let mut found = self.btf.at(id);
        for _ in 0..DEPTH {
            match &found {
                Ok(one) if one.kind().is_modifier() && one.kind() != Kind::Typedef => {
                    found = self.btf.at(one.target().unwrap_or(0));
                }
                _ => break,
            }
        }
        found.map_or(Kind::Void, |found| found.kind())
    }

    fn parameters(&mut self, prototype: Type<'_>, depth: u32) -> String {
        let mut said = Vec::new();
        for parameter in prototype.parameters() {
            if self.left == 0 {
                said.push("…".to_owned());
                break;
            }
            said.push(match parameter.type_id {
                0 => "...".to_owned(),
                id => {
                    let (word, name) = self.declared(id, parameter.name().unwrap_or("?").to_owned(), depth);
                    spaced(&word, &name)
                }
            });
        }
        if said.is_empty() { "void".to_owned() } else { said.join(", ") }
    }
}

fn spaced(word: &str, name: &str) -> String {
    if name.is_empty() { word.to_owned() } else { format!("{word} {name}") }
}

/// The name that somebody may have meant. Only names of about the same length and of the same first letter are
/// compared: an absent optional type must not cost a comparison with every type there is.
pub(crate) fn nearest<'n>(asked: &str, names: impl Iterator<Item = &'n str>) -> Option<String> {
    let first = asked.trim_start_matches('_').bytes().next()?;
    let limit = (asked.len() / 4).clamp(1, 3);
    names
        .filter(|name| name.len().abs_diff(asked.len()) <= limit)
        .filter(|name| name.trim_start_matches('_').as_bytes().first() == Some(&first))
        .filter(|name| *name != asked)
        .map(|name| (strsim::osa_distance(asked, name), name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| name.to_owned())
}
