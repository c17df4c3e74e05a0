//! Frames of RAM: `buddy_system_allocator` picks them, `hv_core::frames` knows whose they are.
//!
//! The buddy allocator keeps its links inside free frames, in their first word; a frame that is
//! given out has that cleared. Everything else in a free frame is zero: it was scrubbed when
//! it was given back, or never written since power-on.

use core::alloc::Layout;
use core::ptr::NonNull;

use buddy_system_allocator::Heap;
use hv_core::addr::{FRAME_SIZE, Pa, PaRange};
use hv_core::frames::{FrameTable, Owner, OwnershipError};
use hv_core::ledger::Witness;
use hv_core::reclaim::{self, Clearing};

use crate::cache;

/// Largest order: blocks of up to 64 GiB.
const ORDERS: usize = 37;

/// No block of that size is free.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoFrames;

/// All of RAM, and who sees each change of an owner.
#[derive(Debug)]
pub struct Frames<W> {
    heap: Heap<ORDERS>,
    table: FrameTable<'static>,
    witness: W,
}

impl<W: Witness> Frames<W> {
    /// Nothing can be allocated before [`Frames::open`].
    pub const fn new(table: FrameTable<'static>, witness: W) -> Self {
        Self { heap: Heap::empty(), table, witness }
    }

    /// Takes what is free in `range`, which need not be in RAM, for `to`.
    pub fn reserve(&mut self, range: &PaRange, to: Owner) {
        self.table.reserve(range, to);
        self.witness.reserved(&self.table, range, to);
    }

    /// Takes every frame that is free under management. Once only.
    pub fn open(&mut self) {
        let mut from = Pa(0);
        while let Some(run) = self.table.free_run(from) {
            // SAFETY: the table says that nobody owns the run; it is mapped RAM, whole frames, and
            // `free_run` goes upwards, so no run is added twice.
            unsafe { self.heap.add_to_heap(run.start.0 as usize, run.end().0 as usize) };
            from = run.end();
        }
    }

    /// A block of `size` bytes, a power of two of at least a frame, aligned to its size and zero, for `owner`.
    ///
    /// # Errors
    /// No such block is free.
    pub fn allocate(&mut self, size: u64, owner: Owner) -> Result<Pa, NoFrames> {
        if self.witness.refuses(size, owner) {
            return Err(NoFrames);
        }
        let block = self.heap.alloc(layout(size)?).map_err(|()| NoFrames)?;
        let range = PaRange { start: Pa(block.as_ptr() as u64), size };
        reclaim::clear(&range, &mut Links);
        self.change(&range, Owner::Free, owner);
        Ok(range.start)
    }

    /// Gives back a block of [`Frames::allocate`], or a part of one that is a power of two and
    /// aligned to its size. It was scrubbed.
    pub fn free(&mut self, range: PaRange, owner: Owner) {
        self.change(&range, owner, Owner::Free);
        let (Some(block), Ok(layout)) = (NonNull::new(range.start.0 as *mut u8), layout(range.size)) else {
            panic!("{range:?} is no block");
        };
        // The allocator's statistics subtract what it never gave out when a block is returned in
        // parts; the sizes add up all the same.
        // SAFETY: the range was allocated from this heap and belongs to nobody now: the table has
        // checked that `owner` had every frame of it.
        unsafe { self.heap.dealloc(block, layout) };
    }

    /// Scrubs a run of free frames, keeping the allocator's links: after a warm reset.
    pub fn scrub_free(&self, run: PaRange) {
        let zeroing = cache::Zeroing::find();
        for frame in run.outer_frames() {
            let frame = Pa(frame * FRAME_SIZE);
            let link = frame.0 as *mut u64;
            // SAFETY: nobody owns the frame; the allocator, whose link is kept, is borrowed.
            unsafe {
                let kept = link.read_volatile();
                cache::scrub(zeroing, frame, Pa(frame.0 + FRAME_SIZE));
                link.write_volatile(kept);
            }
        }
        cache::finish();
    }

    /// Gives allocated frames to another owner.
    pub fn change(&mut self, range: &PaRange, from: Owner, to: Owner) {
        if let Err(error) = self.table.transfer(range, from, to) {
            ownership_broken(error);
        }
        self.witness.changed(&self.table, range, from, to);
    }

    /// The table of owners.
    pub const fn table(&self) -> &FrameTable<'static> {
        &self.table
    }
}

/// The allocator's links in a block that was just taken from it.
struct Links;

impl Clearing for Links {
    #[inline]
    fn clear_link(&mut self, frame: Pa) {
        // SAFETY: the block is ours now; the allocator's link lay in the first word of frames.
        unsafe { (frame.0 as *mut u64).write_volatile(0) };
    }

    #[inline]
    fn clean_line(&mut self, frame: Pa) {
        cache::clean_line(frame);
    }

    #[inline]
    fn complete(&mut self) {
        cache::finish();
    }
}

/// Two owners believe that they have a frame: nothing is safe any more.
#[cold]
fn ownership_broken(error: OwnershipError) -> ! {
    panic!("frame ownership: {error}")
}

fn layout(size: u64) -> Result<Layout, NoFrames> {
    if !size.is_power_of_two() || size < FRAME_SIZE {
        return Err(NoFrames);
    }
    Layout::from_size_align(size as usize, size as usize).map_err(|_| NoFrames)
}
