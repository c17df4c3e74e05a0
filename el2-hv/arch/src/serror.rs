//! SErrors that are under way when a vCPU leaves its CPU. EL2 runs with PSTATE.A set: they wait until somebody looks.

use core::arch::asm;

use hv_core::serror::SError;

use crate::guest::has_ras;
use crate::{mrs, msr, vectors};

/// Waits until the accesses of this CPU are done, and takes the SError that they left, if any.
///
/// With FEAT_RAS an ESB defers it to DISR_EL1 and it is no longer pending (Arm ARM, AArch64.ESBOperation). Without, a DSB
/// is all there is to wait by, ISR_EL1.A says whether one is pending, and only taking it takes it away. The caller has
/// stored the registers of the guest: TPIDR_EL0 and TPIDR_EL1 are changed where one is taken.
#[inline]
pub fn synchronize() -> Option<SError> {
    if has_ras() {
        // SAFETY: ESB (HINT 16) is a barrier.
        unsafe { asm!("hint #16", options(nostack, preserves_flags)) };
        let error = SError::deferred(mrs!("s3_0_c12_c1_1"))?;
        msr!("s3_0_c12_c1_1", 0);
        return Some(error);
    }
    // SAFETY: barriers. The ISB keeps the read behind the DSB.
    unsafe { asm!("dsb sy", "isb", options(nostack, preserves_flags)) };
    if mrs!("isr_el1") & ISR_A == 0 {
        return None;
    }
    vectors::take_serror().map(SError::taken)
}

/// ISR_EL1.A: a physical SError is pending.
const ISR_A: u64 = 1 << 8;
