//! The list of recent denials.

use gabion_agent::api::wire::Event;
use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::Modifier;
use ratatui::text::{Span, Text};
use ratatui::widgets::{HighlightSpacing, Paragraph, Row, Table};

use super::super::events::{conversation, whose};
use super::draw::{BOLD, FAINT, Palette};
use super::rules::block;
use super::view::{Pane, View};

pub(super) fn draw(frame: &mut Frame<'_>, view: &mut View, area: Rect) {
    if area.height == 0 {
        return;
    }
    let palette = Palette(view.colour);
    let denials = view.shown_denials();
    let frame_of_list = block(format!("{} recent denials ", denials.len()), view.pane == Pane::Denials);
    if denials.is_empty() {
        let nothing =
            if view.filter.is_empty() { "  nothing was denied so far" } else { "  nothing matches the filter" };
        frame.render_widget(Paragraph::new(Span::styled(nothing, FAINT)).block(frame_of_list), area);
        return;
    }
    let wide = area.width >= 100;
    let rows: Vec<Row<'static>> = denials
        .iter()
        .map(|event| {
            let mut cells = vec![Text::raw(clock(&event.time, wide))];
            if wide {
                cells.push(Text::from(Span::styled(event.verdict.clone(), palette.action(&event.verdict))));
                cells.push(Text::raw(place(event)));
            } else {
                cells.push(Text::raw(event.interface.clone()));
            }
            cells.push(Text::raw(conversation(event) + &whose(event)));
            cells.push(Text::from(Span::styled(event.rule.clone(), palette.action(&event.verdict))));
            if wide {
                cells.push(Text::raw(format!("{} g{}", event.reason, event.generation)));
            }
            Row::new(cells)
        })
        .collect();
    let (header, widths) = if wide {
        (
            vec!["time", "", "at", "packet", "denied by", "reason"],
            vec![
                Constraint::Length(15),
                Constraint::Length(5),
                Constraint::Length(14),
                Constraint::Fill(3),
                Constraint::Fill(2),
                Constraint::Length(16),
            ],
        )
    } else {
        // Names say more than the end of a long packet: they keep their room.
        let longest = denials.iter().map(|event| event.rule.chars().count()).max().unwrap_or(0).clamp(8, 24);
        (
            vec!["time", "at", "packet", "denied by"],
            vec![
                Constraint::Length(8),
                Constraint::Length(interface_width(&denials)),
                Constraint::Fill(1),
                // At most 24, as just clamped.
                Constraint::Length(longest as u16),
            ],
        )
    };
    let table = Table::new(rows, widths)
        .header(Row::new(header).style(BOLD.add_modifier(Modifier::UNDERLINED)))
        .block(frame_of_list)
        .row_highlight_style(BOLD.add_modifier(Modifier::REVERSED))
        .highlight_symbol("> ")
        .highlight_spacing(HighlightSpacing::Always);
    frame.render_stateful_widget(table, area, &mut view.denials);
}

fn interface_width(denials: &[&Event]) -> u16 {
    let longest = denials.iter().map(|event| event.interface.chars().count()).max().unwrap_or(0);
    // A name has 15 characters at most (IFNAMSIZ).
    longest.clamp(4, 15) as u16
}

/// The time of day, with microseconds where there is room.
fn clock(time: &str, wide: bool) -> String {
    let clock = time.split('T').nth(1).unwrap_or(time).trim_end_matches('Z');
    clock.chars().take(if wide { 15 } else { 8 }).collect()
}

fn place(event: &Event) -> String {
    format!("{} {}", if event.hook == "xdp" { "in" } else { "out" }, event.interface)
}
