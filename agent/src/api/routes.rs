//! Who answers what.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use gabion_abi::boundary::{GATEKEEPER, OBJECT, OWNERS, STATE};
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, oneshot};

use super::wire::{self, Apply, Event, Failure, Line, ModeRequest, Problem};
use super::{dry, metrics};
use crate::events::Told;
use crate::explain;
use crate::interfaces::name_matches;
use crate::life::{Agent, How, Trigger, What, problem};
use crate::record;

/// Bytes of a request's body; the largest that makes sense is a mode.
const BODY_LIMIT: usize = 4 << 10;
/// Bytes of a query string.
const QUERY_LIMIT: usize = 4 << 10;
/// Followers at once.
const FOLLOWER_LIMIT: usize = 16;
/// Followers beyond which none comes in over TCP: the others' places are for the node's owner.
const TCP_FOLLOWER_LIMIT: usize = 8;
/// Lines on their way to one follower, beside its place in the hub's queue.
const LINES_IN_FLIGHT: usize = 32;
/// A follower that takes nothing for so long is cut off.
const STALLED: Duration = Duration::from_secs(60);

/// Time for the answer to leave before the agent ends.
const ANSWER_GRACE: Duration = Duration::from_millis(50);

/// A wish that the policy be read again.
#[derive(Debug)]
pub struct ApplyRequest {
    /// Who wishes.
    pub trigger: Trigger,
    /// Which policy is meant.
    pub what: What,
    /// How it is wanted.
    pub how: How,
    /// Where the outcome goes.
    pub reply: Option<oneshot::Sender<Apply>>,
}

/// What all connections share.
#[derive(Debug)]
pub struct Shared {
    /// The agent.
    pub agent: RefCell<Agent>,
    /// Where wishes go.
    pub apply: mpsc::Sender<ApplyRequest>,
    /// Ends the agent.
    pub stop: mpsc::Sender<()>,
}

/// What a socket may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everything: the Unix socket.
    Full,
    /// Questions only, and only from programs on this machine: TCP.
    ReadOnly,
}

/// An answer: whole, or line by line.
pub type Answer = Response<Either<Full<Bytes>, Lines>>;

/// Lines of a follower.
#[derive(Debug)]
pub struct Lines(mpsc::Receiver<Bytes>);

impl Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}

/// Answers one request. `streaming` is set when the answer has no end.
pub async fn answer(
    shared: Rc<Shared>,
    access: Access,
    streaming: Rc<Cell<bool>>,
    request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    let outcome = match check(access, &request) {
        Ok(()) => route(&shared, access, &streaming, request).await,
        Err(refusal) => Err(refusal),
    };
    let mut answer = outcome.unwrap_or_else(|(status, error)| json(status, &Failure { error }));
    answer.headers_mut().insert(wire::VERSION_HEADER, HeaderValue::from_static(wire::VERSION));
    Ok(answer)
}

pub(super) type Refusal = (StatusCode, Problem);

pub(super) fn refuse(status: StatusCode, code: &str, message: impl Into<String>) -> Refusal {
    (status, problem(code, "input", message.into()))
}

fn contracts() -> wire::Contracts {
    let text = |set| gabion_contracts::text(set);
    wire::Contracts { object: text(&OBJECT), state: text(&STATE), owners: text(&OWNERS), gatekeeper: text(&GATEKEEPER) }
}

fn check(access: Access, request: &Request<Incoming>) -> Result<(), Refusal> {
    // Whoever does not say it is taken at their word that they know.
    if let Some(theirs) = request.headers().get(wire::VERSION_HEADER)
        && theirs.as_bytes() != wire::VERSION.as_bytes()
    {
        let theirs = String::from_utf8_lossy(theirs.as_bytes()).into_owned();
        let message = format!(
            "this agent speaks version {} of the API, the client {theirs}: use the gabion of the agent's version",
            wire::VERSION
        );
        return Err(refuse(StatusCode::BAD_REQUEST, "api-version", message));
    }
    if request.uri().query().is_some_and(|query| query.len() > QUERY_LIMIT) {
        let message = format!("the query has more than {QUERY_LIMIT} bytes");
        return Err(refuse(StatusCode::URI_TOO_LONG, "query-too-long", message));
    }
    if access == Access::Full {
        return Ok(());
    }
    if request.method() != Method::GET {
        let message = "TCP is read-only; use the agent's Unix socket to change something";
        return Err(refuse(StatusCode::FORBIDDEN, "read-only", message));
    }
    // A web page that resolves its own name to this machine still sends its own name.
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
    if is_loopback_name(host) {
        Ok(())
    } else {
        Err(refuse(StatusCode::FORBIDDEN, "foreign-host", "ask for localhost, 127.0.0.1 or [::1]"))
    }
}

fn is_loopback_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => host.split(':').next().unwrap_or(""),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok_and(|it| it.is_loopback())
}

async fn route(
    shared: &Rc<Shared>,
    access: Access,
    streaming: &Cell<bool>,
    request: Request<Incoming>,
) -> Result<Answer, Refusal> {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or("").to_owned();
    match (request.method(), path.as_str()) {
        (&Method::GET, "/v1/status") => Ok(json(StatusCode::OK, &shared.agent.borrow().status())),
        (&Method::GET, "/v1/rules") => Ok(json(StatusCode::OK, &shared.agent.borrow().rules())),
        (&Method::GET, "/v1/totals") => Ok(json(StatusCode::OK, &shared.agent.borrow().totals())),
        (&Method::GET, "/v1/interfaces") => Ok(json(StatusCode::OK, &shared.agent.borrow().interfaces())),
        (&Method::GET, "/v1/processes") => Ok(json(StatusCode::OK, &shared.agent.borrow().processes())),
        (&Method::GET, "/v1/contracts") => Ok(json(StatusCode::OK, &contracts())),
        (&Method::GET, "/v1/explain") => explained(shared, &query),
        (&Method::GET, "/v1/events") => events(shared, access, streaming, &query),
        (&Method::GET, "/metrics") => {
            let agent = shared.agent.borrow();
            let text = metrics::render(&agent.status(), &agent.rules());
            Ok(whole(StatusCode::OK, metrics::CONTENT_TYPE, text.into_bytes()))
        }
        (&Method::GET, "/v1/generations") => generations(shared),
        (&Method::GET, "/v1/generations/diff") => {
            let compared = shared.agent.borrow().comparison.clone().unwrap_or_default();
            Ok(json(StatusCode::OK, &compared))
        }
        (&Method::POST, "/v1/generations/diff") => dry::run(shared, &query).await,
        (&Method::POST, "/v1/apply") => apply(shared, What::Files, how(&query)?).await,
        (&Method::POST, "/v1/generations/apply") => {
            let (bundle, rest) = bundle_of(&query)?;
            apply(shared, What::Bundle(bundle), how(&rest)?).await
        }
        (&Method::POST, "/v1/generations/rollback") => roll_back(shared, &query).await,
        (&Method::POST, "/v1/generations/commit") => change_life(shared, Agent::commit_now),
        (&Method::POST, "/v1/generations/unpin") => change_life(shared, |agent| agent.pin(None)),
        (&Method::POST, "/v1/generations/pin") => {
            let why = reason_of(&query)?;
            change_life(shared, |agent| agent.pin(Some(why)))
        }
        (&Method::POST, "/v1/mode") => mode(shared, request).await,
        (&Method::POST, "/v1/detach") => detach(shared),
        (
            _,
            "/v1/apply"
            | "/v1/mode"
            | "/v1/detach"
            | "/v1/generations/rollback"
            | "/v1/generations/commit"
            | "/v1/generations/pin"
            | "/v1/generations/unpin"
            | "/v1/generations/apply",
        ) => Err(refuse(StatusCode::METHOD_NOT_ALLOWED, "method", format!("{path} wants POST"))),
        (
            _,
            "/v1/status" | "/v1/rules" | "/v1/totals" | "/v1/interfaces" | "/v1/processes" | "/v1/contracts"
            | "/v1/generations" | "/v1/explain" | "/v1/events" | "/metrics",
        ) => Err(refuse(StatusCode::METHOD_NOT_ALLOWED, "method", format!("{path} wants GET"))),
        (_, "/v1/generations/diff") => {
            let message = "/v1/generations/diff wants GET (the last change), or POST (one that is not made)";
            Err(refuse(StatusCode::METHOD_NOT_ALLOWED, "method", message))
        }
        _ => Err(refuse(StatusCode::NOT_FOUND, "no-such-path", "nothing is here; see docs/api.md for what is")),
    }
}

/// Which bundle is meant, and the rest of the query.
pub(super) fn bundle_of(query: &str) -> Result<(PathBuf, String), Refusal> {
    let (ours, rest): (Vec<&str>, Vec<&str>) = query.split('&').partition(|part| part.starts_with("bundle="));
    match parameters(&ours.join("&")).as_slice() {
        [(_, path)] if path.starts_with('/') => Ok((PathBuf::from(path), rest.join("&"))),
        _ => Err(refuse(StatusCode::BAD_REQUEST, "query", "bundle is one absolute path on the node")),
    }
}

/// How a change is wanted, from a query.
fn how(query: &str) -> Result<How, Refusal> {
    let mut how = How::default();
    for (name, value) in parameters(query) {
        match name.as_str() {
            "again" => how.insisted = is_true(&value),
            "only" => drop(how.only.insert(value)),
            "window" => {
                let wrong = || refuse(StatusCode::BAD_REQUEST, "query", "window is a number of seconds, up to 86400");
                let seconds = value.parse::<u64>().ok().filter(|seconds| *seconds <= 86_400).ok_or_else(wrong)?;
                how.window = Some(Duration::from_secs(seconds));
            }
            other => {
                let message = format!("{other:?} is none of again, only, window");
                return Err(refuse(StatusCode::BAD_REQUEST, "query", message));
            }
        }
    }
    Ok(how)
}

async fn apply(shared: &Shared, what: What, how: How) -> Result<Answer, Refusal> {
    let (reply, outcome) = oneshot::channel();
    let stopping = || {
        let problem = problem("stopping", "system", String::from("the agent is stopping"));
        (StatusCode::SERVICE_UNAVAILABLE, problem)
    };
    let request = ApplyRequest { trigger: Trigger::Api, what, how, reply: Some(reply) };
    shared.apply.send(request).await.map_err(|_| stopping())?;
    let apply = outcome.await.map_err(|_| stopping())?;
    let status = match apply.error.as_ref().map(|error| error.blame.as_str()) {
        None => StatusCode::OK,
        Some("input") => StatusCode::UNPROCESSABLE_ENTITY,
        Some("refused") => StatusCode::FORBIDDEN,
        Some(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Ok(json(status, &apply))
}

/// Lines of the journal that are shown.
const JOURNAL_SHOWN: usize = 200;

fn generations(shared: &Shared) -> Result<Answer, Refusal> {
    let generations = shared.agent.borrow_mut().generations(JOURNAL_SHOWN);
    let generations = generations.map_err(|problem| (StatusCode::INTERNAL_SERVER_ERROR, problem))?;
    Ok(json(StatusCode::OK, &generations))
}

fn change_life(shared: &Shared, change: impl FnOnce(&mut Agent) -> Result<(), Problem>) -> Result<Answer, Refusal> {
    let outcome = change(&mut shared.agent.borrow_mut());
    outcome.map_err(|problem| {
        let status = if problem.blame == "input" { StatusCode::CONFLICT } else { StatusCode::INTERNAL_SERVER_ERROR };
        (status, problem)
    })?;
    generations(shared)
}

/// What an operator says why.
fn reason_of(query: &str) -> Result<String, Refusal> {
    let mut reason = String::from("an operator wanted it");
    for (name, value) in parameters(query) {
        match name.as_str() {
            "reason" => reason = value,
            "to" => {}
            other => {
                let message = format!("{other:?} is none of reason, to");
                return Err(refuse(StatusCode::BAD_REQUEST, "query", message));
            }
        }
    }
    Ok(reason)
}

/// Undoes what is on trial, at once; without a trial, or to a number, makes what was committed before anew.
async fn roll_back(shared: &Shared, query: &str) -> Result<Answer, Refusal> {
    let why = reason_of(query)?;
    let to = parameters(query).into_iter().find(|(name, _)| name == "to").map(|(_, value)| value);
    let wrong = |_| refuse(StatusCode::BAD_REQUEST, "query", "to is the number of a generation");
    let to = to.map(|to| to.parse::<u32>().map_err(wrong)).transpose()?;
    let refused = |problem: Problem| (StatusCode::CONFLICT, problem);
    let on_trial = shared.agent.borrow().life().live.is_some();
    let committed = shared.agent.borrow().life().committed.all;
    let undoes = (on_trial && to.is_none()) || (to.is_some() && to == committed);
    if !undoes {
        // It must be there, and somebody must be allowed to, before what is in force is given up.
        let known = shared.agent.borrow_mut().committed_before(to);
        known.map_err(refused)?;
    }
    let mut took = Duration::ZERO;
    if on_trial {
        let outcome = shared.agent.borrow_mut().roll_back(why.clone());
        took = outcome.map_err(refused)?;
    }
    if undoes {
        let agent = shared.agent.borrow();
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let (generation, trigger) = (agent.number(), "api".to_owned());
        let apply = Apply { ok: true, generation, trigger, took_us, ..Apply::default() };
        return Ok(json(StatusCode::OK, &apply));
    }
    let outcome = shared.agent.borrow_mut().condemn(why);
    outcome.map_err(refused)?;
    apply(shared, What::Committed(to), How::default()).await
}

fn detach(shared: &Rc<Shared>) -> Result<Answer, Refusal> {
    let mut agent = shared.agent.borrow_mut();
    agent.detach_everything().map_err(|problem| (StatusCode::INTERNAL_SERVER_ERROR, problem))?;
    let stop = shared.stop.clone();
    // After the answer is out; a second wish to stop changes nothing.
    tokio::task::spawn_local(async move {
        tokio::time::sleep(ANSWER_GRACE).await;
        let _ = stop.try_send(());
    });
    Ok(json(StatusCode::OK, &serde_json::json!({ "detached": true })))
}

async fn mode(shared: &Shared, request: Request<Incoming>) -> Result<Answer, Refusal> {
    let body = Limited::new(request.into_body(), BODY_LIMIT).collect().await.map_err(|error| {
        refuse(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body",
            format!("cannot read the body (at most {BODY_LIMIT} bytes): {error}"),
        )
    })?;
    let wish: ModeRequest = serde_json::from_slice(&body.to_bytes())
        .map_err(|error| refuse(StatusCode::BAD_REQUEST, "body", format!("not a mode request: {error}")))?;
    let choice = match wish.mode.as_str() {
        "enforce" => Some(false),
        "audit" => Some(true),
        "policy" => None,
        _ => return Err(refuse(StatusCode::BAD_REQUEST, "mode", "mode is one of enforce, audit, policy")),
    };
    let mut agent = shared.agent.borrow_mut();
    agent.set_mode(choice).map_err(|problem| (StatusCode::INTERNAL_SERVER_ERROR, problem))?;
    Ok(json(StatusCode::OK, &agent.status().mode))
}

fn explained(shared: &Shared, query: &str) -> Result<Answer, Refusal> {
    let set = shared.agent.borrow().current().and_then(|current| current.set.clone());
    let Some(set) = set else {
        let message = "the generation in force was adopted from an earlier agent, and its policy text is not known \
                       here; `gabion explain --policy PATH` answers from files";
        return Err(refuse(StatusCode::CONFLICT, "no-policy-text", message));
    };
    let answer = explain::answer(&set, &parameters(query)).map_err(|problem| (StatusCode::BAD_REQUEST, problem))?;
    Ok(json(StatusCode::OK, &answer))
}

/// Which events a reader wants.
#[derive(Clone, Debug, Default)]
struct Filter {
    denied: bool,
    rule: Option<String>,
}

impl Filter {
    /// What is no verdict has no rule, and is no denial.
    fn wants_all(&self) -> bool {
        !self.denied && self.rule.is_none()
    }

    fn wants(&self, event: &Event) -> bool {
        (!self.denied || event.is_denial()) && self.rule.as_ref().is_none_or(|rule| name_matches(rule, &event.rule))
    }
}

fn events(shared: &Rc<Shared>, access: Access, streaming: &Cell<bool>, query: &str) -> Result<Answer, Refusal> {
    let (mut filter, mut follow, mut recent) = (Filter::default(), false, None);
    for (name, value) in parameters(query) {
        match name.as_str() {
            "denied" => filter.denied = is_true(&value),
            "follow" => follow = is_true(&value),
            "rule" => filter.rule = Some(value),
            "recent" => {
                let wrong = |_| refuse(StatusCode::BAD_REQUEST, "query", "recent is a number of events");
                recent = Some(value.parse::<usize>().map_err(wrong)?);
            }
            other => {
                let message = format!("{other:?} is none of follow, denied, rule, recent");
                return Err(refuse(StatusCode::BAD_REQUEST, "query", message));
            }
        }
    }
    let agent = shared.agent.borrow();
    // Without following, the recent denials are all there is to say.
    let recent = recent.unwrap_or(if follow { 0 } else { usize::MAX });
    let mut matching: Vec<_> =
        agent.hub.recent().rev().filter(|event| filter.wants(event)).take(recent).cloned().collect();
    matching.reverse();
    let mut first = Vec::new();
    for event in &matching {
        first.extend_from_slice(&line(&Line::Event(Box::new(Event::clone(event)))));
    }
    if !follow {
        return Ok(whole(StatusCode::OK, "application/x-ndjson", first));
    }
    let limit = match access {
        Access::Full => FOLLOWER_LIMIT,
        Access::ReadOnly => TCP_FOLLOWER_LIMIT,
    };
    if agent.hub.followers() >= limit {
        let message = format!("{limit} followers are here already; that is the limit");
        return Err(refuse(StatusCode::TOO_MANY_REQUESTS, "followers", message));
    }
    let source = agent.hub.follow();
    let (sender, receiver) = mpsc::channel(LINES_IN_FLIGHT);
    streaming.set(true);
    tokio::task::spawn_local(feed(Rc::clone(shared), source, sender, filter, Bytes::from(first)));
    let mut answer = Response::new(Either::Right(Lines(receiver)));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    Ok(answer)
}

/// Hands events to one follower until it goes away or takes nothing for too long.
async fn feed(
    shared: Rc<Shared>,
    mut source: tokio::sync::broadcast::Receiver<Told>,
    sender: mpsc::Sender<Bytes>,
    filter: Filter,
    first: Bytes,
) {
    let mut next = (!first.is_empty()).then_some(first);
    loop {
        if let Some(line) = next.take()
            && !matches!(tokio::time::timeout(STALLED, sender.send(line)).await, Ok(Ok(())))
        {
            return;
        }
        let received = tokio::select! {
            received = source.recv() => received,
            () = sender.closed() => return,
        };
        next = match received {
            Ok(Told::Verdict(event)) if filter.wants(&event) => {
                Some(line(&Line::Event(Box::new(Event::clone(&event)))))
            }
            Ok(Told::Journal(it)) if filter.wants_all() => {
                Some(line(&Line::Journal(Box::new(record::Line::clone(&it)))))
            }
            Ok(_) => None,
            Err(RecvError::Lagged(count)) => {
                shared.agent.borrow_mut().hub.lost_to_followers += count;
                Some(line(&Line::Lost { count }))
            }
            Err(RecvError::Closed) => return,
        };
    }
}

fn line(line: &Line) -> Bytes {
    let mut text = serialized(line);
    text.push(b'\n');
    Bytes::from(text)
}

fn is_true(value: &str) -> bool {
    matches!(value, "" | "1" | "true" | "yes")
}

/// Names and values of a query string, decoded.
fn parameters(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(n, v)| (decoded(n), decoded(v))).collect()
}

/// Undoes `%41` and `+`; what is no escape stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escape = match (first, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        match escape {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(if *first == b'+' { b' ' } else { *first });
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    // A hexadecimal digit is below 16.
    char::from(digit).to_digit(16).map(|value| value as u8)
}

fn serialized<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_else(|error| {
        // No type of `wire` can fail to serialise: no maps with odd keys, no fallible implementations.
        tracing::error!("an answer cannot be written as JSON: {error}");
        b"null".to_vec()
    })
}

pub(super) fn json<T: Serialize>(status: StatusCode, value: &T) -> Answer {
    let mut body = serialized(value);
    body.push(b'\n');
    whole(status, "application/json", body)
}

fn whole(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Answer {
    let mut answer = Response::new(Either::Left(Full::new(Bytes::from(body))));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn query_strings_are_decoded_and_odd_ones_do_no_harm() {
        assert_eq!(
            parameters("a=1&rule=x%2Fy+z&flag&=&%zz=%4"),
            [("a", "1"), ("rule", "x/y z"), ("flag", ""), ("", ""), ("%zz", "%4")].map(|(n, v)| (n.into(), v.into()))
        );
    }

    #[test]
    fn only_names_of_this_machine_are_hosts() {
        for host in ["localhost:9464", "127.0.0.1", "127.9.9.9:1", "[::1]:80", "LOCALHOST"] {
            assert!(is_loopback_name(host), "{host}");
        }
        for host in ["", "evil.example", "localhost.evil.example:80", "10.0.0.1", "[::2]"] {
            assert!(!is_loopback_name(host), "{host}");
        }
    }
}
