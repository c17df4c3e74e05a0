//! The partition's memory: heap, life record, archive, mailbox page, and the buffer for EL2's answers.
//!
//! Stage 1 maps everything at its IPA, by the tables that `build.rs` has the linker write.

use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, Ordering};

use buddy_system_allocator::LockedHeap;
use hv_abi::call::NOTE_MAX;
use hv_abi::guest_map::{ARCHIVE_BASE, MAILBOX_BASE, RAM_BASE};
use hv_abi::mailbox::Slot;
use hv_abi::sos_image::LifeRecord;
use sos_partition::ring::Page;
use zerocopy::FromBytes;

/// What the tables map of the archive: one block of 1 GiB.
const ARCHIVE_MAX: u64 = 1 << 30;
/// What the tables map of RAM.
const MEMORY_MAX: u64 = 1 << 30;

#[global_allocator]
static HEAP: LockedHeap<32> = LockedHeap::new();

unsafe extern "C" {
    /// The first byte behind .bss, from the linker script.
    static __heap: u8;
}

/// Copies the life record.
///
/// # Safety
/// EL2 has put one at `ipa`, and nothing was allocated yet: it may lie in what becomes the heap.
pub(crate) unsafe fn life_record(ipa: u64) -> LifeRecord {
    // SAFETY: by the contract of this function; any bytes are a LifeRecord.
    unsafe { core::ptr::read_unaligned(ipa as *const LifeRecord) }
}

/// Gives everything behind .bss to the heap; `memory` is the partition's RAM in bytes.
///
/// # Safety
/// To be called once, before anything is allocated.
pub(crate) unsafe fn init_heap(memory: u64) {
    let start = (&raw const __heap) as u64;
    let end = RAM_BASE + memory.min(MEMORY_MAX);
    assert!(end > start, "the partition's memory ends inside its image");
    // SAFETY: RAM behind the image, which nobody else uses.
    unsafe { HEAP.lock().init(start as usize, (end - start) as usize) };
}

/// The boot archive.
///
/// # Safety
/// EL2 maps `bytes` bytes of it, read-only, and never changes them during this life.
pub(crate) unsafe fn archive(bytes: u64) -> &'static [u8] {
    assert!(bytes <= ARCHIVE_MAX, "the boot archive is larger than 1 GiB");
    // SAFETY: by the contract of this function.
    unsafe { core::slice::from_raw_parts(ARCHIVE_BASE as *const u8, bytes as usize) }
}

/// The mailbox page. EL2 writes to it at any time: no reference to it is ever made, but for its
/// indices as atomics.
pub(crate) struct MailboxPage(());

impl MailboxPage {
    /// The page. There is one.
    pub(crate) const fn new() -> Self {
        Self(())
    }
}

const fn index(offset: usize) -> *mut u32 {
    (MAILBOX_BASE as usize + offset) as *mut u32
}

const fn slot(offset: usize) -> *mut Slot {
    (MAILBOX_BASE as usize + offset) as *mut Slot
}

impl Page for MailboxPage {
    fn load(&self, offset: usize) -> u32 {
        // SAFETY: an aligned index in the page (`hv_abi::mailbox`); EL2 uses atomics on it as well.
        unsafe { AtomicU32::from_ptr(index(offset)) }.load(Ordering::Acquire)
    }

    fn store(&mut self, offset: usize, value: u32) {
        // SAFETY: as in `load`.
        unsafe { AtomicU32::from_ptr(index(offset)) }.store(value, Ordering::Release);
    }

    fn read_slot(&self, offset: usize) -> Slot {
        // SAFETY: an aligned slot in the page, of which every byte pattern is a `Slot`. EL2 has
        // published it and leaves it alone until this side moves its index on.
        unsafe { slot(offset).read_volatile() }
    }

    fn write_slot(&mut self, offset: usize, value: &Slot) {
        // SAFETY: an aligned slot in the page, which is this side's until it moves its index on.
        unsafe { slot(offset).write_volatile(*value) }
    }
}

/// Where EL2 writes its answers.
#[repr(C, align(4096))]
pub(crate) struct Answers(UnsafeCell<[u8; NOTE_MAX]>);

// SAFETY: this partition has one vCPU and takes no interrupts; EL2 writes only during a call.
unsafe impl Sync for Answers {}

/// The one buffer.
pub(crate) static ANSWERS: Answers = Answers(UnsafeCell::new([0; NOTE_MAX]));

impl Answers {
    /// Its IPA.
    pub(crate) fn ipa(&self) -> u64 {
        self.0.get() as u64
    }

    /// A copy of its first bytes, at most as many as it has.
    pub(crate) fn bytes(&self, count: u64) -> Vec<u8> {
        let count = (count as usize).min(NOTE_MAX);
        // SAFETY: inside the buffer; between calls nobody writes to it, and the copy is made
        // before the next one.
        unsafe { core::slice::from_raw_parts(self.0.get().cast::<u8>(), count) }.to_vec()
    }

    /// A copy of the record at its start.
    pub(crate) fn record<T: FromBytes>(&self) -> T {
        const { assert!(size_of::<T>() <= NOTE_MAX && align_of::<T>() <= 4096) };
        // SAFETY: inside the buffer, aligned as the page is; every byte pattern is a T.
        unsafe { self.0.get().cast::<T>().read_volatile() }
    }
}
