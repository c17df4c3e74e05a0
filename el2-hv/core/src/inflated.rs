//! Pages that a VM has put into its balloon, counted for each block of memory: a block all of whose pages are there can be
//! taken.
//!
//! Only counts are kept, 2 bytes for each 2 MiB. So a driver that names a page twice, or takes back one that it did not give,
//! loses a block too early or keeps one: its own, in both cases.

use crate::addr::{FRAME_SIZE, Ipa};
use crate::stage2::GIVEN_SIZE;

/// Pages of a block.
pub const PAGES: u16 = (GIVEN_SIZE / FRAME_SIZE) as u16;
/// Blocks that are counted of a VM: of 16 GiB. What lies behind is never taken for its balloon.
pub const BLOCKS_MAX: u64 = 8192;
/// Bytes of a count.
pub const COUNT: u64 = 2;

/// Which counts there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counted {
    /// Where the memory begins.
    ram: u64,
    blocks: u64,
}

/// A block and its count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Where the block begins.
    pub block: Ipa,
    /// The count, in bytes from that of the first block.
    pub offset: u64,
}

impl Counted {
    /// None: all zero.
    pub const NONE: Self = Self { ram: 0, blocks: 0 };

    /// Counts for memory from `ram` on.
    pub const fn new(ram: u64, bytes: u64) -> Self {
        let blocks = bytes / GIVEN_SIZE;
        Self { ram, blocks: if blocks < BLOCKS_MAX { blocks } else { BLOCKS_MAX } }
    }

    /// Bytes that the counts take: whole frames, as many as a power of two.
    pub const fn bytes(&self) -> u64 {
        let bytes = self.blocks * COUNT;
        if bytes < FRAME_SIZE { FRAME_SIZE } else { bytes.next_power_of_two() }
    }

    /// Where a page is counted, by its number (virtio 1.2 §5.5.6); `None` where it is not.
    pub const fn place(&self, page: u32) -> Option<Place> {
        let Some(offset) = (page as u64 * FRAME_SIZE).checked_sub(self.ram) else { return None };
        let block = offset / GIVEN_SIZE;
        if block >= self.blocks {
            return None;
        }
        Some(Place { block: Ipa(self.ram + block * GIVEN_SIZE), offset: block * COUNT })
    }
}

/// A count after a page was put into the balloon.
pub const fn put(count: u16) -> u16 {
    if count < PAGES { count + 1 } else { PAGES }
}

/// A count after a page came back.
pub const fn take(count: u16) -> u16 {
    count.saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::vec;

    const RAM: u64 = 0x4000_0000;
    const FIRST: u32 = (RAM / 4096) as u32;

    proptest! {
        #[test]
        fn counts_of_a_driver_that_keeps_the_rules_are_those_of_a_model(
            steps in proptest::collection::vec((0..3_u32, 0..512_u32), 0..4000)
        ) {
            let counted = Counted::new(RAM, 3 * GIVEN_SIZE);
            let (mut counts, mut balloon) = (vec![0; 3], BTreeSet::new());
            for page in steps.into_iter().map(|(block, page)| FIRST + block * 512 + page) {
                let place = counted.place(page).expect("a page of the memory");
                let count = &mut counts[(place.offset / COUNT) as usize];
                // It takes back what it has given, and gives what it has.
                *count = if balloon.insert(page) { put(*count) } else { balloon.remove(&page); take(*count) };
            }
            for (block, count) in counts.into_iter().enumerate() {
                let first = FIRST + block as u32 * 512;
                prop_assert_eq!(usize::from(count), balloon.range(first..first + 512).count());
            }
        }

        #[test]
        fn whatever_a_driver_says_counts_stay_in_their_bounds(start in 0..=PAGES, puts in any::<Vec<bool>>()) {
            let end = puts.into_iter().fold(start, |count, puts_one| if puts_one { put(count) } else { take(count) });
            prop_assert!(end <= PAGES);
        }

        #[test]
        fn any_page_is_counted_within_the_counts_in_the_block_that_it_lies_in_or_not_at_all(
            page in any::<u32>(), blocks in 0..10_000_u64
        ) {
            let counted = Counted::new(RAM, blocks * GIVEN_SIZE);
            let address = u64::from(page) * 4096;
            match counted.place(page) {
                Some(Place { block, offset }) => {
                    prop_assert!(offset + COUNT <= counted.bytes() && offset % COUNT == 0);
                    prop_assert!(block.0 <= address && address < block.0 + GIVEN_SIZE);
                    prop_assert!(address < RAM + blocks * GIVEN_SIZE);
                }
                None => prop_assert!(address < RAM || address >= RAM + blocks.min(BLOCKS_MAX) * GIVEN_SIZE),
            }
        }
    }

    #[test]
    fn counts_take_a_frame_for_4_gib_and_never_more_than_four() {
        for (bytes, takes) in [(0, 4096), (4 << 30, 4096), (5 << 30, 8192), (16 << 30, 16384), (1 << 39, 16384)] {
            assert_eq!(Counted::new(RAM, bytes).bytes(), takes);
        }
        assert_eq!(Counted::NONE.place(0), None);
        assert_eq!(PAGES, 512);
    }
}
