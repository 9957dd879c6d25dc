//! Views in programs that do nothing else: found on this kernel, loaded, and asked what they see.

use aya::{Ebpf, EbpfLoader};
use gabion_btf::Btf;
use gabion_view::View;
use gabion_view::bind::{BindError, Bound, PatchError};
use gabion_view::described::{Described, Unread, described};

include!(concat!(env!("OUT_DIR"), "/object.rs"));

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nothing was embedded.
    #[error("built without the programs: {0}; see `./x doctor`")]
    NotBuilt(&'static str),
    /// The kernel's types cannot be read.
    #[error("{0}")]
    Types(#[from] gabion_btf::Error),
    /// The object does not say what its views are.
    #[error("{0}")]
    Unread(#[from] Unread),
    /// The view does not fit the kernel.
    #[error("{0}")]
    View(#[from] BindError),
    /// The object's placeholders cannot be replaced.
    #[error("{0}")]
    Patch(#[from] PatchError),
    /// The object is not one, or the kernel refuses it.
    #[error("the object cannot be loaded: {0}")]
    Object(#[from] aya::EbpfError),
}

/// The object as it was built, with placeholders.
///
/// # Errors
/// When this was built without it.
pub fn object() -> Result<Vec<u8>, Failure> {
    EMBEDDED.map(<[u8]>::to_vec).map_err(Failure::NotBuilt)
}

/// The object for the kernel whose types these are, and where the fields are.
///
/// # Errors
/// [`Failure`].
pub fn bound(kernel: &Btf) -> Result<(Vec<u8>, Bound), Failure> {
    let mut object = object()?;
    let views = described(&object)?;
    let bound = Bound::find(kernel, &views.iter().map(Described::view).collect::<Vec<View<'_>>>())?;
    bound.patch(&mut object)?;
    Ok((object, bound))
}

/// The object with its maps in the kernel that runs, looking at a thread.
///
/// # Errors
/// [`Failure`].
pub fn load(thread: u32) -> Result<Ebpf, Failure> {
    let (object, _) = bound(&Btf::open("/sys/kernel/btf/vmlinux")?)?;
    Ok(EbpfLoader::new().override_global("WANTED", &thread, true).load(&object)?)
}
