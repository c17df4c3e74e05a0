//! Every system register and instruction that can be encoded.

use crate::code::Attacker;
use test_guests::{gic, timer};

/// Encodings with op0 from 0 to 3: op0, op1, CRn, CRm, op2 are bits 20 to 5.
const ENCODINGS: u32 = 1 << 16;
/// MRS and MSR with Rt = x0; MRS with x2 keeps the old value for the end.
const MSR_X0: u32 = 0xd500_0000;
const MRS_X2: u32 = 0xd520_0002;
const MSR_X2: u32 = 0xd500_0002;
const NOP: u32 = 0xd503_201f;
/// MSR SPSel, #1: whatever was written, the stack is the one before.
const SPSEL_1: u32 = 0xd500_41bf;
/// Registers that would end this program and not try the hypervisor: SCTLR_EL1, VBAR_EL1.
const OWN: [u32; 2] = [encoding(3, 0, 1, 0, 0), encoding(3, 0, 12, 0, 0)];
const INTERRUPT_REGISTERS: [u32; 28] = icc_encodings();

/// Bits 20 to 5 of an MRS or MSR, shifted down.
const fn encoding(op0: u32, op1: u32, crn: u32, crm: u32, op2: u32) -> u32 {
    op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2
}

/// ICC_PMR_EL1 and every op2 of CRm 8, 11 and 12 (IHI0069 §12.2).
const fn icc_encodings() -> [u32; 28] {
    let mut table = [encoding(3, 0, 4, 6, 0); 28];
    let mut i = 0;
    while i < 27 {
        let crm = [8, 9, 11, 12][i / 8];
        table[i + 1] = encoding(3, 0, 12, crm, (i % 8) as u32);
        i += 1;
    }
    table
}

/// WFI and WFE: what waits is tried elsewhere.
const WAITS: [u32; 2] = [encoding(0, 3, 2, 0, 3), encoding(0, 3, 2, 0, 2)];
/// MSR DAIFClr, #8: debug exceptions come.
const UNMASK_DEBUG: u32 = 0xd503_48ff;
const LDR_X2_X1: u32 = 0xf940_0022;
/// MDSCR_EL1 and OSLAR_EL1, without op0.
const MDSCR: u32 = encoding(0, 0, 0, 2, 2);
const OSLAR: u32 = encoding(0, 0, 1, 0, 4);

/// ICC_BPR1_EL1.
const BINARY_POINT: u32 = encoding(3, 0, 12, 12, 3);

/// `value`, if the board survives it in that register: QEMU keeps three bits of what is written to ICC_BPR1_EL1, holds
/// all of it against the least that is allowed, and aborts when an interrupt comes where zero is left. EL2 cannot help it.
const fn survivable(number: u32, value: u64) -> u64 {
    if number == BINARY_POINT { value & 7 } else { value }
}

/// One access to any of them, and back to the old value.
pub(crate) fn any(attacker: &mut Attacker<'_>) {
    let number = attacker.random.below(u64::from(ENCODINGS)) as u32;
    let field = number << 5;
    let way = attacker.random.below(4);
    if number >> 14 < 2 {
        if !WAITS.contains(&number) {
            let address = attacker.scratch();
            attacker.run_watched(&[MSR_X0 | field, SPSEL_1], [address, 0, 0]);
        }
    } else if way == 0 {
        attacker.run_watched(&[MRS_X2 | field], [0; 3]);
    } else if way == 1 || OWN.contains(&number) {
        attacker.run_watched(&[MRS_X2 | field, MSR_X2 | field, SPSEL_1], [0; 3]);
    } else {
        let value = survivable(number, attacker.random.interesting());
        attacker.run_watched(&[MRS_X2 | field, MSR_X0 | field, MSR_X2 | field, SPSEL_1], [value, 0, 0]);
    }
}

/// Debug registers with any value, and code that they may concern. The values stay, without MDSCR_EL1 they do nothing.
pub(crate) fn debug(attacker: &mut Attacker<'_>) {
    let scratch = attacker.scratch();
    let mut words = [0; 8];
    for pair in words[..6].chunks_exact_mut(2) {
        // Op0 2, op1 0, CRn 0 and 1: DBGBVR<n>, DBGBCR<n>, DBGWVR<n>, DBGWCR<n>, MDSCR, OSLAR and the like.
        let register = attacker.random.below(1 << 8) as u32;
        let often = attacker.random.pick(&[register & 0x7f, MDSCR, OSLAR, register]);
        let access = attacker.random.pick(&[MSR_X0, MSR_X0, 0xd500_0001, MRS_X2]);
        pair[0] = access | (2 << 14 | often) << 5;
        pair[1] = if attacker.random.below(4) == 0 { UNMASK_DEBUG } else { NOP };
    }
    words[6] = LDR_X2_X1;
    words[7] = attacker.random.pick(&[NOP, 0xd420_0000, 0xd400_0001]); // BRK, SVC
    let value = match attacker.random.below(3) {
        0 => attacker.random.interesting() | 0xa001, // MDSCR_EL1: MDE, KDE, SS; E of a control register
        1 => scratch,
        _ => attacker.random.interesting(),
    };
    attacker.run_watched(&words, [value, scratch, 0]);
    test_guests::write_register!("mdscr_el1", 0);
}

/// Reads each, writes it back, writes random bits and what was there before.
pub(crate) fn sweep(attacker: &mut Attacker<'_>) {
    for number in 0..ENCODINGS {
        let field = number << 5;
        if number >> 14 < 2 {
            // Hints, barriers, PSTATE, and maintenance: executed with an address of the scratch area.
            let address = attacker.scratch();
            attacker.run_watched(&[MSR_X0 | field, SPSEL_1], [address, 0, 0]);
            continue;
        }
        let code = attacker.assemble(&[MRS_X2 | field]);
        attacker.run(code, [0; 3]);
        let back = [MRS_X2 | field, MSR_X2 | field, SPSEL_1];
        attacker.run_watched(&back, [0; 3]);
        if !OWN.contains(&number) {
            let spoil = [MRS_X2 | field, MSR_X0 | field, MSR_X2 | field, SPSEL_1];
            let value = survivable(number, attacker.random.interesting());
            attacker.run_watched(&spoil, [value, 0, 0]);
            if number % 64 == 0 {
                attacker.restore();
            }
        }
    }
}

/// The same from EL0, reads and writes.
pub(crate) fn sweep_unprivileged(attacker: &mut Attacker<'_>) {
    for number in 0..ENCODINGS {
        for access in [MRS_X2, MSR_X0] {
            crate::garbage::run_at_el0(attacker, &[access | number << 5]);
        }
    }
}

/// One access to the GIC's CPU interface.
pub(crate) fn interface(attacker: &mut Attacker<'_>) {
    let number = attacker.random.pick(&INTERRUPT_REGISTERS);
    let (field, value) = (number << 5, survivable(number, attacker.random.interesting()));
    match attacker.random.below(3) {
        0 => attacker.run_watched(&[MRS_X2 | field], [0; 3]),
        _ => attacker.run_watched(&[MSR_X0 | field], [value, 0, 0]),
    };
    if attacker.random.below(8) == 0 {
        timer::arm(timer::now());
        gic::send(attacker.random.below(16) as u32, attacker.cpu);
        timer::disarm();
        gic::drain();
    }
}

/// Random values in the GIC's CPU interface, and interrupts ended that never were.
pub(crate) fn interrupt_controller(attacker: &mut Attacker<'_>) {
    for round in 0..attacker.rounds() {
        interface(attacker);
        if round % 256 == 0 {
            attacker.restore();
        }
    }
}
