//! Vectors for guests that expect no exception but interrupts, and a way to try what may fault.

use crate::entry::CPUS_MAX;
use core::arch::{asm, global_asm};
use core::sync::atomic::AtomicU64;

global_asm!(
    r#"
    .section .text.vectors, "ax"
    .balign 2048
guest_vectors:
    .rept   16
    .balign 128
    b       guest_exception
    .endr

guest_exception:                // no register is kept: nobody returns from here, and sp may be anything
    adrp    x0, {recovery}
    add     x0, x0, :lo12:{recovery}
    mrs     x1, mpidr_el1       // Aff0 is the vCPU's number, below CPUS_MAX
    and     x1, x1, #0xff
    add     x0, x0, x1, lsl #3
    ldr     x1, [x0]
    cbz     x1, 1f
    str     xzr, [x0]           // one exception for each attempt
    mov     sp, x1              // where guest_attempt left it
    mrs     x0, esr_el1
    cbnz    x0, guest_attempt_failed
    mvn     x0, xzr             // an interrupt leaves no syndrome
    b       guest_attempt_failed
1:  mrs     x0, esr_el1         // outside of an attempt
    mrs     x1, elr_el1
    mrs     x2, far_el1
    mrs     x3, isr_el1
    bl      {unexpected}

    // x0 = code, x1 to x3 = its x0 to x2 -> x0 = 0, ESR_EL1 of the exception that ended it, or all ones
    .global guest_attempt
guest_attempt:
    stp     x29, x30, [sp, #-160]!
    stp     x19, x20, [sp, #16]
    stp     x21, x22, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x25, x26, [sp, #64]
    stp     x27, x28, [sp, #80]
    stp     d8, d9, [sp, #96]
    stp     d10, d11, [sp, #112]
    stp     d12, d13, [sp, #128]
    stp     d14, d15, [sp, #144]
    adrp    x9, {recovery}
    add     x9, x9, :lo12:{recovery}
    mrs     x10, mpidr_el1
    and     x10, x10, #0xff
    add     x9, x9, x10, lsl #3
    mov     x10, sp
    str     x10, [x9]
    msr     esr_el1, xzr
    mov     x9, x0
    mov     x0, x1
    mov     x1, x2
    mov     x2, x3
    blr     x9
    msr     daifset, #15        // debug exceptions too, which the code may have asked for
    msr     spsel, #1
    adrp    x9, {recovery}
    add     x9, x9, :lo12:{recovery}
    mrs     x10, mpidr_el1
    and     x10, x10, #0xff
    add     x9, x9, x10, lsl #3
    ldr     x10, [x9]
    str     xzr, [x9]
    mov     sp, x10
    mov     x0, #0
guest_attempt_failed:           // as if it had returned, with x0 as its result
    msr     daifset, #15
    ldp     x19, x20, [sp, #16]
    ldp     x21, x22, [sp, #32]
    ldp     x23, x24, [sp, #48]
    ldp     x25, x26, [sp, #64]
    ldp     x27, x28, [sp, #80]
    mov     x9, #(3 << 20)      // CPACR_EL1.FPEN
    msr     cpacr_el1, x9
    isb
    msr     fpcr, xzr
    ldp     d8, d9, [sp, #96]
    ldp     d10, d11, [sp, #112]
    ldp     d12, d13, [sp, #128]
    ldp     d14, d15, [sp, #144]
    ldp     x29, x30, [sp], #160
    ret
    "#,
    recovery = sym RECOVERY,
    unexpected = sym unexpected,
);

unsafe extern "C" {
    safe fn guest_vectors();
    fn guest_attempt(code: u64, x0: u64, x1: u64, x2: u64) -> u64;
}

/// Stack pointer of the attempt that each vCPU has in progress, or 0.
static RECOVERY: [AtomicU64; CPUS_MAX] = [const { AtomicU64::new(0) }; CPUS_MAX];

/// What [`attempt`] gives where an interrupt has ended it.
pub const INTERRUPTED: u64 = u64::MAX;

/// Makes this vCPU use the vectors of this module.
pub fn install() {
    crate::write_register!("vbar_el1", guest_vectors as *const () as u64);
}

/// Runs the code at `code` with those arguments until it returns or an exception ends it.
///
/// Gives 0, ESR_EL1 of the exception, or [`INTERRUPTED`].
///
/// # Safety
/// Whatever the code does to this guest's memory and registers is the caller's risk.
pub unsafe fn attempt(code: u64, arguments: [u64; 3]) -> u64 {
    let [x0, x1, x2] = arguments;
    // SAFETY: guest_attempt keeps the callee-saved registers and the stack.
    unsafe { guest_attempt(code, x0, x1, x2) }
}

extern "C" fn unexpected(esr: u64, elr: u64, far: u64, isr: u64) -> ! {
    crate::println!("GUEST exception esr={esr:#x} elr={elr:#x} far={far:#x} isr={isr:#x}");
    crate::power::reset()
}

/// Makes this vCPU use the vectors at `address`.
///
/// # Safety
/// They must be 16 vectors, on a 2 KiB boundary, that keep what the interrupted code needs.
pub unsafe fn install_at(address: u64) {
    // SAFETY: by this function's contract.
    unsafe { asm!("msr vbar_el1, {}", "isb", in(reg) address, options(nostack)) }
}
