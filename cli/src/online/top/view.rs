//! What is on the screen, and what keys do to it.

use std::collections::HashMap;
use std::time::Instant;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use gabion_agent::api::wire::{Amount, Event, ProcessTotal, Processes, Rule, Rules, Status};
use ratatui::widgets::TableState;
use serde::Deserialize;

use super::super::events::{content, conversation, whose};
use super::explain::query_of;

/// What the agent said at one moment.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub at: Instant,
    pub status: Status,
    pub rules: Rules,
    pub processes: Processes,
    /// Newest first.
    pub denials: Vec<Event>,
}

/// An explanation, as far as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Answer {
    pub verdict: String,
    pub rule: String,
    pub tier: String,
    pub reason: String,
    pub direction: String,
    pub packet: serde_json::Value,
    pub close: Vec<serde_json::Value>,
    pub would_allow: Vec<serde_json::Value>,
    pub notes: Vec<String>,
}

/// What a key asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Continue,
    Quit,
    /// Explain this, a query string.
    Explain(String),
}

/// The two lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pane {
    Upper,
    Denials,
}

/// What the upper list is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upper {
    Rules,
    Processes,
}

/// How rules are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Rate,
    Packets,
    Name,
}

impl Order {
    pub fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Packets => "packets",
            Self::Name => "name",
        }
    }
}

/// What lies over the lists.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Over {
    Nothing,
    Help,
    /// Title, text, first line shown.
    Explanation(String, Vec<String>, u16),
}

/// Packets and bytes a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rate {
    pub packets: f64,
    pub bytes: f64,
}

/// Everything that is on the screen.
#[derive(Debug)]
pub(super) struct View {
    pub colour: bool,
    pub reading: Option<Reading>,
    /// Why the last reading failed.
    pub trouble: Option<String>,
    pub paused: bool,
    pub order: Order,
    pub filter: String,
    /// The filter is being typed.
    pub typing: bool,
    pub pane: Pane,
    pub over: Over,
    pub shows: Upper,
    pub upper: TableState,
    pub denials: TableState,
    pub seen: Rate,
    pub passed: Rate,
    pub dropped: Rate,
    rates: HashMap<(String, String, String), Rate>,
    /// The denial that is selected; the list moves under it.
    selected: Option<Event>,
}

impl View {
    pub fn new(colour: bool, shows: Upper) -> Self {
        Self {
            colour,
            reading: None,
            trouble: None,
            paused: false,
            order: Order::Rate,
            filter: String::new(),
            typing: false,
            pane: Pane::Denials,
            over: Over::Nothing,
            shows,
            upper: TableState::default(),
            denials: TableState::default(),
            seen: Rate::default(),
            passed: Rate::default(),
            dropped: Rate::default(),
            rates: HashMap::new(),
            selected: None,
        }
    }

    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Takes a new reading; rates are against the one before.
    pub fn take(&mut self, reading: Result<Reading, String>) {
        let reading = match reading {
            Ok(reading) => reading,
            Err(trouble) => {
                self.trouble = Some(trouble);
                return;
            }
        };
        self.trouble = None;
        if let Some(before) = &self.reading {
            let seconds = reading.at.duration_since(before.at).as_secs_f64();
            let (now, then) = (&reading.status.totals, &before.status.totals);
            self.seen = rate(now.seen, then.seen, seconds);
            self.passed = rate(now.passed, then.passed, seconds);
            self.dropped = rate(now.dropped, then.dropped, seconds);
            let known: HashMap<_, _> = before.rules.rules.iter().map(|rule| (key(rule), rule.amount)).collect();
            let rates = reading.rules.rules.iter().map(|rule| {
                let then = known.get(&key(rule)).copied().unwrap_or(rule.amount);
                (key(rule), rate(rule.amount, then, seconds))
            });
            self.rates = rates.collect();
        }
        self.reading = Some(reading);
        self.find_selected();
    }

    /// An explanation arrived, or did not.
    pub fn explained(&mut self, answer: Result<Answer, String>) {
        let title = self.selected.as_ref().map(conversation).unwrap_or_default();
        let text = match answer {
            Ok(answer) => super::explain::lines(&answer),
            Err(trouble) => vec![String::from("No explanation:"), trouble],
        };
        self.over = Over::Explanation(title, text, 0);
    }

    pub fn rate_of(&self, rule: &Rule) -> Rate {
        self.rates.get(&key(rule)).copied().unwrap_or_default()
    }

    /// Rules that the filter lets through, in order.
    pub fn shown_rules(&self) -> Vec<&Rule> {
        let Some(reading) = &self.reading else { return Vec::new() };
        let matches = |rule: &&Rule| {
            let Rule { name, tier, direction, action, .. } = *rule;
            self.matches(&[name, tier, direction, action])
        };
        let mut rules: Vec<&Rule> = reading.rules.rules.iter().filter(matches).collect();
        rules.sort_by(|a, b| {
            let by_packets = b.amount.packets.cmp(&a.amount.packets);
            let by_name = a.name.cmp(&b.name).then_with(|| a.direction.cmp(&b.direction));
            match self.order {
                Order::Rate => {
                    let by_rate = self.rate_of(b).packets.total_cmp(&self.rate_of(a).packets);
                    by_rate.then(by_packets).then(by_name)
                }
                Order::Packets => by_packets.then(by_name),
                Order::Name => by_name,
            }
        });
        rules
    }

    /// Processes that the filter lets through, as the agent orders them.
    pub fn shown_processes(&self) -> Vec<&ProcessTotal> {
        let processes = self.reading.iter().flat_map(|reading| &reading.processes.processes);
        let matches = |total: &&ProcessTotal| {
            let cgroup = total.process.cgroup_path.as_deref().unwrap_or("");
            self.matches(&[&total.process.name, &total.process.pid.to_string(), cgroup, &conversation(&total.last)])
        };
        processes.filter(matches).collect()
    }

    /// Why nothing is known of processes.
    pub fn no_processes(&self) -> Option<&str> {
        self.reading.as_ref()?.processes.problem.as_deref()
    }

    /// Lines of the upper list.
    pub fn upper_length(&self) -> usize {
        match self.shows {
            Upper::Rules => self.shown_rules().len(),
            Upper::Processes => self.shown_processes().len(),
        }
    }

    /// Denials that the filter lets through, newest first.
    pub fn shown_denials(&self) -> Vec<&Event> {
        let Some(reading) = &self.reading else { return Vec::new() };
        let matches = |event: &&Event| {
            let texts = [&event.rule, &event.interface, &conversation(event), &content(event), &event.verdict];
            self.matches(&texts.map(String::as_str)) || self.matches(&[&whose(event)])
        };
        reading.denials.iter().filter(matches).collect()
    }

    fn matches(&self, texts: &[&str]) -> bool {
        let wanted = self.filter.to_lowercase();
        wanted.is_empty() || texts.iter().any(|text| text.to_lowercase().contains(&wanted))
    }

    /// What a key does.
    pub fn key(&mut self, key: KeyEvent) -> Reply {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Reply::Quit;
        }
        if self.typing {
            self.type_filter(key.code);
            return Reply::Continue;
        }
        if self.over != Over::Nothing {
            return self.key_over(key.code);
        }
        match key.code {
            KeyCode::Char('q') => return Reply::Quit,
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Char('s') => {
                self.order = match self.order {
                    Order::Rate => Order::Packets,
                    Order::Packets => Order::Name,
                    Order::Name => Order::Rate,
                }
            }
            KeyCode::Char('w') => {
                self.shows = if self.shows == Upper::Rules { Upper::Processes } else { Upper::Rules };
                self.upper.select(None);
            }
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Char('?' | 'h') => self.over = Over::Help,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Tab | KeyCode::BackTab => {
                self.pane = if self.pane == Pane::Upper { Pane::Denials } else { Pane::Upper };
            }
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::PageUp => self.step(-10),
            KeyCode::PageDown => self.step(10),
            KeyCode::Home => self.step(isize::MIN),
            KeyCode::End => self.step(isize::MAX),
            KeyCode::Enter | KeyCode::Char('e') => return self.ask(),
            _ => {}
        }
        Reply::Continue
    }

    fn ask(&mut self) -> Reply {
        if self.selected.is_none() {
            // Nothing is selected yet: the newest is meant.
            self.pane = Pane::Denials;
            self.step(0);
        }
        self.selected.as_ref().map_or(Reply::Continue, |event| Reply::Explain(query_of(event)))
    }

    fn type_filter(&mut self, code: KeyCode) {
        /// Longer filters match nothing anyway.
        const LONGEST: usize = 64;
        match code {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(character) if self.filter.len() < LONGEST => self.filter.push(character),
            _ => {}
        }
        self.find_selected();
    }

    fn key_over(&mut self, code: KeyCode) -> Reply {
        match (&mut self.over, code) {
            (Over::Explanation(_, _, first), KeyCode::Up | KeyCode::Char('k')) => *first = first.saturating_sub(1),
            (Over::Explanation(_, text, first), KeyCode::Down | KeyCode::Char('j')) => {
                let last = u16::try_from(text.len().saturating_sub(1)).unwrap_or(u16::MAX);
                *first = first.saturating_add(1).min(last);
            }
            (_, KeyCode::Char('q') | KeyCode::Esc | KeyCode::Enter | KeyCode::Char('?' | 'e' | 'h')) => {
                self.over = Over::Nothing;
            }
            _ => {}
        }
        Reply::Continue
    }

    fn step(&mut self, by: isize) {
        match self.pane {
            Pane::Upper => {
                let at = moved(self.upper.selected(), by, self.upper_length());
                self.upper.select(at);
            }
            Pane::Denials => {
                let at = moved(self.denials.selected(), by, self.shown_denials().len());
                self.selected = at.and_then(|at| self.shown_denials().get(at).copied().cloned());
                self.denials.select(at);
            }
        }
    }

    /// The list has changed: the same denial stays selected, wherever it is now.
    fn find_selected(&mut self) {
        let at = self.selected.as_ref().and_then(|wanted| self.shown_denials().iter().position(|it| *it == wanted));
        if at.is_none() {
            self.selected = None;
        }
        self.denials.select(at);
        let length = self.upper_length();
        if self.upper.selected().is_some_and(|at| at >= length) {
            self.upper.select(length.checked_sub(1));
        }
    }
}

fn key(rule: &Rule) -> (String, String, String) {
    (rule.name.clone(), rule.tier.clone(), rule.direction.clone())
}

fn moved(at: Option<usize>, by: isize, length: usize) -> Option<usize> {
    let last = length.checked_sub(1)?;
    Some(match at {
        None if by == isize::MAX => last,
        None => 0,
        Some(at) => at.saturating_add_signed(by).min(last),
    })
}

fn rate(now: Amount, then: Amount, seconds: f64) -> Rate {
    // Counts of an agent that was started anew may be lower; then nothing is known.
    let per_second = |now: u64, then: u64| if seconds > 0.0 { now.saturating_sub(then) as f64 / seconds } else { 0.0 };
    Rate { packets: per_second(now.packets, then.packets), bytes: per_second(now.bytes, then.bytes) }
}
