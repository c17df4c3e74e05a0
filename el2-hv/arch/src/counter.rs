//! The system counter and EL2's own timer (Arm ARM D11.2).

use crate::{mrs, msr};

/// CNTPCT_EL0, after everything before it in program order.
#[inline]
pub fn now() -> u64 {
    // The ISB keeps the counter from being read early (Arm ARM D11.2.1).
    crate::cpu::isb();
    mrs!("cntpct_el0")
}

/// CNTPCT_EL0 where its order against earlier instructions does not matter.
#[inline]
pub fn now_relaxed() -> u64 {
    mrs!("cntpct_el0")
}

/// CNTFRQ_EL0 in Hz, as firmware set it.
pub fn frequency() -> u64 {
    mrs!("cntfrq_el0")
}

/// Interrupts at `deadline` (a value of the counter), or never: EL2's physical timer, PPI 26.
#[inline]
pub fn set_deadline(deadline: Option<u64>) {
    match deadline {
        Some(at) => {
            msr!("cnthp_cval_el2", at);
            msr!("cnthp_ctl_el2", 1);
        }
        None => msr!("cnthp_ctl_el2", 0),
    }
    crate::cpu::isb();
}
