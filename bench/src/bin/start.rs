//! From `gabion run` to a plant in which nothing undeclared arrives, as its wires see it; and what the agent holds
//! in memory when it is idle. Needs root. `./x bench start [RUNS]`.

use std::net::UdpSocket;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gabion_bench::{Figure, load, report};
use gabion_testing_site::agent::{Agent, Workplace, binary};
use gabion_testing_site::plant::{DEVICES, Plant, RTU, SPARE};

type Failure = Box<dyn std::error::Error>;

/// A port of the RTU that the example's policy opens to nobody.
const FORBIDDEN: u16 = 9;
/// Pause between two forbidden packets of one sender: how finely the end is seen.
const STEP: Duration = Duration::from_micros(250);
/// A plant in which nothing forbidden arrived for so long is guarded.
const QUIET: Duration = Duration::from_millis(400);
/// Interfaces of the example site.
const INTERFACES: usize = 8;

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("start: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<(), Failure> {
    let runs = std::env::args().nth(1).map_or(Ok(7), |runs| runs.parse())?;
    let before = load();
    let binary = binary().ok_or("there is no gabion beside this program; cargo build --release -p gabion")?;
    let plant = Plant::build()?;
    let policy = [std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/substation")];
    let [mut quiet, mut arrivals, mut all, mut again, mut resident, mut anonymous] = [const { Vec::new() }; 6];
    for _ in 0..runs {
        let place = Workplace::new(&plant.gateway)?;
        let mut agent = Agent::start_on(&plant.gateway, &place, &binary, &policy)?;
        agent.enforcing(INTERFACES)?;
        quiet.push(ready_ms(&place.log()).ok_or("the agent's log does not say when it was ready")?);
        let answer = agent.ask(&["detach"])?;
        if !answer.status.success() {
            return Err(String::from_utf8_lossy(&answer.stderr).into_owned().into());
        }
        drop(agent);
        let place = Workplace::new(&plant.gateway)?;
        let start = Instant::now();
        let mut agent = Agent::start_on(&plant.gateway, &place, &binary, &policy)?;
        arrivals.push(last_arrival(&plant, start)?);
        agent.enforcing(INTERFACES)?;
        all.push(ready_ms(&place.log()).ok_or("the agent's log does not say when it was ready")?);
        agent.crash()?;
        let mut agent = Agent::start_on(&plant.gateway, &place, &binary, &policy)?;
        agent.enforcing(INTERFACES)?;
        again.push(ready_ms(&place.log()).ok_or("the agent's log does not say when it was ready")?);
        // Idle: the memory of compiling went back.
        std::thread::sleep(Duration::from_secs(1));
        let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid()))?;
        resident.push(mebibytes(&status, "VmRSS:"));
        anonymous.push(mebibytes(&status, "RssAnon:"));
        let answer = agent.ask(&["detach"])?;
        if !answer.status.success() {
            return Err(String::from_utf8_lossy(&answer.stderr).into_owned().into());
        }
    }
    let figures = [
        Figure::new("first start until all hooks stand, no traffic (ms)", quiet),
        Figure::new("first start until nothing forbidden arrives, under traffic (ms)", arrivals),
        Figure::new("first start until all hooks stand, under traffic (ms)", all),
        Figure::new("start after kill -9 until ready, guarded all along (ms)", again),
        Figure::new("idle resident memory (MiB)", resident),
        Figure::new("of it anonymous (MiB)", anonymous),
    ];
    report("start", before, &figures.into_iter().flatten().collect::<Vec<_>>())?;
    Ok(())
}

/// Everyone sends what nobody may receive; milliseconds until the last of it that arrived.
fn last_arrival(plant: &Plant, start: Instant) -> Result<f64, Failure> {
    let receiver = plant.rtu.run(|| UdpSocket::bind(("0.0.0.0", FORBIDDEN)))?;
    receiver.set_read_timeout(Some(QUIET))?;
    let done = AtomicBool::new(false);
    let senders: Vec<UdpSocket> = DEVICES
        .iter()
        .filter(|device| **device != RTU && **device != SPARE)
        .map(|device| {
            let socket = plant.host(device).run(|| UdpSocket::bind("0.0.0.0:0"))?;
            socket.connect((RTU.v4(), FORBIDDEN))?;
            Ok(socket)
        })
        .collect::<Result<_, std::io::Error>>()?;
    std::thread::scope(|scope| {
        for sender in &senders {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) && start.elapsed() < Duration::from_secs(5) {
                    // A refusal on the way comes back as an error; the next packet is sent all the same.
                    let _ = sender.send(b"forbidden");
                    std::thread::sleep(STEP);
                }
            });
        }
        let mut last = None;
        let mut packet = [0; 16];
        while receiver.recv(&mut packet).is_ok() {
            last = Some(start.elapsed());
        }
        done.store(true, Ordering::Relaxed);
        last.map(|last| last.as_secs_f64() * 1e3).ok_or_else(|| "nothing arrived even before the start".into())
    })
}

/// The last `ready_us=` of an agent's log, in milliseconds.
fn ready_ms(log: &str) -> Option<f64> {
    let (_, after) = log.rsplit_once("ready_us=")?;
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    digits.parse::<f64>().ok().map(|us| us / 1e3)
}

fn mebibytes(status: &str, field: &str) -> f64 {
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default() / 1024.0
}
