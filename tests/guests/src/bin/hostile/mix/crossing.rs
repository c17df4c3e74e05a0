//! Accesses, fetches and table walks with one end in memory and the other where none is.

use super::maps::{FALSE_LEAF, FALSE_MIDDLE, LEDGE, PAGE, PLACES, WINDOW};
use crate::code::Attacker;
use crate::shapes;
use test_guests::mmu::ENTRIES;

/// As far as one instruction reaches.
const REACH: u64 = 64;

/// One access of any shape over an end of a page: from memory into a device, into nothing, or out of it.
pub(super) fn access(attacker: &mut Attacker<'_>) {
    let code = shapes::pick(&mut attacker.random);
    let boundary = WINDOW + (1 + attacker.random.below(2 * PLACES.len() as u64 - 1)) * PAGE;
    let address = boundary - attacker.random.below(REACH) + attacker.random.below(8);
    let values = [attacker.random.interesting(), attacker.random.interesting()];
    attacker.run(code, [values[0], address, values[1]]);
}

/// One fetch from where no memory is, by a branch or by running over the end of a page.
pub(super) fn fetch(attacker: &mut Attacker<'_>) {
    let ram = attacker.machine.ram_base..attacker.machine.ram_base + attacker.machine.memory;
    let address = match attacker.random.below(3) {
        // What others have left in memory would be random code without any of the care that `garbage` takes.
        0 => Some(attacker.wild_address()).filter(|address| !ram.contains(address)).unwrap_or(ram.end),
        1 => attacker.random.pick(&PLACES) + attacker.random.below(PAGE),
        _ => LEDGE + (2 * attacker.cpu as u64 + 1) * PAGE - 4 * attacker.random.below(8),
    };
    attacker.run_at(address);
}

/// One access for which this guest's own tables are where no memory is.
pub(super) fn walk(attacker: &mut Attacker<'_>) {
    let code = shapes::pick(&mut attacker.random);
    let place = attacker.random.below(PLACES.len() as u64);
    let entry = attacker.random.below(ENTRIES as u64);
    let address = match attacker.random.below(2) {
        0 => FALSE_LEAF + (place * ENTRIES as u64 + entry) * PAGE,
        _ => FALSE_MIDDLE + (place << 30) + (entry << 21),
    };
    if attacker.random.below(8) == 0 {
        attacker.run_at(address);
    } else {
        let address = address + attacker.random.below(8);
        attacker.run(code, [0, address, 0]);
    }
}
