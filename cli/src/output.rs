//! Facts as tables, JSON or YAML.

use std::io::{self, Write};

use serde::Serialize;

use crate::exit::{Failure, plain};

/// How facts are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One YAML document.
    Yaml,
}

/// Prints a value as a program wants it, or the table that `table` makes of it.
pub fn show<T: Serialize>(format: Format, value: &T, table: impl FnOnce(&T) -> String) -> Result<(), Failure> {
    let text = match format {
        Format::Table => table(value),
        Format::Json => {
            let json = serde_json::to_string_pretty(value);
            json.map_err(|error| Failure::defect(format!("cannot write JSON: {error}")))? + "\n"
        }
        Format::Yaml => {
            serde_saphyr::to_string(value).map_err(|error| Failure::defect(format!("cannot write YAML: {error}")))?
        }
    };
    print(&text)
}

/// Prints text on stdout, with colours only where they can be seen and are wanted.
pub fn print(text: &str) -> Result<(), Failure> {
    written(anstream::stdout().lock().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()))
}

/// Says something on stderr, with colours only where they can be seen and are wanted. Where stderr takes nothing there
/// is nobody to tell, and the exit code says what it said.
pub fn say(text: &str) {
    let _ = anstream::stderr().lock().write_all(text.as_bytes());
}

/// Prints bytes on stdout as they are.
pub fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    written(io::stdout().lock().write_all(bytes).and_then(|()| io::stdout().flush()))
}

/// A reader that went away has seen enough; everything else is a failure.
pub fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::system(format!("cannot write to stdout: {}", plain(&error))))
        }
        _ => Ok(()),
    }
}

/// Columns of text, each as wide as its widest cell; the last is not padded.
pub fn columns(rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        for (at, cell) in row.iter().enumerate() {
            let width = cell.chars().count();
            match widths.get_mut(at) {
                Some(widest) => *widest = width.max(*widest),
                None => widths.push(width),
            }
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', (width + 2).saturating_sub(cell.chars().count())));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
