//! The driver's rings against the device's side of the specification, which `guest-virtio` has and shares no code with them.

use std::cell::RefCell;
use std::collections::VecDeque;

use guest_virtio::blk::{Block, Next, Operation, Outcome, Request, SERIAL};
use guest_virtio::memory::{GuestMemory, GuestMemoryError};
use guest_virtio::queue::{Areas, Chain, Direction, Queue, RingFeatures, Step};
use hv_core::addr::{Pa, PaRange};

use super::disk::{Command, Disk};
use super::ring::{NotIts, OWN_SIZE, PIECES, Piece, Ring, SIZE, SLOTS};
use super::{DmaMemory, Kind, VirtioError, look};

/// The memory of a ring, which the test's device reaches by its addresses.
struct Memory {
    start: u64,
    bytes: RefCell<Vec<u128>>,
}

impl Memory {
    fn new() -> Self {
        let mut bytes = vec![u128::MAX; SIZE / 16];
        Self { start: bytes.as_mut_ptr().expose_provenance() as u64, bytes: RefCell::new(bytes) }
    }

    fn range(&self) -> PaRange {
        PaRange { start: Pa(self.start), size: SIZE as u64 }
    }

    fn pointer(&self, at: u64, length: usize) -> Result<*mut u8, GuestMemoryError> {
        let inside = at >= self.start && at + length as u64 <= self.start + SIZE as u64;
        let error = GuestMemoryError { ipa: at, length };
        let base = self.bytes.borrow_mut().as_mut_ptr().cast::<u8>();
        if inside { Ok(base.wrapping_add((at - self.start) as usize)) } else { Err(error) }
    }
}

impl GuestMemory for Memory {
    fn read(&self, ipa: u64, into: &mut [u8]) -> Result<(), GuestMemoryError> {
        let from = self.pointer(ipa, into.len())?;
        // SAFETY: the pointer is into the vector, which outlives this, and driver and device are one thread.
        into.iter_mut().enumerate().for_each(|(index, byte)| *byte = unsafe { from.add(index).read_volatile() });
        Ok(())
    }

    fn write(&self, ipa: u64, from: &[u8]) -> Result<(), GuestMemoryError> {
        let to = self.pointer(ipa, from.len())?;
        // SAFETY: as above.
        from.iter().enumerate().for_each(|(index, byte)| unsafe { to.add(index).write_volatile(*byte) });
        Ok(())
    }
}

/// A ring, and a device at it.
fn pair(memory: &Memory, event_index: bool) -> (Ring, Queue) {
    // SAFETY: the memory outlives the ring; the device is this thread.
    let dma = unsafe { DmaMemory::new(memory.range()) }.unwrap();
    let ring = Ring::new(dma, event_index);
    let [descriptor, driver, device] = ring.areas().map(|area| area.0);
    let mut queue = Queue::new();
    queue.set_size(SLOTS);
    *queue.areas_mut().unwrap() = Areas { descriptor, driver, device };
    queue.enable(SLOTS, RingFeatures { indirect: true, event_index }).unwrap();
    (ring, queue)
}

fn pieces(memory: &Memory, chain: &mut Chain) -> Vec<Piece> {
    let mut found = vec![];
    loop {
        match chain.advance(memory).unwrap() {
            Step::Table => {}
            Step::End => return found,
            Step::Segment(segment) => found.push(Piece {
                address: Pa(segment.ipa),
                length: segment.length,
                writable: segment.direction == Direction::Writable,
            }),
        }
    }
}

fn submit(ring: &mut Ring, pieces: &[Piece]) -> u16 {
    let slot = ring.take().unwrap();
    pieces.iter().enumerate().for_each(|(index, piece)| ring.describe(slot, index, piece));
    ring.submit(slot, pieces.len());
    slot
}

/// Pieces that say their request's number.
fn request(number: u32) -> Vec<Piece> {
    let readable = Piece { address: Pa(0x1000 + u64::from(number)), length: 16, writable: false };
    let writable = Piece { address: Pa(0x9_0000_0000 + u64::from(number)), length: 1 + number, writable: true };
    let mut pieces = vec![readable; 1 + number as usize % 5];
    pieces.push(writable);
    pieces
}

#[test]
fn the_device_finds_what_was_submitted_in_whatever_order_it_gives_back() {
    for event_index in [false, true] {
        let memory = Memory::new();
        let (mut ring, mut queue) = pair(&memory, event_index);
        let mut with_device: VecDeque<(u16, Vec<Piece>)> = VecDeque::new();
        let mut held = vec![];
        // More than 65,536 requests: each index wraps.
        for number in 0..70_000_u32 {
            let expected = request(number % 1000);
            let slot = submit(&mut ring, &expected);
            with_device.push_back((slot, expected));
            if number % 7 == 3 {
                while let Some(mut chain) = queue.pop(&memory).unwrap() {
                    let (slot, expected) = with_device.pop_front().unwrap();
                    assert_eq!((chain.head(), pieces(&memory, &mut chain)), (slot, expected));
                    held.push(chain.head());
                }
                if number % 2 == 0 {
                    held.reverse();
                }
                for head in held.drain(..) {
                    queue.push_used(&memory, head, 0).unwrap();
                    assert_eq!(ring.done(), Ok(Some(head)));
                    ring.release(head);
                }
                assert_eq!(ring.done(), Ok(None));
                assert_eq!(ring.free(), u32::from(SLOTS));
            }
        }
    }
}

#[test]
fn a_full_ring_has_no_slot_and_the_longest_request_fits() {
    let memory = Memory::new();
    let (mut ring, mut queue) = pair(&memory, true);
    let longest = vec![Piece { address: Pa(8), length: 8, writable: false }; PIECES];
    let slots: Vec<u16> = (0..SLOTS).map(|_| submit(&mut ring, &longest)).collect();
    assert_eq!((ring.take(), ring.free()), (None, 0));
    for slot in slots {
        let mut chain = queue.pop(&memory).unwrap().unwrap();
        assert_eq!((chain.head(), pieces(&memory, &mut chain)), (slot, longest.clone()));
        // A slot's own bytes are its own.
        ring.write_own(slot, 0, u64::from(slot) + 1);
        ring.write_own(slot, OWN_SIZE - 8, !0);
    }
    for slot in 0..SLOTS {
        assert_eq!((ring.read_own(slot, 0), ring.read_own(slot, OWN_SIZE - 1)), (slot as u8 + 1, 0xff));
        assert_eq!(memory.read_u64(ring.own(slot, 0).0).unwrap(), u64::from(slot) + 1);
    }
}

#[test]
fn the_device_is_told_exactly_when_it_wants_to_hear() {
    for event_index in [false, true] {
        let memory = Memory::new();
        let (mut ring, mut queue) = pair(&memory, event_index);
        assert!(!ring.must_notify(), "nothing was submitted");
        submit(&mut ring, &request(1));
        assert!(ring.must_notify());
        assert!(!ring.must_notify(), "it was told");
        while queue.pop(&memory).unwrap().is_some() {}
        if event_index {
            // It has looked, and asks for the next but one.
            memory.write_u16(ring.areas()[2].0 + 4 + 8 * u64::from(SLOTS), 2).unwrap();
            submit(&mut ring, &request(2));
            assert!(!ring.must_notify());
            submit(&mut ring, &request(3));
            assert!(ring.must_notify());
        } else {
            memory.write_u16(ring.areas()[2].0, 1).unwrap();
            submit(&mut ring, &request(2));
            assert!(!ring.must_notify(), "VIRTQ_USED_F_NO_NOTIFY");
        }
    }
}

#[test]
fn an_interrupt_is_asked_for_the_next_and_what_came_meanwhile_is_seen() {
    let memory = Memory::new();
    let (mut ring, mut queue) = pair(&memory, true);
    for _ in 0..3 {
        submit(&mut ring, &request(1));
    }
    let heads: Vec<u16> = std::iter::from_fn(|| queue.pop(&memory).unwrap()).map(|chain| chain.head()).collect();
    assert!(!ring.arm());
    queue.push_used(&memory, heads[0], 0).unwrap();
    assert_eq!(queue.should_notify(&memory), Ok(true));
    assert!(ring.arm(), "one came before it was asked for");
    assert_eq!(ring.done(), Ok(Some(heads[0])));
    queue.push_used(&memory, heads[1], 0).unwrap();
    assert_eq!(queue.should_notify(&memory), Ok(false), "the driver still looks");
    assert_eq!(ring.done(), Ok(Some(heads[1])));
    assert!(!ring.arm());
    queue.push_used(&memory, heads[2], 0).unwrap();
    assert_eq!(queue.should_notify(&memory), Ok(true));
}

#[test]
fn a_device_that_gives_back_what_it_has_not_is_not_believed() {
    for lie in [1, u32::from(SLOTS), 0x1_0000, u32::MAX] {
        let memory = Memory::new();
        let (mut ring, _) = pair(&memory, true);
        assert_eq!(submit(&mut ring, &request(1)), 0);
        let used = ring.areas()[2].0;
        memory.write_u32(used + 4, lie).unwrap();
        memory.write_u16(used + 2, 1).unwrap();
        assert_eq!(ring.done(), Err(NotIts(lie)));
    }
    let memory = Memory::new();
    let (mut ring, mut queue) = pair(&memory, true);
    submit(&mut ring, &request(1));
    queue.push_used(&memory, 0, 0).unwrap();
    queue.push_used(&memory, 0, 0).unwrap();
    assert_eq!(ring.done(), Ok(Some(0)));
    assert_eq!(ring.done(), Err(NotIts(0)), "twice");
}

/// The registers of a virtio-mmio slot with a disk in it, as memory: what is written stays.
struct Registers(Vec<u32>);

impl Registers {
    /// Both halves of the features read the same: VERSION_1 is bit 0 of the upper one.
    fn new(features: u32, pieces: u32) -> Self {
        let mut words = vec![0; 0x200 / 4];
        let mut put = |offset: usize, value| words[offset / 4] = value;
        for (offset, value) in [
            (0, u32::from_le_bytes(*b"virt")),
            (4, 2),
            (8, 2),
            (0x10, features | 1),
            (0x34, 64),
            (0x100, 0x1000),
            (0x10c, pieces),
            (0x114, 512),
        ] {
            put(offset, value);
        }
        Self(words)
    }

    fn range(&mut self) -> PaRange {
        PaRange { start: Pa(self.0.as_mut_ptr().expose_provenance() as u64), size: 0x200 }
    }
}

const INDIRECT: u32 = 1 << 28;
const SEG_MAX: u32 = 1 << 2;

/// A disk of so many pieces at `registers`, and its ring as a device sees it.
fn disk(registers: &mut Registers, memory: &Memory) -> (Disk, Queue) {
    // SAFETY: the registers are words of a vector that outlives the disk.
    let found = unsafe { look(registers.range()) }.unwrap().unwrap();
    assert_eq!(found.kind, Kind::Disk);
    // SAFETY: the memory outlives the disk; the device is this thread.
    let disk = Disk::start(found, unsafe { DmaMemory::new(memory.range()) }.unwrap()).unwrap();
    let mut queue = Queue::new();
    queue.set_size(SLOTS);
    let [descriptor, driver, device] = [memory.start, memory.start + 0x400, memory.start + 0x500];
    *queue.areas_mut().unwrap() = Areas { descriptor, driver, device };
    queue.enable(SLOTS, RingFeatures { indirect: true, event_index: false }).unwrap();
    (disk, queue)
}

#[test]
fn a_request_has_at_most_the_drives_pieces_and_those_that_follow_each_other_are_one() {
    for most in [1, 2, 3, 125, 126] {
        let (mut registers, memory) = (Registers::new(INDIRECT | SEG_MAX, most), Memory::new());
        let (mut disk, mut queue) = disk(&mut registers, &memory);
        assert_eq!(disk.shape().pieces, most as u8);
        let mut draft = disk.draft(Command::Read(7)).unwrap();
        let mut expected = vec![];
        for piece in 0.. {
            let address = Pa(0x10_0000 * piece);
            if !draft.push(address, 0x1000) {
                break;
            }
            assert!(draft.push(Pa(address.0 + 0x1000), 0x200), "what follows needs no piece");
            expected.push(Piece { address, length: 0x1200, writable: true });
        }
        assert_eq!(expected.len(), most as usize);
        assert!(!draft.cut(0x1200) && draft.cut(0x200));
        expected.last_mut().unwrap().length = 0x1000;
        let last = expected.last().unwrap().address.0;
        assert_eq!(draft.end(), Pa(last + 0x1000));
        let slot = draft.submit();
        let mut chain = queue.pop(&memory).unwrap().unwrap();
        assert_eq!(chain.head(), slot);
        let found = pieces(&memory, &mut chain);
        assert_eq!(found[1..found.len() - 1], expected);
        let (header, status) = (found[0], found[found.len() - 1]);
        assert_eq!((header.length, header.writable, status.length, status.writable), (16, false, 1, true));
        let mut bytes = [0; 16];
        memory.read(header.address.0, &mut bytes).unwrap();
        assert_eq!(bytes, [0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]);
        // VIRTIO_BLK_S_OK, VIRTIO_BLK_S_IOERR.
        let went_well = most % 2 == 0;
        memory.write(status.address.0, &[u8::from(!went_well)]).unwrap();
        queue.push_used(&memory, slot, 1).unwrap();
        assert_eq!(disk.done(), Ok(Some((slot, went_well))));
        assert_ne!(disk.draft(Command::Flush).unwrap().submit(), slot, "its number is its own");
        disk.release(slot);
        assert_eq!(disk.draft(Command::Flush).unwrap().submit(), slot);
    }
}

#[test]
fn a_draft_that_is_dropped_leaves_nothing_behind() {
    let (mut registers, memory) = (Registers::new(INDIRECT, 0), Memory::new());
    let (mut disk, mut queue) = disk(&mut registers, &memory);
    for _ in 0..200 {
        let mut draft = disk.draft(Command::Write(1)).unwrap();
        assert!(draft.push(Pa(8), 8));
    }
    assert_eq!(disk.free(), u32::from(SLOTS));
    assert_eq!(queue.pop(&memory), Ok(None));
}

#[test]
fn commands_are_what_a_device_of_the_specification_takes_them_for() {
    let ours = guest_virtio::blk::Disk {
        sectors: 1 << 30,
        read_only: false,
        discard: 1 << 20,
        block_size: 512,
        physical_exponent: 0,
        segments: 126,
        queues: 1,
        serial: [0; SERIAL],
    };
    for (command, expected) in [
        (Command::Flush, Operation::Flush),
        (Command::Discard(5, 9), Operation::Discard { sector: 5, sectors: 9 }),
        (Command::WriteZeroes(1 << 20, 7, true), Operation::WriteZeroes { sector: 1 << 20, sectors: 7, unmap: true }),
        (Command::WriteZeroes(3, 1, false), Operation::WriteZeroes { sector: 3, sectors: 1, unmap: false }),
    ] {
        let (mut registers, memory) = (Registers::new(INDIRECT, 0), Memory::new());
        let (mut disk, _) = disk(&mut registers, &memory);
        let mut block = Block::NONE;
        block.restart(&ours);
        // The driver's rings, at a device of ours.
        let write = |block: &mut Block, offset, value: u64| {
            let _ = block.write(offset, 4, value);
        };
        for (offset, value) in [(0x70, 3), (0x24, 1), (0x20, 1), (0x24, 0), (0x20, INDIRECT.into()), (0x70, 11)] {
            write(&mut block, offset, value);
        }
        write(&mut block, 0x38, SLOTS.into());
        for (offset, area) in [(0x80, 0), (0x90, 0x400), (0xa0, 0x500)] {
            write(&mut block, offset, (memory.start + area) & 0xffff_ffff);
            write(&mut block, offset + 4, (memory.start + area) >> 32);
        }
        write(&mut block, 0x44, 1);
        write(&mut block, 0x70, 15);
        let slot = disk.draft(command).unwrap().submit();
        let mut request = Request::new();
        assert_eq!(block.next(0, &memory, &mut request), Next::Request);
        assert_eq!(request.operation, expected);
        block.complete(&request.ticket, Outcome::Done, &memory);
        assert_eq!(disk.done(), Ok(Some((slot, true))));
    }
}

#[test]
fn what_is_no_usable_disk_is_named() {
    let start = |registers: &mut Registers| {
        let memory = Memory::new();
        // SAFETY: registers and memory outlive the disk, which is dropped here.
        let found = unsafe { look(registers.range()) }?;
        // SAFETY: as above.
        let memory = unsafe { DmaMemory::new(memory.range()) }.unwrap();
        Some(found.and_then(|found| Disk::start(found, memory)).map(drop))
    };
    let with = |offset: usize, value| {
        let mut registers = Registers::new(INDIRECT, 0);
        registers.0[offset / 4] = value;
        registers
    };
    assert_eq!(start(&mut with(0, 0)), None, "no slot");
    assert_eq!(start(&mut with(8, 0)), None, "an empty slot");
    assert_eq!(start(&mut with(4, 1)), Some(Err(VirtioError::Legacy)));
    assert_eq!(start(&mut with(4, 3)), Some(Err(VirtioError::Unknown)));
    assert_eq!(start(&mut with(0x34, 32)), Some(Err(VirtioError::ShortQueue(32))));
    // VIRTIO_BLK_F_BLK_SIZE, and what it announces.
    for size in [0, 1, 513, 8192] {
        let mut registers = Registers::new(INDIRECT | 1 << 6, 0);
        registers.0[0x114 / 4] = size;
        assert_eq!(start(&mut registers), Some(Err(VirtioError::BlockSize(size))));
    }
    assert_eq!(start(&mut with(0x10, 1)), Some(Err(VirtioError::Lacks(1 << 28))));
    assert_eq!(start(&mut with(0x10, INDIRECT)), Some(Err(VirtioError::Lacks(1 << 32))));
}
