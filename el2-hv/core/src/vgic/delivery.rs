//! Between the model and the list registers of one vCPU: fold takes back, refill hands out.

use super::bank::ones;
use super::list_register::{Entry, ListRegisters, TIMER_REGISTER};
use super::selection::{LeftOut, Need, Selection};
use super::{FIRST_SPI, Kicks, PhysicalTimer, Place, SPI_WORDS, TIMER_BIT, Vgic, slot};
use crate::addr::{IntId, VcpuIdx};

/// `ICH_HCR_EL2.UIE`: maintenance interrupt when at most one list register is in use.
const UNDERFLOW: u64 = 1 << 1;
/// `ICH_HCR_EL2.LRENPIE`: the same when a deactivation found no list register.
const ENTRY_NOT_PRESENT: u64 = 1 << 2;
/// `ICH_HCR_EL2.NPIE`: the same when no list register is pending.
const NO_PENDING: u64 = 1 << 3;
/// `ICH_HCR_EL2.TDIR`: traps `ICC_DIR_EL1`.
const TRAP_DEACTIVATE: u64 = 1 << 14;

/// What a refilled vCPU needs besides its list registers.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Refill {
    /// The bits among UIE, LRENPIE, NPIE and TDIR that `ICH_HCR_EL2` must have set, the others of
    /// these four clear, until the next refill (IHI0069 §12.4, `ICH_HCR_EL2`). 0 unless something was left out.
    pub hcr: u64,
    /// For the physical timer interrupt.
    pub timer: PhysicalTimer,
    /// What [`timer_template`](Vgic::timer_template) is from here on.
    pub timer_template: u64,
}

/// What an unloaded vCPU leaves to do.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Unloaded {
    /// Other vCPUs that got an interrupt by it.
    pub kicks: Kicks,
    /// For the physical timer interrupt: never `Activate`.
    pub timer: PhysicalTimer,
}

impl Vgic {
    /// Takes everything back from the list registers of a stopped vCPU, as hardware left it, does
    /// what others asked for meanwhile, and leaves the list registers empty. The lines of
    /// level-sensitive interrupts count again from here.
    ///
    /// The result names *other* vCPUs, to whom an interrupt goes now. `vcpu` itself must be
    /// [refilled](Self::refill) before it runs.
    #[inline]
    pub fn fold(&mut self, vcpu: VcpuIdx, lrs: &mut ListRegisters) -> Kicks {
        let me = Kicks::of(vcpu).bits();
        if lrs.unmatched_eois == 0 && (self.timer_edited | self.withdrawing) & me == 0 {
            if lrs.used != 0 {
                self.fold_private(vcpu, lrs);
            }
            if lrs.used == 0 {
                return Kicks::NONE;
            }
        }
        self.fold_used(vcpu, lrs)
    }

    /// The short way for what needs none of the care of `fold_used`: SGIs and PPIs that nobody
    /// changed meanwhile, and a timer interrupt that the guest is done with.
    #[inline(never)]
    fn fold_private(&mut self, vcpu: VcpuIdx, lrs: &mut ListRegisters) {
        let bank = &mut self.private[slot(vcpu)];
        let mut used = lrs.used;
        while used != 0 {
            let n = used.trailing_zeros();
            used &= used - 1;
            let entry = lrs.peek(n);
            if n == 0 && entry.is_finished_hardware() {
                self.timer_held &= !Kicks::of(vcpu).bits();
                bank.unlist_unchanged(TIMER_BIT, entry);
                lrs.take(0);
            } else if n != 0 && entry.intid() < FIRST_SPI {
                let bit = 1 << entry.intid();
                bank.unlist_unchanged(bit, entry);
                bank.listed &= !bit;
                lrs.take(n);
            }
        }
    }

    #[inline(never)]
    fn fold_used(&mut self, vcpu: VcpuIdx, lrs: &mut ListRegisters) -> Kicks {
        let me = Kicks::of(vcpu);
        self.withdrawing &= !me.bits();
        let mut kicks = Kicks::NONE;
        if lrs.unmatched_eois != 0 {
            kicks = self.deactivate_unlisted(vcpu, lrs.unmatched_eois);
            lrs.unmatched_eois = 0;
        }
        if lrs.used & TIMER_REGISTER != 0 || self.timer_edited & me.bits() != 0 {
            self.fold_timer(vcpu, lrs);
        }
        while lrs.used != 0 {
            let entry = lrs.take(lrs.used.trailing_zeros());
            kicks = kicks.union(self.take_back(vcpu, entry));
        }
        kicks.without(vcpu)
    }

    #[inline]
    fn take_back(&mut self, vcpu: VcpuIdx, entry: Entry) -> Kicks {
        let Some((place, n)) = Place::of(IntId(entry.intid()), vcpu) else {
            return Kicks::NONE;
        };
        let bit = 1 << n;
        self.bank_mut(place).unlist(bit, entry);
        match place {
            Place::Private(_) => Kicks::NONE,
            Place::Shared(word) => self.leave_home(vcpu, word, bit),
        }
    }

    /// An SPI came back from a list register of `vcpu`.
    #[inline(never)]
    fn leave_home(&mut self, vcpu: VcpuIdx, word: usize, bit: u32) -> Kicks {
        if self.shared[word].active & bit == 0 {
            self.routes.home[slot(vcpu)][word] &= !bit;
        }
        // Rerouted while it was here, it is somebody else's now.
        self.shared_changed(word, bit)
    }

    /// The guest deactivated `count` interrupts that had no list register. With EOImode 0 it does
    /// so in the order of priority, and the selection leaves out the lowest, so these are the
    /// highest of those left out. (With EOImode 1 the trap of `ICC_DIR_EL1` says which.)
    #[cold]
    fn deactivate_unlisted(&mut self, vcpu: VcpuIdx, count: u8) -> Kicks {
        let mut kicks = Kicks::NONE;
        for _ in 0..count {
            let mut selection = Selection::new(1);
            self.offer_unlisted_active(vcpu, &mut selection);
            let Some(intid) = selection.chosen().next() else {
                break;
            };
            kicks = kicks.union(self.deactivate(vcpu, IntId(intid)));
        }
        kicks
    }

    fn offer_unlisted_active(&self, vcpu: VcpuIdx, selection: &mut Selection) {
        let bank = &self.private[slot(vcpu)];
        for n in ones(bank.unlisted_active()) {
            selection.offer(n, bank.priority[n as usize], Need::Active);
        }
        for (word, bank) in self.shared.iter().enumerate() {
            let home = self.routes.home[slot(vcpu)][word];
            for n in ones(bank.unlisted_active() & home) {
                selection.offer(Place::shared_intid(word, n), bank.priority[n as usize], Need::Active);
            }
        }
    }

    /// A write of `intid` to `ICC_DIR_EL1` that was trapped, of a vCPU that has been folded. What
    /// is not active, or no interrupt, is ignored. An SPI is deactivated wherever it is active,
    /// so a caller may trap the register always.
    pub fn deactivate(&mut self, vcpu: VcpuIdx, intid: IntId) -> Kicks {
        let Some((place, n)) = Place::of(intid, vcpu) else {
            return Kicks::NONE;
        };
        let changed = self.bank_mut(place).clear_active(1 << n);
        if let Place::Shared(word) = place {
            self.settle_homes(word);
        }
        self.changed(place, changed)
    }

    /// Puts what `vcpu` needs into its free list registers, after a [`fold`](Self::fold). The
    /// timer's interrupt goes into the first, everything else into the others.
    #[inline]
    pub fn refill(&mut self, vcpu: VcpuIdx, lrs: &mut ListRegisters) -> Refill {
        let v = slot(vcpu);
        let bank = &mut self.private[v];
        let private = bank.deliverable(self.groups);
        let several = private & private.wrapping_sub(1) | bank.unlisted_active();
        if several != 0 || self.routes.wanted[v] != 0 || lrs.free() == 0 || !self.is_timer_idle(vcpu) {
            return self.refill_slowly(vcpu, lrs);
        }
        if private != 0 {
            lrs.insert(self.private[v].list_deliverable(private.trailing_zeros()));
        }
        Refill { hcr: 0, timer: PhysicalTimer::Unchanged, timer_template: self.templates[v] }
    }

    /// Every case but that of at most one SGI or PPI.
    #[inline(never)]
    fn refill_slowly(&mut self, vcpu: VcpuIdx, lrs: &mut ListRegisters) -> Refill {
        let me = Kicks::of(vcpu).bits();
        let left_out = self.refill_many(vcpu, lrs);
        self.crowded &= !me;
        if left_out.pending.is_some() {
            self.crowded |= me;
        }
        let timer = self.refill_timer(vcpu, lrs, left_out);
        Refill { hcr: maintenance(left_out, lrs.used), timer, timer_template: self.timer_template(vcpu) }
    }

    fn refill_many(&mut self, vcpu: VcpuIdx, lrs: &mut ListRegisters) -> LeftOut {
        let v = slot(vcpu);
        let words = u32::from(self.routes.wanted[v]);
        if words == 0 && self.wanted_private(v) == 0 {
            return LeftOut::NOTHING;
        }
        if let Some((word, n)) = self.only_shared(v, words)
            && lrs.free() != 0
        {
            self.list_shared((v, word), n, lrs, LeftOut::NOTHING);
            self.summarize(word);
            return LeftOut::NOTHING;
        }
        let mut selection = Selection::new(lrs.free().count_ones() as usize);
        self.offer_wanted(v, &mut selection);
        let left_out = selection.finish();
        for intid in selection.chosen() {
            match Place::of(IntId(intid), vcpu) {
                Some((Place::Shared(word), n)) => self.list_shared((v, word), n, lrs, left_out),
                Some((Place::Private(_), n)) => self.list_private(v, n, lrs, left_out),
                None => {}
            }
        }
        for word in ones(words) {
            self.summarize(word as usize);
        }
        left_out
    }

    fn offer_wanted(&self, v: usize, selection: &mut Selection) {
        let bank = &self.private[v];
        for n in ones(self.wanted_private(v)) {
            selection.offer(n, bank.priority[n as usize & 31], need(bank.active >> n));
        }
        for word in ones(u32::from(self.routes.wanted[v])) {
            let word = word as usize & (SPI_WORDS - 1);
            let bank = &self.shared[word];
            for n in ones(self.wanted_shared(v, word)) {
                let intid = Place::shared_intid(word, n);
                selection.offer(intid, bank.priority[n as usize & 31], need(bank.active >> n));
            }
        }
    }

    /// The SPI that vCPU `v` needs, if it needs that one and nothing else.
    fn only_shared(&self, v: usize, words: u32) -> Option<(usize, u32)> {
        if self.wanted_private(v) != 0 || !words.is_power_of_two() {
            return None;
        }
        let word = words.trailing_zeros() as usize & (SPI_WORDS - 1);
        let wanted = self.wanted_shared(v, word);
        wanted.is_power_of_two().then(|| (word, wanted.trailing_zeros()))
    }

    #[inline]
    fn list_private(&mut self, v: usize, n: u32, lrs: &mut ListRegisters, left_out: LeftOut) {
        let bank = &mut self.private[v];
        let allowed = bank.forwarded(self.groups) & may_pend(bank.active, left_out);
        lrs.insert(bank.list(n, n, allowed));
    }

    fn list_shared(&mut self, at: (usize, usize), n: u32, lrs: &mut ListRegisters, left_out: LeftOut) {
        let (v, word) = at;
        let bank = &mut self.shared[word];
        // An active one that was rerouted has its pending half delivered elsewhere, after its end.
        let routed = bank.forwarded(self.groups) & self.routes.routed[v][word];
        let allowed = routed & may_pend(bank.active, left_out);
        lrs.insert(bank.list(n, Place::shared_intid(word, n), allowed));
        self.routes.home[v][word] |= 1 << n;
    }

    /// What vCPU `v` has to find room for among its SGIs and PPIs.
    #[inline]
    const fn wanted_private(&self, v: usize) -> u32 {
        let bank = &self.private[v];
        bank.deliverable(self.groups) | bank.unlisted_active()
    }

    /// Whether an interrupt waits in the model that would wake `vcpu` from WFI: pending, enabled
    /// and of an enabled group. The guest's priority mask is not looked at, nor what sits in the
    /// vCPU's list registers: [`ListRegisters::any_pending`] is the other half of the question.
    #[inline]
    pub fn has_deliverable(&self, vcpu: VcpuIdx) -> bool {
        let v = slot(vcpu);
        if self.private[v].deliverable(self.groups) != 0 || self.timer_deliverable(v) {
            return true;
        }
        ones(u32::from(self.routes.wanted[v])).any(|word| {
            let word = word as usize & 7;
            self.shared[word].deliverable(self.groups) & self.routes.routed[v][word] != 0
        })
    }

    /// The vCPU leaves its CPU: takes everything back as [`fold`](Self::fold) does, and frees the
    /// physical timer interrupt for the next vCPU. It is loaded again by a [`refill`](Self::refill).
    pub fn unload(&mut self, vcpu: VcpuIdx, lrs: &mut ListRegisters) -> Unloaded {
        let kicks = self.fold(vcpu, lrs);
        Unloaded { kicks, timer: self.release_timer(vcpu) }
    }

    /// The vCPU is powered off (PSCI `CPU_OFF`), after it was unloaded: its redistributor sleeps, so
    /// that 1-of-N interrupts go elsewhere. The guest wakes it by `GICR_WAKER`.
    pub fn power_off(&mut self, vcpu: VcpuIdx) -> Kicks {
        self.set_awake(vcpu, false)
    }
}

/// What the lowest bit of `active` says that an interrupt needs a list register for.
#[inline]
const fn need(active: u32) -> Need {
    if active & 1 != 0 { Need::Active } else { Need::Pending }
}

/// The interrupts that may be pending in a list register. While others are left out, those that
/// are active may not be pending as well: they were not chosen for that, and would keep their
/// register afterwards although others have a higher priority.
#[inline]
const fn may_pend(active: u32, left_out: LeftOut) -> u32 {
    if left_out.pending.is_some() { !active } else { u32::MAX }
}

/// The maintenance interrupts that bring in what was left out. None of them is raised by the
/// state that refill leaves behind, else the guest would never execute: with something pending
/// left out at least one register is pending, and underflow needs two in use.
#[inline]
const fn maintenance(left_out: LeftOut, used: u16) -> u64 {
    let mut hcr = 0;
    if left_out.pending.is_some() {
        hcr |= NO_PENDING;
        if used & used.wrapping_sub(1) != 0 {
            hcr |= UNDERFLOW;
        }
    }
    if left_out.active {
        hcr |= ENTRY_NOT_PRESENT | TRAP_DEACTIVATE;
    }
    hcr
}
