//! ICC_SGI0R, ICC_SGI1R, ICC_ASGI1R (IHI0069 §12.2).

use super::machine::Machine;
use super::*;

const IRM: u64 = 1 << 40;

fn value(intid: u64, targets: u64) -> u64 {
    intid << 24 | targets
}

/// The vCPUs that take SGI `intid` after vCPU `from` wrote `value`.
fn takers(from: usize, register: SgiRegister, value: u64, intid: u32) -> Vec<usize> {
    let mut machine = Machine::configured(4, 4);
    machine.send_sgi(from, register, value);
    (0..4).filter(|&v| machine.acknowledge(v) == Some(intid)).collect()
}

#[test]
fn targets_are_those_of_the_list_or_all_others() {
    let cases: [(u64, &[usize]); 12] = [
        (value(3, 0b0010), &[1]),
        (value(3, 0b0001), &[0]),
        (value(3, 0b1111), &[0, 1, 2, 3]),
        (value(3, 0), &[]),
        (value(3, 0xfff0), &[]),
        (value(3, IRM), &[1, 2, 3]),
        (value(3, IRM | 0b0001), &[1, 2, 3]),
        (value(3, 1 << 16 | 1), &[]),
        (value(3, 1 << 32 | 1), &[]),
        (value(3, 1 << 48 | 1), &[]),
        (value(3, 1 << 44 | 1), &[]),
        (value(3, IRM | 5 << 48 | 1 << 16), &[1, 2, 3]),
    ];
    for (value, expected) in cases {
        assert_eq!(takers(0, SgiRegister::Sgi1, value, 3), expected, "{value:#x}");
    }
    assert_eq!(takers(2, SgiRegister::Sgi1, value(15, IRM), 15), [0, 1, 3]);
    assert_eq!(takers(2, SgiRegister::Sgi1, u64::MAX, 15), [0, 1, 3]);
}

#[test]
fn with_one_vcpu_there_are_no_others() {
    let mut machine = Machine::configured(1, 4);
    machine.send_sgi(0, SgiRegister::Sgi1, value(1, IRM));
    assert_eq!(machine.acknowledge(0), None);
    machine.send_sgi(0, SgiRegister::Sgi1, value(1, 0xffff));
    assert_eq!(machine.acknowledge(0), Some(1));
}

#[test]
fn eight_vcpus_are_reached_by_one_list() {
    let mut machine = Machine::configured(8, 4);
    machine.send_sgi(7, SgiRegister::Sgi1, value(2, 0xffff));
    for v in 0..8 {
        assert_eq!(machine.acknowledge(v), Some(2));
    }
}

#[test]
fn the_register_decides_which_groups_are_reached() {
    use SgiRegister::{AlternateSgi1, Sgi0, Sgi1};
    let cases = [
        (Sgi0, 0, true),
        (Sgi0, 1, false),
        (Sgi1, 0, true),
        (Sgi1, 1, true),
        (AlternateSgi1, 0, true),
        (AlternateSgi1, 1, false),
    ];
    for (register, group, expected) in cases {
        let mut machine = Machine::configured(2, 4);
        machine.write(gicr(1, SGI_BASE + 0x80), group << 5);
        machine.send_sgi(0, register, value(5, 0b10));
        assert_eq!(machine.acknowledge(1) == Some(5), expected, "{register:?}, group {group}");
    }
}

#[test]
fn an_sgi_while_active_is_taken_after_the_end() {
    let mut machine = Machine::configured(2, 4);
    machine.send_sgi(0, SgiRegister::Sgi1, value(9, 1));
    assert_eq!(machine.acknowledge(0), Some(9));
    machine.send_sgi(1, SgiRegister::Sgi1, value(9, 1));
    machine.send_sgi(1, SgiRegister::Sgi1, value(9, 1));
    assert_eq!(machine.acknowledge(0), None);
    machine.end(0);
    assert_eq!(machine.acknowledge(0), Some(9));
    machine.end(0);
    assert_eq!(machine.acknowledge(0), None);
}

#[test]
fn a_disabled_sgi_waits() {
    let mut machine = Machine::configured(2, 4);
    machine.write(gicr(1, SGI_BASE + ICENABLER), 1 << 4);
    machine.send_sgi(0, SgiRegister::Sgi1, value(4, 0b10));
    assert!(!machine.would_wake(1));
    assert_eq!(machine.read(gicr(1, SGI_BASE + ISPENDR)), 1 << 4);
    machine.write(gicr(1, SGI_BASE + ISENABLER), 1 << 4);
    assert_eq!(machine.acknowledge(1), Some(4));
}

#[test]
fn kicks_name_who_has_something_to_take() {
    let mut machine = Machine::configured(4, 4);
    machine.write(gicr(2, SGI_BASE + ICENABLER), 1);
    let kicks = machine.gic.send_sgi(VcpuIdx(0), SgiRegister::Sgi1, value(0, 0b1111));
    assert_eq!(kicks.iter().collect::<Vec<_>>(), [VcpuIdx(0), VcpuIdx(1), VcpuIdx(3)]);
    assert!(kicks.contains(VcpuIdx(3)) && !kicks.contains(VcpuIdx(2)) && !kicks.contains(VcpuIdx(200)));
    assert_eq!(kicks.without(VcpuIdx(0)).bits(), 0b1010);
    assert_eq!(Kicks::of(VcpuIdx(8)), Kicks::NONE);
}
