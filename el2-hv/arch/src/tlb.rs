//! Stage-2 TLB maintenance (Arm ARM D8.16). All of it works on the VMID in VTTBR_EL2.

use core::arch::asm;
use core::sync::atomic::AtomicU64;

use hv_core::addr::{Pa, Vmid};

use crate::msr;

/// VTTBR_EL2 for tables at `root` with `vmid` (CnP 0: CPUs share no TLB entries).
#[inline]
pub const fn vttbr(root: Pa, vmid: Vmid) -> u64 {
    root.0 | (vmid.0 as u64) << 48
}

/// Two root tables (`hv_core::stage2::ROOT_SIZE`) that lead nowhere. Atomics, so that it lies in .bss.
#[repr(C, align(8192))]
struct EmptyRoot([AtomicU64; 1024]);

static EMPTY_ROOT: EmptyRoot = EmptyRoot([const { AtomicU64::new(0) }; 1024]);

/// Forgets every translation of a VM, on all CPUs, and waits for accesses by them (D8.17.1). Its root is not loaded for that: where
/// the VM runs nowhere, no walk of its tables begins any more. The VTTBR that was loaded stays loaded.
///
/// Meanwhile EL1's tables are those of another VM: no walk of them may begin, see [`crate::guest::VcpuContext::load`].
pub fn invalidate_vmid(vmid: Vmid) {
    let (loaded, tcr) = (crate::mrs!("vttbr_el2"), crate::mrs!("tcr_el1"));
    msr!("tcr_el1", TCR_NO_WALKS);
    crate::cpu::isb();
    msr!("vttbr_el2", vttbr(Pa((&raw const EMPTY_ROOT) as u64), vmid));
    // SAFETY: the TLB holds copies of tables only. The DSB waits for walks that are under way, too (D8.17.1).
    unsafe { asm!("isb", "tlbi vmalls12e1is", "dsb ish", "isb", options(nostack, preserves_flags)) };
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
