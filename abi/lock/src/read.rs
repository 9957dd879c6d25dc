//! An object to its lock.

use std::collections::{HashMap, HashSet};

use gabion_btf::{Btf, Kind, Linkage, Type as Found};
use gabion_contracts::{Contracts, NotEmbedded, embedded};
use object::{File, Object as _, ObjectSection as _, ObjectSymbol as _};

use crate::error::{Error, checked};
use crate::maps;
use crate::model::{Lock, Section, Variable};
use crate::types::Types;

/// Maps, and variables.
const MANY: usize = 1 << 14;

impl Lock {
    /// What an object of kernel programs shares: its maps, its variables, all types of theirs, and what it says of
    /// itself in contracts. Where it has those, a map or variable that they do not name is its own affair, and is not
    /// in the lock.
    ///
    /// # Errors
    /// When it cannot be read, contradicts itself, or has nothing of that kind.
    pub fn of_object(elf: &[u8]) -> Result<Self, Error> {
        let file = File::parse(elf)?;
        let contracts = match embedded(elf) {
            Ok(text) => Some(Contracts::parse(text)?),
            Err(NotEmbedded::NoSection) => None,
            Err(error) => return Err(error.into()),
        };
        let mut lock = Self { big_endian: !file.is_little_endian(), ..Self::default() };
        contracts.iter().for_each(|contracts| lock.add(contracts));
        let symbols = Symbols::of(&file)?;
        let shared = Shared::of(contracts.as_ref());
        if let Some(section) = file.section_by_name(".BTF") {
            let btf = Btf::parse(section.data()?.to_vec())?.named("its types");
            let mut types = Types::new(&btf, lock);
            for found in btf.types().filter(|found| found.kind() == Kind::Datasec) {
                match found.name()? {
                    ".maps" => defined(&mut types, found, &shared)?,
                    name if is_data(name) => variables(&mut types, found, &symbols, &shared)?,
                    _ => {}
                }
            }
            lock = types.lock;
        } else if let Some(section) = file.sections().find(|section| section.name() == Ok(".maps")) {
            return Err(Error::NoTypes { section: section.name()?.to_owned() });
        }
        lock.legacy(&file, &shared)?;
        for place in contracts.iter().flat_map(|contracts| &contracts.places) {
            lock.place(place)?;
        }
        let Self { records, maps, sections, .. } = &lock;
        if records.is_empty() && maps.is_empty() && sections.is_empty() { Err(Error::Nothing) } else { Ok(lock) }
    }

    /// Maps that stand as numbers in a section `maps`.
    fn legacy(&mut self, file: &File<'_>, shared: &Shared) -> Result<(), Error> {
        let mut sections = HashMap::new();
        for section in file.sections() {
            let name = section.name()?;
            if name == "maps" || name.starts_with("maps/") {
                sections.insert(section.index(), section.data()?);
            }
        }
        for symbol in file.symbols().filter(|symbol| symbol.is_definition()) {
            let Some(data) = symbol.section_index().and_then(|index| sections.get(&index)) else { continue };
            let name = symbol.name()?;
            if name.is_empty() || !shared.has(name) {
                continue;
            }
            let name = checked(name)?;
            let start = usize::try_from(symbol.address()).ok();
            let end = usize::try_from(symbol.address().saturating_add(symbol.size())).ok();
            let bytes = start.zip(end).and_then(|(start, end)| data.get(start..end));
            let outside = || Error::Definition { map: name.to_owned(), what: "it ends behind its section".into() };
            let map = maps::legacy(name, bytes.ok_or_else(outside)?, self.big_endian)?;
            if self.maps.insert(name.to_owned(), map).is_some() {
                return Err(Error::Twice { within: "the object".to_owned(), name: name.to_owned() });
            }
            within(self.maps.len())?;
        }
        Ok(())
    }
}

/// Maps, sections and variables that contracts name; all of them in an object without contracts.
struct Shared(Option<HashSet<String>>);

impl Shared {
    fn of(contracts: Option<&Contracts>) -> Self {
        Self(contracts.map(|said| said.places.iter().map(|place| place.name.clone()).collect()))
    }

    fn has(&self, name: &str) -> bool {
        self.0.as_ref().is_none_or(|names| names.contains(name))
    }
}

/// Sections that loaders make maps of.
fn is_data(name: &str) -> bool {
    [".data", ".bss", ".rodata"]
        .iter()
        .any(|known| name.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

fn within(count: usize) -> Result<(), Error> {
    if count > MANY { Err(Error::Many { what: "maps or variables", limit: MANY }) } else { Ok(()) }
}

fn defined(types: &mut Types<'_>, section: Found<'_>, shared: &Shared) -> Result<(), Error> {
    for variable in section.variables() {
        let found = types.btf.get(variable.type_id)?;
        // One that is defined elsewhere is locked there.
        if found.kind() == Kind::Var && found.linkage() != Some(Linkage::Extern) && shared.has(found.name()?) {
            types.map(found.name()?, found.target().unwrap_or(0))?;
            within(types.lock.maps.len())?;
        }
    }
    Ok(())
}

fn variables(types: &mut Types<'_>, found: Found<'_>, symbols: &Symbols, shared: &Shared) -> Result<(), Error> {
    let section = found.name()?;
    let constant = section.starts_with(".rodata");
    let mut variables = Vec::new();
    for variable in found.variables() {
        let var = types.btf.get(variable.type_id)?;
        // What only its file sees is shared with nobody: texts, above all.
        if var.kind() != Kind::Var || var.linkage() != Some(Linkage::Global) {
            continue;
        }
        if !shared.has(section) && !shared.has(var.name()?) {
            continue;
        }
        let name = checked(var.name()?)?;
        let id = var.target().unwrap_or(0);
        let (ty, _) = types.of(id, name)?;
        // A pointer says which record there is elsewhere: what a ring carries is made known in that way.
        let (plain, _) = types.plain(id, name)?;
        if plain.kind() == Kind::Ptr {
            let (target, _) = types.plain(plain.target().unwrap_or(0), name)?;
            if target.kind().is_composite() {
                types.of(target.id(), name)?;
            }
        }
        let place = symbols.0.get(&(section.to_owned(), name.to_owned())).copied();
        let no_symbol = || Error::NoSymbol { section: section.to_owned(), name: name.to_owned() };
        let place = if constant { None } else { Some(place.ok_or_else(no_symbol)?) };
        variables.push(Variable { name: name.to_owned(), place, ty });
        within(variables.len())?;
    }
    if variables.is_empty() {
        return Ok(());
    }
    variables.sort_by(|one, two| (one.place, &one.name).cmp(&(two.place, &two.name)));
    let mut names = HashSet::new();
    if let Some(twice) = variables.iter().find(|variable| !names.insert(variable.name.as_str())) {
        return Err(Error::Twice { within: section.to_owned(), name: twice.name.clone() });
    }
    let new = Section { pinned: false, variables };
    match types.lock.sections.insert(checked(section)?.to_owned(), new) {
        None => Ok(()),
        Some(_) => Err(Error::Twice { within: "the object".to_owned(), name: section.to_owned() }),
    }
}

/// Where variables are, by their section and name: the types of an object that was not linked leave it open.
struct Symbols(HashMap<(String, String), u64>);

impl Symbols {
    fn of(file: &File<'_>) -> Result<Self, Error> {
        let mut sections = HashMap::new();
        for section in file.sections() {
            let name = section.name()?;
            if is_data(name) {
                sections.insert(section.index(), (name, section.address()));
            }
        }
        let mut found = HashMap::new();
        for symbol in file.symbols() {
            let section = symbol.section_index().and_then(|index| sections.get(&index));
            if let Some((section, start)) = section {
                let place = symbol.address().saturating_sub(*start);
                found.insert(((*section).to_owned(), symbol.name()?.to_owned()), place);
            }
        }
        Ok(Self(found))
    }
}
