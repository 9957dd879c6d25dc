//! Literal frames, written by hand from the standards. The fuzz corpus is made of them.

use gabion_abi::facts::Facts;
use gabion_kernel_core::parse::parse;

/// Octets from hexadecimal digits; blanks are for the reader.
pub fn octets(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    assert!(digits.len().is_multiple_of(2), "odd number of digits in {hex}");
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// The facts of an Ethernet frame in hexadecimal.
pub fn facts(hex: &str) -> Facts {
    parse(&octets(hex).as_slice(), false)
}

/// The facts of a packet of an L3 device in hexadecimal.
pub fn facts_l3(hex: &str) -> Facts {
    parse(&octets(hex).as_slice(), true)
}

/// The facts of an IPv4 packet with the given header and payload, whose total length and version are filled in.
pub fn ipv4(header: &str, payload: &str) -> Facts {
    facts_l3(&ipv4_hex(header, payload))
}

/// The digits of that packet. `header` starts with the identification; the first four octets are made here.
pub fn ipv4_hex(header: &str, payload: &str) -> String {
    let length = 4 + octets(header).len();
    format!("4{:x}00{:04x}{header}{payload}", length / 4, length + octets(payload).len())
}

/// The facts of an IPv6 packet from 2001:db8::1 to 2001:db8::2.
pub fn ipv6(next: u8, payload: &str) -> Facts {
    facts_l3(&ipv6_hex(next, payload))
}

/// The digits of that packet.
pub fn ipv6_hex(next: u8, payload: &str) -> String {
    format!("60000000{:04x}{next:02x}40{V6_SOURCE}{V6_DESTINATION}{payload}", octets(payload).len())
}

pub const V6_SOURCE: &str = "20010db8000000000000000000000001";
pub const V6_DESTINATION: &str = "20010db8000000000000000000000002";

/// Identification 0x1234, not a fragment, TTL 64, protocol TCP, 10.0.0.1 → 10.0.0.2.
pub const V4_TCP: &str = "12340000 4006 0000 0a000001 0a000002";
/// The same with protocol UDP.
pub const V4_UDP: &str = "12340000 4011 0000 0a000001 0a000002";
/// The same with protocol ICMP.
pub const V4_ICMP: &str = "12340000 4001 0000 0a000001 0a000002";
/// Port 49153 → 502, a SYN without options.
pub const TCP_SYN: &str = "c00101f6 00000001 00000000 5002 2000 0000 0000";
/// Port 5353 → 53, 4 octets of data.
pub const UDP: &str = "14e90035 000c 0000 01020304";
/// ICMP echo request, identifier 0xbeef, sequence number 1.
pub const ECHO: &str = "0800 0000 beef 0001";

/// Destination and source MAC.
pub const MACS: &str = "010ccd010001 020000000102";

/// Frames that hold every kind of header, for the corpus and for cutting at every length.
pub fn every_kind() -> Vec<(&'static str, bool, Vec<u8>)> {
    let v4 = |header: &str, payload: &str| format!("{MACS} 0800 {}", ipv4_hex(header, payload));
    let v6 = |next: u8, payload: &str| format!("{MACS} 86dd {}", ipv6_hex(next, payload));
    let extensions = format!(
        "3c00 050200000100 2b00 010400000000 3300 000000000000 \
         8704 0000 00000001 00000002 000000000000000000000000 8b00 000000000000 8c00 000000000000 \
         0600 000000000000 {TCP_SYN}"
    );
    let quote_v4 = ipv4_hex(V4_UDP, UDP).replace("0a000001 0a000002", "0a000002 0a000009");
    let quote_v6 = format!("60000000000c1140{V6_DESTINATION}20010db8000000000000000000000009{UDP}");
    let frames = [
        ("goose", format!("{MACS} 8100 8001 88b8 3001 0008 0000 0000")),
        ("qinq", format!("{MACS} 88a8 0064 8100 00c8 88ba 4001 0008 0000 0000")),
        ("legacy-qinq-ipv4", format!("{MACS} 9100 0064 8100 00c8 0800 {}", ipv4_hex(V4_TCP, TCP_SYN))),
        ("three-tags", format!("{MACS} 8100 0001 8100 0002 8100 0003 0800")),
        ("arp", format!("{MACS} 0806 0001 0800 0604 0001 020000000102 0a000001 000000000000 0a000002")),
        ("stp", format!("0180c2000000 020000000102 0026 424203 {}", "00".repeat(43))),
        ("snap-ipv4", format!("{MACS} 0028 aaaa03 000000 0800 {}", ipv4_hex(V4_UDP, UDP))),
        ("snap-cisco", format!("{MACS} 000c aaaa03 00000c 2000 02b40000")),
        ("tcp", v4(V4_TCP, TCP_SYN)),
        ("udp", v4(V4_UDP, UDP)),
        ("udp-padded", v4(V4_UDP, UDP) + &"00".repeat(14)),
        ("options", v4(&format!("{V4_TCP} 94040000"), TCP_SYN)),
        ("echo", v4(V4_ICMP, ECHO)),
        ("igmp", v4("12340000 0102 0000 00000000 e0000016 94040000", "2200 0000 0000 0000")),
        ("vrrp", v4("12340000 ff70 0000 0a000001 e0000012", "3101 6401 0064 0000 0a0000fe")),
        ("esp", v4("12340000 4032 0000 0a000001 0a000002", "00000001 00000001 0011223344556677")),
        ("gre", v4("12340000 402f 0000 0a000001 0a000002", "0000 0800")),
        ("ipip", v4("12340000 4004 0000 0a000001 0a000002", &ipv4_hex(V4_UDP, UDP))),
        ("first-fragment", v4(&V4_UDP.replace("12340000", "12342000"), &format!("{UDP} 05060708"))),
        ("later-fragment", v4(&V4_UDP.replace("12340000", "12340002"), "0102030405060708")),
        ("overlap", v4(&V4_TCP.replace("12340000", "12340001"), "0102030405060708")),
        ("sctp", v4("12340000 4084 0000 0a000001 0a000002", "0b590b59 00000000 00000000 01000014")),
        ("dccp", v4("12340000 4021 0000 0a000001 0a000002", "0b590b5a 0400 0000 01000001 00000000 00000000")),
        ("udp-lite", v4("12340000 4088 0000 0a000001 0a000002", "0b590b5a 0008 0000 01")),
        ("unreachable", v4(V4_ICMP, &format!("0303 0000 00000000 {quote_v4}"))),
        ("tcp6", v6(6, TCP_SYN)),
        ("echo6", v6(58, "8000 0000 beef 0001")),
        ("extensions", v6(0, &extensions)),
        ("atomic-fragment", v6(44, &format!("1100 0000 00000007 {UDP}"))),
        ("first-fragment6", v6(44, &format!("1100 0001 00000007 {UDP} 05060708"))),
        ("later-fragment6", v6(44, "1100 0010 00000007 0102030405060708")),
        ("neighbour", v6(58, &format!("8700 0000 00000000 {V6_DESTINATION}"))),
        ("too-big", v6(58, &format!("0200 0000 00000500 {quote_v6}"))),
        ("no-next", v6(59, "")),
    ];
    let mut all: Vec<_> = frames.into_iter().map(|(name, hex)| (name, false, octets(&hex))).collect();
    all.push(("l3-tcp", true, octets(&ipv4_hex(V4_TCP, TCP_SYN))));
    all.push(("l3-udp6", true, octets(&ipv6_hex(17, UDP))));
    all
}

/// Writes the frames where the fuzzer starts from: `cargo test -p gabion-kernel-core --test parse -- --ignored`.
#[test]
#[ignore = "writes fuzz/corpus/parse"]
fn write_the_fuzz_corpus() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/parse");
    std::fs::create_dir_all(&folder).unwrap();
    for (name, _, frame) in every_kind() {
        std::fs::write(folder.join(name), frame).unwrap();
    }
}
