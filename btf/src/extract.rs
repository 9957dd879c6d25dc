//! The few types that a list of paths needs, as BTF of its own.
//!
//! Kernels that a project supports are then kept in kilobytes each. Members stay where they were; what nobody asked
//! for is left out, and what only pointers lead to is declared and not defined. A question that was named gets the
//! same answer from the extract as from the whole, and the same kind of error.

mod write;

use std::collections::{BTreeMap, BTreeSet};

use crate::btf::Btf;
use crate::error::{Defect, Error, Problem};
use crate::path::Path;
use crate::record::{Kind, Type};
use crate::resolve::Trace;

/// Something that is asked of BTF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need<'n> {
    /// [`Btf::resolve`] of this.
    Field {
        /// The type that the path starts from.
        root: &'n str,
        /// The path.
        path: Path<'n>,
    },
    /// [`Btf::type_named`] of this: that there is such a type, and its size.
    Type(&'n str),
    /// [`Btf::enumerator`] of this.
    Enumerator {
        /// The enum.
        within: &'n str,
        /// The value's name.
        name: &'n str,
    },
    /// [`Btf::function`] of this, with its parameters.
    Function(&'n str),
}

/// Writes BTF with what is needed, in the byte order that it had, whole even if it was split. The same questions to the
/// same BTF give the same bytes, in whatever order they are asked. What is absent is absent from the extract as well.
///
/// # Errors
/// When the BTF is not sound where it is needed.
pub fn extract(btf: &Btf, needs: &[Need<'_>]) -> Result<Vec<u8>, Error> {
    let mut plan = Plan::default();
    for need in needs {
        plan.need(btf, *need)?;
    }
    // By its size a reader knows that of pointers.
    plan.roots.extend(btf.find(Kind::Int, "long unsigned int").map(|long| long.id()));
    let kept = plan.complete(btf).map_err(|defect| btf.error(defect))?;
    write::written(btf, &plan, &kept)
}

/// What of the types is to be kept.
#[derive(Default)]
struct Plan {
    /// Where to start from.
    roots: BTreeSet<u32>,
    /// Structs and unions with the members that stay; the others' definitions do not.
    members: BTreeMap<u32, BTreeSet<u32>>,
    /// Enums with the values that stay, by place.
    values: BTreeMap<u32, BTreeSet<u32>>,
    /// Types of fields: of structs and unions among them all members stay.
    fields: BTreeSet<u32>,
}

impl Trace for Plan {
    fn root(&mut self, root: Type<'_>) {
        self.roots.insert(root.id());
    }

    fn entered(&mut self, within: Type<'_>) {
        self.members.entry(within.id()).or_default();
    }

    fn taken(&mut self, within: Type<'_>, member: u32) {
        self.members.entry(within.id()).or_default().insert(member);
    }

    fn reached(&mut self, found: Type<'_>) {
        self.fields.insert(found.id());
    }
}

/// An answer is kept, and so is it that there is none.
fn unless_unsound<T>(outcome: Result<T, Error>) -> Result<Option<T>, Error> {
    match outcome {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if matches!(*error.problem, Problem::Malformed(_)) => Err(error),
        Err(_) => Ok(None),
    }
}

impl Plan {
    fn need(&mut self, btf: &Btf, need: Need<'_>) -> Result<(), Error> {
        match need {
            Need::Field { root, path } => {
                unless_unsound(btf.resolve_traced(root, path, self))?;
            }
            Need::Type(name) => {
                if let Some(found) = unless_unsound(btf.type_named(name))? {
                    self.roots.insert(found.id());
                    if found.kind().is_composite() {
                        self.entered(found);
                    }
                }
            }
            Need::Enumerator { within, name } => {
                if let Some((found, value)) = unless_unsound(btf.enumerator(within, name))? {
                    self.roots.insert(found.id());
                    self.values.entry(found.id()).or_default().insert(value.place);
                } else if let Ok(found) = btf.type_named(&format!("enum {}", within.trim_start_matches("enum "))) {
                    self.roots.insert(found.id());
                }
            }
            Need::Function(name) => {
                self.roots.extend(unless_unsound(btf.function(name))?.map(|found| found.id()));
            }
        }
        Ok(())
    }

    /// All types that are to be written, ascending, and the members that stay made complete.
    fn complete(&mut self, btf: &Btf) -> Result<BTreeSet<u32>, Defect> {
        for id in std::mem::take(&mut self.fields) {
            self.keep_all(btf, id)?;
        }
        self.keep_ends(btf)?;
        // What only pointers lead to is declared; but it may be part of something else as well.
        let mut seen = BTreeSet::new();
        let mut rest: Vec<(u32, bool)> = self.roots.iter().map(|id| (*id, false)).collect();
        while let Some((id, pointed)) = rest.pop() {
            if id == 0 || !seen.insert((id, pointed)) {
                continue;
            }
            let found = btf.at(id)?;
            match found.kind() {
                Kind::Ptr => rest.extend(found.target().map(|target| (target, true))),
                Kind::FuncProto => {
                    let types = found.parameters().map(|parameter| parameter.type_id).chain(found.target());
                    rest.extend(types.map(|target| (target, false)));
                }
                kind if kind.is_composite() => {
                    if !pointed && !self.members.contains_key(&id) {
                        self.keep_all(btf, id)?;
                    }
                    let Some(members) = self.members.get(&id) else { continue };
                    let kept = found.members().zip(0..).filter(|(_, place)| members.contains(place));
                    rest.extend(kept.map(|(member, _)| (member.type_id, false)));
                }
                // Variables and tags refer to types, and no type refers to them.
                kind @ (Kind::Var | Kind::Datasec | Kind::DeclTag) => return Err(Defect::NoType { id, kind }),
                Kind::Array => rest.extend(found.target().into_iter().chain(found.index_type()).map(|id| (id, false))),
                _ => rest.extend(found.target().map(|target| (target, pointed))),
            }
        }
        Ok(seen.into_iter().map(|(id, _)| id).collect())
    }

    /// All members of what is in that type by value.
    fn keep_all(&mut self, btf: &Btf, id: u32) -> Result<(), Defect> {
        let mut seen = BTreeSet::new();
        let mut rest = vec![id];
        while let Some(id) = rest.pop() {
            if !seen.insert(id) {
                continue;
            }
            let found = btf.at(id)?;
            match found.kind() {
                kind if kind.is_composite() => {
                    self.members.entry(id).or_default().extend(0..found.length());
                    rest.extend(found.members().map(|member| member.type_id));
                }
                kind if kind.is_modifier() || kind == Kind::Array => rest.extend(found.target()),
                _ => {}
            }
        }
        Ok(())
    }

    /// An array without a length can be read beyond only where it is the last member. One that was not must not
    /// become it.
    fn keep_ends(&mut self, btf: &Btf) -> Result<(), Defect> {
        let mut ends = Vec::new();
        for (id, members) in &self.members {
            let found = btf.at(*id)?;
            let (Some(last), Some(end)) = (members.last(), found.length().checked_sub(1)) else { continue };
            if *last != end && found.kind() == Kind::Struct {
                ends.push((*id, *last, end));
            }
        }
        for (id, last, end) in ends {
            let types = btf.at(id)?.members().zip(0..).filter(|(_, place)| *place == last || *place == end);
            let [of_last, of_end] = types.map(|(member, _)| member.type_id).collect::<Vec<_>>()[..] else { continue };
            if ends_open(btf, of_last)? {
                self.members.entry(id).or_default().insert(end);
                self.keep_all(btf, of_end)?;
            }
        }
        Ok(())
    }
}

/// Whether a type is, or may end with, an array without a length.
fn ends_open(btf: &Btf, id: u32) -> Result<bool, Defect> {
    let mut here = btf.at(id)?;
    for _ in 0..32 {
        match here.target() {
            Some(target) if here.kind().is_modifier() => here = btf.at(target)?,
            _ => break,
        }
    }
    Ok(here.elements() == Some(0) || here.kind().is_composite())
}
