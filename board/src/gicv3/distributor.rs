//! The distributor: the shared interrupts.

use core::ptr::NonNull;

use arm_gic::UniqueMmioPointer;
use arm_gic::gicv3::GicDistributor;
use arm_gic::gicv3::registers::{Gicd, GicdCtlr, Typer};
use hv_core::addr::{IntId, Pa};

use super::{ALL, GicError, PRIORITIES};
use crate::model::{Irq, MPIDR_AFFINITY, Trigger};
use crate::wait;

/// The first shared interrupt (IHI0069 §2.2.1).
const SPI_BASE: u32 = 32;

/// GICD_CTLR.EnableGrp1 with one security state and, as a non-secure access sees it, EnableGrp1A with two:
/// the same bit (IHI0069 §12.9.4).
const ENABLE_GROUP_1: GicdCtlr = GicdCtlr::EnableGrp1NS;
/// GICD_CTLR.ARE with one security state and, as a non-secure access sees it, ARE_NS: the same bit.
const AFFINITY_ROUTING: GicdCtlr = GicdCtlr::ARE_S;
/// The enables that a non-secure access or a single security state has.
const ENABLES: GicdCtlr = ENABLE_GROUP_1.union(GicdCtlr::EnableGrp0);

/// A GICv3's distributor.
#[derive(Debug)]
pub struct Distributor {
    regs: NonNull<Gicd>,
}

// SAFETY: the registers are a device's, reached alike from every CPU; no state of a CPU is kept.
unsafe impl Send for Distributor {}

impl Distributor {
    /// The driver for the distributor at `base`. It touches nothing yet.
    ///
    /// # Errors
    ///
    /// [`GicError::NoAddress`].
    ///
    /// # Safety
    ///
    /// While the driver lives, `base` is the address of a GICv3 distributor's registers, mapped there as
    /// device memory (or the MMU is off), and nobody else uses them.
    pub unsafe fn new(base: Pa) -> Result<Self, GicError> {
        let regs = core::ptr::with_exposed_provenance_mut(base.0 as usize);
        NonNull::new(regs).map(|regs| Self { regs }).ok_or(GicError::NoAddress)
    }

    /// Brings the distributor from whatever state into this: affinity routing and group 1 on; each shared
    /// interrupt disabled, neither pending nor active, in group 1, of the common priority.
    ///
    /// # Errors
    ///
    /// [`GicError::WritePending`].
    pub fn init(&mut self) -> Result<(), GicError> {
        // Routing and groups may change only while the groups are disabled (IHI0069 §12.9.4).
        let off = self.control() - ENABLES;
        self.set_control(off)?;
        self.set_control(off | AFFINITY_ROUTING)?;
        self.arm().enable_all_interrupts(false);
        self.wait_for_writes()?;
        let last = self.typer().num_spis().div_ceil(32) as usize;
        let regs = self.regs.as_ptr();
        for word in 1..=last.min(31) {
            // SAFETY: `new`'s caller has promised the registers; a place is computed, no reference made.
            unsafe {
                (&raw mut (*regs).icpendr[word].0).write_volatile(ALL);
                (&raw mut (*regs).icactiver[word].0).write_volatile(ALL);
                (&raw mut (*regs).igroupr[word].0).write_volatile(ALL);
                (&raw mut (*regs).igrpmodr[word].0).write_volatile(0);
                for priorities in word * 8..word * 8 + 8 {
                    (&raw mut (*regs).ipriorityr[priorities].0).write_volatile(PRIORITIES);
                }
            }
        }
        self.set_control(off | AFFINITY_ROUTING | ENABLE_GROUP_1)
    }

    /// Sets how a shared interrupt signals and which CPU gets it. It is left disabled.
    ///
    /// # Errors
    ///
    /// [`GicError::NotShared`], [`GicError::WritePending`].
    pub fn configure(&mut self, irq: Irq, mpidr: u64) -> Result<(), GicError> {
        // Changing the trigger of an enabled interrupt is unpredictable (IHI0069 §12.9.9).
        self.disable(irq.id)?;
        let trigger = match irq.trigger {
            Trigger::Edge => arm_gic::Trigger::Edge,
            Trigger::Level => arm_gic::Trigger::Level,
        };
        let id = self.shared(irq.id)?;
        self.arm().set_trigger(id, trigger).map_err(|_| GicError::NotShared(irq.id))?;
        self.route(irq.id, mpidr)
    }

    /// Sends a shared interrupt to the CPU with the affinity fields of `mpidr`.
    ///
    /// # Errors
    ///
    /// [`GicError::NotShared`].
    pub fn route(&mut self, id: IntId, mpidr: u64) -> Result<(), GicError> {
        let shared = self.shared(id)?;
        // Bit 31 of MPIDR_EL1 is 1, and in GICD_IROUTER it would mean any CPU.
        let target = Some(mpidr & MPIDR_AFFINITY);
        self.arm().set_routing(shared, target).map_err(|_| GicError::NotShared(id))
    }

    /// Enables a shared interrupt.
    ///
    /// # Errors
    ///
    /// [`GicError::NotShared`].
    pub fn enable(&mut self, id: IntId) -> Result<(), GicError> {
        let shared = self.shared(id)?;
        self.arm().enable_interrupt(shared, true).map_err(|_| GicError::NotShared(id))
    }

    /// Disables a shared interrupt. When this returns, it is signaled no more.
    ///
    /// # Errors
    ///
    /// [`GicError::NotShared`], [`GicError::WritePending`].
    pub fn disable(&mut self, id: IntId) -> Result<(), GicError> {
        let shared = self.shared(id)?;
        self.arm().enable_interrupt(shared, false).map_err(|_| GicError::NotShared(id))?;
        self.wait_for_writes()
    }

    fn shared(&self, id: IntId) -> Result<arm_gic::IntId, GicError> {
        let index = id.0.checked_sub(SPI_BASE);
        match index.filter(|index| *index < self.typer().num_spis()) {
            Some(index) => Ok(arm_gic::IntId::spi(index)),
            None => Err(GicError::NotShared(id)),
        }
    }

    fn arm(&mut self) -> GicDistributor<'_> {
        // SAFETY: `new`'s caller has promised the registers and that nobody else uses them; `self` stays
        // borrowed while this lives.
        GicDistributor::new(unsafe { UniqueMmioPointer::new(self.regs) })
    }

    fn typer(&self) -> Typer {
        // SAFETY: `new`'s caller has promised the registers.
        unsafe { (&raw const (*self.regs.as_ptr()).typer.0).read_volatile() }
    }

    fn control(&self) -> GicdCtlr {
        // SAFETY: as in `typer`.
        unsafe { (&raw const (*self.regs.as_ptr()).ctlr.0).read_volatile() }
    }

    fn set_control(&mut self, value: GicdCtlr) -> Result<(), GicError> {
        // SAFETY: as in `typer`.
        unsafe { (&raw mut (*self.regs.as_ptr()).ctlr.0).write_volatile(value - GicdCtlr::RWP) };
        self.wait_for_writes()
    }

    fn wait_for_writes(&self) -> Result<(), GicError> {
        if wait::until(|| !self.control().contains(GicdCtlr::RWP)) {
            Ok(())
        } else {
            Err(GicError::WritePending(Pa(self.regs.addr().get() as u64)))
        }
    }
}
