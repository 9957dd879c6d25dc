//! Inputs → a layout, the same bytes from the same inputs.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::Path as OsPath;

use serde::Serialize;

use crate::attached::Attachment;
use crate::digest::Digest;
use crate::error::Refused;
use crate::layout::{
    BLOB_TYPE, BLOBS, BUNDLE_TYPE, Descriptor, INDEX_FILE, INDEX_TYPE, ImageManifest, Index, LAYOUT_FILE,
    LAYOUT_VERSION, MANIFEST_TYPE, OciLayout,
};
use crate::manifest::{Content, Manifest, Use};
use crate::name::Path;
use crate::open::Bundle;

/// A bundle under construction.
#[derive(Clone, Debug)]
pub struct Builder {
    manifest: Manifest,
    blobs: BTreeMap<Digest, Vec<u8>>,
}

impl Builder {
    /// Begins with everything but files; those that the manifest names already are forgotten.
    #[must_use]
    pub fn new(manifest: Manifest) -> Self {
        Self { manifest: Manifest { files: BTreeMap::new(), ..manifest }, blobs: BTreeMap::new() }
    }

    /// Adds a file. One that was there under this path is replaced.
    pub fn add(&mut self, path: Path, used_as: Use, bytes: Vec<u8>) {
        let digest = Digest::of(&bytes);
        self.manifest.files.insert(path, Content { used_as, digest, size: bytes.len() as u64 });
        self.blobs.insert(digest, bytes);
    }

    /// The bundle.
    ///
    /// # Errors
    /// [`Refused`] for what would be refused when it is read.
    pub fn finish(self) -> Result<Bundle, Refused> {
        let Self { manifest, mut blobs } = self;
        manifest.check()?;
        let named: BTreeSet<Digest> = manifest.files.values().map(|content| content.digest).collect();
        blobs.retain(|digest, _| named.contains(digest));
        let image = ImageManifest {
            schema_version: 2,
            media_type: MANIFEST_TYPE.to_owned(),
            artifact_type: BUNDLE_TYPE.to_owned(),
            config: Descriptor::of(BUNDLE_TYPE, &manifest.text()),
            layers: blobs.values().map(|bytes| Descriptor::of(BLOB_TYPE, bytes)).collect(),
        };
        let image = text(&image);
        Ok(Bundle { id: Digest::of(&image), image, manifest, blobs, attached: Vec::new() })
    }
}

/// Records of text, numbers and lists have no value that could not be written.
fn text(record: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(record).unwrap_or_default()
}

impl Bundle {
    /// Attaches something. The bundle stays what it is; metadata that was attached before goes.
    pub fn attach(&mut self, attachment: Attachment) {
        if let Attachment::Trust(_) = attachment {
            self.attached.retain(|it| !matches!(it, Attachment::Trust(_)));
        }
        if !self.attached.contains(&attachment) {
            self.attached.push(attachment);
        }
    }

    /// Takes away what is not to stay attached.
    pub fn retain(&mut self, keep: impl FnMut(&Attachment) -> bool) {
        self.attached.retain(keep);
    }

    /// Its files, ready to be written.
    #[must_use]
    pub fn layout(&self) -> Layout {
        let described = Descriptor {
            artifact_type: Some(BUNDLE_TYPE.to_owned()),
            ..Descriptor::of(MANIFEST_TYPE, self.image.as_slice())
        };
        let mut blobs: Vec<Vec<u8>> = self.blobs.values().cloned().collect();
        blobs.extend([self.manifest.text(), self.image.clone()]);
        let mut attached = Vec::new();
        for attachment in &self.attached {
            let (manifest, more) = attachment.blobs(&described);
            attached.push(manifest);
            blobs.extend(more);
        }
        // In whatever order they came, the same bytes.
        attached.sort_by_key(|it| it.digest);
        let manifests = [described].into_iter().chain(attached).collect();
        let index = Index { schema_version: 2, media_type: INDEX_TYPE.to_owned(), manifests };
        let layout = OciLayout { image_layout_version: LAYOUT_VERSION.to_owned() };
        let mut files =
            BTreeMap::from([(LAYOUT_FILE.to_owned(), text(&layout)), (INDEX_FILE.to_owned(), text(&index))]);
        files.extend(blobs.into_iter().map(|bytes| (format!("{BLOBS}/{}", Digest::of(&bytes).hex()), bytes)));
        Layout { id: self.id, files }
    }
}

/// The files of a bundle, ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    id: Digest,
    files: BTreeMap<String, Vec<u8>>,
}

impl Layout {
    /// What the bundle is known by: the digest of its image manifest, and so of all of it.
    #[must_use]
    pub fn id(&self) -> Digest {
        self.id
    }

    /// Its files, by their paths.
    #[must_use]
    pub fn files(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.files
    }

    /// Writes it as a folder that is not there yet, or is empty.
    ///
    /// # Errors
    /// What the system says; what was written before stays.
    pub fn write_folder(&self, folder: &OsPath) -> io::Result<()> {
        std::fs::create_dir_all(folder.join(BLOBS))?;
        for (path, bytes) in &self.files {
            let mut file = std::fs::File::create_new(folder.join(path))?;
            file.write_all(bytes)?;
            file.sync_all()?;
        }
        Ok(())
    }

    /// Writes it as a tar archive: no owners, no times, one order.
    ///
    /// # Errors
    /// What the writer says.
    pub fn write_archive(&self, to: impl Write) -> io::Result<()> {
        let mut archive = tar::Builder::new(to);
        for (path, bytes) in &self.files {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(0);
            header.set_uid(0);
            header.set_gid(0);
            archive.append_data(&mut header, path, bytes.as_slice())?;
        }
        archive.into_inner()?.flush()
    }
}
