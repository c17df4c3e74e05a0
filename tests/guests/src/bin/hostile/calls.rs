//! HVC and SMC with every kind of identifier, and PSCI on the other vCPU.

use core::sync::atomic::{AtomicBool, Ordering};

use crate::code::Attacker;
use hv_abi::call::{BASE, CALLS};
use smccc::{Hvc, psci};
use test_guests::{cpu, timer};

/// HVC #0 and SMC #0.
const CONDUITS: [u32; 2] = [0xd400_0002, 0xd400_0003];
/// PSCI functions that end the VM or this vCPU, without the bit for 64 bits: CPU_SUSPEND is fine where it comes back
/// here, because a timer wakes it; CPU_OFF, SYSTEM_OFF, SYSTEM_RESET, SYSTEM_SUSPEND and SYSTEM_RESET2 are left out.
const ENDS: [u32; 5] = [0x8400_0002, 0x8400_0008, 0x8400_0009, 0x8400_000e, 0x8400_0012];
const CPU_SUSPEND: u32 = 0x8400_0001;
/// StateType of CPU_SUSPEND's power_state: it goes on at another place (DEN0022 §5.4.2).
const POWER_DOWN: u64 = 1 << 16;
const CPU_ON: u32 = 0x8400_0003;
const SMC64: u32 = 1 << 30;
/// How long a suspended vCPU sleeps at most.
const SUSPEND_NS: u64 = 50_000;
/// LDR of x3 to x17 would be needed to fill every register; x0 to x3 are what functions take first.
const MOV_X3_X1: u32 = 0xaa01_03e3;
/// The other vCPU is on, and stays so until this is cleared.
static GOES: AtomicBool = AtomicBool::new(false);

/// Random and structured identifiers, arguments that look like something.
pub(crate) fn smccc(attacker: &mut Attacker<'_>) {
    for conduit in CONDUITS {
        // The immediate must be zero by SMCCC; others are tried too.
        for immediate in [0, 1, 0x8000, 0xffff] {
            let code = attacker.assemble(&[conduit | immediate << 5]);
            attacker.run(code, [0x8400_0000, 0, 0]);
        }
        let code = attacker.assemble(&[MOV_X3_X1, conduit]);
        for _ in 0..attacker.machine.number("calls", 1_000_000) / 2 {
            let function = identifier(attacker);
            let mut arguments = arguments(attacker, function);
            let suspends = function & !SMC64 == CPU_SUSPEND;
            if suspends {
                arguments[1] &= !POWER_DOWN;
                timer::arm(timer::now() + timer::ticks(SUSPEND_NS));
            }
            attacker.run(code, arguments);
            if suspends {
                timer::disarm();
            }
        }
    }
}

fn arguments(attacker: &mut Attacker<'_>, function: u32) -> [u64; 3] {
    [u64::from(function), attacker.random.interesting(), attacker.random.interesting()]
}

/// One call of any kind, but for those that wait.
pub(crate) fn call(attacker: &mut Attacker<'_>) {
    let conduit = attacker.random.pick(&CONDUITS);
    let immediate = if attacker.random.below(8) == 0 { attacker.random.next() as u32 & 0xffff } else { 0 };
    let code = attacker.assemble(&[MOV_X3_X1, conduit | immediate << 5]);
    let function = identifier(attacker);
    if function & !SMC64 != CPU_SUSPEND {
        let arguments = arguments(attacker, function);
        attacker.run(code, arguments);
    }
}

/// CPU_SUSPEND with any power state that keeps the context, which an interrupt ends: from another one this vCPU would go
/// on at the wild address, and crash its VM.
pub(crate) fn suspend(attacker: &mut Attacker<'_>) {
    let code = attacker.assemble(&[CONDUITS[0]]);
    let function = CPU_SUSPEND | attacker.random.pick(&[0, SMC64]);
    let power_state = attacker.random.pick(&[0, 1, 1 << 30, u64::MAX]) & !POWER_DOWN;
    let entry = attacker.wild_address();
    timer::arm(timer::now() + attacker.random.below(timer::ticks(SUSPEND_NS)));
    attacker.run(code, [u64::from(function), power_state, entry]);
    timer::disarm();
}

fn identifier(attacker: &mut Attacker<'_>) -> u32 {
    loop {
        let random = &mut attacker.random;
        let function = match random.below(6) {
            0 => 0x8400_0000 | random.below(0x40) as u32,
            1 => 0xc400_0000 | random.below(0x40) as u32,
            2 => BASE + random.below(CALLS.len() as u64 + 8) as u32,
            3 => (random.below(256) as u32) << 24 | random.below(16) as u32,
            4 => (random.below(256) as u32) << 24 | 0xff00 | random.below(4) as u32,
            _ => random.next() as u32,
        };
        let kind = function & !SMC64;
        if !ENDS.contains(&kind) && kind != CPU_ON {
            return function;
        }
    }
}

/// Starts and stops the other vCPUs, at good and bad times, and asks about them meanwhile.
pub(crate) fn psci(attacker: &mut Attacker<'_>) {
    for _ in 0..attacker.rounds() / 20 {
        let target = attacker.random.interesting();
        if target as usize >= attacker.machine.vcpus {
            let entry = attacker.wild_address();
            attacker.attempts += 1;
            attacker.faults += u64::from(psci::cpu_on::<Hvc>(target, entry, 0).is_err());
        }
    }
    for other in 1..attacker.machine.vcpus {
        for _ in 0..attacker.rounds() / 20 {
            attacker.attempts += 1;
            GOES.store(false, Ordering::Release);
            cpu::start(other, stay);
            while !GOES.load(Ordering::Acquire) {
                cpu::relax();
            }
            // A second CPU_ON is refused while it is on (DEN0022 §5.6).
            assert_eq!(cpu::try_start(other, stay), Err(psci::Error::AlreadyOn));
            GOES.store(false, Ordering::Release);
            while state(other) != Ok(psci::AffinityState::Off) {
                cpu::relax();
            }
        }
    }
}

/// The other vCPU: it is on until it may end.
fn stay(_: usize) {
    GOES.store(true, Ordering::Release);
    while GOES.load(Ordering::Acquire) {
        cpu::relax();
    }
}

fn state(other: usize) -> Result<psci::AffinityState, psci::Error> {
    psci::affinity_info::<Hvc>(other as u64, psci::LowestAffinityLevel::All)
}
