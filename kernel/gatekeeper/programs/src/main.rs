//! Refuses to load BPF programs for others than the agent, and for the agent what is not allowed.
//!
//! Three hooks of Linux security modules: each call of `bpf` (who), each descriptor of a program (what: by then its
//! digest is known), and each descriptor of a map (the gatekeeper's own). Nothing is refused until it is sealed.

#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod hooks;
#[cfg(target_arch = "bpf")]
mod maps;

/// The verifier refuses a program in which this loop can be reached: there are no panics.
#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    #[allow(clippy::empty_loop)]
    loop {}
}

/// The kernel lets only programs under the GPL read its memory.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(target_arch = "bpf"))]
fn main() {}
