//! Values in all registers of a vCPU, held over something that lets others run.

use crate::check;
use core::arch::global_asm;
use test_guests::random::Random;
use test_guests::{read_register, write_register};

global_asm!(
    r#"
    .text
    // x0 = values of x0 to x30 and, from byte 256 on, of q0 to q31; x1 = where to put what is found afterwards.
    // While the action runs no register holds anything else; sp alone is this program's.
    .macro hold name, action:vararg
\name:
    stp     x29, x30, [sp, #-176]!
    stp     x19, x20, [sp, #16]
    stp     x21, x22, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x25, x26, [sp, #64]
    stp     x27, x28, [sp, #80]
    stp     d8, d9, [sp, #96]
    stp     d10, d11, [sp, #112]
    stp     d12, d13, [sp, #128]
    stp     d14, d15, [sp, #144]
    str     x1, [sp, #160]
    ldp     q0, q1, [x0, #256]
    ldp     q2, q3, [x0, #288]
    ldp     q4, q5, [x0, #320]
    ldp     q6, q7, [x0, #352]
    ldp     q8, q9, [x0, #384]
    ldp     q10, q11, [x0, #416]
    ldp     q12, q13, [x0, #448]
    ldp     q14, q15, [x0, #480]
    ldp     q16, q17, [x0, #512]
    ldp     q18, q19, [x0, #544]
    ldp     q20, q21, [x0, #576]
    ldp     q22, q23, [x0, #608]
    ldp     q24, q25, [x0, #640]
    ldp     q26, q27, [x0, #672]
    ldp     q28, q29, [x0, #704]
    ldp     q30, q31, [x0, #736]
    ldp     x2, x3, [x0, #16]
    ldp     x4, x5, [x0, #32]
    ldp     x6, x7, [x0, #48]
    ldp     x8, x9, [x0, #64]
    ldp     x10, x11, [x0, #80]
    ldp     x12, x13, [x0, #96]
    ldp     x14, x15, [x0, #112]
    ldp     x16, x17, [x0, #128]
    ldp     x18, x19, [x0, #144]
    ldp     x20, x21, [x0, #160]
    ldp     x22, x23, [x0, #176]
    ldp     x24, x25, [x0, #192]
    ldp     x26, x27, [x0, #208]
    ldp     x28, x29, [x0, #224]
    ldr     x30, [x0, #240]
    ldp     x0, x1, [x0]
    \action
    sub     sp, sp, #256
    stp     x0, x1, [sp, #0]
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
    str     x30, [sp, #240]
    ldr     x1, [sp, #(256 + 160)]
    stp     q0, q1, [x1, #256]
    stp     q2, q3, [x1, #288]
    stp     q4, q5, [x1, #320]
    stp     q6, q7, [x1, #352]
    stp     q8, q9, [x1, #384]
    stp     q10, q11, [x1, #416]
    stp     q12, q13, [x1, #448]
    stp     q14, q15, [x1, #480]
    stp     q16, q17, [x1, #512]
    stp     q18, q19, [x1, #544]
    stp     q20, q21, [x1, #576]
    stp     q22, q23, [x1, #608]
    stp     q24, q25, [x1, #640]
    stp     q26, q27, [x1, #672]
    stp     q28, q29, [x1, #704]
    stp     q30, q31, [x1, #736]
    .irp    place, 0,32,64,96,128,160,192,224
    ldp     q0, q1, [sp, #\place]
    stp     q0, q1, [x1, #\place]
    .endr
    add     sp, sp, #256
    ldp     x19, x20, [sp, #16]
    ldp     x21, x22, [sp, #32]
    ldp     x23, x24, [sp, #48]
    ldp     x25, x26, [sp, #64]
    ldp     x27, x28, [sp, #80]
    ldp     d8, d9, [sp, #96]
    ldp     d10, d11, [sp, #112]
    ldp     d12, d13, [sp, #128]
    ldp     d14, d15, [sp, #144]
    ldp     x29, x30, [sp], #176
    ret
    .endm

    hold    witness_wait, wfi
    hold    witness_call, hvc #0
    hold    witness_load, ldr w0, [x1]
    .macro spin
1:  subs    x0, x0, #1
    b.ne    1b
    .endm
    hold    witness_spin, spin
    "#
);

unsafe extern "C" {
    fn witness_wait(values: *const Values, found: *mut Values);
    fn witness_call(values: *const Values, found: *mut Values);
    fn witness_load(values: *const Values, found: *mut Values);
    fn witness_spin(values: *const Values, found: *mut Values);
}

type Hold = unsafe extern "C" fn(*const Values, *mut Values);

/// X0 to X30, and one that is not used; Q0 to Q31.
#[derive(Clone)]
#[repr(C, align(16))]
struct Values {
    x: [u64; 32],
    q: [[u64; 2]; 32],
}

/// Declares the system registers that are held.
macro_rules! system_registers {
    ($($name:literal)*) => {
        const NAMES: &[&str] = &[$($name),*];
        const COUNT: usize = NAMES.len();

        /// Writes random bits to each.
        fn write_system(random: &mut Random) {
            $(write_register!($name, random.next());)*
        }

        /// What each is.
        fn read_system() -> [u64; COUNT] {
            [$(read_register!($name)),*]
        }
    };
}

// All that EL1 has for itself and that changes nothing for code which takes no exception and runs at EL1 by TTBR0_EL1.
system_registers! {
    "tpidr_el0" "tpidrro_el0" "tpidr_el1" "sp_el0" "elr_el1" "spsr_el1" "esr_el1" "far_el1" "afsr0_el1" "afsr1_el1"
    "contextidr_el1" "csselr_el1" "ttbr1_el1" "amair_el1" "cntkctl_el1" "par_el1" "fpcr" "fpsr"
}

/// Those that this program runs by, and what tells it who it is.
fn read_own() -> [u64; 8] {
    [
        read_register!("sctlr_el1"),
        read_register!("ttbr0_el1"),
        read_register!("tcr_el1"),
        read_register!("mair_el1"),
        read_register!("vbar_el1"),
        read_register!("cpacr_el1"),
        read_register!("mpidr_el1"),
        read_register!("midr_el1"),
    ]
}

/// What all registers are to be.
pub(crate) struct Held {
    values: Values,
    system: [u64; COUNT],
    own: [u64; 8],
}

impl Held {
    /// Random values; system registers have theirs from here on.
    pub(crate) fn fresh(random: &mut Random) -> Self {
        let values = Values {
            x: core::array::from_fn(|_| random.next()),
            q: core::array::from_fn(|_| [random.next(), random.next()]),
        };
        write_system(random);
        // Some have bits that are not there.
        Self { values, system: read_system(), own: read_own() }
    }

    /// Over a WFI.
    pub(crate) fn while_waiting(&mut self) {
        let x0 = self.values.x[0];
        self.hold(witness_wait, x0);
    }

    /// Over a spin of so many steps.
    pub(crate) fn while_spinning(&mut self, steps: u64) {
        self.values.x[0] = steps;
        self.hold(witness_spin, 0);
    }

    /// Over a call that answers so.
    pub(crate) fn while_calling(&mut self, function: u64, answer: u64) {
        self.values.x[0] = function;
        self.hold(witness_call, answer);
    }

    /// Over a load from a device's register that always reads the same.
    pub(crate) fn while_loading(&mut self, address: u64) {
        // SAFETY: a register of a device of this machine, of 32 bits.
        let value = unsafe { (address as *const u32).read_volatile() };
        self.values.x[1] = address;
        self.hold(witness_load, u64::from(value));
    }

    /// Over `action`, which leaves `x0` and changes nothing else.
    fn hold(&mut self, action: Hold, x0: u64) {
        let mut found = Values { x: [0; 32], q: [[0; 2]; 32] };
        // SAFETY: it keeps what a function keeps, and writes to `found` alone.
        unsafe { action(&raw const self.values, &raw mut found) }
        self.values.x[0] = x0;
        // Before anything that might be done with FP: the modes in FPCR are random.
        let (system, own) = (read_system(), read_own());
        for (number, (expected, found)) in self.values.x.iter().zip(found.x).enumerate().take(31) {
            check(GENERAL[number], *expected, found);
        }
        for (expected, found) in self.values.q.iter().zip(found.q) {
            check("FP register, lower half", expected[0], found[0]);
            check("FP register, upper half", expected[1], found[1]);
        }
        for (name, (expected, found)) in NAMES.iter().zip(self.system.into_iter().zip(system)) {
            check(name, expected, found);
        }
        for (expected, found) in self.own.into_iter().zip(own) {
            check("register that this runs by", expected, found);
        }
    }
}

/// Names of general registers.
const GENERAL: [&str; 31] = [
    "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17",
    "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x29", "x30",
];
