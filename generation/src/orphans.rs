//! What was left behind: programs, maps, links and pins of ours that no agent's folder refers to any more, and whose
//! they are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::census::{Census, Holder, Id};
use crate::error::Error;

/// Kinds of what can be left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A program.
    Program,
    /// A map.
    Map,
    /// A link.
    Link,
    /// A folder of pins.
    Folder,
}

impl Kind {
    /// As people and programs read it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::Map => "map",
            Self::Link => "link",
            Self::Folder => "folder",
        }
    }
}

/// Something that was left behind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Orphan {
    /// What it is.
    pub kind: Kind,
    /// Its number, by which `bpftool` shows it; folders have none.
    pub id: Option<u32>,
    /// Its name, or the path of a folder.
    pub name: String,
    /// Where it is pinned.
    pub pins: Vec<PathBuf>,
    /// Who else refers to it, in words.
    pub held_by: Vec<String>,
    /// Why nobody wants it.
    pub why: String,
    /// What to do.
    pub remedy: String,
}

/// A folder that an agent owns, or owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentFolder {
    /// Where.
    pub path: PathBuf,
    /// The generations there, each with whether a hook runs it.
    pub generations: Vec<(String, bool)>,
    /// Its pinned links and filters, by the names of their pins.
    pub hooks: Vec<String>,
    /// Processes that hold something of it: its agent, if one runs.
    pub held_by: Vec<String>,
}

/// What of ours is in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Programs.
    pub programs: usize,
    /// Maps.
    pub maps: usize,
    /// Links.
    pub links: usize,
    /// Folders of agents.
    pub folders: Vec<AgentFolder>,
    /// What was left behind.
    pub orphans: Vec<Orphan>,
}

/// Looks at everything that is named as ours, in this kernel and on every bpffs that a process sees.
///
/// # Errors
/// When the kernel does not let us look.
pub fn survey() -> Result<Survey, Error> {
    Ok(judge(&Census::take()?))
}

/// Parts of a folder of an agent.
const GENERATIONS: &str = "generations";
const LINKS: &str = "links";
const STATE: &str = "state";
const STATE_IN_MAKING: &str = "state-new";
const GATEKEEPER: &str = crate::folder::GATEKEEPER;
const SPARE: &str = crate::folder::SPARE;
/// How the folder of a generation begins that is not complete.
const IN_MAKING: &str = "new-";

/// Where a path lies within the folder of an agent.
struct Place<'p> {
    root: &'p Path,
    part: &'p str,
    /// The name below that part.
    name: &'p str,
}

fn place(path: &Path) -> Option<Place<'_>> {
    // The innermost part counts: an agent may have its folder within that of another.
    path.ancestors().zip(path.ancestors().skip(1)).find_map(|(below, above)| {
        let part = above.file_name()?.to_str()?;
        let is_part = [GENERATIONS, LINKS, STATE, STATE_IN_MAKING, GATEKEEPER].contains(&part);
        is_part.then_some(Place { root: above.parent()?, part, name: below.file_name()?.to_str()? })
    })
}

/// What is pinned in the folder of one agent.
#[derive(Default)]
struct Owned<'c> {
    generations: BTreeMap<&'c str, Vec<Id>>,
    hooks: Vec<(&'c Path, &'c str, Id)>,
    in_making: Vec<Id>,
    all: BTreeSet<Id>,
}

fn judge(census: &Census) -> Survey {
    let ours = |id: &Id| match id {
        Id::Program(id) => census.programs.contains_key(id),
        Id::Map(id) => census.maps.contains_key(id),
        Id::Link(id) => census.links.contains_key(id),
    };
    let mut folders: BTreeMap<&Path, Owned<'_>> = BTreeMap::new();
    for (path, id) in &census.pins {
        let Some(Place { root, part, name }) = place(path) else { continue };
        if !ours(id) && part != STATE {
            continue;
        }
        let owned = folders.entry(root).or_default();
        owned.all.insert(*id);
        match part {
            GENERATIONS => owned.generations.entry(name).or_default().push(*id),
            LINKS => owned.hooks.push((path, name, *id)),
            STATE_IN_MAKING => owned.in_making.push(*id),
            _ => {}
        }
    }
    let mut survey = Survey {
        programs: census.programs.len(),
        maps: census.maps.len(),
        links: census.links.len(),
        ..Survey::default()
    };
    for (root, owned) in &folders {
        folder(census, root, owned, &mut survey);
    }
    let kept: BTreeSet<Id> = folders.values().flat_map(|owned| owned.all.iter().copied()).collect();
    strays(census, &kept, &mut survey);
    survey.orphans.sort();
    survey
}

fn holders(census: &Census, ids: impl IntoIterator<Item = Id>) -> Vec<String> {
    let held: BTreeSet<&Holder> = ids.into_iter().filter_map(|id| census.holders.get(&id)).flatten().collect();
    held.into_iter().map(|Holder { pid, name }| format!("process {pid} ({name})")).collect()
}

/// What lies in the folder of an agent and is of no use.
fn folder(census: &Census, root: &Path, owned: &Owned<'_>, survey: &mut Survey) {
    // A filter goes with its interface, and its pin does not say so; the link beside it does.
    let interface = |pin: &str| pin.rsplit_once('-').map(|(interface, _)| interface.to_owned());
    let gone: BTreeSet<Option<String>> = owned
        .hooks
        .iter()
        .filter(|(_, _, id)| matches!(id, Id::Link(id) if census.links.get(id).is_some_and(|it| it.ifindex == Some(0))))
        .map(|(_, name, _)| interface(name))
        .collect();
    let running: BTreeSet<u32> = owned
        .hooks
        .iter()
        .filter(|(_, name, id)| matches!(id, Id::Link(_)) || !gone.contains(&interface(name)))
        .filter_map(|(_, _, id)| match id {
            Id::Link(id) => census.links.get(id).filter(|link| link.ifindex != Some(0)).map(|link| link.program),
            // The program of a filter.
            Id::Program(id) => Some(*id),
            Id::Map(_) => None,
        })
        .collect();
    let runs = |ids: &[Id]| ids.iter().any(|id| matches!(id, Id::Program(id) if running.contains(id)));
    let held_by = holders(census, owned.all.iter().copied());
    for (path, name, id) in &owned.hooks {
        let Id::Link(number) = id else { continue };
        if census.links.get(number).is_some_and(|link| link.ifindex == Some(0)) {
            survey.orphans.push(Orphan {
                kind: Kind::Link,
                id: Some(*number),
                name: (*name).to_owned(),
                pins: vec![path.to_path_buf()],
                held_by: holders(census, [*id]),
                why: "its interface is gone".to_owned(),
                remedy: format!(
                    "the next start of the agent of {} removes it; or rm {}",
                    root.display(),
                    path.display()
                ),
            });
        }
    }
    let generations =
        owned.generations.iter().filter(|(_, ids)| !runs(ids) && holders(census, ids.iter().copied()).is_empty());
    let left = generations.map(|(name, _)| {
        let why = match name.strip_prefix(IN_MAKING) {
            Some(number) => format!("generation {number} was not complete when its agent died"),
            None if **name == *SPARE => "an agent that died kept it for its next generation".to_owned(),
            None => format!("no hook runs generation {name}, and no process holds it: its agent does not run"),
        };
        (root.join(GENERATIONS).join(name), why)
    });
    let making = (!owned.in_making.is_empty() && holders(census, owned.in_making.iter().copied()).is_empty())
        .then(|| (root.join(STATE_IN_MAKING), "the state was not complete when its agent died".to_owned()));
    for (path, why) in left.chain(making) {
        survey.orphans.push(Orphan {
            kind: Kind::Folder,
            id: None,
            name: path.display().to_string(),
            pins: vec![path],
            held_by: Vec::new(),
            why,
            remedy: format!(
                "start the agent of {} (gabion run), which keeps or removes it; where nothing is to be enforced, gabion \
                 detach --bpffs {}",
                root.display(),
                root.display()
            ),
        });
    }
    survey.folders.push(AgentFolder {
        path: root.to_owned(),
        generations: owned.generations.iter().map(|(name, ids)| ((*name).to_owned(), runs(ids))).collect(),
        hooks: owned.hooks.iter().map(|(_, name, _)| (*name).to_owned()).collect(),
        held_by,
    });
}

/// What lies in no folder of an agent. What only a process holds goes with it, and is no orphan.
fn strays(census: &Census, kept: &BTreeSet<Id>, survey: &mut Survey) {
    let pins = |id: Id| census.pins.iter().filter(move |(_, pinned)| *pinned == id).map(|(path, _)| path.clone());
    let mut used: BTreeSet<u32> = BTreeSet::new();
    let mut wanted: BTreeSet<u32> = BTreeSet::new();
    for (&number, link) in &census.links {
        let id = Id::Link(number);
        if kept.contains(&id) {
            wanted.insert(link.program);
            continue;
        }
        let (pins, held_by): (Vec<_>, _) = (pins(id).collect(), holders(census, [id]));
        if pins.is_empty() && !held_by.is_empty() {
            wanted.insert(link.program);
            continue;
        }
        let name = census.programs.get(&link.program).map_or_else(String::new, |program| program.name.clone());
        let (why, remedy) = unclaimed(&pins);
        survey.orphans.push(Orphan { kind: Kind::Link, id: Some(number), name, pins, held_by, why, remedy });
    }
    for (&number, program) in &census.programs {
        let id = Id::Program(number);
        let held_by = holders(census, [id]);
        let pins: Vec<PathBuf> = pins(id).collect();
        if kept.contains(&id) || wanted.contains(&number) || (pins.is_empty() && !held_by.is_empty()) {
            used.extend(&program.maps);
            continue;
        }
        let mut held_by = held_by;
        let (mut why, mut remedy) = unclaimed(&pins);
        if let Some(interfaces) = census.filters.get(&number) {
            let interfaces: Vec<&str> = interfaces.iter().map(String::as_str).collect();
            held_by.push(format!("a filter on {}", interfaces.join(", ")));
            why = "a filter runs it that no agent's folder knows of".to_owned();
            remedy = format!(
                "tc filter del dev {} (ingress and egress), where nobody else has filters",
                interfaces.join(", ")
            );
        } else if census.links.values().any(|link| link.program == number) {
            held_by.push("a link that was left behind, too".to_owned());
        }
        used.extend(&program.maps);
        survey.orphans.push(Orphan {
            kind: Kind::Program,
            id: Some(number),
            name: program.name.clone(),
            pins,
            held_by,
            why,
            remedy,
        });
    }
    for (&number, name) in &census.maps {
        let id = Id::Map(number);
        let held_by = holders(census, [id]);
        let pins: Vec<PathBuf> = pins(id).collect();
        if kept.contains(&id) || used.contains(&number) || (pins.is_empty() && !held_by.is_empty()) {
            continue;
        }
        let (why, remedy) = unclaimed(&pins);
        survey.orphans.push(Orphan {
            kind: Kind::Map,
            id: Some(number),
            name: name.clone(),
            pins,
            held_by,
            why,
            remedy,
        });
    }
}

fn unclaimed(pins: &[PathBuf]) -> (String, String) {
    match pins {
        [] => (
            "no pin that can be reached and no process holds it".to_owned(),
            "something out of sight holds it: a filter in another network namespace (tc filter show there), or a pin on a \
             bpffs that no process has mounted any more, which goes with a restart"
                .to_owned(),
        ),
        [first, ..] => (
            "it is pinned in no agent's folder".to_owned(),
            format!("if nobody put it there on purpose, rm {}", first.display()),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::census::{LoadedLink, LoadedProgram};

    fn at(path: &str) -> PathBuf {
        PathBuf::from(path)
    }

    /// A node with one interface, whose agent runs.
    fn healthy() -> Census {
        let mut census = Census::default();
        for (number, name) in [(1, "gabion_ingress"), (2, "gabion_egress")] {
            census.programs.insert(number, LoadedProgram { name: name.to_owned(), maps: vec![10, 11] });
        }
        census.maps.insert(10, ".data.marks".to_owned());
        census.maps.insert(11, "RULES".to_owned());
        census.links.insert(20, LoadedLink { program: 1, ifindex: Some(3) });
        census.links.insert(21, LoadedLink { program: 2, ifindex: Some(3) });
        census.pins = vec![
            (at("/b/gabion/state/marks"), Id::Map(10)),
            (at("/b/gabion/generations/4/gabion_ingress"), Id::Program(1)),
            (at("/b/gabion/generations/4/gabion_egress"), Id::Program(2)),
            (at("/b/gabion/links/eth0-xdp"), Id::Link(20)),
            (at("/b/gabion/links/eth0-tcx"), Id::Link(21)),
        ];
        let agent = Holder { pid: 77, name: "gabion".to_owned() };
        census.holders.entry(Id::Program(1)).or_default().insert(agent);
        census
    }

    fn told(census: &Census) -> Vec<String> {
        judge(census)
            .orphans
            .iter()
            .map(|o| format!("{} {} {}: {}", o.kind.name(), o.id.unwrap_or(0), o.name, o.why))
            .collect()
    }

    #[test]
    fn a_node_in_order_has_no_orphans_and_its_folder_is_named() {
        let survey = judge(&healthy());
        assert_eq!(survey.orphans, []);
        let [folder] = &survey.folders[..] else { unreachable!("{survey:?}") };
        assert_eq!(folder.path, at("/b/gabion"));
        assert_eq!(folder.generations, [("4".to_owned(), true)]);
        assert_eq!(folder.hooks, ["eth0-xdp", "eth0-tcx"]);
        assert_eq!(folder.held_by, ["process 77 (gabion)"]);
    }

    #[test]
    fn a_generation_that_nobody_runs_or_holds_was_left_behind() {
        let mut census = healthy();
        census.programs.insert(5, LoadedProgram { name: "gabion_ingress".to_owned(), maps: Vec::new() });
        census.pins.push((at("/b/gabion/generations/3/gabion_ingress"), Id::Program(5)));
        let why = "no hook runs generation 3, and no process holds it: its agent does not run";
        assert_eq!(told(&census), [format!("folder 0 /b/gabion/generations/3: {why}")]);
        // One that an agent keeps to go back to is not.
        census.holders.entry(Id::Program(5)).or_default().insert(Holder { pid: 77, name: "gabion".to_owned() });
        assert_eq!(told(&census), [""; 0]);
    }

    #[test]
    fn a_gatekeeper_stays_when_its_agent_does_not_run() {
        let mut census = healthy();
        census.programs.insert(7, LoadedProgram { name: "gabion_who".to_owned(), maps: vec![13] });
        census.maps.insert(13, "LOADING".to_owned());
        census.links.insert(22, LoadedLink { program: 7, ifindex: None });
        census.pins.push((at("/b/gabion/gatekeeper/12ab-77/gabion_who"), Id::Link(22)));
        assert_eq!(told(&census), [""; 0]);
    }

    #[test]
    fn a_link_whose_interface_is_gone_was_left_behind() {
        let mut census = healthy();
        census.links.insert(30, LoadedLink { program: 1, ifindex: Some(0) });
        census.pins.push((at("/b/gabion/links/gone-xdp"), Id::Link(30)));
        assert_eq!(told(&census), ["link 30 gone-xdp: its interface is gone"]);
    }

    #[test]
    fn what_is_pinned_elsewhere_or_nowhere_was_left_behind() {
        let mut census = healthy();
        census.programs.insert(6, LoadedProgram { name: "gabion_egress".to_owned(), maps: vec![12] });
        census.maps.insert(12, "RULES".to_owned());
        census.pins.push((at("/b/mine/old"), Id::Program(6)));
        assert_eq!(told(&census), ["program 6 gabion_egress: it is pinned in no agent's folder"]);
        census.pins.pop();
        assert_eq!(told(&census), ["program 6 gabion_egress: no pin that can be reached and no process holds it"]);
        census.filters.entry(6).or_default().insert("eth1".to_owned());
        assert_eq!(told(&census), ["program 6 gabion_egress: a filter runs it that no agent's folder knows of"]);
        // What a process holds goes with it.
        census.filters.clear();
        census.holders.entry(Id::Program(6)).or_default().insert(Holder { pid: 9, name: "test".to_owned() });
        assert_eq!(told(&census), [""; 0]);
    }

    #[test]
    fn maps_and_links_of_nobody_are_named() {
        let mut census = healthy();
        census.maps.insert(40, ".data.tallies".to_owned());
        census.links.insert(41, LoadedLink { program: 1, ifindex: Some(4) });
        let unseen = "no pin that can be reached and no process holds it";
        assert_eq!(
            told(&census),
            [format!("map 40 .data.tallies: {unseen}"), format!("link 41 gabion_ingress: {unseen}")]
        );
    }
}
