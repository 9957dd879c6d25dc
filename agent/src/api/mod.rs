//! JSON over HTTP, on a Unix socket that only root can open and, where wanted, read-only on loopback TCP.
//!
//! [`wire`] is what is said, [`routes`] who answers, [`serve`] the sockets and their limits, [`client`] the other side.

pub mod client;
mod dry;
pub mod metrics;
pub mod report;
pub mod routes;
pub mod serve;
pub mod wire;

#[cfg(test)]
mod tests;
