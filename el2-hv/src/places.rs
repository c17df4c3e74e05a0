//! Which objects of a table a VM has in its virtio slots.

use core::sync::atomic::{AtomicU8, Ordering};

/// The `N` slots from `FIRST` on: in each an index into the table and one, or 0.
pub struct Places<const FIRST: u32, const N: usize>([AtomicU8; N]);

impl<const FIRST: u32, const N: usize> Places<FIRST, N> {
    /// None.
    pub const fn new() -> Self {
        Self([const { AtomicU8::new(0) }; N])
    }

    /// The index in a virtio slot.
    #[inline]
    pub fn at(&self, slot: u64) -> Option<usize> {
        let place = self.0.get(slot.checked_sub(u64::from(FIRST))? as usize)?;
        usize::from(place.load(Ordering::Relaxed)).checked_sub(1)
    }

    /// Those that it has.
    pub fn all(&self) -> impl Iterator<Item = usize> {
        self.0.iter().filter_map(|place| usize::from(place.load(Ordering::Relaxed)).checked_sub(1))
    }

    /// Whether there is a place of that number, and nothing in it.
    pub fn is_free(&self, number: u8) -> bool {
        self.0.get(usize::from(number)).is_some_and(|place| place.load(Ordering::Relaxed) == 0)
    }

    /// Puts an index into a place.
    pub fn put(&self, number: u8, index: usize) {
        if let Some(place) = self.0.get(usize::from(number)) {
            place.store(index as u8 + 1, Ordering::Relaxed);
        }
    }

    /// Nothing is in a place any more.
    pub fn take(&self, number: u8) {
        if let Some(place) = self.0.get(usize::from(number)) {
            place.store(0, Ordering::Relaxed);
        }
    }

    /// Nothing is in any of them.
    pub fn clear(&self) {
        self.0.iter().for_each(|place| place.store(0, Ordering::Relaxed));
    }
}
