//! What happens to a VM between its start and its end: power calls, pauses, ends.
//!
//! `hv_core::life` decides under the VM's control lock; the phase that others read without it follows.

use core::sync::atomic::Ordering;

use hv_abi::record::EndReason;
use hv_arch::counter;
use hv_arch::lock::MutexGuard;
use hv_arch::ram::NoNewTables;
use hv_core::addr::{Ipa, VcpuIdx, VmId};
use hv_core::life::{Action, Event, Phase, Refused};
use hv_core::psci::{Outcome, PowerCall};

use super::{Control, SOS_VM, Vm, destroy};
use crate::machine::machine;
use crate::vcpu::Loaded;
use crate::{SCHEDULER, VCPUS, VMS, console, cpu, kept, sos, vcpu, watch};

impl Vm {
    /// Takes an event of its life. `control` is its own.
    pub(super) fn step(&self, control: &mut Control, event: Event) -> Result<Action, Refused> {
        let action = control.life.on(event);
        self.phase.store(control.life.phase() as u8, Ordering::SeqCst);
        action
    }

    /// Tells all of its vCPUs to look at something.
    fn notify_vcpus(&self, what: u8) {
        for index in 0..self.vcpu_count() {
            let vcpu = self.vcpu(VcpuIdx(index));
            VCPUS[vcpu.index()].notify(vcpu, what);
        }
    }
}

/// A guest's power call.
pub fn power(id: VmId, caller: VcpuIdx, call: PowerCall) -> Outcome {
    let vm = &VMS[id.index()];
    let mut control = vm.control.lock();
    let tables = vm.tables();
    if !vm.phase().is_alive() {
        return Outcome::PowerOff;
    }
    let outcome = control.power.apply(caller, call, |entry: Ipa| tables.translate(entry, &NoNewTables).is_some());
    match outcome {
        Outcome::PowerOn { vcpu, entry, context } => {
            let target = vm.vcpu(vcpu);
            VCPUS[target.index()].prepare(entry.0, context, machine().list_registers);
            let _ = control.power.started(vcpu);
            let _ = vm.step(&mut control, Event::VcpuOn);
            drop(control);
            SCHEDULER.add(target);
            // Where the VM is being paused or ended meanwhile, it was told so before it could hear.
            match vm.phase() {
                Phase::Pausing => VCPUS[target.index()].notify(target, vcpu::PARK),
                _ => cpu::wake(target),
            }
        }
        Outcome::SystemOff => {
            drop(control);
            end(id, EndReason::PoweredOff);
        }
        Outcome::SystemReset => {
            drop(control);
            end(id, EndReason::Reset);
        }
        _ => {}
    }
    outcome
}

/// A vCPU cannot go on: its VM ends.
pub fn crashed(loaded: &Loaded) {
    kept::crashed(loaded, EndReason::Crashed);
    end(loaded.vm_id, EndReason::Crashed);
}

/// A vCPU is about to leave its CPU for good. Of a VM that hangs, where the first one does is worth to know.
pub fn vcpu_leaves(loaded: &Loaded) {
    // Where its VM is alive another vCPU may hold the lock, in the middle of a CPU_ON that waits for this one to be gone.
    let stops = loaded.index == VcpuIdx(0) && loaded.vm.phase() == Phase::Stopping;
    if stops && loaded.vm.control.lock().end == EndReason::Watchdog {
        kept::crashed(loaded, EndReason::Watchdog);
    }
}

/// Stops all vCPUs of a VM for good.
pub fn end(id: VmId, reason: EndReason) {
    let vm = &VMS[id.index()];
    let mut control = vm.control.lock();
    // A watchdog was looked at without this lock: the slot may be another VM's by now.
    if reason == EndReason::Watchdog && !vm.serial.lock().has_expired() {
        return;
    }
    let now = if vm.phase() == Phase::Paused { control.paused } else { counter::now() };
    let Ok(action) = vm.step(&mut control, Event::End) else {
        return;
    };
    control.end = reason;
    control.ended = now;
    if action == Action::Ended {
        return ended(id, control);
    }
    drop(control);
    vm.notify_vcpus(vcpu::STOP);
}

/// A vCPU has left its CPU, for good or parked. The last one ends the VM's run, or stops its time.
pub fn vcpu_left(id: VmId, event: Event) {
    let vm = &VMS[id.index()];
    let mut control = vm.control.lock();
    match vm.step(&mut control, event) {
        Ok(Action::Ended) => ended(id, control),
        Ok(Action::StopTime) => control.paused = counter::now(),
        _ => {}
    }
}

/// None of a VM's vCPUs will run again: says so.
fn ended(id: VmId, control: MutexGuard<'_, Control>) {
    let vm = &VMS[id.index()];
    let (end, label) = (control.end, control.label);
    drop(control);
    let told = || vm.step(&mut vm.control.lock(), Event::Told);
    if id == SOS_VM {
        let _ = told();
        return sos::stopped();
    }
    let handle = vm.handle(id);
    if let Some(label) = label {
        log::info!("vm {label}: {end}");
        crate::stay::ended();
        kept::ended(id, handle, label, end);
    }
    watch::ended(handle, end);
    console::gone(id);
    // From the next line on the slot may be destroyed and begin another life.
    let _ = told();
    tell_manager();
    sos::vm_ended(id, handle, end);
}

/// Makes the service partition look again, which may wait for what has just become of a VM.
pub fn tell_manager() {
    let vm = &VMS[SOS_VM.index()];
    if vm.phase() == Phase::Running {
        let waits = vm.vcpu(VcpuIdx(0));
        VCPUS[waits.index()].notify(waits, vcpu::GIC);
    }
}

/// Takes the vCPUs of a running VM from their CPUs; whether it runs.
pub fn pause(id: VmId) -> bool {
    let vm = &VMS[id.index()];
    let paused = vm.step(&mut vm.control.lock(), Event::Pause).is_ok();
    if paused {
        vm.notify_vcpus(vcpu::PARK);
    }
    paused
}

/// Lets a paused VM go on where it was, in time as well; whether it was paused.
pub fn resume(id: VmId) -> bool {
    let vm = &VMS[id.index()];
    let mut control = vm.control.lock();
    if vm.step(&mut control, Event::Resume).is_err() {
        return false;
    }
    // Its virtual counter goes on from where it stood, so its virtual timers are as far off as they were.
    let stood = counter::now().wrapping_sub(control.paused);
    vm.counter_offset.fetch_add(stood, Ordering::Relaxed);
    let on = (0..vm.vcpu_count()).map(VcpuIdx).filter(|index| control.is_on(*index));
    for vcpu in on.map(|index| vm.vcpu(index)) {
        SCHEDULER.add(vcpu);
        cpu::wake(vcpu);
    }
    true
}

/// Destroys what a life of the service partition has left half built.
pub fn destroy_half_built() {
    for id in (1..VMS.len()).map(|id| VmId(id as u8)) {
        let vm = &VMS[id.index()];
        if vm.phase() == Phase::Building {
            log::warn!("vm {}: was not started, destroyed", vm.name());
            destroy(id);
        }
    }
}
