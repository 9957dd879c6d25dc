//! The table on the terminal.

use gabion_bench::Figure;
use gabion_testing_peers::rules::FLOWS;

use crate::aims;
use crate::cast::JUDGED;
use crate::result::{Results, Row, SetResult};

fn cell(figure: Option<&Figure>) -> String {
    figure.map_or(String::from("-"), |figure| format!("{:.1}", figure.median))
}

fn spread(figure: Option<&Figure>) -> String {
    figure.map_or(String::new(), |figure| format!("{:.1}..{:.1}", figure.minimum, figure.maximum))
}

/// One set.
pub fn set(result: &SetResult) {
    println!(
        "  {:<20} {:>9} {:>9} {:>17} {:>9} {:>6} {:>6} {:>8} {:>7} {:>7}",
        "ns a packet", "live", "beyond", "(min..max)", "1k flows", "/drop", "/parse", "replayed", "hot", "+parse"
    );
    for row in &result.contenders {
        let total = row.live.iter().find(|live| live.flows == FLOWS).map(|live| &live.total);
        println!(
            "  {:<20} {:>9} {:>9} {:>17} {:>9} {:>6.2} {:>6.2} {:>8} {:>7} {:>7}",
            row.name,
            cell(total),
            cell(row.beyond(FLOWS)),
            spread(row.beyond(FLOWS)),
            cell(row.live.iter().find(|live| live.flows != FLOWS).map(|live| &live.beyond)),
            row.ratio_to_drop,
            row.ratio_to_parse,
            cell(row.replay_beyond_drop.as_ref()),
            cell(row.hot.as_ref()),
            cell(row.hot_beyond_parse.as_ref()),
        );
    }
    for tables in result.contenders.iter().filter(|row| row.name == JUDGED).filter_map(|row| row.tables.as_ref()) {
        println!(
            "  tables {:.2} MB ({:.2} MB touched), {:.1} loads and {:.1} lines a packet (most {} loads; \
             {:.1} lines are beyond a first cache, {:.1} beyond a second), {} instructions, \
             compiled in {:.0} ms, loaded in {:.0} ms",
            tables.bytes as f64 / 1e6,
            tables.touched_bytes as f64 / 1e6,
            tables.words_per_packet,
            tables.lines_per_packet,
            tables.most_words,
            tables.misses_per_packet[0],
            tables.misses_per_packet[1],
            tables.instructions,
            tables.compile_ms,
            tables.load_ms,
        );
    }
}

/// Gabion against the aims, and against the best of the others.
pub fn summary(results: &Results) {
    println!(
        "\n{:<16} {:>7} {:>9} {:>17} {:>6} {:>8} {:>7} {:>5}  best other (ns)",
        JUDGED, "rules", "beyond", "(min..max)", "aim", "", "hot+", "aim"
    );
    for set in &results.sets {
        let Some(row) = set.contenders.iter().find(|row| row.name == JUDGED) else {
            println!("{:<16} {:>7} refused", set.name, set.rules);
            continue;
        };
        let beyond = row.beyond(FLOWS);
        let aim = aims::live(&set.name);
        let met = aim.zip(beyond).map_or("", |(aim, found)| if found.median <= aim { "met" } else { "missed" });
        let others = set.contenders.iter().filter(|row| is_other(row));
        let best = others
            .filter_map(|row| Some((row.beyond(FLOWS)?.median, row.name.as_str())))
            .min_by(|one, other| one.0.total_cmp(&other.0));
        println!(
            "{:<16} {:>7} {:>9} {:>17} {:>6} {:>8} {:>7} {:>5}  {}",
            set.name,
            set.rules,
            cell(beyond),
            spread(beyond),
            aim.map_or(String::from("-"), |aim| format!("{aim:.0}")),
            met,
            cell(row.hot_beyond_parse.as_ref()),
            aims::HOT,
            best.map_or(String::new(), |(ns, name)| format!("{ns:.1} {name}")),
        );
    }
}

/// Someone else who decides by the rules.
fn is_other(row: &Row) -> bool {
    row.baseline == crate::cast::MARKED && !row.name.starts_with("gabion")
}
