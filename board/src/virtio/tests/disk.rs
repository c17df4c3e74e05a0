//! The driver of a disk, at registers that are memory.

use guest_virtio::blk::{Block, Next, Operation, Outcome, Request, SERIAL};
use guest_virtio::memory::GuestMemory;
use guest_virtio::queue::{Areas, Queue, RingFeatures};
use hv_core::addr::Pa;

use super::machine::{Memory, Registers};
use super::pieces;
use crate::virtio::disk::{Command, DEPTH, Disk, MEMORY};
use crate::virtio::ring::{Piece, SLOTS};
use crate::virtio::{Kind, VirtioError};

pub(super) const INDIRECT: u32 = 1 << 28;
pub(super) const SEG_MAX: u32 = 1 << 2;

pub(super) fn ram() -> Memory {
    Memory::new(MEMORY as usize)
}

/// Registers of a disk of so many pieces. Its blocks are of 512 bytes.
pub(super) fn registers(features: u32, pieces: u32) -> Registers {
    Registers::new(2, features | 1, &[(0, 0x1000), (12, pieces), (20, 512)])
}

/// A disk at `registers`, and its ring as a device sees it.
pub(super) fn disk(registers: &mut Registers, memory: &Memory) -> (Disk, Queue) {
    let found = registers.look().unwrap().unwrap();
    assert_eq!(found.kind, Kind::Disk);
    let disk = Disk::start(found, memory.dma()).unwrap();
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
        let (mut registers, memory) = (registers(INDIRECT | SEG_MAX, most), ram());
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
        let last = expected.last_mut().unwrap();
        assert_eq!(draft.take_back(0x200), Some((Pa(last.address.0 + 0x1000), 0x200)));
        last.length = 0x1000;
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
    let (mut registers, memory) = (registers(INDIRECT, 0), ram());
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
        let (mut registers, memory) = (registers(INDIRECT, 0), ram());
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
        let memory = ram();
        Some(registers.look()?.and_then(|found| Disk::start(found, memory.dma())).map(drop))
    };
    let with = |offset: usize, value| {
        let mut registers = registers(INDIRECT, 0);
        registers.write(offset, value);
        registers
    };
    assert_eq!(start(&mut with(0, 0)), None, "no slot");
    assert_eq!(start(&mut with(8, 0)), None, "an empty slot");
    assert_eq!(start(&mut with(4, 1)), Some(Err(VirtioError::Legacy)));
    assert_eq!(start(&mut with(4, 3)), Some(Err(VirtioError::Unknown)));
    assert_eq!(start(&mut with(0x34, 32)), Some(Err(VirtioError::ShortQueue(32))));
    // VIRTIO_BLK_F_BLK_SIZE, and what it announces.
    for size in [0, 1, 513, 8192] {
        let mut registers = registers(INDIRECT | 1 << 6, 0);
        registers.write(0x114, size);
        assert_eq!(start(&mut registers), Some(Err(VirtioError::BlockSize(size))));
    }
    assert_eq!(start(&mut with(0x10, 1)), Some(Err(VirtioError::Lacks(1 << 28))));
    assert_eq!(start(&mut with(0x10, INDIRECT)), Some(Err(VirtioError::Lacks(1 << 32))));
}

#[test]
fn a_disk_that_is_stopped_is_reset_has_nothing_in_flight_and_takes_nothing() {
    let (mut registers, memory) = (registers(INDIRECT, 0), ram());
    let (mut disk, mut queue) = disk(&mut registers, &memory);
    let slots = [(); 3].map(|()| disk.draft(Command::Flush).unwrap().submit());
    assert!(!disk.needs_reset());
    // DEVICE_NEEDS_RESET (§2.1).
    registers.write(0x70, registers.read(0x70) | 64);
    assert!(disk.needs_reset());
    queue.push_used(&memory, slots[1], 1).unwrap();
    assert_eq!(disk.stop(), Ok(()));
    assert_eq!(registers.read(0x70), 0);
    assert!(!disk.needs_reset());
    assert_eq!((disk.done(), disk.arm(), disk.free()), (Ok(None), false, 0));
    slots.iter().for_each(|slot| disk.release(*slot));
    assert!(disk.draft(Command::Flush).is_none());
    // QueueNotify holds what was written last.
    registers.write(0x50, 0xffff);
    disk.notify();
    assert_eq!(registers.read(0x50), 0xffff);
}

#[test]
fn a_disk_that_gives_back_what_it_has_not_says_so_each_time() {
    let (mut registers, memory) = (registers(INDIRECT, 0), ram());
    let (mut disk, mut queue) = disk(&mut registers, &memory);
    assert_eq!(disk.draft(Command::Flush).unwrap().submit(), 0);
    queue.push_used(&memory, DEPTH as u16 - 1, 1).unwrap();
    assert_eq!(disk.done(), Err(VirtioError::NotIts(DEPTH as u32 - 1)));
    assert_eq!(disk.done(), Err(VirtioError::NotIts(DEPTH as u32 - 1)));
}
