//! What cargo knows about the members of this workspace.

use std::path::PathBuf;

use serde_json::Value;

/// One member of the workspace.
pub struct Member {
    /// The package name.
    pub name: String,
    /// The folder that holds its `Cargo.toml`.
    pub folder: PathBuf,
    /// Its integration tests, by name.
    pub tests: Vec<String>,
    /// Its benchmarks, by name.
    pub benches: Vec<String>,
    /// Its binaries, by name.
    pub binaries: Vec<String>,
    /// Whether it has a library with doc tests.
    pub library: bool,
}

/// Reads the members from `cargo metadata`.
pub fn members() -> Result<Vec<Member>, String> {
    Ok(array(&metadata()?["packages"]).iter().map(member).collect())
}

/// Where cargo puts what it builds.
pub fn target_folder() -> Result<PathBuf, String> {
    let metadata = metadata()?;
    metadata["target_directory"]
        .as_str()
        .map(PathBuf::from)
        .ok_or_else(|| "cargo metadata: no target folder".to_owned())
}

fn metadata() -> Result<Value, String> {
    let output = crate::cargo()
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .output()
        .map_err(|error| format!("cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: not JSON: {error}"))
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn member(package: &Value) -> Member {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of_kind = |kind: &str| {
        let is_kind = |target: &&Value| array(&target["kind"]).iter().any(|found| found == kind);
        array(&package["targets"]).iter().filter(is_kind).map(|target| text(&target["name"])).collect::<Vec<_>>()
    };
    let manifest = PathBuf::from(text(&package["manifest_path"]));
    Member {
        name: text(&package["name"]),
        folder: manifest.parent().map(PathBuf::from).unwrap_or_default(),
        tests: of_kind("test"),
        benches: of_kind("bench"),
        binaries: of_kind("bin"),
        library: array(&package["targets"]).iter().any(|target| target["doctest"] == true),
    }
}
