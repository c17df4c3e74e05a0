//! The state of 32 interrupts as bitmaps: bit n of each word is interrupt n of the bank.
//!
//! A vCPU has one bank for its SGIs and PPIs, a VM eight for its SPIs. The bank knows nothing of
//! who an interrupt goes to; it must never be asked to find that out.

use super::list_register::Entry;

/// Priority bits that are implemented, as the hardware's virtual interface has them: five
/// (`ICH_VTR_EL2.PRIbits` of every GIC supported; IHI0069 §4.8).
pub(super) const PRIORITY_MASK: u8 = 0xf8;

/// Which groups the distributor forwards: all ones for an enabled group (`GICD_CTLR.EnableGrp0/1`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Groups {
    pub(super) group0: u32,
    pub(super) group1: u32,
}

/// 32 interrupts.
///
/// While an interrupt sits in a list register its bit in `listed` is set, and the list register,
/// not the bank, holds whether it is pending or active. What others want changed meanwhile is
/// noted in `drop_pending`, `drop_active` and `add_active` and done when it is taken back.
pub(super) struct Bank {
    pub(super) enabled: u32,
    pub(super) group1: u32,
    /// Level-sensitive (set) or edge-triggered (clear).
    pub(super) level: u32,
    /// The source's line, sampled for level-sensitive interrupts.
    pub(super) line: u32,
    /// Pending by an edge, an SGI or `ISPENDR`: goes when the interrupt is acknowledged.
    pub(super) latch: u32,
    pub(super) active: u32,
    pub(super) listed: u32,
    /// Was pending when it was put into its list register.
    pub(super) listed_pending: u32,
    /// Was so by its latch, which moved into the list register with it.
    pub(super) listed_latch: u32,
    pub(super) drop_pending: u32,
    pub(super) drop_active: u32,
    pub(super) add_active: u32,
    pub(super) priority: [u8; 32],
}

impl Bank {
    /// Nothing enabled, nothing pending; `level` says which are level-sensitive, `listed` which
    /// always count as being in a list register.
    pub(super) const fn new(level: u32, listed: u32) -> Self {
        Self {
            enabled: 0,
            group1: 0,
            level,
            line: 0,
            latch: 0,
            active: 0,
            listed,
            listed_pending: 0,
            listed_latch: 0,
            drop_pending: 0,
            drop_active: 0,
            add_active: 0,
            priority: [0; 32],
        }
    }

    /// Enabled, and of a group that is forwarded.
    #[inline]
    pub(super) const fn forwarded(&self, groups: Groups) -> u32 {
        self.enabled & ((self.group1 & groups.group1) | (!self.group1 & groups.group0))
    }

    /// Pending as far as the bank knows: latched, or the line of a level-sensitive one is high.
    #[inline]
    pub(super) const fn pending(&self) -> u32 {
        self.latch | (self.line & self.level)
    }

    /// What a CPU interface could be given: pending, forwarded, not active, in no list register.
    #[inline]
    pub(super) const fn deliverable(&self, groups: Groups) -> u32 {
        self.pending() & self.forwarded(groups) & !self.active & !self.listed
    }

    /// Active, and in no list register yet, where the guest's deactivation has to find it.
    #[inline]
    pub(super) const fn unlisted_active(&self) -> u32 {
        self.active & !self.listed
    }

    /// In a list register that no longer shows the truth, so that the guest could still take
    /// what was disabled, or not see what was asked for.
    #[inline]
    pub(super) const fn outdated(&self, groups: Groups) -> u32 {
        self.listed & (self.edited() | (self.listed_pending & !self.forwarded(groups)))
    }

    /// In a list register, with a change waiting for its return.
    #[inline]
    pub(super) const fn edited(&self) -> u32 {
        self.drop_pending | self.drop_active | self.add_active
    }

    /// What `ISPENDR` and `ICPENDR` show.
    #[inline]
    pub(super) const fn shown_pending(&self) -> u32 {
        self.pending() | (self.listed_pending & !self.drop_pending)
    }

    /// What `ISACTIVER` and `ICACTIVER` show.
    #[inline]
    pub(super) const fn shown_active(&self) -> u32 {
        (self.active & !self.drop_active) | self.add_active
    }

    /// The list register's content for interrupt `n`, with INTID `intid`, which may be pending
    /// there if it is in `allowed`; the interrupt counts as listed from here on.
    #[inline]
    pub(super) fn list(&mut self, n: u32, intid: u32, allowed: u32) -> Entry {
        let bit = 1_u32 << (n & 31);
        let active = self.active & bit;
        let line = self.line & self.level & bit;
        let latch = self.latch & bit;
        // While it is active, a high line is better sampled after the end of interrupt: by then
        // the handler has usually quietened the device, and a pending bit set now would be stale.
        let signal = latch | if active == 0 { line } else { 0 };
        let pending = signal & allowed;
        let stays_behind = line | (latch & !pending);
        self.listed |= bit;
        self.listed_pending |= pending;
        self.listed_latch |= latch & pending;
        self.latch &= !(latch & pending);
        Entry::new(intid, self.priority[(n & 31) as usize], self.group1 & bit != 0)
            .with_state(pending != 0, active != 0)
            .with_eoi_maintenance(stays_behind != 0)
    }

    /// `list` for an SGI or PPI that is deliverable, so that most of it is known.
    #[inline]
    pub(super) fn list_deliverable(&mut self, n: u32) -> Entry {
        let bit = 1_u32 << (n & 31);
        self.listed |= bit;
        self.listed_pending |= bit;
        self.listed_latch |= self.latch & bit;
        self.latch &= !bit;
        Entry::new(n, self.priority[(n & 31) as usize], self.group1 & bit != 0)
            .with_state(true, false)
            .with_eoi_maintenance(self.line & self.level & bit != 0)
    }

    /// Takes back the state of an interrupt to which nobody asked for changes.
    #[inline]
    pub(super) const fn unlist_unchanged(&mut self, bit: u32, entry: Entry) {
        if entry.is_pending() {
            self.latch |= bit & self.listed_latch;
        }
        self.active &= !bit;
        if entry.is_active() {
            self.active |= bit;
        }
        self.listed_pending &= !bit;
        self.listed_latch &= !bit;
    }

    /// Takes an interrupt back from its list register as the hardware left it, and does what was
    /// asked for meanwhile.
    #[inline]
    pub(super) fn unlist(&mut self, bit: u32, entry: Entry) {
        if entry.is_pending() {
            self.latch |= bit & self.listed_latch & !self.drop_pending;
        }
        self.settle_active(bit, entry.is_active());
        self.listed &= !bit;
        self.forget_listing(bit);
    }

    /// The active state after the changes asked for meanwhile.
    #[inline]
    pub(super) const fn settle_active(&mut self, bit: u32, was_active: bool) {
        let active = if was_active { bit & !self.drop_active } else { 0 };
        self.active = (self.active & !bit) | active | (bit & self.add_active);
    }

    /// Forgets how the interrupts of `bits` were listed and what was asked for meanwhile.
    #[inline]
    pub(super) const fn forget_listing(&mut self, bits: u32) {
        self.listed_pending &= !bits;
        self.listed_latch &= !bits;
        self.drop_pending &= !bits;
        self.drop_active &= !bits;
        self.add_active &= !bits;
    }

    /// `ISENABLER`: the bits that changed.
    pub(super) const fn enable(&mut self, bits: u32) -> u32 {
        let changed = bits & !self.enabled;
        self.enabled |= bits;
        changed
    }

    /// `ICENABLER`: the bits that changed.
    pub(super) const fn disable(&mut self, bits: u32) -> u32 {
        let changed = bits & self.enabled;
        self.enabled &= !bits;
        changed
    }

    /// `IGROUPR`: the bits that changed.
    pub(super) const fn set_groups(&mut self, group1: u32) -> u32 {
        let changed = self.group1 ^ group1;
        self.group1 = group1;
        changed
    }

    /// `ISPENDR`, an edge, an SGI: the bits that were not latched before.
    #[inline]
    pub(super) const fn set_pending(&mut self, bits: u32) -> u32 {
        let changed = bits & !self.latch;
        self.latch |= bits;
        changed
    }

    /// `ICPENDR`: clears the latch only, so a level-sensitive interrupt whose line is high stays
    /// pending (IHI0069 §12.9, `GICD_ICPENDR<n>`).
    pub(super) const fn clear_pending(&mut self, bits: u32) -> u32 {
        self.latch &= !bits;
        self.drop_pending |= bits & self.listed;
        bits
    }

    /// `ISACTIVER`.
    pub(super) const fn set_active(&mut self, bits: u32) -> u32 {
        self.active |= bits & !self.listed;
        self.add_active |= bits & self.listed;
        self.drop_active &= !bits;
        bits
    }

    /// `ICACTIVER`, and a deactivation that no list register saw.
    pub(super) const fn clear_active(&mut self, bits: u32) -> u32 {
        self.active &= !(bits & !self.listed);
        self.drop_active |= bits & self.listed;
        self.add_active &= !bits;
        bits
    }

    /// The source's line goes high or low: the bits whose interrupt is affected.
    pub(super) const fn set_line(&mut self, bit: u32, high: bool) -> u32 {
        let before = self.line & bit;
        if high {
            self.line |= bit;
            // An edge-triggered input latches the rising edge (IHI0069 §4.1).
            if before == 0 {
                self.latch |= bit & !self.level;
            }
            return bit & !before;
        }
        self.line &= !bit;
        // Of those in a list register only one that is pending there by its line has to be taken out.
        before & self.level & self.listed_pending & !self.listed_latch
    }
}

/// The positions of the ones in `mask`, lowest first.
#[inline]
pub(super) fn ones(mut mask: u32) -> impl Iterator<Item = u32> {
    core::iter::from_fn(move || {
        if mask == 0 {
            return None;
        }
        let lowest = mask.trailing_zeros();
        mask &= mask - 1;
        Some(lowest)
    })
}
