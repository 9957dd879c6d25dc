//! `gabion top`: rules, rates and denials, as they are now.
//!
//! [`view`] is what is on the screen and what keys do to it, [`draw`] how it looks; this file asks the agent and
//! waits for keys.

mod denials;
mod draw;
mod explain;
mod processes;
mod rules;
#[cfg(test)]
mod tests;
mod view;

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use crossterm::event::{Event as TerminalEvent, EventStream};
use futures_util::StreamExt;
use gabion_agent::api::client::Client;
use gabion_agent::api::wire::{Event, Line, Problem, Processes, Rules, Status};

use super::Connection;
use crate::exit::{Exit, Failure};
use view::{Answer, Reading, Reply, Upper, View};

/// Flags of `gabion top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// Seconds between readings
    #[arg(long, short, value_name = "SECONDS", default_value_t = 1.0, value_parser = interval)]
    interval: f64,
    /// Begin with the processes of this node whose packets were reported, in place of rules
    #[arg(long)]
    processes: bool,
    #[command(flatten)]
    connection: Connection,
}

fn interval(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err(String::from("a number of seconds from 0.1 to 3600")),
    }
}

/// The agent answers questions about itself within this time, or counts as not answering.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn run(arguments: &TopArgs) -> Result<Exit, Failure> {
    if !std::io::stdout().is_terminal() {
        return Err(
            Failure::input("top needs a terminal").help("`gabion status` and `gabion events` print to anything")
        );
    }
    let upper = if arguments.processes { Upper::Processes } else { Upper::Rules };
    let period = Duration::from_secs_f64(arguments.interval);
    arguments.connection.ask(|client| async move {
        // Without an agent there is nothing to look at; one that goes away later may come back.
        client.get::<Status>("/v1/status").await.map_err(super::failed)?;
        // Installs a panic hook too, which gives the terminal back.
        let terminal =
            ratatui::try_init().map_err(|error| Failure::system(format!("cannot use the terminal: {error}")))?;
        let outcome = watch(&client, terminal, period, upper).await;
        ratatui::restore();
        outcome.map_err(|error| Failure::system(format!("the terminal: {error}")))
    })?;
    Ok(Exit::Fine)
}

async fn watch(
    client: &Client,
    mut terminal: ratatui::DefaultTerminal,
    period: Duration,
    upper: Upper,
) -> std::io::Result<()> {
    let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut view = View::new(colour, upper);
    let mut keys = EventStream::new();
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    loop {
        terminal.draw(|frame| draw::draw(frame, &mut view))?;
        let reply = tokio::select! {
            _ = ticks.tick() => {
                if !view.is_paused() {
                    view.take(read(client).await);
                }
                Reply::Continue
            }
            key = keys.next() => match key {
                Some(Ok(TerminalEvent::Key(key))) if key.is_press() => view.key(key),
                // Anything else, a new size above all, is drawn anew.
                Some(Ok(_)) => Reply::Continue,
                Some(Err(error)) => return Err(error),
                None => Reply::Quit,
            },
            _ = hangup.recv() => Reply::Quit,
            _ = terminate.recv() => Reply::Quit,
        };
        match reply {
            Reply::Continue => {}
            Reply::Quit => return Ok(()),
            Reply::Explain(query) => view.explained(explain(client, &query).await),
        }
    }
}

async fn patiently<T>(answer: impl Future<Output = Result<T, Problem>>) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => answer.map_err(|problem| problem.message),
        Err(_) => Err(String::from("the agent does not answer")),
    }
}

async fn read(client: &Client) -> Result<Reading, String> {
    let status = patiently(client.get::<Status>("/v1/status")).await?;
    let rules = patiently(client.get::<Rules>("/v1/rules")).await?;
    let processes = patiently(client.get::<Processes>("/v1/processes")).await?;
    let denials = patiently(denials(client)).await?;
    Ok(Reading { at: std::time::Instant::now(), status, rules, processes, denials })
}

/// The recent denials, newest first.
async fn denials(client: &Client) -> Result<Vec<Event>, Problem> {
    let mut lines = client.lines("/v1/events?recent=200").await?;
    let mut events = Vec::new();
    while let Some(line) = lines.next().await? {
        if let Line::Event(event) = line {
            events.push(*event);
        }
    }
    events.reverse();
    Ok(events)
}

async fn explain(client: &Client, query: &str) -> Result<Answer, String> {
    patiently(client.get::<Answer>(&format!("/v1/explain?{query}"))).await
}
