//! How far a change is, told to somebody who waits at a terminal.

use gabion_agent::api::client::Client;
use gabion_agent::api::wire::{Apply, Generations};
use std::time::Duration;

use super::{Connection, failed};
use crate::exit::Failure;
use crate::progress::{Progress, now_doing};

/// Pause between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(200);

/// Has a change made, and says how far it is meanwhile.
pub(super) fn told(connection: &Connection, path: &str) -> Result<Apply, Failure> {
    let _progress = Progress::begin("judged and compiled");
    connection.ask(|client| async move {
        let before = last_line(&client).await;
        tokio::select! {
            apply = client.change(path) => apply.map_err(failed),
            never = follow(&client, before) => match never {},
        }
    })
}

async fn known(client: &Client) -> Option<Generations> {
    client.get("/v1/generations").await.ok()
}

async fn last_line(client: &Client) -> u64 {
    known(client).await.and_then(|known| known.journal.last().map(|it| it.line)).unwrap_or(0)
}

/// Looks how far it is, for as long as it is polled. An agent that loads programs answers when it has done so.
async fn follow(client: &Client, before: u64) -> std::convert::Infallible {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(known) = known(client).await else { continue };
        let newest = known.journal.iter().filter(|it| it.line > before && it.generation > 0).map(|it| it.generation);
        if let Some(newest) = newest.max() {
            now_doing(of(&known, newest).into());
        }
    }
}

/// The steps that a generation took, in their order.
pub(super) fn of(known: &Generations, number: u32) -> String {
    let steps = known.journal.iter().filter(|it| it.generation == number);
    let steps = steps.filter(|it| it.from.is_some() || it.step == "built").map(|it| it.step.as_str());
    format!("generation {number}: {}", steps.collect::<Vec<_>>().join(" → "))
}

#[cfg(test)]
mod tests {
    use gabion_agent::api::wire::JournalLine;

    use super::*;

    #[test]
    fn steps_are_those_of_one_generation() {
        let line = |generation, from: Option<&str>, step: &str| JournalLine {
            generation,
            step: step.to_owned(),
            from: from.map(str::to_owned),
            ..JournalLine::default()
        };
        let journal = vec![
            line(6, Some("live"), "committed"),
            line(7, None, "built"),
            line(7, Some("built"), "verified"),
            line(7, None, "alarm"),
            line(7, Some("verified"), "staged"),
        ];
        let known = Generations { journal, ..Generations::default() };
        assert_eq!(of(&known, 7), "generation 7: built → verified → staged");
    }
}
