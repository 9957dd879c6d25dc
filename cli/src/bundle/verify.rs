//! `gabion bundle verify`: what a node would say, without one.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::SystemTime;

use gabion_agent::sealed;
use gabion_bundle::{Bundle, Digest, Kind, Name, Time, Use};
use gabion_policy_model::emergency;
use gabion_trust::{Accepted, Circumstances, Clock, ClockPolicy, Node, Refused, Trust, clock};
use serde::Serialize;

use super::{compiled, open, target};
use crate::command::VerifyArgs;
use crate::exit::{Exit, Failure};
use crate::file::Input;
use crate::online::failed;
use crate::output;
use crate::progress::Progress;
use crate::trust::{replace, short};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    accepted: bool,
    bundle: String,
    name: String,
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<String>,
    signed: Vec<String>,
    alarms: Vec<String>,
    golden_packets: usize,
}

pub fn run(arguments: &VerifyArgs) -> Result<Exit, Failure> {
    let progress = Progress::begin("reading the bundle");
    let bundle = open(&arguments.bundle)?;
    let trust = trust(arguments)?;
    let node = node(arguments)?;
    let clock = match arguments.now {
        Some(now) => Clock { now: now.moment(), trusted: true },
        None => Clock { now: SystemTime::now(), trusted: clock::synchronised().unwrap_or(false) },
    };
    let policy = clock_policy(&arguments.clock)?;
    // An agent trusts the programs that came with it. So would this one.
    let programs: BTreeSet<Digest> = Input::programs().ok().map(|it| Digest::of(&it.bytes)).into_iter().collect();
    let judged = trust.verify(&bundle, &Circumstances { clock, policy, node: &node, programs: &programs });
    let said = match &judged {
        Ok(accepted) => said(&bundle, Ok(accepted), meant(&bundle)?),
        Err(refused) => said(&bundle, Err(refused), Ok(0)),
    };
    if let (Ok(accepted), Some(state), true) = (&judged, &arguments.state, said.accepted) {
        let failed = |error| Failure::file(&state.display().to_string(), "write this file", &error);
        replace(state, &accepted.next.text()).map_err(failed)?;
    }
    drop(progress);
    output::show(arguments.output.output, &said, table)?;
    Ok(if said.accepted { Exit::Fine } else { Exit::No })
}

fn trust(arguments: &VerifyArgs) -> Result<Trust, Failure> {
    let wrong =
        |path: &Path, refused: &Refused| Failure::input(format!("{}: {}: {refused}", path.display(), refused.code()));
    if let Some(state) = arguments.state.as_ref().filter(|it| it.exists()) {
        return Trust::open(&Input::read(state)?.bytes).map_err(|refused| wrong(state, &refused));
    }
    let root = Input::read(&arguments.trust_root)?;
    Trust::begin(&root.bytes).map_err(|refused| wrong(&arguments.trust_root, &refused))
}

/// What to do when the clock is not to be trusted, by its flag.
pub fn clock_policy(text: &str) -> Result<ClockPolicy, Failure> {
    match text {
        "refuse" => Ok(ClockPolicy::Refuse),
        "accept" => Ok(ClockPolicy::AcceptWithAlarm),
        other => {
            let until = other.strip_prefix("until=").map(str::parse::<Time>);
            let wrong = |why: String| Failure::input(format!("--clock {other}: {why}"));
            match until {
                Some(until) => until.map(ClockPolicy::AcceptUntil).map_err(wrong),
                None => Err(wrong("write refuse, accept or until=2027-01-31T00:00:00Z".to_owned())),
            }
        }
    }
}

fn node(arguments: &VerifyArgs) -> Result<Node, Failure> {
    let here = Node { bundle: arguments.name.clone(), ..sealed::this_node().map_err(failed)? };
    let Some(text) = &arguments.target else { return Ok(here) };
    let target = target(text)?;
    match <[Name; 1]>::try_from(target.kernels) {
        Ok([kernel]) => Ok(Node { architecture: target.architecture, kernel, ..here }),
        Err(_) => Err(Failure::input(format!("--target {text}: a node has one kernel")).help("write x86_64/6.12")),
    }
}

/// What a node finds when it makes tables of the policy: the golden packets, or why it would not go on.
fn meant(bundle: &Bundle) -> Result<Result<usize, (String, String)>, Failure> {
    let set = compiled::policy(bundle)?;
    if bundle.manifest().kind == Kind::Emergency
        && let Some(first) = emergency::check(&set).first()
    {
        return Ok(Err((first.code.as_str().to_owned(), first.to_string())));
    }
    let tables = compiled::tables(&set)?;
    let wanted = bundle.manifest().tables;
    if tables != wanted {
        let reason = format!("the policy compiles to tables {tables}, and the manifest says {wanted}");
        return Ok(Err(("bundle-tables".to_owned(), reason)));
    }
    match compiled::golden(&compiled::texts(bundle, Use::Probes)?, &set) {
        Ok(golden) => Ok(Ok(golden)),
        Err(failure) if failure.exit == Exit::No => {
            let reason = "golden packets got another verdict than is expected of them".to_owned();
            Ok(Err(("bundle-golden".to_owned(), reason)))
        }
        Err(failure) => Err(failure),
    }
}

fn said(bundle: &Bundle, judged: Result<&Accepted, &Refused>, meant: Result<usize, (String, String)>) -> Said {
    let (golden_packets, wrong) = match meant {
        Ok(golden) => (golden, None),
        Err(wrong) => (0, Some(wrong)),
    };
    let refused = judged.err().map(|it| (it.code().to_owned(), it.to_string())).or(wrong);
    let accepted = judged.ok();
    let (code, reason) = refused.unzip();
    Said {
        accepted: code.is_none(),
        bundle: bundle.id().to_string(),
        name: bundle.manifest().name.to_string(),
        version: bundle.manifest().version,
        code,
        reason,
        role: accepted.map(|it| it.by.to_string()),
        signed: accepted.map_or_else(Vec::new, |it| it.signed.iter().map(|it| it.key.clone()).collect()),
        alarms: accepted.map_or_else(Vec::new, |it| it.alarms.iter().map(ToString::to_string).collect()),
        golden_packets,
    }
}

fn table(said: &Said) -> String {
    let what = format!("{} version {} ({})", said.name, said.version, said.bundle);
    if let (Some(code), Some(reason)) = (&said.code, &said.reason) {
        return format!("refused: {what}\n  {code}: {reason}\n");
    }
    let by: Vec<&str> = said.signed.iter().map(|key| short(key)).collect();
    let role = said.role.as_deref().unwrap_or_default();
    let mut text = format!("accepted: {what}\n  signed by {role}: {}\n", by.join(" "));
    text += &format!("  golden packets: {}\n", said.golden_packets);
    text.extend(said.alarms.iter().map(|alarm| format!("  ALARM: {alarm}\n")));
    text
}
