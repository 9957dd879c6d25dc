//! Bundles that are whole, and bundles that are not: each of these is refused, with its code and its reason.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::Path as OsPath;

use gabion_bundle::{Builder, Bundle, Digest, Manifest, Path, Use};
use serde_json::{Value, json};

fn manifest() -> Manifest {
    let text = json!({
        "bundle": 1, "kind": "generation", "name": "substation-7", "version": 42,
        "notBefore": "2027-01-01T00:00:00Z", "expires": "2028-01-01T00:00:00Z",
        "targets": [{"architecture": "x86_64", "kernels": ["6.1", "6.12"]}],
        "tables": Digest::of(b"tables").to_string(),
        "contracts": {"object": Digest::of(b"contract").to_string()},
        "files": {},
    });
    serde_json::from_value(text).unwrap()
}

fn path(text: &str) -> Path {
    text.parse().unwrap()
}

fn builder() -> Builder {
    let mut builder = Builder::new(manifest());
    builder.add(path("policy/site.yaml"), Use::Policy, b"kind: Site\n".to_vec());
    builder.add(path("policy/plc.yaml"), Use::Policy, b"kind: ClusterPolicy\n".to_vec());
    builder.add(path("programs/hooks.o"), Use::Programs, vec![7; 5_000]);
    // The same bytes twice are one blob.
    builder.add(path("policy/again.yaml"), Use::Policy, b"kind: Site\n".to_vec());
    builder
}

/// A layout that anything can be done to.
#[derive(Clone)]
struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    fn whole() -> Self {
        let folder = tempfile::tempdir().unwrap();
        builder().finish().unwrap().layout().write_folder(folder.path()).unwrap();
        let mut files = BTreeMap::new();
        for name in ["oci-layout", "index.json"] {
            files.insert(name.to_owned(), std::fs::read(folder.path().join(name)).unwrap());
        }
        for entry in std::fs::read_dir(folder.path().join("blobs/sha256")).unwrap() {
            let entry = entry.unwrap();
            let name = format!("blobs/sha256/{}", entry.file_name().to_str().unwrap());
            files.insert(name, std::fs::read(entry.path()).unwrap());
        }
        Self(files)
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.0[name]).unwrap()
    }

    fn image(&self) -> String {
        blob(&self.json("index.json")["manifests"][0])
    }

    fn config(&self) -> String {
        blob(&self.json(&self.image())["config"])
    }

    /// Puts other bytes in place of a blob, under their own digest, and says so wherever it is described.
    fn replace(&mut self, name: &str, bytes: Vec<u8>) {
        self.0.remove(name);
        let digest = Digest::of(&bytes);
        let old = format!("sha256:{}", name.rsplit('/').next().unwrap());
        let size = bytes.len();
        self.0.insert(format!("blobs/sha256/{}", digest.hex()), bytes);
        let image = self.image();
        let edit = |value: &mut Value| {
            for descriptor in value.as_array_mut().into_iter().flatten() {
                if descriptor["digest"] == old.as_str() {
                    descriptor["digest"] = digest.to_string().into();
                    descriptor["size"] = size.into();
                }
            }
        };
        if name == image {
            let mut index = self.json("index.json");
            edit(&mut index["manifests"]);
            self.0.insert("index.json".into(), serde_json::to_vec(&index).unwrap());
            return;
        }
        let mut manifest = self.json(&image);
        edit(&mut manifest["layers"]);
        let mut config = json!([manifest["config"]]);
        edit(&mut config);
        manifest["config"] = config[0].clone();
        self.replace(&image, serde_json::to_vec(&manifest).unwrap());
    }

    /// Edits our manifest, all digests being right afterwards.
    fn edited(&self, edit: impl FnOnce(&mut Value)) -> Self {
        let mut files = self.clone();
        let name = files.config();
        // In the order in which it is written.
        let mut text: Value = files.json(&name);
        edit(&mut text);
        let written = serde_json::from_value::<Manifest>(text.clone()).map(|it| serde_json::to_vec(&it).unwrap());
        files.replace(&name, written.unwrap_or_else(|_| serde_json::to_vec(&text).unwrap()));
        files
    }

    fn write(&self, folder: &OsPath) {
        std::fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
        for (name, bytes) in &self.0 {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
    }

    fn archive(&self) -> tar::Builder<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, bytes) in &self.0 {
            member(&mut archive, name, tar::EntryType::Regular, bytes);
        }
        archive
    }

    /// As a folder, which is the same as an archive of it.
    fn open(&self) -> Result<Bundle, (&'static str, String)> {
        let folder = tempfile::tempdir().unwrap();
        self.write(&folder.path().join("layout"));
        let of_folder = open(&folder.path().join("layout"));
        let archive = folder.path().join("bundle.tar");
        std::fs::write(&archive, self.archive().into_inner().unwrap()).unwrap();
        assert_eq!(of_folder, open(&archive), "folder and archive");
        of_folder
    }
}

fn blob(descriptor: &Value) -> String {
    format!("blobs/sha256/{}", descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap())
}

fn member(archive: &mut tar::Builder<Vec<u8>>, name: &str, kind: tar::EntryType, bytes: &[u8]) {
    let mut header = tar::Header::new_ustar();
    // As it is, which the library would refuse to write.
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    archive.append(&header, bytes).unwrap();
}

fn open(path: &OsPath) -> Result<Bundle, (&'static str, String)> {
    Bundle::open(path).map_err(|refused| (refused.code(), refused.to_string()))
}

#[test]
fn what_is_written_is_read_and_is_the_same_every_time() {
    let folder = tempfile::tempdir().unwrap();
    let (layout, again) = (builder().finish().unwrap().layout(), builder().finish().unwrap().layout());
    assert_eq!(layout, again);
    let mut bytes = [Vec::new(), Vec::new()];
    layout.write_archive(&mut bytes[0]).unwrap();
    again.write_archive(&mut bytes[1]).unwrap();
    assert!(bytes[0] == bytes[1], "not deterministic");
    std::fs::write(folder.path().join("b.tar"), &bytes[0]).unwrap();
    layout.write_folder(&folder.path().join("b")).unwrap();
    let bundle = open(&folder.path().join("b")).unwrap();
    assert_eq!(bundle, open(&folder.path().join("b.tar")).unwrap());
    assert_eq!((bundle.id(), bundle.manifest().version), (layout.id(), 42));
    assert_eq!(bundle.file(&path("policy/site.yaml")), Some(&b"kind: Site\n"[..]));
    assert_eq!(bundle.file(&path("policy/none.yaml")), None);
    assert!(layout.write_folder(&folder.path().join("b")).is_err(), "over another one");
}

#[test]
fn a_flipped_bit_and_a_cut_anywhere_are_noticed() {
    let whole = Files::whole();
    assert!(whole.open().is_ok());
    let mut rng = fastrand::Rng::with_seed(7);
    for (name, bytes) in &whole.0 {
        for _ in 0..6 {
            let mut files = whole.clone();
            let bit = rng.usize(..bytes.len() * 8);
            files.0.get_mut(name).unwrap()[bit / 8] ^= 1 << (bit % 8);
            if let Ok(bundle) = files.open() {
                // In what no digest covers a change may be one of meaning none.
                assert_eq!(name, "index.json");
                assert_eq!(bundle, whole.open().unwrap());
            }
            let mut files = whole.clone();
            files.0.get_mut(name).unwrap().truncate(rng.usize(..bytes.len()));
            let (code, _) = files.open().unwrap_err();
            assert!(matches!(code, "bundle-size" | "bundle-syntax" | "bundle-form"), "{name}: {code}");
        }
        let mut files = whole.clone();
        files.0.remove(name);
        let (code, text) = files.open().unwrap_err();
        assert_eq!(code, "bundle-file-missing");
        assert!(text.starts_with(name.as_str()), "{text}");
    }
}

#[test]
fn manifests_that_contradict_themselves_are_refused_by_field() {
    let whole = Files::whole();
    let digest = Digest::of(b"kind: Site\n").to_string();
    let file = |size: u64| json!({"use": "policy", "digest": digest, "size": size});
    type Edit<'e> = Box<dyn FnOnce(&mut Value) + 'e>;
    let set = |field: &'static str, value: Value| -> Edit<'_> { Box::new(move |it| it[field] = value) };
    let add = |path: &'static str, value: Value| -> Edit<'_> { Box::new(move |it| it["files"][path] = value) };
    let cases: Vec<(Edit<'_>, &str, &str)> = vec![
        (set("bundle", json!(2)), "bundle-manifest", "manifest, bundle: form 2, this version of gabion knows form 1"),
        (set("version", json!(0)), "bundle-manifest", "manifest, version: versions begin at 1"),
        (set("version", json!(-1)), "bundle-syntax", "invalid value: integer `-1`"),
        (set("name", json!("../x")), "bundle-syntax", "\"../x\" is no name"),
        (set("name", json!("")), "bundle-syntax", "name of 0 bytes; there are 1 to 63"),
        (set("expires", json!("2026-01-01T00:00:00Z")), "bundle-manifest", "it expires before it may go into force"),
        (set("expires", json!("tomorrow")), "bundle-syntax", "\"tomorrow\" is no time"),
        (set("expires", json!("2028-01-01T00:00:00.000Z")), "bundle-syntax", "is no time"),
        (set("tables", json!("sha256:00")), "bundle-syntax", "\"sha256:00\" is no digest"),
        (set("extra", json!(1)), "bundle-syntax", "unknown field `extra`"),
        (add("/etc/shadow", file(11)), "bundle-syntax", "\"/etc/shadow\" is no path"),
        (add("policy/../../x", file(11)), "bundle-syntax", "is no path"),
        (add("policy/site.yaml/x", file(11)), "bundle-manifest", "it lies in policy/site.yaml, which is a file"),
        (add("policy/new.yaml", file(12)), "bundle-manifest", "another file with the same digest has another size"),
        (add("policy/big.yaml", file(1 << 40)), "bundle-limit", "1099511627776 bytes of a blob, at most 67108864"),
        (
            add("policy/new.yaml", json!({"use": "policy", "digest": Digest::of(b"?").to_string(), "size": 1})),
            "bundle-manifest",
            "the files it names are not the layers of the image manifest",
        ),
        (
            add("policy/new.yaml", json!({"use": "kernel-module", "digest": digest, "size": 11})),
            "bundle-syntax",
            "unknown variant `kernel-module`",
        ),
        (
            Box::new(|it| drop(it["files"].as_object_mut().unwrap().remove("programs/hooks.o"))),
            "bundle-manifest",
            "not the layers",
        ),
    ];
    for (edit, code, reason) in cases {
        let refused = whole.edited(edit).open().unwrap_err();
        assert_eq!(refused.0, code, "{}", refused.1);
        assert!(refused.1.contains(reason), "{:?} is not in {}", reason, refused.1);
    }
    let mut files = whole.clone();
    let name = files.config();
    let mut spaced = files.0[&name].clone();
    spaced.push(b' ');
    files.replace(&name, spaced);
    let (code, text) = files.open().unwrap_err();
    assert!(code == "bundle-manifest" && text.contains("canonical"), "{text}");
}

#[test]
fn indices_and_layouts_of_others_are_refused() {
    let whole = Files::whole();
    let index = |edit: &dyn Fn(&mut Value)| {
        let mut files = whole.clone();
        let mut index = files.json("index.json");
        edit(&mut index);
        files.0.insert("index.json".into(), serde_json::to_vec(&index).unwrap());
        files.open()
    };
    type Case<'c> = (&'c dyn Fn(&mut Value), &'c str, &'c str);
    let cases: [Case<'_>; 7] = [
        (
            &|it| it["manifests"] = json!([]),
            "bundle-form",
            "expected one manifest of a bundle of gabion, found \"0 of them\"",
        ),
        (&|it| it["manifests"][0]["artifactType"] = json!("application/x"), "bundle-form", "\"0 of them\""),
        (
            &|it| {
                let one = it["manifests"][0].clone();
                it["manifests"].as_array_mut().unwrap().push(one);
            },
            "bundle-form",
            "\"2 of them\"",
        ),
        (&|it| it["manifests"][0]["size"] = json!(3), "bundle-size", "the manifest says 3"),
        (&|it| it["manifests"][0]["size"] = json!(1 << 30), "bundle-limit", "bytes of a manifest"),
        (&|it| it["manifests"][0]["mediaType"] = json!("text/html"), "bundle-form", "found \"text/html\""),
        (&|it| it["schemaVersion"] = json!(1), "bundle-form", "schema version 2"),
    ];
    for (edit, code, reason) in cases {
        let refused = index(edit).unwrap_err();
        assert_eq!(refused.0, code, "{}", refused.1);
        assert!(refused.1.contains(reason), "{:?} is not in {}", reason, refused.1);
    }
    // What a registry adds is no reason.
    assert!(index(&|it| it["annotations"] = json!({"a": "b"})).is_ok());
    let mut files = whole;
    files.0.insert("oci-layout".into(), b"{\"imageLayoutVersion\":\"2.0.0\"}".to_vec());
    assert_eq!(files.open().unwrap_err().0, "bundle-form");
    files.0.insert("oci-layout".into(), vec![b' '; (1 << 20) + 1]);
    let (code, text) = files.open().unwrap_err();
    assert!(code == "bundle-limit" && text.contains("1048577 bytes"), "{text}");
}

#[test]
fn what_a_refusal_quotes_of_an_archive_is_nothing_to_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hostile.tar");
    std::fs::write(&path, b"\x1b]0;owned\x07\x1b[2J".repeat(50)).unwrap();
    let (code, what) = open(&path).unwrap_err();
    assert_eq!(code, "bundle-unreadable");
    assert!(!what.contains(char::is_control) && what.contains("\\u{1b}"), "{what}");
}

#[test]
fn archives_have_files_of_a_layout_and_nothing_else() {
    let whole = Files::whole();
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("b.tar");
    let refused = |change: &dyn Fn(&mut tar::Builder<Vec<u8>>)| {
        let mut archive = whole.archive();
        change(&mut archive);
        std::fs::write(&at, archive.into_inner().unwrap()).unwrap();
        open(&at).unwrap_err()
    };
    use tar::EntryType::{Char, Directory, Link, Regular, Symlink};
    for name in ["../../etc/cron.d/x", "/etc/passwd", "blobs/sha256/../../x", "index.json/", "x", "blobs/sha256/AB"] {
        let (code, text) = refused(&|archive| member(archive, name, Regular, b"x"));
        assert!(code == "bundle-archive" && text.contains("no layout has that"), "{name}: {text}");
    }
    for kind in [Symlink, Link, Char, Directory] {
        let (code, text) = refused(&|archive| member(archive, "oci-layout", kind, b""));
        assert!(code == "bundle-archive" && text.contains("only files"), "{kind:?}: {text}");
    }
    let (code, text) = refused(&|archive| member(archive, "index.json", Regular, b"{}"));
    assert!(code == "bundle-archive" && text.contains("twice"), "{text}");
    // Cut in its middle.
    let bytes = whole.archive().into_inner().unwrap();
    for length in (0..bytes.len()).step_by(777) {
        std::fs::write(&at, &bytes[..length]).unwrap();
        let (code, text) = match open(&at) {
            Err(refused) => refused,
            // Of the zeroes at the end nothing is missed.
            Ok(bundle) => {
                assert!(bundle == whole.open().unwrap() && bytes[length..].iter().all(|&byte| byte == 0));
                continue;
            }
        };
        let codes = ["bundle-unreadable", "bundle-file-missing", "bundle-size"];
        assert!(codes.contains(&code), "{length} bytes: {text}");
    }
}

#[test]
fn no_link_leads_out_of_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let whole = Files::whole();
    whole.write(&folder.path().join("real"));
    let layout = folder.path().join("layout");
    std::fs::create_dir(&layout).unwrap();
    for name in ["oci-layout", "index.json"] {
        std::fs::copy(folder.path().join("real").join(name), layout.join(name)).unwrap();
    }
    std::os::unix::fs::symlink(folder.path().join("real/blobs"), layout.join("blobs")).unwrap();
    assert_eq!(open(&layout).unwrap_err().0, "bundle-unreadable");
    std::fs::remove_file(layout.join("index.json")).unwrap();
    std::os::unix::fs::symlink(folder.path().join("real/index.json"), layout.join("index.json")).unwrap();
    assert_eq!(open(&layout).unwrap_err().0, "bundle-unreadable");
    assert_eq!(open(&folder.path().join("none")).unwrap_err().0, "bundle-unreadable");
}
