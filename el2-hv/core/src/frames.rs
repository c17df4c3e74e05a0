//! Who owns which frame. Every frame of RAM has exactly one owner at any time; a change names the
//! owner that it expects, and fails where a frame has another.
//!
//! The table is one byte for each frame. It decides nothing about *which* frame is given out: that
//! is the allocator's part.

use arrayvec::ArrayVec;
use zerocopy::FromBytes;

use crate::addr::{FRAME_SIZE, Pa, PaRange, VmId};

/// Banks of RAM that a board may have.
pub const MAX_BANKS: usize = 8;

/// VMs that the table can tell apart.
pub const MAX_VMS: usize = 65;

/// The owner of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// Reserved by firmware, or its device tree.
    Firmware,
    /// Nobody; scrubbed.
    Free,
    /// Nobody, and kept for the service partition's next life; scrubbed.
    Held,
    /// EL2's image, .bss included.
    Image,
    /// EL2's stacks.
    Stacks,
    /// Translation tables and this table.
    Tables,
    /// Console and log rings.
    Rings,
    /// Guests' mailbox pages.
    Mailboxes,
    /// The boot archive.
    Archive,
    /// Notes.
    Notes,
    /// VMs that share it; [`crate::shared`] says which.
    Shared,
    /// A drive that does not come out of reset may use it: nobody, until the board is reset.
    Lost,
    /// RAM of a VM.
    Vm(VmId),
}

/// First byte value that means a VM.
const FIRST_VM: u8 = 16;

impl Owner {
    /// Number of distinct table bytes.
    const CLASSES: usize = FIRST_VM as usize + MAX_VMS;

    pub(crate) const fn byte(self) -> u8 {
        match self {
            Self::Free => 0,
            Self::Firmware => 1,
            Self::Held => 2,
            Self::Image => 3,
            Self::Stacks => 4,
            Self::Tables => 5,
            Self::Rings => 6,
            Self::Mailboxes => 7,
            Self::Archive => 8,
            Self::Notes => 9,
            Self::Shared => 10,
            Self::Lost => 11,
            Self::Vm(VmId(id)) => FIRST_VM + id,
        }
    }

    pub(crate) const fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Free,
            2 => Self::Held,
            3 => Self::Image,
            4 => Self::Stacks,
            5 => Self::Tables,
            6 => Self::Rings,
            7 => Self::Mailboxes,
            8 => Self::Archive,
            9 => Self::Notes,
            10 => Self::Shared,
            11 => Self::Lost,
            vm if vm >= FIRST_VM => Self::Vm(VmId(vm - FIRST_VM)),
            _ => Self::Firmware,
        }
    }
}

/// A change that does not fit what the table says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OwnershipError {
    /// Not RAM.
    #[error("frame {0} is not in RAM")]
    NotRam(Pa),
    /// A frame has another owner than the caller believes.
    #[error("frame {frame} belongs to {found:?}, not to {expected:?}")]
    Owner {
        /// The first such frame.
        frame: Pa,
        /// Who has it.
        found: Owner,
        /// Who should.
        expected: Owner,
    },
    /// More banks of RAM than [`MAX_BANKS`], or more RAM than the table covers.
    #[error("RAM at {0} does not fit into the frame table")]
    TooMuch(Pa),
}

/// A bank of RAM and where its bytes lie in the table.
#[derive(Clone, Copy, Debug)]
struct Bank {
    first: u64,
    count: u64,
    offset: usize,
}

/// The table.
#[derive(Debug)]
pub struct FrameTable<'t> {
    owners: &'t mut [u8],
    banks: ArrayVec<Bank, MAX_BANKS>,
    counts: [u64; Owner::CLASSES],
}

/// Bytes of table that `banks` need.
pub fn table_size(banks: &[PaRange]) -> u64 {
    banks.iter().map(|bank| inner_frames(bank).1).sum()
}

/// First frame and number of whole frames of a bank.
const fn inner_frames(bank: &PaRange) -> (u64, u64) {
    let first = bank.start.0.div_ceil(FRAME_SIZE);
    (first, (bank.end().0 / FRAME_SIZE).saturating_sub(first))
}

/// The bytes before the first aligned word, the words, and the bytes behind the last.
fn words(bytes: &[u8]) -> (&[u8], &[u64], &[u8]) {
    let (head, rest) = bytes.split_at(bytes.as_ptr().align_offset(8).min(bytes.len()));
    let (middle, tail) = rest.split_at(rest.len() & !7);
    // Aligned and whole by construction; without words the bytes are all the same looked at one by one.
    <[u64]>::ref_from_bytes(middle).map_or((bytes, &[], &[]), |words| (head, words, tail))
}

/// Number of bytes at the beginning that are all `byte`, looked at eight at a time.
fn leading(bytes: &[u8], byte: u8) -> usize {
    let (head, words, _) = words(bytes);
    let mut count = head.iter().take_while(|&&other| other == byte).count();
    if count == head.len() {
        let wanted = u64::from_ne_bytes([byte; 8]);
        // Eight words a round: half of what a change of owner costs is spent here. Where all bits of all words and those
        // of any are the same, each word is that.
        let (eights, _) = words.as_chunks::<8>();
        let same = |[a, b, c, d, e, f, g, h]: &[u64; 8]| {
            a & b & c & d & e & f & g & h == wanted && a | b | c | d | e | f | g | h == wanted
        };
        count += 64 * eights.iter().position(|eight| !same(eight)).unwrap_or(eights.len());
    }
    count + bytes[count..].iter().take_while(|&&other| other == byte).count()
}

impl<'t> FrameTable<'t> {
    /// The table of a board with these banks; every frame is free. `owners` are zeroes.
    ///
    /// # Errors
    /// Too many banks, or `owners` is shorter than [`table_size`] says.
    pub fn new(owners: &'t mut [u8], banks: &[PaRange]) -> Result<Self, OwnershipError> {
        let mut table = Self { owners, banks: ArrayVec::new(), counts: [0; Owner::CLASSES] };
        let mut offset = 0;
        for bank in banks {
            let (first, count) = inner_frames(bank);
            let end = offset + count as usize;
            // Zeroes mean free.
            const { assert!(Owner::Free.byte() == 0) };
            table.owners.get(offset..end).ok_or(OwnershipError::TooMuch(bank.start))?;
            table.counts[usize::from(Owner::Free.byte())] += count;
            table.banks.try_push(Bank { first, count, offset }).map_err(|_| OwnershipError::TooMuch(bank.start))?;
            offset = end;
        }
        Ok(table)
    }

    /// Where the bytes of `range`, whole frames, lie in the table.
    fn span(&self, range: &PaRange) -> Result<core::ops::Range<usize>, OwnershipError> {
        let frames = range.outer_frames();
        let holds = |bank: &&Bank| frames.start >= bank.first && frames.end <= bank.first + bank.count;
        let bank = self.banks.iter().find(holds).ok_or(OwnershipError::NotRam(range.start))?;
        let start = bank.offset + (frames.start - bank.first) as usize;
        Ok(start..start + (frames.end - frames.start) as usize)
    }

    /// Who owns the frame at `frame`.
    pub fn owner(&self, frame: Pa) -> Option<Owner> {
        let span = self.span(&PaRange { start: frame, size: 1 }).ok()?;
        self.owners.get(span.start).map(|&byte| Owner::from_byte(byte))
    }

    /// Whether every frame that `range` touches belongs to `owner`.
    pub fn is_all(&self, range: &PaRange, owner: Owner) -> bool {
        self.span(range).is_ok_and(|span| leading(&self.owners[span.clone()], owner.byte()) == span.len())
    }

    /// Gives every frame that `range` touches from `from` to `to`. Nothing changes on an error.
    ///
    /// # Errors
    /// The range is not in RAM, or a frame of it belongs to another.
    pub fn transfer(&mut self, range: &PaRange, from: Owner, to: Owner) -> Result<(), OwnershipError> {
        let span = self.span(range)?;
        let bytes = &mut self.owners[span];
        let all = leading(bytes, from.byte()) == bytes.len();
        if !all {
            let wrong = bytes.iter().position(|&byte| byte != from.byte()).unwrap_or_default();
            let frame = Pa(range.start.frame().0 + wrong as u64 * FRAME_SIZE);
            return Err(OwnershipError::Owner { frame, found: Owner::from_byte(bytes[wrong]), expected: from });
        }
        bytes.fill(to.byte());
        let count = bytes.len() as u64;
        self.counts[usize::from(from.byte())] -= count;
        self.counts[usize::from(to.byte())] += count;
        Ok(())
    }

    /// Takes what is free in `range`, which need not be in RAM at all, for `to`: for what firmware
    /// keeps, whose ranges may overlap each other.
    pub fn reserve(&mut self, range: &PaRange, to: Owner) {
        let wanted = range.outer_frames();
        for bank in &self.banks {
            let start = wanted.start.max(bank.first);
            let end = wanted.end.min(bank.first + bank.count);
            for frame in start..end {
                let byte = &mut self.owners[bank.offset + (frame - bank.first) as usize];
                if *byte == Owner::Free.byte() {
                    *byte = to.byte();
                    self.counts[usize::from(Owner::Free.byte())] -= 1;
                    self.counts[usize::from(to.byte())] += 1;
                }
            }
        }
    }

    /// Bytes that `owner` has.
    pub fn bytes_of(&self, owner: Owner) -> u64 {
        self.counts[usize::from(owner.byte())] * FRAME_SIZE
    }

    /// Bytes of RAM of all VMs but `except`.
    pub fn bytes_of_vms_but(&self, except: VmId) -> u64 {
        let vms = &self.counts[usize::from(FIRST_VM)..];
        let all: u64 = vms.iter().sum();
        (all - vms.get(except.index()).copied().unwrap_or_default()) * FRAME_SIZE
    }

    /// Bytes of RAM that the table knows.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum::<u64>() * FRAME_SIZE
    }

    /// The first run of free frames at or behind `from`.
    pub fn free_run(&self, from: Pa) -> Option<PaRange> {
        for bank in &self.banks {
            let bytes = &self.owners[bank.offset..bank.offset + bank.count as usize];
            let skip = (from.0.div_ceil(FRAME_SIZE).saturating_sub(bank.first)) as usize;
            let Some(start) = bytes.iter().skip(skip).position(|&byte| byte == Owner::Free.byte()) else {
                continue;
            };
            let start = start + skip;
            let length = leading(&bytes[start..], Owner::Free.byte());
            return Some(PaRange {
                start: Pa((bank.first + start as u64) * FRAME_SIZE),
                size: length as u64 * FRAME_SIZE,
            });
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    const MIB: u64 = 1 << 20;

    fn banks() -> [PaRange; 2] {
        [PaRange { start: Pa(0x4000_0000), size: 4 * MIB }, PaRange { start: Pa(0x1_0000_0000), size: MIB }]
    }

    #[test]
    fn every_owner_goes_round_through_its_byte() {
        let mut seen = std::collections::BTreeSet::new();
        let vms = (0..MAX_VMS as u8).map(|id| Owner::Vm(VmId(id)));
        let fixed = [
            Owner::Firmware,
            Owner::Free,
            Owner::Held,
            Owner::Image,
            Owner::Stacks,
            Owner::Tables,
            Owner::Rings,
            Owner::Mailboxes,
            Owner::Archive,
            Owner::Notes,
            Owner::Shared,
            Owner::Lost,
        ];
        for owner in fixed.into_iter().chain(vms) {
            assert_eq!(Owner::from_byte(owner.byte()), owner);
            assert!(seen.insert(owner.byte()), "{owner:?}");
        }
    }

    #[test]
    fn a_transfer_that_expects_the_wrong_owner_changes_nothing() {
        let mut bytes = vec![0; table_size(&banks()) as usize];
        let mut table = FrameTable::new(&mut bytes, &banks()).unwrap();
        let page = PaRange { start: Pa(0x4010_0000), size: 4096 };
        table.transfer(&page, Owner::Free, Owner::Vm(VmId(3))).unwrap();
        let around = PaRange { start: Pa(0x4000_0000), size: 4 * MIB };
        assert_eq!(
            table.transfer(&around, Owner::Free, Owner::Vm(VmId(1))),
            Err(OwnershipError::Owner { frame: page.start, found: Owner::Vm(VmId(3)), expected: Owner::Free })
        );
        assert_eq!(table.bytes_of(Owner::Vm(VmId(1))), 0);
        assert_eq!(table.owner(Pa(0x4010_0fff)), Some(Owner::Vm(VmId(3))));
        assert_eq!(table.owner(Pa(0x4010_1000)), Some(Owner::Free));
        let outside = PaRange { start: Pa(0x43ff_0000), size: MIB };
        assert_eq!(table.transfer(&outside, Owner::Free, Owner::Tables), Err(OwnershipError::NotRam(outside.start)));
    }

    #[test]
    fn counts_agree_with_a_naive_model_under_random_transfers() {
        let mut bytes = vec![0; table_size(&banks()) as usize];
        let mut table = FrameTable::new(&mut bytes, &banks()).unwrap();
        let mut model = vec![Owner::Free; 1280];
        let owners = [Owner::Free, Owner::Tables, Owner::Vm(VmId(0)), Owner::Vm(VmId(64))];
        let mut random = 88172645463325252u64;
        for _ in 0..20_000 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let frame = random % 1280;
            let length = 1 + (random >> 16) % 9;
            let (from, to) = (owners[(random >> 32) as usize % 4], owners[(random >> 40) as usize % 4]);
            let base = if frame < 1024 { 0x4000_0000 + frame * 4096 } else { 0x1_0000_0000 + (frame - 1024) * 4096 };
            let bank_end = if frame < 1024 { 1024 } else { 1280 };
            let fits = frame + length <= bank_end
                && model[frame as usize..(frame + length) as usize].iter().all(|&owner| owner == from);
            let done = table.transfer(&PaRange { start: Pa(base), size: length * 4096 }, from, to).is_ok();
            assert_eq!(done, fits);
            if fits {
                model[frame as usize..(frame + length) as usize].fill(to);
            }
        }
        for owner in owners {
            let expected = model.iter().filter(|&&other| other == owner).count() as u64 * 4096;
            assert_eq!(table.bytes_of(owner), expected, "{owner:?}");
        }
        assert_eq!(table.total(), 5 * MIB);
        assert_eq!(table.bytes_of_vms_but(VmId(0)), table.bytes_of(Owner::Vm(VmId(64))));
    }

    #[test]
    fn overlapping_reservations_of_firmware_are_counted_once_and_free_runs_go_around_them() {
        let mut bytes = vec![0; table_size(&banks()) as usize];
        let mut table = FrameTable::new(&mut bytes, &banks()).unwrap();
        table.reserve(&PaRange { start: Pa(0x3fff_0000), size: 0x1_1000 }, Owner::Firmware);
        table.reserve(&PaRange { start: Pa(0x4000_0800), size: 0x1000 }, Owner::Firmware);
        assert_eq!(table.bytes_of(Owner::Firmware), 2 * 4096);
        assert_eq!(table.free_run(Pa(0)), Some(PaRange { start: Pa(0x4000_2000), size: 4 * MIB - 0x2000 }));
        assert_eq!(table.free_run(Pa(0x4040_0000)), Some(PaRange { start: Pa(0x1_0000_0000), size: MIB }));
        assert_eq!(table.free_run(Pa(0x1_0010_0000)), None);
    }
}
