//! What executing an instruction does to the PC and PSTATE, for an instruction that EL2 has done for the guest.

/// ESR_EL2.IL: the instruction is 32 bits long.
const ESR_IL: u64 = 1 << 25;
/// SPSR_EL2.M[4]: the exception was taken from AArch32 (Arm ARM, SPSR_EL2).
const SPSR_AARCH32: u64 = 1 << 4;
/// SPSR_EL2.BTYPE.
const SPSR_BTYPE: u64 = 0b11 << 10;
/// SPSR_EL2.SS.
const SPSR_SS: u64 = 1 << 21;
/// SPSR_EL2.IT[7:2] from AArch32.
const SPSR_IT_HIGH: u64 = 0b11_1111 << 10;
/// SPSR_EL2.IT[1:0] from AArch32.
const SPSR_IT_LOW: u64 = 0b11 << 25;

/// The return address and SPSR_EL2 behind the instruction at `pc` that EL2 has done for the guest.
///
/// What executing it would have done to PSTATE is done here: BTYPE is cleared, a software step is used
/// up, and in T32 the IT state moves on and the length comes from `esr`'s IL.
#[inline]
pub const fn step_over(pc: u64, spsr: u64, esr: u64) -> (u64, u64) {
    if spsr & SPSR_AARCH32 == 0 {
        return (pc.wrapping_add(4), spsr & !(SPSR_BTYPE | SPSR_SS));
    }
    let length = if esr & ESR_IL == 0 { 2 } else { 4 };
    let pc = (pc as u32).wrapping_add(length) as u64;
    (pc, advance_it_state(spsr) & !SPSR_SS)
}

/// AArch32.ITAdvance (Arm ARM, shared pseudocode): the last instruction of a block clears the state, others shift the mask.
const fn advance_it_state(spsr: u64) -> u64 {
    let it = (spsr & SPSR_IT_HIGH) >> 8 | (spsr & SPSR_IT_LOW) >> 25;
    let next = if it & 0b111 == 0 { 0 } else { it & 0xe0 | (it << 1) & 0x1f };
    let rest = spsr & !(SPSR_IT_HIGH | SPSR_IT_LOW);
    rest | (next << 8) & SPSR_IT_HIGH | (next << 25) & SPSR_IT_LOW
}
