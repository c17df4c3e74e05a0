//! The mailbox page of a VM, seen from EL2: one side of its two rings.

use core::sync::atomic::{AtomicU64, Ordering};

use hv_abi::Status;
use hv_abi::guest_map::MAILBOX_SPI;
use hv_abi::mailbox::{
    INBOUND_CONSUMER, INBOUND_PRODUCER, INBOUND_SLOTS, OUTBOUND_CONSUMER, OUTBOUND_PRODUCER, OUTBOUND_SLOTS, SLOTS,
    Slot, slot_offset,
};
use hv_arch::ram;
use hv_core::addr::{Pa, VmId};
use zerocopy::IntoBytes;

use crate::{VMS, devices, sos, vm};

/// EL2's side of a page. Its own indices are the truth; the page only tells the owner of them.
pub struct Mailbox {
    page: Option<Pa>,
    /// Frames taken from the outbound ring.
    taken: u32,
    /// Frames put into the inbound ring.
    put: u32,
}

/// VMs whose ring or port had no room for a frame: a bit for each slot.
static STARVED: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

impl Mailbox {
    /// No page.
    pub const fn new() -> Self {
        Self { page: None, taken: 0, put: 0 }
    }

    /// Takes a page of zeroes.
    pub const fn attach(&mut self, page: Pa) {
        *self = Self { page: Some(page), taken: 0, put: 0 };
    }

    /// Lets the page go.
    pub const fn detach(&mut self) {
        self.page = None;
    }

    /// Whether there is a page.
    pub const fn is_attached(&self) -> bool {
        self.page.is_some()
    }

    fn at(&self, offset: usize) -> Option<Pa> {
        Some(Pa(self.page?.0 + offset as u64))
    }

    /// Frames that wait in the outbound ring; none where the owner's index makes no sense.
    #[inline]
    pub fn waiting(&self) -> u32 {
        let Some(at) = self.at(OUTBOUND_PRODUCER) else {
            return 0;
        };
        let waiting = ram::load_acquire(at).wrapping_sub(self.taken);
        if waiting > SLOTS { 0 } else { waiting }
    }

    /// A copy of the next frame in the outbound ring.
    pub fn peek(&self) -> Option<Slot> {
        if self.waiting() == 0 {
            return None;
        }
        let mut slot = Slot::EMPTY;
        ram::read(self.at(slot_offset(OUTBOUND_SLOTS, self.taken))?, slot.as_mut_bytes());
        Some(slot)
    }

    /// The next frame of the outbound ring is done with.
    pub fn consume(&mut self) {
        self.taken = self.taken.wrapping_add(1);
        if let Some(at) = self.at(OUTBOUND_CONSUMER) {
            ram::store_release(at, self.taken);
        }
    }

    /// Whether the owner has frames in its inbound ring that it did not take yet.
    pub fn unread(&self) -> bool {
        self.at(INBOUND_CONSUMER).is_some_and(|at| ram::load_acquire(at) != self.put)
    }

    /// Whether the inbound ring has room for a frame.
    pub fn has_room(&self) -> bool {
        let Some(at) = self.at(INBOUND_CONSUMER) else {
            return false;
        };
        self.put.wrapping_sub(ram::load_acquire(at)) < SLOTS
    }

    /// Puts a frame into the inbound ring; whether there was room.
    pub fn put(&mut self, slot: &Slot) -> bool {
        let place = self.at(slot_offset(INBOUND_SLOTS, self.put));
        let (Some(place), Some(index)) = (place.filter(|_| self.has_room()), self.at(INBOUND_PRODUCER)) else {
            return false;
        };
        ram::write(place, slot.as_bytes());
        self.put = self.put.wrapping_add(1);
        ram::store_release(index, self.put);
        true
    }
}

/// `doorbell`: looks at the caller's rings.
#[inline]
pub fn doorbell(id: VmId) -> Status {
    let vm = &VMS[id.index()];
    let mailbox = vm.mailbox.lock();
    if !mailbox.is_attached() {
        return Status::NotSupported;
    }
    let quiet = mailbox.waiting() == 0;
    drop(mailbox);
    if id == vm::SOS_VM {
        return sos::serve_own_doorbell();
    }
    if !quiet {
        sos::serve_ring(id);
    }
    if is_starved(id) {
        sos::has_room_again(id);
    }
    Status::Success
}

/// Puts a frame into a VM's inbound ring and tells it; whether there was room.
pub fn deliver(id: VmId, slot: &Slot) -> bool {
    let ring = &VMS[id.index()].mailbox;
    let mut put = ring.lock().put(slot);
    if !put {
        // It may have made room, and have rung, just before it was noted that somebody waits.
        set_starved(id, true);
        put = ring.lock().put(slot);
    }
    if put {
        devices::pulse(id, MAILBOX_SPI);
    }
    put
}

/// Whether something for the VM waits for room.
#[inline]
pub fn is_starved(id: VmId) -> bool {
    let (word, bit) = (id.index() / 64, id.index() % 64);
    STARVED.get(word).is_some_and(|word| word.load(Ordering::SeqCst) >> bit & 1 != 0)
}

/// Whether something for any VM waits for room.
pub fn is_any_starved() -> bool {
    STARVED.iter().any(|word| word.load(Ordering::SeqCst) != 0)
}

/// Notes whether something for the VM waits for room.
pub fn set_starved(id: VmId, starved: bool) {
    let (word, bit) = (id.index() / 64, id.index() % 64);
    if let Some(word) = STARVED.get(word) {
        if starved {
            word.fetch_or(1 << bit, Ordering::SeqCst);
        } else {
            word.fetch_and(!(1 << bit), Ordering::Relaxed);
        }
    }
}
