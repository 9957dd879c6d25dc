//! The picture: what a decision costs over the number of rules, both on logarithmic axes.

use std::fmt::Write as _;

use gabion_testing_peers::rules::FLOWS;

use crate::result::{Row, SetResult};

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 480.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
/// Rules, from and to, and nanoseconds, from and to.
const RANGES: [(f64, f64); 2] = [(8.0, 140_000.0), (3.0, 40_000.0)];
/// Who is drawn, with a colour that is told apart in grey and by the colour-blind as well.
const DRAWN: [(&str, &str); 9] = [
    ("gabion stateless", "#d55e00"),
    ("gabion", "#e69f00"),
    ("gabion deny", "#a0522d"),
    ("identity tries", "#0072b2"),
    ("pair hash", "#56b4e9"),
    ("nftables set", "#009e73"),
    ("nftables vmaps", "#009e73"),
    ("nftables linear", "#666666"),
    ("iptables", "#cc79a7"),
];

/// An SVG file.
pub fn draw(sets: &[SetResult]) -> String {
    let mut svg = String::new();
    // A String takes whatever is written to it.
    let _ = compose(&mut svg, sets);
    svg
}

fn along(value: f64, (from, to): (f64, f64)) -> f64 {
    ((value.max(from) / from).ln() / (to / from).ln()).min(1.0)
}

fn x(rules: f64) -> f64 {
    LEFT + along(rules, RANGES[0]) * (WIDTH - LEFT - RIGHT)
}

fn y(ns: f64) -> f64 {
    HEIGHT - BOTTOM - along(ns, RANGES[1]) * (HEIGHT - TOP - BOTTOM)
}

fn compose(svg: &mut String, sets: &[SetResult]) -> std::fmt::Result {
    writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>"
    )?;
    writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"22\" font-size=\"15\">ns a packet beyond a bare program with the same verdicts \
         (live frames, {FLOWS} flows)</text>"
    )?;
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    for power in 1..=5 {
        let (at, rules) = (x(10f64.powi(power)), 10u32.pow(power as u32));
        writeln!(svg, "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{bottom}\" stroke=\"#ddd\"/>")?;
        writeln!(svg, "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{rules}</text>", bottom + 18.0)?;
    }
    for power in 1..=4 {
        let (at, ns) = (y(10f64.powi(power)), 10u32.pow(power as u32));
        writeln!(svg, "<line x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>")?;
        writeln!(svg, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{ns} ns</text>", LEFT - 8.0, at + 4.0)?;
    }
    writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">rules</text>",
        (LEFT + right) / 2.0,
        HEIGHT - 12.0
    )?;
    let mut label = TOP + 10.0;
    for (name, colour) in DRAWN {
        let found = |set: &SetResult| -> Option<(f64, f64)> {
            let row: &Row = set.contenders.iter().find(|row| row.name == name)?;
            Some((x(set.rules as f64), y(row.beyond(FLOWS)?.median)))
        };
        let of_segments = |set: &&SetResult| set.name.starts_with("segments");
        let line: Vec<(f64, f64)> = sets.iter().filter(of_segments).filter_map(found).collect();
        let dots: Vec<(f64, f64)> = sets.iter().filter(|set| !of_segments(set)).filter_map(found).collect();
        if line.is_empty() && dots.is_empty() {
            continue;
        }
        let points: Vec<String> = line.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            points.join(" ")
        )?;
        for (x, y) in line {
            writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>")?;
        }
        for (x, y) in dots {
            writeln!(
                svg,
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"7\" height=\"7\" fill=\"none\" stroke=\"{colour}\" \
                 stroke-width=\"1.6\"/>",
                x - 3.5,
                y - 3.5
            )?;
        }
        writeln!(
            svg,
            "<rect x=\"{}\" y=\"{}\" width=\"10\" height=\"10\" fill=\"{colour}\"/>",
            right + 14.0,
            label - 9.0
        )?;
        writeln!(svg, "<text x=\"{}\" y=\"{label}\">{name}</text>", right + 30.0)?;
        label += 20.0;
    }
    for (mark, text) in [("●", "micro-segmentation"), ("□", "ClassBench")] {
        writeln!(svg, "<text x=\"{}\" y=\"{}\">{mark} {text}</text>", right + 14.0, label + 10.0)?;
        label += 20.0;
    }
    writeln!(svg, "</svg>")
}
