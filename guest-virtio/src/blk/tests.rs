//! A disk against virtio 1.2 §5.2, with a driver that lays requests out at will, against a model of its medium, and with a
//! hostile driver.

mod guest;
pub(crate) mod hostile;

use super::*;
use crate::testing::{Buffer, Layout, RAM_BASE, Random};
use guest::*;

const SECTORS: u64 = 1000;

#[test]
fn configuration_is_that_of_5_2_4() {
    let mut block = Block::NONE;
    block.restart(&Disk { block_size: 4096, physical_exponent: 1, ..disk(0x1_0000_0008) });
    let at = |offset: u64, size| block.read(0x100 + offset, size);
    assert_eq!(block.read(0x008, 4), 2, "DeviceID");
    let fields = [at(0, 8), at(8, 4), at(12, 4), at(16, 4), at(20, 4)];
    assert_eq!(fields, [0x1_0000_0008, 1 << 20, 126, 0, 4096], "capacity, size_max, seg_max, geometry, blk_size");
    assert_eq!([at(24, 1), at(25, 1), at(26, 2), at(28, 4)], [1, 0, 2, 0], "topology");
    assert_eq!([at(32, 1), at(34, 2)], [0, 2], "writeback, num_queues");
    assert_eq!([at(36, 4), at(40, 4), at(44, 4)], [1 << 21, 1, 8], "discard: sectors, ranges, alignment");
    assert_eq!([at(48, 4), at(52, 4), at(56, 1)], [1 << 21, 1, 1], "write zeroes: sectors, ranges, may unmap");
    assert_eq!([at(57, 1), at(60, 8), at(0xf8, 8)], [0; 3]);
}

#[test]
fn features_follow_the_disk() {
    // SIZE_MAX, SEG_MAX, BLK_SIZE, FLUSH, TOPOLOGY, and the rings' own.
    let always = 1 << 1 | 1 << 2 | 1 << 6 | 1 << 9 | 1 << 10 | 1 << 28 | 1 << 29 | 1 << 32;
    let (multiple, space) = (1 << 12, 1 << 13 | 1 << 14);
    for (shape, expected) in [
        (disk(8), always | multiple | space),
        (Disk { queues: 1, ..disk(8) }, always | space),
        (Disk { discard: 0, ..disk(8) }, always | multiple),
        (Disk { read_only: true, ..disk(8) }, always | multiple | RO),
    ] {
        assert_eq!(Guest::new(&shape, 0, 1).offered(), expected, "{shape:?}");
    }
}

#[test]
fn what_is_written_is_read_whatever_the_layout() {
    for seed in 0..200 {
        let mut guest = Guest::new(&disk(SECTORS), 0, seed);
        let bytes: Vec<u8> = (0..PAYLOAD).map(|at| (at as u64 * 31 + seed) as u8).collect();
        assert_eq!(guest.ask(0, &Ask::write(100, &bytes)), Answer { status: OK, written: 1, bytes: vec![] });
        let read = guest.ask(1, &Ask::read(101, PAYLOAD - 512));
        assert_eq!((read.status, read.written), (OK, (PAYLOAD - 512 + 1) as u32));
        assert!(read.bytes == bytes[512..], "seed {seed}");
    }
}

#[test]
fn a_flush_has_no_payload_and_a_disk_tells_its_name() {
    let mut guest = Guest::new(&disk(SECTORS), 0, 1);
    assert_eq!(guest.status_of(&Ask::of(FLUSH)), OK);
    for room in [20, 5, 64] {
        let answer = guest.ask(0, &Ask { into: room, ..Ask::of(GET_ID) });
        assert_eq!((answer.status, answer.written), (OK, room.min(20) as u32 + 1));
        assert!(answer.bytes.starts_with(b"disk0"));
    }
}

#[test]
fn ranges_are_discarded_and_zeroed() {
    let mut guest = Guest::new(&disk(SECTORS), 0, 1);
    assert_eq!(guest.status_of(&Ask::range(WRITE_ZEROES, 10, 3, 0)), OK);
    assert_eq!(guest.status_of(&Ask::range(WRITE_ZEROES, 20, 3, 1)), OK);
    assert_eq!(guest.status_of(&Ask::range(DISCARD, 30, 3, 0)), OK);
    for sector in [10, 12, 20, 22, 30, 32] {
        assert_eq!(guest.ask(0, &Ask::read(sector, 512)).bytes, [0; 512]);
    }
    guest.send(0, &Ask::range(WRITE_ZEROES, 1, 2, 1)).unwrap();
    let taken = guest.take(0).unwrap();
    assert_eq!(taken.operation, Operation::WriteZeroes { sector: 1, sectors: 2, unmap: true });
}

#[test]
fn what_cannot_be_done_is_refused_and_the_device_goes_on() {
    let sector = vec![1; 512];
    let mut guest = Guest::new(&disk(SECTORS), 0, 1);
    let before = guest.medium.clone();
    for (name, ask, status) in [
        ("a read behind the end", Ask::read(SECTORS, 512), IOERR),
        ("a read over the end", Ask::read(SECTORS - 1, 1024), IOERR),
        ("a sector that wraps", Ask::read(u64::MAX, 512), IOERR),
        ("a write over the end", Ask::write(SECTORS, &sector), IOERR),
        ("half a sector", Ask::read(0, 256), IOERR),
        ("nothing", Ask::read(0, 0), IOERR),
        ("a write of nothing", Ask::write(0, &[]), IOERR),
        ("a read with bytes sent along", Ask { out: sector.clone(), ..Ask::read(0, 512) }, IOERR),
        ("a write that wants bytes", Ask { into: 512, ..Ask::write(0, &sector) }, IOERR),
        ("a name that is sent", Ask { out: vec![0; 20], ..Ask::of(GET_ID) }, UNSUPP),
        ("an unknown type", Ask::of(77), UNSUPP),
        ("a secure erase", Ask::range(14, 0, 1, 0), UNSUPP),
        ("a discard that unmaps", Ask::range(DISCARD, 0, 1, 1), UNSUPP),
        ("an unknown flag", Ask::range(WRITE_ZEROES, 0, 1, 2), UNSUPP),
        ("a range over the end", Ask::range(DISCARD, SECTORS - 1, 2, 0), IOERR),
        ("a range of nothing", Ask::range(DISCARD, 0, 0, 0), IOERR),
        ("more than a range", Ask { out: vec![0; 32], ..Ask::of(DISCARD) }, IOERR),
        ("half a range", Ask { out: vec![0; 8], ..Ask::of(DISCARD) }, IOERR),
    ] {
        assert_eq!(guest.status_of(&ask), status, "{name}");
    }
    assert_eq!(guest.ask(0, &Ask::read(3, 512)).bytes, before[3 * 512..4 * 512]);
    assert!(guest.medium == before);
}

#[test]
fn a_range_is_at_most_what_the_configuration_says() {
    let mut guest = Guest::new(&Disk { queues: 1, ..disk(0) }, 0, 1);
    guest.block.resize(1 << 30);
    guest.send(0, &Ask::range(DISCARD, 0, 1 << 21, 0)).unwrap();
    assert_eq!(guest.take(0).unwrap().operation, Operation::Discard { sector: 0, sectors: 1 << 21 });
    assert_eq!(guest.block.in_flight(), 1);
    guest.send(0, &Ask::range(DISCARD, 0, (1 << 21) + 1, 0)).unwrap();
    assert!(guest.take(0).is_none(), "answered by the device");
}

#[test]
fn buffers_are_as_many_as_the_configuration_says_and_long_ones_are_for_who_has_not_accepted_size_max() {
    let mut guest = Guest::new(&Disk { segments: 2, ..disk(1 << 20) }, 1 << 1, 1);
    let at = RAM_BASE + 0x3_f000;
    guest.memory.write(at, &[0; 16]).unwrap();
    let [header, status] = [Buffer::readable(at, 16), Buffer::writable(at + 0x80, 1)];
    let data = |length| Buffer::writable(RAM_BASE, length);
    for (buffers, taken) in [
        (vec![header, data(1 << 20), data(512), status], true),
        (vec![header, data((1 << 20) + 512), status], true),
        // seg_max buffers of size_max bytes are the most.
        (vec![header, data((254 << 20) - 512), data(512), status], true),
        (vec![header, data((254 << 20) - 512), data(1024), status], false),
        (vec![header, data(u32::MAX - 511), status], false),
        (vec![header, data(512), data(512), data(512), status], false),
    ] {
        guest.queues[0].add(&guest.memory, &buffers, Layout::Indirect).unwrap();
        let request = guest.take(0);
        assert_eq!(request.is_some(), taken, "{buffers:?}");
        if let Some(request) = request {
            guest.block.complete(&request.ticket, Outcome::Done, &guest.memory);
        } else {
            assert_eq!(guest.memory.bytes(at + 0x80, 1), [IOERR]);
        }
        guest.queues[0].take_used(&guest.memory).unwrap();
    }
}

#[test]
fn requests_are_of_whole_blocks() {
    let mut guest = Guest::new(&Disk { block_size: 4096, ..disk(SECTORS) }, 0, 1);
    assert_eq!(guest.status_of(&Ask::read(8, 4096)), OK);
    for ask in [Ask::read(4, 4096), Ask::read(8, 2048), Ask::range(DISCARD, 8, 4, 0), Ask::range(DISCARD, 4, 8, 0)] {
        assert_eq!(guest.status_of(&ask), IOERR, "{ask:?}");
    }
}

#[test]
fn a_read_only_disk_takes_no_change() {
    let mut guest = Guest::new(&Disk { read_only: true, ..disk(SECTORS) }, 0, 1);
    for ask in [Ask::write(0, &[1; 512]), Ask::range(DISCARD, 0, 1, 0), Ask::range(WRITE_ZEROES, 0, 1, 0)] {
        assert_eq!(guest.status_of(&ask), IOERR);
    }
    assert_eq!([guest.status_of(&Ask::read(0, 512)), guest.status_of(&Ask::of(FLUSH))], [OK; 2]);
}

#[test]
fn without_flush_each_write_goes_to_the_medium() {
    for (without, through) in [(0, false), (WITH_FLUSH, true)] {
        let mut guest = Guest::new(&disk(SECTORS), without, 1);
        guest.send(0, &Ask::write(0, &[1; 512])).unwrap();
        assert_eq!(guest.take(0).unwrap().through, through);
    }
}

#[test]
fn a_failed_request_says_so_and_fills_nothing() {
    let mut guest = Guest::new(&disk(SECTORS), 0, 1);
    guest.send(0, &Ask::read(0, 1024)).unwrap();
    let taken = guest.take(0).unwrap();
    guest.block.complete(&taken.ticket, Outcome::Failed, &guest.memory);
    let (_, answer) = guest.answer(0).unwrap();
    assert_eq!((answer.status, answer.written), (IOERR, 1));
}

#[test]
fn a_reset_waits_until_nothing_is_in_flight() {
    let mut guest = Guest::new(&disk(SECTORS), 0, 1);
    guest.send(0, &Ask::read(0, 512)).unwrap();
    let taken = guest.take(0).unwrap();
    assert_eq!(guest.set(STATUS, 0), BlockEffect::Wait);
    let _ = guest.set(0x30, 0);
    assert_eq!(guest.set(0x44, 0), BlockEffect::Wait, "so does the stop of a queue");
    assert_eq!(guest.get(STATUS), 15, "nothing was done");
    guest.perform(&taken);
    assert_eq!(guest.answer(0).unwrap().1.status, OK);
    assert_eq!(guest.set(0x44, 0), BlockEffect::Stopped);
    assert_eq!(guest.set(STATUS, 0), BlockEffect::Reset);
    guest.probe(0);
    assert_eq!(guest.status_of(&Ask::of(FLUSH)), OK);
}

#[test]
fn a_disk_that_grows_tells_its_driver() {
    let mut guest = Guest::new(&disk(8), 0, 1);
    let generation = guest.get(0xfc);
    assert_eq!(guest.status_of(&Ask::read(8, 512)), IOERR);
    let _ = guest.block.take_pulse();
    guest.block.resize(8);
    assert!(!guest.block.take_pulse(), "it has not changed");
    guest.block.resize(16);
    guest.medium.resize(16 * 512, 5);
    assert!(guest.block.take_pulse());
    assert_eq!(guest.get(0x60) & 2, 2, "configuration change notification");
    assert_ne!(guest.get(0xfc), generation);
    assert_eq!(guest.block.read(0x100, 8), 16);
    assert_eq!(guest.ask(0, &Ask::read(8, 512)).bytes, [5; 512]);
}

#[test]
fn chains_that_are_no_requests_ask_for_a_reset() {
    let at = RAM_BASE + 0x3_f000;
    let chains: [(&str, &[Buffer]); 4] = [
        ("no status", &[Buffer::readable(at, 16)]),
        ("a short header", &[Buffer::readable(at, 15), Buffer::writable(at + 16, 1)]),
        ("no header", &[Buffer::writable(at, 513)]),
        ("a header outside", &[Buffer::readable(RAM_BASE - 8, 16), Buffer::writable(at, 1)]),
    ];
    for (name, buffers) in chains {
        let mut guest = Guest::new(&disk(SECTORS), 0, 1);
        guest.queues[0].add(&guest.memory, buffers, Layout::Indirect).unwrap();
        assert!(guest.take(0).is_none());
        assert_eq!(guest.get(STATUS), 15 | 64, "{name}");
        assert!(guest.block.take_pulse());
    }
}

#[test]
fn too_many_buffers_are_refused() {
    let mut guest = Guest::new(&disk(SECTORS), 0, 1);
    let (table, at) = (RAM_BASE + 0x3_0000, RAM_BASE + 0x3_f000);
    let queue = guest.queues[0].clone();
    guest.memory.write(at, &[0; 16]).unwrap();
    let mut send = |count: u16, sectors_last: u32| {
        // A header, `count` buffers of which the last fills up to whole sectors, a status.
        queue.describe(&guest.memory, (table, 0), (at, 16, 1, 1));
        for index in 1..=count {
            let length = if index == count { sectors_last } else { 4 };
            queue.describe(&guest.memory, (table, index), (at + 0x100, length, 3, index + 1));
        }
        queue.describe(&guest.memory, (table, count + 1), (at + 0x80, 1, 2, 0));
        queue.describe(&guest.memory, (queue.descriptor, 0), (table, 16 * u32::from(count + 2), 4, 0));
        let mut publisher = guest.queues[0].clone();
        publisher.publish(&guest.memory, 0);
        guest.queues[0] = publisher;
    };
    send(126, 512 - 4 * 125);
    let taken = guest.take(0).unwrap();
    assert_eq!((taken.data.len(), taken.operation), (126, Operation::Read { sector: 0 }));
    guest.block.complete(&taken.ticket, Outcome::Done, &guest.memory);
    // One more needs no indirect table larger than allowed where the header is a descriptor of the queue's own.
    let mut own = guest.queues[0].clone();
    own.describe(&guest.memory, (own.descriptor, 0), (at, 16, 1, 1));
    own.describe(&guest.memory, (own.descriptor, 1), (table, 16 * 128, 4, 0));
    for index in 0..127 {
        own.describe(&guest.memory, (table, index), (at + 0x100, if index == 126 { 8 } else { 4 }, 3, index + 1));
    }
    own.describe(&guest.memory, (table, 127), (at + 0x80, 1, 2, 0));
    own.publish(&guest.memory, 0);
    assert!(guest.take(0).is_none());
    assert_eq!(guest.memory.bytes(at + 0x80, 1), [IOERR]);
    assert_eq!(guest.get(STATUS), 15, "the device goes on");
}

#[test]
fn random_requests_agree_with_a_model_in_whatever_order_they_end() {
    let random = Random::new(0xb10c);
    let mut done = 0;
    for seed in 0..60 {
        let mut guest = Guest::new(&disk(64), random.pick(&[0, 1 << 28, 1 << 29, WITH_FLUSH]), seed);
        let mut model = guest.medium.clone();
        for _ in 0..200 {
            // Requests of one round do not touch each other's sectors, so their order is free.
            let mut expected = vec![];
            for (slot, first) in [0, 16, 32, 48].into_iter().enumerate() {
                let (sector, sectors) = (first + random.below(8), 1 + random.below(8));
                let range = sector as usize * 512..(sector + sectors) as usize * 512;
                let bytes: Vec<u8> = range.clone().map(|_| random.next() as u8).collect();
                let (ask, after) = match random.below(4) {
                    0 => (Ask::write(sector, &bytes), bytes),
                    1 => (
                        Ask::range(random.pick(&[DISCARD, WRITE_ZEROES]), sector, sectors as u32, 0),
                        vec![0; range.len()],
                    ),
                    _ => (Ask::read(sector, range.len()), model[range.clone()].to_vec()),
                };
                let queue = slot % 2;
                if let Some(head) = guest.send(queue, &ask) {
                    expected.push((queue, head, (ask.into > 0).then(|| after.clone())));
                    model[range].copy_from_slice(&after);
                }
            }
            let mut taken: Vec<_> =
                (0..2).flat_map(|queue| std::iter::from_fn(|| guest.take(queue)).collect::<Vec<_>>()).collect();
            while !taken.is_empty() {
                let one = taken.swap_remove(random.below(taken.len() as u64) as usize);
                guest.perform(&one);
            }
            for queue in 0..2 {
                while let Some((head, answer)) = guest.answer(queue) {
                    let at = expected.iter().position(|(q, h, _)| (*q, *h) == (queue, head)).unwrap();
                    let (.., bytes) = expected.swap_remove(at);
                    assert_eq!(answer.status, OK);
                    assert!(bytes.is_none_or(|bytes| bytes == answer.bytes), "seed {seed}");
                    done += 1;
                }
            }
            assert!(expected.is_empty() && guest.medium == model);
        }
    }
    assert!(done > 40_000, "{done}");
}

#[test]
fn interrupts_come_as_the_driver_asks_for_them() {
    let mut guest = Guest::new(&disk(SECTORS), 0, 1);
    let _ = guest.block.take_pulse();
    guest.queues[0].set_used_event(&guest.memory, 1);
    for expected in [false, true, false] {
        guest.send(0, &Ask::of(FLUSH)).unwrap();
        guest.serve(0);
        assert_eq!(guest.block.take_pulse(), expected);
        guest.answer(0).unwrap();
    }
}

#[test]
fn disks_can_stand_in_a_static_table() {
    static TABLE: [Block; 2] = [const { Block::NONE }; 2];
    assert!(TABLE.iter().all(|block| block.read(8, 4) == 0), "DeviceID 0 is no device (§4.2.2)");
    assert!(size_of::<Block>() <= 1024, "{}", size_of::<Block>());
}
