//! GOOSE frames: from a capture, or written anew (IEC 61850-8-1, Ethernet and BER).

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Result, SiteError};
use crate::frame::{ether_type, ethernet};
use crate::link::Mac;

/// Who publishes what; fields as the APDU names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publisher {
    /// Source MAC.
    pub source: Mac,
    /// Destination group.
    pub group: Mac,
    /// APPID.
    pub appid: u16,
    /// Reference of the control block; the data set and the goID are made from it.
    pub gocb_ref: String,
    /// Configuration revision.
    pub conf_rev: u32,
}

impl Publisher {
    /// One message. `positions` are the booleans of the data set.
    #[must_use]
    pub fn frame(&self, st_num: u32, sq_num: u32, positions: &[bool]) -> Vec<u8> {
        let device = self.gocb_ref.split('/').next().unwrap_or_default();
        let mut apdu = Vec::new();
        tlv(&mut apdu, 0x80, self.gocb_ref.as_bytes());
        // timeAllowedtoLive, milliseconds.
        tlv(&mut apdu, 0x81, &unsigned(2_000));
        tlv(&mut apdu, 0x82, format!("{device}/LLN0$Positions").as_bytes());
        tlv(&mut apdu, 0x83, self.gocb_ref.as_bytes());
        // The time of the last change: fixed, so that a run can be compared with another.
        tlv(&mut apdu, 0x84, &[0x48, 0x88, 0x90, 0xc1, 0x24, 0, 0, 0x0a]);
        tlv(&mut apdu, 0x85, &unsigned(st_num));
        tlv(&mut apdu, 0x86, &unsigned(sq_num));
        tlv(&mut apdu, 0x87, &[0]);
        tlv(&mut apdu, 0x88, &unsigned(self.conf_rev));
        tlv(&mut apdu, 0x89, &[0]);
        tlv(&mut apdu, 0x8a, &unsigned(positions.len() as u32));
        let mut data = Vec::new();
        for &position in positions {
            tlv(&mut data, 0x83, &[u8::from(position)]);
        }
        tlv(&mut apdu, 0xab, &data);
        let mut pdu = Vec::new();
        tlv(&mut pdu, 0x61, &apdu);
        let mut body = Vec::with_capacity(8 + pdu.len());
        body.extend(self.appid.to_be_bytes());
        body.extend((8 + pdu.len() as u16).to_be_bytes());
        body.extend([0; 4]);
        body.extend(&pdu);
        ethernet(self.group, self.source, ether_type::GOOSE, &body)
    }
}

fn tlv(out: &mut Vec<u8>, tag: u8, value: &[u8]) {
    out.push(tag);
    match value.len() {
        short @ ..0x80 => out.push(short as u8),
        long @ ..0x100 => out.extend([0x81, long as u8]),
        long => out.extend([0x82, (long >> 8) as u8, long as u8]),
    }
    out.extend(value);
}

/// BER integers are signed: a value with the top bit set has a zero octet in front.
fn unsigned(value: u32) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let skip = bytes.iter().take(3).take_while(|&&octet| octet == 0).count();
    let mut out = Vec::with_capacity(5);
    if bytes[skip] & 0x80 != 0 {
        out.push(0);
    }
    out.extend(&bytes[skip..]);
    out
}

/// Bytes of a capture that are read; the largest known one has 120 kB.
const CAPTURE_LIMIT: u64 = 16 << 20;
/// Frames of a capture that are kept.
const FRAME_LIMIT: usize = 4_096;

/// GOOSE frames of a classic pcap file, each with the time since the first.
pub fn frames_of_capture(path: &Path) -> Result<Vec<(Duration, Vec<u8>)>> {
    let unreadable = |source| SiteError::File { path: path.to_owned(), source };
    let wrong = |what: String| SiteError::Content { path: path.to_owned(), what };
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > CAPTURE_LIMIT {
        return Err(wrong(format!("{length} bytes, where {CAPTURE_LIMIT} is the most that is read; cut it")));
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    parse_capture(&bytes).map_err(wrong)
}

fn parse_capture(bytes: &[u8]) -> std::result::Result<Vec<(Duration, Vec<u8>)>, String> {
    let Some((header, mut rest)) = bytes.split_first_chunk::<24>() else {
        return Err(format!("{} bytes, where the header of a pcap file has 24", bytes.len()));
    };
    // Classic pcap, little endian, microseconds (magic a1b2c3d4) with Ethernet frames (link type 1).
    if header[..4] != [0xd4, 0xc3, 0xb2, 0xa1] || header[20..24] != [1, 0, 0, 0] {
        return Err("not a little-endian pcap file with microseconds and Ethernet frames".to_owned());
    }
    let mut frames = Vec::new();
    let mut start = None;
    let mut number = 0_u32;
    while !rest.is_empty() && frames.len() < FRAME_LIMIT {
        number += 1;
        let cut = || format!("frame {number} runs past the end of the file");
        let (head, tail) = rest.split_first_chunk::<16>().ok_or_else(cut)?;
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let at = Duration::from_secs(word(0).into()) + Duration::from_micros(word(4).into());
        let frame = tail.get(..word(8) as usize).ok_or_else(cut)?;
        rest = &tail[frame.len()..];
        if is_goose(frame) {
            let start = *start.get_or_insert(at);
            frames.push((at.saturating_sub(start), frame.to_vec()));
        }
    }
    Ok(frames)
}

/// Whether a frame is GOOSE, untagged or with one VLAN tag.
#[must_use]
pub fn is_goose(frame: &[u8]) -> bool {
    let kind = |at: usize| frame.get(at..at + 2).map(|kind| u16::from_be_bytes([kind[0], kind[1]]));
    match kind(12) {
        Some(ether_type::GOOSE) => true,
        Some(ether_type::VLAN) => kind(16) == Some(ether_type::GOOSE),
        _ => false,
    }
}

/// The captured frames that one source MAC sent.
#[must_use]
pub fn from_source(frames: &[(Duration, Vec<u8>)], source: Mac) -> Vec<(Duration, Vec<u8>)> {
    frames.iter().filter(|(_, frame)| frame.get(6..12) == Some(&source[..])).cloned().collect()
}

/// Where captures are: `GABION_TEST_DATA`, else `../shared/data` beside the workspace. None when absent.
#[must_use]
pub fn capture_folder() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folder = std::env::var_os("GABION_TEST_DATA").map_or_else(beside, PathBuf::from).join("pcap/goose");
    folder.is_dir().then_some(folder)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn publisher() -> Publisher {
        Publisher {
            source: [2, 0, 0, 0, 0, 1],
            group: [1, 0x0c, 0xcd, 1, 0, 0],
            appid: 0x3001,
            gocb_ref: "IED1LD0/LLN0$GO$gcb".into(),
            conf_rev: 1,
        }
    }

    #[test]
    fn numbers_with_the_top_bit_set_get_a_zero_in_front() {
        // As in the captures: stNum 36705 is 85 03 00 8f 61, TAL 40000 is 81 03 00 9c 40.
        assert_eq!(unsigned(36_705), [0x00, 0x8f, 0x61]);
        assert_eq!(unsigned(40_000), [0x00, 0x9c, 0x40]);
        assert_eq!(unsigned(0), [0]);
        assert_eq!(unsigned(127), [127]);
    }

    #[test]
    fn a_generated_frame_says_its_length() {
        let frame = publisher().frame(1, 0, &[true; 3]);
        assert!(is_goose(&frame));
        let length = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
        assert_eq!(14 + length, frame.len());
        // Tag 0x61 and a short length stand before the APDU.
        assert_eq!((frame[22], usize::from(frame[23]) + 8 + 2), (0x61, length));
    }

    #[test]
    fn a_cut_capture_is_refused_with_the_frame() {
        let mut bytes = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0];
        assert_eq!(parse_capture(&bytes).unwrap(), []);
        bytes.extend([0; 8]);
        bytes.extend([200, 0, 0, 0, 200, 0, 0, 0, 1, 2, 3]);
        assert!(parse_capture(&bytes).unwrap_err().contains("frame 1"));
    }

    #[test]
    fn captures_hold_the_streams_that_their_readme_counts() {
        let Some(folder) = capture_folder() else {
            println!("skipped: no captures (GABION_TEST_DATA)");
            return;
        };
        let frames = frames_of_capture(&folder.join("Sample_File_GOOSE.pcap")).unwrap();
        assert_eq!(frames.len(), 451);
        assert_eq!(from_source(&frames, [0x0a, 0xbb, 0xfe, 0x10, 0xc9, 0x06]).len(), 167);
        assert_eq!(from_source(&frames, [0x0a, 0xbb, 0xfe, 0x10, 0xc9, 0x08]).len(), 164);
    }
}
