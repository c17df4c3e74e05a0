//! Calls against DEN0022 and DEN0028; the power states against a model of sets, over every reachable state.

use super::*;
use crate::addr::VcpuIdx;
use std::collections::{BTreeSet, HashSet};

mod sleep;
mod trng;

const NONE: Mitigations = Mitigations {
    workaround_1: Workaround::Unknown,
    workaround_2: Workaround::Unknown,
    workaround_3: Workaround::Unknown,
};

fn answer(function: u32, args: [u64; 3]) -> Outcome {
    match decode(function, args) {
        PsciCall::Simple(call) => call.answer(&NONE),
        call => panic!("{call:?} is no simple call"),
    }
}

fn power(function: u32, args: [u64; 3]) -> PowerCall {
    match decode(function, args) {
        PsciCall::Power(call) => call,
        call => panic!("{call:?} does not concern power"),
    }
}

#[test]
fn versions_are_1_1() {
    assert_eq!(answer(0x8400_0000, [0; 3]), Outcome::Return(0x1_0001));
    assert_eq!(answer(0x8000_0000, [0; 3]), Outcome::Return(0x1_0001));
}

#[test]
fn unknown_functions_are_minus_one_in_both_widths() {
    // SMC64 ids of 32-bit functions, optional functions, other owners, holes, and SMCCC's "call count".
    let unknown = [
        0xc400_0000,
        0xc400_0002,
        0xc400_0006,
        0xc400_0008,
        0xc400_000a,
        0x8400_0005,
        0x8400_0007,
        0x8400_000b,
        0x8400_000c,
        0x8400_000d,
        0xc400_000f,
        0x8400_0011,
        0x8400_0013,
        0x8400_001f,
        0x8400_ffff,
        0x8000_0002,
        0x8000_ffff,
        0xc000_8000,
        0x8600_ff00,
        0x8600_ff02,
        0x8600_0000,
        0xc600_ff01,
        0x0000_0000,
        0x0400_0000,
        0xffff_ffff,
        0xbf00_ff01,
        0xc500_0000,
        0xc500_0022,
        0x8500_0020,
        0x8500_0021,
    ];
    for function in unknown {
        assert_eq!(answer(function, [0; 3]), Outcome::Return(u64::MAX), "{function:#x}");
    }
}

#[test]
fn random_functions_are_decided_without_a_panic() {
    let mut state = 0x1234_5678_9abc_def1u64;
    for _ in 0..200_000 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let owner = [0x8400_0000, 0xc400_0000, 0x8000_0000, 0x8600_0000, 0][(state >> 40) as usize % 5];
        let call = decode(owner | state as u32 & 0xffff, [state, !state, state.rotate_left(9)]);
        if let PsciCall::Simple(call) = call {
            let _ = call.answer(&NONE);
        }
    }
}

#[test]
fn features_lists_what_is_there() {
    let there = [
        0x8400_0000,
        0x8400_0001,
        0xc400_0001,
        0x8400_0002,
        0x8400_0003,
        0xc400_0003,
        0x8400_0004,
        0xc400_0004,
        0x8400_0006,
        0x8400_0008,
        0x8400_0009,
        0x8400_000a,
        0x8400_000e,
        0xc400_000e,
        0x8400_0012,
        0xc400_0012,
        0x8000_0000,
    ];
    for function in 0x8400_0000..0x8400_0100u32 {
        for function in [function, function | 0x4000_0000, function & !0x0400_0000] {
            let expected = if there.contains(&function) { 0 } else { u64::MAX };
            let asked = 0xdead_beef_0000_0000 | u64::from(function);
            assert_eq!(answer(0x8400_000a, [asked, 0, 0]), Outcome::Return(expected), "{function:#x}");
        }
    }
}

#[test]
fn no_trusted_os_needs_migration() {
    assert_eq!(answer(0x8400_0006, [0; 3]), Outcome::Return(2));
}

#[test]
fn workarounds_are_announced_as_the_host_decided() {
    let mitigations = Mitigations {
        workaround_1: Workaround::Needed,
        workaround_2: Workaround::NotNeeded,
        workaround_3: Workaround::Unknown,
    };
    let ask = |function: u32| match decode(0x8000_0001, [u64::from(function), 0, 0]) {
        PsciCall::Simple(call) => call.answer(&mitigations),
        _ => unreachable!(),
    };
    let call = |function: u32| match decode(function, [0; 3]) {
        PsciCall::Simple(call) => call.answer(&mitigations),
        _ => unreachable!(),
    };
    assert_eq!(ask(0x8000_0000), Outcome::Return(0));
    assert_eq!(ask(0x8000_0001), Outcome::Return(0));
    assert_eq!((ask(0x8000_8000), call(0x8000_8000)), (Outcome::Return(0), Outcome::Return(0)));
    assert_eq!((ask(0x8000_7fff), call(0x8000_7fff)), (Outcome::Return(1), Outcome::Return(0)));
    assert_eq!((ask(0x8000_3fff), call(0x8000_3fff)), (Outcome::Return(u64::MAX), Outcome::Return(u64::MAX)));
    assert_eq!(ask(0x8000_0002), Outcome::Return(u64::MAX));
    assert_eq!(ask(0x8400_0000), Outcome::Return(u64::MAX));
}

#[test]
fn stolen_time_is_found_by_two_questions() {
    for asked in [0xc500_0020u64, 0xc500_0021] {
        assert_eq!(answer(0xc500_0020, [asked, 0, 0]), Outcome::Return(0));
    }
    assert_eq!(answer(0x8000_0001, [0xc500_0020, 0, 0]), Outcome::Return(0));
    for other in [0u64, 0xc500_0022, 0x8500_0021, 0x8400_0000] {
        assert_eq!(answer(0xc500_0020, [other, 0, 0]), Outcome::Return(u64::MAX));
    }
    assert_eq!(decode(0xc500_0021, [0; 3]), PsciCall::StolenTime);
}

#[test]
fn the_uid_is_a_random_uuid_in_register_order() {
    // RFC 9562: version 4 in byte 6, variant 0b10 in byte 8.
    assert_eq!((DORMOUSE_UID[6] >> 4, DORMOUSE_UID[8] >> 6), (4, 0b10));
    let expected = [0x38e9_9d47, 0xe441_3f6b, 0x43f4_ccbb, 0x5227_2001];
    assert_eq!(answer(0x8600_ff01, [0; 3]), Outcome::Return4(expected));
    assert_eq!(answer(0x8600_ff03, [0; 3]), Outcome::Return4([1, 0, 0, 0]));
    // KVM's published UUID and the registers in which Linux expects it.
    let kvm = [0x28, 0xb4, 0x6f, 0xb6, 0x2e, 0xc5, 0x11, 0xe9, 0xa9, 0xca, 0x4b, 0x56, 0x4d, 0x00, 0x3a, 0x74];
    assert_eq!(smccc::uid_registers(&kvm), [0xb66f_b428, 0xe911_c52e, 0x564b_caa9, 0x743a_004d]);
}

#[test]
fn calls_of_the_32_bit_convention_use_low_halves() {
    let args = [0xffff_ffff_0000_0001, 0xffff_ffff_4008_0000, 0x1_2345_6789];
    assert_eq!(power(0x8400_0003, args), PowerCall::CpuOn { target: 1, entry: Ipa(0x4008_0000), context: 0x2345_6789 });
    assert_eq!(power(0x8400_0004, args), PowerCall::AffinityInfo { target: 1, level: 0x4008_0000 });
    assert_eq!(power(0xc400_0003, args), PowerCall::CpuOn { target: args[0], entry: Ipa(args[1]), context: args[2] });
    assert_eq!(power(0xc400_0004, [args[0], 0x1_0000_0000, 0]), PowerCall::AffinityInfo { target: args[0], level: 0 });
}

#[test]
fn power_calls_decode() {
    assert_eq!(power(0x8400_0002, [9; 3]), PowerCall::CpuOff);
    assert_eq!(power(0x8400_0008, [9; 3]), PowerCall::SystemOff);
    assert_eq!(power(0x8400_0009, [9; 3]), PowerCall::SystemReset);
    let args = [0xffff_ffff_0000_0001, 0xffff_ffff_4008_0000, 0];
    let suspend = |entry, context| PowerCall::SystemSuspend { entry: Ipa(entry), context };
    assert_eq!(power(0x8400_000e, args), suspend(1, 0x4008_0000));
    assert_eq!(power(0xc400_000e, args), suspend(args[0], args[1]));
    for function in [0x8400_0012, 0xc400_0012] {
        assert_eq!(power(function, [0x8000_0001, 5, 0]), PowerCall::SystemReset2 { kind: 0x8000_0001 });
    }
}

const RAM: core::ops::Range<u64> = 0x4000_0000..0x5000_0000;

fn in_ram(entry: Ipa) -> bool {
    RAM.contains(&entry.0)
}

fn booted(vcpus: usize) -> VmPower {
    let mut power = VmPower::new(vcpus).unwrap();
    power.boot();
    power
}

fn cpu_on(target: u64, entry: u64) -> PowerCall {
    PowerCall::CpuOn { target, entry: Ipa(entry), context: 7 }
}

#[test]
fn a_vm_has_one_to_eight_vcpus_and_boots_with_the_first() {
    assert!(VmPower::new(0).is_none() && VmPower::new(9).is_none());
    let power = booted(8);
    assert_eq!((power.vcpus(), power.state(VcpuIdx(0)), power.state(VcpuIdx(7))), (8, VcpuPower::On, VcpuPower::Off));
    assert_eq!(power.state(VcpuIdx(200)), VcpuPower::Off);
}

#[test]
fn cpu_on_checks_target_then_address_then_state() {
    let invalid_parameters = Outcome::Return(-2i64 as u64);
    let invalid_address = Outcome::Return(-9i64 as u64);
    let mut power = booted(2);
    let mut call = |call| power.apply(VcpuIdx(0), call, in_ram);
    // Another vCPU number, other affinity levels, MPIDR_EL1's RES1 bit 31, its U bit.
    for target in [2, 0x100, 1 | 1 << 8, 1 | 1 << 16, 1 | 1 << 32, 1 | 1 << 31, 1 | 1 << 30, u64::MAX] {
        assert_eq!(call(cpu_on(target, 0x4000_0000)), invalid_parameters, "{target:#x}");
    }
    for entry in [0, 0x3fff_fffc, 0x5000_0000, 0x4000_0001, 0x4000_0002, u64::MAX] {
        assert_eq!(call(cpu_on(1, entry)), invalid_address, "{entry:#x}");
    }
    assert_eq!(call(cpu_on(0, 0)), invalid_address);
    assert_eq!(call(cpu_on(0, 0x4000_0000)), Outcome::Return(-4i64 as u64));
    let expected = Outcome::PowerOn { vcpu: VcpuIdx(1), entry: Ipa(0x4fff_fffc), context: 7 };
    assert_eq!(call(cpu_on(1, 0x4fff_fffc)), expected);
    assert_eq!(call(cpu_on(1, 0x4000_0000)), Outcome::Return(-5i64 as u64));
}

#[test]
fn affinity_info_follows_a_vcpu_through_its_states() {
    let mut power = booted(2);
    let info =
        |power: &mut VmPower, target, level| power.apply(VcpuIdx(0), PowerCall::AffinityInfo { target, level }, in_ram);
    assert_eq!(info(&mut power, 1, 0), Outcome::Return(1));
    let _ = power.apply(VcpuIdx(0), cpu_on(1, 0x4000_0000), in_ram);
    assert_eq!(info(&mut power, 1, 0), Outcome::Return(2));
    assert_eq!(power.started(VcpuIdx(1)), Started::Runs);
    assert_eq!(info(&mut power, 1, 0), Outcome::Return(0));
    assert_eq!(power.apply(VcpuIdx(1), PowerCall::CpuOff, in_ram), Outcome::PowerOff);
    assert_eq!(info(&mut power, 1, 0), Outcome::Return(1));
    assert_eq!(info(&mut power, 2, 0), Outcome::Return(-2i64 as u64));
    assert_eq!(info(&mut power, 1, 1), Outcome::Return(-2i64 as u64));
}

/// What may happen to a VM of three vCPUs.
#[derive(Clone, Copy, Debug)]
enum Step {
    Call(VcpuIdx, PowerCall),
    Started(VcpuIdx),
}

fn steps() -> Vec<Step> {
    let vcpus = (0..3).map(VcpuIdx);
    let calls = vcpus.clone().flat_map(|caller| {
        let on = (0..4).flat_map(|target| [cpu_on(target, 0x4000_0000), cpu_on(target, 0)]);
        let info = (0..4).flat_map(|target| [0, 1].map(|level| PowerCall::AffinityInfo { target, level }));
        let rest = [PowerCall::CpuOff, PowerCall::SystemOff, PowerCall::SystemReset];
        // A warm reset, a reserved kind, a vendor's.
        let resets = [0, 1, 1 << 31].map(|kind| PowerCall::SystemReset2 { kind });
        let sleeps = [0x4000_0000, 0].into_iter().flat_map(|entry| {
            let entry = Ipa(entry);
            [PowerCall::PowerDown { entry, context: 7 }, PowerCall::SystemSuspend { entry, context: 7 }]
        });
        on.chain(info)
            .chain(rest)
            .chain(resets)
            .chain(sleeps)
            .map(move |call| Step::Call(caller, call))
            .collect::<Vec<_>>()
    });
    calls.chain(vcpus.map(Step::Started)).collect()
}

/// The model: who is on, and who was asked to be.
#[derive(Clone, Default)]
struct Model {
    on: BTreeSet<u64>,
    pending: BTreeSet<u64>,
}

impl Model {
    fn call(&mut self, caller: u64, call: PowerCall) -> Outcome {
        let error = |code: i64| Outcome::Return(code as u64);
        if !self.on.contains(&caller) {
            return error(-3);
        }
        match call {
            PowerCall::CpuOn { target, .. } if target > 2 => error(-2),
            PowerCall::CpuOn { entry, .. } if entry.0 == 0 => error(-9),
            PowerCall::CpuOn { target, .. } if self.on.contains(&target) => error(-4),
            PowerCall::CpuOn { target, .. } if self.pending.contains(&target) => error(-5),
            PowerCall::CpuOn { target, entry, context } => {
                self.pending.insert(target);
                Outcome::PowerOn { vcpu: VcpuIdx(target as u8), entry, context }
            }
            PowerCall::AffinityInfo { target, level } if target > 2 || level > 0 => error(-2),
            PowerCall::AffinityInfo { target, .. } if self.on.contains(&target) => Outcome::Return(0),
            PowerCall::AffinityInfo { target, .. } if self.pending.contains(&target) => Outcome::Return(2),
            PowerCall::AffinityInfo { .. } => Outcome::Return(1),
            PowerCall::CpuOff => {
                self.on.remove(&caller);
                if self.on.is_empty() && self.pending.is_empty() { Outcome::SystemOff } else { Outcome::PowerOff }
            }
            PowerCall::SystemOff => self.end(Outcome::SystemOff),
            PowerCall::SystemReset | PowerCall::SystemReset2 { kind: 0 } => self.end(Outcome::SystemReset),
            PowerCall::SystemReset2 { .. } => error(-2),
            PowerCall::SystemSuspend { .. } if self.on.len() + self.pending.len() > 1 => error(-3),
            PowerCall::PowerDown { entry, .. } | PowerCall::SystemSuspend { entry, .. } if entry.0 == 0 => error(-9),
            PowerCall::PowerDown { entry, context } | PowerCall::SystemSuspend { entry, context } => {
                Outcome::PowerDown { entry, context }
            }
        }
    }

    fn end(&mut self, outcome: Outcome) -> Outcome {
        *self = Self::default();
        outcome
    }

    fn started(&mut self, vcpu: u64) -> Started {
        if self.pending.remove(&vcpu) {
            self.on.insert(vcpu);
        }
        if self.on.contains(&vcpu) { Started::Runs } else { Started::Cancelled }
    }

    fn agrees(&self, power: &VmPower) -> bool {
        (0..3u8).all(|vcpu| {
            let expected = match (self.on.contains(&vcpu.into()), self.pending.contains(&vcpu.into())) {
                (true, false) => VcpuPower::On,
                (false, true) => VcpuPower::OnPending,
                (false, false) => VcpuPower::Off,
                (true, true) => return false,
            };
            power.state(VcpuIdx(vcpu)) == expected
        })
    }
}

#[test]
fn every_step_from_every_reachable_state_is_the_models() {
    let steps = steps();
    let mut seen = HashSet::new();
    let mut model = Model::default();
    model.on.insert(0);
    let mut open = vec![(booted(3), model)];
    while let Some((power, model)) = open.pop() {
        if !seen.insert(power.clone()) {
            continue;
        }
        for step in &steps {
            let (mut power, mut model) = (power.clone(), model.clone());
            match *step {
                Step::Call(caller, call) => {
                    let expected = model.call(caller.0.into(), call);
                    assert_eq!(power.apply(caller, call, in_ram), expected, "{step:?}");
                }
                Step::Started(vcpu) => {
                    assert_eq!(power.started(vcpu), model.started(vcpu.0.into()), "{step:?}");
                }
            }
            assert!(model.agrees(&power), "{step:?} leads to {power:?}");
            open.push((power, model));
        }
    }
    // All 27 but one: three pending vCPUs, as somebody must be on to ask for the last.
    assert_eq!(seen.len(), 26);
}

#[test]
fn an_ended_vm_stays_ended() {
    for end in [PowerCall::SystemOff, PowerCall::SystemReset] {
        let mut power = booted(3);
        let _ = power.apply(VcpuIdx(0), cpu_on(1, 0x4000_0000), in_ram);
        let _ = power.apply(VcpuIdx(0), end, in_ram);
        for step in steps() {
            match step {
                Step::Call(caller, call) => {
                    assert_eq!(power.apply(caller, call, in_ram), Outcome::Return(-3i64 as u64));
                }
                Step::Started(vcpu) => assert_eq!(power.started(vcpu), Started::Cancelled),
            }
        }
        assert!((0..3).all(|vcpu| power.state(VcpuIdx(vcpu)) == VcpuPower::Off));
    }
}

#[test]
fn the_last_cpu_off_ends_the_vm_but_a_pending_vcpu_keeps_it() {
    let mut power = booted(2);
    assert_eq!(power.apply(VcpuIdx(0), PowerCall::CpuOff, in_ram), Outcome::SystemOff);
    let mut power = booted(2);
    let _ = power.apply(VcpuIdx(0), cpu_on(1, 0x4000_0000), in_ram);
    assert_eq!(power.apply(VcpuIdx(0), PowerCall::CpuOff, in_ram), Outcome::PowerOff);
    assert_eq!(power.started(VcpuIdx(1)), Started::Runs);
    assert_eq!(power.apply(VcpuIdx(1), PowerCall::CpuOff, in_ram), Outcome::SystemOff);
}
