//! A small heap: typed messages allocate.

use buddy_system_allocator::LockedHeap;

const SIZE: usize = 256 * 1024;

#[repr(C, align(4096))]
struct Arena(core::cell::UnsafeCell<[u8; SIZE]>);

// SAFETY: only the allocator, which has a lock, touches it.
unsafe impl Sync for Arena {}

static ARENA: Arena = Arena(core::cell::UnsafeCell::new([0; SIZE]));

#[global_allocator]
static HEAP: LockedHeap<20> = LockedHeap::empty();

/// Gives the heap its memory.
pub(crate) fn init() {
    // SAFETY: called once, by the entry code; the arena is used for nothing else.
    unsafe { HEAP.lock().init(ARENA.0.get() as usize, SIZE) }
}
