//! The other side of the API, for `gabion status`, `top` and their like.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::wire::{Apply, Failure, Line, Problem, VERSION, VERSION_HEADER};
use crate::life::problem;

/// An answer that is larger than this is not the agent's.
const ANSWER_LIMIT: usize = 256 << 20;
/// So is an event.
const LINE_LIMIT: usize = 64 << 10;

/// Talks to one agent, one connection a question.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// Of the agent behind this socket.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Asks, and reads a whole answer.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Problem> {
        self.whole(Method::GET, path, Bytes::new()).await
    }

    /// Tells, and reads a whole answer.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: Vec<u8>) -> Result<T, Problem> {
        self.whole(Method::POST, path, Bytes::from(body)).await
    }

    /// Events, line by line.
    pub async fn lines(&self, path: &str) -> Result<LineReader, Problem> {
        let answer = self.ask(Method::GET, path, Bytes::new()).await?;
        if answer.status().is_success() {
            return Ok(LineReader { body: answer.into_body(), waiting: Vec::new() });
        }
        let bytes = collect(answer).await?;
        Err(failure(&bytes))
    }

    /// Has the policy read again. A policy that was refused is an answer, not an error.
    pub async fn apply(&self) -> Result<Apply, Problem> {
        self.change("/v1/apply").await
    }

    /// Has a change made. One that was refused is an answer, not an error.
    pub async fn change(&self, path: &str) -> Result<Apply, Problem> {
        let answer = self.ask(Method::POST, path, Bytes::new()).await?;
        let bytes = collect(answer).await?;
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| odd(&senseless(&error)))?;
        if value.get("trigger").is_none() {
            return Err(failure(&bytes));
        }
        serde_json::from_value(value).map_err(|error| odd(&senseless(&error)))
    }

    async fn whole<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> Result<T, Problem> {
        let answer = self.ask(method, path, body).await?;
        let success = answer.status().is_success();
        let bytes = collect(answer).await?;
        if !success {
            return Err(failure(&bytes));
        }
        serde_json::from_slice(&bytes).map_err(|error| odd(&senseless(&error)))
    }

    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>, Problem> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| {
            let hint = match error.kind() {
                std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => {
                    "no agent is running there (start one with `gabion run`, or say where with --socket)"
                }
                std::io::ErrorKind::PermissionDenied => "the agent's socket is for root alone",
                _ => "the agent cannot be reached",
            };
            problem("agent-unreachable", "system", format!("{}: {error}: {hint}", self.socket.display()))
        })?;
        let broken = |error: hyper::Error| odd(&format!("a broken answer: {error}"));
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Ends when the answer was read or its reader dropped.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(hyper::header::HOST, "localhost")
            .header(VERSION_HEADER, VERSION)
            .body(Full::new(body))
            .map_err(|error| problem("request", "input", format!("{path}: {error}")))?;
        let answer = sender.send_request(request).await.map_err(broken)?;
        let theirs = answer.headers().get(VERSION_HEADER).map(|it| String::from_utf8_lossy(it.as_bytes()).into_owned());
        match theirs {
            Some(theirs) if theirs == VERSION => Ok(answer),
            theirs => {
                let theirs = theirs.unwrap_or_else(|| String::from("none that it says"));
                let message = format!(
                    "{}: the agent speaks version {theirs} of the API, this gabion {VERSION}: use the gabion of the \
                     agent's version",
                    self.socket.display()
                );
                Err(problem("api-version", "input", message))
            }
        }
    }
}

async fn collect(answer: Response<Incoming>) -> Result<Bytes, Problem> {
    let limited = http_body_util::Limited::new(answer.into_body(), ANSWER_LIMIT);
    limited.collect().await.map(http_body_util::Collected::to_bytes).map_err(|error| odd(&error.to_string()))
}

fn senseless(error: &serde_json::Error) -> String {
    format!("an answer that makes no sense: {error}")
}

fn failure(bytes: &[u8]) -> Problem {
    match serde_json::from_slice::<Failure>(bytes) {
        Ok(failure) => failure.error,
        Err(_) => odd("an error without a reason"),
    }
}

fn odd(what: &str) -> Problem {
    problem("agent-answer", "system", format!("the agent gave {what}"))
}

/// Reads events.
#[derive(Debug)]
pub struct LineReader {
    body: Incoming,
    waiting: Vec<u8>,
}

impl LineReader {
    /// The next line; none at the end.
    pub async fn next(&mut self) -> Result<Option<Line>, Problem> {
        loop {
            if let Some(end) = self.waiting.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.waiting.drain(..=end).collect();
                let parsed = serde_json::from_slice(&line);
                return parsed.map(Some).map_err(|error| odd(&format!("a line that makes no sense: {error}")));
            }
            if self.waiting.len() > LINE_LIMIT {
                return Err(odd("a line without end"));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(odd(&format!("a broken stream: {error}"))),
                Some(Ok(frame)) => self.waiting.extend(frame.into_data().unwrap_or_default()),
            }
        }
    }
}
