//! The list of rules.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::Modifier;
use ratatui::text::{Span, Text};
use ratatui::widgets::{Block, Borders, HighlightSpacing, Row, Table};

use super::super::amounts::{bytes, count, rate};
use super::draw::{BOLD, FAINT, Palette};
use super::view::{Pane, View};

pub(super) fn draw(frame: &mut Frame<'_>, view: &mut View, area: Rect) {
    if area.height == 0 {
        return;
    }
    let palette = Palette(view.colour);
    let rules = view.shown_rules();
    let title = format!("{} rules by {} ", rules.len(), view.order.name());
    let wide = area.width >= 100;
    let mut header = vec!["rule", "end", "action", "rate", "packets"];
    let mut widths = vec![
        Constraint::Fill(1),
        Constraint::Length(7),
        Constraint::Length(6),
        Constraint::Length(8),
        Constraint::Length(8),
    ];
    if wide {
        header.extend(["bytes", "tier"]);
        widths.extend([Constraint::Length(9), Constraint::Length(18)]);
    }
    let rows: Vec<Row<'static>> = rules
        .iter()
        .map(|rule| {
            let right = |text: String| Text::from(text).right_aligned();
            let mut cells = vec![
                Text::raw(rule.name.clone()),
                Text::raw(rule.direction.clone()),
                Text::from(Span::styled(
                    if rule.active { rule.action.clone() } else { String::from("gone") },
                    palette.action(&rule.action),
                )),
                right(rate(view.rate_of(rule).packets)),
                right(count(rule.amount.packets)),
            ];
            if wide {
                cells.push(right(bytes(rule.amount.bytes)));
                cells.push(Text::raw(rule.tier.clone()));
            }
            let row = Row::new(cells);
            if rule.amount.packets == 0 || !rule.active { row.style(FAINT) } else { row }
        })
        .collect();
    let header: Vec<Text<'static>> = header
        .into_iter()
        .map(|name| match name {
            "rate" | "packets" | "bytes" => Text::from(name).right_aligned(),
            _ => Text::raw(name),
        })
        .collect();
    let table = Table::new(rows, widths)
        .header(Row::new(header).style(BOLD.add_modifier(Modifier::UNDERLINED)))
        .block(block(title, view.pane == Pane::Upper))
        .row_highlight_style(BOLD.add_modifier(Modifier::REVERSED))
        .highlight_symbol("> ")
        .highlight_spacing(HighlightSpacing::Always);
    frame.render_stateful_widget(table, area, &mut view.upper);
}

/// A list's frame; the one with the keys is marked.
pub(super) fn block(title: String, active: bool) -> Block<'static> {
    let mark = if active { "\u{25b8} " } else { " " };
    let style = if active { BOLD } else { FAINT };
    Block::new().borders(Borders::TOP).border_style(FAINT).title(Span::styled(format!("{mark}{title}"), style))
}
