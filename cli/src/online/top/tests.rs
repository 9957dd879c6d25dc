//! The screen, character by character, and keys.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use gabion_agent::api::wire::{
    Amount, Emergency, Event, Generation, Interface, Mode, Process, ProcessTotal, Processes, ReasonTotal, Rule, Rules,
    Status, Suppressed, Totals, Trial,
};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::draw::draw;
use super::view::{Answer, Over, Reading, Reply, Upper, View};

fn amount(packets: u64) -> Amount {
    Amount { packets, bytes: packets * 60 }
}

fn denial(number: u16) -> Event {
    Event {
        time: format!("2026-01-02T03:04:{:02}.000006Z", number % 60),
        verdict: "deny".into(),
        rule: "plc/isolation".into(),
        tier: "policy".into(),
        direction: "ingress".into(),
        reason: "rule".into(),
        generation: 3,
        hook: "xdp".into(),
        interface: "station0".into(),
        ethertype: "0x0800".into(),
        source: Some("10.0.0.99".into()),
        destination: Some("10.0.0.2".into()),
        protocol: Some("tcp".into()),
        source_port: Some(40_000),
        destination_port: Some(number),
        tcp_flags: Some("syn".into()),
        ..Event::default()
    }
}

fn total(name: &str, pid: u32, denied: u64) -> ProcessTotal {
    let cgroup_path = Some(format!("/system.slice/{name}.service"));
    let process = Process { pid, name: name.into(), cgroup: 77, cgroup_path, ..Process::default() };
    ProcessTotal { process, denied, audited: 0, allowed: 5, last: denial(502) }
}

fn reading(at: Instant, polled: u64, denials: u16) -> Reading {
    let rule = |name: &str, action: &str, packets| Rule {
        name: name.into(),
        tier: "policy".into(),
        direction: "ingress".into(),
        action: action.into(),
        active: true,
        amount: amount(packets),
    };
    let reason = |reason: &str, action: &str, packets| ReasonTotal {
        reason: reason.into(),
        action: action.into(),
        amount: amount(packets),
    };
    let status = Status {
        state: "enforcing".into(),
        site: "substation-7".into(),
        generation: Generation { number: 3, rules: 3, ..Generation::default() },
        mode: Mode { current: "enforce".into(), ..Mode::default() },
        failsafe: vec!["tcp/22".into()],
        interfaces: vec![Interface {
            name: "station0".into(),
            role: Some("station-bus".into()),
            ingress: "xdp-native".into(),
            egress: "tcx".into(),
            ..Interface::default()
        }],
        totals: Totals {
            seen: amount(polled + 40),
            passed: amount(polled),
            dropped: amount(40),
            reasons: vec![reason("rule", "pass", polled), reason("rule", "drop", 40)],
        },
        ..Status::default()
    };
    let rules =
        vec![rule("plc/poll", "allow", polled), rule("plc/isolation", "deny", 40), rule("plc/alarm", "allow", 0)];
    Reading {
        at,
        status: Status {
            events: gabion_agent::api::wire::EventCounts {
                suppressed: vec![Suppressed { reason: "rate-denied".into(), count: 12 }],
                ..Default::default()
            },
            ..status
        },
        rules: Rules { generation: 3, rules },
        processes: Processes { problem: None, processes: vec![total("plcd", 812, 3), total("curl", 4711, 0)] },
        denials: (0..denials).rev().map(denial).collect(),
    }
}

/// A view after two readings, a second apart.
fn view() -> View {
    let start = Instant::now();
    let mut view = View::new(false, Upper::Rules);
    view.take(Ok(reading(start, 1_000, 3)));
    view.take(Ok(reading(start + Duration::from_secs(1), 1_250, 3)));
    view
}

fn screen(view: &mut View, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, view)).unwrap();
    terminal.backend().to_string()
}

fn press(view: &mut View, code: KeyCode) -> Reply {
    view.key(KeyEvent::new(code, KeyModifiers::NONE))
}

#[test]
fn all_that_matters_is_on_eighty_by_twenty_four() {
    let screen = screen(&mut view(), 80, 24);
    for text in
        ["ENFORCING", "substation-7", "generation 3", "250/s", "plc/poll", "plc/isolation", "10.0.0.99:40000", "? help"]
    {
        assert!(screen.contains(text), "{text} is missing:\n{screen}");
    }
    let denials: Vec<&str> = screen.lines().filter(|line| line.contains("10.0.0.99")).collect();
    assert_eq!(denials.len(), 3, "{screen}");
    assert!(denials[0].contains("10.0.0.2:2 ") && denials[0].contains("plc/isolation"), "newest first:\n{screen}");
}

#[test]
fn a_trial_a_pin_and_emergencies_are_said_in_the_first_line() {
    let mut view = view();
    let mut reading = reading(Instant::now() + Duration::from_secs(2), 1_500, 3);
    reading.status.generation.trial = Some(Trial { left_s: 21, ..Trial::default() });
    reading.status.generation.pinned = Some("harvest".into());
    reading.status.emergencies =
        ["worm", "scan"].map(|name| Emergency { name: name.into(), ..Emergency::default() }).into();
    view.take(Ok(reading));
    let screen = screen(&mut view, 120, 24);
    let title = screen.lines().next().unwrap();
    for text in ["on trial, 21 s", "pinned", "EMERGENCY: worm and 1 more", "mode enforce"] {
        assert!(title.contains(text), "{text} is missing: {title}");
    }
}

#[test]
fn a_wide_screen_shows_reasons_and_interfaces_beside() {
    let screen = screen(&mut view(), 200, 50);
    for text in ["by reason", "interfaces", "station-bus", "native+tcx", "rate-denied", "fail-safe", "tcp/22", "bytes"]
    {
        assert!(screen.contains(text), "{text} is missing:\n{screen}");
    }
}

#[test]
fn processes_take_the_place_of_rules_and_give_it_back() {
    let mut view = view();
    assert!(!screen(&mut view, 120, 24).contains("plcd"));
    press(&mut view, KeyCode::Char('w'));
    let shown = screen(&mut view, 180, 24);
    for text in ["2 processes by reported packets", "plcd", "812", "/system.slice/plcd", "10.0.0.99:40000", "allowed"] {
        assert!(shown.contains(text), "{text} in\n{shown}");
    }
    view.filter = "curl".into();
    assert_eq!(view.shown_processes().len(), 1);
    view.filter.clear();
    press(&mut view, KeyCode::Char('w'));
    assert!(screen(&mut view, 120, 24).contains("plc/poll"));
}

#[test]
fn no_size_panics() {
    let mut view = view();
    for over in [Over::Nothing, Over::Help, Over::Explanation("t".into(), vec!["long ".repeat(50); 9], 3)] {
        view.over = over;
        for width in [0, 1, 2, 19, 57, 80, 120] {
            for height in [0, 1, 3, 7, 8, 12, 16, 24] {
                // The backend cannot print a screen without columns, so it is only drawn.
                let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
                terminal.draw(|frame| draw(frame, &mut view)).unwrap();
            }
        }
    }
}

#[test]
fn rules_are_sorted_by_rate_packets_and_name() {
    let mut view = view();
    let names = |view: &View| view.shown_rules().iter().map(|rule| rule.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&view), ["plc/poll", "plc/isolation", "plc/alarm"]);
    press(&mut view, KeyCode::Char('s'));
    press(&mut view, KeyCode::Char('s'));
    assert_eq!(names(&view), ["plc/alarm", "plc/isolation", "plc/poll"]);
}

#[test]
fn a_filter_narrows_both_lists_until_it_is_cleared() {
    let mut view = view();
    press(&mut view, KeyCode::Char('/'));
    for character in "ISOL".chars() {
        press(&mut view, KeyCode::Char(character));
    }
    // While it is typed, letters are letters.
    assert_eq!(press(&mut view, KeyCode::Char('q')), Reply::Continue);
    press(&mut view, KeyCode::Backspace);
    press(&mut view, KeyCode::Enter);
    assert_eq!((view.shown_rules().len(), view.shown_denials().len()), (1, 3));
    assert!(screen(&mut view, 80, 24).contains("filter: ISOL"));
    press(&mut view, KeyCode::Esc);
    assert_eq!(view.shown_rules().len(), 3);
}

#[test]
fn the_selected_denial_stays_selected_while_new_ones_arrive() {
    let mut view = view();
    press(&mut view, KeyCode::Down);
    press(&mut view, KeyCode::Down);
    let before = press(&mut view, KeyCode::Enter);
    assert!(matches!(&before, Reply::Explain(query) if query.contains("dport=1&") && query.contains("in=station0")));
    view.take(Ok(reading(Instant::now(), 2_000, 30)));
    assert_eq!(press(&mut view, KeyCode::Char('e')), before);
    assert_eq!(view.denials.selected(), Some(28));
}

#[test]
fn an_explanation_is_shown_and_closed() {
    let mut view = view();
    press(&mut view, KeyCode::Down);
    let answer: Answer = serde_json::from_str(
        r#"{"verdict":"deny","rule":"plc/isolation","tier":"policy","direction":"ingress","reason":"nothing allows it",
            "packet":{"content":"tcp"},"wouldAllow":[{"direction":"ingress","text":"add port 2"}],"notes":[]}"#,
    )
    .unwrap();
    view.explained(Ok(answer));
    let shown = screen(&mut view, 80, 24);
    assert!(shown.contains("nothing allows it") && shown.contains("add port 2"), "{shown}");
    press(&mut view, KeyCode::Esc);
    assert_eq!(view.over, Over::Nothing);
}

#[test]
fn an_agent_that_does_not_answer_is_said_and_the_last_reading_stays() {
    let mut view = view();
    view.take(Err("connection refused".into()));
    let shown = screen(&mut view, 120, 24);
    assert!(shown.contains("NO ANSWER: connection refused") && shown.contains("plc/poll"), "{shown}");
}

#[test]
fn warnings_have_a_place() {
    let mut view = view();
    view.reading.as_mut().unwrap().status.warnings = (0..5).map(|at| format!("warning {at}")).collect();
    let shown = screen(&mut view, 80, 24);
    assert!(shown.contains("! warning 0") && shown.contains("warning 2 (and 2 more)"), "{shown}");
}

#[test]
fn keys_quit_and_pause() {
    let mut view = view();
    press(&mut view, KeyCode::Char('p'));
    assert!(view.is_paused() && screen(&mut view, 80, 24).contains("PAUSED"));
    assert_eq!(press(&mut view, KeyCode::Char('q')), Reply::Quit);
    assert_eq!(view.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Reply::Quit);
}
