//! What is said about a bundle and travels with it: metadata of the roles, and statements. None of it is part of what
//! the bundle is known by, so that it can be renewed while the bundle stays what it is.

use std::collections::BTreeMap;

use crate::digest::Digest;
use crate::error::{Limit, Refused};
use crate::layout::{
    Descriptor, EMPTY, EMPTY_TYPE, ENVELOPE_TYPE, MANIFEST_TYPE, METADATA_TYPE, Referrer, STATEMENT_TYPE, TITLE,
    TRUST_TYPE,
};
use crate::limits;
use crate::name::Name;
use crate::open::{Files, blob, blob_path, blob_place, expect};

/// Files of metadata, by name.
pub type Metadata = BTreeMap<Name, Vec<u8>>;

/// Something that is attached to a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// Metadata of the roles.
    Trust(Metadata),
    /// A statement about the bundle as it is, which nobody signed.
    Statement(Vec<u8>),
    /// One in an envelope, with signatures.
    Envelope(Vec<u8>),
}

impl Attachment {
    /// Its manifest and what that names, as blobs; the manifest last.
    pub(crate) fn blobs(&self, subject: &Descriptor) -> (Descriptor, Vec<Vec<u8>>) {
        let layer = |media_type: &str, title: Option<&Name>, bytes: &[u8]| Descriptor {
            annotations: title.map(|title| (TITLE.to_owned(), title.to_string())).into_iter().collect(),
            ..Descriptor::of(media_type, bytes)
        };
        let (artifact_type, layers, mut blobs): (_, Vec<_>, Vec<_>) = match self {
            Self::Trust(files) => (
                TRUST_TYPE,
                files.iter().map(|(name, bytes)| layer(METADATA_TYPE, Some(name), bytes)).collect(),
                files.values().cloned().collect(),
            ),
            Self::Statement(bytes) => (STATEMENT_TYPE, vec![layer(STATEMENT_TYPE, None, bytes)], vec![bytes.clone()]),
            Self::Envelope(bytes) => (STATEMENT_TYPE, vec![layer(ENVELOPE_TYPE, None, bytes)], vec![bytes.clone()]),
        };
        let manifest = Referrer {
            schema_version: 2,
            media_type: MANIFEST_TYPE.to_owned(),
            artifact_type: artifact_type.to_owned(),
            config: Descriptor::of(EMPTY_TYPE, EMPTY),
            layers,
            // The type of its subject is no part of what a registry looks for.
            subject: Descriptor { artifact_type: None, ..subject.clone() },
        };
        // Records of text, numbers and lists have no value that could not be written.
        let manifest = serde_json::to_vec(&manifest).unwrap_or_default();
        let mut described = Descriptor::of(MANIFEST_TYPE, &manifest);
        described.artifact_type = Some(artifact_type.to_owned());
        blobs.extend([EMPTY.to_vec(), manifest]);
        (described, blobs)
    }
}

/// Reads what is attached, within limits that hold for all of it together.
pub(crate) struct Reader {
    bundle: Digest,
    left: u64,
}

impl Reader {
    pub(crate) fn of(bundle: Digest) -> Self {
        Self { bundle, left: limits::ATTACHED }
    }

    /// One manifest, of one of our types, and what it names.
    pub(crate) fn read(&mut self, files: &mut impl Files, at: Digest, bytes: &[u8]) -> Result<Attachment, Refused> {
        let place = || blob_place(at);
        let wrong = |what: String| Refused::Attachment { place: place(), what };
        let manifest: Referrer =
            serde_json::from_slice(bytes).map_err(|source| Refused::Syntax { place: place(), source })?;
        expect(&blob_path(at), "schema version 2", &manifest.schema_version.to_string(), "2")?;
        expect(&blob_path(at), MANIFEST_TYPE, &manifest.media_type, MANIFEST_TYPE)?;
        if manifest.subject.digest != self.bundle {
            let what = format!("it is attached to {}, and this bundle is {}", manifest.subject.digest, self.bundle);
            return Err(wrong(what));
        }
        if manifest.layers.len() > limits::ATTACHED_FILES {
            let (found, most) = (manifest.layers.len() as u64, limits::ATTACHED_FILES as u64);
            return Err(Refused::Limit { place: place(), limit: Limit::Files, found, most });
        }
        if manifest.artifact_type == TRUST_TYPE {
            let mut metadata = Metadata::new();
            for layer in &manifest.layers {
                let title = layer.annotations.get(TITLE).map(|title| title.parse::<Name>());
                let Some(Ok(title)) = title else {
                    return Err(wrong(format!("a layer without a name of a file in its annotation {TITLE}")));
                };
                let bytes = self.layer(files, layer, METADATA_TYPE)?;
                if metadata.insert(title.clone(), bytes).is_some() {
                    return Err(wrong(format!("{title} is there twice")));
                }
            }
            return Ok(Attachment::Trust(metadata));
        }
        let [layer] = manifest.layers.as_slice() else {
            return Err(wrong(format!("{} layers; a statement is one", manifest.layers.len())));
        };
        if layer.media_type == STATEMENT_TYPE {
            return self.layer(files, layer, STATEMENT_TYPE).map(Attachment::Statement);
        }
        self.layer(files, layer, ENVELOPE_TYPE).map(Attachment::Envelope)
    }

    fn layer(&mut self, files: &mut impl Files, layer: &Descriptor, kind: &'static str) -> Result<Vec<u8>, Refused> {
        let bytes = blob(files, layer, kind, limits::MANIFEST)?;
        let place = || blob_place(layer.digest);
        self.left = self.left.checked_sub(layer.size).ok_or_else(|| Refused::Limit {
            place: place(),
            limit: Limit::Attached,
            found: (limits::ATTACHED - self.left).saturating_add(layer.size),
            most: limits::ATTACHED,
        })?;
        Ok(bytes)
    }
}
