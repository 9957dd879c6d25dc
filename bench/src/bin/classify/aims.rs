//! What the figures are held to.

/// Nanoseconds a packet beyond a bare program, over live frames of all flows.
pub fn live(set: &str) -> Option<f64> {
    Some(match set {
        "segments_100" => 20.0,
        "segments_10k" => 60.0,
        "segments_100k" => 150.0,
        "acl1_1k" => 40.0,
        "fw1_1k" => 60.0,
        "ipc1_1k" => 80.0,
        "acl1_10k" => 100.0,
        "fw1_10k" => 200.0,
        "ipc1_10k" => 150.0,
        _ => return None,
    })
}

/// Nanoseconds that a hot decision adds to parsing, for every set.
pub const HOT: f64 = 15.0;
