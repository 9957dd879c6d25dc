//! The relays' GOOSE: captured frames with their own timing, compressed; generated ones otherwise.

use std::time::{Duration, Instant};

use crate::error::{Result, SiteError};
use crate::goose::{Publisher, capture_folder, frames_of_capture, from_source};
use crate::host::Host;
use crate::plant::{Device, GOOSE_GROUP, Plant};
use crate::wire::Transmitter;

/// The capture that both relays' streams come from.
const CAPTURE: &str = "Sample_File_GOOSE.pcap";

/// What a relay publishes: frames, and when each is due after the first.
#[derive(Clone, Debug)]
pub struct Programme {
    /// Frames with their time after the start.
    pub frames: Vec<(Duration, Vec<u8>)>,
    /// Whether they are captured ones.
    pub captured: bool,
}

/// The programme of a relay: at most `limit` frames.
pub fn programme(relay: &Device, limit: usize) -> Result<Programme> {
    if let Some(folder) = capture_folder() {
        let path = folder.join(CAPTURE);
        let mut frames = from_source(&frames_of_capture(&path)?, relay.mac);
        if frames.is_empty() {
            return Err(SiteError::Content { path, what: format!("no frames of {}", relay.name) });
        }
        frames.truncate(limit);
        return Ok(Programme { frames, captured: true });
    }
    let publisher = Publisher {
        source: relay.mac,
        group: GOOSE_GROUP,
        appid: 0x3001,
        gocb_ref: format!("{}LD0/LLN0$GO$gcb_A", relay.name.to_uppercase()),
        conf_rev: 1,
    };
    // Four repetitions of each state, a second apart: fast enough for a picture of retransmission.
    let frame = |n: usize| {
        let (state, repetition) = ((n / 4) as u32 + 1, (n % 4) as u32);
        (Duration::from_millis(250 * n as u64), publisher.frame(state, repetition, &[state % 2 == 0; 8]))
    };
    Ok(Programme { frames: (0..limit.min(200)).map(frame).collect(), captured: false })
}

/// Publishes a programme, `haste` times as fast as it is written and for no longer than `bound`.
/// Gives back how many frames went out.
pub fn publish(host: &Host, relay: &Device, programme: &Programme, haste: u32, bound: Duration) -> Result<u64> {
    let transmitter = Transmitter::open(host, Plant::interface(relay))?;
    let start = Instant::now();
    let mut sent = 0;
    for (due, frame) in &programme.frames {
        let due = *due / haste.max(1);
        if due > bound {
            break;
        }
        std::thread::sleep((start + due).saturating_duration_since(Instant::now()));
        transmitter.send(frame)?;
        sent += 1;
    }
    Ok(sent)
}
