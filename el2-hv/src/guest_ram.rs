//! A guest's memory as its devices reach it.

use core::cell::Cell;

use guest_virtio::memory::{GuestMemory, GuestMemoryError};
use guest_virtio::queue::Segment;
use hv_arch::ram::{self, NoNewTables};
use hv_core::addr::{Ipa, Pa, VmId};
use hv_core::stage2::Stage2;

use crate::balloon;
use crate::vm::Vm;

/// A guest's memory, by its tables; for one operation, during which a block that was found stays where it is: it is made and
/// used under the lock of one of the VM's devices, each of which a block's way out of the tables waits for ([`balloon`]).
pub struct Ram {
    tables: Stage2,
    /// The VM, where it may have given memory up.
    gives: Option<VmId>,
    /// The blocks that were found last, mostly one with rings and one with buffers: IPA, address, bytes.
    found: [Cell<(u64, Pa, u64)>; 2],
}

impl Ram {
    /// Of a VM, whose tables stay as they are meanwhile.
    pub fn of(vm: &Vm) -> Self {
        Self { tables: vm.tables(), gives: vm.balloon.owner(), found: [const { Cell::new((0, Pa(0), 0)) }; 2] }
    }

    /// Where `ipa` is, and how many bytes follow it there, if the guest may write them.
    #[inline]
    pub fn find(&self, ipa: u64) -> Option<(Pa, u64)> {
        for block in &self.found {
            let (start, pa, size) = block.get();
            let offset = ipa.wrapping_sub(start);
            if offset < size {
                return Some((Pa(pa.0 + offset), size - offset));
            }
        }
        self.look_up(ipa)
    }

    #[inline(never)]
    fn look_up(&self, ipa: u64) -> Option<(Pa, u64)> {
        let mut found = self.tables.translate(Ipa(ipa), &NoNewTables);
        if found.is_none() && self.gives.is_some_and(|id| balloon::fill(id, ipa)) {
            found = self.tables.translate(Ipa(ipa), &NoNewTables);
        }
        let found = found.filter(|found| found.writable)?;
        let [last, before] = &self.found;
        let block = (ipa - found.offset, Pa(found.pa.0 - found.offset), found.offset + found.remaining);
        before.set(last.replace(block));
        Some((found.pa, found.remaining))
    }

    /// Where a buffer is, piece by piece; it ends with `None` where the guest has no RAM that it may write.
    pub fn pieces(&self, segment: &Segment) -> impl Iterator<Item = Option<(Pa, u32)>> + use<'_> {
        let (mut ipa, mut left) = (segment.ipa, segment.length);
        core::iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            let Some((pa, remaining)) = self.find(ipa) else {
                left = 0;
                return Some(None);
            };
            let count = u32::try_from(remaining).unwrap_or(u32::MAX).min(left);
            left -= count;
            ipa = ipa.wrapping_add(u64::from(count));
            Some(Some((pa, count)))
        })
    }

    /// Calls `piece` for each contiguous part of a range that lies in several blocks, or nowhere.
    #[inline(never)]
    fn each(&self, ipa: u64, length: usize, piece: &mut dyn FnMut(Pa, usize, usize)) -> Result<(), GuestMemoryError> {
        let mut done = 0;
        while done < length {
            let error = GuestMemoryError { ipa, length };
            let at = ipa.checked_add(done as u64).ok_or(error)?;
            let (pa, remaining) = self.find(at).ok_or(error)?;
            let count = (length - done).min(usize::try_from(remaining).unwrap_or(usize::MAX));
            piece(pa, done, count);
            done += count;
        }
        Ok(())
    }
}

impl GuestMemory for Ram {
    #[inline]
    fn read(&self, ipa: u64, into: &mut [u8]) -> Result<(), GuestMemoryError> {
        if let Some((pa, remaining)) = self.find(ipa)
            && remaining >= into.len() as u64
        {
            ram::read(pa, into);
            return Ok(());
        }
        self.each(ipa, into.len(), &mut |pa, at, count| ram::read(pa, &mut into[at..at + count]))
    }

    #[inline]
    fn write(&self, ipa: u64, from: &[u8]) -> Result<(), GuestMemoryError> {
        if let Some((pa, remaining)) = self.find(ipa)
            && remaining >= from.len() as u64
        {
            ram::write(pa, from);
            return Ok(());
        }
        self.each(ipa, from.len(), &mut |pa, at, count| ram::write(pa, &from[at..at + count]))
    }
}
