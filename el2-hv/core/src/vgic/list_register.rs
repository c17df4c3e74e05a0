//! List registers: their format, and the shadow of those of one vCPU.
//!
//! Nothing here decides which interrupt goes into which; that is [`fold`](super::Vgic::fold) and
//! [`refill`](super::Vgic::refill). Format: `ICH_LR<n>_EL2`, IHI0069 §12.4.

use super::Error;

/// `ICH_LR<n>_EL2.State`: pending.
const PENDING: u64 = 1 << 62;
/// `ICH_LR<n>_EL2.State`: active.
const ACTIVE: u64 = 1 << 63;
/// `ICH_LR<n>_EL2.HW`: deactivates the physical interrupt pINTID with the virtual one.
const HARDWARE: u64 = 1 << 61;
const GROUP1: u64 = 1 << 60;
const PRIORITY_SHIFT: u32 = 48;
const PHYSICAL_ID_SHIFT: u32 = 32;
/// A maintenance interrupt when the guest has deactivated it; means this only where HW is 0.
const EOI_MAINTENANCE: u64 = 1 << 41;

/// The list register that belongs to the virtual timer, as a mask.
pub(super) const TIMER_REGISTER: u16 = 1;

/// The content of a list register.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct Entry(pub(super) u64);

impl Entry {
    /// An invalid one, complete but for its state.
    #[inline]
    pub(super) const fn new(intid: u32, priority: u8, group1: bool) -> Self {
        let group = if group1 { GROUP1 } else { 0 };
        Self(intid as u64 | (priority as u64) << PRIORITY_SHIFT | group)
    }

    #[inline]
    pub(super) const fn with_state(self, pending: bool, active: bool) -> Self {
        let pending = if pending { PENDING } else { 0 };
        let active = if active { ACTIVE } else { 0 };
        Self(self.0 | pending | active)
    }

    #[inline]
    pub(super) const fn with_eoi_maintenance(self, wanted: bool) -> Self {
        Self(self.0 | if wanted { EOI_MAINTENANCE } else { 0 })
    }

    /// Bound to the physical interrupt of the same number.
    #[inline]
    pub(super) const fn with_hardware(self) -> Self {
        Self(self.0 | HARDWARE | (self.intid() as u64) << PHYSICAL_ID_SHIFT)
    }

    #[inline]
    pub(super) const fn is_pending(self) -> bool {
        self.0 & PENDING != 0
    }

    #[inline]
    pub(super) const fn is_active(self) -> bool {
        self.0 & ACTIVE != 0
    }

    #[inline]
    pub(super) const fn is_hardware(self) -> bool {
        self.0 & HARDWARE != 0
    }

    /// A hardware interrupt that the guest has deactivated.
    #[inline]
    pub(super) const fn is_finished_hardware(self) -> bool {
        self.0 & (PENDING | ACTIVE | HARDWARE) == HARDWARE
    }

    #[inline]
    pub(super) const fn priority(self) -> u8 {
        (self.0 >> PRIORITY_SHIFT) as u8
    }

    #[inline]
    pub(super) const fn intid(self) -> u32 {
        self.0 as u32
    }
}

/// The list registers of one vCPU, as the hardware has them or will get them.
///
/// Whoever owns the vCPU owns this; no lock guards it. Before [`fold`](super::Vgic::fold) the
/// registers of [`used`](Self::used) are read from the hardware, with `ICH_HCR_EL2.EOIcount`; after
/// [`refill`](super::Vgic::refill) those that are used now *or were before* are written, the
/// latter because a zero is what ends an EOI maintenance interrupt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListRegisters {
    /// `ICH_LR<n>_EL2`.
    pub lr: [u64; 16],
    /// Bit n: list register n was given an interrupt since the last fold.
    pub used: u16,
    /// `ICH_HCR_EL2.EOIcount` when the vCPU was stopped: deactivations that found no list register.
    /// The fold sets it to 0; the field in the hardware must be cleared, too.
    pub unmatched_eois: u8,
    /// Bit n: list register n exists.
    implemented: u16,
}

impl ListRegisters {
    /// A shadow without any list register, for tables that exist before the GIC is known.
    pub const NONE: Self = Self { lr: [0; 16], used: 0, unmatched_eois: 0, implemented: 0 };

    /// All empty, of a GIC with `count` of them (`ICH_VTR_EL2.ListRegs + 1`).
    ///
    /// # Errors
    /// [`Error::ListRegisterCount`] unless there are 2 to 16: one belongs to the virtual timer, so
    /// with a single one nothing else could ever be delivered.
    pub const fn new(count: u8) -> Result<Self, Error> {
        if count < 2 || count > 16 {
            return Err(Error::ListRegisterCount(count));
        }
        Ok(Self { implemented: u16::MAX >> (16 - count), ..Self::NONE })
    }

    /// Takes the virtual timer's interrupt: `template` is what
    /// [`timer_template`](super::Vgic::timer_template) gave, and goes to `ICH_LR0_EL2` as well.
    #[inline]
    pub const fn set_timer(&mut self, template: u64) {
        self.lr[0] = template;
        self.used |= TIMER_REGISTER;
    }

    /// Whether one is given to the virtual timer's interrupt.
    #[inline]
    pub const fn holds_timer(&self) -> bool {
        self.used & TIMER_REGISTER != 0
    }

    /// Whether one holds a pending interrupt, so that a vCPU in WFI has a reason to go on. The
    /// model's own part is [`has_deliverable`](super::Vgic::has_deliverable).
    #[inline]
    pub fn any_pending(&self) -> bool {
        let mut used = self.used;
        while used != 0 {
            let n = used.trailing_zeros() as usize;
            used &= used - 1;
            if self.lr[n & 15] & (PENDING | ACTIVE) == PENDING {
                return true;
            }
        }
        false
    }

    /// Registers that exist, hold nothing, and are not the timer's.
    #[inline]
    pub(super) const fn free(&self) -> u16 {
        self.implemented & !self.used & !TIMER_REGISTER
    }

    /// Puts `entry` into the lowest free register; without one nothing happens.
    #[inline]
    pub(super) fn insert(&mut self, entry: Entry) {
        let free = self.free();
        if free != 0 {
            let n = free.trailing_zeros() as usize;
            self.lr[n & 15] = entry.0;
            self.used |= free & free.wrapping_neg();
        }
    }

    #[inline]
    pub(super) const fn peek(&self, n: u32) -> Entry {
        Entry(self.lr[(n & 15) as usize])
    }

    /// Empties register `n` and gives what it held.
    #[inline]
    pub(super) fn take(&mut self, n: u32) -> Entry {
        let register = &mut self.lr[(n & 15) as usize];
        let entry = Entry(*register);
        *register = 0;
        self.used &= !(1 << (n & 15));
        entry
    }
}
