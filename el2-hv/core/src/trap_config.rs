//! The trap configuration: what EL2 writes to its control registers before it enters a guest.
//!
//! One row a field, with the reason for its value; the register's value is the sum of its rows, and a field without a
//! row is 0. `docs/TRAPS.md` lists the same rows. The values are for HCR_EL2.E2H = 0.
//!
//! Some fields belong to a feature that the CPU may lack. The architecture makes them RES0 there, where a 1 has no
//! function, so they are set everywhere.

mod rows;
#[cfg(test)]
mod tests;

pub use rows::{CNTHCTL_ROWS, CPTR_ROWS, HCR_ROWS, HCRX_ROWS, MDCR_ROWS, OTHER_ROWS, OtherRow};

/// A field of a control register and the value it gets.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The architecture's name.
    pub name: &'static str,
    /// Lowest bit.
    pub shift: u8,
    /// Bits.
    pub width: u8,
    /// What it is set to.
    pub value: u64,
    /// Why.
    pub reason: &'static str,
}

const fn compose(rows: &[Field]) -> u64 {
    let mut value = 0;
    let mut next = 0;
    while next < rows.len() {
        let row = &rows[next];
        assert!(row.value < 1 << row.width, "a value must fit its field");
        assert!(value & (((1 << row.width) - 1) << row.shift) == 0, "fields must not overlap");
        value |= row.value << row.shift;
        next += 1;
    }
    value
}

/// HCR_EL2 while a guest runs. The run loop may add [`HCR_VI`] or [`HCR_VSE`].
pub const HCR_GUEST: u64 = compose(HCR_ROWS);
/// HCR_EL2 while EL2 runs for itself: nothing virtual, interrupts and SErrors come to EL2, EL1 is AArch64.
pub const HCR_HOST: u64 = HCR_RW | HCR_AMO | HCR_IMO | HCR_FMO;

/// HCR_EL2.FMO: physical FIQs go to EL2.
pub const HCR_FMO: u64 = 1 << 3;
/// HCR_EL2.IMO: physical IRQs go to EL2.
pub const HCR_IMO: u64 = 1 << 4;
/// HCR_EL2.AMO: physical SErrors go to EL2.
pub const HCR_AMO: u64 = 1 << 5;
/// HCR_EL2.VI: a virtual IRQ is pending, beside those of the list registers.
pub const HCR_VI: u64 = 1 << 7;
/// HCR_EL2.VSE: a virtual SError is pending.
pub const HCR_VSE: u64 = 1 << 8;
/// HCR_EL2.TWI: WFI traps.
pub const HCR_TWI: u64 = 1 << 13;
/// HCR_EL2.TWE: WFE traps.
pub const HCR_TWE: u64 = 1 << 14;
/// HCR_EL2.RW: EL1 is AArch64.
pub const HCR_RW: u64 = 1 << 31;

/// CPTR_EL2 while a guest runs that owns the FP registers.
pub const CPTR_GUEST: u64 = compose(CPTR_ROWS);
/// CPTR_EL2.TFP: FP and SIMD trap.
pub const CPTR_TFP: u64 = 1 << 10;

/// CNTHCTL_EL2 while a guest runs.
pub const CNTHCTL_GUEST: u64 = compose(CNTHCTL_ROWS);

/// HSTR_EL2: AArch32 EL0 of a guest has no coprocessor register that the other controls leave open.
pub const HSTR_GUEST: u64 = 0;

/// HCRX_EL2, where FEAT_HCX is implemented.
pub const HCRX_GUEST: u64 = compose(HCRX_ROWS);

/// HFGRTR_EL2, HFGWTR_EL2, HFGITR_EL2, HDFGRTR_EL2, HDFGWTR_EL2, HAFGRTR_EL2, where FEAT_FGT is implemented.
///
/// In these registers bits of new features are named n... and trap when 0, the others trap when 1. So 0 leaves what
/// the other controls decide, and traps what is newer than they are.
pub const FINE_GRAINED_TRAPS_GUEST: u64 = 0;

/// MDCR_EL2 while a guest runs, on a CPU with `counters` event counters (PMCR_EL0.N).
///
/// HPMN above N or, without FEAT_HPMN0, of 0 is CONSTRAINED UNPREDICTABLE (Arm ARM, MDCR_EL2), and a core without a
/// PMU has N = 0 and the field RES0: N is right for all.
#[inline]
pub const fn mdcr_guest(counters: u8) -> u64 {
    const FIXED: u64 = compose(MDCR_ROWS);
    FIXED | (counters & 0x1f) as u64
}
