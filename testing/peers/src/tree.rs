//! Rules cut by address until few are left: what a careful author of verdict maps does by hand.

use crate::rules::Line;

/// A chain of so many rules is short enough.
const LEAF: usize = 8;
/// Parts that a split has at most: the first that does not copy too much.
const PARTS: [usize; 4] = [128, 32, 8, 2];
/// Splits above one another.
const DEPTH: usize = 6;
/// Rules that all chains hold together, for each rule of the set: what copies may cost.
const COPIES: usize = 40;

/// Which address is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// The source.
    Source,
    /// The destination.
    Destination,
}

/// A part of the tree.
pub enum Node {
    /// Numbers of lines, in order.
    Leaf(Vec<usize>),
    /// Ranges of an address, with what becomes of packets in them.
    Split(Axis, Vec<(u32, u32, Node)>),
}

/// The whole.
pub struct Tree {
    /// Where to start.
    pub root: Node,
}

/// A range of sources and one of destinations.
#[derive(Clone, Copy)]
struct Area([(u32, u32); 2]);

/// Ranges of an address, with the lines that each needs.
type Parts = Vec<(u32, u32, Vec<usize>)>;

/// Lines that parts hold together.
fn held(parts: &Parts) -> usize {
    parts.iter().map(|(_, _, part)| part.len()).sum()
}

struct Builder<'l> {
    lines: &'l [Line],
    /// Copies that may still be made.
    budget: usize,
}

impl Tree {
    /// Cuts.
    pub fn new(lines: &[Line]) -> Self {
        let mut builder = Builder { lines, budget: lines.len() * COPIES };
        let everything = Area([(0, u32::MAX); 2]);
        Self { root: builder.node(&everything, (0..lines.len()).collect(), 0) }
    }
}

impl Builder<'_> {
    fn range(&self, line: usize, axis: usize) -> (u32, u32) {
        let block = if axis == 0 { self.lines[line].source } else { self.lines[line].destination };
        (block.network().to_bits(), block.broadcast().to_bits())
    }

    fn node(&mut self, area: &Area, numbers: Vec<usize>, depth: usize) -> Node {
        if numbers.len() <= LEAF || depth == DEPTH {
            return Node::Leaf(numbers);
        }
        // What a packet meets on average, if it may come from anywhere that a rule speaks of.
        let cost = |parts: &Parts| {
            let squares: usize = parts.iter().map(|(_, _, part)| part.len() * part.len()).sum();
            squares as f64 / held(parts).max(1) as f64
        };
        // As fine as the copies allow: wide rules stand in every part.
        let fits =
            |parts: &Parts| held(parts) <= numbers.len() + self.budget && cost(parts) < 0.9 * numbers.len() as f64;
        let finest = |axis| PARTS.iter().map(|&most| self.split(area, &numbers, axis, most)).find(fits);
        let found = [0, 1].into_iter().filter_map(|axis| Some((axis, finest(axis)?)));
        let Some((axis, children)) = found.min_by(|one, other| cost(&one.1).total_cmp(&cost(&other.1))) else {
            return Node::Leaf(numbers);
        };
        self.budget -= held(&children).saturating_sub(numbers.len());
        let child = |(low, high, part)| {
            let mut inner = *area;
            inner.0[axis] = (low, high);
            (low, high, self.node(&inner, part, depth + 1))
        };
        let children = children.into_iter().map(child).collect();
        Node::Split(if axis == 0 { Axis::Source } else { Axis::Destination }, children)
    }

    /// Cuts an area along one axis at edges of rules, and says which rules each part needs.
    fn split(&self, area: &Area, numbers: &[usize], axis: usize, most: usize) -> Parts {
        let (low, high) = area.0[axis];
        let mut starts: Vec<u32> = numbers
            .iter()
            .map(|&line| self.range(line, axis))
            .flat_map(|(from, to)| [from, to.wrapping_add(1)])
            .filter(|&start| start > low && start <= high)
            .collect();
        starts.sort_unstable();
        starts.dedup();
        let step = starts.len().div_ceil(most - 1).max(1);
        let starts = std::iter::once(low).chain(starts.into_iter().step_by(step)).collect::<Vec<_>>();
        let mut parts = Parts::new();
        for (at, &from) in starts.iter().enumerate() {
            let to = starts.get(at + 1).map_or(high, |next| next - 1);
            let mut inner = *area;
            inner.0[axis] = (from, to);
            let part = self.needed(&inner, numbers);
            match parts.last_mut() {
                Some((_, end, before)) if *before == part => *end = to,
                _ => parts.push((from, to, part)),
            }
        }
        parts
    }

    /// The rules that can decide in an area: those that meet it, up to the first that takes all of it.
    fn needed(&self, area: &Area, numbers: &[usize]) -> Vec<usize> {
        let mut needed = Vec::new();
        for &line in numbers {
            let ranges = [self.range(line, 0), self.range(line, 1)];
            let meets = (0..2).all(|axis| ranges[axis].0 <= area.0[axis].1 && area.0[axis].0 <= ranges[axis].1);
            if !meets {
                continue;
            }
            needed.push(line);
            let covers = (0..2).all(|axis| ranges[axis].0 <= area.0[axis].0 && area.0[axis].1 <= ranges[axis].1);
            if covers && self.lines[line].services.is_empty() {
                break;
            }
        }
        needed
    }
}
