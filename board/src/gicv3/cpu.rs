//! The CPU interface, by system registers (IHI0069 §12.2). At EL2 the ICC registers are always the
//! physical ones, whatever HCR_EL2 routes.
//!
//! The functions on a guest's path are one or two instructions each. None of them synchronizes the context
//! except where it says so: the return to a guest does (Arm ARM D1.4.1).

use core::arch::asm;

use aarch64_cpu::registers::ICC_SRE_EL2;
use hv_core::addr::IntId;
use tock_registers::interfaces::{Readable, Writeable};

use super::{GicError, SgiTarget};

/// ICC_CTLR_EL1.EOImode: EOIR drops the priority, DIR deactivates (IHI0069 §12.2.6).
const EOI_MODE: u64 = 1 << 1;
/// Where ICC_CTLR_EL1.PRIbits is: the number of priority bits, less one.
const PRIBITS_SHIFT: u32 = 8;

/// Writes a system register that `aarch64-cpu` does not have. The caller gives the reason why it is safe.
macro_rules! write_register {
    ($name:literal, $value:expr) => {
        asm!(concat!("msr ", $name, ", {}"), in(reg) $value, options(nomem, nostack, preserves_flags))
    };
}

/// Brings this CPU's interface from whatever state into this: system registers for EL2 and EL1, no
/// bypass; all priorities let through; priority drop and deactivation apart; group 1 on.
///
/// # Errors
///
/// [`GicError::NoSystemRegisters`].
pub fn init() -> Result<(), GicError> {
    ICC_SRE_EL2.write(ICC_SRE_EL2::SRE::SET + ICC_SRE_EL2::DFB::SET + ICC_SRE_EL2::DIB::SET + ICC_SRE_EL2::ENABLE::SET);
    aarch64_cpu::asm::barrier::isb(aarch64_cpu::asm::barrier::SY);
    if !ICC_SRE_EL2.is_set(ICC_SRE_EL2::SRE) {
        return Err(GicError::NoSystemRegisters);
    }
    // SAFETY: these registers hold this CPU's interrupt state, which is EL2's, and no memory depends on
    // them. SRE_EL1: SRE, DFB, DIB. Nothing is signaled before group 1 is enabled, which is last.
    unsafe {
        write_register!("ICC_SRE_EL1", 7_u64);
        asm!("isb", options(nomem, nostack, preserves_flags));
        write_register!("ICC_IGRPEN1_EL1", 0_u64);
        write_register!("ICC_PMR_EL1", 0xff_u64);
        write_register!("ICC_BPR1_EL1", 0_u64);
    }
    let control: u64;
    // SAFETY: as above.
    unsafe {
        asm!("mrs {}, ICC_CTLR_EL1", out(reg) control, options(nomem, nostack, preserves_flags));
        write_register!("ICC_CTLR_EL1", EOI_MODE);
    }
    clear_active_priorities((control >> PRIBITS_SHIFT & 7) + 1);
    // SAFETY: as above.
    unsafe {
        write_register!("ICC_IGRPEN1_EL1", 1_u64);
        asm!("isb", options(nomem, nostack, preserves_flags));
    }
    Ok(())
}

/// Signals nothing to this CPU any more, until [`init`].
pub fn disable() {
    // SAFETY: as in `init`.
    unsafe {
        write_register!("ICC_IGRPEN1_EL1", 0_u64);
        asm!("isb", options(nomem, nostack, preserves_flags));
    }
}

/// What ran before may have left priorities active, which would hold back all interrupts of the same
/// priority. The upper registers exist only with so many priority bits (IHI0069 §12.2.2).
fn clear_active_priorities(priority_bits: u64) {
    // SAFETY: as in `init`; the registers written exist.
    unsafe {
        write_register!("ICC_AP1R0_EL1", 0_u64);
        if priority_bits >= 6 {
            write_register!("ICC_AP1R1_EL1", 0_u64);
        }
        if priority_bits >= 7 {
            write_register!("ICC_AP1R2_EL1", 0_u64);
            write_register!("ICC_AP1R3_EL1", 0_u64);
        }
    }
}

/// Takes the pending interrupt, or [`SPURIOUS`]. The barrier makes it active before anything that follows.
///
/// [`SPURIOUS`]: super::SPURIOUS
#[inline]
pub fn acknowledge() -> IntId {
    let id: u64;
    // SAFETY: the read changes only this CPU's interrupt state, which is EL2's. It may not move across
    // accesses to the device that signals, so memory counts as touched.
    unsafe {
        asm!("mrs {}, ICC_IAR1_EL1", "dsb sy", out(reg) id, options(nostack, preserves_flags));
    }
    IntId(id as u32)
}

/// Lets other interrupts of the priority come; `id` itself stays active. Once for each acknowledgement
/// that was not [`SPURIOUS`], the last one first.
///
/// [`SPURIOUS`]: super::SPURIOUS
#[inline]
pub fn drop_priority(id: IntId) {
    // SAFETY: as in `acknowledge`.
    unsafe {
        asm!("msr ICC_EOIR1_EL1, {}", in(reg) u64::from(id.0), options(nostack, preserves_flags));
    }
}

/// Makes an interrupt inactive that no guest will deactivate.
#[inline]
pub fn deactivate(id: IntId) {
    // SAFETY: as in `acknowledge`.
    unsafe {
        asm!("msr ICC_DIR_EL1, {}", in(reg) u64::from(id.0), options(nostack, preserves_flags));
    }
}

/// Interrupts another CPU. What was stored before is visible to it when it is interrupted.
#[inline]
pub fn send_sgi(target: SgiTarget, sgi: IntId) {
    // SAFETY: the write has no effect on this CPU but a pending interrupt; the barrier before it orders
    // stores (IHI0069 §4.1.4), the one after it sends it now.
    unsafe {
        asm!(
            "dsb ishst",
            "msr ICC_SGI1R_EL1, {}",
            "isb",
            in(reg) target.value(sgi),
            options(nostack, preserves_flags),
        );
    }
}
