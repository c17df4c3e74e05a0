//! Ends of a guest, by PSCI over HVC (DEN0022).

use smccc::{Hvc, psci};

/// PSCI SYSTEM_OFF.
pub fn off() -> ! {
    let _ = psci::system_off::<Hvc>();
    halt()
}

/// PSCI SYSTEM_RESET.
pub fn reset() -> ! {
    let _ = psci::system_reset::<Hvc>();
    halt()
}

/// An exception whose vector cannot be fetched: the vCPU cannot go on.
pub fn crash() -> ! {
    crate::mmu::disable();
    // Behind the 40 bits of a guest's IPA space nothing can be.
    crate::write_register!("vbar_el1", 0x00ff_ffff_f800);
    // SAFETY: UDF raises an exception, which is what is wanted; nothing runs after it.
    unsafe { core::arch::asm!("udf #0", options(noreturn)) }
}

fn halt() -> ! {
    loop {
        crate::cpu::wait();
    }
}
