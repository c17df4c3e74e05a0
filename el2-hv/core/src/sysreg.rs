//! What a guest sees of the system registers: the allow-list.
//!
//! One table (`table.rs`) says of each register that traps what EL2 answers, and of each group that does not trap
//! why a guest may have it; `docs/TRAPS.md` is written from it. What traps and is not in the table is UNDEFINED in
//! the guest. Which registers trap is decided in [`crate::trap_config`], the ID registers in [`crate::idreg`].

use core::fmt;

use crate::exit::Direction;
use crate::vgic::SgiRegister;

mod passed;
mod table;
#[cfg(test)]
mod tests;

pub use passed::{PASSED, PassedRow};
pub use table::{Answer, TRAPPED, TrapRow};

/// A system register or system instruction: op0, op1, CRn, CRm, op2.
///
/// Packed as in the ISS of a trapped MRS or MSR (Arm ARM D24.2.40, EC 0x18), so that decoding it is one mask.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct SysReg(u32);

const OP0_SHIFT: u32 = 20;
const OP2_SHIFT: u32 = 17;
const OP1_SHIFT: u32 = 14;
const CRN_SHIFT: u32 = 10;
const CRM_SHIFT: u32 = 1;

impl SysReg {
    /// All bits that name a register.
    const MASK: u32 = 0x003f_fc1e;

    /// The register of that encoding. Each field is cut to its width.
    #[inline]
    pub const fn new(op0: u32, op1: u32, crn: u32, crm: u32, op2: u32) -> Self {
        Self(
            (op0 & 3) << OP0_SHIFT
                | (op1 & 7) << OP1_SHIFT
                | (crn & 15) << CRN_SHIFT
                | (crm & 15) << CRM_SHIFT
                | (op2 & 7) << OP2_SHIFT,
        )
    }

    /// The register in the ISS of an exception of class 0x18.
    #[inline]
    pub const fn from_iss(iss: u32) -> Self {
        Self(iss & Self::MASK)
    }

    /// op0.
    #[inline]
    pub const fn op0(self) -> u32 {
        self.0 >> OP0_SHIFT & 3
    }

    /// op1.
    #[inline]
    pub const fn op1(self) -> u32 {
        self.0 >> OP1_SHIFT & 7
    }

    /// CRn.
    #[inline]
    pub const fn crn(self) -> u32 {
        self.0 >> CRN_SHIFT & 15
    }

    /// CRm.
    #[inline]
    pub const fn crm(self) -> u32 {
        self.0 >> CRM_SHIFT & 15
    }

    /// op2.
    #[inline]
    pub const fn op2(self) -> u32 {
        self.0 >> OP2_SHIFT & 7
    }

    /// Whether this is one of the ID registers that HCR_EL2.TID3 traps: op0 3, op1 0, CRn 0, CRm 1 to 7.
    #[inline]
    pub const fn is_id(self) -> bool {
        const ID_SPACE: SysReg = SysReg::new(3, 0, 0, 0, 0);
        const OUTSIDE: u32 = SysReg::new(3, 7, 15, 8, 0).0;
        const CRM: u32 = SysReg::new(0, 0, 0, 7, 0).0;
        self.0 & OUTSIDE == ID_SPACE.0 && self.0 & CRM != 0
    }
}

impl fmt::Debug for SysReg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for SysReg {
    /// The architecture's generic name, as assemblers take it: `S3_0_C0_C4_0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (op0, op1, crn) = (self.op0(), self.op1(), self.crn());
        write!(f, "S{op0}_{op1}_C{crn}_C{}_{}", self.crm(), self.op2())
    }
}

/// ICC_SGI1R_EL1 (IHI0069 §12.2.20).
pub const ICC_SGI1R_EL1: SysReg = SysReg::new(3, 0, 12, 11, 5);
/// ICC_ASGI1R_EL1.
pub const ICC_ASGI1R_EL1: SysReg = SysReg::new(3, 0, 12, 11, 6);
/// ICC_SGI0R_EL1.
pub const ICC_SGI0R_EL1: SysReg = SysReg::new(3, 0, 12, 11, 7);
/// ICC_SRE_EL1.
pub const ICC_SRE_EL1: SysReg = SysReg::new(3, 0, 12, 12, 5);
/// CNTP_TVAL_EL0.
pub const CNTP_TVAL_EL0: SysReg = SysReg::new(3, 3, 14, 2, 0);
/// CNTP_CTL_EL0.
pub const CNTP_CTL_EL0: SysReg = SysReg::new(3, 3, 14, 2, 1);
/// CNTP_CVAL_EL0.
pub const CNTP_CVAL_EL0: SysReg = SysReg::new(3, 3, 14, 2, 2);
/// MDSCR_EL1.
pub const MDSCR_EL1: SysReg = SysReg::new(2, 0, 0, 2, 2);
/// OSLAR_EL1.
pub const OSLAR_EL1: SysReg = SysReg::new(2, 0, 1, 0, 4);
/// OSLSR_EL1.
pub const OSLSR_EL1: SysReg = SysReg::new(2, 0, 1, 1, 4);
/// ID_AA64DFR0_EL1.
pub const ID_AA64DFR0_EL1: SysReg = SysReg::new(3, 0, 0, 5, 0);

/// A register of the EL1 physical timer (Arm ARM D11.2.4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TimerRegister {
    /// CNTP_CTL_EL0.
    Control,
    /// CNTP_CVAL_EL0.
    CompareValue,
    /// CNTP_TVAL_EL0.
    TimerValue,
}

/// What EL2 does about a trapped access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SysRegAction {
    /// Read it from [`crate::idreg::IdRegisters`].
    IdRegister,
    /// Give the written value to [`crate::vgic::Vgic::send_sgi`].
    Sgi(SgiRegister),
    /// Give the written INTID to the vGIC's deactivation.
    DeactivateInterrupt,
    /// Give it to [`crate::timer::PhysicalTimer`].
    PhysicalTimer(TimerRegister),
    /// Give it to [`crate::debug::DebugState`].
    Debug,
    /// A read gives zero, a write has no effect.
    ReadZeroWriteIgnore,
    /// A read gives this, a write has no effect.
    ReadValue(u64),
    /// Cache maintenance by set and way: make it harmless. See the row's reason.
    SetWayCache,
    /// Inject an UNDEFINED exception.
    Undefined,
}

/// What a guest may do to a register.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Access {
    /// Both.
    ReadWrite,
    /// Writing is UNDEFINED.
    ReadOnly,
    /// Reading is UNDEFINED; system instructions, too.
    WriteOnly,
}

impl Access {
    const fn allows(self, direction: Direction) -> bool {
        !matches!((self, direction), (Self::ReadOnly, Direction::Write) | (Self::WriteOnly, Direction::Read))
    }
}

/// One register, or all registers that agree with one in the named bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pattern {
    value: u32,
    mask: u32,
}

impl Pattern {
    /// Exactly `register`.
    pub const fn one(register: SysReg) -> Self {
        Self { value: register.0, mask: SysReg::MASK }
    }

    /// All registers that agree with `register` in the bits that `fixed` has set.
    pub const fn group(register: SysReg, fixed: SysReg) -> Self {
        Self { value: register.0 & fixed.0, mask: fixed.0 }
    }

    /// Whether `register` is one of them.
    #[inline]
    pub const fn contains(self, register: SysReg) -> bool {
        register.0 & self.mask == self.value
    }
}

/// What to do when a guest's access to `register` traps.
#[inline]
pub fn classify(register: SysReg, direction: Direction) -> SysRegAction {
    if register.is_id() {
        return match direction {
            Direction::Read => SysRegAction::IdRegister,
            Direction::Write => SysRegAction::Undefined,
        };
    }
    match (register, direction) {
        (ICC_SGI1R_EL1, Direction::Write) => SysRegAction::Sgi(SgiRegister::Sgi1),
        _ => look_up(register, direction),
    }
}

/// The table's answer. Its first rows are what a running guest uses; the rest is for boot.
fn look_up(register: SysReg, direction: Direction) -> SysRegAction {
    table::ANSWERS
        .iter()
        .find(|answer| answer.pattern.contains(register))
        .filter(|answer| answer.access.allows(direction))
        .map_or(SysRegAction::Undefined, |answer| answer.action)
}
