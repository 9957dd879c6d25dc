//! Any octets as the parts of a layout: its index, its image manifest and our manifest, with digests set right, so that
//! what they guard is reached; and as an archive.
#![no_main]

use std::collections::BTreeMap;

use gabion_bundle::{Attachment, Bundle, Digest};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const BUNDLE: &str = "application/vnd.gabion.bundle.v1+json";

fuzz_target!(|octets: &[u8]| {
    look(Bundle::parse(octets));
    // The parts, each but the last ended by a zero: our manifest, the blobs that it names, a manifest of what is
    // attached.
    let mut parts = octets.split(|&octet| octet == 0);
    let (Some(config), Some(blob), Some(attached)) = (parts.next(), parts.next(), parts.next()) else { return };
    // A mark stands for the digest of what it names.
    let mut files = BTreeMap::new();
    let mut put = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        files.insert(format!("blobs/sha256/{}", digest.hex()), bytes.to_vec());
        (digest.to_string(), bytes.len())
    };
    let (blob, blob_size) = put(blob);
    let config = replaced(config, &[(b"$BLOB", &blob)]);
    let (config, config_size) = put(&config);
    let image = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": BUNDLE,
        "config": {"mediaType": BUNDLE, "digest": config, "size": config_size},
        "layers": [{"mediaType": "application/octet-stream", "digest": blob, "size": blob_size}],
    })
    .to_string();
    let (image, image_size) = put(image.as_bytes());
    let (empty, _) = put(b"{}");
    let attached = replaced(attached, &[(b"$BLOB", &blob), (b"$IMAGE", &image), (b"$EMPTY", &empty)]);
    let (attached, attached_size) = put(&attached);
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [
            {"mediaType": MANIFEST, "digest": image, "size": image_size},
            {"mediaType": MANIFEST, "digest": attached, "size": attached_size},
        ],
    })
    .to_string();
    files.insert("index.json".to_owned(), index.into_bytes());
    files.insert("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec());
    let mut archive = tar::Builder::new(Vec::new());
    for (path, bytes) in &files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, path, bytes.as_slice()).expect("memory takes it");
    }
    look(Bundle::parse(&archive.into_inner().expect("memory takes it")));
});

fn replaced(octets: &[u8], by: &[(&[u8], &str)]) -> Vec<u8> {
    let mut out = octets.to_vec();
    for (mark, text) in by {
        while let Some(at) = out.windows(mark.len()).position(|it| it == *mark) {
            out.splice(at..at + mark.len(), text.bytes());
        }
    }
    out
}

/// What was read is written and read back as the same, and every file of it has its digest.
fn look(read: Result<Bundle, gabion_bundle::Refused>) {
    let bundle = match read {
        Ok(bundle) => bundle,
        Err(refused) => return assert!(!refused.code().is_empty() && !refused.to_string().is_empty()),
    };
    for (path, content) in &bundle.manifest().files {
        let bytes = bundle.file(path).expect("a file that the manifest names is there");
        assert_eq!((Digest::of(bytes), bytes.len() as u64), (content.digest, content.size));
    }
    let mut bytes = Vec::new();
    bundle.layout().write_archive(&mut bytes).expect("memory takes it");
    let mut again = Bundle::parse(&bytes).expect("what was read is written so that it is read");
    assert_eq!(again.id(), bundle.id());
    again.attach(Attachment::Statement(b"{}".to_vec()));
    assert_eq!(again.id(), bundle.id());
}
