//! `#[derive(Contract)]`: the canonical shape of a record, or why it must not cross a boundary.
//!
//! The macro looks at the text of a struct only and writes an implementation of `gabion_abi::contract::Contract`; sizes
//! and offsets in it are asked of the compiler that compiles the record, so that they are those of its target. It never
//! computes a layout, and writes no `unsafe`. Start with [`contract`]; what is refused by its text is in `refuse`, what
//! is refused by its layout in `expand`.

#![forbid(unsafe_code)]

mod expand;
mod refuse;
mod units;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Derives `gabion_abi::contract::Contract` for a `#[repr(C)]` struct with named fields.
///
/// A field may say what it counts: `#[contract(unit = "ns")]`. One whose name ends in a unit (`_ns`, `_bytes`) must.
#[proc_macro_derive(Contract, attributes(contract))]
pub fn contract(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand::contract(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
