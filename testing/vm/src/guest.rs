//! One boot of one guest.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::cpio::Archive;
use crate::{Error, Kernel};

/// A guest boots in about 3 s under software emulation; the rest is for the command inside.
const LIMIT: Duration = Duration::from_secs(600);
/// Enough for a verifier that holds a million states, and for an initramfs with a few test binaries.
const MEMORY_MIB: &str = "2048";
/// The line with which `gabion-guest` says how the command ended.
const EXIT: &str = "gabion-guest: exit ";

/// How the command inside a guest ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What it printed, standard output and standard error together.
    pub stdout: String,
    /// Its exit code; a signal counts as 128 and its number.
    pub exit: i32,
    /// What the kernel printed.
    pub console: String,
}

/// Times a guest is started that dies before anything of ours has run.
const BOOTS: usize = 3;

/// Boots `kernel` with the files given (path in the guest, path on the host), runs `command` there as root and waits
/// for its end. Variables for the command stand before it, as `NAME=VALUE`. /proc, /sys, /dev, /tmp, bpffs, tracefs and
/// cgroup v2 are mounted. Every file is readable and executable.
pub fn run(kernel: &Kernel, files: &[(&str, &Path)], command: &[&str]) -> Result<Outcome, Error> {
    let init = crate::program("gabion-testing-vm", "gabion-guest")?;
    let initramfs = initramfs(kernel, &init, files, command)?;
    // Under software emulation a kernel now and then falls over while it starts. As long as nothing of ours has run,
    // that says nothing about us.
    for _ in 1..BOOTS {
        match boot(kernel, &initramfs) {
            Err(Error::Died(_, false)) => {}
            ended => return ended,
        }
    }
    boot(kernel, &initramfs)
}

fn boot(kernel: &Kernel, initramfs: &[u8]) -> Result<Outcome, Error> {
    let folder = crate::folder().join(format!("run-{}-{}", std::process::id(), unique()));
    std::fs::create_dir_all(&folder).map_err(Error::file(&folder))?;
    let folder = Folder(folder);
    let archive = folder.0.join("initramfs");
    let console = folder.0.join("console");
    let printed = folder.0.join("printed");
    std::fs::write(&archive, initramfs).map_err(Error::file(&archive))?;
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", MEMORY_MIB]);
    qemu.args(["-nodefaults", "-display", "none", "-no-reboot", "-kernel"]).arg(&kernel.image);
    qemu.arg("-initrd").arg(&archive);
    // A panic reboots at once, and -no-reboot makes QEMU end where the guest would reboot.
    qemu.args(["-append", "console=ttyS0 panic=-1 quiet loglevel=4 lsm=lockdown,bpf"]);
    qemu.arg("-serial").arg(file_device(&console)).arg("-serial").arg(file_device(&printed));
    qemu.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let child =
        qemu.spawn().map_err(|cause| Error::Program { program: "qemu-system-x86_64", detail: cause.to_string() })?;
    let ended = wait(Killed(child))?;
    let console = read(&console);
    if !ended {
        return Err(Error::TimedOut(LIMIT.as_secs(), tail(&console)));
    }
    let printed = read(&printed);
    let Some((stdout, exit)) = printed.rsplit_once(EXIT) else {
        return Err(Error::Died(tail(&format!("{console}\n{printed}")), !printed.is_empty()));
    };
    let exit = exit.trim().parse().map_err(|_| Error::Died(tail(&printed), true))?;
    Ok(Outcome { stdout: stdout.to_owned(), exit, console })
}

fn initramfs(kernel: &Kernel, init: &Path, files: &[(&str, &Path)], command: &[&str]) -> Result<Vec<u8>, Error> {
    let mut archive = Archive::default();
    for directory in ["proc", "sys", "dev", "tmp", "run"] {
        archive.directory(directory)?;
    }
    let content = |path: &Path| std::fs::read(path).map_err(Error::file(path));
    archive.file("init", &content(init)?)?;
    for (place, module) in kernel.modules.iter().enumerate() {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        archive.file(&format!("modules/{place:02}-{name}"), &content(module)?)?;
    }
    for (guest, host) in files {
        archive.file(guest, &content(host)?)?;
    }
    archive.file("command", command.join("\0").as_bytes())?;
    archive.finish()
}

fn unique() -> u32 {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

fn file_device(path: &Path) -> std::ffi::OsString {
    let mut device = std::ffi::OsString::from("file:");
    device.push(path);
    device
}

/// What a serial port carried. The line discipline of the guest ends lines with CR LF.
fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).replace('\r', "")
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// Waits for QEMU within the limit; false when it was still running.
fn wait(mut child: Killed) -> Result<bool, Error> {
    let failed = |detail: String| Error::Program { program: "qemu-system-x86_64", detail };
    let start = Instant::now();
    loop {
        if let Some(status) = child.0.try_wait().map_err(|cause| failed(cause.to_string()))? {
            let mut complaint = String::new();
            if let Some(mut stderr) = child.0.stderr.take() {
                let _ = std::io::Read::read_to_string(&mut stderr, &mut complaint);
            }
            return if status.success() { Ok(true) } else { Err(failed(format!("{status}: {}", complaint.trim()))) };
        }
        if start.elapsed() > LIMIT {
            return Ok(false);
        }
        // The standard library can wait for a child for ever or not at all; a boot takes seconds.
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A child that does not outlive its owner.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder that is removed with its owner.
struct Folder(std::path::PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
