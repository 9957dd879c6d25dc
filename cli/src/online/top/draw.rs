//! How the screen looks. Everything is told by words and marks; colour only stresses.
//!
//! No size is too small: what has no room is left out, least important first.

use gabion_agent::api::wire::Status;
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Clear, Paragraph, Wrap};

use super::super::amounts::{bytes, count, rate};
use super::view::{Over, Rate, Upper, View};
use super::{denials, processes, rules};

/// Columns from which the drops by reason stand beside the rules.
const WIDE: u16 = 120;
/// Columns of them.
const SIDE: u16 = 44;

/// Styles, or none of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Palette(pub bool);

impl Palette {
    pub fn of(self, colour: Color) -> Style {
        if self.0 { Style::new().fg(colour) } else { Style::new() }
    }

    pub fn action(self, action: &str) -> Style {
        match action {
            "deny" => self.of(Color::Red),
            "audit" | "mixed" => self.of(Color::Yellow),
            "allow" => self.of(Color::Green),
            _ => Style::new(),
        }
    }
}

pub(super) const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
pub(super) const FAINT: Style = Style::new().add_modifier(Modifier::DIM);

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, view: &mut View) {
    let area = frame.area();
    let warnings = view.reading.as_ref().map_or(0, |reading| reading.status.warnings.len());
    // A third of the screen at most is given to warnings.
    let alert_lines =
        if area.height < 16 { 0 } else { u16::try_from(warnings.min(3)).unwrap_or(0).min(area.height / 3) };
    let [title, totals, alerts, body, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(if area.height < 12 { 1 } else { 4 }),
        Constraint::Length(alert_lines),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(title_line(view, title.width), title);
    draw_totals(frame, view, totals);
    draw_alerts(frame, view, alerts);
    draw_body(frame, view, body);
    frame.render_widget(Paragraph::new(key_line(view, keys.width)), keys);
    match view.over.clone() {
        Over::Nothing => {}
        Over::Help => popup(frame, "keys", &HELP.map(str::to_owned), 0, area),
        Over::Explanation(title, text, first) => popup(frame, &title, &text, first, area),
    }
}

fn draw_body(frame: &mut Frame<'_>, view: &mut View, area: Rect) {
    let [main, side] = if area.width >= WIDE {
        Layout::horizontal([Constraint::Min(0), Constraint::Length(SIDE)]).areas(area)
    } else {
        [area, Rect::default()]
    };
    // On a low screen one list is all there is room for: the one with the keys.
    let [upper, lower] = if main.height < 8 {
        match view.pane {
            super::view::Pane::Upper => [main, Rect::default()],
            super::view::Pane::Denials => [Rect::default(), main],
        }
    } else {
        // Rules take what they need, up to half; the heading and the names of the columns are two lines more.
        let rules = u16::try_from(view.upper_length().max(1) + 3).unwrap_or(u16::MAX).min(main.height / 2);
        Layout::vertical([Constraint::Length(rules), Constraint::Fill(1)]).areas(main)
    };
    match view.shows {
        Upper::Rules => rules::draw(frame, view, upper),
        Upper::Processes => processes::draw(frame, view, upper),
    }
    denials::draw(frame, view, lower);
    draw_side(frame, view, side);
}

fn title_line(view: &View, width: u16) -> Paragraph<'static> {
    let palette = Palette(view.colour);
    let mut spans = vec![Span::styled(" gabion ", BOLD.add_modifier(Modifier::REVERSED)), Span::raw(" ")];
    match &view.reading {
        None => spans.push(Span::raw("asking the agent ...")),
        Some(reading) => {
            let Status { state, site, generation, mode, .. } = &reading.status;
            let style = match state.as_str() {
                "enforcing" => palette.of(Color::Green),
                "audit" => palette.of(Color::Yellow),
                _ => palette.of(Color::Red),
            };
            spans.push(Span::styled(state.to_uppercase(), style.add_modifier(Modifier::BOLD)));
            spans.push(Span::raw(format!("  {site}  generation {}", generation.number)));
            if let Some(trial) = &generation.trial {
                let words = format!(" on trial, {} s", trial.left_s);
                spans.push(Span::styled(words, palette.of(Color::Yellow).add_modifier(Modifier::BOLD)));
            }
            if generation.pinned.is_some() {
                spans.push(Span::styled(" pinned", BOLD));
            }
            if let Some((list, more)) = reading.status.emergencies.split_first() {
                let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
                let words = format!("  EMERGENCY: {}{more}", list.name);
                spans.push(Span::styled(words, palette.of(Color::Red).add_modifier(Modifier::BOLD)));
            }
            if width >= 70 {
                spans.push(Span::raw(format!("  mode {}", mode.current)));
            }
            if width >= 110 {
                spans.push(Span::styled(format!("  since {}", generation.since), FAINT));
            }
        }
    }
    if view.paused {
        spans.push(Span::styled("  PAUSED", BOLD));
    }
    if let Some(trouble) = &view.trouble {
        spans
            .push(Span::styled(format!("  NO ANSWER: {trouble}"), palette.of(Color::Red).add_modifier(Modifier::BOLD)));
    }
    Paragraph::new(Line::from(spans))
}

fn draw_totals(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let Some(reading) = &view.reading else { return };
    let totals = &reading.status.totals;
    let palette = Palette(view.colour);
    if area.height < 4 {
        let line = format!(
            " seen {}  passed {}  dropped {}",
            rate(view.seen.packets),
            rate(view.passed.packets),
            rate(view.dropped.packets)
        );
        frame.render_widget(Paragraph::new(line), area);
        return;
    }
    let line = |name: &str, now: Rate, amount: gabion_agent::api::wire::Amount, style: Style| {
        Line::from(vec![
            Span::styled(format!(" {name:<8}"), style),
            Span::raw(format!("{:>10} {:>12}", rate(now.packets), bytes_rate(now.bytes))),
            Span::styled(format!("   total {:>7} {:>8}", count(amount.packets), bytes(amount.bytes)), FAINT),
        ])
    };
    let lines = vec![
        line("seen", view.seen, totals.seen, Style::new()),
        line("passed", view.passed, totals.passed, palette.action("allow")),
        line("dropped", view.dropped, totals.dropped, palette.action("deny")),
        Line::raw(""),
    ];
    let [left, right] = Layout::horizontal([Constraint::Length(58), Constraint::Min(0)]).areas(area);
    frame.render_widget(Paragraph::new(lines), left);
    let drops = totals.reasons.iter().filter(|it| it.action == "drop");
    let mut facts: Vec<Line<'static>> =
        drops.map(|it| Line::raw(format!("drop {} {}", it.reason, count(it.amount.packets)))).collect();
    let guarded = reading.status.interfaces.iter().filter(|it| it.problem.is_none()).count();
    facts.push(Line::raw(format!("{guarded}/{} interfaces", reading.status.interfaces.len())));
    let quiet: u64 = reading.status.events.suppressed.iter().map(|it| it.count).sum();
    facts.push(Line::raw(format!("{} quiet events", count(quiet))));
    facts.truncate(3);
    frame.render_widget(Paragraph::new(facts), right);
}

fn bytes_rate(per_second: f64) -> String {
    // A rate of bytes below one is none; a float above u64::MAX saturates.
    if per_second < 1.0 { String::from("-") } else { format!("{}/s", bytes(per_second as u64)) }
}

fn draw_alerts(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let Some(reading) = &view.reading else { return };
    let palette = Palette(view.colour);
    let warnings = &reading.status.warnings;
    let room = usize::from(area.height);
    let lines: Vec<Line<'_>> = warnings
        .iter()
        .take(room)
        .enumerate()
        .map(|(at, warning)| {
            let more = warnings.len() - room.min(warnings.len());
            let more = if at + 1 == room && more > 0 { format!(" (and {more} more)") } else { String::new() };
            Line::styled(format!(" ! {warning}{more}"), palette.of(Color::Yellow))
        })
        .collect();
    frame.render_widget(Paragraph::new(lines), area);
}

fn draw_side(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let Some(reading) = view.reading.as_ref().filter(|_| area.height > 0) else { return };
    let status = &reading.status;
    let heading = |text: &str| Line::styled(text.to_owned(), BOLD);
    let mut lines = vec![heading("by reason")];
    for it in &status.totals.reasons {
        lines.push(Line::raw(format!("  {:<5}{:<12}{:>9}", it.action, it.reason, count(it.amount.packets))));
    }
    lines.push(Line::raw(""));
    lines.push(heading("interfaces"));
    for it in &status.interfaces {
        let mark = if it.problem.is_some() { "!" } else { " " };
        let role = it.role.as_deref().unwrap_or("");
        lines.push(Line::raw(format!("{mark} {:<11}{:<12}{}+{}", it.name, role, short(&it.ingress), it.egress)));
    }
    lines.push(Line::raw(""));
    lines.push(heading("events not sent"));
    for it in &status.events.suppressed {
        lines.push(Line::raw(format!("  {:<17}{:>9}", it.reason, count(it.count))));
    }
    lines.push(Line::raw(""));
    lines.push(heading("fail-safe"));
    lines.push(Line::raw(format!("  {}", status.failsafe.join(", "))));
    let block = Block::new().borders(Borders::LEFT).border_style(FAINT).title("");
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn short(ingress: &str) -> &str {
    ingress.strip_prefix("xdp-").unwrap_or(ingress)
}

const HELP: [&str; 11] = [
    "up, down   select       (also j, k, page up, page down)",
    "tab        the other list",
    "enter, e   explain the selected denial",
    "/          filter rules and denials; esc clears it",
    "w          whose packets: processes in place of rules, and back",
    "s          sort rules by rate, packets or name",
    "p, space   pause",
    "q          quit",
    "",
    "Rates are packets a second since the last reading.",
    "Quiet events were not sent: sampling, rate limit or a full ring.",
];

fn key_line(view: &View, width: u16) -> Line<'static> {
    if view.typing {
        return Line::from(vec![Span::styled(" filter: ", BOLD), Span::raw(format!("{}_", view.filter))]);
    }
    let mut text = if width >= 72 {
        String::from(" q quit  p pause  s sort  w whose  / filter  tab list  e explain  ? help")
    } else {
        String::from(" q quit  ? help")
    };
    if !view.filter.is_empty() {
        text = format!(" filter: {} (esc clears) {text}", view.filter);
    }
    Line::styled(text, FAINT)
}

fn popup(frame: &mut Frame<'_>, title: &str, text: &[String], first: u16, area: Rect) {
    let width = area.width.saturating_sub(4).min(100);
    let inner = width.saturating_sub(4).max(1);
    let wrapped: usize = text.iter().map(|line| line.chars().count() / usize::from(inner) + 1).sum();
    let height = u16::try_from(wrapped + 2).unwrap_or(u16::MAX).min(area.height.saturating_sub(2));
    let [row] = Layout::vertical([Constraint::Length(height)]).flex(ratatui::layout::Flex::Center).areas(area);
    let [place] = Layout::horizontal([Constraint::Length(width)]).flex(ratatui::layout::Flex::Center).areas(row);
    frame.render_widget(Clear, place);
    let block = Block::bordered()
        .title(format!(" {title} "))
        .title_bottom(Line::from(" \u{2191}\u{2193} scroll  esc closes ").alignment(Alignment::Right))
        .padding(ratatui::widgets::Padding::horizontal(1));
    let lines: Vec<Line<'_>> = text.iter().map(|line| Line::raw(line.as_str())).collect();
    let paragraph = Paragraph::new(lines).wrap(Wrap { trim: false }).scroll((first, 0)).block(block);
    frame.render_widget(paragraph, place);
}
