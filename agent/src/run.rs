//! What is wired to what: signals, files, links, events and requests to the one [`Agent`].
//!
//! One thread runs all of it; only reading and compiling a policy leaves it for a while, and is waited for.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gabion_bundle::Name;
use gabion_generation::gatekeeper_folder;
use gabion_store::{Opened, Store, StoreError};
use gabion_trust::ClockPolicy;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

use crate::api::routes::{ApplyRequest, Shared};
use crate::api::serve;
use crate::api::wire::Problem;
use crate::gatekeeper;
use crate::kernel::Kernel;
use crate::life::{Agent, How, Read, Source, Trigger, What, kernel_problem, problem, store_problem};
use crate::netlink::{Change, Monitor};
use crate::processes::Attached;
use crate::readiness::readable;
use crate::sealed::Seal;
use crate::watch::Watch;

/// Where an agent works.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Policy files and folders.
    pub policy: Vec<PathBuf>,
    /// For a node that takes bundles instead.
    pub sealed: Option<Sealed>,
    /// Folder of the bpffs that the agent owns.
    pub bpffs: PathBuf,
    /// Folder for what is remembered.
    pub state: PathBuf,
    /// Unix socket of the API.
    pub socket: PathBuf,
    /// Loopback address of the read-only API.
    pub listen: Option<SocketAddr>,
    /// Most bytes that a policy's tables may take.
    pub table_bytes: usize,
    /// Whether events say whose packets are.
    pub processes: bool,
}

/// Which bundles a node takes.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// Whom it trusts in the beginning.
    pub root: PathBuf,
    /// What to do about its clock.
    pub clock: ClockPolicy,
    /// Their name; that of the first one it takes when there is none.
    pub bundle: Option<Name>,
}

/// Opens the kernel side, given the bpffs folder.
pub type OpenKernel = fn(&Path) -> Result<Box<dyn Kernel>, Problem>;

/// Wishes for an apply that wait at most; more are turned away by waiting.
const APPLY_QUEUE: usize = 64;
/// Events that are taken before others have a turn.
const EVENT_BATCH: usize = 256;
/// Time between two looks at what is on trial.
const HEALTH_PERIOD: Duration = Duration::from_secs(1);
/// Time between two looks at the gate: whether it should be sealed, and who tried to pass it.
const GATE_PERIOD: Duration = Duration::from_millis(500);
/// Pause before the announcements of links are subscribed to again after that failed.
const MONITOR_PAUSE: Duration = Duration::from_secs(1);

/// Runs an agent until it is told to stop. What it put into force stays.
pub fn run(options: &RunOptions, open_kernel: OpenKernel) -> Result<(), Problem> {
    let begun = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        // The thread that compiled goes away soon, and its memory with it.
        .thread_keep_alive(Duration::from_millis(100))
        .build()
        .map_err(|error| system("runtime", &error))?;
    LocalSet::new().block_on(&runtime, work(options, open_kernel, begun))
}

fn system(code: &str, error: &dyn std::fmt::Display) -> Problem {
    problem(code, "system", error.to_string())
}

/// The store; on a node that takes its policy from files, one in memory when the disk refuses: such a node loses
/// nothing that it needs to enforce. A sealed one would lose the versions below which it must not go.
fn open_store(options: &RunOptions) -> Result<Opened, StoreError> {
    match Store::open(&options.state) {
        Err(refused @ StoreError::Io { .. }) if options.sealed.is_none() => {
            let warning = format!(
                "{refused}: what this agent decides is kept in memory alone, and forgotten when it stops; repair the disk, \
                 and restart it"
            );
            Ok(Opened { store: Store::in_memory()?, warning: Some(warning) })
        }
        other => other,
    }
}

async fn work(options: &RunOptions, open_kernel: OpenKernel, begun: Instant) -> Result<(), Problem> {
    let signals = |error: std::io::Error| system("signals", &error);
    let mut hangup = signal(SignalKind::hangup()).map_err(signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(signals)?;

    let opened = open_store(options).map_err(store_problem)?;
    if let Some(warning) = &opened.warning {
        tracing::error!("{warning}");
    }
    // All that can fail without touching the node comes first.
    let unix = serve::bind_unix(&options.socket)?;
    let tcp = match options.listen {
        Some(address) => Some(serve::bind_tcp(address).await?),
        None => None,
    };
    let source = Source {
        paths: options.policy.clone(),
        load: crate::load::load,
        table_bytes: options.table_bytes,
        known: Arc::default(),
        lists: Arc::default(),
    };
    // Watched before it is read: what changes in between is announced.
    let watch = Watch::open(&options.policy).map_err(|error| system("inotify", &error))?;
    let monitor = Monitor::open().map_err(|error| system("netlink", &error))?;
    let (links, addresses) = monitor.list().await.map_err(|error| system("netlink", &error))?;

    let kernel = open_kernel(&options.bpffs)?;
    // The folder is ours from here on, and nothing was loaded yet.
    let gate = gatekeeper_folder(&options.bpffs);
    let inherited = gatekeeper::take_over(&gate).map_err(|why| system("gatekeeper", &why))?;
    let mut agent =
        Agent::new(kernel, opened, source, options.listen.map(|address| address.port())).map_err(store_problem)?;
    if let Some(inherited) = inherited {
        agent.inherit_gate(inherited);
    }
    if let Some(Sealed { root, clock, bundle }) = &options.sealed {
        agent.seal(Seal::new(root, *clock, bundle.clone())?)?;
    }
    agent.relist(links, addresses);
    agent.start()?;
    let ready_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    tracing::info!(generation = agent.number(), ready_us, socket = %options.socket.display(), "enforcing");

    let events = agent.kernel.event_fd().map_err(kernel_problem)?;
    let (apply, wishes) = mpsc::channel(APPLY_QUEUE);
    let (stop, mut stopping) = mpsc::channel(1);
    let shared = Rc::new(Shared { agent: RefCell::new(agent), apply: apply.clone(), stop });
    let status = format!("generation {} in force", shared.agent.borrow().number());
    notify(&[sd_notify::NotifyState::Ready, sd_notify::NotifyState::Status(&status)]);

    if options.processes {
        // Beside the rest: what is enforced does not wait for it.
        tokio::task::spawn_local(follow_sockets(Rc::clone(&shared)));
    }
    let mut failed = None;
    tokio::select! {
        () = serve::serve(Rc::clone(&shared), unix, tcp) => {}
        () = follow_policy(&shared, wishes) => {}
        () = follow_links(&shared, monitor) => {}
        () = follow_health(&shared) => {}
        () = follow_gate(&shared, gate) => {}
        outcome = follow_files(watch, &apply) => failed = outcome.err(),
        outcome = follow_events(&shared, events) => failed = outcome.err(),
        _ = stopping.recv() => tracing::info!("detached; stopping"),
        () = async {
            loop {
                tokio::select! {
                    _ = hangup.recv() => wish(&apply, Trigger::Signal).await,
                    _ = terminate.recv() => return,
                    _ = interrupt.recv() => return,
                }
            }
        } => tracing::info!("stopping; what is in force stays in force"),
    }
    notify(&[sd_notify::NotifyState::Stopping]);
    shared.agent.borrow_mut().stop();
    failed.map_or(Ok(()), Err)
}

fn notify(state: &[sd_notify::NotifyState<'_>]) {
    // Without a service manager this does nothing; with one that does not listen, enforcement matters more.
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("the service manager does not listen: {error}");
    }
}

async fn wish(apply: &mpsc::Sender<ApplyRequest>, trigger: Trigger) {
    // The receiver lives as long as the agent does.
    let _ = apply.send(ApplyRequest { trigger, what: What::Files, how: How::default(), reply: None }).await;
}

/// One wish after the other; those that come in together get one answer.
pub(crate) async fn follow_policy(shared: &Shared, mut wishes: mpsc::Receiver<ApplyRequest>) {
    let mut waiting = None;
    loop {
        let first = match waiting.take() {
            Some(first) => first,
            None => match wishes.recv().await {
                Some(first) => first,
                None => return,
            },
        };
        let ApplyRequest { mut trigger, what, mut how, reply } = first;
        let mut replies: Vec<_> = reply.into_iter().collect();
        // What is not about the files is done by itself.
        while what == What::Files
            && let Ok(more) = wishes.try_recv()
        {
            if more.what != What::Files {
                waiting = Some(more);
                break;
            }
            replies.extend(more.reply);
            // What somebody asked for in so many words is what is done.
            if how == How::default() {
                how = more.how;
            }
            if more.trigger == Trigger::Room {
                trigger = Trigger::Room;
            }
        }
        let read = read(shared, &what, trigger, &mut how).await;
        let outcome = shared.agent.borrow_mut().apply(read, trigger, how);
        for reply in replies {
            // Whoever asked may be gone.
            let _ = reply.send(outcome.clone());
        }
    }
}

/// Reads and compiles what is meant, on another thread.
pub(crate) async fn read(shared: &Shared, what: &What, trigger: Trigger, how: &mut How) -> Result<Read, Problem> {
    let source = shared.agent.borrow().source.clone();
    let work: Box<dyn FnOnce() -> Result<Read, Problem> + Send> = match what {
        What::Files if trigger == Trigger::Room && shared.agent.borrow().seal.is_some() => {
            let (made_of, digest) = shared.agent.borrow_mut().in_force_again()?;
            how.origin = Some(String::from("the same again, with room for another interface"));
            Box::new(move || source.build_from(made_of, digest, Instant::now()).map(Box::new).map(Read::Built))
        }
        What::Files if shared.agent.borrow().seal.is_some() => {
            let message = "this node takes its policy from signed bundles: `gabion generation apply BUNDLE`";
            return Err(problem("sealed", "input", String::from(message)));
        }
        What::Files => {
            let digest = shared.agent.borrow().digest_in_force(trigger);
            Box::new(move || source.build(digest.as_deref()))
        }
        What::Committed(number) => {
            let (number, made_of) = shared.agent.borrow_mut().committed_before(*number)?;
            how.insisted = true;
            how.origin = Some(format!("a roll-back to generation {number}"));
            let digest = made_of.digest();
            Box::new(move || source.build_from(made_of, digest, Instant::now()).map(Box::new).map(Read::Built))
        }
        What::Bundle(path) => {
            let (seal, trust) = shared.agent.borrow_mut().judgement()?;
            let path = path.clone();
            Box::new(move || source.build_bundle(&path, &seal, &trust))
        }
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        let message = format!("reading the policy ended in a panic (please report it): {error}");
        Err(problem("defect", "ours", message))
    })
}

async fn follow_files(mut watch: Watch, apply: &mpsc::Sender<ApplyRequest>) -> Result<(), Problem> {
    loop {
        watch.changed().await.map_err(|error| system("inotify", &error))?;
        wish(apply, Trigger::File).await;
    }
}

/// Has events say whose packets are, from some moment on.
async fn follow_sockets(shared: Rc<Shared>) {
    let (tell, told) = oneshot::channel();
    // The receiver may be gone, with the agent. Not on the thread for policies, which must not wait.
    let thread = std::thread::Builder::new().name(String::from("sockets")).spawn(|| {
        let _ = tell.send(Attached::new());
    });
    if let Err(error) = thread {
        return tracing::warn!("events do not say whose packets are: {error}");
    }
    let Ok(outcome) = told.await else { return };
    match &outcome {
        Ok(_) => tracing::info!("events say whose packets are"),
        Err(failure) => tracing::warn!("events do not say whose packets are: {failure}"),
    }
    shared.agent.borrow_mut().processes.know(outcome);
}

/// Looks once a second whether what is on trial made the node worse, and tries the connections that must be taken.
async fn follow_health(shared: &Rc<Shared>) {
    let mut seconds = tokio::time::interval(HEALTH_PERIOD);
    seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        seconds.tick().await;
        shared.agent.borrow_mut().tick(Instant::now());
        shared.agent.borrow_mut().end_emergencies(Instant::now());
        let tries = shared.agent.borrow().connections_to_try();
        for (number, name, end) in tries {
            let shared = Rc::clone(shared);
            tokio::task::spawn_local(async move {
                let tried = tokio::time::timeout(HEALTH_PERIOD, tokio::net::TcpStream::connect(end)).await;
                if let Ok(Ok(_)) = tried {
                    shared.agent.borrow_mut().connection_taken(number, &name, Instant::now());
                }
            });
        }
    }
}

/// Seals the gate when that is wanted, and tells of attempts to pass it.
async fn follow_gate(shared: &Shared, folder: PathBuf) {
    let mut seconds = tokio::time::interval(GATE_PERIOD);
    seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        seconds.tick().await;
        let begin = shared.agent.borrow_mut().gate_wants_keeper(Instant::now());
        if begin {
            let (tell, told) = oneshot::channel();
            let folder = folder.clone();
            // The receiver may be gone, with the agent. Not on the thread for policies, which must not wait.
            let thread = std::thread::Builder::new().name(String::from("gatekeeper")).spawn(move || {
                let _ = tell.send(gatekeeper::attach(&folder));
            });
            let outcome = match thread {
                Ok(_) => told.await.unwrap_or_else(|_| Err(String::from("its thread panicked (please report it)"))),
                Err(error) => Err(error.to_string()),
            };
            shared.agent.borrow_mut().gate_stands(outcome);
        }
        shared.agent.borrow_mut().watch_gate(Instant::now());
    }
}

async fn follow_events(shared: &Shared, ring: Option<std::os::fd::OwnedFd>) -> Result<(), Problem> {
    let Some(ring) = ring else { return std::future::pending().await };
    let ring = readable(ring).map_err(|error| system("events", &error))?;
    loop {
        let mut ready = ring.readable().await.map_err(|error| system("events", &error))?;
        while shared.agent.borrow_mut().take_events(EVENT_BATCH) {
            tokio::task::yield_now().await;
        }
        ready.clear_ready();
    }
}

async fn follow_links(shared: &Shared, mut monitor: Monitor) {
    loop {
        if shared.agent.borrow_mut().take_wants_room() {
            wish(&shared.apply, Trigger::Room).await;
        }
        match monitor.next().await {
            Some(Change::Link(index, link)) => {
                let mut agent = shared.agent.borrow_mut();
                if agent.link_changed(index, link) {
                    agent.sync_interfaces();
                }
            }
            Some(Change::LinkGone(index)) => {
                let mut agent = shared.agent.borrow_mut();
                agent.link_gone(index);
                agent.sync_interfaces();
            }
            Some(Change::Address(index, address, present)) => {
                shared.agent.borrow_mut().address_changed(index, address, present);
            }
            Some(Change::Lost) => relist(shared, &monitor).await,
            None => {
                tracing::error!("the kernel's announcements of links broke off; subscribing again");
                match Monitor::open() {
                    Ok(fresh) => {
                        monitor = fresh;
                        relist(shared, &monitor).await;
                    }
                    Err(error) => {
                        tracing::error!("cannot subscribe to links: {error}");
                        tokio::time::sleep(MONITOR_PAUSE).await;
                    }
                }
            }
        }
    }
}

async fn relist(shared: &Shared, monitor: &Monitor) {
    match monitor.list().await {
        Ok((links, addresses)) => {
            let mut agent = shared.agent.borrow_mut();
            agent.relist(links, addresses);
            agent.sync_interfaces();
        }
        Err(error) => tracing::error!("cannot list the links: {error}"),
    }
}
