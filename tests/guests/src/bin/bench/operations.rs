//! The measured instructions, each between its two stamps, and the vectors that stamp interrupts.
//!
//! Interrupts are only unmasked inside these blocks, which give x9 to x14 to the vectors:
//! x9 = stamp, x10 = scratch, x11 = 1 when an interrupt was taken.

use core::arch::{asm, global_asm};

global_asm!(
    r#"
    .section .text.bench_vectors, "ax"
    .balign 2048
bench_vectors:
    .rept   5
    .balign 128
    b       .
    .endr
    .balign 128                 // 0x280: IRQ, current EL with SP_ELx
    mrs     x9, cntvct_el0
    msr     cntv_ctl_el0, xzr   // level interrupts: gone before they are ended
    msr     cntp_ctl_el0, xzr
    mrs     x10, S3_0_C12_C12_0 // ICC_IAR1_EL1
    msr     S3_0_C12_C12_1, x10 // ICC_EOIR1_EL1
    isb
    mov     x11, #1
    eret
    .rept   10
    .balign 128
    b       .
    .endr
    "#
);

unsafe extern "C" {
    safe fn bench_vectors();
}

/// Makes this vCPU stamp its interrupts.
pub(crate) fn install_vectors() {
    // SAFETY: interrupts are unmasked in this module only, around code that gives up x9 to x11;
    // any other exception stops in its vector, where the time-out of the run finds it.
    unsafe { test_guests::exception::install_at(bench_vectors as *const () as u64) }
}

/// HVC #0 with `function` in w0: ticks, and x0.
#[inline(never)]
pub(crate) fn hvc(function: u64) -> (u64, u64) {
    let (status, before, after): (u64, u64, u64);
    // SAFETY: by SMCCC (DEN0028 §2.6) x4 to x17 may change in some versions; all are given up.
    unsafe {
        asm!(
            "mrs x9, cntvct_el0",
            "hvc #0",
            "mrs x10, cntvct_el0",
            inout("x0") function => status,
            out("x9") before, out("x10") after,
            out("x1") _, out("x2") _, out("x3") _, out("x4") _, out("x5") _, out("x6") _,
            out("x7") _, out("x8") _, out("x11") _, out("x12") _, out("x13") _, out("x14") _,
            out("x15") _, out("x16") _, out("x17") _,
            options(nostack)
        );
    }
    (after - before, status)
}

/// A 32-bit load from `address`.
#[inline(never)]
pub(crate) fn load(address: u64) -> u64 {
    let (before, after): (u64, u64);
    // SAFETY: the address is a device register whose read has no side effect.
    unsafe {
        asm!(
            "mrs {before}, cntvct_el0",
            "ldr {value:w}, [{address}]",
            "mrs {after}, cntvct_el0",
            before = out(reg) before, after = out(reg) after,
            value = out(reg) _, address = in(reg) address,
            options(nostack)
        );
    }
    after - before
}

/// A 32-bit store of `value` to `address`.
#[inline(never)]
pub(crate) fn store(address: u64, value: u32) -> u64 {
    let (before, after): (u64, u64);
    // SAFETY: the address is a device register.
    unsafe {
        asm!(
            "mrs {before}, cntvct_el0",
            "str {value:w}, [{address}]",
            "mrs {after}, cntvct_el0",
            before = out(reg) before, after = out(reg) after,
            value = in(reg) value, address = in(reg) address,
            options(nostack)
        );
    }
    after - before
}

/// A read of ID_AA64PFR0_EL1.
#[inline(never)]
pub(crate) fn read_id() -> u64 {
    let (before, after): (u64, u64);
    // SAFETY: reading an ID register has no effect.
    unsafe {
        asm!(
            "mrs {before}, cntvct_el0",
            "mrs {value}, id_aa64pfr0_el1",
            "mrs {after}, cntvct_el0",
            before = out(reg) before, after = out(reg) after, value = out(reg) _,
            options(nostack)
        );
    }
    after - before
}

/// Writes `sgi` to ICC_SGI1R_EL1, from before the write to the handler's first instruction.
#[inline(never)]
pub(crate) fn send_to_self(sgi: u64) -> u64 {
    let (sent, taken): (u64, u64);
    // SAFETY: x9 to x11 are given to the vector.
    unsafe {
        asm!(
            "mov x11, #0",
            "msr daifclr, #2",
            "mrs {sent}, cntvct_el0",
            "msr S3_0_C12_C11_5, {sgi}",
            "isb",
            "2: cbz x11, 2b",
            "msr daifset, #2",
            sgi = in(reg) sgi, sent = out(reg) sent,
            out("x9") taken, out("x10") _, out("x11") _,
            options(nostack)
        );
    }
    taken - sent
}

/// Writes `sgi` to ICC_SGI1R_EL1; the time before the write.
#[inline(never)]
pub(crate) fn send(sgi: u64) -> u64 {
    let sent: u64;
    // SAFETY: sending an SGI changes nothing here.
    unsafe {
        asm!(
            "mrs {sent}, cntvct_el0",
            "msr S3_0_C12_C11_5, {sgi}",
            "isb",
            sgi = in(reg) sgi, sent = out(reg) sent,
            options(nostack)
        );
    }
    sent
}

/// Spins, busy but polite, until an interrupt comes; the time of its handler's first instruction.
#[inline(never)]
pub(crate) fn await_interrupt() -> u64 {
    let taken: u64;
    // SAFETY: x9 to x11 are given to the vector.
    unsafe {
        asm!(
            "mov x11, #0",
            "msr daifclr, #2",
            "2: yield",
            "cbz x11, 2b",
            "msr daifset, #2",
            out("x9") taken, out("x10") _, out("x11") _,
            options(nostack)
        );
    }
    taken
}

/// Spins until the virtual timer fires `delay` ticks from now: from the deadline to the handler.
#[inline(never)]
pub(crate) fn timer_busy(delay: u64) -> u64 {
    let (deadline, taken): (u64, u64);
    // SAFETY: x9 to x11 are given to the vector, which turns the timer off.
    unsafe {
        asm!(
            "mov x11, #0",
            "mov x10, #1",
            "msr daifclr, #2",
            "mrs {deadline}, cntvct_el0",
            "add {deadline}, {deadline}, {delay}",
            "msr cntv_cval_el0, {deadline}",
            "msr cntv_ctl_el0, x10",
            "2: cbz x11, 2b",
            "msr daifset, #2",
            delay = in(reg) delay, deadline = out(reg) deadline,
            out("x9") taken, out("x10") _, out("x11") _,
            options(nostack)
        );
    }
    taken - deadline
}

/// As [`timer_busy`], asleep in WFI meanwhile.
#[inline(never)]
pub(crate) fn timer_asleep(delay: u64) -> u64 {
    let (deadline, taken): (u64, u64);
    // SAFETY: x9 to x11 are given to the vector, which turns the timer off.
    unsafe {
        asm!(
            "mov x11, #0",
            "mov x10, #1",
            "msr daifclr, #2",
            "mrs {deadline}, cntvct_el0",
            "add {deadline}, {deadline}, {delay}",
            "msr cntv_cval_el0, {deadline}",
            "msr cntv_ctl_el0, x10",
            "isb",
            "2: wfi",
            "cbz x11, 2b",
            "msr daifset, #2",
            delay = in(reg) delay, deadline = out(reg) deadline,
            out("x9") taken, out("x10") _, out("x11") _,
            options(nostack)
        );
    }
    taken - deadline
}

/// The same by the physical timer, which EL2 emulates.
#[inline(never)]
pub(crate) fn physical_timer_asleep(delay: u64) -> u64 {
    let (deadline, taken): (u64, u64);
    // SAFETY: as in `timer_asleep`.
    unsafe {
        asm!(
            "mov x11, #0",
            "mov x10, #1",
            "msr daifclr, #2",
            "mrs {deadline}, cntpct_el0",
            "add {deadline}, {deadline}, {delay}",
            "msr cntp_cval_el0, {deadline}",
            "msr cntp_ctl_el0, x10",
            "isb",
            // The handler's stamp is of the virtual counter: how far that is behind.
            "mrs x12, cntpct_el0",
            "mrs x13, cntvct_el0",
            "2: wfi",
            "cbz x11, 2b",
            "msr daifset, #2",
            "sub x12, x12, x13",
            "add x9, x9, x12",
            delay = in(reg) delay, deadline = out(reg) deadline,
            out("x9") taken, out("x10") _, out("x11") _, out("x12") _, out("x13") _,
            options(nostack)
        );
    }
    taken - deadline
}
