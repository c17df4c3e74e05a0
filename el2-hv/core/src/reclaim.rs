//! Which steps there are between two owners of a frame, and their order.
//!
//! ```text
//! VM off, its root loaded nowhere -> its translations forgotten
//!     -> unmapped -> zeroed, cleaned to memory -> completed -> returned
//!     -> the allocator's link cleared, cleaned to memory -> completed -> given out
//! ```
//! The image performs the steps by [`Hands`]; the model of a frame's life, among the tests, performs the same
//! code on a memory with caches and TLBs that forgive nothing.

use arrayvec::ArrayVec;

use crate::addr::{FRAME_SIZE, Pa, PaRange, VmId};
use crate::frames::Owner;
use crate::stage2::{Piece, Stage2, TableMemory};

/// What scrubs the cache line at `{at}`: zeroes (DC ZVA), cleaned to the point of coherency (DC CVAC), since the next
/// owner begins with its caches off. As text, so that the model reads what the CPU gets.
#[macro_export]
macro_rules! scrub_line {
    () => {
        "dc zva, {at}\ndc cvac, {at}"
    };
}

/// What the steps are done with.
pub trait Hands: TableMemory {
    /// Makes every CPU forget the VM's translations, and waits for that.
    fn forget_translations(&mut self);
    /// Who owns the frame at `frame`.
    fn owner(&self, frame: Pa) -> Option<Owner>;
    /// Zeroes whole frames and cleans them to memory; how many bytes, fewer where an interrupt waits.
    fn scrub(&mut self, range: PaRange) -> u64;
    /// Waits until what this CPU has cleaned is in memory.
    fn complete(&mut self);
    /// Returns a block that `owner` had.
    fn give_back(&mut self, range: PaRange, owner: Owner);
}

/// What a block is given out with.
pub trait Clearing {
    /// Zeroes the first word of a frame, where the allocator keeps its link.
    fn clear_link(&mut self, frame: Pa);
    /// Cleans the cache line at the beginning of a frame to memory.
    fn clean_line(&mut self, frame: Pa);
    /// Waits until what this CPU has cleaned is in memory.
    fn complete(&mut self);
}

/// Takes the allocator's traces out of `block`, frames of which nothing else is not zero: its next owner may look with
/// its caches off.
#[inline]
pub fn clear(block: &PaRange, hands: &mut impl Clearing) {
    let (mut at, end) = (block.start.0, block.end().0);
    // Most frames are of large blocks: four a round. Blocks end below the last byte of the address space.
    while block.size.is_multiple_of(4 * FRAME_SIZE) && at != end {
        for_frame(at, hands);
        for_frame(at.wrapping_add(FRAME_SIZE), hands);
        for_frame(at.wrapping_add(2 * FRAME_SIZE), hands);
        for_frame(at.wrapping_add(3 * FRAME_SIZE), hands);
        at = at.wrapping_add(4 * FRAME_SIZE);
    }
    while at != end {
        for_frame(at, hands);
        at = at.wrapping_add(FRAME_SIZE);
    }
    hands.complete();
}

#[inline(always)]
fn for_frame(at: u64, hands: &mut impl Clearing) {
    hands.clear_link(Pa(at));
    hands.clean_line(Pa(at));
}

/// What a step has come to.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// There is more to do.
    More,
    /// All is back.
    Done,
    /// The VM's tables lead to what is not its own.
    Foreign(Pa, Option<Owner>),
}

/// Blocks that are returned when the tables are gone.
const REST_MAX: usize = 2;

/// The memory of a VM that will not run again, on its way back.
#[derive(Debug)]
pub struct Reclaim {
    vm: VmId,
    stage2: Option<Stage2>,
    rest: ArrayVec<PaRange, REST_MAX>,
    lot: Lot,
}

/// What is being scrubbed.
#[derive(Clone, Copy, Debug)]
struct Lot {
    whole: PaRange,
    /// None where nothing is.
    left: PaRange,
    owner: Owner,
}

impl Lot {
    /// All zero.
    const NONE: Self = {
        let nothing = PaRange { start: Pa(0), size: 0 };
        Self { whole: nothing, left: nothing, owner: Owner::Firmware }
    };
}

impl Reclaim {
    /// Nothing to take back: all zero, so that the image's file need not hold it.
    pub const NONE: Self = Self { vm: VmId(0), stage2: None, rest: ArrayVec::new_const(), lot: Lot::NONE };

    /// Takes back everything that `stage2` maps, the tables, and then `rest`, the root among it. No vCPU of the VM
    /// runs any more, and the root is loaded nowhere: what is forgotten now is forgotten for good.
    pub fn begin(vm: VmId, stage2: Option<Stage2>, rest: ArrayVec<PaRange, REST_MAX>, hands: &mut impl Hands) -> Self {
        hands.forget_translations();
        Self { vm, stage2, rest, lot: Lot::NONE }
    }

    /// Does the next step: takes a piece out of the tables, or scrubs one as far as interrupts allow.
    #[inline]
    pub fn step(&mut self, hands: &mut impl Hands) -> Progress {
        let Lot { whole, left, owner } = self.lot;
        if left.size == 0 {
            return self.next(hands);
        }
        let done = hands.scrub(left);
        hands.complete();
        self.lot.left = PaRange { start: Pa(left.start.0 + done), size: left.size - done };
        if self.lot.left.size == 0 {
            hands.give_back(whole, owner);
        }
        Progress::More
    }

    /// What is to be scrubbed next.
    fn next(&mut self, hands: &mut impl Hands) -> Progress {
        let piece = self.stage2.as_mut().and_then(|stage2| stage2.take_piece(hands));
        let range = match piece {
            Some(Piece::Block(range)) => range,
            // Whoever left it last has become its owner; what it is now to others is theirs.
            Some(Piece::Shared(range)) if hands.owner(range.start) != Some(Owner::Vm(self.vm)) => {
                return Progress::More;
            }
            Some(Piece::Shared(range)) => range,
            Some(Piece::Given) => return Progress::More,
            Some(Piece::Table(table)) => PaRange { start: table, size: FRAME_SIZE },
            None => {
                self.stage2 = None;
                let Some(range) = self.rest.pop() else { return Progress::Done };
                range
            }
        };
        let owner = match hands.owner(range.start) {
            Some(owner @ (Owner::Tables | Owner::Mailboxes)) => owner,
            Some(owner @ Owner::Vm(vm)) if vm == self.vm => owner,
            other => return Progress::Foreign(range.start, other),
        };
        self.lot = Lot { whole: range, left: range, owner };
        Progress::More
    }
}

#[cfg(test)]
mod tests;
