//! First instructions, vectors, and the last report.

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicBool, Ordering};

use crate::runtime::console;

/// PSCI SYSTEM_OFF (DEN0022 §5.10).
const SYSTEM_OFF: u32 = 0x8400_0008;

/// MAIR_EL1: attribute 0 is normal write-back memory, 1 is Device-nGnRE (Arm ARM D24.2.111).
const MAIR: u64 = 0x04ff;
/// TCR_EL1: T0SZ 32 (32-bit addresses, walks begin at level 1), walks inner and outer write-back,
/// inner shareable, 4 KiB granule, no TTBR1 (EPD1), 32-bit output (Arm ARM D24.2.183).
const TCR: u64 = 32 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 23;
/// SCTLR_EL1: RES1 bits of Armv8.0, MMU (M), caches (C, I), stack alignment check (SA), WXN
/// (Arm ARM D24.2.175).
const SCTLR: u64 = 0x30d0_0800 | 1 | 1 << 2 | 1 << 3 | 1 << 12 | 1 << 19;
/// CPACR_EL1.FPEN: no trap of FP and SIMD (Arm ARM D24.2.32). Compiled code uses them.
const CPACR: u64 = 3 << 20;

// Nothing is written before the MMU is on, so that there is nothing to clean or invalidate.
global_asm!(
    ".section .text.entry, \"ax\"",
    ".global _start",
    "_start:",
    "ldr x1, ={cpacr}",
    "msr cpacr_el1, x1",
    "ldr x1, ={mair}",
    "msr mair_el1, x1",
    "ldr x1, ={tcr}",
    "msr tcr_el1, x1",
    "adrp x1, __level1",
    "add x1, x1, :lo12:__level1",
    "msr ttbr0_el1, x1",
    "adrp x1, vectors",
    "add x1, x1, :lo12:vectors",
    "msr vbar_el1, x1",
    "isb",
    "tlbi vmalle1",
    "dsb nsh",
    "isb",
    "ldr x1, ={sctlr}",
    "msr sctlr_el1, x1",
    "isb",
    "adrp x1, __stack_top",
    "add sp, x1, :lo12:__stack_top",
    "mov x29, xzr",
    "mov x30, xzr",
    "b {main}",
    ".ltorg",
    // Vectors (Arm ARM D1.3.1.5): sixteen of 128 bytes. All of them end this life.
    ".balign 2048",
    "vectors:",
    ".irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
    ".balign 128",
    "mov x4, sp",
    "mov x0, #\\number",
    "b 1f",
    ".endr",
    ".balign 128",
    "1:",
    "mrs x1, esr_el1",
    "mrs x2, elr_el1",
    "mrs x3, far_el1",
    "mov x5, x30",
    // A stack of its own: the exception may be an overflow into the guard page.
    "adrp x6, __fault_stack_top",
    "add sp, x6, :lo12:__fault_stack_top",
    "b {fault}",
    cpacr = const CPACR,
    mair = const MAIR,
    tcr = const TCR,
    sctlr = const SCTLR,
    main = sym super::main,
    fault = sym fault,
);

/// What the vectors found.
extern "C" fn fault(vector: u64, esr: u64, elr: u64, far: u64, sp: u64, lr: u64) -> ! {
    last_words(format_args!(
        "exception: vector {vector}, ESR {esr:#x}, ELR {elr:#x}, FAR {far:#x}, SP {sp:#x}, LR {lr:#x}"
    ))
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    last_words(format_args!("{info}"))
}

/// Prints the reason and ends this life. A fault on the way there ends it without words.
fn last_words(reason: core::fmt::Arguments<'_>) -> ! {
    static SPEAKING: AtomicBool = AtomicBool::new(false);
    if !SPEAKING.swap(true, Ordering::Relaxed) {
        console::line(format_args!("{reason}"));
    }
    power_off()
}

fn power_off() -> ! {
    loop {
        // SAFETY: SYSTEM_OFF takes no arguments and does not return.
        unsafe { asm!("hvc #0", in("x0") u64::from(SYSTEM_OFF), options(nostack)) };
    }
}
