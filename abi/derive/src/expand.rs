//! The implementation that is written.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{DeriveInput, Error, GenericParam, parse_quote};

use crate::{refuse, units};

pub(crate) fn contract(input: &DeriveInput) -> Result<TokenStream, Error> {
    if let Some(attribute) = input.attrs.iter().find(|attribute| attribute.path().is_ident("contract")) {
        return Err(Error::new_spanned(attribute, "this is said of fields: #[contract(unit = \"ns\")] before one"));
    }
    let declared = refuse::fields(input)?;
    let (name, text) = (&input.ident, input.ident.to_string());
    let mut generics = input.generics.clone();
    let mut arguments = Vec::new();
    for parameter in &mut generics.params {
        match parameter {
            GenericParam::Type(parameter) => {
                parameter.bounds.push(parse_quote!(::gabion_abi::contract::Contract));
                let ident = &parameter.ident;
                arguments.push(quote!(::gabion_abi::contract::Argument::Type {
                    shape: <#ident as ::gabion_abi::contract::Contract>::SHAPE,
                }));
            }
            GenericParam::Const(parameter) => {
                let ident = &parameter.ident;
                arguments.push(quote!(::gabion_abi::contract::Argument::Number { value: #ident as i128 }));
            }
            // Refused above.
            GenericParam::Lifetime(_) => {}
        }
    }

    let (mut checks, mut fields) = (Vec::new(), Vec::new());
    let mut before = "its beginning".to_owned();
    for field in declared {
        // Fields without a name are refused above.
        let Some(ident) = &field.ident else { continue };
        let (ty, field_name) = (&field.ty, ident.to_string());
        let field_name = field_name.trim_start_matches("r#");
        let hole = format!(
            "`{text}` has bytes that nobody sets between {before} and `{field_name}`: put a field of as many bytes \
             there, such as `padding: [u8; 3]`, or order the fields from the widest to the narrowest"
        );
        before = format!("`{field_name}`");
        checks.push(quote_spanned! {ident.span()=>
            assert!(::core::mem::offset_of!(Self, #ident) == end, #hole);
            end += ::core::mem::size_of::<#ty>();
        });
        let unit = match units::of(field)? {
            Some(unit) => quote!(::core::option::Option::Some(#unit)),
            None => quote!(::core::option::Option::None),
        };
        let shape = quote_spanned!(ty.span()=> <#ty as ::gabion_abi::contract::Contract>::SHAPE);
        fields.push(quote!(::gabion_abi::contract::Field {
            name: #field_name,
            offset: ::core::mem::offset_of!(Self, #ident),
            unit: #unit,
            shape: #shape,
        }));
    }
    let tail = format!(
        "`{text}` has bytes that nobody sets behind {before}: the sizes of its fields must add up to its size; put a \
         field at the end, such as `padding: [u8; 3]`"
    );
    let checked = quote_spanned! {name.span()=>
        assert!(end == ::core::mem::size_of::<Self>(), #tail);
    };
    // A generic record is checked where its arguments are known, all others here.
    let at_once =
        input.generics.params.is_empty().then(
            || quote!(const _: &::gabion_abi::contract::Shape = <#name as ::gabion_abi::contract::Contract>::SHAPE;),
        );
    let (implementation, _, clause) = generics.split_for_impl();
    let (_, of, _) = input.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #implementation ::gabion_abi::contract::Contract for #name #of #clause {
            const SHAPE: &'static ::gabion_abi::contract::Shape = {
                let mut end = 0usize;
                #(#checks)*
                #checked
                &::gabion_abi::contract::Shape {
                    size: ::core::mem::size_of::<Self>(),
                    align: ::core::mem::align_of::<Self>(),
                    kind: ::gabion_abi::contract::Kind::Record {
                        name: #text,
                        arguments: &[#(#arguments),*],
                        fields: &[#(#fields),*],
                    },
                }
            };
        }
        #at_once
    })
}
