//! `gabion explain`.

use std::path::PathBuf;

use clap::Args;

use super::OutputArgs;

/// What `gabion explain --help` says; a doc comment would lose the line breaks.
pub(super) const ABOUT: &str = "\
Say whether a packet passes, which rule decides, and what would have let it pass.

Needs no privileges and no running agent. It judges the first packet of a conversation: return traffic of what is \
allowed passes without being asked about.

Without an interface the answer is end to end: the source's egress and the destination's ingress must both allow. With \
--in it is that of the hook where the packet arrives: the destination's ingress, and the source's egress too when the \
packet is forwarded, that is with --out, or when the site lists the node's addresses and the destination is none of \
them. With --out alone it is the source's egress.

SRC and DST are an IP address, a MAC address, or the name of an inventory entry (name or namespace/name), which brings \
its first address of the right family, its first MAC and its first interface. What is not given is filled in: TCP \
without flags is a SYN, ICMP without type an echo request, the source port 49152; without a destination port or a \
protocol only rules that cover all of them match.";

/// `gabion explain`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gabion explain --policy /etc/gabion/policy --src hmi --dst rtu --proto tcp --dport 502
  gabion explain --policy p/ --src 10.0.0.66 --dst 10.0.1.7 --icmp 8/0 --output json
  gabion explain --policy p/ --src 02:00:00:00:00:01 --dst 01:0c:cd:01:00:01 --ethertype goose --in eth1
  gabion explain --policy p/ --batch questions.jsonl > answers.jsonl

Exit codes: 0 allowed, 1 denied, 2 the policy or the question is wrong, 4 oracle and tables disagree.
With --batch: 0 all lines were answered, 2 some were not.")]
pub struct ExplainArgs {
    /// Files or folders of policy; - is stdin
    #[arg(long, value_name = "PATH", num_args = 1.., required = true)]
    pub policy: Vec<PathBuf>,

    /// Who sends: IP address, MAC address or inventory entry
    #[arg(long, value_name = "SRC", help_heading = "Packet")]
    pub src: Option<String>,
    /// Who receives: IP address, MAC address or inventory entry
    #[arg(long, value_name = "DST", help_heading = "Packet")]
    pub dst: Option<String>,
    /// IP protocol, by name or number
    #[arg(long, value_name = "PROTO", help_heading = "Packet")]
    pub proto: Option<String>,
    /// Source port
    #[arg(long, value_name = "PORT", help_heading = "Packet")]
    pub sport: Option<String>,
    /// Destination port
    #[arg(long, value_name = "PORT", help_heading = "Packet")]
    pub dport: Option<String>,
    /// Interface that the packet arrives on
    #[arg(long = "in", value_name = "IF", help_heading = "Packet")]
    pub arrives: Option<String>,
    /// Interface that the packet leaves by
    #[arg(long = "out", value_name = "IF", help_heading = "Packet")]
    pub leaves: Option<String>,
    /// EtherType of a frame without IP, by name (goose, sv, arp, ...) or number
    #[arg(long, value_name = "TYPE", help_heading = "Packet")]
    pub ethertype: Option<String>,
    /// ICMP or ICMPv6 (by the addresses) type and code, like 8/0 or 8
    #[arg(long, value_name = "TYPE/CODE", help_heading = "Packet")]
    pub icmp: Option<String>,
    /// Hop limit of an IPv6 packet; only neighbour discovery is judged by it
    #[arg(long, value_name = "N", help_heading = "Packet")]
    pub hop_limit: Option<String>,
    /// TCP flags, like syn,ack or 0x12
    #[arg(long, value_name = "FLAGS", help_heading = "Packet")]
    pub flags: Option<String>,
    /// VID of the outer VLAN tag
    #[arg(long, value_name = "VID", help_heading = "Packet")]
    pub vlan: Option<String>,
    /// VID of the inner VLAN tag (QinQ)
    #[arg(long, value_name = "VID", help_heading = "Packet")]
    pub inner_vlan: Option<String>,
    /// DSAP and SSAP of an LLC frame, like 0x42/0x42
    #[arg(long, value_name = "DSAP/SSAP", help_heading = "Packet")]
    pub llc: Option<String>,
    /// Fragment: none, first or later
    #[arg(long, value_name = "STATE", help_heading = "Packet")]
    pub fragment: Option<String>,
    /// A packet that cannot be parsed, with the reason (vlan-depth, transport-truncated, ...)
    #[arg(long, value_name = "REASON", help_heading = "Packet")]
    pub unparsed: Option<String>,
    /// MAC address of the source beside its IP address
    #[arg(long, value_name = "MAC", help_heading = "Packet")]
    pub src_mac: Option<String>,
    /// MAC address of the destination beside its IP address
    #[arg(long, value_name = "MAC", help_heading = "Packet")]
    pub dst_mac: Option<String>,

    /// Answer a file of questions (- is stdin): one JSON object a line in, one a line out, in order
    ///
    /// The names are those of the options: src, dst, proto, sport, dport, in, out, ethertype, icmp, hopLimit, flags,
    /// vlan, innerVlan, llc, fragment, unparsed, srcMac, dstMac; values are strings, or numbers where that makes sense.
    /// An answer has verdict, rule, tier, reason and direction; a line that is no question is answered with error.
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "src", "dst", "proto", "sport", "dport", "arrives", "leaves", "ethertype", "icmp", "hop_limit", "flags", "vlan",
        "inner_vlan", "llc", "fragment", "unparsed", "src_mac", "dst_mac", "output",
    ])]
    pub batch: Option<PathBuf>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}
