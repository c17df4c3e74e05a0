//! The service partition's image: the library on a thin EL1 runtime.
//!
//! The runtime never takes an interrupt. PSTATE.I stays masked for a whole life; WFI wakes for a
//! pending interrupt all the same (Arm ARM D1.6.1), which is then acknowledged by hand. Every
//! exception is the end: one report on the PL011, then PSCI SYSTEM_OFF, which EL2 counts as a crash.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod runtime;

/// The image is for the board; on a host there is only the library.
#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("sos is built with --target aarch64-unknown-none");
}
