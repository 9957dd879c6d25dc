//! Values of single fields: words and numbers to what packets carry.

use gabion_abi::facts;
use gabion_policy_model::subject::Mac;
use gabion_policy_model::text::names::{ETHER_TYPES, ICMP_V4, ICMP_V6, LLC, PROTOCOLS, TCP_FLAGS};

use crate::names::number_of;
use crate::query::{QueryError, Scalar, shorten};

pub(crate) fn interface<'a>(field: &'static str, name: &'a str) -> Result<&'a str, QueryError> {
    // dev_valid_name() of the kernel.
    let valid = !name.is_empty()
        && name.len() < 16
        && name != "."
        && name != ".."
        && !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control());
    if valid { Ok(name) } else { Err(invalid(field, name, "the name of an interface (at most 15 bytes)")) }
}

pub(crate) fn mac(text: &str) -> Option<Mac> {
    if text.len() != 17 {
        return None;
    }
    let separator = if text.as_bytes().get(2) == Some(&b'-') { '-' } else { ':' };
    let mut octets = [0; 6];
    let mut parts = text.split(separator);
    for octet in &mut octets {
        let part = parts.next().filter(|part| part.len() == 2 && !part.starts_with('+'))?;
        *octet = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(Mac(octets))
}

pub(crate) fn protocol_number(proto: &Scalar<'_>) -> Result<u8, QueryError> {
    let named = match proto {
        Scalar::Text(name) => number_of(PROTOCOLS, name),
        Scalar::Number(_) => None,
    };
    match named {
        Some(number) => Ok(number),
        None => {
            number("proto", proto, 255, "a protocol name (tcp, udp, icmp, icmpv6, sctp, ...) or a number from 0 to 255")
                .map(|number| number as u8)
        }
    }
}

pub(crate) fn ether_type(value: &Scalar<'_>) -> Result<u16, QueryError> {
    if let Scalar::Text(name) = value
        && let Some(number) = number_of(ETHER_TYPES, name)
    {
        return Ok(number);
    }
    let expected = "an EtherType: a name (goose, sv, profinet, ptp, lldp, arp, ...) or a number from 0x0600 to 0xffff";
    let number = number("ethertype", value, 65_535, expected)?;
    if number < 0x600 && number != facts::ETHERTYPE_LLC {
        return Err(invalid("ethertype", &value.to_string(), expected));
    }
    Ok(number)
}

pub(crate) fn icmp_type(value: &Scalar<'_>, family: u8) -> Result<(u8, u8), QueryError> {
    let expected = "a type and a code from 0 to 255, like 8/0, 8 or echo-request";
    let named = if family == facts::FAMILY_V4 { ICMP_V4 } else { ICMP_V6 };
    let octet = |text: &str| parse_number(text.trim()).and_then(|n| u8::try_from(n).ok());
    let kind = |text: &str| number_of(named, text.trim()).or_else(|| octet(text));
    let parsed = match value {
        Scalar::Number(number) => u8::try_from(*number).ok().map(|kind| (kind, 0)),
        Scalar::Text(text) => match text.split_once('/') {
            Some((name, code)) => kind(name).zip(octet(code)),
            None => kind(text).map(|kind| (kind, 0)),
        },
    };
    parsed.ok_or_else(|| invalid("icmp", &value.to_string(), expected))
}

/// DSAP << 8 | SSAP.
pub(crate) fn link_sap(value: &Scalar<'_>) -> Result<u16, QueryError> {
    let text = value.to_string();
    let sap = |part: &str| parse_number(part).and_then(|number| u8::try_from(number).ok());
    let pair = || text.split_once('/').and_then(|(d, s)| Some(u16::from_be_bytes([sap(d)?, sap(s)?])));
    number_of(LLC, &text)
        .or_else(pair)
        .ok_or_else(|| invalid("llc", &text, "DSAP/SSAP like 0x42/0x42, or stp, isis or snap"))
}

pub(crate) fn tcp_flags(value: &Scalar<'_>) -> Result<u8, QueryError> {
    let expected = "TCP flags: names (fin, syn, rst, psh, ack, urg, ece, cwr) with commas, none, or a number up to 255";
    let bad = || invalid("flags", &value.to_string(), expected);
    let text = match value {
        Scalar::Number(number) => return u8::try_from(*number).map_err(|_| bad()),
        Scalar::Text(text) => text,
    };
    if text == "none" {
        return Ok(0);
    }
    if let Some(number) = parse_number(text) {
        return u8::try_from(number).map_err(|_| bad());
    }
    text.split([',', '|', '+'])
        .try_fold(0, |flags, name| Some(flags | number_of(TCP_FLAGS, name.trim())?))
        .ok_or_else(bad)
}

pub(crate) fn unparsed_reason(value: &Scalar<'_>) -> Result<u8, QueryError> {
    let named = facts::unparsed::NAMES.iter().position(|name| value.to_string() == *name);
    match named {
        Some(reason) if reason > 0 => Ok(reason as u8),
        _ => {
            Err(invalid("unparsed", &value.to_string(), &format!("one of {}", facts::unparsed::NAMES[1..].join(", "))))
        }
    }
}

pub(crate) fn number(field: &'static str, value: &Scalar<'_>, highest: u16, expected: &str) -> Result<u16, QueryError> {
    let parsed = match value {
        Scalar::Number(number) => Some(*number),
        Scalar::Text(text) => parse_number(text),
    };
    parsed
        .and_then(|number| u16::try_from(number).ok())
        .filter(|&number| number <= highest)
        .ok_or_else(|| invalid(field, &value.to_string(), expected))
}

/// A decimal number, or a hexadecimal one behind `0x`; no signs, and no leading zeroes, which some take for octal.
fn parse_number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    if digits.starts_with(['+', '-']) || (radix == 10 && digits.len() > 1 && digits.starts_with('0')) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

pub(crate) fn invalid(field: &'static str, value: &str, expected: &str) -> QueryError {
    QueryError::Invalid { field, value: shorten(value), expected: expected.to_owned() }
}
