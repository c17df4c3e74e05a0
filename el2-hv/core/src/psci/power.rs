//! The power states of a VM's vCPUs.

use hv_abi::guest_map::MAX_VCPUS;

use super::{Outcome, PowerCall, status};
use crate::addr::{Ipa, VcpuIdx};

/// A vCPU's power state, as AFFINITY_INFO knows it (DEN0022 §5.7).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum VcpuPower {
    /// It does not run.
    Off,
    /// CPU_ON has succeeded and it has not run yet.
    OnPending,
    /// It runs, or waits.
    On,
}

/// Whether a vCPU that was asked to start may.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[must_use]
pub enum Started {
    /// It runs.
    Runs,
    /// The VM ended in between: it stays off.
    Cancelled,
}

/// The power states of a VM. Calls of a vCPU that is not on have no effect, so that a vCPU which another one's
/// SYSTEM_OFF caught in the middle of a call cannot bring the VM back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VmPower {
    states: [VcpuPower; MAX_VCPUS],
    vcpus: u8,
}

/// The affinity of a vCPU: bits of VMPIDR_EL2, `reg` of its node in the tree. All are in one cluster, as on `virt`
/// with so few CPUs.
#[inline]
pub const fn affinity(vcpu: VcpuIdx) -> u64 {
    vcpu.0 as u64
}

const _: () = assert!(MAX_VCPUS <= 16, "Aff0 of a cluster goes to 15, the reach of an SGI's target list");

impl VmPower {
    /// Of no VM: it has no vCPUs.
    pub const NONE: Self = Self { states: [VcpuPower::Off; MAX_VCPUS], vcpus: 0 };

    /// A VM of `vcpus` vCPUs, all off; `None` if that is not 1 to [`MAX_VCPUS`].
    pub const fn new(vcpus: usize) -> Option<Self> {
        if vcpus == 0 || vcpus > MAX_VCPUS {
            return None;
        }
        Some(Self { states: [VcpuPower::Off; MAX_VCPUS], vcpus: vcpus as u8 })
    }

    /// The VM starts: its vCPU 0 is on, the others are off.
    pub const fn boot(&mut self) {
        self.states = [VcpuPower::Off; MAX_VCPUS];
        self.states[0] = VcpuPower::On;
    }

    /// How many vCPUs there are.
    pub const fn vcpus(&self) -> usize {
        self.vcpus as usize
    }

    /// A vCPU's state; a vCPU that the VM does not have is off.
    pub fn state(&self, vcpu: VcpuIdx) -> VcpuPower {
        self.states.get(vcpu.index()).copied().unwrap_or(VcpuPower::Off)
    }

    /// The vCPU runs for the first time after its CPU_ON.
    pub fn started(&mut self, vcpu: VcpuIdx) -> Started {
        match self.states.get_mut(vcpu.index()) {
            Some(state) if *state != VcpuPower::Off => {
                *state = VcpuPower::On;
                Started::Runs
            }
            _ => Started::Cancelled,
        }
    }

    /// `caller` makes a call. `can_start_at` says whether an entry point lies in the VM's RAM.
    pub fn apply(&mut self, caller: VcpuIdx, call: PowerCall, can_start_at: impl FnOnce(Ipa) -> bool) -> Outcome {
        if self.state(caller) != VcpuPower::On {
            return Outcome::Return(status::DENIED);
        }
        match call {
            PowerCall::CpuOff => self.cpu_off(caller),
            PowerCall::CpuOn { target, entry, context } => match self.cpu_on(target, entry, can_start_at) {
                Ok(vcpu) => Outcome::PowerOn { vcpu, entry, context },
                Err(error) => Outcome::Return(error),
            },
            PowerCall::AffinityInfo { target, level } => Outcome::Return(self.affinity_info(target, level)),
            PowerCall::SystemOff => self.end(Outcome::SystemOff),
            PowerCall::SystemReset => self.end(Outcome::SystemReset),
            PowerCall::PowerDown { entry, context } => power_down(entry, context, can_start_at),
            PowerCall::SystemSuspend { .. } if !self.is_alone(caller) => Outcome::Return(status::DENIED),
            PowerCall::SystemSuspend { entry, context } => power_down(entry, context, can_start_at),
            // A warm reset is a reset here: what it may keep, memory, is lost (DEN0022 §5.12). No vendor's kind exists.
            PowerCall::SystemReset2 { kind: 0 } => self.end(Outcome::SystemReset),
            PowerCall::SystemReset2 { .. } => Outcome::Return(status::INVALID_PARAMETERS),
        }
    }

    /// Whether all others are off (DEN0022 §5.19: SYSTEM_SUSPEND is for the last one).
    fn is_alone(&self, caller: VcpuIdx) -> bool {
        let others = self.states.iter().enumerate().filter(|(index, _)| *index != caller.index());
        others.into_iter().all(|(_, state)| *state == VcpuPower::Off)
    }

    /// The last vCPU to go off takes the VM with it: nobody is left who could turn one on.
    fn cpu_off(&mut self, caller: VcpuIdx) -> Outcome {
        if let Some(state) = self.states.get_mut(caller.index()) {
            *state = VcpuPower::Off;
        }
        if self.states.iter().all(|state| *state == VcpuPower::Off) {
            return Outcome::SystemOff;
        }
        Outcome::PowerOff
    }

    /// CPU_ON (DEN0022 §5.6).
    fn cpu_on(&mut self, target: u64, entry: Ipa, can_start_at: impl FnOnce(Ipa) -> bool) -> Result<VcpuIdx, u64> {
        let vcpu = self.vcpu_at(target).ok_or(status::INVALID_PARAMETERS)?;
        let state = self.states.get_mut(vcpu.index()).ok_or(status::INVALID_PARAMETERS)?;
        if !is_possible(entry, can_start_at) {
            return Err(status::INVALID_ADDRESS);
        }
        match *state {
            VcpuPower::On => Err(status::ALREADY_ON),
            VcpuPower::OnPending => Err(status::ON_PENDING),
            VcpuPower::Off => {
                *state = VcpuPower::OnPending;
                Ok(vcpu)
            }
        }
    }

    /// AFFINITY_INFO. Levels above 0 need not be supported since PSCI 1.0 (DEN0022 §5.7).
    fn affinity_info(&self, target: u64, level: u32) -> u64 {
        let vcpu = if level == 0 { self.vcpu_at(target) } else { None };
        match vcpu.map(|vcpu| self.state(vcpu)) {
            None => status::INVALID_PARAMETERS,
            Some(VcpuPower::On) => 0,
            Some(VcpuPower::Off) => 1,
            Some(VcpuPower::OnPending) => 2,
        }
    }

    fn end(&mut self, outcome: Outcome) -> Outcome {
        self.states = [VcpuPower::Off; MAX_VCPUS];
        outcome
    }

    /// The vCPU with that affinity. Bits of the argument outside the affinity fields must be zero (DEN0022 §5.6).
    fn vcpu_at(&self, target: u64) -> Option<VcpuIdx> {
        (0..self.vcpus).map(VcpuIdx).find(|vcpu| affinity(*vcpu) == target)
    }
}

/// An entry point that is not a multiple of 4 is as impossible as one outside RAM.
fn is_possible(entry: Ipa, can_start_at: impl FnOnce(Ipa) -> bool) -> bool {
    entry.is_aligned_to(4) && can_start_at(entry)
}

/// The caller stays on: it is asleep, and any interrupt brings it back (DEN0022 §5.4, §5.19).
fn power_down(entry: Ipa, context: u64, can_start_at: impl FnOnce(Ipa) -> bool) -> Outcome {
    if is_possible(entry, can_start_at) {
        Outcome::PowerDown { entry, context }
    } else {
        Outcome::Return(status::INVALID_ADDRESS)
    }
}
