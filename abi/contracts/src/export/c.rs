//! A header of C11 that asserts every size and place.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::{identifiers, layouts, unique};
use crate::layout::{Contracts, Field, Layout, Type};

/// Words that no member can have as its name, in C or in C++.
const KEYWORDS: &str = " alignas alignof and asm auto bool break case catch char class compl concept const continue \
                        default delete do double else enum explicit export extern false float for friend goto if \
                        inline int long mutable namespace new noexcept not nullptr offsetof operator or private \
                        protected public register requires restrict return short signed sizeof static struct switch \
                        template this throw true try typedef typeid typename typeof union unsigned using virtual void \
                        volatile while xor ";

/// C++ spells what is asserted in its own way.
const PREAMBLE: &str = "\
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define GABION_STATIC_ASSERT static_assert
#define GABION_ALIGNAS alignas
#define GABION_ALIGNOF alignof
#else
#define GABION_STATIC_ASSERT _Static_assert
#define GABION_ALIGNAS _Alignas
#define GABION_ALIGNOF _Alignof
#endif
";

/// A header for C11 and for C++.
#[must_use]
pub fn c(contracts: &Contracts) -> String {
    let layouts = layouts(contracts);
    let names = identifiers(&layouts);
    let guard = format!("GABION_CONTRACTS_{}_H", upper(&contracts.name));
    let mut text = format!(
        "/* What gabion shares, set {} version {}. Made by `gabion contract export --format c`; do not edit.\n   \
         Integers are in the byte order of the node unless stated. */\n\n#ifndef {guard}\n#define \
         {guard}\n\n{PREAMBLE}",
        contracts.name, contracts.version
    );
    for layout in layouts {
        record(&mut text, contracts, layout, &names);
    }
    let of = |ty: &str| names.get(ty).map_or_else(|| ty.to_owned(), |name| format!("struct gabion_{name}"));
    for place in &contracts.places {
        let key = place.key.as_ref().map(|key| format!("{} to ", of(key))).unwrap_or_default();
        let _ = write!(text, "\n/* map {}: {} of {key}{} */", place.name, place.kind, of(&place.value));
    }
    for service in &contracts.services {
        let _ =
            write!(text, "\n/* service {} version {} of {} */", service.name, service.version, of(&service.payload));
    }
    let _ = write!(text, "\n\n#endif /* {guard} */\n");
    text
}

fn record(text: &mut String, contracts: &Contracts, layout: &Layout, names: &BTreeMap<&str, String>) {
    // Every layout has a name.
    let name = format!("gabion_{}", names.get(layout.name.as_str()).map_or("", String::as_str));
    let _ = write!(text, "\n/* {} */\n", layout.name);
    // Records that only lie within others have no contract of their own.
    if let Some(record) = contracts.record(&layout.name) {
        let _ = writeln!(text, "#define {}_CONTRACT UINT64_C(0x{:016x})", upper(&name), record.digest);
    }
    let natural = layout.fields.iter().map(|field| field.ty.align()).max().unwrap_or(1);
    let mut taken = BTreeSet::new();
    let members: Vec<String> = layout.fields.iter().map(|field| member(&field.name, &mut taken)).collect();
    let _ = writeln!(text, "struct {name} {{");
    for (at, (field, member)) in layout.fields.iter().zip(&members).enumerate() {
        let align = if at == 0 && layout.align > natural {
            format!("GABION_ALIGNAS({}) ", layout.align)
        } else {
            String::new()
        };
        let (base, dimensions) = spelled(&field.ty, names);
        let _ = writeln!(text, "    {align}{base} {member}{dimensions};{}", note(field));
    }
    let _ = writeln!(text, "}};\nGABION_STATIC_ASSERT(sizeof(struct {name}) == {}, \"size\");", layout.size);
    let _ = writeln!(text, "GABION_STATIC_ASSERT(GABION_ALIGNOF(struct {name}) == {}, \"alignment\");", layout.align);
    for (field, member) in layout.fields.iter().zip(&members) {
        let place = field.offset;
        let _ = writeln!(text, "GABION_STATIC_ASSERT(offsetof(struct {name}, {member}) == {place}, \"place\");");
        let size = field.ty.size().unwrap_or(0);
        let _ = writeln!(text, "GABION_STATIC_ASSERT(sizeof(((struct {name} *)0)->{member}) == {size}, \"size\");");
    }
}

/// What C does not say.
fn note(field: &Field) -> String {
    fn big(ty: &Type) -> bool {
        match ty {
            Type::Integer { big, .. } => *big,
            Type::Array { element, .. } => big(element),
            Type::Record(_) => false,
        }
    }
    let order = big(&field.ty).then(|| "highest byte first".to_owned());
    let notes: Vec<String> = field.unit.clone().into_iter().chain(order).collect();
    if notes.is_empty() { String::new() } else { format!(" /* {} */", notes.join(", ")) }
}

/// The base of a type, and what stands behind the name of the member.
fn spelled(ty: &Type, names: &BTreeMap<&str, String>) -> (String, String) {
    match ty {
        Type::Integer { signed, bytes, .. } => {
            (format!("{}int{}_t", if *signed { "" } else { "u" }, bytes * 8), String::new())
        }
        Type::Array { element, length } => {
            let (base, inner) = spelled(element, names);
            (base, format!("[{length}]{inner}"))
        }
        Type::Record(layout) => {
            let name = names.get(layout.name.as_str()).map_or("", String::as_str);
            (format!("struct gabion_{name}"), String::new())
        }
    }
}

fn member(name: &str, taken: &mut BTreeSet<String>) -> String {
    let keyword = KEYWORDS.contains(&format!(" {name} "));
    unique(if keyword { format!("{name}_") } else { name.to_owned() }, taken)
}

fn upper(name: &str) -> String {
    name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' }).collect()
}
