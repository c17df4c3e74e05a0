//! The life of an interrupt: pending, active, both, neither (IHI0069 §4.1).

use super::machine::Machine;
use super::*;

/// An SPI that tests configure as edge-triggered.
const EDGE: u32 = 48;
/// One that stays level-sensitive.
const LEVEL: u32 = 33;

/// Word and bit of an SPI's registers.
fn word(id: u32) -> u32 {
    id / 32 * 4
}

fn bit(id: u32) -> u32 {
    1 << (id % 32)
}

fn machine() -> Machine {
    let mut machine = Machine::configured(2, 4);
    machine.set_edge(EDGE);
    machine
}

/// (pending, active) as the registers show them.
fn shown(machine: &mut Machine, id: u32) -> (bool, bool) {
    let pending = machine.read(gicd(ISPENDR + word(id))) & bit(id) != 0;
    let active = machine.read(gicd(ISACTIVER + word(id))) & bit(id) != 0;
    (pending, active)
}

#[test]
fn an_edge_is_pending_then_active_then_gone() {
    let mut machine = machine();
    assert_eq!(shown(&mut machine, EDGE), (false, false));
    machine.pulse(EDGE);
    assert_eq!(shown(&mut machine, EDGE), (true, false));
    assert_eq!(machine.acknowledge(0), Some(EDGE));
    assert_eq!(shown(&mut machine, EDGE), (false, true));
    machine.end(0);
    assert_eq!(shown(&mut machine, EDGE), (false, false));
    assert_eq!(machine.acknowledge(0), None);
}

#[test]
fn edges_before_the_acknowledgement_are_one_interrupt() {
    let mut machine = machine();
    machine.pulse(EDGE);
    machine.pulse(EDGE);
    assert_eq!(machine.acknowledge(0), Some(EDGE));
    machine.end(0);
    assert_eq!(machine.acknowledge(0), None);
}

#[test]
fn an_edge_while_active_is_taken_after_the_end() {
    let mut machine = machine();
    machine.pulse(EDGE);
    assert_eq!(machine.acknowledge(0), Some(EDGE));
    machine.pulse(EDGE);
    assert_eq!(shown(&mut machine, EDGE), (true, true));
    assert_eq!(machine.acknowledge(0), None);
    machine.end(0);
    assert_eq!(machine.acknowledge(0), Some(EDGE));
    machine.end(0);
    assert_eq!(machine.acknowledge(0), None);
}

#[test]
fn a_level_that_stays_high_is_sampled_again_after_the_end() {
    let mut machine = machine();
    machine.set_line(LEVEL, 0, Level::High);
    for _ in 0..3 {
        assert_eq!(shown(&mut machine, LEVEL), (true, false));
        assert_eq!(machine.acknowledge(0), Some(LEVEL));
        assert_eq!(shown(&mut machine, LEVEL), (true, true));
        assert_eq!(machine.acknowledge(0), None);
        machine.end(0);
    }
    assert_eq!(machine.acknowledge(0), Some(LEVEL));
    machine.set_line(LEVEL, 0, Level::Low);
    assert_eq!(shown(&mut machine, LEVEL), (false, true));
    machine.end(0);
    assert_eq!(machine.acknowledge(0), None);
}

#[test]
fn a_level_that_falls_before_it_is_taken_is_withdrawn() {
    let mut machine = machine();
    machine.set_line(LEVEL, 0, Level::High);
    assert!(machine.would_wake(0));
    machine.set_line(LEVEL, 0, Level::Low);
    assert!(!machine.would_wake(0));
    assert_eq!(machine.acknowledge(0), None);
}

#[test]
fn a_level_that_rises_again_while_active_is_taken_again() {
    let mut machine = machine();
    machine.set_line(LEVEL, 0, Level::High);
    assert_eq!(machine.acknowledge(0), Some(LEVEL));
    machine.set_line(LEVEL, 0, Level::Low);
    machine.set_line(LEVEL, 0, Level::High);
    machine.end(0);
    assert_eq!(machine.acknowledge(0), Some(LEVEL));
}

#[test]
fn a_level_needs_no_maintenance_once_its_line_is_low() {
    let mut machine = machine();
    machine.set_line(LEVEL, 0, Level::High);
    assert_eq!(machine.acknowledge(0), Some(LEVEL));
    machine.set_line(LEVEL, 0, Level::Low);
    let cpu = &mut machine.cpus[0].interface;
    let id = cpu.drop_priority();
    cpu.deactivate(id);
    assert!(!cpu.maintenance());
}

#[test]
fn clearing_the_pending_bit_of_a_level_clears_its_latch_only() {
    let mut machine = machine();
    machine.write(gicd(ISPENDR + word(LEVEL)), bit(LEVEL));
    assert_eq!(shown(&mut machine, LEVEL), (true, false));
    machine.write(gicd(ICPENDR + word(LEVEL)), bit(LEVEL));
    assert_eq!(shown(&mut machine, LEVEL), (false, false));
    machine.set_line(LEVEL, 0, Level::High);
    machine.write(gicd(ICPENDR + word(LEVEL)), bit(LEVEL));
    assert_eq!(shown(&mut machine, LEVEL), (true, false));
    machine.write(gicd(ISPENDR + word(LEVEL)), bit(LEVEL));
    machine.set_line(LEVEL, 0, Level::Low);
    assert_eq!(shown(&mut machine, LEVEL), (true, false), "the latch outlives the line");
    assert_eq!(machine.acknowledge(0), Some(LEVEL));
    machine.end(0);
    assert_eq!(machine.acknowledge(0), None, "the acknowledgement clears the latch");
}

#[test]
fn a_pending_bit_set_while_a_level_is_active_is_taken_after_the_end() {
    let mut machine = machine();
    machine.set_line(LEVEL, 0, Level::High);
    assert_eq!(machine.acknowledge(0), Some(LEVEL));
    machine.set_line(LEVEL, 0, Level::Low);
    machine.write(gicd(ISPENDR + word(LEVEL)), bit(LEVEL));
    assert_eq!(shown(&mut machine, LEVEL), (true, true));
    machine.end(0);
    assert_eq!(machine.acknowledge(0), Some(LEVEL));
    machine.end(0);
    assert_eq!(machine.acknowledge(0), None);
}

#[test]
fn a_level_configured_as_edge_takes_the_rise_only() {
    let mut machine = machine();
    machine.set_line(EDGE, 0, Level::High);
    assert_eq!(machine.acknowledge(0), Some(EDGE));
    machine.end(0);
    assert_eq!(machine.acknowledge(0), None);
    machine.set_line(EDGE, 0, Level::High);
    assert_eq!(machine.acknowledge(0), None);
    machine.set_line(EDGE, 0, Level::Low);
    machine.set_line(EDGE, 0, Level::High);
    assert_eq!(machine.acknowledge(0), Some(EDGE));
}

#[test]
fn an_edge_before_its_configuration_is_not_lost() {
    let mut machine = Machine::new(1, 4);
    machine.pulse(EDGE);
    machine.set_edge(EDGE);
    machine.write(gicd(ISENABLER + word(EDGE)), bit(EDGE));
    machine.write(gicd(0), 1);
    assert_eq!(machine.acknowledge(0), Some(EDGE));
}

#[test]
fn disabling_in_a_list_register_keeps_it_pending_and_back() {
    let mut machine = machine();
    machine.pulse(EDGE);
    assert!(machine.cpus[0].interface.highest_pending().is_some());
    machine.write(gicd(ICENABLER + word(EDGE)), bit(EDGE));
    assert!(!machine.would_wake(0));
    assert_eq!(machine.acknowledge(0), None);
    assert_eq!(shown(&mut machine, EDGE), (true, false));
    machine.write(gicd(ISENABLER + word(EDGE)), bit(EDGE));
    assert_eq!(machine.acknowledge(0), Some(EDGE));
}

#[test]
fn a_disabled_interrupt_that_is_active_stays_so_until_its_end() {
    let mut machine = machine();
    machine.pulse(EDGE);
    assert_eq!(machine.acknowledge(0), Some(EDGE));
    machine.write(gicd(ICENABLER + word(EDGE)), bit(EDGE));
    machine.pulse(EDGE);
    assert_eq!(shown(&mut machine, EDGE), (true, true));
    machine.end(0);
    assert_eq!(shown(&mut machine, EDGE), (true, false));
    assert_eq!(machine.acknowledge(0), None);
    machine.write(gicd(ISENABLER + word(EDGE)), bit(EDGE));
    assert_eq!(machine.acknowledge(0), Some(EDGE));
}

#[test]
fn each_group_is_forwarded_by_its_enable_alone() {
    for (group, enables, expected) in [(0, 0, false), (0, 1, true), (0, 2, false), (0, 3, true)].into_iter().chain([
        (1, 0, false),
        (1, 1, false),
        (1, 2, true),
        (1, 3, true),
    ]) {
        let mut machine = machine();
        machine.write(gicd(0x80 + word(EDGE)), group << (EDGE % 32));
        machine.pulse(EDGE);
        machine.write(gicd(0), enables);
        assert_eq!(machine.would_wake(0), expected, "group {group}, enables {enables}");
        let lr = machine.cpus[0].interface.lr.iter().find(|lr| **lr >> 62 != 0);
        assert_eq!(lr.map(|lr| (lr >> 60 & 1) as u32), expected.then_some(group));
    }
}

#[test]
fn the_highest_priority_comes_first_and_preempts() {
    let mut machine = machine();
    machine.set_priority(40, 0xa0);
    machine.set_priority(41, 0x20);
    machine.set_priority(42, 0x60);
    for id in [40, 42] {
        machine.set_edge(id);
        machine.pulse(id);
    }
    assert_eq!(machine.acknowledge(0), Some(42));
    assert_eq!(machine.acknowledge(0), None);
    machine.set_edge(41);
    machine.pulse(41);
    assert_eq!(machine.acknowledge(0), Some(41));
    machine.end(0);
    machine.end(0);
    assert_eq!(machine.acknowledge(0), Some(40));
}

#[test]
fn a_priority_changed_in_a_list_register_counts() {
    let mut machine = machine();
    machine.set_edge(40);
    machine.set_edge(41);
    machine.pulse(40);
    machine.pulse(41);
    machine.set_priority(41, 0x10);
    assert_eq!(machine.acknowledge(0), Some(41));
}

#[test]
fn another_vcpu_cancels_what_sits_in_a_list_register() {
    let mut machine = machine();
    machine.pulse(EDGE);
    let kicks = machine.gic.write(gicd(ICPENDR + word(EDGE)), AccessSize::Word, u64::from(bit(EDGE)));
    assert_eq!(kicks, Kicks::of(VcpuIdx(0)), "its holder must give it back");
    assert!(machine.cpus[0].interface.highest_pending().is_some(), "the guest could still take it");
    machine.kick(kicks);
    machine.settle();
    assert_eq!(machine.acknowledge(0), None);
    assert_eq!(shown(&mut machine, EDGE), (false, false));
}

#[test]
fn an_edge_after_the_cancel_counts_although_the_cancel_is_not_done_yet() {
    let mut machine = machine();
    machine.pulse(EDGE);
    let cancel = machine.gic.write(gicd(ICPENDR + word(EDGE)), AccessSize::Word, u64::from(bit(EDGE)));
    let edge = machine.gic.pulse(IntId(EDGE));
    machine.kick(cancel.union(edge));
    machine.settle();
    assert_eq!(machine.acknowledge(0), Some(EDGE));
    machine.end(0);
    assert_eq!(machine.acknowledge(0), None);
}

#[test]
fn a_cancel_does_not_touch_what_was_taken_meanwhile() {
    let mut machine = machine();
    machine.pulse(EDGE);
    let cancel = machine.gic.write(gicd(ICPENDR + word(EDGE)), AccessSize::Word, u64::from(bit(EDGE)));
    assert_eq!(machine.cpus[0].interface.acknowledge(), Some(EDGE));
    machine.kick(cancel);
    machine.settle();
    assert_eq!(shown(&mut machine, EDGE), (false, true));
    machine.end(0);
    assert_eq!(shown(&mut machine, EDGE), (false, false));
}

#[test]
fn another_vcpu_deactivates_and_activates_what_sits_in_a_list_register() {
    let mut machine = machine();
    machine.pulse(EDGE);
    assert_eq!(machine.acknowledge(0), Some(EDGE));
    machine.write(gicd(ICACTIVER + word(EDGE)), bit(EDGE));
    assert_eq!(shown(&mut machine, EDGE), (false, false));
    machine.write(gicd(ISACTIVER + word(EDGE)), bit(EDGE));
    machine.pulse(EDGE);
    assert_eq!(shown(&mut machine, EDGE), (true, true));
    assert!(!machine.would_wake(0));
    machine.write(gicd(ICACTIVER + word(EDGE)), bit(EDGE));
    assert!(machine.would_wake(0));
}

#[test]
fn a_disable_shows_as_a_write_in_progress_until_its_holder_gave_it_back() {
    let mut machine = machine();
    machine.pulse(EDGE);
    let kicks = machine.gic.write(gicd(ICENABLER + word(EDGE)), AccessSize::Word, u64::from(bit(EDGE)));
    assert_eq!(machine.gic.read(gicd(0), AccessSize::Word), 0x8000_0053);
    machine.kick(kicks);
    machine.settle();
    assert_eq!(machine.gic.read(gicd(0), AccessSize::Word), 0x53);
    machine.write(gicr(1, SGI_BASE + ICENABLER), 0xffff_ffff);
    assert_eq!(machine.gic.read(gicr(1, 0), AccessSize::Word), 0);
}

#[test]
fn a_write_for_a_vcpu_that_never_ran_is_not_in_progress() {
    let mut gic = Vgic::new();
    gic.reset(2);
    for offset in [ISENABLER, ICENABLER, ICACTIVER, ICPENDR] {
        let _ = gic.write(gicr(1, SGI_BASE + offset), AccessSize::Word, 0xffff_ffff);
    }
    let _ = gic.write(gicd(0), AccessSize::Word, 3);
    let _ = gic.write(gicd(0), AccessSize::Word, 0);
    assert_eq!(gic.read(gicd(0), AccessSize::Word), 0x50);
    assert_eq!(gic.read(gicr(1, 0), AccessSize::Word), 0);
}

#[test]
fn lines_of_ppis_are_each_vcpus_own() {
    let mut machine = machine();
    machine.set_line(30, 1, Level::High);
    assert!(!machine.would_wake(0));
    assert_eq!(machine.acknowledge(1), Some(30));
    machine.end(1);
    assert_eq!(machine.acknowledge(1), Some(30));
    machine.set_line(30, 1, Level::Low);
    machine.end(1);
    assert_eq!(machine.acknowledge(1), None);
}

#[test]
fn sources_that_are_none_are_ignored() {
    let mut machine = machine();
    for id in [0, 15, 16, 27, 31, 288, 1019, 1020, 8192, u32::MAX] {
        assert!(machine.gic.pulse(IntId(id)).is_empty());
    }
    for id in [0, 15, 27, 288, 1020, u32::MAX] {
        assert!(machine.gic.set_line(IntId(id), VcpuIdx(0), Level::High).is_empty());
    }
    assert!(!machine.would_wake(0) && !machine.would_wake(1));
}

#[test]
fn what_is_pending_is_still_so_after_unload_and_load() {
    let mut machine = machine();
    machine.pulse(EDGE);
    machine.set_line(LEVEL, 0, Level::High);
    assert_eq!(machine.acknowledge(0), Some(LEVEL));
    machine.unload(0);
    assert!(machine.gic.has_deliverable(VcpuIdx(0)));
    assert_eq!(shown(&mut machine, LEVEL), (true, true));
    machine.set_line(LEVEL, 0, Level::Low);
    machine.load(0);
    machine.end(0);
    assert_eq!(machine.acknowledge(0), Some(EDGE));
    machine.end(0);
    assert_eq!(machine.acknowledge(0), None);
}

#[test]
fn a_saved_list_register_wakes_only_if_it_is_pending_and_not_active() {
    for (state, expected) in [(0, false), (1, true), (2, false), (3, false)] {
        let mut machine = machine();
        machine.pulse(EDGE);
        let lrs = &mut machine.cpus[0].lrs;
        assert!(lrs.any_pending());
        lrs.lr[1] = (lrs.lr[1] & !(3 << 62)) | state << 62;
        assert_eq!(lrs.any_pending(), expected, "state {state}");
    }
    assert!(!ListRegisters::NONE.any_pending());
}
