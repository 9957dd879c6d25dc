//! Variables of an object, and the sections that they lie in.

use crate::record::{Kind, Type};

/// A variable as its section lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variable {
    /// The `Var`.
    pub type_id: u32,
    /// Bytes from the beginning of the section. Compilers leave it 0, and have the linker fill it in; in an object that
    /// was not linked, the symbol says it.
    pub offset: u32,
    /// Its bytes.
    pub size: u32,
}

/// Who sees a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linkage {
    /// The file that it is in.
    Static,
    /// Everybody.
    Global,
    /// It is defined elsewhere.
    Extern,
    /// A number that the format does not define.
    Unknown(u32),
}

impl<'b> Type<'b> {
    /// Variables, if it is a data section.
    pub fn variables(&self) -> impl ExactSizeIterator<Item = Variable> + use<'b> {
        let this = *self;
        let count = if self.kind() == Kind::Datasec { self.length() as usize } else { 0 };
        (0..count).map(move |place| Variable {
            type_id: this.extra(place * 3),
            offset: this.extra(place * 3 + 1),
            size: this.extra(place * 3 + 2),
        })
    }

    /// Who sees it, if it is a variable.
    #[must_use]
    pub fn linkage(&self) -> Option<Linkage> {
        (self.kind() == Kind::Var).then(|| match self.extra(0) {
            0 => Linkage::Static,
            1 => Linkage::Global,
            2 => Linkage::Extern,
            other => Linkage::Unknown(other),
        })
    }
}
