//! The virtual timer's interrupt: hardware, level-sensitive, list register 0.

use super::machine::Machine;
use super::*;

const TIMER: u32 = 27;
const BIT: u32 = 1 << TIMER;

fn machine() -> Machine {
    Machine::configured(2, 4)
}

fn sgi_frame(offset: u32) -> GicRegister {
    gicr(0, SGI_BASE + offset)
}

fn shown(machine: &mut Machine) -> (bool, bool) {
    (machine.read(sgi_frame(ISPENDR)) & BIT != 0, machine.read(sgi_frame(ISACTIVER)) & BIT != 0)
}

#[test]
fn the_template_is_a_pending_hardware_list_register() {
    let mut machine = machine();
    let kicks = machine.gic.write(sgi_frame(0x400 + TIMER), AccessSize::Byte, 0x58);
    assert_eq!(kicks, Kicks::of(VcpuIdx(0)));
    // State 01, HW, Group 1, priority 0x58, pINTID 27, vINTID 27.
    assert_eq!(machine.gic.timer_template(VcpuIdx(0)), 0x7058_001b_0000_001b);
    machine.write(sgi_frame(0x80), !BIT);
    assert_eq!(machine.gic.timer_template(VcpuIdx(0)), 0x6058_001b_0000_001b);
    assert_eq!(machine.gic.timer_template(VcpuIdx(1)), 0x7080_001b_0000_001b);
}

#[test]
fn the_template_is_zero_while_it_cannot_be_delivered() {
    let mut machine = machine();
    let writes = [
        (sgi_frame(ICENABLER), BIT, 0),
        (sgi_frame(ISENABLER), BIT, 1),
        (gicd(0), 1, 0),
        (gicd(0), 2, 1),
        (gicd(0), 0, 0),
    ];
    for (register, value, deliverable) in writes {
        let kicks = machine.gic.write(register, AccessSize::Word, u64::from(value));
        assert!(kicks.contains(VcpuIdx(0)), "it has to read its template again");
        machine.kick(kicks);
        machine.settle();
        assert_eq!(u32::from(machine.gic.timer_template(VcpuIdx(0)) != 0), deliverable);
    }
}

#[test]
fn an_expiry_is_taken_and_ends_without_the_model() {
    let mut machine = machine();
    for _ in 0..3 {
        machine.set_timer(0, true);
        let cpu = &mut machine.cpus[0].interface;
        assert_eq!(cpu.acknowledge(), Some(TIMER));
        cpu.timer_line = false;
        let id = cpu.drop_priority();
        cpu.deactivate(id);
        assert!(!cpu.timer_active && !cpu.maintenance());
    }
}

#[test]
fn a_timer_that_stays_asserted_fires_again_after_the_end() {
    let mut machine = machine();
    machine.set_timer(0, true);
    for _ in 0..3 {
        assert_eq!(machine.acknowledge(0), Some(TIMER));
        assert_eq!(machine.acknowledge(0), None);
        machine.end(0);
    }
}

#[test]
fn the_registers_show_its_life() {
    let mut machine = machine();
    assert_eq!(shown(&mut machine), (false, false));
    machine.set_timer(0, true);
    assert_eq!(shown(&mut machine), (true, false));
    assert_eq!(machine.acknowledge(0), Some(TIMER));
    assert_eq!(shown(&mut machine), (false, true));
    machine.set_timer(0, false);
    machine.end(0);
    assert_eq!(shown(&mut machine), (false, false));
}

#[test]
fn an_expiry_while_disabled_is_delivered_when_enabled() {
    let mut machine = machine();
    machine.write(sgi_frame(ICENABLER), BIT);
    machine.set_timer(0, true);
    assert!(!machine.would_wake(0));
    assert_eq!(shown(&mut machine), (true, false));
    assert!(machine.cpus[0].interface.timer_active, "it must not storm");
    machine.write(sgi_frame(ISENABLER), BIT);
    assert_eq!(machine.acknowledge(0), Some(TIMER));
    machine.set_timer(0, false);
    machine.end(0);
    assert!(!machine.cpus[0].interface.timer_active);
}

#[test]
fn an_expiry_that_meets_a_new_template_is_delivered() {
    let mut machine = machine();
    machine.cpus[0].template = 0;
    machine.set_timer(0, true);
    assert_eq!(machine.acknowledge(0), Some(TIMER));
}

#[test]
fn disabling_it_in_its_list_register_keeps_it_pending() {
    let mut machine = machine();
    machine.set_timer(0, true);
    machine.write(sgi_frame(ICENABLER), BIT);
    assert_eq!(machine.acknowledge(0), None);
    assert_eq!(shown(&mut machine), (true, false));
    machine.write(sgi_frame(ISENABLER), BIT);
    assert_eq!(machine.acknowledge(0), Some(TIMER));
}

#[test]
fn disabling_it_while_active_lets_the_handler_end_it() {
    let mut machine = machine();
    machine.set_timer(0, true);
    assert_eq!(machine.acknowledge(0), Some(TIMER));
    machine.write(sgi_frame(ICENABLER), BIT);
    machine.write(gicd(0), 0);
    machine.end(0);
    assert!(machine.cpus[0].interface.timer_active, "asserted again and waiting");
    machine.write(gicd(0), 3);
    assert_eq!(machine.acknowledge(0), None);
    machine.write(sgi_frame(ISENABLER), BIT);
    assert_eq!(machine.acknowledge(0), Some(TIMER));
}

#[test]
fn one_that_fell_before_it_was_taken_is_gone_with_the_next_look() {
    let mut machine = machine();
    machine.set_timer(0, true);
    assert!(machine.would_wake(0));
    machine.set_timer(0, false);
    machine.sync(0);
    assert!(!machine.would_wake(0));
    assert!(!machine.cpus[0].interface.timer_active, "the next expiry could not arrive");
    machine.set_timer(0, true);
    assert_eq!(machine.acknowledge(0), Some(TIMER));
}

#[test]
fn one_that_was_made_pending_by_hand_stays_when_the_timer_falls() {
    let mut machine = machine();
    machine.write(sgi_frame(ISPENDR), BIT);
    machine.set_timer(0, true);
    machine.set_timer(0, false);
    machine.sync(0);
    assert_eq!(machine.acknowledge(0), Some(TIMER));
}

#[test]
fn a_new_priority_counts_in_the_list_register() {
    let mut machine = machine();
    machine.set_timer(0, true);
    machine.write(sgi_frame(0x400 + 24), 0x20 << 24 | 0x0080_8080);
    assert_eq!(machine.cpus[0].interface.lr[0], 0x7020_001b_0000_001b);
}

#[test]
fn unloading_drops_a_pending_one_and_the_level_raises_it_again() {
    let mut machine = machine();
    machine.set_timer(0, true);
    machine.unload(0);
    assert!(!machine.timer_in_flight(0));
    machine.load(0);
    assert_eq!(machine.acknowledge(0), Some(TIMER));
    machine.set_timer(0, false);
    machine.end(0);
    assert_eq!(machine.acknowledge(0), None);
}

#[test]
fn unloading_in_the_handler_moves_the_active_state_along() {
    let mut machine = machine();
    machine.set_timer(0, true);
    assert_eq!(machine.acknowledge(0), Some(TIMER));
    machine.unload(0);
    assert!(machine.timer_in_flight(0));
    assert!(shown(&mut machine).1);
    machine.load(0);
    assert!(machine.cpus[0].interface.timer_active);
    assert_eq!(machine.acknowledge(0), None);
    machine.end(0);
    assert_eq!(machine.acknowledge(0), Some(TIMER), "still asserted");
    machine.set_timer(0, false);
    machine.end(0);
    machine.unload(0);
    assert!(!machine.timer_in_flight(0));
}

#[test]
fn unloading_while_it_waits_for_its_enable_gives_the_physical_one_back() {
    let mut machine = machine();
    machine.write(sgi_frame(ICENABLER), BIT);
    machine.set_timer(0, true);
    machine.unload(0);
    machine.write(sgi_frame(ISENABLER), BIT);
    machine.load(0);
    assert_eq!(machine.acknowledge(0), Some(TIMER));
}

#[test]
fn a_timer_that_waits_wakes_once_it_may() {
    let mut machine = machine();
    machine.write(gicd(0), 0);
    machine.set_timer(0, true);
    assert!(!machine.gic.has_deliverable(VcpuIdx(0)));
    let kicks = machine.gic.write(gicd(0), AccessSize::Word, 3);
    assert!(kicks.contains(VcpuIdx(0)));
    assert!(machine.gic.has_deliverable(VcpuIdx(0)));
}

#[test]
fn clearing_its_pending_bit_has_the_level_sampled_again() {
    let mut machine = machine();
    machine.set_timer(0, true);
    machine.write(sgi_frame(ICPENDR), BIT);
    assert_eq!(shown(&mut machine), (true, false), "still asserted");
    machine.cpus[0].interface.timer_line = false;
    machine.write(sgi_frame(ICPENDR), BIT);
    assert_eq!(shown(&mut machine), (false, false));
    assert!(!machine.cpus[0].interface.timer_active);
    machine.set_timer(0, true);
    assert_eq!(machine.acknowledge(0), Some(TIMER));
}

#[test]
fn clearing_its_active_bit_deactivates_the_physical_one() {
    let mut machine = machine();
    machine.set_timer(0, true);
    assert_eq!(machine.acknowledge(0), Some(TIMER));
    machine.set_timer(0, false);
    machine.write(sgi_frame(ICACTIVER), BIT);
    assert!(!machine.cpus[0].interface.timer_active);
    machine.cpus[0].interface.drop_priority();
    machine.set_timer(0, true);
    assert_eq!(machine.acknowledge(0), Some(TIMER));
}

#[test]
fn setting_its_pending_bit_delivers_it_once() {
    let mut machine = machine();
    machine.write(sgi_frame(ISPENDR), BIT);
    assert_eq!(shown(&mut machine), (true, false));
    assert_eq!(machine.acknowledge(0), Some(TIMER));
    machine.end(0);
    assert_eq!(machine.acknowledge(0), None);
    machine.set_timer(0, true);
    assert_eq!(machine.acknowledge(0), Some(TIMER));
}

#[test]
fn setting_its_pending_bit_while_active_delivers_it_after_the_end() {
    let mut machine = machine();
    machine.set_timer(0, true);
    assert_eq!(machine.acknowledge(0), Some(TIMER));
    machine.set_timer(0, false);
    machine.write(sgi_frame(ISPENDR), BIT);
    assert_eq!(shown(&mut machine), (true, true));
    machine.unload(0);
    machine.load(0);
    assert_eq!(shown(&mut machine), (true, true));
    machine.end(0);
    assert_eq!(machine.acknowledge(0), Some(TIMER));
    machine.end(0);
    assert!(!machine.cpus[0].interface.timer_active);
    machine.set_timer(0, true);
    assert_eq!(machine.acknowledge(0), Some(TIMER));
}

#[test]
fn setting_its_active_bit_holds_it_back_until_it_is_cleared() {
    let mut machine = machine();
    machine.write(sgi_frame(ISACTIVER), BIT);
    machine.set_timer(0, true);
    assert_eq!(machine.acknowledge(0), None);
    assert!(shown(&mut machine).1);
    machine.write(sgi_frame(ICACTIVER), BIT);
    assert_eq!(machine.acknowledge(0), Some(TIMER));
}

#[test]
fn another_vcpus_write_to_its_state_is_done_when_it_is_folded() {
    let mut machine = machine();
    machine.set_timer(0, true);
    assert_eq!(machine.cpus[0].interface.acknowledge(), Some(TIMER));
    machine.cpus[0].interface.timer_line = false;
    let kicks = machine.gic.write(sgi_frame(ICACTIVER), AccessSize::Word, u64::from(BIT));
    assert_eq!(kicks, Kicks::of(VcpuIdx(0)));
    machine.kick(kicks);
    machine.settle();
    assert!(!machine.cpus[0].interface.timer_active);
    assert_eq!(shown(&mut machine), (false, false));
}

#[test]
fn it_takes_no_list_register_from_others() {
    let mut machine = Machine::configured(1, 2);
    machine.set_timer(0, true);
    machine.send_sgi(0, SgiRegister::Sgi1, 1);
    let mut taken = [machine.acknowledge(0), None];
    machine.set_timer(0, false);
    machine.end(0);
    taken[1] = machine.acknowledge(0);
    assert_eq!(taken, [Some(0), Some(TIMER)]);
}

/// Five SPIs of a higher priority than the timer, for three list registers.
fn crowded() -> Machine {
    let mut machine = machine();
    for id in 64..69 {
        machine.set_edge(id);
        machine.set_priority(id, 0x20);
    }
    machine
}

/// With EOImode 1 and nothing deactivated: the INTIDs in the order in which they are taken.
fn take_all(machine: &mut Machine) -> Vec<u32> {
    let mut taken = Vec::new();
    while let Some(id) = machine.acknowledge(0) {
        machine.cpus[0].interface.drop_priority();
        machine.settle();
        taken.push(id);
    }
    taken
}

#[test]
fn a_pending_timer_does_not_hold_up_what_was_left_out_before_it() {
    let mut machine = crowded();
    machine.set_timer(0, true);
    for id in 64..69 {
        machine.pulse(id);
    }
    assert_eq!(take_all(&mut machine), [64, 65, 66, 67, 68, TIMER]);
}

#[test]
fn a_timer_that_expires_while_others_are_left_out_waits_for_them() {
    let mut machine = crowded();
    for id in 64..69 {
        machine.pulse(id);
    }
    machine.set_timer(0, true);
    assert_eq!(take_all(&mut machine), [64, 65, 66, 67, 68, TIMER]);
}

#[test]
fn a_timer_of_the_highest_priority_comes_first_among_many() {
    let mut machine = crowded();
    machine.write(sgi_frame(0x400 + 24), 0x10 << 24 | 0x0080_8080);
    for id in 64..69 {
        machine.pulse(id);
    }
    machine.set_timer(0, true);
    assert_eq!(take_all(&mut machine), [TIMER, 64, 65, 66, 67, 68]);
}

#[test]
fn clearing_the_pending_bit_of_one_that_waits_gives_the_physical_one_back() {
    let mut machine = machine();
    machine.write(sgi_frame(ICENABLER), BIT);
    machine.set_timer(0, true);
    machine.cpus[0].interface.timer_line = false;
    machine.write(sgi_frame(ICPENDR), BIT);
    assert_eq!(shown(&mut machine), (false, false));
    assert!(!machine.cpus[0].interface.timer_active);
}

#[test]
fn an_expiry_right_after_the_end_of_one_that_was_disabled_is_not_mixed_up_with_it() {
    let mut machine = machine();
    machine.set_timer(0, true);
    assert_eq!(machine.acknowledge(0), Some(TIMER));
    machine.write(sgi_frame(ICENABLER), BIT);
    // It ends, arrives again at once, and waits, before the list register is looked at.
    machine.end(0);
    assert!(machine.cpus[0].interface.timer_active);
    machine.cpus[0].interface.timer_line = false;
    machine.write(sgi_frame(ICPENDR), BIT);
    assert!(!machine.cpus[0].interface.timer_active);
    machine.set_timer(0, true);
    machine.write(sgi_frame(ISENABLER), BIT);
    assert_eq!(machine.acknowledge(0), Some(TIMER));
}
