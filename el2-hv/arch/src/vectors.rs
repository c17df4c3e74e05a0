//! EL2's exception vectors (Arm ARM D1.3.1).
//!
//! From a guest: all registers go to its [`crate::guest::GuestRegisters`], which SP_EL2 points at
//! while a guest runs, and control returns to where [`crate::guest::enter`] left. From EL2 itself: our bug;
//! a stack of its own, one report, no way back. But for an SError that [`take_serror`] looks for.

use core::arch::global_asm;

use crate::msr;

/// What stops a guest, as the vector's number in its group.
pub(crate) const KIND_SYNC: u64 = 0;
pub(crate) const KIND_IRQ: u64 = 1;
pub(crate) const KIND_FIQ: u64 = 2;
pub(crate) const KIND_SERROR: u64 = 3;

/// Registers at a fault of EL2 itself, as the vector below stores them.
#[repr(C)]
#[derive(Debug)]
pub struct FatalFrame {
    /// x0 to x30.
    pub x: [u64; 31],
    /// SP_EL2.
    pub sp: u64,
    /// ELR_EL2.
    pub elr: u64,
    /// SPSR_EL2.
    pub spsr: u64,
    /// ESR_EL2.
    pub esr: u64,
    /// FAR_EL2.
    pub far: u64,
    /// 0 synchronous, 1 IRQ, 2 FIQ, 3 SError.
    pub kind: u64,
    _reserved: u64,
}

global_asm!(
    r#"
.macro fatal_vector kind
    .balign 0x80
    // EL1's thread registers are free: no guest runs on this CPU again.
    msr     tpidr_el1, x0
    msr     tpidr_el0, x1
    fatal_entry \kind
.endm

// x0 and x1 are in EL1's thread registers.
.macro fatal_entry kind
    mov     x1, sp
    mrs     x0, tpidr_el2
    cbz     x0, 1f
    ldr     x0, [x0, #8]
    mov     sp, x0
1:  sub     sp, sp, #304
    str     x1, [sp, #248]
    mov     x1, #\kind
    b       fatal_common
.endm

// As fatal_vector 3, but in take_serror: there the guest's registers are stored, and x1 is free.
.macro serror_vector
    .balign 0x80
    msr     tpidr_el1, x0
    msr     tpidr_el0, x1
    mrs     x0, elr_el2
    adr     x1, serror_window
    sub     x0, x0, x1
    cmp     x0, #4
    b.hi    2f
    mrs     x0, esr_el2
    eret
    dsb     nsh
    isb
2:  fatal_entry 3
.endm

.macro guest_vector kind
    .balign 0x80
    stp     x0, x1, [sp]
    mov     x0, #\kind
    b       guest_exit
.endm

// x2 to x29 to their places in a frame that begins with x0.
.macro store_x2_to_x29
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
.endm

    .section .text.vectors, "ax"
    .balign 0x800
    .global exception_vectors
exception_vectors:
    fatal_vector 0
    fatal_vector 1
    fatal_vector 2
    fatal_vector 3
    fatal_vector 0
    fatal_vector 1
    fatal_vector 2
    serror_vector
    guest_vector 0
    guest_vector 1
    guest_vector 2
    guest_vector 3
    guest_vector 0
    guest_vector 1
    guest_vector 2
    guest_vector 3

// SP is the guest's GuestRegisters; x0 is the kind; x0 and x1 are stored.
guest_exit:
    store_x2_to_x29
    mrs     x1, elr_el2
    mrs     x2, spsr_el2
    stp     x30, x1, [sp, #240]
    ldr     x3, [sp, #264]
    str     x2, [sp, #256]
    mov     sp, x3
    ldp     x19, x29, [sp]
    ldr     x30, [sp, #16]
    add     sp, sp, #32
    ret

    .global unmask_serror
unmask_serror:
    mov     x0, #0
    msr     daifclr, #4
serror_window:                      // taken here or one instruction later
    isb
    msr     daifset, #4
    ret

fatal_common:
    str     x1, [sp, #288]
    mrs     x0, tpidr_el1
    mrs     x1, tpidr_el0
    stp     x0, x1, [sp]
    store_x2_to_x29
    str     x30, [sp, #240]
    mrs     x0, elr_el2
    mrs     x1, spsr_el2
    stp     x0, x1, [sp, #256]
    mrs     x0, esr_el2
    mrs     x1, far_el2
    stp     x0, x1, [sp, #272]
    mov     x0, sp
    bl      hv_fatal
2:  wfi
    b       2b
"#
);

unsafe extern "C" {
    safe static exception_vectors: u8;
    fn unmask_serror() -> u64;
}

/// Takes a physical SError that is pending; its ESR_EL2. The guest's TPIDR_EL0 and TPIDR_EL1 must be stored.
pub(crate) fn take_serror() -> Option<u64> {
    // SAFETY: it keeps what a function keeps, and masks SErrors again. One that comes meanwhile returns to it with the
    // syndrome in x0, which is never 0: its class is 0x2f.
    let esr = unsafe { unmask_serror() };
    (esr != 0).then_some(esr)
}

/// Points VBAR_EL2 at the vectors.
pub(crate) fn install() {
    msr!("vbar_el2", core::ptr::from_ref(&exception_vectors) as u64);
    crate::cpu::isb();
}
