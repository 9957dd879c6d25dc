//! Whether VLAN tags travel inside the frame.
//!
//! A veth leaves the outer tag beside the frame, where an XDP program does not see it. On a cable it
//! is inside, so tests about VLANs say so to the kernel, over the ethtool netlink family.

use std::io;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC};

use crate::error::{Result, SiteError};
use crate::host::Host;

const GENL_ID_CTRL: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const ETHTOOL_MSG_FEATURES_SET: u8 = 12;
const ETHTOOL_A_FEATURES_HEADER: u16 = 1;
const ETHTOOL_A_FEATURES_WANTED: u16 = 3;
const ETHTOOL_A_HEADER_DEV_NAME: u16 = 2;
const ETHTOOL_A_BITSET_BITS: u16 = 3;
const ETHTOOL_A_BITSET_BITS_BIT: u16 = 1;
const ETHTOOL_A_BITSET_BIT_NAME: u16 = 2;
const NLA_F_NESTED: u16 = 0x8000;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
/// nlmsghdr and genlmsghdr.
const HEADER_BYTES: usize = 20;

impl Host {
    /// Frames of VLAN devices on top of this interface carry their tags inside, as on a cable.
    pub fn tags_inside(&self, name: &str) -> Result<()> {
        self.features_off(name, &["tx-vlan-hw-insert", "tx-vlan-stag-hw-insert"])
    }

    /// Turns device features off, by the kernel's names for them.
    pub fn features_off(&self, name: &str, features: &[&str]) -> Result<()> {
        self.run(|| features_off(name, features)).map_err(|source| SiteError::Link {
            request: format!("turn off {} on {name} of {}", features.join(", "), self.name()),
            source,
        })
    }
}

fn features_off(name: &str, features: &[&str]) -> io::Result<()> {
    let socket = Socket::new(NETLINK_GENERIC)?;
    let family = ethtool_family(&socket)?;
    // A bit that is listed without a value is wanted off; features that are not listed stay.
    let bits: Vec<u8> = features
        .iter()
        .flat_map(|feature| {
            let named = attribute(ETHTOOL_A_BITSET_BIT_NAME, &with_nul(feature));
            attribute(ETHTOOL_A_BITSET_BITS_BIT | NLA_F_NESTED, &named)
        })
        .collect();
    let header = attribute(ETHTOOL_A_HEADER_DEV_NAME, &with_nul(name));
    let mut body = attribute(ETHTOOL_A_FEATURES_HEADER | NLA_F_NESTED, &header);
    let bits = attribute(ETHTOOL_A_BITSET_BITS | NLA_F_NESTED, &bits);
    body.extend(attribute(ETHTOOL_A_FEATURES_WANTED | NLA_F_NESTED, &bits));
    ask(&socket, family, ETHTOOL_MSG_FEATURES_SET, &body).map(drop)
}

fn ethtool_family(socket: &Socket) -> io::Result<u16> {
    let answer = ask(socket, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, &attribute(CTRL_ATTR_FAMILY_NAME, b"ethtool\0"))?;
    let mut rest = answer.get(HEADER_BYTES..).unwrap_or_default();
    while let Some((head, _)) = rest.split_first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]);
        if kind == CTRL_ATTR_FAMILY_ID
            && let Some(&[low, high]) = rest.get(4..6)
        {
            return Ok(u16::from_ne_bytes([low, high]));
        }
        rest = rest.get(length.next_multiple_of(4).max(4)..).unwrap_or_default();
    }
    Err(io::Error::other("the kernel's answer names no ethtool family"))
}

/// Sends a request and returns the first answer that is not its acknowledgement, if one comes.
fn ask(socket: &Socket, family: u16, command: u8, body: &[u8]) -> io::Result<Vec<u8>> {
    let mut request = Vec::with_capacity(HEADER_BYTES + body.len());
    request.extend(u32::try_from(HEADER_BYTES + body.len()).map_err(io::Error::other)?.to_ne_bytes());
    request.extend(family.to_ne_bytes());
    request.extend((NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    request.extend([0; 8]);
    request.extend([command, 1, 0, 0]);
    request.extend(body);
    socket.send_to(&request, &SocketAddr::new(0, 0), 0)?;
    let mut answer = Vec::new();
    loop {
        let (message, _) = socket.recv_from_full()?;
        let kind = message.get(4..6).map(|kind| u16::from_ne_bytes([kind[0], kind[1]]));
        if kind != Some(NLMSG_ERROR) {
            answer = message;
            continue;
        }
        let errno = message.get(16..20).and_then(|code| code.first_chunk::<4>()).map_or(0, |c| i32::from_ne_bytes(*c));
        return if errno == 0 { Ok(answer) } else { Err(io::Error::from_raw_os_error(-errno)) };
    }
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    // Attributes here are names and nests of names, far below the 64 KiB that the length field holds.
    let length = (4 + value.len()) as u16;
    let mut bytes = Vec::with_capacity(4 + value.len().next_multiple_of(4));
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn with_nul(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}
