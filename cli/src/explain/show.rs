//! An answer for people.

use std::fmt::Write as _;

use anstyle::AnsiColor;
use gabion_policy_explain::Answer;

use crate::output::columns;

/// The answer from the verdict down to what would have turned it round.
pub fn table(answer: &Answer) -> String {
    let mut text = String::new();
    let colour = if answer.verdict == "allow" { AnsiColor::Green } else { AnsiColor::Red };
    let style = colour.on_default().bold();
    let packet = &answer.packet;
    let place = match packet.place {
        "arrival" => "where it arrives",
        "departure" => "where it leaves",
        _ => "end to end",
    };
    let _ = writeln!(
        text,
        "{style}{}{style:#}  {} → {}  {}, {place}",
        answer.verdict, packet.src, packet.dst, packet.content
    );
    let _ = writeln!(text, "because {}\n", answer.reason);

    let mut rows = Vec::new();
    for (name, end) in [("egress", &answer.egress), ("ingress", &answer.ingress)] {
        if let Some(end) = end {
            let location = end.location.clone().unwrap_or_default();
            rows.push([name, end.verdict, &end.rule, &end.tier, &location].map(str::to_owned).to_vec());
        }
    }
    rows.insert(0, ["", "verdict", "rule", "tier", "where"].map(str::to_owned).to_vec());
    text += &columns(&rows);

    if !answer.close.is_empty() {
        text += "\nclose\n";
    }
    for close in &answer.close {
        let location = close.location.as_ref().map_or_else(String::new, |at| format!("  {at}"));
        let _ =
            writeln!(text, "  {} ({} of tier {}, {}){location}", close.rule, close.action, close.tier, close.direction);
        if close.missed.is_empty() {
            text += "    matches too, but another decides first\n";
        }
        for missed in &close.missed {
            let _ = writeln!(text, "    {}: wants {}, has {}", missed.field, missed.wants, missed.has);
        }
    }
    if !answer.would_allow.is_empty() {
        text += "\nwhat would have allowed it\n";
    }
    for remedy in &answer.would_allow {
        let colon = if remedy.yaml.is_some() { ":" } else { "." };
        let _ = writeln!(text, "  {}: {}{colon}", remedy.direction, remedy.text);
        if let Some(yaml) = &remedy.yaml {
            for line in yaml.lines() {
                let _ = writeln!(text, "{}", format!("    {line}").trim_end());
            }
        }
    }
    if !answer.notes.is_empty() {
        text += "\n";
    }
    for note in &answer.notes {
        let _ = writeln!(text, "note: {note}");
    }
    text
}
