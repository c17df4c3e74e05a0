//! The mailbox page's rings by bare loads and stores, for guests that count instructions or break
//! the rules on purpose. Written from the layout in `hv_abi::mailbox`.

use core::arch::asm;
use hv_abi::call::Call;
use hv_abi::guest_map::MAILBOX_BASE;
use hv_abi::mailbox::{
    BODY_MAX, Frame, INBOUND_CONSUMER, INBOUND_PRODUCER, INBOUND_SLOTS, OUTBOUND_CONSUMER, OUTBOUND_PRODUCER,
    OUTBOUND_SLOTS, PAGE_SIZE, SLOT_SIZE, SLOTS, Slot, slot_offset,
};
use hv_mailbox::Page;
use zerocopy::{FromBytes, IntoBytes};

/// The mailbox page of this VM, for the mailbox client.
#[derive(Clone, Copy, Debug)]
pub struct MailboxPage;

impl Page for MailboxPage {
    fn load_u32(&self, offset: usize) -> u32 {
        load(offset)
    }

    fn store_u32(&self, offset: usize, value: u32) {
        publish(offset, value);
    }

    fn read(&self, offset: usize, into: &mut [u8]) {
        read_bytes(offset, into);
    }

    fn write(&self, offset: usize, from: &[u8]) {
        write_bytes(offset, from);
    }
}

/// Both rings, as their owner keeps them.
pub struct Rings {
    produced: u32,
    consumed: u32,
}

impl Rings {
    /// Takes over the page where its indices are.
    pub fn open() -> Self {
        Self { produced: load(OUTBOUND_PRODUCER), consumed: load(INBOUND_CONSUMER) }
    }

    /// Puts a frame into the outbound ring; `false` if it is full. Rings no bell.
    pub fn put(&mut self, frame: Frame, body: &[u8]) -> bool {
        if self.produced.wrapping_sub(load(OUTBOUND_CONSUMER)) >= SLOTS {
            return false;
        }
        write_bytes(slot_offset(OUTBOUND_SLOTS, self.produced), Slot::new(frame, body).as_bytes());
        self.produced = self.produced.wrapping_add(1);
        publish(OUTBOUND_PRODUCER, self.produced);
        true
    }

    /// Whether a frame is in the inbound ring.
    #[inline]
    pub fn pending(&self) -> bool {
        load(INBOUND_PRODUCER) != self.consumed
    }

    /// Takes a frame from the inbound ring.
    pub fn take(&mut self) -> Option<(Frame, [u8; BODY_MAX])> {
        if !self.pending() {
            return None;
        }
        let mut bytes = [0; SLOT_SIZE];
        read_bytes(slot_offset(INBOUND_SLOTS, self.consumed), &mut bytes);
        self.consumed = self.consumed.wrapping_add(1);
        publish(INBOUND_CONSUMER, self.consumed);
        let slot = Slot::read_from_bytes(&bytes).expect("a slot has a slot's size");
        Some((Frame::parse(&slot.header).expect("frame from EL2"), slot.body))
    }
}

/// The doorbell; its answer.
#[inline]
pub fn doorbell() -> u64 {
    let status;
    // SAFETY: by the calling convention only x0 to x3 change; EL2 may write to the mailbox page.
    unsafe {
        asm!("hvc #0", inout("x0") Call::Doorbell as u64 => status, out("x1") _, out("x2") _, out("x3") _, options(nostack));
    }
    status
}

fn place(offset: usize) -> u64 {
    assert!(offset + 4 <= PAGE_SIZE);
    MAILBOX_BASE + offset as u64
}

/// The word at `offset` of the page, by load-acquire.
#[inline]
pub fn load(offset: usize) -> u32 {
    let value: u32;
    // SAFETY: inside the mailbox page.
    unsafe {
        asm!("ldr {0:w}, [{1}]", "dmb ishld", out(reg) value, in(reg) place(offset), options(nostack));
    }
    value
}

/// Stores `value` at `offset` of the page behind everything stored before.
#[inline]
pub fn publish(offset: usize, value: u32) {
    // SAFETY: inside the mailbox page.
    unsafe {
        asm!("dmb ish", "str {0:w}, [{1}]", in(reg) value, in(reg) place(offset), options(nostack));
    }
}

/// Writes bytes to the page, a word at a time: it is mapped as device memory.
pub fn write_bytes(offset: usize, bytes: &[u8]) {
    for (i, word) in bytes.chunks_exact(4).enumerate() {
        let value = u32::from_le_bytes(word.try_into().expect("four bytes"));
        // SAFETY: inside the mailbox page, aligned to 4.
        unsafe { (place(offset + i * 4) as *mut u32).write_volatile(value) }
    }
}

/// Reads bytes of the page, a word at a time.
pub fn read_bytes(offset: usize, bytes: &mut [u8]) {
    for (i, word) in bytes.chunks_exact_mut(4).enumerate() {
        // SAFETY: inside the mailbox page, aligned to 4.
        let value = unsafe { (place(offset + i * 4) as *const u32).read_volatile() };
        word.copy_from_slice(&value.to_le_bytes());
    }
}
