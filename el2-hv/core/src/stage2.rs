//! Stage-2 translation tables (Arm ARM D8.3, VMSAv8-64, 4 KiB granule).
//!
//! 40 bits of IPA begin at level 1 with two concatenated tables (D8.2.8): the root is 8 KiB.
//! RAM is mapped by the largest block that fits: 1 GiB, 2 MiB, 4 KiB. This module writes entries
//! through [`TableMemory`] and never invalidates a TLB: it only adds entries where there were none,
//! and takes them away from VMs that run nowhere, or that give them up, after which the caller invalidates the VMID.

mod pages;

pub use pages::PageMap;

use core::ops::Range;

use crate::addr::{FRAME_SIZE, Ipa, Pa, PaRange};
use hv_abi::guest_map::IPA_BITS;

/// Bytes of the root: two concatenated level-1 tables, aligned to their size.
pub const ROOT_SIZE: u64 = 2 * FRAME_SIZE;

/// Entries in a table.
const ENTRIES: u64 = 512;
/// Valid entry (bit 0).
pub const VALID: u64 = 1;
/// Table at levels 1 and 2, page at level 3 (bit 1).
const TABLE_OR_PAGE: u64 = 1 << 1;
/// Output address bits of a descriptor.
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;
/// MemAttr 0b1111: Normal, inner and outer write-back (D8.6.6).
const NORMAL: u64 = 0b1111 << 2;
/// Inner shareable.
const SHAREABLE: u64 = 0b11 << 8;
/// Access flag.
const ACCESSED: u64 = 1 << 10;
/// S2AP: read.
const READ: u64 = 0b01 << 6;
/// S2AP: write.
const WRITE: u64 = 0b10 << 6;
/// XN: no execution at EL1 and EL0.
const EXECUTE_NEVER: u64 = 0b10 << 53;

/// Of the bits that are software's (58:55): the frames are shared with other VMs, and not this one's to return.
const SHARED: u64 = 1 << 55;

/// Of the bits that are software's in an entry that is not valid: the VM has given the block's frames up, and gets others
/// when it uses the place again.
const GIVEN: u64 = 1 << 56;

/// Bytes of a block that a VM can give up.
pub const GIVEN_SIZE: u64 = 1 << shift(2);

/// Tables below the root that `bytes` of IPA need at most, wherever they begin and however they are mapped.
pub const fn tables_for(bytes: u64) -> u64 {
    // Of each level one more than full ones, where the range begins and ends within one.
    bytes.div_ceil(1 << shift(2)) + bytes.div_ceil(1 << shift(1)) + 2
}

/// What a VM may do with a mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// RAM: read, write, execute.
    Ram,
    /// Code in place: read and execute.
    ReadExecute,
    /// Data: read.
    Read,
    /// Data: read and write.
    ReadWrite,
    /// Data that other VMs have, too: read.
    SharedRead,
    /// Data that other VMs have, too: read and write.
    SharedReadWrite,
}

impl Access {
    const fn bits(self) -> u64 {
        NORMAL
            | SHAREABLE
            | ACCESSED
            | match self {
                Self::Ram => READ | WRITE,
                Self::ReadExecute => READ,
                Self::Read => READ | EXECUTE_NEVER,
                Self::ReadWrite => READ | WRITE | EXECUTE_NEVER,
                Self::SharedRead => READ | EXECUTE_NEVER | SHARED,
                Self::SharedReadWrite => READ | WRITE | EXECUTE_NEVER | SHARED,
            }
    }
}

/// Where tables are read and written, and where new ones come from.
pub trait TableMemory {
    /// Entry `index` of the table at `table`.
    fn read(&self, table: Pa, index: u64) -> u64;
    /// Writes entry `index` of the table at `table`, seen by the walker afterwards.
    fn write(&mut self, table: Pa, index: u64, entry: u64);
    /// A frame of zeroes for a new table.
    fn allocate(&mut self) -> Option<Pa>;
    /// The first entry of the table at `table`, from `index` on, that is not zero.
    #[inline]
    fn find(&self, table: Pa, index: u64) -> Option<u64> {
        (index..ENTRIES).find(|&index| self.read(table, index) != 0)
    }
    /// Writes `entry` to those places of the table at `table`, each next one larger by `step`, up to the first that is
    /// valid; how many.
    #[inline]
    fn fill(&mut self, table: Pa, places: Range<u64>, entry: u64, step: u64) -> u64 {
        let count = places.end.saturating_sub(places.start);
        let free = |done: &u64| self.read(table, places.start + done) & VALID == 0;
        let free = (0..count).take_while(free).count() as u64;
        (0..free).for_each(|done| self.write(table, places.start + done, entry + done * step));
        free
    }
}

/// Why a range could not be mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MapError {
    /// Not whole frames, or outside the IPA space.
    #[error("IPA {0} or its size is not aligned to frames, or outside of {IPA_BITS} bits")]
    Range(Ipa),
    /// Something is mapped there.
    #[error("IPA {0} is mapped already")]
    Mapped(Ipa),
    /// No frame for a table.
    #[error("no frame for a translation table")]
    NoMemory,
}

/// What an IPA leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Translation {
    /// The physical address.
    pub pa: Pa,
    /// Bytes of the block before it.
    pub offset: u64,
    /// Bytes from there to the end of the block.
    pub remaining: u64,
    /// Whether the VM may write there.
    pub writable: bool,
    /// Whether other VMs have it, too.
    pub shared: bool,
}

/// A piece of a tree that is taken down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Piece {
    /// A mapped block.
    Block(PaRange),
    /// A mapped block that others may have, too.
    Shared(PaRange),
    /// A table below the root that is empty now.
    Table(Pa),
    /// A place whose frames the VM had given up.
    Given,
}

/// Bits of IPA below an entry of `level`.
#[inline(always)]
const fn shift(level: u32) -> u32 {
    39 - 9 * level
}

/// The index of `ipa` in a table of `level`; at level 1 it reaches over both root tables.
#[inline(always)]
const fn index(ipa: u64, level: u32) -> u64 {
    if level == 1 { ipa >> shift(1) } else { ipa >> shift(level) & (ENTRIES - 1) }
}

#[inline(always)]
const fn is_table(entry: u64, level: u32) -> bool {
    level < 3 && entry & (VALID | TABLE_OR_PAGE) == VALID | TABLE_OR_PAGE
}

/// The tables of one VM.
#[derive(Debug)]
pub struct Stage2 {
    root: Pa,
    teardown: u64,
}

impl Stage2 {
    /// Tables with the root at `root`: [`ROOT_SIZE`] bytes of zeroes, so aligned.
    pub const fn new(root: Pa) -> Self {
        Self { root, teardown: 0 }
    }

    /// The root, for VTTBR_EL2.BADDR.
    pub const fn root(&self) -> Pa {
        self.root
    }

    /// Entry and table address of `ipa` at `level`: at level 1 the index may lie in the second root table.
    #[inline(always)]
    fn slot(table: Pa, ipa: u64, level: u32) -> (Pa, u64) {
        let index = index(ipa, level);
        (Pa(table.0 + index / ENTRIES * FRAME_SIZE), index % ENTRIES)
    }

    /// Maps `pa` at `ipa`, all of it or nothing.
    ///
    /// # Errors
    /// See [`MapError`].
    pub fn map(
        &mut self,
        ipa: Ipa,
        pa: PaRange,
        access: Access,
        memory: &mut impl TableMemory,
    ) -> Result<(), MapError> {
        let end = ipa.checked_add(pa.size).filter(|end| end.0 <= 1 << IPA_BITS).ok_or(MapError::Range(ipa))?;
        if !(ipa.0 | pa.start.0 | pa.size).is_multiple_of(FRAME_SIZE) {
            return Err(MapError::Range(ipa));
        }
        let mut at = ipa.0;
        while at < end.0 {
            let target = pa.start.0 + (at - ipa.0);
            let level = Self::level_for(at | target, end.0 - at);
            let table = self.table_of(at, level, memory);
            let (filled, done) = match table {
                Ok(table) => {
                    Self::fill((table, level), at, PaRange { start: Pa(target), size: end.0 - at }, access, memory)
                }
                Err(error) => (0, Err(error)),
            };
            at += filled;
            if let Err(error) = done {
                self.take_back(ipa.0, at, memory);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Fills a table of `level` from the entry of `ipa` on, as far as the table and `pa` go, with what begins at `pa`:
    /// how many bytes. No entry behind the first can be one of a larger block: those begin with a table.
    fn fill(
        (table, level): (Pa, u32),
        ipa: u64,
        pa: PaRange,
        access: Access,
        memory: &mut impl TableMemory,
    ) -> (u64, Result<(), MapError>) {
        let kind = if level == 3 { TABLE_OR_PAGE } else { 0 };
        let (page, slot) = Self::slot(table, ipa, level);
        let count = (pa.size >> shift(level)).min(ENTRIES - slot);
        let (entry, size) = (pa.start.0 | access.bits() | VALID | kind, 1 << shift(level));
        let filled = memory.fill(page, slot..slot + count, entry, size);
        let all = if filled == count { Ok(()) } else { Err(MapError::Mapped(Ipa(ipa + filled * size))) };
        (filled * size, all)
    }

    /// Clears the entries from `start` to `end`, all of which were just written and never walked.
    fn take_back(&mut self, start: u64, end: u64, memory: &mut impl TableMemory) {
        let mut at = start;
        while at < end {
            let mut table = self.root;
            let mut level = 1;
            loop {
                let (page, slot) = Self::slot(table, at, level);
                let entry = memory.read(page, slot);
                if !is_table(entry, level) {
                    memory.write(page, slot, 0);
                    break;
                }
                table = Pa(entry & ADDRESS);
                level += 1;
            }
            at += 1 << shift(level);
        }
    }

    /// The level whose block both addresses (or-ed) are aligned to and `size` covers.
    fn level_for(addresses: u64, size: u64) -> u32 {
        (1..3).find(|&level| addresses.is_multiple_of(1 << shift(level)) && size >= 1 << shift(level)).unwrap_or(3)
    }

    /// The table of `level` that `ipa` has an entry in, made where it is missing.
    fn table_of(&mut self, ipa: u64, level: u32, memory: &mut impl TableMemory) -> Result<Pa, MapError> {
        let mut table = self.root;
        for upper in 1..level {
            let (page, slot) = Self::slot(table, ipa, upper);
            let entry = memory.read(page, slot);
            table = if is_table(entry, upper) {
                Pa(entry & ADDRESS)
            } else if entry & VALID != 0 {
                return Err(MapError::Mapped(Ipa(ipa)));
            } else {
                let fresh = memory.allocate().ok_or(MapError::NoMemory)?;
                memory.write(page, slot, fresh.0 | VALID | TABLE_OR_PAGE);
                fresh
            };
        }
        Ok(table)
    }

    /// What `ipa` leads to: the walk that the hardware does.
    pub fn translate(&self, ipa: Ipa, memory: &impl TableMemory) -> Option<Translation> {
        if ipa.0 >> IPA_BITS != 0 {
            return None;
        }
        let mut table = self.root;
        for level in 1..=3 {
            let (page, slot) = Self::slot(table, ipa.0, level);
            let entry = memory.read(page, slot);
            if entry & VALID == 0 {
                return None;
            }
            if is_table(entry, level) {
                table = Pa(entry & ADDRESS);
                continue;
            }
            let size = 1 << shift(level);
            let offset = ipa.0 & (size - 1);
            return Some(Translation {
                pa: Pa((entry & ADDRESS & !(size - 1)) + offset),
                offset,
                remaining: size - offset,
                writable: entry & WRITE != 0,
                shared: entry & SHARED != 0,
            });
        }
        None
    }

    /// Entry and place of `ipa` in its level-2 table, where there is one.
    fn block_of(&self, ipa: Ipa, memory: &impl TableMemory) -> Option<(Pa, u64, u64)> {
        if ipa.0 >> IPA_BITS != 0 {
            return None;
        }
        let (page, slot) = Self::slot(self.root, ipa.0, 1);
        let upper = memory.read(page, slot);
        if !is_table(upper, 1) {
            return None;
        }
        let (page, slot) = Self::slot(Pa(upper & ADDRESS), ipa.0, 2);
        Some((page, slot, memory.read(page, slot)))
    }

    /// Takes away the block of [`GIVEN_SIZE`] bytes at `ipa` that the VM gives up: its frames, or `None` where no such block
    /// of memory of its own begins. The caller invalidates what the VM may have kept of it before anybody gets the frames, and
    /// [`Stage2::map`] puts others there.
    pub fn give(&mut self, ipa: Ipa, memory: &mut impl TableMemory) -> Option<PaRange> {
        let (page, slot, entry) = self.block_of(ipa, memory)?;
        let own = entry & (VALID | WRITE | SHARED) == VALID | WRITE && !is_table(entry, 2);
        if !own || !ipa.0.is_multiple_of(GIVEN_SIZE) {
            return None;
        }
        memory.write(page, slot, GIVEN);
        Some(PaRange { start: Pa(entry & ADDRESS & !(GIVEN_SIZE - 1)), size: GIVEN_SIZE })
    }

    /// Whether the VM has given up what was at `ipa`, and has nothing there now.
    pub fn is_given(&self, ipa: Ipa, memory: &impl TableMemory) -> bool {
        self.block_of(ipa, memory).is_some_and(|(.., entry)| entry == GIVEN)
    }

    /// Takes the next piece out of the tree, in the order of IPAs, or `None` when only the root is
    /// left. It looks at each entry once in all.
    pub fn take_piece(&mut self, memory: &mut impl TableMemory) -> Option<Piece> {
        while self.teardown >> IPA_BITS == 0 {
            let (page, slot) = Self::slot(self.root, self.teardown, 1);
            let Some(found) = memory.find(page, slot) else {
                // The second of the root's two tables.
                self.skip(ENTRIES - slot, 1);
                continue;
            };
            self.skip(found - slot, 1);
            return Some(self.take_entry((page, found), 1, memory));
        }
        None
    }

    /// Goes on by `entries` of `level`, at the beginning of one where it moves.
    const fn skip(&mut self, entries: u64, level: u32) {
        if entries > 0 {
            self.teardown = ((self.teardown >> shift(level)) + entries) << shift(level);
        }
    }

    /// Takes the first piece of what the entry at the cursor leads to; the entry is not zero.
    fn take_entry(&mut self, (page, slot): (Pa, u64), level: u32, memory: &mut impl TableMemory) -> Piece {
        let entry = memory.read(page, slot);
        if is_table(entry, level) {
            let below = Pa(entry & ADDRESS);
            if let Some(found) = memory.find(below, index(self.teardown, level + 1)) {
                self.skip(found - index(self.teardown, level + 1), level + 1);
                return self.take_entry((below, found), level + 1, memory);
            }
            memory.write(page, slot, 0);
            return Piece::Table(below);
        }
        memory.write(page, slot, 0);
        if entry & VALID == 0 {
            return Piece::Given;
        }
        let size = 1 << shift(level);
        let range = PaRange { start: Pa(entry & ADDRESS & !(size - 1)), size };
        if entry & SHARED != 0 { Piece::Shared(range) } else { Piece::Block(range) }
    }
}

/// VTCR_EL2 for these tables (Arm ARM D24.2.206).
///
/// T0SZ 24 gives 40 bits, SL0 1 begins at level 1, walks are write-back and inner shareable, PS is
/// the host's PARange, and bit 31 is RES1. `vmid_bits_16` is VS: 16-bit VMIDs where the host has them.
pub const fn vtcr(parange: u64, vmid_bits_16: bool) -> u64 {
    let t0sz = 64 - IPA_BITS as u64;
    let sl0 = 1 << 6;
    let irgn0 = 0b01 << 8;
    let orgn0 = 0b01 << 10;
    let sh0 = 0b11 << 12;
    // Values above 0b0101 (48 bits) need LPA2 tables, which these are not.
    let ps = if parange > 5 { 5 } else { parange } << 16;
    let vs = (vmid_bits_16 as u64) << 19;
    t0sz | sl0 | irgn0 | orgn0 | sh0 | ps | vs | 1 << 31
}

#[cfg(test)]
mod tests;
