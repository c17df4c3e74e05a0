//! The choice of interrupts for list registers when there are more of them than registers.
//!
//! Active ones first, because the guest's deactivation has to find them; then pending ones; each by
//! priority. But active ones never take the last register from a pending one: a guest that keeps
//! interrupts active for long (EOImode 1) would otherwise wait for one of them while it waits for
//! the interrupt left out. An active one that is left out is found by `EOIcount` or a trapped
//! `ICC_DIR_EL1`.

/// Sort key: state, then priority, then INTID, smallest first.
type Key = u32;

const PENDING_KEY: Key = 1 << 31;
const PRIORITY_SHIFT: u32 = 16;
const INTID_MASK: Key = 0xffff;
/// Larger than any key.
const NO_KEY: Key = Key::MAX;

/// What an interrupt wants a list register for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// It is active, and may be pending as well.
    Active,
    /// It is pending only.
    Pending,
}

/// The best so far for a number of list registers.
pub(super) struct Selection {
    keys: [Key; 16],
    len: usize,
    capacity: usize,
    active_seen: usize,
    pending_seen: usize,
    best_pending: Key,
}

/// What found no list register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LeftOut {
    /// Something active.
    pub(super) active: bool,
    /// Something pending: then the priority of the last pending one that was chosen.
    pub(super) pending: Option<u8>,
}

impl LeftOut {
    pub(super) const NOTHING: Self = Self { active: false, pending: None };
}

impl Selection {
    /// Room for `capacity` interrupts, at most 16.
    #[inline]
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            keys: [NO_KEY; 16],
            len: 0,
            capacity: capacity.min(16),
            active_seen: 0,
            pending_seen: 0,
            best_pending: NO_KEY,
        }
    }

    /// Considers an interrupt.
    #[inline]
    pub(super) fn offer(&mut self, intid: u32, priority: u8, need: Need) {
        let mut key = intid | u32::from(priority) << PRIORITY_SHIFT;
        match need {
            Need::Active => self.active_seen += 1,
            Need::Pending => {
                key |= PENDING_KEY;
                self.pending_seen += 1;
                self.best_pending = self.best_pending.min(key);
            }
        }
        self.keep(key);
    }

    /// Keeps `key` in its order, dropping the last if there is no room.
    #[inline]
    fn keep(&mut self, mut key: Key) {
        for kept in self.keys.iter_mut().take(self.len) {
            if key < *kept {
                core::mem::swap(&mut key, kept);
            }
        }
        if self.len < self.capacity {
            self.keys[self.len & 15] = key;
            self.len += 1;
        }
    }

    /// Ends the choice; the INTIDs chosen are [`chosen`](Self::chosen).
    #[inline]
    pub(super) fn finish(&mut self) -> LeftOut {
        let mut active = self.active_seen.min(self.capacity);
        if active == self.capacity && self.pending_seen > 0 && self.len > 0 {
            active -= 1;
            self.keys[active & 15] = self.best_pending;
        }
        let pending = self.pending_seen.min(self.capacity - active);
        LeftOut {
            active: self.active_seen > active,
            pending: (self.pending_seen > pending).then(|| self.last_priority()),
        }
    }

    /// The priority of the last one chosen; the lowest there is if none was.
    fn last_priority(&self) -> u8 {
        let last = self.len.checked_sub(1).map_or(NO_KEY, |last| self.keys[last & 15]);
        (last >> PRIORITY_SHIFT) as u8
    }

    /// What was chosen, best first.
    #[inline]
    pub(super) fn chosen(&self) -> impl Iterator<Item = u32> {
        self.keys.iter().take(self.len).map(|key| key & INTID_MASK)
    }
}
