//! Random words as instructions: at EL1, at EL0, and at EL0 in AArch32.

use crate::code::Attacker;
use core::arch::global_asm;
use hv_abi::guest_map::{GICD_BASE, UART_BASE};
use test_guests::{gic, timer};

global_asm!(
    r#"
    .text
hostile_drop:                   // x0 = where to go, x1 = SPSR_EL1, x2 = value for sp and all registers
    msr     elr_el1, x0
    msr     spsr_el1, x1
    msr     sp_el0, x2
    tst     x1, #0xf            // EL1 uses SP_EL1, which an attempt gets back when it ends
    b.eq    1f
    mov     sp, x2
1:  mov     x0, x2
    mov     x1, x2
    .irp    n, 3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
    mov     x\n, x2
    .endr
    eret
    "#
);

unsafe extern "C" {
    safe fn hostile_drop();
}

/// SPSR_EL1 with interrupts unmasked: EL1, and EL0 in AArch64, A32, T32.
const MODES: [u64; 4] = [EL1, EL0, 0x150, 0x170];
const EL1: u64 = 0x345;
const EL0: u64 = 0x340;
const NOP: u32 = 0xd503_201f;
/// SVC #0 in AArch64: the way back.
const SVC: u32 = 0xd400_0001;
const LENGTH_MAX: u64 = 12;
/// How far an immediate offset reaches.
const REACH: u64 = 0x1_0000;
const WATCHDOG_NS: u64 = 200_000;

/// Random programs.
pub(crate) fn execute(attacker: &mut Attacker<'_>) {
    for round in 0..attacker.rounds() {
        let (words, length) = random_words(attacker);
        let mode = attacker.random.pick(&MODES);
        drop_to(attacker, &words[..length], mode);
        if round % 16 == 0 {
            attacker.restore();
        }
    }
}

/// One random program at EL1; what would reach this program itself is taken out of it.
pub(crate) fn privileged(attacker: &mut Attacker<'_>) {
    let (mut words, length) = random_words(attacker);
    words.iter_mut().filter(|word| is_suicide(**word)).for_each(|word| *word = NOP);
    drop_to(attacker, &words[..length], EL1);
}

/// One random program at EL0, under a map that gives EL0 nothing of this program.
pub(crate) fn unprivileged(attacker: &mut Attacker<'_>) {
    let (words, length) = random_words(attacker);
    let mode = attacker.random.pick(&MODES[1..]);
    drop_to(attacker, &words[..length], mode);
}

fn random_words(attacker: &mut Attacker<'_>) -> ([u32; LENGTH_MAX as usize], usize) {
    let words = core::array::from_fn(|_| attacker.random.next() as u32);
    (words, 1 + attacker.random.below(LENGTH_MAX) as usize)
}

/// Branches by an immediate and ADRP reach this program; MSR takes its vectors, tables or stack away.
const fn is_suicide(word: u32) -> bool {
    let branch = word & 0x7c00_0000 == 0x1400_0000;
    let page = word & 0x9f00_0000 == 0x9000_0000;
    let system = word & 0xffc0_0000 == 0xd500_0000;
    branch || page || system
}

/// Runs AArch64 instructions at EL0.
pub(crate) fn run_at_el0(attacker: &mut Attacker<'_>, words: &[u32]) {
    drop_to(attacker, words, EL0);
}

/// A value for all registers: neither it nor what addressing modes make of it (a sum of two
/// registers, one of them shifted) lies in this program, or in the GIC that the watchdog needs.
fn register(attacker: &mut Attacker<'_>) -> u64 {
    let own = attacker.machine.ram_base..attacker.scratch();
    let gic = GICD_BASE..UART_BASE;
    loop {
        let value = attacker.wild_address();
        let clear = |factor: u64| {
            let address = value.wrapping_mul(factor);
            let near = address.wrapping_sub(REACH)..address.wrapping_add(REACH);
            [&own, &gic].iter().all(|range| near.end <= range.start || near.start >= range.end)
        };
        if [1, 2, 3, 4, 5, 8, 9, 16, 17].into_iter().all(clear) {
            return value;
        }
    }
}

fn drop_to(attacker: &mut Attacker<'_>, words: &[u32], mode: u64) {
    let mut program = [SVC; LENGTH_MAX as usize + 1];
    program[..words.len()].copy_from_slice(words);
    let code = attacker.assemble(&program);
    let register = register(attacker);
    gic::revive_timer();
    timer::arm(timer::now() + timer::ticks(WATCHDOG_NS));
    attacker.run(hostile_drop as *const () as u64, [code, mode, register]);
    timer::disarm();
    gic::drain();
}
