//! The gate with a keeper that only remembers what it was told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::{Arc, Mutex};

use gabion_abi::gate::attempt;

use super::attempts::{CALLERS, TELL_AGAIN, TELL_LIMIT, digest};
use super::*;

/// What a test looks at, and decides.
#[derive(Default)]
pub(crate) struct Hooks {
    pub(crate) allowed: BTreeSet<Digest>,
    pub(crate) calls: Vec<String>,
    pub(crate) refuse: Option<&'static str>,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) refused: u64,
}

#[derive(Clone, Default)]
pub(crate) struct FakeKeeper(pub(crate) Arc<Mutex<Hooks>>);

impl FakeKeeper {
    fn call(&self, what: &str) -> Result<(), String> {
        let mut hooks = self.0.lock().unwrap();
        hooks.calls.push(what.to_owned());
        if hooks.refuse == Some(what) { Err(format!("no {what}")) } else { Ok(()) }
    }
}

impl Keeper for FakeKeeper {
    fn digest(&self, program: &ProgramDigest) -> Digest {
        program.sha256
    }

    fn allow(&mut self, digest: &Digest) -> Result<(), String> {
        self.call("allow")?;
        self.0.lock().unwrap().allowed.insert(*digest);
        Ok(())
    }

    fn forbid(&mut self, digest: &Digest) -> Result<(), String> {
        self.call("forbid")?;
        assert!(self.0.lock().unwrap().allowed.remove(digest), "it was not allowed");
        Ok(())
    }

    fn seal(&mut self) -> Result<(), String> {
        self.call("seal")
    }

    fn pin(&mut self) -> Result<(), String> {
        self.call("pin")
    }

    fn attempts(&mut self) -> (u64, Vec<Attempt>) {
        let mut hooks = self.0.lock().unwrap();
        (hooks.refused, std::mem::take(&mut hooks.attempts))
    }

    fn open(self: Box<Self>) -> Result<(), String> {
        self.call("open")
    }
}

pub(crate) fn program(number: u8) -> ProgramDigest {
    ProgramDigest { name: format!("program {number}"), sha1: [number; 20], sha256: [number; 32] }
}

pub(crate) fn standing(keeper: &FakeKeeper) -> Standing {
    Standing { keeper: Box::new(keeper.clone()), own: vec![program(1), program(2)] }
}

fn attempt(pid: u32, reason: u32) -> Attempt {
    let mut comm = [0; 16];
    comm[..7].copy_from_slice(b"bpftool");
    Attempt { time_ns: u64::from(pid), cgroup: 7, pid, reason, comm, ..Attempt::default() }
}

#[test]
fn what_is_allowed_is_so_before_it_is_sealed_and_follows_what_is_in_use() {
    let (keeper, mut gate) = (FakeKeeper::default(), Gate::default());
    let now = Instant::now();
    assert!(gate.begin(now) && !gate.begin(now), "one at a time");
    let (three, four) = (program(3), program(4));
    gate.stands(Ok(standing(&keeper)), &BTreeSet::from([&three]), String::from("now")).unwrap();
    assert_eq!(keeper.0.lock().unwrap().calls, ["allow", "allow", "allow", "seal", "pin"]);
    gate.admit(std::slice::from_ref(&four)).unwrap();
    gate.admit(std::slice::from_ref(&four)).unwrap();
    assert_eq!(gate.programs(), 4);
    gate.only(&BTreeSet::from([&four])).unwrap();
    assert_eq!(keeper.0.lock().unwrap().allowed, BTreeSet::from([[1; 32], [2; 32], [4; 32]]));
    assert!(gate.open().unwrap() && !gate.open().unwrap());
    assert_eq!(keeper.0.lock().unwrap().calls.last().unwrap(), "open");
    assert!(!gate.is_sealed());
}

#[test]
fn what_fails_is_tried_again_later_and_a_pin_that_fails_leaves_it_sealed() {
    let (keeper, mut gate) = (FakeKeeper::default(), Gate::default());
    let now = Instant::now();
    assert!(gate.begin(now));
    keeper.0.lock().unwrap().refuse = Some("seal");
    let why = gate.stands(Ok(standing(&keeper)), &BTreeSet::new(), String::new()).unwrap_err();
    assert_eq!((why.as_str(), gate.problem.as_deref(), gate.is_sealed()), ("no seal", Some("no seal"), false));
    assert!(!gate.begin(now + RETRY / 2) && gate.begin(now + RETRY));
    keeper.0.lock().unwrap().refuse = Some("pin");
    gate.stands(Ok(standing(&keeper)), &BTreeSet::new(), String::new()).unwrap();
    assert!(gate.is_sealed());
    assert_eq!(gate.problem.as_deref(), Some("it opens when the agent ends: no pin"));
}

#[test]
fn somebody_who_goes_on_trying_is_told_of_once_a_minute() {
    let (mut attempts, start) = (Attempts::default(), Instant::now());
    let lines = attempts.take(&[attempt(9, attempt::WHO), attempt(9, attempt::WHO)], 2, start);
    assert_eq!(lines, ["process 9 (bpftool) in cgroup 7 wanted to load a program, and is not the agent, 2 times"]);
    let mut refused = 2;
    for second in 1..60 {
        refused += 1;
        let lines = attempts.take(&[attempt(9, attempt::WHO)], refused, start + Duration::from_secs(second));
        assert_eq!(lines, [""; 0]);
    }
    let lines = attempts.take(&[], refused, start + TELL_AGAIN);
    assert!(lines.len() == 1 && lines[0].ends_with(", 59 times"), "{lines:?}");
    // For another reason it is another story; the agent's own program is named by its digest.
    let other = Attempt { digest: [0xab; 32], ..attempt(9, attempt::WHAT) };
    let lines = attempts.take(&[other], refused + 1, start + TELL_AGAIN);
    assert!(lines[0].contains("not allowed, with the digest abab"), "{lines:?}");
    assert_eq!((attempts.total(), attempts.list().len()), (62, 2));
    attempts.begin_anew();
    attempts.take(&[attempt(9, attempt::WHO)], 1, start);
    assert_eq!(attempts.total(), 63, "of both gatekeepers");
}

#[test]
fn whoever_is_a_new_process_each_time_does_not_fill_the_journal() {
    let (mut attempts, start) = (Attempts::default(), Instant::now());
    let mut told = 0;
    for second in 0..60_u32 {
        let found: Vec<Attempt> = (0..100).map(|at| attempt(second * 100 + at, attempt::WHO)).collect();
        // The ring had no room for as many again.
        let refused = u64::from(second + 1) * 200;
        told += attempts.take(&found, refused, start + Duration::from_secs(second.into())).len();
    }
    assert_eq!(attempts.total(), 12_000, "all are counted");
    assert!(told <= TELL_LIMIT + 1, "{told}");
    assert_eq!(attempts.list().len(), CALLERS);
}

#[test]
fn a_digest_is_as_long_as_the_kernel_keeps_it() {
    let mut tag = [0; 32];
    tag[..8].fill(0x5a);
    assert_eq!(digest(&tag), "5a5a5a5a5a5a5a5a");
    assert_eq!(digest(&[1; 32]).len(), 64);
}

#[test]
fn an_earlier_gate_goes_when_the_new_one_is_sealed_or_cannot_be() {
    let inherited = |gate: &mut Gate, keeper: &FakeKeeper| {
        let keeper = keeper.clone();
        gate.inherit(Box::new(move || keeper.call("let go").map(|()| true)));
    };
    let (keeper, mut gate) = (FakeKeeper::default(), Gate::default());
    inherited(&mut gate, &keeper);
    gate.stands(Ok(standing(&keeper)), &BTreeSet::new(), String::new()).unwrap();
    assert_eq!(keeper.0.lock().unwrap().calls, ["allow", "allow", "seal", "pin", "let go"]);

    let (keeper, mut gate) = (FakeKeeper::default(), Gate::default());
    inherited(&mut gate, &keeper);
    gate.stands(Err(String::from("no")), &BTreeSet::new(), String::new()).unwrap_err();
    assert_eq!(keeper.0.lock().unwrap().calls, ["let go"]);

    // Programs that it cannot know, and nobody who wants it.
    let (keeper, mut gate) = (FakeKeeper::default(), Gate::default());
    inherited(&mut gate, &keeper);
    gate.admit(&[]).unwrap();
    gate.only(&BTreeSet::new()).unwrap();
    assert_eq!(keeper.0.lock().unwrap().calls, [""; 0]);
    gate.admit(&[program(3)]).unwrap();
    inherited(&mut gate, &keeper);
    assert!(gate.open().unwrap());
    assert_eq!(keeper.0.lock().unwrap().calls, ["let go", "let go"]);
}
