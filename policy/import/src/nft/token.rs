//! nftables text → tokens.

use std::ops::Range;

use crate::diagnostic::Diagnostic;
use crate::source::Lines;

/// A word, a quoted string or a sign, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub kind: Kind,
    /// Without the quotes.
    pub text: String,
    pub range: Range<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Word,
    Quoted,
    /// `{ } ( ) , = == != < > | & ! /` standing alone.
    Sign,
    /// A line's end or `;`.
    End,
}

impl Token {
    pub fn is(&self, text: &str) -> bool {
        self.kind != Kind::Quoted && self.text == text
    }
}

const SIGNS: &str = "{}(),=!<>|&";

pub(super) fn tokens(lines: &Lines<'_>) -> Result<Vec<Token>, Diagnostic> {
    let text = lines.text;
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let start = at;
        at += c.len_utf8();
        let mut push = |kind, range: Range<usize>| {
            tokens.push(Token { kind, text: text[range.clone()].to_owned(), range });
        };
        match c {
            '\n' | ';' => push(Kind::End, start..at),
            '#' => at += text[at..].find('\n').unwrap_or(text.len() - at),
            '\\' if text[at..].starts_with('\n') => at += 1,
            '\\' if text[at..].starts_with("\r\n") => at += 2,
            _ if c.is_whitespace() => {}
            '"' => {
                let rest = &text[at..];
                let end = rest.find(['"', '\n']).filter(|&end| rest[end..].starts_with('"'));
                let Some(end) = end else {
                    return Err(lines.diagnose(start..at, "a quote without an end", "close it on the same line"));
                };
                tokens.push(Token { kind: Kind::Quoted, text: rest[..end].to_owned(), range: start..at + end + 1 });
                at += end + 1;
            }
            '=' | '!' | '<' | '>' if text[at..].starts_with('=') => {
                at += 1;
                push(Kind::Sign, start..at);
            }
            _ if SIGNS.contains(c) => push(Kind::Sign, start..at),
            _ => {
                let stops = |c: char| c.is_whitespace() || SIGNS.contains(c) || matches!(c, ';' | '"' | '#' | '\\');
                at += text[at..].find(stops).unwrap_or(text.len() - at);
                push(if &text[start..at] == "/" { Kind::Sign } else { Kind::Word }, start..at);
            }
        }
    }
    Ok(tokens)
}
