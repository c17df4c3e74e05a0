//! Stage-2 TLB maintenance (Arm ARM D8.16). All of it works on the VMID in VTTBR_EL2.

use core::arch::asm;

use hv_core::addr::{Pa, Vmid};

use crate::msr;

/// VTTBR_EL2 for tables at `root` with `vmid` (CnP 0: CPUs share no TLB entries).
#[inline]
pub const fn vttbr(root: Pa, vmid: Vmid) -> u64 {
    root.0 | (vmid.0 as u64) << 48
}

/// Forgets every translation of the VM in `vttbr` on all CPUs: before its VMID is used again.
/// The VTTBR that was loaded stays loaded.
///
/// Meanwhile EL1's tables are those of another VM: no walk of them may begin, see [`crate::guest::VcpuContext::load`].
pub fn invalidate_vmid(vttbr: u64) {
    let (loaded, tcr) = (crate::mrs!("vttbr_el2"), crate::mrs!("tcr_el1"));
    msr!("tcr_el1", TCR_NO_WALKS);
    crate::cpu::isb();
    msr!("vttbr_el2", vttbr);
    // SAFETY: the TLB holds copies of tables only. The DSB first makes the changed tables visible
    // to the walkers (D8.17.1).
    unsafe { asm!("isb", "dsb ishst", "tlbi vmalls12e1is", "dsb ish", "isb", options(nostack, preserves_flags)) };
    msr!("vttbr_el2", loaded);
    crate::cpu::isb();
    msr!("tcr_el1", tcr);
}

/// TCR_EL1.EPD0 and EPD1.
pub(crate) const TCR_NO_WALKS: u64 = 1 << 7 | 1 << 23;

/// Forgets this CPU's stage-1 translations of the loaded VM, and its instructions: another vCPU of
/// the same VM ran here last, and the two may use one ASID for different tables (D8.16.3, CnP).
#[inline]
pub fn forget_other_vcpu() {
    // SAFETY: the TLB holds copies of tables only.
    unsafe { asm!("tlbi vmalle1", "ic iallu", "dsb nsh", "isb", options(nostack, preserves_flags)) };
}
