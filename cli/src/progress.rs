//! Says what takes so long, to somebody who waits at a terminal.

use std::borrow::Cow;
use std::io::{IsTerminal as _, Write as _, stderr};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long work may take before anything is said, and then from one word to the next.
const PATIENCE: Duration = Duration::from_millis(500);
const STEP: Duration = Duration::from_millis(200);

/// What is being done now.
static DOING: Mutex<Cow<'static, str>> = Mutex::new(Cow::Borrowed(""));

/// Says what is being done now, from anywhere.
pub fn doing(what: &'static str) {
    now_doing(Cow::Borrowed(what));
}

/// Likewise, in words that are made up on the way.
pub fn now_doing(what: Cow<'static, str>) {
    *DOING.lock().unwrap_or_else(PoisonError::into_inner) = what;
}

/// Whether somebody waits at a terminal.
pub fn is_seen() -> bool {
    stderr().is_terminal()
}

/// While it lives, one line on the terminal says what is being done and for how long; it is gone afterwards.
pub struct Progress {
    done: Option<Sender<()>>,
    teller: Option<JoinHandle<()>>,
}

impl Progress {
    /// Begins; says nothing when nobody sees it, or when it is over soon.
    pub fn begin(what: &'static str) -> Self {
        doing(what);
        if !is_seen() {
            return Self { done: None, teller: None };
        }
        let (done, over) = channel::<()>();
        let teller = std::thread::spawn(move || {
            let start = Instant::now();
            let mut wait = PATIENCE;
            let mut said = false;
            while over.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                let what = DOING.lock().unwrap_or_else(PoisonError::into_inner).clone();
                // Where stderr takes nothing there is nobody to tell.
                let _ = write!(stderr(), "\r\x1b[K{what} … {:.1} s", start.elapsed().as_secs_f64());
                (wait, said) = (STEP, true);
            }
            if said {
                let _ = write!(stderr(), "\r\x1b[K");
            }
        });
        Self { done: Some(done), teller: Some(teller) }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.done.take());
        if let Some(teller) = self.teller.take() {
            // Its line is gone before anything else is written.
            let _ = teller.join();
        }
    }
}
