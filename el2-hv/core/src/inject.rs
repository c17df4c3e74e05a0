//! Exceptions that EL2 makes a guest take at EL1, as AArch64.TakeException would (Arm ARM D1.3, exception entry).
//!
//! Pure: from the interrupted state to the new one. The image writes the result to the vCPU's registers. The guest's
//! EL1 is AArch64 always; its EL0 may be AArch32.

use crate::addr::Va;
use crate::exit::MemoryAccess;

#[cfg(test)]
mod tests;

/// A vCPU at the instruction that cannot be done: its PC, PSTATE and the EL1 registers that direct exception entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Interrupted {
    /// ELR_EL2, the address of the instruction.
    pub pc: u64,
    /// SPSR_EL2.
    pub pstate: u64,
    /// SCTLR_EL1.
    pub sctlr_el1: u64,
    /// VBAR_EL1.
    pub vbar_el1: u64,
}

/// The vCPU behind exception entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub struct GuestException {
    /// ESR_EL1.
    pub esr_el1: u64,
    /// ELR_EL1.
    pub elr_el1: u64,
    /// SPSR_EL1.
    pub spsr_el1: u64,
    /// FAR_EL1, if this exception writes it.
    pub far_el1: Option<u64>,
    /// The vector: ELR_EL2.
    pub pc: u64,
    /// The new PSTATE: SPSR_EL2.
    pub pstate: u64,
    dead_end: bool,
}

impl GuestException {
    /// Whether the vCPU was at this very vector already, with the same PSTATE: it would take the exception again and
    /// again without executing anything. Such a vCPU cannot go on.
    pub const fn is_dead_end(&self) -> bool {
        self.dead_end
    }
}

/// SPSR_ELx (Arm ARM C5.2, SPSR_EL1).
mod pstate {
    pub(super) const EL_MASK: u64 = 0b1111;
    pub(super) const EL1H: u64 = 0b0101;
    pub(super) const EL1T: u64 = 0b0100;
    pub(super) const AARCH32: u64 = 1 << 4;
    pub(super) const DAIF: u64 = 0b1111 << 6;
    pub(super) const SSBS: u64 = 1 << 12;
    pub(super) const ALLINT: u64 = 1 << 13;
    pub(super) const PAN: u64 = 1 << 22;
    pub(super) const DIT: u64 = 1 << 24;
    pub(super) const TCO: u64 = 1 << 25;
    pub(super) const NZCV: u64 = 0b1111 << 28;
    /// What exception entry sets and a CPU may lack: it is RES0 there.
    pub(super) const OF_FEATURES: u64 = SSBS | ALLINT | PAN | TCO;
}

/// SCTLR_EL1.SPAN: exception entry leaves PSTATE.PAN alone.
const SCTLR_SPAN: u64 = 1 << 23;
/// SCTLR_EL1.DSSBS: PSTATE.SSBS on exception entry.
const SCTLR_DSSBS: u64 = 1 << 44;
/// SCTLR_EL1.SPINTMASK: exception entry clears PSTATE.ALLINT instead of setting it.
const SCTLR_SPINTMASK: u64 = 1 << 62;
/// VBAR_EL1[10:0] are RES0.
const VBAR_MASK: u64 = !0x7ff;

const ESR_IL: u64 = 1 << 25;
const EC_UNKNOWN: u64 = 0x00;
const EC_INSTRUCTION_ABORT_LOWER: u64 = 0x20;
const EC_DATA_ABORT_LOWER: u64 = 0x24;
/// The class of the same abort from the same exception level is one higher.
const EC_FROM_SAME: u64 = 1;
/// DFSC and IFSC: synchronous external abort, not on a table walk.
const STATUS_EXTERNAL_ABORT: u64 = 0b010000;
const ISS_WNR: u64 = 1 << 6;

impl Interrupted {
    /// The UNDEFINED exception that the instruction would take: class 0, no syndrome.
    pub const fn undefined(&self) -> GuestException {
        self.take(EC_UNKNOWN << 26 | ESR_IL, None)
    }

    /// The synchronous external abort that hardware gives for an access to nothing.
    ///
    /// A table walk that finds nothing is reported with the same status, as the level of stage 1 is not known to EL2.
    /// IL is 1 as for any abort without a valid ISS, and ISV is 0 as stage 1 never gives one.
    pub const fn external_abort(&self, access: MemoryAccess, va: Va) -> GuestException {
        let (class, iss) = match access {
            MemoryAccess::Fetch => (EC_INSTRUCTION_ABORT_LOWER, STATUS_EXTERNAL_ABORT),
            MemoryAccess::Load => (EC_DATA_ABORT_LOWER, STATUS_EXTERNAL_ABORT),
            MemoryAccess::Store => (EC_DATA_ABORT_LOWER, STATUS_EXTERNAL_ABORT | ISS_WNR),
        };
        let class = if self.is_at_el1() { class + EC_FROM_SAME } else { class };
        self.take(class << 26 | ESR_IL | iss, Some(va.0))
    }

    const fn is_at_el1(&self) -> bool {
        self.pstate & pstate::AARCH32 == 0 && self.pstate & 0b1100 == pstate::EL1T
    }

    /// Where the vector lies from VBAR_EL1, for synchronous exceptions (Arm ARM D1.3, exception vectors).
    const fn vector_offset(&self) -> u64 {
        if self.pstate & pstate::AARCH32 != 0 {
            return 0x600;
        }
        match self.pstate & pstate::EL_MASK {
            pstate::EL1T => 0x000,
            pstate::EL1H => 0x200,
            _ => 0x400,
        }
    }

    /// PSTATE at the vector (AArch64.TakeException). NZCV and DIT stay, PAN is set unless SPAN says otherwise, TCO is set,
    /// SSBS and ALLINT come from SCTLR_EL1; UAO, SS, IL, BTYPE and what AArch32 alone has are cleared.
    ///
    /// What of this the CPU lacks is RES0 in SPSR_EL2. What belongs to FEAT_MTE and FEAT_NMI is done for a guest that is
    /// shown neither, as hardware does it where it takes an exception to EL1 itself.
    const fn entry_pstate(&self) -> u64 {
        let kept = self.pstate & (pstate::NZCV | pstate::DIT | pstate::PAN);
        let pan = if self.sctlr_el1 & SCTLR_SPAN == 0 { pstate::PAN } else { 0 };
        let ssbs = if self.sctlr_el1 & SCTLR_DSSBS == 0 { 0 } else { pstate::SSBS };
        let allint = if self.sctlr_el1 & SCTLR_SPINTMASK == 0 { pstate::ALLINT } else { 0 };
        kept | pan | ssbs | allint | pstate::TCO | pstate::DAIF | pstate::EL1H
    }

    const fn take(&self, esr_el1: u64, far_el1: Option<u64>) -> GuestException {
        let pc = (self.vbar_el1 & VBAR_MASK).wrapping_add(self.vector_offset());
        let pstate = self.entry_pstate();
        GuestException {
            esr_el1,
            elr_el1: self.pc,
            spsr_el1: self.pstate,
            far_el1,
            pc,
            pstate,
            // A CPU that lacks a feature does not give its bit back.
            dead_end: pc == self.pc && (pstate ^ self.pstate) & !pstate::OF_FEATURES == 0,
        }
    }
}
