//! A driver that breaks every rule.

use super::super::*;
use super::guest::{ENTRIES, EVENT_IDX, Guest, PAGE_REPORTING, STATUS};
use crate::testing::{Layout, RAM_BASE, Random};

/// Accesses that one call may make: each step reads a descriptor, a part of a number or nothing, and ends a chain at most, for
/// which its entry is read and written; the rings around them.
const MOST_ACCESSES: usize = QUEUES * (STEPS_MAX * 6 + 8);

fn write_register(guest: &mut Guest, random: &Random) {
    let offset = random.pick(&[0x50, 0x50, 0x30, 0x44, 0x70, 0x104, random.below(0x200)]);
    let value = random.pick(&[random.below(6), random.next(), 15, 0]);
    guest.memory.take_accesses();
    let _ = guest.device.write(offset, random.pick(&[4, 4, 4, 1, 2, 8]), value);
    let _ = guest.device.read(random.below(0x210), random.pick(&[1, 2, 4, 8]));
    assert_eq!(guest.memory.take_accesses(), 0, "registers reach no memory");
}

fn offer(guest: &mut Guest, random: &Random) {
    let queue = random.below(5) as usize;
    if guest.queues[queue].in_flight() >= usize::from(ENTRIES) - 4 {
        return;
    }
    let layout = random.pick(&[Layout::Direct, Layout::Indirect]);
    if random.chance(2) {
        let page = random.next() as u32;
        let count = 1 + random.below(400) as usize;
        // Doubles, and numbers beyond the end of every address space.
        let pages: Vec<u32> = (0..count).map(|_| random.pick(&[page, page, u32::MAX, random.next() as u32])).collect();
        let cut = random.pick(&[4 * count as u32, 64.max(count as u32)]);
        let _ = guest.offer(queue, &pages, (cut, layout));
    } else {
        let ipa = random.pick(&[RAM_BASE, 0, u64::MAX - 8, random.next()]);
        let _ = guest.report(queue, &[(ipa, random.pick(&[2 << 20, u32::MAX, 0, 7])); 2], layout);
    }
}

fn step(guest: &mut Guest, random: &Random) {
    match random.below(9) {
        0 => write_register(guest, random),
        1 => {
            let at = RAM_BASE + random.below(random.pick(&[0x480, 0xa000, 0x2_0000]));
            let value = random.pick(&[random.next(), random.below(20), RAM_BASE + random.below(0x4_0000)]);
            guest.memory.write(at, &value.to_le_bytes()[..random.pick(&[1, 2, 8])]).unwrap();
        }
        2..=4 => offer(guest, random),
        5 => (guest.book.lazy, guest.book.piece) = (random.below(3) as u32, random.pick(&[0, 1 << 21, 1])),
        _ => {
            guest.memory.take_accesses();
            let before = guest.book.questions;
            let left = guest.serve();
            assert!(guest.book.questions - before <= QUEUES * STEPS_MAX);
            assert!(guest.memory.take_accesses() <= MOST_ACCESSES);
            assert!(left == Backlog::Empty || !guest.is_broken(), "a broken device leaves nothing");
        }
    }
}

#[test]
fn a_hostile_driver_causes_no_panic_and_bounded_work() {
    let random = Random::new(0x0ba1_1000);
    let (mut broken, mut running, mut asked) = (0, 0, 0);
    for _ in 0..3000 {
        let mut guest = Guest::new(random.pick(&[0, EVENT_IDX, PAGE_REPORTING]));
        for _ in 0..random.below(120) {
            step(&mut guest, &random);
        }
        broken += u32::from(guest.is_broken());
        running += u32::from(guest.get(STATUS) == 15);
        asked += guest.book.asked.len();
    }
    assert!(broken > 100 && running > 100 && asked > 100_000, "{broken} broken, {running} running, {asked} questions");
}
