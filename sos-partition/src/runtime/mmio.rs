//! Device registers. One plain load or store each: only those come with a syndrome that EL2 can
//! emulate from (Arm ARM D24.2.40, ISS for a data abort, ISV).

use core::arch::asm;

/// Reads a 32-bit register.
///
/// # Safety
/// `address` is a register whose read has no effect on memory.
pub(crate) unsafe fn read(address: u64) -> u32 {
    let value: u32;
    // SAFETY: by the contract of this function.
    unsafe {
        asm!("ldr {0:w}, [{1}]", out(reg) value, in(reg) address, options(nostack, preserves_flags));
    }
    value
}

/// Writes a 32-bit register.
///
/// # Safety
/// `address` is a register, and `value` makes its device do nothing to memory.
pub(crate) unsafe fn write(address: u64, value: u32) {
    // SAFETY: by the contract of this function.
    unsafe {
        asm!("str {0:w}, [{1}]", in(reg) value, in(reg) address, options(nostack, preserves_flags));
    }
}
