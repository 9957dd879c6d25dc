//! Where the tests of this folder pin what they load.

use std::path::PathBuf;

/// A bpffs of the test's own, gone when the test ends however it ends.
pub struct Bpffs {
    mount: PathBuf,
}

impl Bpffs {
    /// Mounted; none, and said, where that cannot be.
    pub fn new(name: &str) -> Option<Self> {
        let missing = match gabion_kernel_object::object() {
            _ if !nix::unistd::geteuid().is_root() => Some("not root".to_owned()),
            Ok(_) => None,
            Err(error) => Some(error.to_string()),
        };
        if let Some(missing) = missing {
            assert!(std::env::var_os("GABION_REQUIRE_ROOT").is_none(), "demanded, and cannot run: {missing}");
            println!("skipped: {missing}");
            return None;
        }
        let mount = std::env::temp_dir().join(format!("gabion-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&mount).unwrap();
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("bpf"), &mount, Some("bpf"), flags, None::<&str>).unwrap();
        Some(Self { mount })
    }

    /// The folder of a node.
    pub fn root(&self) -> PathBuf {
        self.mount.join("gabion")
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.mount, nix::mount::MntFlags::MNT_DETACH);
        let _ = std::fs::remove_dir(&self.mount);
    }
}
