//! Tables that map RAM to itself, a page at a time: what devices reach of it.
//!
//! All tables are made at the beginning. A change of what is reached then needs no memory and cannot fail, and no entry ever
//! goes from valid to another valid one: a device that uses the frame beside is not disturbed.

use super::{Access, FRAME_SIZE, Ipa, MapError, Pa, PaRange, Stage2, TABLE_OR_PAGE, TableMemory, VALID, shift};

/// The map.
#[derive(Debug)]
pub struct PageMap(Stage2);

impl PageMap {
    /// A map of nothing, with the root at `root`: as [`Stage2::new`].
    pub const fn new(root: Pa) -> Self {
        Self(Stage2::new(root))
    }

    /// The root.
    pub const fn root(&self) -> Pa {
        self.0.root()
    }

    /// Makes the tables for the pages of `range`, none of which is reached yet.
    ///
    /// # Errors
    /// The range is outside of the IPA space, or there is no frame for a table.
    pub fn cover(&mut self, range: PaRange, memory: &mut impl TableMemory) -> Result<(), MapError> {
        if range.end().0 > 1 << super::IPA_BITS {
            return Err(MapError::Range(Ipa(range.start.0)));
        }
        let first = range.start.0 >> shift(2) << shift(2);
        for at in (first..range.end().0).step_by(1 << shift(2)) {
            self.0.table_of(at, 3, memory)?;
        }
        Ok(())
    }

    /// Devices read and write the frames that `range` touches from now on. What is not covered stays out of reach.
    pub fn allow(&mut self, range: PaRange, memory: &mut impl TableMemory) {
        let entry = Access::ReadWrite.bits() | VALID | TABLE_OR_PAGE;
        self.each_table(range, memory, |memory, table, (at, slot, count)| {
            memory.fill(table, slot..slot + count, at | entry, FRAME_SIZE);
        });
    }

    /// They do no longer, once the caller has invalidated what the SMMU keeps.
    pub fn forbid(&mut self, range: PaRange, memory: &mut impl TableMemory) {
        self.each_table(range, memory, |memory, table, (_, slot, count)| {
            (slot..slot + count).for_each(|slot| memory.write(table, slot, 0));
        });
    }

    /// Calls `change` for each table of level 3: with the address of the first frame, its place in the table, and how many
    /// follow there.
    fn each_table<M: TableMemory>(
        &mut self,
        range: PaRange,
        memory: &mut M,
        change: impl Fn(&mut M, Pa, (u64, u64, u64)),
    ) {
        let frames = range.outer_frames();
        let mut frame = frames.start;
        while frame < frames.end {
            let slot = frame % super::ENTRIES;
            let count = (super::ENTRIES - slot).min(frames.end - frame);
            let at = frame * FRAME_SIZE;
            if at >> super::IPA_BITS == 0
                && let Some(table) = self.table_at(at, memory)
            {
                change(memory, table, (at, slot, count));
            }
            frame += count;
        }
    }

    /// The table of level 3 that has an entry for `at`, where it is covered.
    fn table_at(&self, at: u64, memory: &impl TableMemory) -> Option<Pa> {
        (1..3).try_fold(self.root(), |table, level| {
            let (page, slot) = Stage2::slot(table, at, level);
            let entry = memory.read(page, slot);
            super::is_table(entry, level).then_some(Pa(entry & super::ADDRESS))
        })
    }

    /// The tables of level 2 that lead to the pages of a covered range.
    pub fn tables_above(&self, range: &PaRange, memory: &impl TableMemory) -> impl Iterator<Item = Pa> {
        let first = range.start.0 >> shift(1) << shift(1);
        (first..range.end().0).step_by(1 << shift(1)).filter_map(move |at| {
            let (page, slot) = Stage2::slot(self.root(), at, 1);
            let entry = memory.read(page, slot);
            super::is_table(entry, 1).then_some(Pa(entry & super::ADDRESS))
        })
    }

    /// The tables, to take them down.
    pub fn into_tables(self) -> Stage2 {
        self.0
    }
}
