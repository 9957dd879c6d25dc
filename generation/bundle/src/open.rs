//! A layout → a bundle. Every byte is hostile until its digest was compared.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{Cursor, Read, Seek};
use std::path::Path as OsPath;

use rustix::fs::{Mode, OFlags, openat};
use serde::de::DeserializeOwned;

use crate::attached::{Attachment, Reader};
use crate::digest::Digest;
use crate::error::{Limit, Place, Refused};
use crate::layout::{
    BLOB_TYPE, BLOBS, BUNDLE_TYPE, Descriptor, INDEX_FILE, INDEX_TYPE, ImageManifest, Index, Kind, LAYOUT_FILE,
    LAYOUT_VERSION, MANIFEST_TYPE, OciLayout, STATEMENT_TYPE, TRUST_TYPE,
};
use crate::limits;
use crate::manifest::{Content, Manifest};
use crate::name::Path;

/// A bundle all of whose bytes are what they are said to be.
#[derive(Clone, PartialEq, Eq)]
pub struct Bundle {
    pub(crate) id: Digest,
    /// Text of the image manifest.
    pub(crate) image: Vec<u8>,
    pub(crate) manifest: Manifest,
    pub(crate) blobs: BTreeMap<Digest, Vec<u8>>,
    pub(crate) attached: Vec<Attachment>,
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle").field("id", &self.id).field("manifest", &self.manifest).finish_non_exhaustive()
    }
}

impl Bundle {
    /// Reads a folder, or an archive, and checks all of it.
    ///
    /// # Errors
    /// [`Refused`], and nothing of it is given away.
    pub fn open(path: &OsPath) -> Result<Self, Refused> {
        let shown = || Place::File(path.display().to_string());
        let unreadable = |source| Refused::Unreadable { place: shown(), source };
        let file = File::open(path).map_err(unreadable)?;
        let kind = file.metadata().map_err(unreadable)?;
        if kind.is_dir() { Self::of(Folder(file)) } else { Self::of(Archive::read(file)?) }
    }

    /// Reads an archive that is in memory, and checks all of it.
    ///
    /// # Errors
    /// [`Refused`], and nothing of it is given away.
    pub fn parse(archive: &[u8]) -> Result<Self, Refused> {
        Self::of(Archive::read(Cursor::new(archive))?)
    }

    fn of(mut files: impl Files) -> Result<Self, Refused> {
        let layout: OciLayout = parsed(&mut files, LAYOUT_FILE)?;
        expect(LAYOUT_FILE, "layout version 1.0.0", &layout.image_layout_version, LAYOUT_VERSION)?;
        let index: Index = parsed(&mut files, INDEX_FILE)?;
        expect(INDEX_FILE, "schema version 2", &index.schema_version.to_string(), "2")?;
        expect(INDEX_FILE, INDEX_TYPE, &index.media_type, INDEX_TYPE)?;
        if index.manifests.len() > limits::MANIFESTS {
            let (found, most) = (index.manifests.len() as u64, limits::MANIFESTS as u64);
            let place = Place::File(INDEX_FILE.to_owned());
            return Err(Refused::Limit { place, limit: Limit::Manifests, found, most });
        }
        let (mut bundles, mut others) = (Vec::new(), Vec::new());
        for described in &index.manifests {
            match kind_of(&mut files, described)?.as_deref() {
                Some(BUNDLE_TYPE) => bundles.push(described),
                Some(TRUST_TYPE | STATEMENT_TYPE) => others.push(described),
                // Somebody else's.
                _ => {}
            }
        }
        let &[described] = bundles.as_slice() else {
            let found = format!("{} of them", bundles.len());
            let place = Place::File(INDEX_FILE.to_owned());
            return Err(Refused::Form { place, expected: "one manifest of a bundle of gabion", found });
        };
        let text = blob(&mut files, described, MANIFEST_TYPE, limits::MANIFEST)?;
        let place = blob_place(described.digest);
        let image: ImageManifest = serde_json::from_slice(&text).map_err(|source| Refused::Syntax { place, source })?;
        let at = blob_path(described.digest);
        expect(&at, "schema version 2", &image.schema_version.to_string(), "2")?;
        expect(&at, MANIFEST_TYPE, &image.media_type, MANIFEST_TYPE)?;
        expect(&at, BUNDLE_TYPE, &image.artifact_type, BUNDLE_TYPE)?;
        let manifest = Manifest::parse(&blob(&mut files, &image.config, BUNDLE_TYPE, limits::MANIFEST)?)?;
        // The two lists name the same blobs, each of them once: what a registry keeps is what a node needs.
        let mut wanted: BTreeMap<Digest, u64> = BTreeMap::new();
        for (path, Content { digest, size, .. }) in &manifest.files {
            if *wanted.entry(*digest).or_insert(*size) != *size {
                let what = String::from("another file with the same digest has another size");
                return Err(Refused::Contradiction { place: Place::Field(format!("files, {path}")), what });
            }
        }
        let layers: BTreeMap<Digest, u64> = image.layers.iter().map(|layer| (layer.digest, layer.size)).collect();
        if layers != wanted || layers.len() != image.layers.len() {
            let what = String::from("the files it names are not the layers of the image manifest");
            return Err(Refused::Contradiction { place: Place::Field(String::from("files")), what });
        }
        let mut blobs = BTreeMap::new();
        for layer in &image.layers {
            blobs.insert(layer.digest, blob(&mut files, layer, BLOB_TYPE, limits::BLOB)?);
        }
        let mut attached = Vec::new();
        let mut reader = Reader::of(described.digest);
        for other in others {
            let manifest = blob(&mut files, other, MANIFEST_TYPE, limits::MANIFEST)?;
            attached.push(reader.read(&mut files, other.digest, &manifest)?);
        }
        Ok(Self { id: described.digest, image: text, manifest, blobs, attached })
    }

    /// What it is known by: the digest of its image manifest.
    #[must_use]
    pub fn id(&self) -> Digest {
        self.id
    }

    /// Bytes of its image manifest, whose digest it is known by.
    #[must_use]
    pub fn id_length(&self) -> u64 {
        self.image.len() as u64
    }

    /// What is attached to it.
    #[must_use]
    pub fn attached(&self) -> &[Attachment] {
        &self.attached
    }

    /// What it says of itself.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The bytes of a file.
    #[must_use]
    pub fn file(&self, path: &Path) -> Option<&[u8]> {
        let content = self.manifest.files.get(path)?;
        self.blobs.get(&content.digest).map(Vec::as_slice)
    }
}

/// What a manifest of an index is, by the index or else by itself: tools that copy layouts do not always say it.
fn kind_of(files: &mut impl Files, described: &Descriptor) -> Result<Option<String>, Refused> {
    if described.artifact_type.is_some() || described.media_type != MANIFEST_TYPE {
        return Ok(described.artifact_type.clone());
    }
    let text = blob(files, described, MANIFEST_TYPE, limits::MANIFEST)?;
    let place = blob_place(described.digest);
    let kind: Kind = serde_json::from_slice(&text).map_err(|source| Refused::Syntax { place, source })?;
    Ok(kind.artifact_type)
}

pub(crate) fn expect(file: &str, expected: &'static str, found: &str, wanted: &str) -> Result<(), Refused> {
    if found == wanted {
        return Ok(());
    }
    let found = found.chars().take(80).collect();
    Err(Refused::Form { place: Place::File(file.to_owned()), expected, found })
}

pub(crate) fn blob_path(digest: Digest) -> String {
    format!("{BLOBS}/{}", digest.hex())
}

pub(crate) fn blob_place(digest: Digest) -> Place {
    Place::File(blob_path(digest))
}

fn parsed<T: DeserializeOwned>(files: &mut impl Files, path: &str) -> Result<T, Refused> {
    let bytes = files.read(path, limits::MANIFEST, Limit::Manifest)?;
    serde_json::from_slice(&bytes).map_err(|source| Refused::Syntax { place: Place::File(path.to_owned()), source })
}

/// A blob that is what its descriptor says.
pub(crate) fn blob(
    files: &mut impl Files,
    described: &Descriptor,
    media_type: &'static str,
    most: u64,
) -> Result<Vec<u8>, Refused> {
    let path = blob_path(described.digest);
    expect(&path, media_type, &described.media_type, media_type)?;
    let limit = if most == limits::BLOB { Limit::Blob } else { Limit::Manifest };
    let place = || blob_place(described.digest);
    if described.size > most {
        return Err(Refused::Limit { place: place(), limit, found: described.size, most });
    }
    let bytes = files.read(&path, most, limit)?;
    if bytes.len() as u64 != described.size {
        return Err(Refused::Size { place: place(), expected: described.size, found: bytes.len() as u64 });
    }
    let found = Digest::of(&bytes);
    if found == described.digest { Ok(bytes) } else { Err(Refused::Digest { place: place(), found }) }
}

/// Where files of a layout come from.
pub(crate) trait Files {
    /// A file, of so many bytes at most.
    fn read(&mut self, path: &str, most: u64, limit: Limit) -> Result<Vec<u8>, Refused>;
}

/// Reads so much and no more.
fn bounded(mut from: impl Read, path: &str, most: u64, limit: Limit) -> Result<Vec<u8>, Refused> {
    let place = || Place::File(path.to_owned());
    let mut bytes = Vec::new();
    let read = from.by_ref().take(most + 1).read_to_end(&mut bytes);
    read.map_err(|source| Refused::Unreadable { place: place(), source })?;
    let found = bytes.len() as u64;
    if found > most { Err(Refused::Limit { place: place(), limit, found, most }) } else { Ok(bytes) }
}

/// A folder, by its descriptor.
struct Folder(File);

impl Files for Folder {
    fn read(&mut self, path: &str, most: u64, limit: Limit) -> Result<Vec<u8>, Refused> {
        let place = || Place::File(path.to_owned());
        // A link at any step would lead out of the folder.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let mut at = self.0.try_clone().map_err(|source| Refused::Unreadable { place: place(), source })?;
        for step in path.split('/') {
            at = match openat(&at, step, flags, Mode::empty()) {
                Ok(next) => next.into(),
                Err(rustix::io::Errno::NOENT) => return Err(Refused::Missing { place: place() }),
                Err(errno) => return Err(Refused::Unreadable { place: place(), source: errno.into() }),
            };
        }
        let kind = at.metadata().map_err(|source| Refused::Unreadable { place: place(), source })?;
        if !kind.is_file() {
            return Err(Refused::Form { place: place(), expected: "a file", found: String::from("something else") });
        }
        bounded(at, path, most, limit)
    }
}

/// An archive: where in it each file is.
struct Archive<R> {
    file: R,
    members: BTreeMap<String, (u64, u64)>,
}

/// What is wrong with an archive, where the system had nothing to say: the reader quotes what is there, and a terminal
/// must not take that for its own.
fn quoted(error: std::io::Error) -> std::io::Error {
    if error.raw_os_error().is_some() {
        return error;
    }
    let quoted: String = error.to_string().chars().flat_map(char::escape_debug).collect();
    std::io::Error::new(std::io::ErrorKind::InvalidData, quoted)
}

impl<R: Read + Seek> Archive<R> {
    fn read(mut file: R) -> Result<Self, Refused> {
        let place = || Place::File(String::from("the archive"));
        let unreadable = |source| Refused::Unreadable { place: place(), source: quoted(source) };
        let mut members = BTreeMap::new();
        let mut archive = tar::Archive::new(&mut file);
        for entry in archive.entries_with_seek().map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let wrong = |what| Refused::Member { name: name.chars().take(120).collect(), what };
            if entry.header().entry_type() != tar::EntryType::Regular {
                return Err(wrong("only files belong there"));
            }
            if !is_of_layout(&name) {
                return Err(wrong("no layout has that"));
            }
            if members.len() > limits::FILES + limits::ATTACHED_FILES {
                let (found, most) = (members.len() as u64, limits::FILES as u64);
                let place = Place::File(String::from("the archive"));
                return Err(Refused::Limit { place, limit: Limit::Files, found, most });
            }
            if members.insert(name.clone(), (entry.raw_file_position(), entry.size())).is_some() {
                return Err(wrong("it is there twice"));
            }
        }
        Ok(Self { file, members })
    }
}

/// The only names that a layout has.
fn is_of_layout(name: &str) -> bool {
    let blob = name.strip_prefix(BLOBS).and_then(|rest| rest.strip_prefix('/'));
    name == LAYOUT_FILE
        || name == INDEX_FILE
        || blob.is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f')))
}

impl<R: Read + Seek> Files for Archive<R> {
    fn read(&mut self, path: &str, most: u64, limit: Limit) -> Result<Vec<u8>, Refused> {
        let place = || Place::File(path.to_owned());
        let &(at, length) = self.members.get(path).ok_or_else(|| Refused::Missing { place: place() })?;
        let unreadable = |source| Refused::Unreadable { place: place(), source };
        self.file.seek(std::io::SeekFrom::Start(at)).map_err(unreadable)?;
        let bytes = bounded(self.file.by_ref().take(length), path, most, limit)?;
        if (bytes.len() as u64) < length {
            return Err(Refused::Size { place: place(), expected: length, found: bytes.len() as u64 });
        }
        Ok(bytes)
    }
}
