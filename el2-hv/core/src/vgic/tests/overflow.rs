//! More interrupts than list registers.

use super::machine::Machine;
use super::*;

const UIE: u64 = 1 << 1;
const LRENPIE: u64 = 1 << 2;
const NPIE: u64 = 1 << 3;
const TDIR: u64 = 1 << 14;

/// Edge-triggered SPIs from 64 on, one for each priority, pending at once.
fn with_pending(list_registers: u8, priorities: &[u8]) -> Machine {
    let mut machine = Machine::configured(1, list_registers);
    for (id, priority) in (64..).zip(priorities) {
        machine.set_edge(id);
        machine.set_priority(id, *priority);
    }
    for id in (64..).take(priorities.len()) {
        machine.pulse(id);
    }
    machine
}

/// Takes and ends everything there is; the INTIDs in order.
fn drain(machine: &mut Machine) -> Vec<u32> {
    let mut taken = Vec::new();
    while let Some(id) = machine.acknowledge(0) {
        taken.push(id);
        machine.end(0);
    }
    taken
}

#[test]
fn what_fits_needs_no_maintenance() {
    let machine = with_pending(4, &[0x80, 0x70, 0x60]);
    assert_eq!(machine.cpus[0].interface.hcr, 0);
}

#[test]
fn the_best_fit_and_the_rest_follows_in_order_of_priority() {
    let machine = with_pending(4, &[0xa0, 0x10, 0x90, 0x20, 0x30, 0x80]);
    let hcr = machine.cpus[0].interface.hcr;
    assert_eq!(hcr, UIE | NPIE);
    let mut held: Vec<u32> =
        machine.cpus[0].interface.lr.iter().filter(|lr| **lr >> 62 == 1).map(|lr| *lr as u32).collect();
    held.sort_unstable();
    assert_eq!(held, [65, 67, 68]);
}

#[test]
fn every_number_of_list_registers_delivers_all_in_order() {
    let priorities: Vec<u8> = (0..31_u32).map(|n| (n * 13 % 31 * 8) as u8).collect();
    let mut expected: Vec<u32> = (64..95).collect();
    expected.sort_by_key(|id| priorities[*id as usize - 64]);
    for list_registers in 2..=16 {
        let mut machine = with_pending(list_registers, &priorities);
        assert_eq!(drain(&mut machine), expected, "{list_registers} list registers");
        assert_eq!(machine.cpus[0].interface.hcr, 0);
    }
}

#[test]
fn equal_priorities_lose_nothing() {
    for list_registers in 2..=16 {
        let mut machine = with_pending(list_registers, &[0x80; 200]);
        let mut taken = drain(&mut machine);
        taken.sort_unstable();
        assert_eq!(taken, (64..264).collect::<Vec<_>>());
    }
}

#[test]
fn a_late_and_better_one_displaces_a_pending_one() {
    let mut machine = with_pending(4, &[0x80, 0x80, 0x80, 0x80]);
    machine.set_edge(100);
    machine.set_priority(100, 0x40);
    machine.pulse(100);
    assert_eq!(machine.acknowledge(0), Some(100));
    machine.end(0);
    assert_eq!(drain(&mut machine).len(), 4);
}

#[test]
fn nested_active_ones_end_in_order_with_any_number_of_list_registers() {
    for list_registers in 2..=16 {
        let mut machine = with_pending(list_registers, &[]);
        // Each preempts the one before.
        for depth in 0..20 {
            machine.set_edge(64 + depth);
            machine.set_priority(64 + depth, 0xf0 - 8 * depth as u8);
            machine.pulse(64 + depth);
            assert_eq!(machine.acknowledge(0), Some(64 + depth), "{list_registers} list registers");
        }
        for depth in (0..20).rev() {
            let (word, bit) = (4 * ((64 + depth) / 32), 1 << (depth % 32));
            assert_eq!(machine.read(gicd(ISACTIVER + word)) & bit, bit);
            machine.end(0);
            assert_eq!(machine.read(gicd(ISACTIVER + word)) & bit, 0, "{depth} of {list_registers}");
        }
        assert_eq!(machine.acknowledge(0), None);
    }
}

#[test]
fn active_ones_do_not_starve_pending_ones() {
    let mut machine = with_pending(4, &[0x80; 8]);
    // EOImode 1: every one is kept active by its driver's thread.
    let mut held = Vec::new();
    while let Some(id) = machine.acknowledge(0) {
        machine.cpus[0].interface.drop_priority();
        machine.settle();
        held.push(id);
    }
    held.sort_unstable();
    assert_eq!(held, (64..72).collect::<Vec<_>>());
    assert_eq!(machine.cpus[0].interface.hcr, LRENPIE | TDIR);
    for id in [70, 64, 67, 65, 71, 69, 66, 68] {
        machine.deactivate(0, id);
        assert_eq!(machine.read(gicd(ISACTIVER + 8)) >> (id - 64) & 1, 0);
        held.retain(|other| *other != id);
        let expected = held.iter().fold(0, |bits, id| bits | 1 << (id - 64));
        assert_eq!(machine.read(gicd(ISACTIVER + 8)), expected);
    }
    assert_eq!(machine.cpus[0].interface.hcr, 0);
}

#[test]
fn levels_that_overflow_are_all_delivered_as_long_as_they_are_high() {
    let mut machine = Machine::configured(1, 4);
    for id in 100..110 {
        machine.set_line(id, 0, Level::High);
    }
    let mut seen = Vec::new();
    for _ in 0..10 {
        let id = machine.acknowledge(0).expect("some are high");
        machine.set_line(id, 0, Level::Low);
        machine.end(0);
        seen.push(id);
    }
    seen.sort_unstable();
    assert_eq!(seen, (100..110).collect::<Vec<_>>());
    assert_eq!(machine.acknowledge(0), None);
}

#[test]
fn deactivations_that_match_nothing_are_ignored() {
    let mut machine = with_pending(4, &[0x80]);
    machine.cpus[0].interface.eoi_count = 31;
    machine.sync(0);
    assert_eq!(drain(&mut machine), [64]);
}

#[test]
fn the_pending_half_of_an_active_one_takes_no_register_from_a_higher_priority() {
    let mut machine = with_pending(4, &[0x80]);
    assert_eq!(machine.acknowledge(0), Some(64));
    machine.cpus[0].interface.drop_priority();
    machine.pulse(64);
    machine.set_priority(64, 0xf0);
    for id in 65..69 {
        machine.set_edge(id);
        machine.set_priority(id, 0x20);
        machine.pulse(id);
    }
    machine.deactivate(0, 64);
    let mut taken = Vec::new();
    while let Some(id) = machine.acknowledge(0) {
        machine.cpus[0].interface.drop_priority();
        machine.settle();
        taken.push(id);
    }
    assert_eq!(taken, [65, 66, 67, 68, 64]);
}
