//! An update that makes the plant worse: what the operator sees of it, and what becomes of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::agent::Agent;
use crate::error::{Result, SiteError};
use crate::plant::{Plant, RTU};
use crate::role::client;

/// The line of the example's policy that lets operators ask the RTU, and what a hasty edit makes of it.
const GOOD: &str = "from: [{labels: {role: operator}}]\n      services: [{ports: modbus}]";
const BAD: &str = "from: [{labels: {role: archive}}]\n      services: [{ports: modbus}]";

/// How long the node may take to find out and go back.
const PATIENCE: Duration = Duration::from_secs(30);
/// Polls of one connection, and the time between two.
const POLLS: u16 = 10;
const PAUSE: Duration = Duration::from_millis(100);
/// Time between two lines of the story.
const LINE: Duration = Duration::from_secs(1);

/// Copies the example's policy, so that it can be edited.
pub fn copy(policy: &[PathBuf], to: &Path) -> Result<()> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| SiteError::File { path, source }
    };
    for from in policy {
        let files = if from.is_dir() {
            let entries = fs::read_dir(from).map_err(failed(from))?;
            entries.map(|entry| entry.map(|it| it.path())).collect::<std::io::Result<Vec<_>>>().map_err(failed(from))?
        } else {
            vec![from.clone()]
        };
        for file in files {
            let name = file.file_name().unwrap_or_default();
            fs::copy(&file, to.join(name)).map_err(failed(&file))?;
        }
    }
    Ok(())
}

/// What a reader polls, while the story goes on.
#[derive(Default)]
struct Polls {
    sent: AtomicU64,
    answered: AtomicU64,
    over: AtomicBool,
}

impl Polls {
    fn go_on(&self, plant: &Plant) -> Result<()> {
        while !self.over.load(Ordering::Relaxed) {
            let count = client::poll(&plant.hmi, RTU.v4(), POLLS, PAUSE, false)?;
            self.sent.fetch_add(count.sent, Ordering::Relaxed);
            self.answered.fetch_add(count.answered, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Polls of two seconds in which all were answered; of the last two when there are none.
    fn all_answered(&self) -> (u64, u64) {
        let end = Instant::now() + PATIENCE;
        loop {
            thread::sleep(2 * LINE);
            let (sent, answered) = self.take();
            if (sent == answered && answered > 0) || Instant::now() > end {
                return (sent, answered);
            }
        }
    }

    fn take(&self) -> (u64, u64) {
        (self.sent.swap(0, Ordering::Relaxed), self.answered.swap(0, Ordering::Relaxed))
    }
}

/// Plays it. True when the node went back by itself, and said why.
pub fn bad_update(plant: &Plant, agent: &mut Agent<'_>, policy: &Path) -> Result<bool> {
    let polls = Polls::default();
    thread::scope(|scope| {
        let reader = scope.spawn(|| polls.go_on(plant));
        let told = story(agent, policy, &polls);
        polls.over.store(true, Ordering::Relaxed);
        reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        told
    })
}

fn story(agent: &mut Agent<'_>, policy: &Path, polls: &Polls) -> Result<bool> {
    let start = Instant::now();
    let say = |what: &str| println!("{:5.1} s  {what}", start.elapsed().as_secs_f64());
    let number = |status: &Value| status["generation"]["number"].as_u64().unwrap_or(0);
    let before = number(&agent.status()?);
    say(&format!("generation {before} is in force; the HMI polls the RTU"));
    let (sent, answered) = polls.all_answered();
    say(&format!("{answered} of {sent} polls were answered"));
    let healthy = sent == answered && answered > 0;

    let path = policy.join("telecontrol.yaml");
    let failed = |source| SiteError::File { path: path.clone(), source };
    let text = fs::read_to_string(&path).map_err(failed)?;
    if !text.contains(GOOD) {
        return Err(SiteError::Content { path, what: format!("it does not say {GOOD:?}") });
    }
    let draft = policy.join(".telecontrol.yaml.new");
    fs::write(&draft, text.replace(GOOD, BAD)).and_then(|()| fs::rename(&draft, &path)).map_err(failed)?;
    say("somebody edits telecontrol.yaml, and gives the operators' rule to the archive");
    let status = agent.until("on trial", |status| status["generation"]["trial"].is_object())?;
    let trial = &status["generation"]["trial"];
    say(&format!(
        "generation {} is in force, on trial for {} s; {} would come back",
        trial["number"], trial["window_s"], trial["back_to"]
    ));
    polls.take();
    let end = Instant::now() + PATIENCE;
    loop {
        thread::sleep(LINE);
        let status = agent.status()?;
        let (sent, answered) = polls.take();
        say(&format!("generation {}: {answered} of {sent} polls were answered", number(&status)));
        if status["generation"]["trial"].is_null() {
            break;
        }
        if Instant::now() > end {
            say("and nobody noticed");
            return Ok(false);
        }
    }
    let status = agent.status()?;
    let why = status["warnings"]
        .as_array()
        .and_then(|all| all.iter().filter_map(Value::as_str).find(|warning| warning.contains("was rolled back")));
    let Some(why) = why else {
        say("the trial is over, and nothing was rolled back");
        return Ok(false);
    };
    say(why);
    // Whoever polls finds out at the next attempt to connect.
    polls.take();
    let (sent, answered) = polls.all_answered();
    let after = number(&agent.status()?);
    say(&format!("generation {after} is in force again: {answered} of {sent} polls were answered"));
    Ok(healthy && after == before && answered > 0 && sent == answered)
}
