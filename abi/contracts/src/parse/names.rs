//! The words of a line. Each function takes one off the front of a text and leaves the rest.

use std::fmt;

use super::What;

/// Longest name, arguments apart.
const NAME: usize = 64;
/// Types within a type.
const DEPTH: usize = 8;
/// Longest unit.
const UNIT: usize = 16;

/// A type as it is spelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Spelled {
    Integer { signed: bool, bytes: u64, big: bool },
    Array { element: Box<Self>, length: u64 },
    Record(String),
}

impl Spelled {
    pub(super) fn record(&self) -> Option<&str> {
        match self {
            Self::Integer { .. } => None,
            Self::Array { element, .. } => element.record(),
            Self::Record(name) => Some(name),
        }
    }
}

impl fmt::Display for Spelled {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer { signed, bytes, big } => {
                let (sign, order) = (if *signed { 'i' } else { 'u' }, if *big { "be" } else { "" });
                write!(formatter, "{sign}{}{order}", bytes * 8)
            }
            Self::Array { element, length } => write!(formatter, "[{element}; {length}]"),
            Self::Record(name) => formatter.write_str(name),
        }
    }
}

/// Something else is there: its beginning is told.
pub(super) fn expected(expected: &str, found: &str) -> What {
    What::Expected { expected: expected.to_owned(), found: found.chars().take(40).collect() }
}

/// A text that has to be there.
pub(super) fn keyword<'t>(text: &'t str, word: &str) -> Result<&'t str, What> {
    text.strip_prefix(word).ok_or_else(|| expected(&format!("{word:?}"), text))
}

/// The end of the line.
pub(super) fn end(text: &str) -> Result<(), What> {
    if text.is_empty() { Ok(()) } else { Err(expected("the end of the line", text)) }
}

fn span<'t>(text: &'t str, limit: usize, what: &str, of: impl Fn(u8) -> bool) -> Result<(&'t str, &'t str), What> {
    let length = text.bytes().take_while(|byte| of(*byte)).count();
    // Only ASCII is taken, so that this is between two characters.
    if length == 0 || length > limit { Err(expected(what, text)) } else { Ok(text.split_at(length)) }
}

/// A name of Rust.
pub(super) fn identifier(text: &str) -> Result<(&str, &str), What> {
    const WHAT: &str = "a name of up to 64 letters, digits and _";
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        return Err(expected(WHAT, text));
    }
    span(text, NAME, WHAT, |byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The name of a map, a kind or a service.
pub(super) fn word(text: &str) -> Result<(&str, &str), What> {
    let of = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    span(text, NAME, "a word of up to 64 letters, digits and _ . -", of)
}

/// A unit.
pub(super) fn unit(text: &str) -> Result<(&str, &str), What> {
    let of = |byte: u8| byte.is_ascii_alphanumeric() || b"/._%^-".contains(&byte);
    span(text, UNIT, "a unit of up to 16 letters, digits and / . _ % ^ -", of)
}

/// A number as it is written canonically.
pub(super) fn number(text: &str) -> Result<(u64, &str), What> {
    const WHAT: &str = "a number of 64 bits without a leading 0";
    let (digits, rest) = span(text, 20, WHAT, |byte| byte.is_ascii_digit())?;
    if digits.len() > 1 && digits.starts_with('0') {
        return Err(expected(WHAT, text));
    }
    digits.parse().map(|number| (number, rest)).map_err(|_| expected(WHAT, text))
}

/// A type.
pub(super) fn spelled(text: &str) -> Result<(Spelled, &str), What> {
    within(text, DEPTH)
}

fn within(text: &str, depth: usize) -> Result<(Spelled, &str), What> {
    let Some(depth) = depth.checked_sub(1) else { return Err(What::Deep { limit: DEPTH }) };
    if let Some(rest) = text.strip_prefix('[') {
        let (element, rest) = within(rest, depth)?;
        let (length, rest) = number(keyword(rest, "; ")?)?;
        return Ok((Spelled::Array { element: Box::new(element), length }, keyword(rest, "]")?));
    }
    let (name, mut rest) = identifier(text)?;
    if let Some(integer) = integer(name) {
        return Ok((integer, rest));
    }
    let mut opening = "<";
    while let Some(argument) = rest.strip_prefix(opening) {
        rest = if argument.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
            number(argument.strip_prefix('-').unwrap_or(argument))?.1
        } else {
            within(argument, depth)?.1
        };
        opening = ", ";
    }
    if opening == ", " {
        rest = keyword(rest, ">")?;
    }
    let spelled = &text[..text.len() - rest.len()];
    Ok((Spelled::Record(spelled.to_owned()), rest))
}

fn integer(name: &str) -> Option<Spelled> {
    let (name, big) = name.strip_suffix("be").map_or((name, false), |name| (name, true));
    let signed = name.starts_with('i');
    let bytes = match name.strip_prefix(['i', 'u'])? {
        "8" if !big => 1,
        "16" => 2,
        "32" => 4,
        "64" => 8,
        _ => return None,
    };
    Some(Spelled::Integer { signed, bytes, big })
}
