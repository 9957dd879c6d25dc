//! Fields by place, so that one can be read without the rest of its record.

use core::marker::PhantomData;

use gabion_abi::contract::Contract;

/// Where a `U` lies in a `T`. Made by [`field!`](crate::field).
pub struct Field<T, U> {
    offset: usize,
    types: PhantomData<fn(T) -> U>,
}

impl<T, U> Clone for Field<T, U> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, U> Copy for Field<T, U> {}

impl<T: Contract, U: Contract> Field<T, U> {
    /// For [`field!`](crate::field): `same` is never called, and makes `U` the type of the field.
    ///
    /// Any place that passes here is safe to read, since a record with a contract is integers throughout: a wrong one
    /// is another number.
    #[doc(hidden)]
    #[must_use]
    pub const fn at_offset(offset: usize, _same: fn(&T) -> &U) -> Self {
        assert!(offset + size_of::<U>() <= size_of::<T>(), "within the record");
        assert!(offset.is_multiple_of(align_of::<U>()), "aligned");
        let words = size_of::<U>().is_multiple_of(8);
        assert!(
            !words || offset.is_multiple_of(8) && size_of::<T>().is_multiple_of(8),
            "what is read by words lies on a word"
        );
        Self { offset, types: PhantomData }
    }

    pub(crate) const fn offset(self) -> usize {
        self.offset
    }

    /// A field of this field.
    #[must_use]
    pub const fn then<V: Contract>(self, inner: Field<U, V>) -> Field<T, V> {
        Field { offset: self.offset + inner.offset, types: PhantomData }
    }
}

impl<T: Contract, U: Contract, const N: usize> Field<T, [U; N]> {
    /// An element of this array; nothing behind its end.
    #[must_use]
    pub const fn element(self, index: usize) -> Option<Field<T, U>> {
        if index < N { Some(Field { offset: self.offset + index * size_of::<U>(), types: PhantomData }) } else { None }
    }
}

/// The [`Field`](crate::Field) of a record: `field!(Count, packets)`.
#[macro_export]
macro_rules! field {
    ($record:ty, $field:ident) => {
        const { $crate::Field::at_offset(::core::mem::offset_of!($record, $field), |record: &$record| &record.$field) }
    };
}
