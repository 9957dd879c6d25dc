//! What a record must not be, as far as its text shows.

use syn::punctuated::Punctuated;
use syn::{Attribute, Data, DeriveInput, Error, Field, Fields, GenericArgument, PathArguments, Token, Type};

/// All that is wrong with the declaration, or its fields.
pub(crate) fn fields(input: &DeriveInput) -> Result<&Punctuated<Field, Token![,]>, Error> {
    let name = &input.ident;
    let fields = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => &fields.named,
            Fields::Unnamed(_) | Fields::Unit => {
                let message = format!(
                    "the fields of `{name}` have no names, and a contract is made of names; write `struct {name} {{ \
                     name: type, ... }}`"
                );
                return Err(Error::new_spanned(name, message));
            }
        },
        Data::Enum(_) => {
            let message = format!(
                "`{name}` is an enum, and bytes from the other side need not be one of its values; make the field an \
                 integer and name the values as constants: `pub mod {} {{ pub const FIRST: u8 = 0; }}`",
                name.to_string().to_lowercase()
            );
            return Err(Error::new_spanned(name, message));
        }
        Data::Union(_) => {
            let message = format!(
                "`{name}` is a union, of which nobody knows what it holds; make it a struct with a field that says \
                 what the others mean"
            );
            return Err(Error::new_spanned(name, message));
        }
    };
    let mut wrong = Wrong(None);
    wrong.take(representation(input));
    if let Some(lifetime) = input.generics.lifetimes().next() {
        let message = "a lifetime stands for a reference, which means nothing on the other side; hold an index or the \
                       bytes themselves";
        wrong.add(Error::new_spanned(lifetime, message));
    }
    if fields.is_empty() {
        wrong.add(Error::new_spanned(name, format!("`{name}` has no fields: there is nothing to agree about")));
    }
    for name in fields.iter().filter_map(|field| field.ident.as_ref()).chain([name]) {
        // What others read it with may know no other letters.
        if !name.to_string().is_ascii() {
            wrong.add(Error::new_spanned(name, "names that cross a boundary are letters, digits and _ of ASCII"));
        }
    }
    for field in fields {
        wrong.take(value(&field.ty));
    }
    wrong.0.map_or(Ok(fields), Err)
}

/// Errors, so that all are told at once.
struct Wrong(Option<Error>);

impl Wrong {
    fn add(&mut self, error: Error) {
        match &mut self.0 {
            Some(first) => first.combine(error),
            none => *none = Some(error),
        }
    }

    fn take(&mut self, result: Result<(), Error>) {
        if let Err(error) = result {
            self.add(error);
        }
    }
}

fn representation(input: &DeriveInput) -> Result<(), Error> {
    let mut c = false;
    for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("repr")) {
        c |= of_c(attribute)?;
    }
    if c {
        return Ok(());
    }
    let message = format!(
        "the compiler may order the fields of `{0}` as it likes, so that two sides need not agree; put `#[repr(C)]` \
         before `struct {0}`",
        input.ident
    );
    Err(Error::new_spanned(&input.ident, message))
}

fn of_c(attribute: &Attribute) -> Result<bool, Error> {
    let mut c = false;
    attribute.parse_nested_meta(|meta| {
        c |= meta.path.is_ident("C");
        if meta.path.is_ident("packed") {
            let message = "fields of a packed struct lie where no reference may point; order the fields by size and \
                           make padding explicit instead";
            return Err(meta.error(message));
        }
        // `align(8)`: any argument is the compiler's to judge.
        if meta.input.peek(syn::token::Paren) {
            let content;
            syn::parenthesized!(content in meta.input);
            content.parse::<proc_macro2::TokenStream>()?;
        }
        Ok(())
    })?;
    Ok(c)
}

/// What the type of a field must not be. Types that only their name shows (an alias of `bool`) are refused by the
/// trait.
fn value(ty: &Type) -> Result<(), Error> {
    let no = |message: &str| Err(Error::new_spanned(ty, message));
    match ty {
        Type::Array(array) => value(&array.elem),
        Type::Group(group) => value(&group.elem),
        Type::Paren(paren) => value(&paren.elem),
        Type::Path(path) => {
            let Some(last) = path.path.segments.last() else { return Ok(()) };
            if let Some(message) = named(&last.ident.to_string()) {
                return no(message);
            }
            let PathArguments::AngleBracketed(arguments) = &last.arguments else { return Ok(()) };
            arguments.args.iter().try_for_each(|argument| match argument {
                GenericArgument::Type(inner) => value(inner),
                _ => Ok(()),
            })
        }
        Type::Reference(_) => no("a reference means nothing on the other side; hold an index or the value itself"),
        Type::Ptr(_) => {
            no("a pointer means nothing on the other side; hold an index, or an address as u64 if it is one")
        }
        Type::BareFn(_) => no("a function pointer means nothing on the other side; hold a number that stands for it"),
        Type::Tuple(_) => no("the layout of a tuple is the compiler's; declare a #[repr(C)] struct with named fields"),
        Type::Slice(_) => no("a slice has no length of its own; hold an array, [T; N], and how much of it is used"),
        _ => Ok(()),
    }
}

/// Well-known types without a contract, and what to take instead.
fn named(name: &str) -> Option<&'static str> {
    Some(match name {
        "bool" => "a byte from the other side need not be 0 or 1, and a bool must; take u8 and say what 0 and 1 mean",
        "char" => "not every u32 is a char; take u32, or [u8; N] for text",
        "usize" => "usize is as wide as the target's addresses; take u32 or u64",
        "isize" => "isize is as wide as the target's addresses; take i32 or i64",
        "u128" | "i128" => "targets align 128 bits differently; take [u64; 2], or [u32; 4]",
        "f32" | "f64" => "kernel programs have no floating point; take an integer, and say its unit",
        "String" | "Vec" | "Box" | "Rc" | "Arc" | "CString" | "PathBuf" => {
            "what is allocated is a pointer, which means nothing on the other side; take an array, and how much of it \
             is used"
        }
        "Option" | "Result" => {
            "this is an enum, whose layout is the compiler's; take an integer field that says what is there"
        }
        _ => return None,
    })
}
