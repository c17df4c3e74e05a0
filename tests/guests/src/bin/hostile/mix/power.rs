//! vCPUs that turn each other on, and themselves off, at the same time.

use crate::code::Attacker;
use smccc::psci::{self, AffinityState, Error, LowestAffinityLevel};
use smccc::{Hvc, psci::affinity_info};
use test_guests::cpu;

/// One call about power. What the answer may be is known, whoever else calls meanwhile.
pub(super) fn any(attacker: &mut Attacker<'_>) {
    attacker.attempts += 1;
    match attacker.random.below(8) {
        0 if attacker.cpu != 0 => off(attacker),
        0..4 => on(attacker),
        4 => on_nowhere(attacker),
        5 => on_nobody(attacker),
        _ => ask(attacker),
    }
}

fn on(attacker: &mut Attacker<'_>) {
    let target = attacker.random.below(attacker.machine.vcpus as u64) as usize;
    let answer = cpu::try_start(target, super::help);
    let itself = target == attacker.cpu;
    let right = match answer {
        Ok(()) => !itself,
        Err(Error::AlreadyOn) => true,
        Err(Error::OnPending) => !itself,
        Err(_) => false,
    };
    // vCPU 0 is never off.
    assert!(right && !(target == 0 && answer.is_ok()), "CPU_ON of vCPU {target} by {}: {answer:?}", attacker.cpu);
}

/// An entry that is not in memory.
fn on_nowhere(attacker: &mut Attacker<'_>) {
    let target = attacker.random.below(attacker.machine.vcpus as u64);
    let entry = attacker.random.pick(&[1, 0, 0x0800_0000, 0x3fff_fffc, 1 << 39, 1 << 40, u64::MAX, u64::MAX - 3]);
    let answer = psci::cpu_on::<Hvc>(target, entry, 0);
    assert_eq!(answer, Err(Error::InvalidAddress), "CPU_ON of {target} at {entry:#x}");
}

/// A vCPU that does not exist.
fn on_nobody(attacker: &mut Attacker<'_>) {
    let target = attacker.random.interesting();
    if target >= attacker.machine.vcpus as u64 {
        let entry = attacker.random.interesting();
        let answer = psci::cpu_on::<Hvc>(target, entry, 0);
        assert_eq!(answer, Err(Error::InvalidParameters), "CPU_ON of {target:#x}");
    }
}

fn ask(attacker: &mut Attacker<'_>) {
    let target = attacker.random.below(attacker.machine.vcpus as u64 + 1);
    let answer = affinity_info::<Hvc>(target, LowestAffinityLevel::All);
    let right = match answer {
        Ok(AffinityState::On) => target < attacker.machine.vcpus as u64,
        Ok(_) => target != 0 && target != attacker.cpu as u64,
        Err(error) => error == Error::InvalidParameters && target == attacker.machine.vcpus as u64,
    };
    assert!(right, "AFFINITY_INFO of {target} by {}: {answer:?}", attacker.cpu);
}

fn off(attacker: &Attacker<'_>) {
    super::leave(attacker);
    let answer = psci::cpu_off::<Hvc>();
    panic!("CPU_OFF of vCPU {}: {answer:?}", attacker.cpu);
}
