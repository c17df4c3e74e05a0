//! Memory that a VM is to give up: a target for its balloon, a time for that, and what follows where it is not met.
//!
//! EL2 has the target, a note the time. So this partition sleeps meanwhile, and EL2's alarm wakes it when the time is over.

use alloc::format;

use hv_abi::Status;
use hv_abi::call::DeviceChange;
use hv_abi::message::{BalloonUse, MemorySet, MissedPolicy, VmSpec};
use hv_abi::record::BalloonRecord;

use super::devices::Devices;
use super::{Clock, Manager};
use crate::builder::{Step, patiently};
use crate::error::Error;
use crate::hypervisor::Hypervisor;
use crate::notes::{self, Target};
use crate::vm::{Vm, end_and_destroy, find_vm};

/// Milliseconds of a second.
const MS: u64 = 1000;

/// Where a VM's balloon is.
pub(super) fn used<H: Hypervisor>(
    hypervisor: &mut H,
    record: &BalloonRecord,
    vm: &Vm,
    clock: Clock,
) -> Result<BalloonUse, Error> {
    let targets = notes::targets(hypervisor)?;
    let asked = targets.iter().find(|target| target.vm == vm.handle().0);
    let due = asked.and_then(|asked| asked.due).filter(|_| !is_met(record));
    let left = |due: u64| {
        u128::from(due.saturating_sub(clock.now)) * u128::from(MS) / u128::from(clock.ticks_per_second.max(1))
    };
    Ok(BalloonUse {
        target: record.target.get(),
        actual: record.actual.get(),
        taken: record.taken.get(),
        left_ms: due.map(|due| u64::try_from(left(due)).unwrap_or(u64::MAX)),
        missed: asked.is_some_and(|asked| asked.missed),
    })
}

/// Whether a VM has no more than it is to have.
fn is_met(record: &BalloonRecord) -> bool {
    record.actual.get() <= record.target.get()
}

impl Manager<'_> {
    /// Asks a VM for what it has above so much memory.
    pub(super) fn set_memory<H: Hypervisor>(
        &mut self,
        hypervisor: &mut H,
        (vm, spec): (&Vm, &VmSpec),
        set: MemorySet,
        now: u64,
    ) -> Result<(), Error> {
        let record = Devices::of(hypervisor, vm.handle(), spec)?.balloon;
        let record = record.ok_or_else(|| Error::NoBalloon(spec.name.clone()))?;
        let due = set.within_s.map(|seconds| self.after(now, seconds.into()));
        let earlier = notes::targets(hypervisor)?;
        let pending = earlier.iter().find(|target| target.vm == vm.handle().0 && target.due.is_some());
        let before = pending.filter(|_| !is_met(&record)).map_or(record.target.get(), |pending| pending.before);
        let new = Target { name: spec.name.clone(), vm: vm.handle().0, before, due, missed: false };
        // Before anything is asked for: a life that fails in between leaves it to the next.
        notes::change_targets(hypervisor, |targets| {
            targets.retain(|target| target.name != new.name);
            targets.push(new.clone());
        })?;
        if let Err(status) = hypervisor.vm_device_set(vm.handle(), DeviceChange::Memory { bytes: set.bytes }) {
            notes::change_targets(hypervisor, |targets| targets.clone_from(&earlier))?;
            return Err(refusal(vm, set.bytes, status));
        }
        self.set_alarm(hypervisor).map(drop)
    }

    /// What follows for those whose time is over.
    pub(super) fn judge_memory<H: Hypervisor>(&mut self, hypervisor: &mut H, now: u64) -> Result<(), Error> {
        let is_due = |target: &Target| target.due.is_some_and(|due| due <= now);
        for target in notes::targets(hypervisor)?.into_iter().filter(is_due) {
            let missed = self.judge_one(hypervisor, &target).unwrap_or_else(|error| {
                log::error!("{error}");
                true
            });
            notes::change_targets(hypervisor, |targets| {
                for judged in targets.iter_mut().filter(|known| known.vm == target.vm) {
                    (judged.due, judged.missed) = (None, missed);
                }
            })?;
        }
        // Of lives that are over nothing is to be done or shown.
        let alive = crate::vm::vms(hypervisor)?;
        notes::change_targets(hypervisor, |targets| {
            targets.retain(|target| alive.iter().any(|vm| vm.handle().0 == target.vm));
        })
    }

    /// Whether a VM whose time is over has missed it; then what its policy says was done.
    fn judge_one<H: Hypervisor>(&mut self, hypervisor: &mut H, target: &Target) -> Result<bool, Error> {
        let vm = find_vm(hypervisor, &target.name)?.filter(|vm| vm.is_alive() && vm.handle().0 == target.vm);
        let (Some(vm), Some((spec, _))) = (vm, self.find(hypervisor, &target.name)?) else {
            return Ok(false);
        };
        let record = Devices::of(hypervisor, vm.handle(), &spec)?.balloon;
        if record.as_ref().is_none_or(is_met) {
            return Ok(false);
        }
        log::warn!("vm {:?}: has not given memory up in time: {}", target.name, consequence(spec.memory_missed));
        match spec.memory_missed {
            MissedPolicy::Refuse => {
                let change = DeviceChange::Memory { bytes: target.before };
                let answer = hypervisor.vm_device_set(vm.handle(), change);
                answer.map_err(|status| refusal(&vm, target.before, status))?;
            }
            MissedPolicy::Pause => match patiently(|| hypervisor.vm_pause(vm.handle())) {
                // It has ended by itself meanwhile.
                Ok(()) | Err(Status::WrongState) => {}
                Err(status) => return Err(vm.failed(Step::Pause, status)),
            },
            MissedPolicy::Kill => drop(end_and_destroy(hypervisor, &vm)?),
        }
        Ok(true)
    }
}

const fn consequence(policy: MissedPolicy) -> &'static str {
    match policy {
        MissedPolicy::Refuse => "it is not asked for it any more",
        MissedPolicy::Pause => "paused",
        MissedPolicy::Kill => "stopped",
    }
}

/// What a status of `vm_device_set` means for memory.
fn refusal(vm: &Vm, bytes: u64, status: Status) -> Error {
    let reason = match status {
        Status::InvalidArgument => "no multiple of 4 KiB, or more than it was built with",
        Status::Denied => "less than its memory-guarantee",
        Status::WrongState => "the VM has ended",
        status => return Error::Call { call: "vm_device_set", status },
    };
    Error::Change { name: vm.name().into(), what: format!("{bytes:#x} bytes of memory"), reason, status }
}
