//! `#[derive(KernelView)]`: a struct → what it reads of a kernel type, and how.
//!
//! `#[view(of = "task_struct")]` on the struct names the type. On a field, `#[view(path = "…")]` says where it is
//! (else its own name), `optional` that a kernel may have it not (the field is an `Option` then), `bits` that it is a
//! bit-field. `#[view(exists = "…")]` on a `bool` asks whether the kernel has a `type NAME`, a `function NAME` or a
//! `value ENUM.NAME`.

#![forbid(unsafe_code)]

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::{format_ident, quote};
use syn::{
    Data, DeriveInput, Error, Field, Fields, GenericArgument, LitStr, PathArguments, Result, Type, parse_macro_input,
};

/// Derives `gabion_view::KernelView`, and for kernel programs a `read`.
#[proc_macro_derive(KernelView, attributes(view))]
pub fn kernel_view(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(&input).unwrap_or_else(Error::into_compile_error).into()
}

#[derive(Default)]
struct Said {
    of: Option<LitStr>,
    path: Option<LitStr>,
    exists: Option<LitStr>,
    is_optional: bool,
    is_bits: bool,
}

fn said(attributes: &[syn::Attribute]) -> Result<Said> {
    let mut said = Said::default();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("view")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("of") {
                said.of = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("path") {
                said.path = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("exists") {
                said.exists = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("optional") {
                said.is_optional = true;
            } else if meta.path.is_ident("bits") {
                said.is_bits = true;
            } else {
                return Err(
                    meta.error("a view knows `of = \"…\"`, `path = \"…\"`, `exists = \"…\"`, `optional` and `bits`")
                );
            }
            Ok(())
        })?;
    }
    Ok(said)
}

fn expand(input: &DeriveInput) -> Result<Tokens> {
    let name = &input.ident;
    let of = said(&input.attrs)?.of;
    let of = of.ok_or_else(|| Error::new_spanned(name, "which kernel type? write #[view(of = \"task_struct\")]"))?;
    let Data::Struct(data) = &input.data else {
        return Err(Error::new_spanned(name, "a view is a struct"));
    };
    let Fields::Named(fields) = &data.fields else {
        return Err(Error::new_spanned(name, "a view has fields with names"));
    };
    if !input.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &input.generics,
            "a view has no parameters: what it reads is known when it is built",
        ));
    }
    let (mut descriptions, mut reads) = (Vec::new(), Vec::new());
    for field in &fields.named {
        let Some(ident) = &field.ident else { continue };
        let said = said(&field.attrs)?;
        if let Some(exists) = &said.exists {
            let (description, read) = existence(&of, field, &said, exists)?;
            descriptions.push(description);
            reads.push(read);
            continue;
        }
        let path = said.path.map_or_else(|| ident.to_string(), |path| path.value());
        let hops = hops(&path).map_err(|message| Error::new_spanned(ident, message))?;
        let inner = optional(&field.ty);
        let value = match (said.is_optional, inner) {
            (true, Some(inner)) => inner,
            (false, None) => &field.ty,
            (true, None) => return Err(Error::new_spanned(&field.ty, "an optional field is an Option<…>")),
            (false, Some(_)) => {
                return Err(Error::new_spanned(&field.ty, "an Option<…> is for fields that are `optional`"));
            }
        };
        let (is_optional, is_bits, text) = (said.is_optional, said.is_bits, ident.to_string());
        descriptions.push(quote! {
            ::gabion_view::Field {
                name: #text,
                path: #path,
                id: ::gabion_view::id(#of, #path),
                kind: <#value as ::gabion_view::Value>::KIND,
                size: ::core::mem::size_of::<#value>() as u32,
                hops: #hops,
                is_optional: #is_optional,
                is_bits: #is_bits,
            }
        });
        let follow = (0..hops).map(|hop| {
            quote! { let base = ::gabion_view::read::follow::<{ ::gabion_view::id(#of, #path) }, #hop>(base)?; }
        });
        let read = format_ident!("{}", if is_bits { "bits" } else { "value" });
        let one = quote! {{
            #(#follow)*
            ::gabion_view::read::#read::<#value, { ::gabion_view::id(#of, #path) }, #hops>(base)?
        }};
        reads.push(if is_optional {
            quote! {
                #ident: if ::gabion_view::read::exists::<{ ::gabion_view::id(#of, #path) }>() {
                    ::core::option::Option::Some(#one)
                } else {
                    ::core::option::Option::None
                }
            }
        } else {
            quote! { #ident: #one }
        });
    }
    let text = name.to_string();
    let symbol = format!("GABION_VIEW_{text}_OF_{}", of.value().replace(|c: char| !c.is_ascii_alphanumeric(), "_"));
    Ok(quote! {
        impl ::gabion_view::KernelView for #name {
            const VIEW: ::gabion_view::View<'static> =
                ::gabion_view::View { name: #text, of: #of, fields: &[#(#descriptions),*] };
        }

        #[cfg(target_arch = "bpf")]
        const _: () = {
            const VIEW: ::gabion_view::View<'static> = <#name as ::gabion_view::KernelView>::VIEW;
            // Nothing refers to it but whoever reads the object. What is `used` would get a section of its own.
            #[unsafe(export_name = #symbol)]
            #[unsafe(link_section = ".gabion.fields")]
            static TEXT: [u8; ::gabion_view::text::length(&VIEW)] = ::gabion_view::text::text(&VIEW);
        };

        #[cfg(target_arch = "bpf")]
        impl #name {
            /// Reads it of the kernel struct at this address; none when that is no memory of the kernel.
            #[inline(always)]
            pub fn read(base: u64) -> ::core::option::Option<Self> {
                ::core::option::Option::Some(Self { #(#reads),* })
            }
        }
    })
}

/// A field that says whether the kernel has something.
fn existence(of: &LitStr, field: &Field, said: &Said, what: &LitStr) -> Result<(Tokens, Tokens)> {
    let ident = &field.ident;
    if said.path.is_some() || said.is_optional || said.is_bits {
        return Err(Error::new_spanned(
            what,
            "what `exists` is asked has no path, and is neither `optional` nor `bits`",
        ));
    }
    if !matches!(&field.ty, Type::Path(path) if path.path.is_ident("bool")) {
        return Err(Error::new_spanned(&field.ty, "whether something `exists` is a bool"));
    }
    let asked = what.value();
    let (kind, name) = asked.split_once(' ').unwrap_or((&asked, ""));
    let fits = match kind {
        "type" | "function" => !name.is_empty(),
        "value" => name.split_once('.').is_some_and(|(within, name)| !within.is_empty() && !name.is_empty()),
        _ => false,
    };
    if !fits {
        return Err(Error::new_spanned(what, "write `type NAME`, `function NAME` or `value ENUM.NAME`"));
    }
    let text = ident.as_ref().map(ToString::to_string);
    let description = quote! {
        ::gabion_view::Field {
            name: #text,
            path: #what,
            id: ::gabion_view::id(#of, #what),
            kind: ::gabion_view::Kind::Existence,
            size: 1,
            hops: 0,
            is_optional: false,
            is_bits: false,
        }
    };
    let read = quote! { #ident: ::gabion_view::read::exists::<{ ::gabion_view::id(#of, #what) }>() };
    Ok((description, read))
}

/// Pointers that a path follows; all its alternatives follow as many.
fn hops(path: &str) -> std::result::Result<u32, String> {
    let mut counts = path.split('|').map(|way| way.matches("->").count() as u32);
    let first = counts.next().unwrap_or(0);
    if counts.any(|other| other != first) {
        return Err(format!("the ways in `{path}` follow different numbers of pointers: make a field of each"));
    }
    Ok(first)
}

/// What an `Option` holds.
fn optional(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|segment| segment.ident == "Option")?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(inner) => Some(inner),
        _ => None,
    })
}
