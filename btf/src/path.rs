//! The way from a type to a field, as text: `pid`, `mm.total_vm`, `comm[0..16]`, `__state | state`.

use std::fmt;

/// A path, or several of which the first counts that this kernel has. Borrows its text, and keeps nothing beside it.
///
/// ```text
/// path    alternative { "|" alternative }
/// alternative  part { "." part }
/// part    name { "[" number "]" }        and, at the end only, "[" number ".." number "]"
/// ```
/// A dot goes on below a struct, a union, or the one that a pointer points to. Members without a name are not part of a
/// path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Path<'t>(&'t str);

/// One step of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'t> {
    /// To the member of that name, through a pointer if need be.
    Member(&'t str),
    /// To one element of an array.
    Element(u32),
    /// To the elements from the first up to before the second.
    Range(u32, u32),
}

/// What is wrong with the text of a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("path {path:?}: {what} at {at}; a path is like mm.total_vm, comm[0..16] or __state | state")]
pub struct PathError {
    /// The whole text.
    pub path: String,
    /// Where in it, in bytes.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
}

impl<'t> Path<'t> {
    /// Checks the text.
    ///
    /// # Errors
    /// With the place in the text that is not as it should be.
    pub fn parse(text: &'t str) -> Result<Self, PathError> {
        let mut from = 0;
        for alternative in text.split('|') {
            let mut rest = Steps { text: alternative, at: 0, done: false };
            while let Some(step) = rest.step() {
                let (at, what) = match step {
                    Ok(_) => continue,
                    Err(wrong) => wrong,
                };
                return Err(PathError { path: text.to_owned(), at: from + at, what });
            }
            from += alternative.len() + 1;
        }
        Ok(Self(text))
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &'t str {
        self.0
    }

    /// Each alternative as a path of its own, in the order in which they are tried.
    pub fn alternatives(&self) -> impl Iterator<Item = Path<'t>> + use<'t> {
        self.0.split('|').map(|text| Path(text.trim()))
    }

    /// The steps of the first alternative.
    pub fn steps(&self) -> impl Iterator<Item = Step<'t>> + use<'t> {
        let text = self.0.split('|').next().unwrap_or_default();
        let mut rest = Steps { text, at: 0, done: false };
        // The text was checked when the path was made.
        std::iter::from_fn(move || rest.step()?.ok())
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

struct Steps<'t> {
    text: &'t str,
    at: usize,
    done: bool,
}

impl<'t> Steps<'t> {
    /// The next step, or where what is wrong.
    fn step(&mut self) -> Option<Result<Step<'t>, (usize, &'static str)>> {
        self.skip_spaces();
        let rest = &self.text[self.at..];
        if self.at == self.text.len() && self.done {
            return None;
        }
        let (first, behind) = (rest.bytes().next(), self.done);
        let step = match first {
            Some(b'[') if behind => self.index(),
            Some(b'.') if behind => {
                self.at += 1;
                self.name()
            }
            _ if !behind => self.name(),
            _ => Err((self.at, "something else than a dot or an index")),
        };
        self.done = true;
        if step.is_err() {
            // Nothing follows what is wrong.
            self.at = self.text.len();
        }
        Some(step)
    }

    fn skip_spaces(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
    }

    fn name(&mut self) -> Result<Step<'t>, (usize, &'static str)> {
        self.skip_spaces();
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        if end == 0 || rest.starts_with(|c: char| c.is_ascii_digit()) {
            return Err((self.at, "no name"));
        }
        self.at += end;
        Ok(Step::Member(&rest[..end]))
    }

    fn index(&mut self) -> Result<Step<'t>, (usize, &'static str)> {
        let from = self.at;
        let rest = &self.text[from + 1..];
        let end = rest.find(']').ok_or((from, "an index that does not end"))?;
        let number = |text: &str| {
            let text = text.trim();
            let plain = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|_| plain).ok_or((from + 1, "no number of 32 bits"))
        };
        let step = match rest[..end].split_once("..") {
            None => Step::Element(number(&rest[..end])?),
            Some((first, behind)) => Step::Range(number(first)?, number(behind)?),
        };
        self.at = from + 1 + end + 1;
        if let Step::Range(first, behind) = step {
            if first >= behind {
                return Err((from, "a range without elements"));
            }
            self.skip_spaces();
            if self.at != self.text.len() {
                return Err((self.at, "something behind a range"));
            }
        }
        Ok(step)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn steps(text: &str) -> Vec<Step<'_>> {
        Path::parse(text).expect("a path").steps().collect()
    }

    #[test]
    fn steps_are_those_of_the_text() {
        use Step::{Element, Member, Range};
        assert_eq!(steps("pid"), [Member("pid")]);
        assert_eq!(steps(" mm . total_vm "), [Member("mm"), Member("total_vm")]);
        assert_eq!(steps("comm[0..16]"), [Member("comm"), Range(0, 16)]);
        assert_eq!(steps("a[1][2].b[ 3 ]"), [Member("a"), Element(1), Element(2), Member("b"), Element(3)]);
    }

    #[test]
    fn alternatives_are_paths_of_their_own() {
        let path = Path::parse("__state | a.state[4..8]").expect("a path");
        let texts: Vec<&str> = path.alternatives().map(|path| path.as_str()).collect();
        assert_eq!(texts, ["__state", "a.state[4..8]"]);
    }

    #[test]
    fn what_is_not_a_path_is_refused_with_its_place() {
        let cases = [
            ("", 0),
            ("a|", 2),
            ("a.", 2),
            (".a", 0),
            ("a..b", 2),
            ("a[", 1),
            ("a[]", 2),
            ("a[x]", 2),
            ("a[-1]", 2),
            ("a[4294967296]", 2),
            ("a[3..3]", 1),
            ("a[4..2]", 1),
            ("a[0..2].b", 7),
            ("a b", 2),
            ("[0]", 0),
            ("0a", 0),
            ("a->b", 1),
        ];
        for (text, at) in cases {
            assert_eq!(Path::parse(text).expect_err(text).at, at, "{text:?}");
        }
    }
}
