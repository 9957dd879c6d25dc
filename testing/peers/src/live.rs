//! The generator: live frames into a wire, or a program run over a trace without one.

#![allow(unsafe_code)]

use aya::Ebpf;
use aya::maps::{Array, DevMap, MapData, ProgramArray};
use aya::programs::xdp::XdpLinkId;
use aya::programs::{ProgramFd, TestRun as _, TestRunAttrs, TestRunOptions, TestRunResult, Xdp};
use gabion_testing_site::host::Host;

use crate::header::{Header, template};
use crate::{Failure, object};

/// Frames at a time: what a receiver takes in one poll (NAPI's weight), and a quarter of what a veth holds.
const BATCH: u32 = 64;
/// Largest trace.
pub const TRACE_LIMIT: u32 = 1 << 17;

/// Sends a trace.
pub struct Generator {
    host: Host,
    object: Ebpf,
    trace: Array<MapData, [u8; 16]>,
    cursor: Array<MapData, [u32; 4]>,
    wires: DevMap<MapData>,
    programs: ProgramArray<MapData>,
    flows: u32,
}

impl Generator {
    /// A generator in a namespace of its own, without wires and without a trace.
    pub fn new() -> Result<Self, Failure> {
        let host = Host::new("generator")?;
        crate::stand::quiet(&host)?;
        let mut object = object::load(&[("TRACE", TRACE_LIMIT)])?;
        let trace = Array::try_from(object::map(&mut object, "TRACE")?)?;
        let cursor = Array::try_from(object::map(&mut object, "CURSOR")?)?;
        let wires = DevMap::try_from(object::map(&mut object, "WIRES")?)?;
        let programs = ProgramArray::try_from(object::map(&mut object, "PROGRAMS")?)?;
        object::program(&mut object, "peer_send")?;
        object::program(&mut object, "peer_run")?;
        Ok(Self { host, object, trace, cursor, wires, programs, flows: 1 })
    }

    /// Its namespace.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// One of the bare programs that came with the generator.
    pub fn program(&mut self, name: &str) -> Result<&mut Xdp, Failure> {
        object::program(&mut self.object, name)
    }

    /// Attaches one of the bare programs to a device of another namespace.
    pub fn attach(&mut self, name: &str, to: &Host, ifindex: u32) -> Result<XdpLinkId, Failure> {
        let program = object::program(&mut self.object, name)?;
        Ok(to.run(|| program.attach_to_if_index(ifindex, aya::programs::XdpMode::Driver))?)
    }

    /// Detaches it.
    pub fn detach(&mut self, name: &str, link: XdpLinkId) -> Result<(), Failure> {
        Ok(object::program(&mut self.object, name)?.detach(link)?)
    }

    /// Sends to this device when asked for `port`.
    pub fn wire(&mut self, port: u32, ifindex: u32) -> Result<(), Failure> {
        let Self { host, wires, .. } = self;
        Ok(host.run(|| wires.set(port, ifindex, None, 0))?)
    }

    /// Runs this program when asked for `port`.
    pub fn run_at(&mut self, port: u32, program: &ProgramFd) -> Result<(), Failure> {
        Ok(self.programs.set(port, program, 0)?)
    }

    /// Takes another trace; `pass` says of each packet what is to become of it. Their number must be a power of two.
    pub fn take(&mut self, trace: &[Header], pass: &[bool]) -> Result<(), Failure> {
        let flows = u32::try_from(trace.len())?;
        if !flows.is_power_of_two() || flows > TRACE_LIMIT || trace.len() != pass.len() {
            return Err(format!("a trace of {flows} packets; a power of two up to {TRACE_LIMIT} is wanted").into());
        }
        let records = trace.iter().zip(pass).map(|(header, &pass)| header.flow(pass).to_bytes());
        object::fill(&mut self.trace, records)?;
        self.flows = flows;
        Ok(())
    }

    /// Sends `packets` frames into the wire at `port`, from the trace's beginning; nanoseconds for each.
    ///
    /// The receiver's work is in it: the kernel polls the veth on this processor before it makes the next batch.
    pub fn send(&mut self, port: u32, packets: u32) -> Result<f64, Failure> {
        self.timed("peer_send", port, packets, TestRunAttrs::new().xdp_live_frames(BATCH))
    }

    /// Runs the program at `port` over `packets` packets without sending any; nanoseconds for each.
    pub fn run(&mut self, port: u32, packets: u32) -> Result<f64, Failure> {
        self.timed("peer_run", port, packets, TestRunAttrs::new())
    }

    fn timed(&mut self, name: &str, port: u32, packets: u32, attrs: TestRunAttrs) -> Result<f64, Failure> {
        self.cursor.set(0, [0, self.flows - 1, port, 0], 0)?;
        let program = object::program(&mut self.object, name)?;
        let frame = template();
        let options = TestRunOptions { data_in: Some(&frame), repeat: packets, attrs, ..TestRunOptions::new() };
        Ok(nanoseconds(&program.test_run(options)?))
    }
}

/// The kernel's own measure, in whole nanoseconds a packet. The time of the call would not do: before and after it, the
/// kernel waits for RCU while it makes a direct call for the program, which takes longer than all the packets.
fn nanoseconds(result: &TestRunResult) -> f64 {
    result.duration.as_nanos() as f64
}

/// Nanoseconds that a program takes for one packet that comes again and again.
pub fn hot(program: &Xdp, packet: &[u8], repeat: u32) -> Result<f64, Failure> {
    let options = TestRunOptions { data_in: Some(packet), repeat, ..TestRunOptions::new() };
    Ok(nanoseconds(&program.test_run(options)?))
}

/// Whether a program passes a packet.
pub fn passes(program: &Xdp, packet: &[u8]) -> Result<bool, Failure> {
    let options = TestRunOptions { data_in: Some(packet), ..TestRunOptions::new() };
    match program.test_run(options)?.return_value {
        1 => Ok(false),
        2 => Ok(true),
        other => Err(format!("a verdict of {other}, neither pass nor drop").into()),
    }
}

/// Runs something on a thread of its own on one processor, before anything that is not urgent too, where the kernel
/// allows that. Waiting for a processor that others want as well would take most of a benchmark.
pub fn alone<R: Send>(processor: usize, work: impl FnOnce() -> R + Send) -> Result<R, Failure> {
    let urgent = move || -> Result<R, Failure> {
        let mut set = nix::sched::CpuSet::new();
        set.set(processor)?;
        nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set)?;
        let urgent = libc::sched_param { sched_priority: 1 };
        // SAFETY: the parameter is a plain record that lives through the call. A refusal is no failure: the
        // spread grows, and the figures show it.
        unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const urgent) };
        Ok(work())
    };
    std::thread::scope(|scope| scope.spawn(urgent).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
}
