//! SMMUv3 (IHI0070): at boot nothing behind it reaches memory; then each device what it is given ([`Smmu`]).
//!
//! After reset an SMMU that is off lets all DMA through, so [`block_all`] comes before anything is in memory that is worth
//! protecting. It closes one that firmware has left on as well.

mod driver;
mod registers;

use core::ptr::NonNull;

use hv_core::addr::Pa;
use thiserror::Error;
use tock_registers::interfaces::{Readable, Writeable};
use tock_registers::registers::{ReadOnly, ReadWrite};
use tock_registers::{register_bitfields, register_structs};

pub use driver::{Failure, MEMORY, Smmu};
pub use registers::{Hardware, Mmio, Register};

use crate::wait;

register_bitfields! {
    u32,
    /// IHI0070 §6.3.14.
    GlobalBypass [ABORT 20, UPDATE 31],
}

register_structs! {
    /// The start of register page 0 (IHI0070 §6.2).
    Registers {
        (0x00 => _id),
        (0x20 => cr0: ReadWrite<u32>),
        (0x24 => cr0ack: ReadOnly<u32>),
        (0x28 => _cr1),
        (0x44 => gbpa: ReadWrite<u32, GlobalBypass::Register>),
        (0x48 => @END),
    }
}

/// Why an SMMU could not be made to block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum SmmuError {
    /// The tree gives no address for it.
    #[error("SMMU at address 0")]
    NoAddress,
    /// It does not take a new value for what happens to transactions while it is off.
    #[error("SMMU at {0}: GBPA.Update stays set")]
    BypassStuck(Pa),
    /// It took the value and lets transactions through all the same.
    #[error("SMMU at {0}: GBPA.ABORT stays clear")]
    StillOpen(Pa),
    /// It does not turn off.
    #[error("SMMU at {0}: CR0 is not acknowledged")]
    StillOn(Pa),
}

/// Makes the SMMU at `base` abort every transaction. On return, its queues are off as well.
///
/// What happens while it is off is set before it is turned off, so that an SMMU which firmware left on
/// never lets anything through in between.
///
/// # Errors
///
/// The SMMU does not follow within a bound; then DMA may reach all memory.
///
/// # Safety
///
/// `base` is the address of an SMMUv3's registers, mapped there as device memory (or the MMU is off), and
/// nobody else uses them meanwhile.
pub unsafe fn block_all(base: Pa) -> Result<(), SmmuError> {
    let pointer = core::ptr::with_exposed_provenance_mut::<Registers>(base.0 as usize);
    let pointer = NonNull::new(pointer).ok_or(SmmuError::NoAddress)?;
    // SAFETY: the caller promises that the registers are there; each access is volatile.
    let regs = unsafe { pointer.as_ref() };
    let updated = || !regs.gbpa.is_set(GlobalBypass::UPDATE);
    // A write while an earlier update is under way would be lost.
    if !wait::until(updated) {
        return Err(SmmuError::BypassStuck(base));
    }
    regs.gbpa.write(GlobalBypass::ABORT::SET + GlobalBypass::UPDATE::SET);
    if !wait::until(updated) {
        return Err(SmmuError::BypassStuck(base));
    }
    if !regs.gbpa.is_set(GlobalBypass::ABORT) {
        return Err(SmmuError::StillOpen(base));
    }
    // SMMUEN and the queues' enables; each is in force when CR0ACK shows it (IHI0070 §6.3.9).
    regs.cr0.set(0);
    if wait::until(|| regs.cr0ack.get() == 0) { Ok(()) } else { Err(SmmuError::StillOn(base)) }
}

#[cfg(test)]
mod tests;
