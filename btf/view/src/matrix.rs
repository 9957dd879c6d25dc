//! Views held to many kernels: where each field is on each of them.

use alloc::vec::Vec;

use gabion_btf::extract::{Need, extract};
use gabion_btf::{Btf, Path};

use crate::bind::{BindError, Place, dotted};
use crate::described::existence;
use crate::{Field, Kind, View};

/// How a field is on a kernel.
#[derive(Debug)]
pub enum State {
    /// It is read there, and is where the first kernel that has it has it.
    Fits(Place),
    /// It is read there, and is at another place than on the first kernel that has it.
    Moved(Place),
    /// It is not there, and the view does without it.
    Absent,
    /// The programs cannot be loaded there.
    Changed(BindError),
}

impl State {
    /// Its word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Fits(_) => "fits",
            Self::Moved(_) => "moved",
            Self::Absent => "absent",
            Self::Changed(_) => "changed",
        }
    }

    /// Where the field is, if it is there.
    #[must_use]
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::Fits(place) | Self::Moved(place) => Some(place),
            Self::Absent | Self::Changed(_) => None,
        }
    }
}

/// A field on all kernels.
#[derive(Debug)]
pub struct Row<'v> {
    /// The view.
    pub view: View<'v>,
    /// The field of it.
    pub field: Field<'v>,
    /// How it is on each kernel, in their order.
    pub kernels: Vec<State>,
}

/// All fields of all views on all kernels.
pub fn matrix<'v>(kernels: &[Btf], views: &[View<'v>]) -> Vec<Row<'v>> {
    let fields = views.iter().flat_map(|view| view.fields.iter().map(move |field| (*view, *field)));
    fields.map(|(view, field)| Row { view, field, kernels: row(kernels, &view, &field) }).collect()
}

fn row(kernels: &[Btf], view: &View<'_>, field: &Field<'_>) -> Vec<State> {
    let mut first: Option<Place> = None;
    let states = kernels.iter().map(|kernel| match Place::find(kernel, view, field) {
        Err(error) => State::Changed(error),
        Ok(place) if place.offsets.is_none() => State::Absent,
        Ok(place) if *first.get_or_insert_with(|| place.clone()) == place => State::Fits(place),
        Ok(place) => State::Moved(place),
    });
    states.collect()
}

/// The types that these views need, as BTF of its own: all of them are found in it, or are not, as in the whole.
///
/// # Errors
/// When the BTF is not sound where it is needed.
pub fn extracted(kernel: &Btf, views: &[View<'_>]) -> Result<Vec<u8>, gabion_btf::Error> {
    let fields = views.iter().flat_map(|view| view.fields.iter().map(move |field| (view.of, field, dotted(field))));
    let fields: Vec<_> = fields.collect();
    // What is no path, and no question, has no answer, here and there.
    let needs: Vec<_> = fields
        .iter()
        .filter_map(|(root, field, path)| match field.kind {
            Kind::Existence => existence(path),
            _ => Some(Need::Field { root, path: Path::parse(path).ok()? }),
        })
        .collect();
    extract(kernel, &needs)
}
