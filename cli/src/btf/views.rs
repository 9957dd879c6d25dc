//! Views of an object on kernels: field by field, for people and for programs.

use std::cmp::Ordering;
use std::path::Path;

use gabion_btf::Btf;
use gabion_view::bind::Place;
use gabion_view::described::{Described, described};
use gabion_view::matrix::{Row, State, matrix};
use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::file::Input;
use crate::output;

/// The views that objects describe.
pub fn views(objects: &[Input]) -> Result<Vec<Described<'_>>, Failure> {
    let mut views = Vec::new();
    for object in objects {
        let wrong = |error| Failure::input(format!("{}: {error}", object.by));
        views.extend(described(&object.bytes).map_err(wrong)?);
    }
    Ok(views)
}

/// What is said of objects without views.
pub fn none(objects: &[Input]) -> String {
    format!("{} has no views: its programs read no kernel types by name", by(objects))
}

fn by(objects: &[Input]) -> &str {
    objects.first().map_or("nothing", |object| &object.by)
}

/// Kernels in the order in which they are told.
pub struct Kernels {
    btfs: Vec<Btf>,
}

impl Kernels {
    pub fn of(btfs: Vec<Btf>) -> Self {
        Self { btfs }
    }

    /// All files *.btf of a folder, by their names; numbers in those are compared as numbers.
    pub fn of_folder(folder: &Path) -> Result<Self, Failure> {
        let shown = folder.display().to_string();
        let failed = |error| Failure::file(&shown, "read this folder", &error);
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|extension| extension == "btf") {
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                files.push((name, path));
            }
        }
        if files.is_empty() {
            let message = format!("{shown}: there is no file *.btf in this folder");
            return Err(Failure::input(message).help("`gabion btf extract` writes them, one for each kernel"));
        }
        files.sort_by(|(one, _), (two, _)| natural(one, two));
        let btfs = files.iter().map(|(name, path)| Ok(super::open(path)?.named(name)));
        Ok(Self { btfs: btfs.collect::<Result<_, _>>()? })
    }
}

/// 6.2 before 6.12.
fn natural(one: &str, two: &str) -> Ordering {
    let parts = |text: &str| -> Vec<(u64, String)> {
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (number, behind) = rest.split_at(digits);
            let words = behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len());
            let (word, behind) = behind.split_at(words);
            parts.push((number.parse().unwrap_or(0), word.to_owned()));
            rest = behind;
        }
        parts
    };
    parts(one).cmp(&parts(two)).then_with(|| one.cmp(two))
}

/// Every field of every view on every kernel.
#[derive(Serialize)]
pub struct Matrix {
    object: String,
    #[serde(skip)]
    none: String,
    kernels: Vec<String>,
    fits: bool,
    fields: Vec<Field>,
}

#[derive(Serialize)]
struct Field {
    view: String,
    field: String,
    #[serde(rename = "type")]
    of: String,
    path: String,
    kernels: Vec<Cell>,
}

/// A field on a kernel.
#[derive(Serialize)]
struct Cell {
    kernel: String,
    state: &'static str,
    /// Bytes from each pointer on the way to the next one, and to the field at last.
    offsets: Option<Vec<u32>>,
    /// Bytes that are read.
    size: Option<u32>,
    /// Bits of a bit-field: how many, and how many are below them in what is read.
    bits: Option<u32>,
    shift: Option<u32>,
    error: Option<String>,
}

impl Matrix {
    pub fn of(objects: &[Input], kernels: &Kernels) -> Result<Self, Failure> {
        let views = views(objects)?;
        let views: Vec<_> = views.iter().map(Described::view).collect();
        let names: Vec<String> = kernels.btfs.iter().map(|kernel| kernel.origin().to_owned()).collect();
        let fields = matrix(&kernels.btfs, &views);
        let fits = !fields.iter().any(|row| row.kernels.iter().any(|state| matches!(state, State::Changed(_))));
        let fields = fields.iter().map(|row| Field::of(row, &names)).collect();
        Ok(Self { object: by(objects).to_owned(), none: none(objects), kernels: names, fits, fields })
    }

    pub fn exit(&self) -> Exit {
        if self.fits { Exit::Fine } else { Exit::No }
    }

    /// A line for each field on one kernel.
    pub fn list(&self) -> String {
        if self.fields.is_empty() {
            return format!("{}\n", self.none);
        }
        let mut rows = vec![["VIEW.FIELD", "TYPE", "PATH", "AT", "SIZE"].map(str::to_owned).to_vec()];
        for field in &self.fields {
            let name = format!("{}.{}", field.view, field.field);
            let Some(cell) = field.kernels.first() else { continue };
            let size = cell
                .bits
                .map_or_else(|| cell.size.map_or_else(String::new, |size| size.to_string()), |bits| format!("{bits}b"));
            rows.push(vec![name, field.of.clone(), field.path.clone(), cell.place(), size]);
        }
        output::columns(&rows) + &self.errors()
    }

    /// A line for each field, a column for each kernel.
    pub fn table(&self) -> String {
        if self.fields.is_empty() {
            return format!("{}\n", self.none);
        }
        let heads = ["VIEW.FIELD".to_owned()].into_iter().chain(self.kernels.iter().cloned());
        let mut rows = vec![heads.collect::<Vec<_>>()];
        for field in &self.fields {
            let cells = field.kernels.iter().map(|cell| match cell.state {
                state @ ("absent" | "changed") => state.to_owned(),
                _ if cell.offsets.as_ref().is_some_and(Vec::is_empty) => cell.place(),
                state => format!("{state} {}", cell.place()),
            });
            rows.push([format!("{}.{}", field.view, field.field)].into_iter().chain(cells).collect());
        }
        output::columns(&rows) + &self.errors()
    }

    /// What does not fit, and why.
    fn errors(&self) -> String {
        let cells = self.fields.iter().flat_map(|field| &field.kernels);
        let lines: String =
            cells.filter_map(|cell| Some(format!("{}: {}\n", cell.kernel, cell.error.as_ref()?))).collect();
        if lines.is_empty() { lines } else { format!("\n{lines}") }
    }
}

impl Field {
    fn of(row: &Row<'_>, kernels: &[String]) -> Self {
        Self {
            view: row.view.name.to_owned(),
            field: row.field.name.to_owned(),
            of: row.view.of.to_owned(),
            path: row.field.path.to_owned(),
            kernels: row.kernels.iter().zip(kernels).map(|(state, kernel)| Cell::of(state, kernel)).collect(),
        }
    }
}

impl Cell {
    fn of(state: &State, kernel: &str) -> Self {
        let place = state.place();
        let bits = place.and_then(Place::bit_field);
        Self {
            kernel: kernel.to_owned(),
            state: state.word(),
            offsets: place.and_then(|place| place.offsets.clone()),
            size: place.map(|place| place.size),
            bits: bits.map(|(_, width)| width),
            shift: bits.map(|(shift, _)| shift),
            error: match state {
                State::Changed(error) => Some(error.to_string()),
                _ => None,
            },
        }
    }

    fn place(&self) -> String {
        let Some(offsets) = &self.offsets else { return self.state.to_owned() };
        if offsets.is_empty() {
            // What was asked for has no place of its own.
            return String::from("there");
        }
        let offsets: Vec<String> = offsets.iter().map(u32::to_string).collect();
        let shift = self.shift.map(|shift| format!(":{shift}"));
        offsets.join("→") + &shift.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::natural;

    #[test]
    fn releases_are_ordered_as_numbers() {
        let mut names = ["6.12-rt-amd64", "5.10-amd64", "6.1-arm64", "6.1-amd64", "6.12-amd64", "6.2-amd64"];
        names.sort_by(|one, two| natural(one, two));
        assert_eq!(names, ["5.10-amd64", "6.1-amd64", "6.1-arm64", "6.2-amd64", "6.12-amd64", "6.12-rt-amd64"]);
    }
}
