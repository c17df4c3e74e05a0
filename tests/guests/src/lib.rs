//! The runtime of the test guests: what a bare-metal program needs on QEMU's `virt` machine.
//!
//! A guest is an arm64 Linux Image, so it boots by `qemu-system-aarch64 -kernel` and as a guest of
//! Dormouse alike, with its device tree in x0. It owns its whole machine: nothing here is shared
//! with the hypervisor except the numbers in `hv-abi`.
#![no_std]

extern crate alloc;

pub mod arguments;
pub mod console;
pub mod cpu;
pub mod disk;
pub mod entry;
pub mod exception;
pub mod gic;
pub mod heap;
pub mod heartbeat;
pub mod mmu;
pub mod power;
pub mod random;
pub mod ring;
pub mod timer;

pub use arguments::Machine;

/// Reads a system register.
#[macro_export]
macro_rules! read_register {
    ($name:expr) => {{
        let value: u64;
        // SAFETY: reading this register has no effect on memory.
        unsafe {
            core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value, options(nomem, nostack));
        }
        value
    }};
}

/// Writes a system register, with the barrier that makes the write take effect.
#[macro_export]
macro_rules! write_register {
    ($name:expr, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: the caller names a register whose new value keeps the code that runs here valid.
        unsafe {
            core::arch::asm!(concat!("msr ", $name, ", {}"), "isb", in(reg) value, options(nostack));
        }
    }};
}

/// Declares the function that the runtime enters on the boot CPU.
#[macro_export]
macro_rules! guest {
    ($main:path) => {
        #[unsafe(no_mangle)]
        extern "Rust" fn guest_main(machine: &$crate::Machine) {
            $main(machine)
        }
    };
}
