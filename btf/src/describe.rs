//! Types in words, for people.

use crate::btf::Btf;
use crate::record::Kind;

/// How many types a description goes through before it gives up.
const DEPTH: u32 = 16;

impl Btf {
    /// The type as C says it, near enough for a person: `struct mm_struct *`, `char [16]`, `unsigned int`.
    #[must_use]
    pub fn describe(&self, id: u32) -> String {
        self.described(id, DEPTH)
    }

    fn described(&self, id: u32, depth: u32) -> String {
        let Some(depth) = depth.checked_sub(1) else { return "…".to_owned() };
        let Ok(found) = self.at(id) else { return format!("no type ({id})") };
        let name = found.name().unwrap_or("?");
        let named = |word: &str| match name {
            "" => format!("{word} without a name"),
            name => format!("{word} {name}"),
        };
        let target = |depth| self.described(found.target().unwrap_or(0), depth);
        match found.kind() {
            Kind::Void => "void".to_owned(),
            Kind::Int | Kind::Float | Kind::Typedef => name.to_owned(),
            Kind::Struct => named("struct"),
            Kind::Union => named("union"),
            Kind::Enum | Kind::Enum64 => named("enum"),
            Kind::Fwd => named(if found.flag() { "union" } else { "struct" }),
            Kind::Ptr => {
                let target = target(depth);
                if target.ends_with('*') { format!("{target}*") } else { format!("{target} *") }
            }
            Kind::Array => format!("{} [{}]", target(depth), found.elements().unwrap_or(0)),
            Kind::Volatile => format!("volatile {}", target(depth)),
            Kind::Const => format!("const {}", target(depth)),
            Kind::Restrict => format!("{} restrict", target(depth)),
            Kind::TypeTag => target(depth),
            Kind::Func => format!("function {name}"),
            Kind::FuncProto => "function".to_owned(),
            Kind::Var => format!("variable {name}"),
            Kind::Datasec => format!("data section {name}"),
            Kind::DeclTag => format!("declaration tag {name}"),
        }
    }
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
