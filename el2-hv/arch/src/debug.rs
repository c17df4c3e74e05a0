//! The CPU's own debug registers. They hold a vCPU's values while that is loaded and has something armed, and zeroes
//! otherwise.
//!
//! Nothing of it can raise an exception at EL2: MDCR_EL2.TDE is 0, so debug exceptions go to EL1, and at a higher level
//! than their target they are not generated (Arm ARM, AArch64.GenerateDebugExceptionsFrom). The ERET to the guest is
//! the context synchronization that makes the values count.

use core::arch::global_asm;
use core::cell::UnsafeCell;

use hv_core::debug::{ARMED_OFFSET, DebugState};

use crate::boot::Raw;
use crate::msr;

global_asm!(
    r#"
.macro load_comparator kind, number, from
    ldp     x5, x6, [x0, #(\from + 16 * \number)]
    msr     dbg\kind\()vr\number\()_el1, x5
    msr     dbg\kind\()cr\number\()_el1, x6
.endm

// Enters at the last comparator that the CPU has: 12 bytes each. What it has not is UNDEFINED.
.macro load_comparators kind, last, from
    adr     x4, 1f
    mov     x5, #12
    msub    x4, \last, x5, x4
    br      x4
    .irp number, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1
    load_comparator \kind, \number, \from
    .endr
1:  load_comparator \kind, 0, \from
.endm

    .text
    .global debug_load
    .type debug_load, %function
debug_load:
    mrs     x1, id_aa64dfr0_el1
    ubfx    x2, x1, #12, #4         // BRPs: breakpoints but one
    ubfx    x3, x1, #20, #4         // WRPs: watchpoints but one
    load_comparators b, x2, 0
    load_comparators w, x3, 256
    ldr     x5, [x0, #{armed}]
    msr     mdscr_el1, x5
    ret
    .size debug_load, . - debug_load
"#,
    armed = const ARMED_OFFSET,
);

unsafe extern "C" {
    fn debug_load(state: *const DebugState);
}

/// Zeroes, where they cost no byte of the file. Nobody writes them.
static NONE: Raw<DebugState> = Raw(UnsafeCell::new(DebugState::RESET));

/// The CPU holds these registers from now on.
pub fn load(state: &DebugState) {
    // SAFETY: debug_load reads the pairs and the word at ARMED_OFFSET of a whole DebugState, whose layout is C's, and
    // changes registers x0 to x6 and debug registers, which mean nothing at EL2.
    unsafe { debug_load(state) };
}

/// The CPU holds no vCPU's registers from now on.
pub fn clear() {
    // SAFETY: as above; NONE is a whole DebugState that nobody writes.
    unsafe { debug_load(NONE.0.get()) };
}

/// Opens what firmware or a reset may have left closed, and clears what they left UNKNOWN: under a locked OS lock or
/// OS double lock no guest would get a debug exception (Arm ARM, OSLAR_EL1, OSDLR_EL1).
pub(crate) fn configure() {
    clear();
    msr!("osdlr_el1", 0);
    msr!("oslar_el1", 0);
}
