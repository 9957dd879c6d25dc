//! The generator ([`generate`]), bare programs whose cost is subtracted ([`bare`]), and two designs that decide by
//! identities ([`identity`]). Nothing of the product but its parser, to know what that alone costs.
//!
//! For any other target than BPF there is nothing here but an empty `main`.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod bare;
#[cfg(target_arch = "bpf")]
mod frame;
#[cfg(target_arch = "bpf")]
mod generate;
#[cfg(target_arch = "bpf")]
mod identity;

/// The verifier refuses a program in which this loop can be reached: there are no panics.
#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    #[allow(clippy::empty_loop)]
    loop {}
}

/// Redirecting and some helpers are for programs under the GPL only.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(target_arch = "bpf"))]
fn main() {}
