//! An entropy device against virtio 1.2 §5.4, with a driver that lays its buffers out at will, and with a hostile one.

pub(crate) mod hostile;

use super::*;
use crate::testing::{Buffer, DriverQueue, Layout, QUEUE_BYTES, RAM_BASE, RAM_SIZE, Random, VecMemory};
#[cfg(test)]
use proptest::prelude::*;

const STATUS: u64 = 0x70;
const ENTRIES: u16 = 16;
const EVENT_IDX: u64 = 1 << 29;
/// Where the buffers of the heads lie, and how many bytes each has.
const DATA: u64 = RAM_BASE + 0x1_0000;
const ROOM: u64 = 0x400;
/// What stands in a buffer before the device has filled it; the source never gives it.
const EMPTY: u8 = 0;

struct Guest {
    memory: VecMemory,
    device: Entropy,
    queue: DriverQueue,
    /// Bytes that the source has given, in their order.
    given: Vec<u8>,
}

impl Guest {
    /// A guest whose driver has taken all features but those in `without`.
    fn new(without: u64) -> Self {
        let mut device = Entropy::NONE;
        device.restart();
        let queue = DriverQueue::new(RAM_BASE, ENTRIES, without & EVENT_IDX == 0, 0);
        let mut guest = Self { memory: VecMemory::new(), device, queue, given: vec![] };
        guest.probe(without);
        guest
    }

    fn get(&self, offset: u64) -> u32 {
        u32::try_from(self.device.read(offset, 4)).unwrap()
    }

    fn set(&mut self, offset: u64, value: u32) -> EntropyEffect {
        self.device.write(offset, 4, value.into())
    }

    fn features(&mut self) -> u64 {
        [1, 0].into_iter().fold(0, |features, selector| {
            let _ = self.set(0x14, selector);
            features << 32 | u64::from(self.get(0x10))
        })
    }

    fn probe(&mut self, without: u64) {
        for status in [0, 1, 3] {
            let _ = self.set(STATUS, status);
        }
        let features = self.features() & !without;
        for (offset, value) in [(0x24, 0), (0x20, features as u32), (0x24, 1), (0x20, (features >> 32) as u32)] {
            let _ = self.set(offset, value);
        }
        let _ = self.set(STATUS, 11);
        assert_eq!(self.get(STATUS), 11, "FEATURES_OK stands");
        self.memory.write(RAM_BASE, &[0; QUEUE_BYTES as usize]).unwrap();
        let areas = [(0x80, self.queue.descriptor), (0x90, self.queue.driver), (0xa0, self.queue.device)];
        let _ = (self.set(0x30, 0), self.set(0x38, ENTRIES.into()));
        for (offset, area) in areas {
            let _ = (self.set(offset, area as u32), self.set(offset + 4, (area >> 32) as u32));
        }
        let _ = self.set(0x44, 1);
        assert_eq!(self.set(STATUS, 15), EntropyEffect::Requests);
    }

    /// Offers buffers of these lengths in one chain; its head, where there is room.
    fn offer(&mut self, lengths: &[u32], layout: Layout) -> Option<u16> {
        let base = DATA + ROOM * u64::from(self.queue.next_head()?);
        self.memory.write(base, &[EMPTY; ROOM as usize]).unwrap();
        let mut ipa = base;
        let mut next = |length: &u32| {
            let buffer = Buffer::writable(ipa, *length);
            ipa += u64::from(*length);
            buffer
        };
        let buffers: Vec<_> = lengths.iter().map(&mut next).collect();
        self.queue.add(&self.memory, &buffers, layout)
    }

    fn fill(&mut self) -> Backlog {
        let given = &mut self.given;
        self.device.fill(&self.memory, &mut |bytes| {
            for byte in bytes {
                *byte = 1 + (given.len() % 251) as u8;
                given.push(*byte);
            }
        })
    }

    /// The next chain that came back: its bytes, as many as the device says.
    fn take(&mut self) -> Option<Vec<u8>> {
        let (head, written) = self.queue.take_used(&self.memory)?;
        let bytes = self.memory.bytes(DATA + ROOM * u64::from(head), ROOM as usize);
        let (filled, rest) = bytes.split_at(written as usize);
        assert!(rest.iter().all(|byte| *byte == EMPTY), "no byte behind those that are counted");
        Some(filled.to_vec())
    }
}

#[test]
fn device_is_that_of_5_4() {
    let mut guest = Guest::new(0);
    assert_eq!(guest.get(0x008), 4, "DeviceID");
    assert_eq!(guest.features(), 1 << 32 | 1 << 28 | 1 << 29, "the rings' features alone");
    assert_eq!(guest.device.read(0x100, 8), 0, "no configuration space");
    let _ = guest.set(0x30, 1);
    assert_eq!(guest.get(0x34), 0, "no second queue");
}

#[test]
fn requests_get_the_bytes_of_the_source_in_their_order() {
    let mut guest = Guest::new(0);
    guest.offer(&[10], Layout::Direct).unwrap();
    guest.offer(&[1, 2, 3], Layout::Indirect).unwrap();
    assert_eq!(guest.set(0x50, 0), EntropyEffect::Requests);
    assert_eq!(guest.fill(), Backlog::Empty);
    assert_eq!((guest.take(), guest.take()), (Some((1..=10).collect()), Some((11..=16).collect())));
    assert_eq!(guest.given.len(), 16, "none is drawn in vain");
}

#[test]
fn a_request_gets_at_most_64_bytes_and_a_call_fills_eight() {
    let mut guest = Guest::new(0);
    for _ in 0..9 {
        guest.offer(&[40, 100], Layout::Direct);
    }
    assert_eq!(guest.queue.in_flight(), 8, "two descriptors each");
    guest.offer(&[200], Layout::Indirect);
    assert_eq!(guest.fill(), Backlog::Empty);
    assert_eq!(guest.given.len(), 512);
    assert!((0..8).all(|_| guest.take().is_some_and(|bytes| bytes.len() == 64)));
    for _ in 0..16 {
        guest.offer(&[1], Layout::Direct).unwrap();
    }
    assert_eq!((guest.fill(), guest.given.len()), (Backlog::Waiting, 520));
    assert_eq!((guest.fill(), guest.given.len()), (Backlog::Empty, 528));
}

#[test]
fn the_driver_is_interrupted_as_it_asks() {
    for (without, flags, expected) in [(EVENT_IDX, 0, true), (EVENT_IDX, 1, false), (0, 0, true)] {
        let mut guest = Guest::new(without);
        let _ = guest.device.take_pulse();
        guest.memory.write_u16(guest.queue.driver, flags).unwrap();
        guest.offer(&[8], Layout::Direct).unwrap();
        let _ = guest.fill();
        assert_eq!(guest.device.take_pulse(), expected, "{without:#x} {flags}");
        assert!(guest.take().is_some());
        let _ = guest.fill();
        assert!(!guest.device.take_pulse(), "nothing was given back");
    }
}

#[test]
fn a_driver_notifies_of_what_comes_after_the_last_look() {
    for without in [0, EVENT_IDX] {
        let mut guest = Guest::new(without);
        assert_eq!(guest.fill(), Backlog::Empty);
        guest.offer(&[8], Layout::Direct).unwrap();
        assert!(guest.queue.must_kick(&guest.memory));
    }
}

#[test]
fn a_buffer_that_is_not_the_devices_to_write_makes_it_ask_for_a_reset() {
    let outside = RAM_BASE + RAM_SIZE as u64 - 4;
    for (name, buffers) in [
        ("readable", vec![Buffer::readable(DATA, 8)]),
        ("readable, then writable", vec![Buffer::readable(DATA, 8), Buffer::writable(DATA + 8, 8)]),
        ("out of RAM", vec![Buffer::writable(outside, 8)]),
        ("wraps", vec![Buffer::writable(u64::MAX - 3, 8)]),
        ("empty", vec![Buffer::writable(DATA, 0)]),
    ] {
        let mut guest = Guest::new(0);
        guest.queue.add(&guest.memory, &buffers, Layout::Direct).unwrap();
        assert_eq!(guest.fill(), Backlog::Empty, "{name}");
        assert_eq!(guest.get(STATUS) & 64, 64, "{name}: DEVICE_NEEDS_RESET");
        assert!(guest.take().is_none(), "{name}");
        let given = guest.given.len();
        assert_eq!((guest.fill(), guest.given.len()), (Backlog::Empty, given), "{name}: it is over");
        assert_eq!(guest.set(STATUS, 0), EntropyEffect::Reset);
    }
}

#[test]
fn a_device_without_a_running_driver_draws_nothing() {
    let mut guest = Guest::new(0);
    guest.offer(&[8], Layout::Direct).unwrap();
    assert_eq!(guest.set(0x44, 0), EntropyEffect::Reset, "the queue is stopped");
    assert_eq!((guest.fill(), guest.given.len()), (Backlog::Empty, 0));
}

#[cfg(test)]
proptest! {
    #[test]
    fn any_layout_is_filled_from_its_front(
        chains in prop::collection::vec((prop::collection::vec(1u32..60, 1..6), 0..3usize), 1..30),
        without in prop::sample::select(vec![0, EVENT_IDX]),
    ) {
        let mut guest = Guest::new(without);
        let mut model = vec![];
        for (lengths, layout) in &chains {
            let layout = match (lengths.len(), layout) {
                (_, 0) => Layout::Direct,
                (1, _) | (_, 1) => Layout::Indirect,
                _ => Layout::Mixed,
            };
            if guest.offer(lengths, layout).is_some() {
                model.push(lengths.iter().sum::<u32>().min(64) as usize);
            }
            if guest.queue.in_flight() > 8 {
                while guest.fill() == Backlog::Waiting {}
                for length in model.drain(..) {
                    prop_assert_eq!(guest.take().map(|bytes| bytes.len()), Some(length));
                }
            }
        }
        while guest.fill() == Backlog::Waiting {}
        let taken: Vec<_> = std::iter::from_fn(|| guest.take()).collect();
        prop_assert_eq!(taken.iter().map(Vec::len).collect::<Vec<_>>(), model);
        let last: Vec<u8> = taken.concat();
        prop_assert!(guest.given.ends_with(&last));
    }
}

#[test]
fn devices_can_stand_in_a_static_table() {
    static TABLE: [Entropy; 2] = [const { Entropy::NONE }; 2];
    assert!(TABLE.iter().all(|device| device.read(8, 4) == 0), "DeviceID 0 is no device (§4.2.2)");
    assert!(size_of::<Entropy>() <= 256, "{}", size_of::<Entropy>());
}
