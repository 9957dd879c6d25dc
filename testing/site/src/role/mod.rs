//! What the devices of the plant do all day.
//!
//! Servers run from [`serve`] on; what clients and publishers do is called once a round and bounded
//! in count and time.

pub mod client;
pub mod goose;
pub mod intruder;
pub mod server;

use std::future::Future;
use std::time::Duration;

use crate::error::{Result, SiteError};
use crate::host::Host;

/// How long a peer that answers at all takes at most; refused attempts cost this long.
pub const PATIENCE: Duration = Duration::from_millis(400);

/// Runs a future in a namespace, on the thread that entered it.
pub(crate) fn play<R: Send>(host: &Host, role: &'static str, work: impl Future<Output = R> + Send) -> Result<R> {
    host.run(|| Ok(runtime(role)?.block_on(work)))
}

fn runtime(role: &'static str) -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| SiteError::Role { role, what: format!("no runtime: {error}") })
}
