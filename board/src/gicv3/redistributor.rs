//! A redistributor: one CPU's private interrupts.

use core::ptr::NonNull;

use arm_gic::gicv3::registers::{GicrCtlr, GicrSgi, GicrTyper, Waker};
use hv_core::addr::{IntId, Pa, PaRange};

use super::{ALL, GicError, PRIORITIES};
use crate::model::{GicV3, MPIDR_AFFINITY};
use crate::wait;

/// Bytes of a redistributor: RD_base and SGI_base, and two frames more with virtual LPIs
/// (IHI0069 §12.10).
const SIZE: u64 = 0x2_0000;
const SIZE_WITH_VLPIS: u64 = 0x4_0000;

const _: () = assert!(size_of::<GicrSgi>() as u64 == SIZE);

/// A CPU's redistributor.
#[derive(Debug)]
pub struct Redistributor {
    regs: NonNull<GicrSgi>,
}

// SAFETY: the registers are a device's, reached alike from every CPU; no state of a CPU is kept.
unsafe impl Send for Redistributor {}
// SAFETY: what takes `&self` is one access each, and those that write are to registers that change only
// the bits written as 1.
unsafe impl Sync for Redistributor {}

impl Redistributor {
    /// Finds the redistributor of the CPU with the affinity fields of `mpidr`. It only reads.
    ///
    /// # Errors
    ///
    /// [`GicError::NoAddress`], [`GicError::NoRedistributor`].
    ///
    /// # Safety
    ///
    /// While the driver lives, the regions are the addresses of a GICv3's redistributors, mapped there as
    /// device memory (or the MMU is off), and nobody else writes to that CPU's.
    pub unsafe fn find(gic: &GicV3, mpidr: u64) -> Result<Self, GicError> {
        let affinity = mpidr & MPIDR_AFFINITY;
        for region in &gic.gicr {
            // SAFETY: the caller's promise.
            if let Some(regs) = unsafe { search(region, gic.stride, affinity)? } {
                return Ok(Self { regs });
            }
        }
        Err(GicError::NoRedistributor(affinity))
    }

    /// Wakes the redistributor and brings its interrupts from whatever state into this: `enabled` enabled
    /// and no other, none pending or active, all in group 1 and of the common priority; no LPIs.
    ///
    /// # Errors
    ///
    /// [`GicError::Asleep`], [`GicError::WritePending`].
    pub fn init(&mut self, enabled: &[IntId]) -> Result<(), GicError> {
        self.wake()?;
        let regs = self.regs.as_ptr();
        // SAFETY: `find`'s caller has promised the registers; places are computed, no reference is made.
        unsafe {
            let control = (&raw const (*regs).gicr.ctlr.0).read_volatile();
            (&raw mut (*regs).gicr.ctlr.0).write_volatile(control - GicrCtlr::EnableLPIs);
            (&raw mut (*regs).sgi.icenabler[0].0).write_volatile(ALL);
        }
        self.wait_for_writes()?;
        // SAFETY: as above.
        unsafe {
            (&raw mut (*regs).sgi.icpendr[0].0).write_volatile(ALL);
            (&raw mut (*regs).sgi.icactiver[0].0).write_volatile(ALL);
            (&raw mut (*regs).sgi.igroupr[0].0).write_volatile(ALL);
            (&raw mut (*regs).sgi.igrpmodr[0].0).write_volatile(0);
            for priorities in 0..8 {
                (&raw mut (*regs).sgi.ipriorityr[priorities].0).write_volatile(PRIORITIES);
            }
        }
        for id in enabled {
            self.enable(*id);
        }
        Ok(())
    }

    /// Enables a private interrupt.
    #[inline]
    pub fn enable(&self, id: IntId) {
        // SAFETY: `find`'s caller has promised the registers.
        unsafe { (&raw mut (*self.regs.as_ptr()).sgi.isenabler[0].0).write_volatile(bit(id)) }
    }

    /// Disables a private interrupt. It may still be signaled for a moment.
    #[inline]
    pub fn disable(&self, id: IntId) {
        // SAFETY: as in `enable`.
        unsafe { (&raw mut (*self.regs.as_ptr()).sgi.icenabler[0].0).write_volatile(bit(id)) }
    }

    /// Makes a private interrupt active, so that it is not signaled until it is deactivated: for a vCPU
    /// that has it in a list register and not yet ended. One store.
    #[inline]
    pub fn activate(&self, id: IntId) {
        // SAFETY: as in `enable`.
        unsafe { (&raw mut (*self.regs.as_ptr()).sgi.isactiver[0].0).write_volatile(bit(id)) }
    }

    /// Makes a private interrupt inactive. One store.
    #[inline]
    pub fn deactivate(&self, id: IntId) {
        // SAFETY: as in `enable`.
        unsafe { (&raw mut (*self.regs.as_ptr()).sgi.icactiver[0].0).write_volatile(bit(id)) }
    }

    /// Whether a private interrupt is active.
    #[inline]
    pub fn is_active(&self, id: IntId) -> bool {
        // SAFETY: as in `enable`.
        let active = unsafe { (&raw const (*self.regs.as_ptr()).sgi.isactiver[0].0).read_volatile() };
        active & bit(id) != 0
    }

    /// Whether a private interrupt is pending.
    #[inline]
    pub fn is_pending(&self, id: IntId) -> bool {
        // SAFETY: as in `enable`.
        let pending = unsafe { (&raw const (*self.regs.as_ptr()).sgi.ispendr[0].0).read_volatile() };
        pending & bit(id) != 0
    }

    /// Where it is.
    pub fn base(&self) -> Pa {
        Pa(self.regs.addr().get() as u64)
    }

    /// Tells the redistributor that its CPU is awake (IHI0069 §11.1). Where that is the secure side's
    /// affair, the register reads as zero.
    fn wake(&mut self) -> Result<(), GicError> {
        // SAFETY: as in `enable`; a place is computed, no reference is made.
        let waker = unsafe { &raw mut (*self.regs.as_ptr()).gicr.waker.0 };
        // SAFETY: as in `enable`.
        let read = || unsafe { waker.read_volatile() };
        // SAFETY: as in `enable`.
        unsafe { waker.write_volatile(read() - Waker::PROCESSOR_SLEEP) };
        if wait::until(|| !read().contains(Waker::CHILDREN_ASLEEP)) {
            Ok(())
        } else {
            Err(GicError::Asleep(self.base()))
        }
    }

    /// Tells the redistributor that its CPU is about to be turned off: it signals nothing to it any more (IHI0069 §11.1).
    /// The CPU interface signals nothing already. Where this is the secure side's affair, firmware does it in CPU_OFF.
    pub fn sleep(&mut self) {
        // SAFETY: as in `enable`; a place is computed, no reference is made.
        let waker = unsafe { &raw mut (*self.regs.as_ptr()).gicr.waker.0 };
        // SAFETY: as in `enable`.
        let read = || unsafe { waker.read_volatile() };
        // SAFETY: as in `enable`.
        unsafe { waker.write_volatile(read() | Waker::PROCESSOR_SLEEP) };
        // One that stays awake costs power and nothing else: no interrupt is sent to the CPU.
        let _asleep =
            wait::until(|| !read().contains(Waker::PROCESSOR_SLEEP) || read().contains(Waker::CHILDREN_ASLEEP));
    }

    fn wait_for_writes(&self) -> Result<(), GicError> {
        // SAFETY: as in `enable`.
        let control = || unsafe { (&raw const (*self.regs.as_ptr()).gicr.ctlr.0).read_volatile() };
        if wait::until(|| !control().contains(GicrCtlr::RWP)) {
            Ok(())
        } else {
            Err(GicError::WritePending(self.base()))
        }
    }
}

/// A private interrupt's bit; of a number that is none, that of its low five bits.
#[inline]
const fn bit(id: IntId) -> u32 {
    1 << (id.0 & 31)
}

/// Searches one region, up to the redistributor that says it is the last or to the region's end.
///
/// # Safety
///
/// The region is the address of redistributors, as in [`Redistributor::find`].
unsafe fn search(region: &PaRange, stride: Option<u64>, affinity: u64) -> Result<Option<NonNull<GicrSgi>>, GicError> {
    let mut offset = 0;
    while region.size.checked_sub(offset).is_some_and(|left| left >= SIZE) {
        let regs = core::ptr::with_exposed_provenance_mut((region.start.0 + offset) as usize);
        let regs: NonNull<GicrSgi> = NonNull::new(regs).ok_or(GicError::NoAddress)?;
        // SAFETY: the address lies in the region with all of the redistributor behind it.
        let typer = unsafe { read_typer(regs) };
        if typer.core_mpidr() == affinity {
            return Ok(Some(regs));
        }
        if typer.last_redistributor() {
            return Ok(None);
        }
        let own = if typer.virtual_lpis_supported() { SIZE_WITH_VLPIS } else { SIZE };
        offset += stride.unwrap_or(own).max(SIZE);
    }
    Ok(None)
}

/// # Safety
///
/// `regs` points to a redistributor.
unsafe fn read_typer(regs: NonNull<GicrSgi>) -> GicrTyper {
    // SAFETY: the caller's promise; a place is computed, no reference is made.
    unsafe { (&raw const (*regs.as_ptr()).gicr.typer.0).read_volatile() }
}
