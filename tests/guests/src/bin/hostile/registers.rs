//! Every system register and instruction that can be encoded.

use crate::code::Attacker;
use test_guests::{gic, timer};

/// Encodings with op0 from 0 to 3: op0, op1, CRn, CRm, op2 are bits 20 to 5.
const ENCODINGS: u32 = 1 << 16;
/// MRS and MSR with Rt = x0; MRS with x2 keeps the old value for the end.
const MSR_X0: u32 = 0xd500_0000;
const MRS_X2: u32 = 0xd520_0002;
const MSR_X2: u32 = 0xd500_0002;
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
            let value = attacker.random.interesting();
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

/// Random values in the GIC's CPU interface, and interrupts ended that never were.
pub(crate) fn interrupt_controller(attacker: &mut Attacker<'_>) {
    for round in 0..attacker.rounds() {
        let field = attacker.random.pick(&INTERRUPT_REGISTERS) << 5;
        let value = attacker.random.interesting();
        match attacker.random.below(3) {
            0 => attacker.run_watched(&[MRS_X2 | field], [0; 3]),
            _ => attacker.run_watched(&[MSR_X0 | field], [value, 0, 0]),
        };
        if attacker.random.below(8) == 0 {
            timer::arm(timer::now());
            gic::send(attacker.random.below(16) as u32, 0);
            timer::disarm();
            gic::drain();
        }
        if round % 256 == 0 {
            attacker.restore();
        }
    }
}
