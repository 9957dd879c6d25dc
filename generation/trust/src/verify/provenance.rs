//! Statements that came with a bundle. They decide nothing: what they say is shown; but what does not hold is refused.

use gabion_bundle::{Attachment, Bundle};
use serde::Serialize;

use super::Believed;
use crate::envelope::Envelope;
use crate::key::PublicKey;
use crate::refused::Refused;
use crate::statement::Statement;

/// Where a bundle comes from, as far as somebody says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Provenance {
    /// What kind of thing was said.
    pub predicate_type: String,
    /// Who built it.
    pub builder: Option<String>,
    /// Of which commit.
    pub commit: Option<String>,
    /// Keys that have a role, and signed it.
    pub signed: Vec<String>,
    /// Names of keys that nobody here knows.
    pub unknown: Vec<String>,
}

pub(crate) fn read(bundle: &Bundle, believed: &Believed<'_>) -> Result<Vec<Provenance>, Refused> {
    of(bundle, |name| {
        let (_, key) = believed.all_keys().find(|(it, _)| *it == name)?;
        PublicKey::of_metadata(key).ok()
    })
}

/// What is said about a bundle, and by whom of these.
pub(crate) fn of(bundle: &Bundle, key: impl Fn(&str) -> Option<PublicKey>) -> Result<Vec<Provenance>, Refused> {
    let wrong = |what: String| Refused::Provenance { what };
    let mut all = Vec::new();
    for attachment in bundle.attached() {
        let (mut signed, mut unknown) = (Vec::new(), Vec::new());
        let text = match attachment {
            Attachment::Trust(_) => continue,
            Attachment::Statement(text) => text.clone(),
            Attachment::Envelope(bytes) => {
                let envelope = Envelope::parse(bytes).map_err(|error| wrong(error.to_string()))?;
                for (name, verdict) in envelope.signatures(&key) {
                    let shown: String = name.chars().take(64).collect();
                    match verdict {
                        Some(true) => signed.push(shown),
                        Some(false) => {
                            return Err(wrong(format!("key {shown} did not make the signature that names it")));
                        }
                        None => unknown.push(shown),
                    }
                }
                envelope.payload()
            }
        };
        let statement = Statement::parse(&text).map_err(wrong)?;
        if !statement.is_about(&bundle.id().hex()) {
            return Err(wrong(format!("a statement about something else; this is {}", bundle.id())));
        }
        let built = statement.built().map_err(wrong)?;
        all.push(Provenance {
            predicate_type: statement.predicate_type.chars().take(120).collect(),
            builder: built.as_ref().map(|it| it.run_details.builder.id.clone()),
            commit: built.as_ref().and_then(|it| it.commit().map(str::to_owned)),
            signed,
            unknown,
        });
    }
    Ok(all)
}
