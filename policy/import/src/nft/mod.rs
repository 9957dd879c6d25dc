//! placeholder
use crate::diagnostic::Diagnostic;
use crate::{Imported, Source};
/// placeholder
pub fn import_nft(_: &[Source<'_>]) -> Result<Imported, Vec<Diagnostic>> { Err(Vec::new()) }
