//! What a field counts.

use syn::{Error, Field, LitStr};

/// Ends of names that say a unit, and the unit.
const SUFFIXES: [(&str, &str); 5] =
    [("_ns", "ns"), ("_us", "us"), ("_ms", "ms"), ("_seconds", "seconds"), ("_bytes", "bytes")];
/// Longest unit.
const LONGEST: usize = 16;

/// The unit of a field, if it has one.
pub(crate) fn of(field: &Field) -> Result<Option<String>, Error> {
    let mut unit: Option<LitStr> = None;
    for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("contract")) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("unit") {
                return Err(meta.error("the only thing to say here is the unit: #[contract(unit = \"ns\")]"));
            }
            let value: LitStr = meta.value()?.parse()?;
            let text = value.value();
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._%^-".contains(&byte);
            if text.is_empty() || text.len() > LONGEST || !text.bytes().all(plain) {
                let message = format!(
                    "a unit has 1 to {LONGEST} ASCII letters, digits, or characters of `/ . _ % ^ -`, such as `ns` or \
                     `bytes/s`"
                );
                return Err(Error::new_spanned(&value, message));
            }
            if unit.replace(value).is_some() {
                return Err(meta.error("a field has one unit"));
            }
            Ok(())
        })?;
    }
    let name = field.ident.as_ref().map(ToString::to_string).unwrap_or_default();
    let said = SUFFIXES.iter().find(|(suffix, _)| name.ends_with(suffix)).map(|(_, unit)| *unit);
    match (said, &unit) {
        (Some(said), None) => {
            let message = format!("the name says {said}; put `#[contract(unit = \"{said}\")]` before it");
            Err(Error::new_spanned(&field.ident, message))
        }
        (Some(said), Some(unit)) if unit.value() != said => {
            let message = format!("the name says {said}, and this says {}; one of them is wrong", unit.value());
            Err(Error::new_spanned(unit, message))
        }
        _ => Ok(unit.map(|unit| unit.value())),
    }
}
