//! A vCPU's self-hosted debug registers: breakpoints, watchpoints, software step, the OS lock (Arm ARM D2 and D24.3).
//!
//! Every access traps (MDCR_EL2.TDA and TDOSA), also while the registers are in the CPU: the same control guards what
//! is not switched, the channel to an external debugger, the claim tags and comparators that a guest was not shown. So
//! the values here are the truth, and the CPU holds a copy of them while the vCPU is loaded and has something armed. A
//! vCPU that debugs nothing leaves the CPU's registers alone.

use crate::sysreg::{MDSCR_EL1, OSLAR_EL1, OSLSR_EL1, SysReg};

#[cfg(test)]
mod tests;

/// Breakpoints, and watchpoints, that the architecture allows without FEAT_Debugv8p9.
const COMPARATORS: usize = 16;

/// MDSCR_EL1.SS: software step.
const MDSCR_SS: u64 = 1;
/// MDSCR_EL1.MDE: breakpoints and watchpoints.
const MDSCR_MDE: u64 = 1 << 15;
/// SS, TDCC, KDE and MDE. The others are for an external debugger, and read-only while the OS lock is open.
const MDSCR_MASK: u64 = MDSCR_SS | 1 << 12 | 1 << 13 | MDSCR_MDE;
/// DBGBCR<n>_EL1: E, PMC, BAS, HMC, SSC, LBN, BT. BT[3] is left out: it compares what belongs to EL2, which a guest has not.
const BREAKPOINT_CONTROL_MASK: u64 = 0x007f_e1e7;
/// DBGWCR<n>_EL1: E, PAC, LSC, BAS, HMC, SSC, LBN, WT, MASK.
const WATCHPOINT_CONTROL_MASK: u64 = 0x1f1f_ffff;
/// DBGWVR<n>_EL1[1:0] are RES0.
const WATCHPOINT_VALUE_MASK: u64 = !0b11;
/// OSLSR_EL1.OSLM = 0b10: the OS lock is implemented.
const OSLSR_OSLM: u64 = 1 << 3;

/// The registers, as the vCPU that owns them sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct DebugState {
    /// A pair of value and control for each breakpoint, then for each watchpoint.
    comparators: [[u64; 2]; 2 * COMPARATORS],
    /// MDSCR_EL1 in the CPU while the vCPU is loaded: 0 as long as nothing can raise an exception.
    armed: u64,
    mdscr: u64,
    os_lock_open: bool,
}

/// What the CPU's registers need after a write.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hardware {
    /// Nothing: nothing of the vCPU is in them.
    Unchanged,
    /// The vCPU's values.
    Load,
    /// To be cleared.
    Clear,
}

impl DebugState {
    /// After a cold reset: the OS lock is closed (Arm ARM, OSLSR_EL1.OSLK). What is UNKNOWN is 0.
    pub const RESET: Self = Self { comparators: [[0; 2]; 2 * COMPARATORS], armed: 0, mdscr: 0, os_lock_open: false };

    /// Whether the registers must be in the CPU while the vCPU runs.
    #[inline]
    pub const fn is_armed(&self) -> bool {
        self.armed != 0
    }

    /// What the vCPU reads. `features` is its ID_AA64DFR0_EL1; a comparator that it does not show is not there.
    pub fn read(&self, register: SysReg, features: u64) -> Option<u64> {
        match register {
            MDSCR_EL1 => Some(self.mdscr),
            // OSLK is bit 1.
            OSLSR_EL1 => Some(OSLSR_OSLM | u64::from(!self.os_lock_open) << 1),
            _ => {
                let (number, part) = place(register, features)?;
                Some(self.comparators[number][part])
            }
        }
    }

    /// Writes a register, if it is there.
    pub fn write(&mut self, register: SysReg, value: u64, features: u64) -> Option<Hardware> {
        match register {
            MDSCR_EL1 => self.mdscr = value & MDSCR_MASK,
            OSLAR_EL1 => self.os_lock_open = value & 1 == 0,
            _ => {
                let (number, part) = place(register, features)?;
                self.comparators[number][part] = value & mask(register);
            }
        }
        let was_armed = self.is_armed();
        // A closed OS lock lets no exception but that of BRK through (Arm ARM, AArch64.GenerateDebugExceptionsFrom).
        let arms = self.os_lock_open && self.mdscr & (MDSCR_SS | MDSCR_MDE) != 0;
        self.armed = if arms { self.mdscr } else { 0 };
        Some(match (was_armed, arms) {
            (_, true) => Hardware::Load,
            (true, false) => Hardware::Clear,
            (false, false) => Hardware::Unchanged,
        })
    }
}

/// Whether the comparator of this register is a watchpoint's.
const fn is_watchpoint(register: SysReg) -> bool {
    register.op2() & 2 != 0
}

/// Index of a comparator, and which of its pair.
fn place(register: SysReg, features: u64) -> Option<(usize, usize)> {
    // ID_AA64DFR0_EL1.WRPs and BRPs: how many but one.
    let (base, last) =
        if is_watchpoint(register) { (COMPARATORS, features >> 20 & 0xf) } else { (0, features >> 12 & 0xf) };
    let number = register.crm();
    (u64::from(number) <= last).then_some((base + number as usize, (register.op2() & 1) as usize))
}

/// Bits that a comparator's register has.
const fn mask(register: SysReg) -> u64 {
    match (is_watchpoint(register), register.op2() & 1) {
        // An address, or a context in its lower half.
        (false, 0) => u64::MAX,
        (false, _) => BREAKPOINT_CONTROL_MASK,
        (true, 0) => WATCHPOINT_VALUE_MASK,
        (true, _) => WATCHPOINT_CONTROL_MASK,
    }
}

/// Offset of [`DebugState`]'s value for MDSCR_EL1, for the code that loads the CPU.
pub const ARMED_OFFSET: usize = core::mem::offset_of!(DebugState, armed);
