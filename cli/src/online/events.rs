//! `gabion events`.

use std::fmt::Write as _;

use clap::Args;
use gabion_agent::api::client::Client;
use gabion_agent::api::wire::{Event, Line};

use super::{Connection, failed};
use crate::command::OutputArgs;
use crate::exit::{Exit, Failure};
use crate::output::{self, Format};

/// Flags of `gabion events`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gabion events --denied                     the denials that the agent remembers
  gabion events --follow --rule 'plc/*'      what the rules of the policy plc decide, as it happens
  gabion events --follow -o json | jq .source")]
pub struct EventsArgs {
    /// Go on with what happens, until interrupted
    #[arg(long, short)]
    follow: bool,
    /// Only what was denied, or would have been
    #[arg(long)]
    denied: bool,
    /// Only verdicts of this rule; a trailing * stands for any end
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
    /// So many of the recent denials first (all of them without --follow)
    #[arg(long, value_name = "N")]
    recent: Option<usize>,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(arguments: &EventsArgs) -> Result<Exit, Failure> {
    let path = path_of(arguments);
    let format = arguments.output.output;
    arguments.connection.ask(|client| async move { print_all(&client, &path, format).await })?;
    Ok(Exit::Fine)
}

fn path_of(arguments: &EventsArgs) -> String {
    let mut query = Vec::new();
    if arguments.follow {
        query.push(String::from("follow=1"));
    }
    if arguments.denied {
        query.push(String::from("denied=1"));
    }
    query.extend(arguments.rule.as_ref().map(|rule| format!("rule={}", encoded(rule))));
    query.extend(arguments.recent.map(|recent| format!("recent={recent}")));
    format!("/v1/events?{}", query.join("&"))
}

async fn print_all(client: &Client, path: &str, format: Format) -> Result<(), Failure> {
    let mut lines = client.lines(path).await.map_err(failed)?;
    while let Some(line) = lines.next().await.map_err(failed)? {
        match format {
            Format::Table => output::print(&for_people(&line))?,
            Format::Json => {
                let json = serde_json::to_string(&line).map_err(|error| Failure::defect(error.to_string()))?;
                output::print(&(json + "\n"))?;
            }
            Format::Yaml => {
                output::print("---\n")?;
                output::show(format, &line, |_| String::new())?;
            }
        }
    }
    Ok(())
}

/// A value for a query string.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            // Writing to a String cannot fail.
            other => {
                let _ = write!(out, "%{other:02X}");
            }
        }
    }
    out
}

fn for_people(line: &Line) -> String {
    match line {
        Line::Journal(it) => {
            let before = it.from.as_ref().map_or(String::new(), |from| format!("{from} → "));
            let why = if it.detail.is_empty() { String::new() } else { format!(": {}", it.detail) };
            format!("{}  node   generation {}: {before}{}{why}\n", it.time, it.generation, it.step)
        }
        Line::Lost { count } => format!("... {count} events lost: this reader is too slow\n"),
        Line::Event(event) => format!(
            "{}  {:<5}  {:<10} {}{}  by {} ({}, {}, generation {})\n",
            event.time,
            event.verdict,
            format!("{} {}", if event.hook == "xdp" { "in" } else { "out" }, event.interface),
            conversation(event),
            whose(event),
            event.rule,
            event.direction,
            event.reason,
            event.generation
        ),
    }
}

/// Who to whom, and what.
pub(super) fn conversation(event: &Event) -> String {
    let end = |address: &Option<String>, mac: &Option<String>, port: Option<u16>| {
        let name = address.as_ref().or(mac.as_ref()).map_or("?", String::as_str);
        match port {
            Some(port) if name.contains(':') => format!("[{name}]:{port}"),
            Some(port) => format!("{name}:{port}"),
            None => name.to_owned(),
        }
    };
    let source = end(&event.source, &event.source_mac, event.source_port);
    let destination = end(&event.destination, &event.destination_mac, event.destination_port);
    format!("{source} > {destination} {}", content(event))
}

/// The process that sent it or would have got it, with a space before it; nothing when that is not known.
pub(super) fn whose(event: &Event) -> String {
    let which = if event.hook == "xdp" { "for" } else { "from" };
    event.process.as_ref().map_or(String::new(), |it| format!(" {which} {}[{}]", it.name, it.pid))
}

/// What a packet carries, briefly.
pub(super) fn content(event: &Event) -> String {
    let mut text = event.protocol.clone().unwrap_or_else(|| event.ethertype.clone());
    let parts = [
        event.icmp.as_ref().map(|it| format!(" {it}")),
        event.hop_limit.map(|it| format!(" hop-limit:{it}")),
        event.tcp_flags.as_ref().map(|it| format!(" {it}")),
        event.fragment.as_ref().map(|it| format!(" fragment:{it}")),
        event.unparsed.as_ref().map(|it| format!(" unparsed:{it}")),
        event.vlan.map(|it| format!(" vlan:{it}")),
        event.inner_vlan.map(|it| format!(" inner-vlan:{it}")),
    ];
    text.extend(parts.into_iter().flatten());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event {
            time: "2026-01-02T03:04:05.000006Z".into(),
            verdict: "deny".into(),
            rule: "plc/isolation".into(),
            direction: "ingress".into(),
            reason: "rule".into(),
            generation: 3,
            hook: "xdp".into(),
            interface: "eth0".into(),
            ethertype: "0x0800".into(),
            source: Some("10.0.0.99".into()),
            destination: Some("10.0.0.2".into()),
            protocol: Some("tcp".into()),
            source_port: Some(40_000),
            destination_port: Some(502),
            tcp_flags: Some("syn".into()),
            ..Event::default()
        }
    }

    #[test]
    fn an_event_is_one_line() {
        assert_eq!(
            for_people(&Line::Event(Box::new(event()))),
            "2026-01-02T03:04:05.000006Z  deny   in eth0    10.0.0.99:40000 > 10.0.0.2:502 tcp syn  \
             by plc/isolation (ingress, rule, generation 3)\n"
        );
        let process = gabion_agent::api::wire::Process { pid: 812, name: "plcd".into(), ..Default::default() };
        let line = for_people(&Line::Event(Box::new(Event { process: Some(process), ..event() })));
        assert!(line.contains("10.0.0.2:502 tcp syn for plcd[812]  by plc/isolation"), "{line}");
        let happened = gabion_agent::record::Line {
            time: "2026-01-02T03:04:05.000006Z".into(),
            generation: 7,
            step: "rolled back".into(),
            from: Some("live".into()),
            detail: "no packet by the rule rtu/modbus for 5 s".into(),
        };
        assert_eq!(
            for_people(&Line::Journal(Box::new(happened))),
            "2026-01-02T03:04:05.000006Z  node   generation 7: live → rolled back: no packet by the rule rtu/modbus for 5 s\n"
        );
        assert!(for_people(&Line::Lost { count: 7 }).contains("7 events lost"));
    }

    #[test]
    fn frames_without_addresses_show_their_macs() {
        let goose = Event {
            source: None,
            destination: None,
            protocol: None,
            source_port: None,
            destination_port: None,
            tcp_flags: None,
            ethertype: "0x88b8".into(),
            source_mac: Some("02:00:00:00:00:01".into()),
            destination_mac: Some("01:0c:cd:01:00:01".into()),
            vlan: Some(7),
            ..event()
        };
        assert_eq!(conversation(&goose), "02:00:00:00:00:01 > 01:0c:cd:01:00:01 0x88b8 vlan:7");
    }

    #[test]
    fn names_survive_the_query_string() {
        assert_eq!(encoded("a/b c&d=é"), "a%2Fb%20c%26d%3D%C3%A9");
    }
}
