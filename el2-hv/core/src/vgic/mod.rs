//! A VM's virtual GICv3: distributor, redistributors, SGIs, and what goes into list registers.
//!
//! The guest's CPU interface is the hardware's virtual one; this owns everything before it. One
//! [`Vgic`] per VM, which the caller guards by a lock with interrupts masked. It never touches a
//! register, and it never waits: what other vCPUs have to do is named in [`Kicks`].
//!
//! # The guest's view
//! GICv3 with one security state and affinity routing, 288 INTIDs, no LPIs, no messages. What
//! IHI0069 leaves open: five priority bits; PPIs are level-sensitive and SGIs edge-triggered for
//! good; 1-of-N interrupts go to the lowest vCPU whose redistributor is awake; accesses of a width
//! that a register does not have read as zero and are ignored.
//!
//! # Life of an interrupt
//! Its state is in a bitmap here until [`Vgic::refill`] puts it into a list register of one vCPU, and
//! again after [`Vgic::fold`] took it back. While it is out, another vCPU's change to it is noted
//! and its holder named in [`Kicks`]; the fold makes it true.
//!
//! A vCPU runs like this, `lrs` being its [`ListRegisters`]:
//! - loading: `refill`, write the list registers, do what [`Refill`] says;
//! - the physical timer interrupt, without a lock: [`ListRegisters::set_timer`] with the template of
//!   the last `refill`, and the same to `ICH_LR0_EL2`; if the template is 0, [`Vgic::timer_asserted`];
//! - an access or event that gives [`Kicks`] with itself in it, a kick from elsewhere, a
//!   maintenance interrupt: read the used list registers and `EOIcount`, `fold`, `refill`, write back;
//! - unloading: read the used list registers, `unload`.
mod bank;
mod delivery;
mod distributor;
mod kicks;
mod list_register;
mod redistributor;
mod registers;
mod routing;
mod selection;
mod sgi;
#[cfg(test)]
mod tests;
mod timer;

pub use delivery::{Refill, Unloaded};
pub use kicks::Kicks;
pub use list_register::ListRegisters;
pub use registers::GicRegister;
pub use sgi::SgiRegister;
pub use timer::PhysicalTimer;

use crate::addr::{IntId, VcpuIdx};
use crate::mmio::AccessSize;
use bank::{Bank, Groups};
use hv_abi::guest_map::{MAX_VCPUS, PPI_VIRTUAL_TIMER};
use routing::Routes;

/// Words of 32 SPIs: `GICD_TYPER.ITLinesNumber`.
const SPI_WORDS: usize = 8;
/// First SPI.
const FIRST_SPI: u32 = 32;
/// One past the last INTID.
const INTID_END: u32 = FIRST_SPI + 32 * SPI_WORDS as u32;
/// The virtual timer's interrupt in its bank.
const TIMER_BIT: u32 = 1 << PPI_VIRTUAL_TIMER;
/// PPIs, in the bank of a vCPU.
const PPIS: u32 = 0xffff_0000;

// Bitmaps of vCPUs are bytes, and a vCPU's number is masked to index tables.
const _: () = assert!(MAX_VCPUS == 8);

/// What can go wrong where a virtual GIC is set up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// The hardware has a number of list registers that is no use.
    #[error("the GIC has {0} list registers; a virtual GIC needs 2 to 16")]
    ListRegisterCount(u8),
}

/// The state of a device's interrupt line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// Not asserted.
    Low,
    /// Asserted.
    High,
}

/// A VM's virtual GIC.
pub struct Vgic {
    vcpus: u8,
    groups: Groups,
    /// vCPUs whose redistributor is awake.
    awake: u8,
    /// vCPUs whose list registers hold what was disabled or changed, until they are folded.
    withdrawing: u8,
    /// vCPUs whose timer interrupt was changed by hand, until they are folded.
    timer_edited: u8,
    /// vCPUs for which the physical timer interrupt is active.
    timer_held: u8,
    /// vCPUs with something pending left out of their list registers.
    crowded: u8,
    /// What list register 0 gets when the timer's interrupt arrives.
    templates: [u64; MAX_VCPUS],
    private: [Bank; MAX_VCPUS],
    shared: [Bank; SPI_WORDS],
    routes: Routes,
}

impl Vgic {
    /// All zeroes, for tables that exist before their machines: [`reset`](Self::reset) it before use.
    pub const UNUSED: Self = Self {
        vcpus: 0,
        private: [const { Bank::new(0, 0) }; MAX_VCPUS],
        shared: [const { Bank::new(0, 0) }; SPI_WORDS],
        routes: Routes::UNUSED,
        ..Self::new()
    };

    /// As after a reset, of a VM with one vCPU.
    pub const fn new() -> Self {
        Self {
            vcpus: 1,
            groups: Groups { group0: 0, group1: 0 },
            awake: 0,
            withdrawing: 0,
            timer_edited: 0,
            timer_held: 0,
            crowded: 0,
            templates: [0; MAX_VCPUS],
            private: [const { Bank::new(PPIS, TIMER_BIT) }; MAX_VCPUS],
            shared: [const { Bank::new(u32::MAX, 0) }; SPI_WORDS],
            routes: Routes::new(),
        }
    }

    /// Resets the GIC, for a VM of `vcpus` vCPUs (1 to [`MAX_VCPUS`]; others are brought into
    /// that range). Nothing of the VM may be in a list register any more.
    pub fn reset(&mut self, vcpus: u8) {
        // Part by part: the whole would be made beside it, and copied.
        let Self {
            vcpus: count,
            groups,
            awake,
            withdrawing,
            timer_edited,
            timer_held,
            crowded,
            templates,
            private,
            shared,
            routes,
        } = self;
        (*count, *groups) = (vcpus.clamp(1, MAX_VCPUS as u8), Groups { group0: 0, group1: 0 });
        (*awake, *withdrawing, *timer_edited, *timer_held, *crowded) = (0, 0, 0, 0, 0);
        templates.fill(0);
        private.iter_mut().for_each(|bank| *bank = Bank::new(PPIS, TIMER_BIT));
        shared.iter_mut().for_each(|bank| *bank = Bank::new(u32::MAX, 0));
        *routes = Routes::new();
    }

    /// A device sends an edge: the SPI is latched, whatever its configuration says, so that an
    /// edge which comes before the guest has configured the interrupt is not lost. SGIs, PPIs and
    /// numbers beyond are ignored.
    #[inline]
    pub fn pulse(&mut self, spi: IntId) -> Kicks {
        let Some((Place::Shared(word), n)) = Place::of(spi, VcpuIdx(0)) else {
            return Kicks::NONE;
        };
        let changed = self.shared[word].set_pending(1 << n);
        if changed == 0 { Kicks::NONE } else { self.shared_raised(word, n) }
    }

    /// A device's line changes. `vcpu` says whose PPI is meant and does not matter for an SPI. The
    /// virtual timer's PPI, SGIs, and numbers beyond are ignored. An interrupt that the guest
    /// configured as edge-triggered takes the rise for its edge.
    #[inline]
    pub fn set_line(&mut self, intid: IntId, vcpu: VcpuIdx, level: Level) -> Kicks {
        let Some((place, n)) = Place::of(intid, vcpu) else {
            return Kicks::NONE;
        };
        let bit = 1 << n;
        if let Place::Private(_) = place
            && bit & PPIS & !TIMER_BIT == 0
        {
            return Kicks::NONE;
        }
        let changed = self.bank_mut(place).set_line(bit, level == Level::High);
        match (place, level) {
            (Place::Private(vcpu), _) => self.private_changed(vcpu, changed),
            (Place::Shared(word), Level::High) if changed != 0 => self.shared_raised(word, n),
            // Also a fall that concerns no list register takes the SPI out of the summaries.
            (Place::Shared(word), _) => self.shared_changed(word, changed),
        }
    }

    /// The value of a register that is the same in every VM at all times, such as `GICD_TYPER`:
    /// to answer without the lock. `None` for all others.
    #[inline]
    pub const fn constant(register: GicRegister, size: AccessSize) -> Option<u64> {
        if !matches!(size, AccessSize::Word) {
            return None;
        }
        match register {
            GicRegister::Distributor(offset) => distributor::constant(offset),
            GicRegister::Redistributor { offset, .. } => redistributor::constant(offset),
        }
    }

    /// A guest's read. It has no effect on any interrupt. Where [`read_needs_fold`](Self::read_needs_fold)
    /// says so, see [`residents`](Self::residents) first.
    #[inline]
    pub fn read(&self, register: GicRegister, size: AccessSize) -> u64 {
        if let Some(value) = Self::constant(register, size) {
            return value;
        }
        match register {
            GicRegister::Distributor(offset) if is_aligned(offset, size) => self.read_distributor(offset, size),
            GicRegister::Redistributor { vcpu, offset } if is_aligned(offset, size) && self.exists(vcpu) => {
                self.read_redistributor(vcpu, offset, size)
            }
            _ => 0,
        }
    }

    /// A guest's write.
    pub fn write(&mut self, register: GicRegister, size: AccessSize, value: u64) -> Kicks {
        match register {
            GicRegister::Distributor(offset) if is_aligned(offset, size) => self.write_distributor(offset, size, value),
            GicRegister::Redistributor { vcpu, offset } if is_aligned(offset, size) && self.exists(vcpu) => {
                self.write_redistributor((vcpu, offset), size, value)
            }
            _ => Kicks::NONE,
        }
    }

    const fn exists(&self, vcpu: VcpuIdx) -> bool {
        vcpu.0 < self.vcpus
    }

    /// The number of vCPUs.
    #[inline]
    const fn count(&self) -> usize {
        let vcpus = self.vcpus as usize;
        if vcpus < MAX_VCPUS { vcpus } else { MAX_VCPUS }
    }

    /// The bits of all vCPUs.
    #[inline]
    const fn everybody(&self) -> u8 {
        u8::MAX >> (self.vcpus.wrapping_neg() & 7)
    }

    #[inline]
    fn bank(&self, place: Place) -> &Bank {
        match place {
            Place::Private(vcpu) => &self.private[slot(vcpu)],
            Place::Shared(word) => &self.shared[word & (SPI_WORDS - 1)],
        }
    }

    #[inline]
    fn bank_mut(&mut self, place: Place) -> &mut Bank {
        match place {
            Place::Private(vcpu) => &mut self.private[slot(vcpu)],
            Place::Shared(word) => &mut self.shared[word & (SPI_WORDS - 1)],
        }
    }
}

impl Default for Vgic {
    fn default() -> Self {
        Self::new()
    }
}

/// Which bank.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// The SGIs and PPIs of a vCPU.
    Private(VcpuIdx),
    /// A word of SPIs.
    Shared(usize),
}

impl Place {
    /// Bank and bit of an interrupt as `vcpu` sees it; `None` for numbers that are not implemented.
    #[inline]
    const fn of(intid: IntId, vcpu: VcpuIdx) -> Option<(Self, u32)> {
        if intid.0 < FIRST_SPI {
            return Some((Self::Private(vcpu), intid.0));
        }
        match Self::shared(intid.0) {
            Some(place) => Some((place, intid.0 & 31)),
            None => None,
        }
    }

    /// The bank of an SPI.
    #[inline]
    const fn shared(intid: u32) -> Option<Self> {
        if intid < FIRST_SPI || intid >= INTID_END {
            return None;
        }
        Some(Self::Shared((intid >> 5) as usize - 1))
    }

    /// The INTID of bit `n` of a word of SPIs.
    #[inline]
    const fn shared_intid(word: usize, n: u32) -> u32 {
        ((word as u32 + 1) << 5) + n
    }
}

/// The index of a vCPU's entry in a table of all.
#[inline]
const fn slot(vcpu: VcpuIdx) -> usize {
    vcpu.index() & (MAX_VCPUS - 1)
}

#[inline]
const fn is_aligned(offset: u32, size: AccessSize) -> bool {
    offset & (size.bytes() - 1) == 0
}
