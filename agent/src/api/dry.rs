//! `POST /v1/generations/diff`: what a bundle, or the files, would change.

use std::rc::Rc;

use hyper::StatusCode;

use super::routes::{Answer, Refusal, Shared, bundle_of, json, refuse};
use crate::life::{How, Trigger, What};
use crate::run::read;

/// Has it tried, on the way of a change, and thrown away.
pub(super) async fn run(shared: &Rc<Shared>, query: &str) -> Result<Answer, Refusal> {
    let what = match query {
        "files" => What::Files,
        query => {
            let (bundle, rest) = bundle_of(query)?;
            if !rest.is_empty() {
                let message = format!("{rest:?} is none of bundle, files");
                return Err(refuse(StatusCode::BAD_REQUEST, "query", message));
            }
            What::Bundle(bundle)
        }
    };
    let read = read(shared, &what, Trigger::Api, &mut How::default()).await;
    let dry = read.and_then(|read| shared.agent.borrow_mut().dry_run(read));
    let dry = dry.map_err(|problem| {
        let status = match problem.blame.as_str() {
            "input" => StatusCode::UNPROCESSABLE_ENTITY,
            "refused" => StatusCode::FORBIDDEN,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, problem)
    })?;
    Ok(json(StatusCode::OK, &dry))
}
