//! What is refused, with the text of the refusal.

use crate::packet::{accepted_by_nft, import_at};

/// The rule in a forward chain, on line 4.
fn in_chain(rule: &str) -> String {
    format!(
        "table inet t {{\n  chain forward {{\n    type filter hook forward priority 0; policy drop;\n    {rule}\n  }}\n}}\n"
    )
}

fn refused(text: &str) -> String {
    let errors = import_at(text, &[]).expect_err(text);
    assert_eq!(errors.len(), 1);
    errors[0].clone()
}

/// Each of these nft takes; the import does not.
#[test]
fn rules_outside_of_the_subset() {
    let unread = "this is not read; remove the rule, or say it with addresses, ports, interfaces and states";
    for (rule, expected) in [
        ("limit rate 10/second accept", format!("4:5: this is not known: `limit`; {unread}")),
        ("meta mark 0x1 accept", format!("4:10: this field of `meta` is not known: `mark`; {unread}")),
        ("ip ttl 1 drop", format!("4:8: this field of `ip` is not known: `ttl`; {unread}")),
        ("ct mark 1 accept", format!("4:8: of `ct` only the state is known: `mark`; {unread}")),
        ("tcp dport vmap { 22 : accept }", format!("4:15: this comparison is not known: `vmap`; {unread}")),
        ("tcp dport > 1024 accept", format!("4:15: this comparison is not known: `>`; {unread}")),
        (
            "ip saddr . tcp dport { 10.0.0.1 . 80 } accept",
            "4:14: not an IPv4 address, prefix or range: `.`; write an address, a prefix `10.0.0.0/8` or a range \
             `10.0.0.1-10.0.0.9`"
                .to_owned(),
        ),
        (
            "iifname \"eth*\" accept",
            "4:13: a pattern of interfaces: `\"eth*\"`; name the interfaces, `{ \"eth0\", \"eth1\" }`".to_owned(),
        ),
        (
            "ct state new accept",
            "4:5: `ct state new` before replies are accepted: `ct state new accept`; write `ct state \
             established,related accept` as the first rule of the chain"
                .to_owned(),
        ),
        (
            "ct state established drop",
            "4:5: a condition on connection states that has no counterpart: `ct state established drop`; read are \
             `established,related accept`, `invalid drop` and `new`"
                .to_owned(),
        ),
        (
            "iifname \"eth0\" ether saddr 02:00:00:00:00:01 accept",
            "4:5: an interface and a MAC address of one end in one rule: `iifname \"eth0\" ether saddr \
             02:00:00:00:00:01 accept`; ask for one of the two"
                .to_owned(),
        ),
        (
            "th dport 53 accept",
            "4:5: `th` without protocols that have ports: `th`; write `meta l4proto { tcp, udp }` before it".to_owned(),
        ),
    ] {
        let text = in_chain(rule);
        accepted_by_nft(&text);
        assert_eq!(refused(&text), format!("rules.nft:{expected}"));
    }
}

/// These nft refuses too.
#[test]
fn mistakes() {
    for (rule, expected) in [
        (
            "ip saddr 10.0.0.0/33 accept",
            "4:14: not an IPv4 address, prefix or range: `10.0.0.0/33`; write an address, a prefix `10.0.0.0/8` or a \
             range `10.0.0.1-10.0.0.9`",
        ),
        (
            "ip saddr fd00::1 accept",
            "4:14: not an IPv4 address, prefix or range: `fd00::1`; write an address, a prefix `10.0.0.0/8` or a range \
             `10.0.0.1-10.0.0.9`",
        ),
        (
            "tcp dport 70000 accept",
            "4:15: not a number up to 65535, nor a range or a name known for `dport`: `70000`; write the number",
        ),
        (
            "tcp dport 90-80 accept",
            "4:15: not a number up to 65535, nor a range or a name known for `dport`: `90-80`; write the number",
        ),
        ("tcp dport", "4:9: the rule ends behind this word: `dport`; write what it compares or does"),
        ("tcp dport { 80", "7:1: the text ends inside of braces; close them with `}`"),
        ("accept drop", "4:12: this stands behind the verdict: `drop`; write the verdict last"),
        ("jump nowhere", "4:10: no such chain in this table: `nowhere`; write the chain"),
        (
            "ip saddr @nobody drop",
            "4:14: no such set in this table: `@nobody`; write the set before, with its elements",
        ),
        ("ip saddr $nobody drop", "4:14: no such definition before: `$nobody`; define it above"),
        ("log prefix \"open", "4:16: a quote without an end: `\"`; close it on the same line"),
        (
            "iifname \"an-interface-name-too-long\" drop",
            "4:13: no name of an interface: `\"an-interface-name-too-long\"`; write at most 15 characters without blanks, \
             `/` and `:`",
        ),
        ("ct state fresh accept", "4:14: no such state: `fresh`; write new, established, related or invalid"),
        ("tcp flags sin drop", "4:15: no such TCP flag: `sin`; write fin, syn, rst, psh, ack, urg, ecn or cwr"),
    ] {
        assert_eq!(refused(&in_chain(rule)), format!("rules.nft:{expected}"));
    }
}

#[test]
fn tables_and_chains_outside_of_the_subset() {
    for (text, expected) in [
        (
            "table bridge t {\n}\n",
            "1:7: tables of this family are not read: `bridge`; only inet, ip and ip6 tables are read; remove it",
        ),
        (
            "table ip t {\n  chain c { type nat hook prerouting priority 0; }\n}\n",
            "2:18: only chains of type filter are read: `nat`; chains that rewrite packets have no counterpart; remove it",
        ),
        (
            "table ip t {\n  chain c { type filter hook prerouting priority 0; }\n}\n",
            "2:30: this hook is not read: `prerouting`; read are the hooks input, forward and output; remove the chain",
        ),
        (
            "table ip t {\n  map m { type ipv4_addr : verdict; }\n}\n",
            "2:3: this part of a table is not read: `map`; read are chains and sets; remove it",
        ),
        (
            "table ip t {\n  set s { type ipv4_addr; flags dynamic; }\n}\n",
            "2:27: this property changes elements at run time: `flags`; read are sets whose elements stand in the text; \
             remove the property or the set",
        ),
        (
            "add table ip t\n",
            "1:1: this is not read: `add`; write the form of `nft list ruleset`: `table FAMILY NAME { ... }`, and `define`",
        ),
        (
            "table ip t {\n  chain a { type filter hook input priority 0; }\n  chain b { type filter hook input priority 5; }\n}\n",
            "3:9: a second chain at this hook, beside `a`: `b`; write the rules of both into one chain",
        ),
        (
            "table ip t {\n  chain a { tcp dport 1 return; accept; }\n  chain b { type filter hook input priority 0; jump a; }\n}\n",
            "2:13: a return under conditions: `tcp dport 1 return`; write the opposite conditions at the rules behind it",
        ),
        (
            "table ip t {\n  chain i { type filter hook input priority 0; accept; }\n  chain f { type filter hook forward priority 0; drop; }\n}\n",
            "3:9: both input and forward have rules, and which addresses are the node's is not known: `f`; name the \
             node's addresses, or import one of the chains",
        ),
    ] {
        accepted_by_nft(text);
        assert_eq!(refused(text), format!("rules.nft:{expected}"));
    }
}

#[test]
fn chains_that_jump_to_each_other_end() {
    let text = "table ip t {\n  chain a { jump b; }\n  chain b { jump a; }\n  \
                chain c { type filter hook input priority 0; jump a; }\n}\n";
    assert!(refused(text).contains("jumps deeper than 16"));
}

#[test]
fn jumps_that_multiply_end() {
    let mut text = String::from("table ip t {\n");
    for chain in 0..15 {
        text += &format!("chain c{chain} {{\n{}}}\n", format!("jump c{}\n", chain + 1).repeat(10));
    }
    text += "chain c15 { tcp dport 1 accept; }\nchain f { type filter hook forward priority 0; jump c0; }\n}\n";
    assert!(refused(&text).contains("more than 100000 rules when jumps are written out"));
}
