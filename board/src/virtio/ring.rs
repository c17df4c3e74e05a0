//! A split virtqueue from the driver's side (virtio 1.2 §2.7), of requests that are one piece or have an indirect table each.
//!
//! A slot is an entry of the descriptor table, its indirect table, and bytes of its own: for what the driver itself says and
//! hears in a request, or a buffer. The descriptor names the same table for ever, or is the request's only piece; a request
//! is submitted by its number in the available ring.

use hv_core::addr::Pa;

use super::DmaMemory;
use crate::barrier;
use crate::dma::Word;

/// Slots: requests in flight at most.
pub(super) const SLOTS: u16 = 64;

/// Bytes of a descriptor, and its fields: address, length, flags, next (§2.7.5).
const DESCRIPTOR: usize = 16;
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
/// VIRTQ_AVAIL_F_NO_INTERRUPT (§2.7.6), VIRTQ_USED_F_NO_NOTIFY (§2.7.8).
const NO_INTERRUPT: u16 = 1;
const NO_NOTIFY: u16 = 1;

/// Where everything lies. Rings: flags, index, entries, event (§2.7.6, §2.7.8).
const AVAILABLE: usize = SLOTS as usize * DESCRIPTOR;
const AVAILABLE_EVENT: usize = AVAILABLE + 4 + 2 * SLOTS as usize;
const USED: usize = 0x500;
const USED_EVENT: usize = USED + 4 + 8 * SLOTS as usize;
const TABLES: usize = 0x800;

const _: () = assert!(AVAILABLE_EVENT + 2 <= USED && USED_EVENT + 2 <= TABLES && USED.is_multiple_of(4));

/// The device gave something back that it does not have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NotIts(pub(super) u32);

/// A ring whose requests have up to `PIECES` pieces, and whose slots have `OWN` bytes of their own, in units of 8.
#[derive(Debug)]
pub(super) struct Ring<const PIECES: usize, const OWN: usize> {
    memory: DmaMemory,
    /// Slots that are taken, a bit each.
    taken: u64,
    /// Slots that the device has, a bit each.
    with_device: u64,
    /// Next entry of the available ring, free-running, and its value when the device was last notified.
    available: u16,
    notified: u16,
    /// Next entry of the used ring to look at, free-running.
    used: u16,
    event_index: bool,
    /// The device was reset, and no slot is to be had any more.
    closed: bool,
}

/// One piece of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    pub(super) address: Pa,
    pub(super) length: u32,
    /// The device writes it.
    pub(super) writable: bool,
}

impl<const PIECES: usize, const OWN: usize> Ring<PIECES, OWN> {
    /// A request is a descriptor of the ring's own table, and needs no other.
    const DIRECT: bool = PIECES == 1;
    /// Bytes of a slot's table, and where the slots' own bytes begin.
    const TABLE: usize = if Self::DIRECT { 0 } else { PIECES * DESCRIPTOR };
    const OWN_START: usize = TABLES + SLOTS as usize * Self::TABLE;
    /// Bytes of memory of a ring.
    pub(super) const SIZE: usize = Self::OWN_START + SLOTS as usize * OWN;

    /// A ring without requests. The memory is of [`Ring::SIZE`] bytes.
    pub(super) fn new(mut memory: DmaMemory, event_index: bool) -> Self {
        (0..TABLES).step_by(8).for_each(|offset| memory.write::<u64>(offset, 0));
        if !Self::DIRECT {
            for slot in 0..usize::from(SLOTS) {
                let table = memory.address(TABLES + slot * Self::TABLE);
                memory.write(slot * DESCRIPTOR, table.0);
                memory.write(slot * DESCRIPTOR + 12, INDIRECT);
            }
        }
        Self { memory, taken: 0, with_device: 0, available: 0, notified: 0, used: 0, event_index, closed: false }
    }

    /// Addresses of descriptor table, available ring and used ring.
    pub(super) fn areas(&self) -> [Pa; 3] {
        [0, AVAILABLE, USED].map(|offset| self.memory.address(offset))
    }

    /// Slots that are free.
    pub(super) const fn free(&self) -> u32 {
        if self.closed { 0 } else { self.taken.count_zeros() }
    }

    /// Takes a slot.
    pub(super) fn take(&mut self) -> Option<u16> {
        if self.closed {
            return None;
        }
        let slot = self.taken.trailing_ones();
        self.taken |= 1_u64.checked_shl(slot)?;
        Some(slot as u16)
    }

    /// Gives a slot back that the device does not have.
    pub(super) const fn release(&mut self, slot: u16) {
        self.taken &= !(1 << (slot % SLOTS));
    }

    /// Whether a slot is taken, and the device does not have it.
    pub(super) const fn holds(&self, slot: u16) -> bool {
        slot < SLOTS && self.taken & !self.with_device & 1 << (slot % SLOTS) != 0
    }

    /// Where a slot's own bytes are, to be used from `offset` on.
    pub(super) fn own(&self, slot: u16, offset: usize) -> Pa {
        self.memory.address(Self::own_offset(slot, offset))
    }

    const fn own_offset(slot: u16, offset: usize) -> usize {
        Self::OWN_START + (slot % SLOTS) as usize * OWN + offset
    }

    /// Writes a word of a slot's own bytes.
    pub(super) fn write_own<T: Word>(&mut self, slot: u16, offset: usize, value: T) {
        self.memory.write(Self::own_offset(slot, offset), value);
    }

    /// Reads a word of a slot's own bytes.
    pub(super) fn read_own<T: Word>(&self, slot: u16, offset: usize) -> T {
        self.memory.read(Self::own_offset(slot, offset))
    }

    /// Where the descriptor of the piece `index` of a slot's request is.
    const fn descriptor(slot: u16, index: usize) -> usize {
        let slot = (slot % SLOTS) as usize;
        if Self::DIRECT { slot * DESCRIPTOR } else { TABLES + slot * Self::TABLE + index % PIECES * DESCRIPTOR }
    }

    /// Writes the piece `index` of a slot's request.
    pub(super) fn describe(&mut self, slot: u16, index: usize, piece: &Piece) {
        assert!(index < PIECES, "a request of more than {PIECES} pieces");
        let at = Self::descriptor(slot, index);
        let next = if Self::DIRECT { 0 } else { u64::from(NEXT) << 32 | (index as u64 + 1) << 48 };
        let flags = if piece.writable { WRITE } else { 0 };
        let rest = u64::from(piece.length) | u64::from(flags) << 32 | next;
        self.memory.write(at, piece.address.0);
        self.memory.write(at + 8, rest);
    }

    /// The piece `index` of a slot's request, which the device does not have yet.
    pub(super) fn described(&self, slot: u16, index: usize) -> Piece {
        let at = Self::descriptor(slot, index);
        let rest: u64 = self.memory.read(at + 8);
        let writable = rest >> 32 & u64::from(WRITE) != 0;
        Piece { address: Pa(self.memory.read(at)), length: rest as u32, writable }
    }

    /// Hands a slot's request of `count` pieces to the device.
    pub(super) fn submit(&mut self, slot: u16, count: usize) {
        let slot = slot % SLOTS;
        if !Self::DIRECT {
            // The last piece has none after it.
            let last = TABLES + usize::from(slot) * Self::TABLE + count.saturating_sub(1) * DESCRIPTOR + 12;
            let flags = self.memory.read::<u16>(last) & !NEXT;
            self.memory.write(last, flags);
            self.memory.write(usize::from(slot) * DESCRIPTOR + 8, (count * DESCRIPTOR) as u32);
        }
        self.memory.write(AVAILABLE + 4 + 2 * usize::from(self.available % SLOTS), slot);
        self.with_device |= 1 << slot;
        self.available = self.available.wrapping_add(1);
        // The request is there before the index that says so (§2.7.13.3).
        barrier::before_device();
        self.memory.write(AVAILABLE + 2, self.available);
    }

    /// Whether the device is to be told of what was submitted since the last call (§2.7.10).
    pub(super) fn must_notify(&mut self) -> bool {
        let before = core::mem::replace(&mut self.notified, self.available);
        if before == self.available {
            return false;
        }
        // The index is there before the device's wish is looked at (§2.7.13.4.1).
        barrier::both_ways();
        if self.event_index {
            let event: u16 = self.memory.read(USED_EVENT);
            return self.available.wrapping_sub(event).wrapping_sub(1) < self.available.wrapping_sub(before);
        }
        self.memory.read::<u16>(USED) & NO_NOTIFY == 0
    }

    /// The next slot that the device gives back, which stays taken, and how many bytes the device says that it has written.
    ///
    /// # Errors
    ///
    /// It gives back something else: nothing that it says can be believed any more.
    pub(super) fn done(&mut self) -> Result<Option<(u16, u32)>, NotIts> {
        let index: u16 = self.memory.read(USED + 2);
        if index == self.used {
            return Ok(None);
        }
        // What it has written is looked at after the index that says so.
        barrier::after_device();
        let element = USED + 4 + 8 * usize::from(self.used % SLOTS);
        let (id, written): (u32, u32) = (self.memory.read(element), self.memory.read(element + 4));
        let its = id < u32::from(SLOTS) && self.with_device & 1 << (id % u32::from(SLOTS)) != 0;
        if !its {
            return Err(NotIts(id));
        }
        self.with_device &= !(1 << id);
        self.used = self.used.wrapping_add(1);
        Ok(Some((id as u16, written)))
    }

    /// Asks for an interrupt at the next request that is given back. Whether one was meanwhile.
    pub(super) fn arm(&mut self) -> bool {
        self.arm_behind(0)
    }

    /// Asks for an interrupt when a request is given back behind `others`, or sooner. Whether that was meanwhile.
    pub(super) fn arm_behind(&mut self, others: u16) -> bool {
        let event = self.used.wrapping_add(others);
        let (at, value) = if self.event_index { (AVAILABLE_EVENT, event) } else { (AVAILABLE, 0) };
        self.memory.write(at, value);
        barrier::both_ways();
        self.memory.read::<u16>(USED + 2).wrapping_sub(self.used) > others
    }

    /// Asks for no interrupts until [`Ring::arm`]. One may come all the same: the device is asked, not held to it (§2.7.7).
    pub(super) fn quiet(&mut self) {
        // An event that is past is as far ahead as one can be.
        let past = self.used.wrapping_sub(1);
        let (at, value) = if self.event_index { (AVAILABLE_EVENT, past) } else { (AVAILABLE, NO_INTERRUPT) };
        self.memory.write(at, value);
    }

    /// Forgets all that is in flight, and has no slots any more: the device was reset.
    pub(super) fn close(&mut self) {
        self.used = self.memory.read(USED + 2);
        self.notified = self.available;
        (self.taken, self.with_device, self.closed) = (0, 0, true);
    }
}
