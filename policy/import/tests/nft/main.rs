//! nftables rulesets: their meaning against a second reading, packet by packet; what is refused; and,
//! where `nft` is installed, that it takes the same texts, so that no invented syntax is tested.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod meaning;
mod packet;
mod random;
mod refusals;
