//! Records of the OCI image layout, as far as a bundle has them (image-spec 1.1). Four records do not outweigh a crate
//! that brings a parser of regular expressions and derives builders for all of the specification; these also refuse
//! what they do not know.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// `oci-layout`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OciLayout {
    pub image_layout_version: String,
}

pub const LAYOUT_VERSION: &str = "1.0.0";
pub const LAYOUT_FILE: &str = "oci-layout";
pub const INDEX_FILE: &str = "index.json";
pub const BLOBS: &str = "blobs/sha256";

pub const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// What our bundles are, and what our manifest in them is.
pub const BUNDLE_TYPE: &str = "application/vnd.gabion.bundle.v1+json";
/// The rest: our manifest says what each is.
pub const BLOB_TYPE: &str = "application/octet-stream";
/// What is attached to a bundle: metadata of the roles, file by file.
pub const TRUST_TYPE: &str = "application/vnd.gabion.trust.v1+json";
/// And statements about it: as they are, or in the envelope that is signed.
pub const STATEMENT_TYPE: &str = "application/vnd.in-toto+json";
pub const ENVELOPE_TYPE: &str = "application/vnd.dsse.envelope.v1+json";
pub const METADATA_TYPE: &str = "application/vnd.tuf.metadata.v1+json";
/// What an attachment has for a configuration.
pub const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
pub const EMPTY: &[u8] = b"{}";
/// Where tools that carry files keep the name of a layer.
pub const TITLE: &str = "org.opencontainers.image.title";

/// What a blob is, and how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    pub media_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    pub digest: Digest,
    pub size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// Of these bytes.
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        let (digest, size) = (Digest::of(bytes), bytes.len() as u64);
        Self { media_type: media_type.to_owned(), artifact_type: None, digest, size, annotations: BTreeMap::new() }
    }
}

/// `index.json`. A registry may have added manifests and annotations of its own.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    pub schema_version: u32,
    pub media_type: String,
    pub manifests: Vec<Descriptor>,
}

/// An image manifest. It is addressed by its digest, so that nobody adds anything.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImageManifest {
    pub schema_version: u32,
    pub media_type: String,
    pub artifact_type: String,
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
}

/// The manifest of what is attached to a bundle: its subject, which is how a registry finds it (its referrers). Others
/// may have written it, with annotations of their own.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Referrer {
    pub schema_version: u32,
    pub media_type: String,
    pub artifact_type: String,
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
    pub subject: Descriptor,
}

/// What tells a bundle from what is attached to one, where an index does not say it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kind {
    pub artifact_type: Option<String>,
}
