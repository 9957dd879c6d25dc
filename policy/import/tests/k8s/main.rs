//! Kubernetes policies, probed in the manner of the upstream conformance matrix: namespaces x, y and z
//! with pods a, b and c each, ports 80 and 81, TCP, UDP, SCTP and ICMP, IPv4 and IPv6, and one address
//! outside of the cluster. What each policy lets through is written by hand from the specifications.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod admin_policies;
mod cluster;
mod exemptions;
mod network_policies;
mod objects;
mod refusals;
