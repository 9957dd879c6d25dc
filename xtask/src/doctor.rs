//! `./x doctor`: what is there, what is missing and how to get it, for a contributor and for a node.

use std::path::Path;
use std::process::ExitCode;

use aya::maps::MapType;
use aya::programs::ProgramType;

use crate::Outcome;
use crate::machine;

/// How much a thing matters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Without it Gabion does not run on this node.
    Node,
    /// Without it Gabion runs with less, as the detail says.
    Some,
    /// Without it some tests or commands of the checkout are skipped.
    Checkout,
}

/// What came of looking.
enum Found {
    /// It is there.
    There(String),
    /// It is not, and this is the remedy.
    Lacking(String),
    /// This user may not ask.
    Unknown(&'static str),
}

impl From<Result<String, String>> for Found {
    fn from(found: Result<String, String>) -> Self {
        found.map_or_else(Self::Lacking, Self::There)
    }
}

/// One answer: what was looked for, and what came of it.
struct Answer {
    need: Need,
    what: &'static str,
    found: Found,
}

/// Looks at everything, prints a line for each, and says no when the node cannot run Gabion.
pub fn run() -> Outcome {
    let (mut fit, mut told) = (true, true);
    println!("checkout");
    for answer in checkout() {
        print(&answer);
    }
    println!("\nnode");
    for answer in node() {
        print(&answer);
        fit &= answer.need != Need::Node || !matches!(answer.found, Found::Lacking(_));
        told &= !matches!(answer.found, Found::Unknown(_));
    }
    let verdict = match (fit, told) {
        (true, true) => "this node can run Gabion",
        (true, false) => "nothing seen speaks against Gabion on this node; for the rest: sudo ./x doctor",
        (false, _) => "this node cannot run Gabion as it is",
    };
    println!("\n{verdict}");
    Ok(if fit { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(answer: &Answer) {
    let (mark, detail) = match (&answer.found, answer.need) {
        (Found::There(detail), _) => ("ok", detail.as_str()),
        (Found::Lacking(detail), Need::Node) => ("MISSING", detail.as_str()),
        (Found::Lacking(detail), Need::Some) => ("without", detail.as_str()),
        (Found::Lacking(detail), Need::Checkout) => ("missing", detail.as_str()),
        (Found::Unknown(detail), _) => ("unknown", *detail),
    };
    println!("  {mark:<8} {:<18} {detail}", answer.what);
}

fn tool(what: &'static str, program: &str, remedy: &str) -> Answer {
    let found = machine::first_line(program, &["--version"]).ok_or_else(|| remedy.to_owned());
    Answer { need: Need::Checkout, what, found: found.into() }
}

fn cargo_command(what: &'static str, name: &str, remedy: &str) -> Answer {
    let found = if machine::has_cargo_command(name) { Ok("there".to_owned()) } else { Err(remedy.to_owned()) };
    Answer { need: Need::Checkout, what, found: found.into() }
}

fn checkout() -> Vec<Answer> {
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let kernel = machine::kernel_toolchain().map(|toolchain| toolchain.name().to_owned());
    vec![
        tool("rustc", &compiler, "rustup, or on Debian 12: apt-get install rustc-web cargo-web"),
        tool("linker", "cc", "apt-get install gcc libc6-dev"),
        Answer {
            need: Need::Checkout,
            what: "kernel programs",
            found: kernel.map_err(|missing| format!("{missing}; ./x test installs what it can")).into(),
        },
        tool("bpf-linker", "bpf-linker", "./x test installs it"),
        cargo_command("rustfmt", "fmt", "rustup component add rustfmt, or apt-get install rustfmt-web"),
        cargo_command("clippy", "clippy", "rustup component add clippy, or apt-get install rust-web-clippy"),
        cargo_command(
            "cargo-nextest",
            "nextest",
            "optional (cargo test is used): cargo install --locked cargo-nextest",
        ),
        cargo_command("cargo-deny", "deny", "for ./x lint: cargo install --locked cargo-deny"),
        cargo_command("cargo-fuzz", "fuzz", "for ./x fuzz: cargo install --locked cargo-fuzz, and rustup's nightly"),
        tool("QEMU", "qemu-system-x86_64", "for the vm tier: apt-get install qemu-system-x86"),
    ]
}

fn node() -> Vec<Answer> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    vec![
        kernel_version(release),
        capabilities(),
        file("BTF", "/sys/kernel/btf/vmlinux", Need::Some, "a kernel with CONFIG_DEBUG_INFO_BTF=y"),
        bpffs(),
        map("array map", MapType::Array),
        map("ring buffer", MapType::RingBuf),
        program("XDP", ProgramType::Xdp),
        program("traffic control", ProgramType::SchedClassifier),
        from("tcx", release, (6, 6), Need::Some, "egress goes through clsact: tcx came with 6.6"),
        file(
            "network namespaces",
            "/proc/self/ns/net",
            Need::Checkout,
            "a kernel with CONFIG_NET_NS=y (netns tier, ./x up)",
        ),
    ]
}

/// "6.1.0-56-cloud-amd64" is (6, 1).
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn kernel_version(release: &str) -> Answer {
    let found = match version(release) {
        Some(found) if found >= (6, 1) => Ok(release.to_owned()),
        _ => Err(format!("{release}: Gabion is tested on 6.1 and later")),
    };
    Answer { need: Need::Node, what: "kernel", found: found.into() }
}

fn from(what: &'static str, release: &str, first: (u32, u32), need: Need, lack: &str) -> Answer {
    let there = version(release).is_some_and(|found| found >= first);
    let found = if there { Ok(format!("kernels from {}.{} have it", first.0, first.1)) } else { Err(lack.to_owned()) };
    Answer { need, what, found: found.into() }
}

/// Asks the kernel by making such a map, and throwing it away.
fn map(what: &'static str, kind: MapType) -> Answer {
    let found = answered(aya::sys::is_map_supported(kind).map_err(|error| error.to_string()));
    Answer { need: Need::Node, what, found }
}

/// Asks the kernel by loading the smallest such program, and throwing it away.
fn program(what: &'static str, kind: ProgramType) -> Answer {
    let found = answered(aya::sys::is_program_supported(kind).map_err(|error| error.to_string()));
    Answer { need: Need::Node, what, found }
}

fn answered(supported: Result<bool, String>) -> Found {
    match supported {
        Ok(true) => Found::There("tried: the kernel takes it".to_owned()),
        Ok(false) => Found::Lacking("this kernel does not have it".to_owned()),
        Err(_) if !privileged() => Found::Unknown("the kernel does not answer this user"),
        Err(error) => Found::Lacking(format!("tried: {error}")),
    }
}

fn file(what: &'static str, path: &str, need: Need, remedy: &str) -> Answer {
    let found = if Path::new(path).exists() { Ok(path.to_owned()) } else { Err(format!("no {path}: {remedy}")) };
    Answer { need, what, found: found.into() }
}

/// CAP_NET_ADMIN (12) and CAP_BPF (39), or CAP_SYS_ADMIN (21), of linux/capability.h.
fn privileged() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let held = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let held = held.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    let has = |capability: u32| held & (1 << capability) != 0;
    has(12) && (has(39) || has(21))
}

fn capabilities() -> Answer {
    let found = if privileged() {
        Found::There("CAP_NET_ADMIN and CAP_BPF".to_owned())
    } else {
        Found::Unknown("this user may not load BPF; the agent needs CAP_NET_ADMIN and CAP_BPF")
    };
    Answer { need: Need::Node, what: "capabilities", found }
}

fn bpffs() -> Answer {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let place = mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (_, place, kind) = (words.next()?, words.next()?, words.next()?);
        (kind == "bpf").then(|| place.to_owned())
    });
    let found = place.ok_or_else(|| "not mounted; as root, mount -t bpf bpf /sys/fs/bpf".to_owned());
    Answer { need: Need::Some, what: "bpffs", found: found.into() }
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn releases_are_read_as_numbers() {
        assert_eq!(version("6.1.0-56-cloud-amd64"), Some((6, 1)));
        assert_eq!(version("6.12.117+deb12-cloud-amd64"), Some((6, 12)));
        assert_eq!(version("unknown"), None);
    }
}
