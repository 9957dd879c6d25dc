use gabion_abi::conn::ConnKey;
use gabion_abi::facts::{Address, FAMILY_V4, FAMILY_V6, Facts};
use gabion_kernel_core::key::{conn_key, is_icmp_error, is_icmp_query, quoted, reversed};
use gabion_kernel_core::parse::parse;

use crate::frames::{
    ECHO, MACS, TCP_SYN, UDP, V4_ICMP, V4_TCP, V4_UDP, V6_DESTINATION, facts, facts_l3, ipv4, ipv4_hex, ipv6, ipv6_hex,
    octets,
};

const A: Address = Address::v4(0x0a00_0001);
const B: Address = Address::v4(0x0a00_0002);
/// Whom the quoted packets were sent to.
const C: Address = Address::v4(0x0a00_0009);

fn v4_key(source: Address, destination: Address, protocol: u8, ports: (u16, u16)) -> ConnKey {
    let (source_port, destination_port) = ports;
    ConnKey { source, destination, source_port, destination_port, protocol, family: FAMILY_V4, padding: 0 }
}

/// What an ICMP error of 10.0.0.1 to 10.0.0.2 says about `quote`.
fn v4_quote(icmp: &str, quote: &str) -> Option<ConnKey> {
    let packet = octets(&ipv4_hex(V4_ICMP, &format!("{icmp} 0000 00000000 {quote}")));
    quoted(&packet.as_slice(), &parse(&packet.as_slice(), true))
}

fn v6_quote(icmp: &str, quote: &str) -> Option<ConnKey> {
    let packet = octets(&ipv6_hex(58, &format!("{icmp} 0000 00000000 {quote}")));
    quoted(&packet.as_slice(), &parse(&packet.as_slice(), true))
}

/// A packet that 10.0.0.2 sent to 10.0.0.9.
fn sent(header: &str, payload: &str) -> String {
    ipv4_hex(&header.replace("0a000001 0a000002", "0a000002 0a000009"), payload)
}

#[test]
fn ports_make_the_key() {
    assert_eq!(conn_key(&ipv4(V4_TCP, TCP_SYN)), Some(v4_key(A, B, 6, (0xc001, 502))));
    assert_eq!(conn_key(&ipv4(V4_UDP, UDP)), Some(v4_key(A, B, 17, (5353, 53))));
    let key = conn_key(&ipv6(6, TCP_SYN)).unwrap();
    assert_eq!((key.family, key.source_port, key.destination_port), (FAMILY_V6, 0xc001, 502));
    assert_eq!(key.destination.words, [0x2001_0db8, 0, 0, 2]);
}

#[test]
fn first_fragments_have_a_key_and_later_ones_none() {
    assert!(conn_key(&ipv4(&V4_UDP.replace("12340000", "12342000"), UDP)).is_some());
    assert_eq!(conn_key(&ipv4(&V4_UDP.replace("12340000", "12340008"), UDP)), None);
}

#[test]
fn protocols_without_ports_have_a_key_without_ports() {
    assert_eq!(conn_key(&ipv4("12340000 4032 0000 0a000001 0a000002", "01")), Some(v4_key(A, B, 50, (0, 0))));
}

#[test]
fn unparsed_packets_and_other_ethertypes_have_none() {
    assert_eq!(conn_key(&ipv4(V4_TCP, "c00101f6")), None);
    assert_eq!(conn_key(&ipv4(V4_TCP, "c00101f6 00000001 00000000 4002 2000 0000 0000")), None);
    assert_eq!(conn_key(&facts(&format!("{MACS} 88b8 3001"))), None);
    assert_eq!(conn_key(&Facts::UNKNOWN), None);
}

#[test]
fn an_echo_reply_reversed_is_its_request() {
    let request = conn_key(&ipv4(V4_ICMP, ECHO)).unwrap();
    assert_eq!(request, v4_key(A, B, 1, (0xbeef, 0xbeef)));
    let reply = ipv4(&V4_ICMP.replace("0a000001 0a000002", "0a000002 0a000001"), "0000 0000 beef 0001");
    assert_eq!(reversed(&conn_key(&reply).unwrap()), request);
}

#[test]
fn a_tcp_answer_reversed_is_its_question() {
    let question = conn_key(&ipv4(V4_TCP, TCP_SYN)).unwrap();
    let answer = ipv4(
        &V4_TCP.replace("0a000001 0a000002", "0a000002 0a000001"),
        "01f6c001 00000000 00000002 5012 2000 0000 0000",
    );
    assert_eq!(reversed(&conn_key(&answer).unwrap()), question);
    assert_eq!(reversed(&reversed(&question)), question);
}

#[test]
fn icmp_has_a_key_for_queries_only() {
    for kind in 0..=255u8 {
        let payload = format!("{kind:02x}00 0000 beef 0001");
        assert_eq!(conn_key(&ipv4(V4_ICMP, &payload)).is_some(), is_icmp_query(FAMILY_V4, kind), "{kind}");
        assert_eq!(conn_key(&ipv6(58, &payload)).is_some(), [128, 129].contains(&kind), "{kind}");
        assert!(!(is_icmp_query(FAMILY_V4, kind) && is_icmp_error(FAMILY_V4, kind)));
    }
}

#[test]
fn icmp_errors_quote_the_packet_as_it_was_sent() {
    for icmp in ["0300", "0303", "0400", "0501", "0b00", "0b01", "0c00"] {
        assert_eq!(v4_quote(icmp, &sent(V4_UDP, UDP)), Some(v4_key(B, C, 17, (5353, 53))), "{icmp}");
    }
    // 8 octets of the transport header are all that RFC 792 promises.
    assert_eq!(v4_quote("0303", &sent(V4_TCP, TCP_SYN)[..28 * 2 + 12]), Some(v4_key(B, C, 6, (0xc001, 502))));
    assert_eq!(v4_quote("0303", &sent(V4_ICMP, ECHO)), Some(v4_key(B, C, 1, (0xbeef, 0xbeef))));
    assert_eq!(v4_quote("0302", &sent("12340000 4032 0000 0a000001 0a000002", "00")), Some(v4_key(B, C, 50, (0, 0))));
    assert_eq!(
        v4_quote("0303", &sent(&format!("{V4_UDP} 94040000"), UDP)),
        Some(v4_key(B, C, 17, (5353, 53))),
        "options"
    );
    // A first fragment carries the ports; its total length is not that of the quote.
    assert!(v4_quote("0304", &sent(&V4_UDP.replace("12340000", "12342000"), UDP)).is_some());
}

#[test]
fn other_icmp_quotes_nothing() {
    for kind in (0..=255u8).filter(|k| ![3, 4, 5, 11, 12].contains(k)) {
        assert_eq!(v4_quote(&format!("{kind:02x}00"), &sent(V4_UDP, UDP)), None, "{kind}");
    }
    for kind in (0..=255u8).filter(|k| !(1..=4).contains(k)) {
        let quote = format!("60000000000c1140{V6_DESTINATION}20010db8000000000000000000000009{UDP}");
        assert_eq!(v6_quote(&format!("{kind:02x}00"), &quote), None, "{kind}");
    }
}

#[test]
fn a_quote_that_is_cut_or_wrong_has_no_key() {
    let digits = sent(V4_UDP, UDP).replace(' ', "");
    for length in 0..24 {
        assert_eq!(v4_quote("0303", &digits[..2 * length]), None, "{length}");
    }
    assert!(v4_quote("0303", &digits[..2 * 24]).is_some());
    assert_eq!(v4_quote("0303", &digits.replacen("45", "65", 1)), None, "version");
    assert_eq!(v4_quote("0303", &digits.replacen("45", "44", 1)), None, "IHL");
    assert_eq!(v4_quote("0303", &sent(&V4_UDP.replace("12340000", "12340001"), UDP)), None, "later fragment");
    assert_eq!(v4_quote("0303", &sent(V4_ICMP, "0303 0000 00000000")), None, "an error about an error");
    assert_eq!(v4_quote("0303", &ipv4_hex(V4_UDP, UDP)), None, "the receiver is not who sent the quoted packet");
}

#[test]
fn icmpv6_errors_quote_through_extension_headers() {
    let header = |next: u8, payload: &str| {
        format!("600000000500{next:02x}40{V6_DESTINATION}20010db8000000000000000000000009{payload}")
    };
    let expected = Some((V6_DESTINATION_WORDS, [0x2001_0db8, 0, 0, 9], 17, 5353, 53));
    let found = |icmp: &str, quote: &str| {
        v6_quote(icmp, quote)
            .map(|k| (k.source.words, k.destination.words, k.protocol, k.source_port, k.destination_port))
    };
    for icmp in ["0104", "0200", "0300", "0401"] {
        assert_eq!(found(icmp, &header(17, UDP)), expected, "{icmp}");
    }
    assert_eq!(found("0104", &header(60, &format!("1100 010400000000 {UDP}"))), expected);
    assert_eq!(found("0104", &header(0, &format!("2c00 010400000000 1100 0001 00000001 {UDP}"))), expected);
    assert_eq!(found("0104", &header(44, &format!("1100 0009 00000001 {UDP}"))), None, "later fragment");
    assert_eq!(found("0104", &header(60, &("3c00 010400000000".repeat(8) + UDP))), None, "too many headers");
    assert_eq!(found("0104", &header(60, "11")), None, "cut");
    assert_eq!(v6_quote("0104", &header(58, "8000 0000 beef 0001")).unwrap().source_port, 0xbeef);
    assert_eq!(v6_quote("0104", &header(58, "8700 0000 00000000")), None, "neighbour discovery");
}

const V6_DESTINATION_WORDS: [u32; 4] = [0x2001_0db8, 0, 0, 2];

#[test]
fn a_fragmented_error_is_read_from_its_first_fragment() {
    let packet =
        ipv4_hex(&V4_ICMP.replace("12340000", "12342000"), &format!("0303 0000 00000000 {}", sent(V4_UDP, UDP)));
    let found = facts_l3(&packet);
    assert_eq!(quoted(&octets(&packet).as_slice(), &found), Some(v4_key(B, C, 17, (5353, 53))));
}

#[test]
fn a_quote_behind_8_kib_of_headers_is_not_looked_at() {
    let quote = format!("60000000000c1140{V6_DESTINATION}20010db8000000000000000000000009{UDP}");
    for (headers, expected) in [(3, true), (5, false)] {
        let options = |next: u8| format!("{next:02x}ff{}", "00".repeat(2046));
        let chain = options(60).repeat(headers - 1) + &options(58);
        let packet = octets(&ipv6_hex(60, &format!("{chain} 0104 0000 00000000 {quote}")));
        let facts = parse(&packet.as_slice(), true);
        assert_eq!((facts.unparsed, facts.icmp_type), (0, 1));
        assert_eq!(quoted(&packet.as_slice(), &facts).is_some(), expected, "{headers}");
    }
}
