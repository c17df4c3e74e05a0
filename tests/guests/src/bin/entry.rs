//! Exceptions that EL2 injects against those that the CPU takes by itself: the guest must not see a difference.
//!
//! UDF goes to EL1 directly. SMC, but at EL0, and a load from nothing go to EL2 first. Each is tried at EL1h, EL1t and
//! EL0t with several flags set, under several SCTLR_EL1; then everything that exception entry writes is compared.
#![no_std]
#![no_main]

use core::arch::global_asm;
use test_guests::{Machine, exception, guest, mmu, power, println, read_register, write_register};

guest!(main);

global_asm!(
    r#"
    .section .text.entry_probe, "ax"
    .balign 2048
entry_vectors:
    .set    offset, 0
    .rept   16
    .balign 128
    mov     x2, #offset
    .set    offset, offset + 128
    b       1f
    .endr
1:  mrs     x9, spsr_el1
    cbnz    x1, 2f
    mrs     x10, esr_el1
    mrs     x11, elr_el1
    stp     x2, x10, [x0]
    stp     x11, x9, [x0, #16]
    mov     x1, #1
    svc     #0                  // its SPSR_EL1 is PSTATE at the vector
2:  str     x9, [x0, #32]
    ret

    .global entry_probe
entry_probe:                    // x0 = five words for what is found, x1 = 0, x2 = instruction, x3 = PSTATE it runs with
    mov     x4, #0              // flash of `virt`, which a guest has not
    msr     elr_el1, x2
    msr     spsr_el1, x3
    isb
    eret
    .global entry_instructions
entry_instructions:
    udf     #0
    smc     #0
    ldr     x9, [x4]
    "#
);

unsafe extern "C" {
    safe static entry_vectors: u8;
    safe static entry_instructions: u8;
    fn entry_probe(found: *mut Found, taken: u64, instruction: u64, pstate: u64);
}

/// What exception entry has left.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Found {
    vector: u64,
    esr: u64,
    elr: u64,
    spsr: u64,
    pstate: u64,
}

const DAIF: u64 = 0xf << 6;
/// EL1h, EL1t, EL0t.
const LEVELS: [u64; 3] = [5, 4, 0];
/// None, PAN, UAO, SSBS, ALLINT, TCO, all of them with the condition flags and DIT.
const FLAGS: [u64; 7] = [0, 1 << 22, 1 << 23, 1 << 12, 1 << 13, 1 << 25, 0xf << 28 | 0b1111 << 22 | 0b11 << 12];
/// SPAN, DSSBS, SPINTMASK.
const CONTROLS: [u64; 3] = [1 << 23, 1 << 44, 1 << 62];
/// NZCV and DIT: exception entry keeps them, and QEMU's clears them.
const KEPT: u64 = 0xf << 28 | 1 << 24;

/// What instruction `number` leaves, its address and QEMU's liberties left out.
fn probe(number: u64, pstate: u64) -> Found {
    let instruction = core::ptr::from_ref(&entry_instructions) as u64 + 4 * number;
    let mut found = Found::default();
    // SAFETY: the instruction ends in the vectors above, which return here; `found` is what they write.
    unsafe { entry_probe(&mut found, 0, instruction, pstate) };
    Found { elr: found.elr.wrapping_sub(instruction), pstate: found.pstate & !KEPT, ..found }
}

fn main(_machine: &Machine) {
    // Without stage 1, EL0 may execute what is EL1's.
    mmu::disable();
    // SAFETY: 16 vectors on a 2 KiB boundary, for the code above only.
    unsafe { exception::install_at(core::ptr::from_ref(&entry_vectors) as u64) };
    let sctlr = read_register!("sctlr_el1");
    let (mut compared, mut wrong) = (0, 0);
    for choice in 0..1 << CONTROLS.len() {
        let chosen = (0..CONTROLS.len()).filter(|bit| choice >> bit & 1 != 0);
        let all = CONTROLS.iter().fold(0, |all, control| all | control);
        write_register!("sctlr_el1", chosen.fold(sctlr & !all, |value, bit| value | CONTROLS[bit]));
        for pstate in LEVELS.iter().flat_map(|level| FLAGS.map(|flags| DAIF | level | flags)) {
            let undefined = probe(0, pstate);
            // A synchronous external abort of a load, of the same level or a lower one.
            let abort = Found { esr: if pstate & 4 == 0 { 0x9200_0010 } else { 0x9600_0010 }, ..undefined };
            for (instruction, wanted) in [(1, undefined), (2, abort)] {
                let injected = probe(instruction, pstate);
                compared += 1;
                if injected != wanted {
                    wrong += 1;
                    println!("ENTRY {choice} {pstate:#x}: {injected:x?} is not {wanted:x?}");
                }
            }
        }
    }
    write_register!("sctlr_el1", sctlr);
    println!("ENTRY compared {compared} wrong {wrong}");
    power::off()
}
