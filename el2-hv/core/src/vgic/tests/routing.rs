//! GICD_IROUTER: affinity, 1 of N, and a new route while an interrupt is on its way.

use super::machine::Machine;
use super::*;

const SPI: u32 = 48;
const ANY: u64 = 1 << 31;

fn machine() -> Machine {
    let mut machine = Machine::configured(4, 4);
    machine.set_edge(SPI);
    machine
}

fn route(machine: &mut Machine, value: u64) {
    let kicks = machine.gic.write(gicd(0x6000 + 8 * SPI), AccessSize::Double, value);
    machine.kick(kicks);
    machine.settle();
}

fn takers(machine: &mut Machine) -> Vec<usize> {
    (0..4).filter(|&v| machine.acknowledge(v) == Some(SPI)).collect()
}

#[test]
fn the_affinity_names_the_vcpu_or_nobody() {
    for (value, expected) in
        [(0, vec![0]), (1, vec![1]), (3, vec![3]), (4, vec![]), (0x100, vec![]), (0x1_0000, vec![]), (1 << 32, vec![])]
    {
        let mut machine = machine();
        route(&mut machine, value);
        machine.pulse(SPI);
        assert_eq!(takers(&mut machine), expected, "{value:#x}");
    }
}

#[test]
fn an_interrupt_for_nobody_waits_for_a_route() {
    let mut machine = machine();
    route(&mut machine, 0xff);
    machine.pulse(SPI);
    assert_eq!(machine.read(gicd(ISPENDR + SPI / 32 * 4)), 1 << (SPI % 32));
    route(&mut machine, 2);
    assert_eq!(takers(&mut machine), [2]);
}

#[test]
fn a_new_route_takes_a_pending_one_along() {
    let mut machine = machine();
    machine.pulse(SPI);
    assert!(machine.would_wake(0));
    route(&mut machine, 1);
    assert!(!machine.would_wake(0));
    assert_eq!(takers(&mut machine), [1]);
}

#[test]
fn a_new_route_leaves_an_active_one_where_it_is() {
    let mut machine = machine();
    machine.pulse(SPI);
    assert_eq!(machine.acknowledge(0), Some(SPI));
    route(&mut machine, 1);
    machine.pulse(SPI);
    assert!(!machine.would_wake(1), "pending and active: not before its end");
    machine.unload(0);
    assert!(!machine.would_wake(1));
    machine.load(0);
    machine.end(0);
    assert_eq!(takers(&mut machine), [1]);
}

#[test]
fn one_of_n_goes_to_the_lowest_that_is_awake() {
    let mut machine = machine();
    route(&mut machine, ANY | 2);
    machine.pulse(SPI);
    assert_eq!(takers(&mut machine), [0]);
    machine.end(0);
    machine.write(gicr(0, 0x14), 2);
    machine.pulse(SPI);
    assert_eq!(takers(&mut machine), [1]);
    machine.end(1);
    for v in 1..4 {
        machine.unload(v);
        let kicks = machine.gic.power_off(VcpuIdx(v as u8));
        machine.kick(kicks);
    }
    machine.pulse(SPI);
    assert_eq!(takers(&mut machine), []);
    machine.write(gicr(3, 0x14), 0);
    machine.load(3);
    assert_eq!(takers(&mut machine), [3]);
}

#[test]
fn one_of_n_moves_when_its_vcpu_falls_asleep() {
    let mut machine = machine();
    route(&mut machine, ANY);
    machine.pulse(SPI);
    assert!(machine.would_wake(0));
    machine.write(gicr(0, 0x14), 2);
    assert!(!machine.would_wake(0));
    assert_eq!(takers(&mut machine), [1]);
}

#[test]
fn an_spi_is_deactivated_from_any_vcpu() {
    let mut machine = machine();
    machine.pulse(SPI);
    assert_eq!(machine.acknowledge(0), Some(SPI));
    let kicks = machine.gic.deactivate(VcpuIdx(3), IntId(SPI));
    assert_eq!(kicks, Kicks::of(VcpuIdx(0)));
    machine.kick(kicks);
    machine.settle();
    assert_eq!(machine.read(gicd(ISACTIVER + SPI / 32 * 4)), 0);
    for id in [1020, 1023, 8192, u32::MAX] {
        assert!(machine.gic.deactivate(VcpuIdx(0), IntId(id)).is_empty());
    }
}

#[test]
fn a_reader_learns_who_holds_what_it_reads() {
    let mut machine = machine();
    route(&mut machine, 2);
    machine.pulse(SPI);
    let register = gicd(ISACTIVER + SPI / 32 * 4);
    assert_eq!(machine.gic.residents(register, AccessSize::Word), Kicks::of(VcpuIdx(2)));
    assert_eq!(machine.gic.residents(gicd(ISACTIVER + 8), AccessSize::Word), Kicks::NONE);
    assert_eq!(machine.gic.residents(gicr(1, SGI_BASE + ISPENDR), AccessSize::Word), Kicks::of(VcpuIdx(1)));
}

#[test]
fn an_active_bit_set_by_hand_is_found_by_the_deactivation_of_its_target() {
    let mut machine = machine();
    route(&mut machine, 2);
    machine.write(gicd(ISACTIVER + SPI / 32 * 4), 1 << (SPI % 32));
    machine.cpus[2].interface.deactivate(SPI);
    assert_eq!(machine.cpus[2].interface.eoi_count, 0, "a list register held it");
    assert_eq!(machine.read(gicd(ISACTIVER + SPI / 32 * 4)), 0);
}
