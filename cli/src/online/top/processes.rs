//! The list of processes, by what was reported of their packets.

use gabion_agent::api::wire::ProcessTotal;
use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::Modifier;
use ratatui::text::{Span, Text};
use ratatui::widgets::{HighlightSpacing, Paragraph, Row, Table, Wrap};

use super::super::amounts::count;
use super::super::events::conversation;
use super::draw::{BOLD, FAINT, Palette};
use super::rules::block;
use super::view::{Pane, View};

pub(super) fn draw(frame: &mut Frame<'_>, view: &mut View, area: Rect) {
    if area.height == 0 {
        return;
    }
    let palette = Palette(view.colour);
    let processes = view.shown_processes();
    let noun = if processes.len() == 1 { "process" } else { "processes" };
    let title = format!("{} {noun} by reported packets ", processes.len());
    let frame_of_list = block(title, view.pane == Pane::Upper);
    if processes.is_empty() {
        let nothing = match view.no_processes() {
            Some(problem) => format!("  not known: {problem}"),
            None if view.filter.is_empty() => String::from("  no packet of a process of this node was reported so far"),
            None => String::from("  nothing matches the filter"),
        };
        let nothing = Paragraph::new(Span::styled(nothing, FAINT)).wrap(Wrap { trim: false });
        frame.render_widget(nothing.block(frame_of_list), area);
        return;
    }
    let wide = area.width >= 100;
    let mut header = vec!["process", "pid", "denied", "audited", "allowed"];
    let mut widths = vec![
        Constraint::Length(16),
        Constraint::Length(8),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(7),
    ];
    if wide {
        header.push("cgroup");
        widths.push(Constraint::Fill(1));
    }
    header.push("last packet");
    widths.push(Constraint::Fill(2));
    let rows: Vec<Row<'static>> = processes.iter().map(|process| row(process, wide, palette)).collect();
    let header: Vec<Text<'static>> = header
        .into_iter()
        .map(|name| match name {
            "pid" | "denied" | "audited" | "allowed" => Text::from(name).right_aligned(),
            _ => Text::raw(name),
        })
        .collect();
    let table = Table::new(rows, widths)
        .header(Row::new(header).style(BOLD.add_modifier(Modifier::UNDERLINED)))
        .block(frame_of_list)
        .row_highlight_style(BOLD.add_modifier(Modifier::REVERSED))
        .highlight_symbol("> ")
        .highlight_spacing(HighlightSpacing::Always);
    frame.render_stateful_widget(table, area, &mut view.upper);
}

fn row(total: &ProcessTotal, wide: bool, palette: Palette) -> Row<'static> {
    let right = |text: String| Text::from(text).right_aligned();
    let action = if total.denied > 0 { "deny" } else { "allow" };
    let mut cells = vec![
        Text::from(Span::styled(total.process.name.clone(), palette.action(action))),
        right(total.process.pid.to_string()),
        right(count(total.denied)),
        right(count(total.audited)),
        right(count(total.allowed)),
    ];
    if wide {
        let number = || format!("#{}", total.process.cgroup);
        cells.push(Text::raw(total.process.cgroup_path.clone().unwrap_or_else(number)));
    }
    cells.push(Text::raw(conversation(&total.last)));
    Row::new(cells)
}
