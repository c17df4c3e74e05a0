//! The last 64 KiB of a VM's console, in frames of their own; what the line itself holds of it is taken over now and then.

use hv_arch::ram;
use hv_core::addr::{Pa, PaRange};
use hv_core::frames::Owner;
use hv_core::ring::ByteRing;

use crate::devices::OUTPUT_SIZE;
use crate::memory::frames;

/// Bytes that are kept.
pub const HISTORY_SIZE: u64 = 64 * 1024;
/// So many new bytes on the line at most are not taken over: less than the line holds.
pub const STEP: u64 = 1024;
const _: () = assert!(STEP < OUTPUT_SIZE as u64);

/// The end of what a VM has said. Positions are those of its line.
#[derive(Debug)]
pub struct History {
    place: Option<Pa>,
    /// Position at the beginning of the VM's life.
    first: u64,
    /// Position behind what was taken over.
    end: u64,
}

impl History {
    /// Of a VM whose words are not kept.
    pub const NONE: Self = Self { place: None, first: 0, end: 0 };

    /// For a life that begins, where there are frames for it.
    pub fn allocate() -> Option<Self> {
        let place = frames().allocate(HISTORY_SIZE, Owner::Rings).ok()?;
        Some(Self { place: Some(place), ..Self::NONE })
    }

    /// Whether there is a place for it.
    pub const fn is_kept(&self) -> bool {
        self.place.is_some()
    }

    /// A life begins at a position of its line.
    pub const fn begin_at(&mut self, position: u64) {
        (self.first, self.end) = (position, position);
    }

    /// Takes over what is new on the line.
    #[inline(never)]
    pub fn follow(&mut self, line: &ByteRing<OUTPUT_SIZE>) {
        let Some(place) = self.place else { return };
        let mut bytes = [0; 128];
        loop {
            let offset = self.end % HISTORY_SIZE;
            let room = (HISTORY_SIZE - offset).min(bytes.len() as u64) as usize;
            let (position, count) = line.read_at(self.end, &mut bytes[..room]);
            if count == 0 {
                return;
            }
            // Nothing was lost in between: the line holds more than a step.
            ram::write(Pa(place.0 + offset), &bytes[..count]);
            self.end = position + count as u64;
        }
    }

    /// Copies what is kept from `position` on, counted from the beginning of the life. Returns the position of the first
    /// byte, how many there are, and the position behind the last that is kept.
    pub fn read_at(&self, position: u64, into: &mut [u8]) -> (u64, usize, u64) {
        let end = self.end - self.first;
        let from = position.clamp(end.saturating_sub(HISTORY_SIZE), end);
        let offset = (self.first + from) % HISTORY_SIZE;
        let count = (into.len() as u64).min(end - from).min(HISTORY_SIZE - offset) as usize;
        if let Some(place) = self.place {
            ram::read(Pa(place.0 + offset), &mut into[..count]);
        }
        (from, count, end)
    }

    /// Gives its frames back.
    pub fn free(self) {
        if let Some(start) = self.place {
            let range = PaRange { start, size: HISTORY_SIZE };
            // A VM that has said nothing has left nothing.
            if self.end != self.first {
                ram::zero(range);
            }
            frames().free(range, Owner::Rings);
        }
    }
}
