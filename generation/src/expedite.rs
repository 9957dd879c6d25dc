//! Grace periods in microseconds instead of tens of milliseconds, for as long as hooks change.
//!
//! The kernel waits for a grace period of RCU in each attachment to tcx, holding the lock under which all of them
//! happen, so that eight interfaces wait eight times. It expedites all grace periods while `/sys/kernel/rcu_expedited`
//! says so, which is meant for such moments (the kernel itself boots and suspends that way). The knob is the whole
//! machine's: it is touched only when it stands at 0, put back at the end, and by the next agent when this one dies
//! before. Where it cannot be written, or `rcu_normal` forbids it (real-time kernels), nothing is lost but time.

use std::fs;
use std::path::{Path, PathBuf};

const KNOB: &str = "/sys/kernel/rcu_expedited";
const FORBIDDEN: &str = "/sys/kernel/rcu_normal";
/// An empty folder beside the pins: the knob was turned from here.
const MARK: &str = "expedited";

/// Expedited grace periods until it is dropped.
#[derive(Debug)]
pub struct Expedited {
    knob: PathBuf,
    mark: PathBuf,
}

fn stands_at(knob: &Path, value: &str) -> bool {
    fs::read_to_string(knob).is_ok_and(|text| text.trim() == value)
}

impl Expedited {
    /// Expedites, when the kernel does not yet and lets us. `root` is the agent's folder of the bpffs.
    #[must_use]
    pub fn begin(root: &Path) -> Option<Self> {
        Self::begin_at(root, Path::new(KNOB), Path::new(FORBIDDEN))
    }

    fn begin_at(root: &Path, knob: &Path, forbidden: &Path) -> Option<Self> {
        if !stands_at(knob, "0") || !stands_at(forbidden, "0") {
            return None;
        }
        let expedited = Self { knob: knob.to_owned(), mark: root.join(MARK) };
        // Without the mark a death would leave the knob turned.
        fs::create_dir(&expedited.mark).ok()?;
        if fs::write(knob, "1").is_ok() {
            return Some(expedited);
        }
        // Nothing was turned, so that nothing is to be put back, now or by the next agent.
        let _ = fs::remove_dir(&expedited.mark);
        std::mem::forget(expedited);
        None
    }

    /// Puts back what an agent left that died in between. Only for the holder of the folder's lock.
    pub fn recover(root: &Path) {
        Self::recover_at(root, Path::new(KNOB));
    }

    fn recover_at(root: &Path, knob: &Path) {
        let mark = root.join(MARK);
        if mark.is_dir() {
            drop(Self { knob: knob.to_owned(), mark });
        }
    }
}

impl Drop for Expedited {
    fn drop(&mut self) {
        // The mark stays when the knob cannot be put back, so that the next agent tries again.
        if fs::write(&self.knob, "0").is_ok() {
            let _ = fs::remove_dir(&self.mark);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    struct Node {
        root: PathBuf,
        knob: PathBuf,
        forbidden: PathBuf,
    }

    fn node(name: &str, knob: &str, forbidden: &str) -> Node {
        let root = std::env::temp_dir().join(format!("gabion-expedite-{name}-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        let node = Node { knob: root.join("knob"), forbidden: root.join("forbidden"), root };
        fs::write(&node.knob, knob).unwrap();
        fs::write(&node.forbidden, forbidden).unwrap();
        node
    }

    impl Node {
        fn begin(&self) -> Option<Expedited> {
            Expedited::begin_at(&self.root, &self.knob, &self.forbidden)
        }

        fn state(&self) -> (String, bool) {
            (fs::read_to_string(&self.knob).unwrap().trim().to_owned(), self.root.join(MARK).exists())
        }
    }

    impl Drop for Node {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.root);
        }
    }

    #[test]
    fn puts_the_knob_back_also_when_nested() {
        let node = node("nested", "0\n", "0\n");
        let outer = node.begin();
        assert!(outer.is_some() && node.begin().is_none());
        assert_eq!(node.state(), ("1".to_owned(), true));
        drop(outer);
        assert_eq!(node.state(), ("0".to_owned(), false));
    }

    #[test]
    fn touches_nothing_that_an_operator_or_a_real_time_kernel_decided() {
        let chosen = node("chosen", "1\n", "0\n");
        assert!(chosen.begin().is_none());
        assert_eq!(chosen.state(), ("1".to_owned(), false));
        let real_time = node("rt", "0\n", "1\n");
        assert!(real_time.begin().is_none());
        assert_eq!(real_time.state(), ("0".to_owned(), false));
    }

    #[test]
    fn the_next_agent_puts_back_what_a_dead_one_left() {
        let node = node("dead", "0\n", "0\n");
        std::mem::forget(node.begin());
        assert_eq!(node.state(), ("1".to_owned(), true));
        Expedited::recover_at(&node.root, &node.knob);
        assert_eq!(node.state(), ("0".to_owned(), false));
    }

    #[test]
    fn what_cannot_be_turned_leaves_no_mark() {
        use std::os::fd::AsRawFd as _;

        use rustix::fs::{MemfdFlags, SealFlags};

        let node = node("sealed", "0\n", "0\n");
        // Reads as 0 and takes nothing, also from root.
        let sealed = rustix::fs::memfd_create("knob", MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::io::write(&sealed, b"0\n").unwrap();
        rustix::fs::fcntl_add_seals(&sealed, SealFlags::WRITE | SealFlags::SHRINK).unwrap();
        let knob = PathBuf::from(format!("/proc/self/fd/{}", sealed.as_raw_fd()));
        assert!(stands_at(&knob, "0") && fs::write(&knob, "1").is_err());
        assert!(Expedited::begin_at(&node.root, &knob, &node.forbidden).is_none());
        assert!(!node.root.join(MARK).exists());
    }

    #[test]
    fn without_a_mark_nothing_is_put_back() {
        let node = node("operator", "1\n", "0\n");
        Expedited::recover_at(&node.root, &node.knob);
        assert_eq!(node.state(), ("1".to_owned(), false));
    }
}
