//! The hooks: XDP on arrival ([`ingress`]), a tc classifier on departure ([`egress`]).
//!
//! Only pointer work and map access: packet memory becomes [`gabion_kernel_core::bytes::Bytes`]
//! ([`packet`]), maps become [`gabion_kernel_core::judge::World`] ([`world`]), and the decision itself is
//! `kernel/core`, the same code that runs on the host. Start with [`ingress`].
//!
//! For any other target than BPF there is nothing here but an empty `main`, so that the workspace
//! checks without the BPF toolchain.

#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod contracts;
#[cfg(target_arch = "bpf")]
mod count;
#[cfg(target_arch = "bpf")]
mod egress;
#[cfg(target_arch = "bpf")]
mod ingress;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod memory;
#[cfg(target_arch = "bpf")]
mod packet;
#[cfg(target_arch = "bpf")]
mod world;

/// The verifier refuses a program in which this loop can be reached: there are no panics.
#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    #[allow(clippy::empty_loop)]
    loop {}
}

/// The kernel gives helpers that read time and packets to programs under the GPL only.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(target_arch = "bpf"))]
fn main() {}
