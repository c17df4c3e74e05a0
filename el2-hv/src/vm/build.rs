//! From a free slot to a VM that runs.

use core::sync::atomic::Ordering;

use hv_abi::VmHandle;
use hv_abi::handle::Label;
use hv_arch::counter;
use hv_core::addr::{Pa, PaRange, VcpuId, VcpuIdx, VmId};
use hv_core::frames::Owner;
use hv_core::psci::VmPower;
use hv_core::stage2::Stage2;

use super::{Control, Event, NO_VCPU, SOS_VM, Vm};
use crate::history::History;
use crate::machine::machine;
use crate::memory::frames;
use crate::{SCHEDULER, VCPUS, VMS, console, cpu};

/// Why a VM could not be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CreateError {
    /// A VM has the label.
    LabelTaken,
    /// No slot, vCPU or frame is free.
    NoRoom,
}

/// Makes a guest with tables and vCPUs and no memory.
pub fn create(label: Label, vcpus: u8) -> Result<VmHandle, CreateError> {
    if VMS[1..].iter().any(|vm| !vm.is_free() && vm.label() == Some(label)) {
        return Err(CreateError::LabelTaken);
    }
    let id = VMS.iter().skip(1).position(Vm::is_free).ok_or(CreateError::NoRoom)?;
    let id = VmId(id as u8 + 1);
    let mut history = History::allocate().ok_or(CreateError::NoRoom)?;
    if !set_up_with_tables(id, label, vcpus) {
        history.free();
        return Err(CreateError::NoRoom);
    }
    let vm = &VMS[id.index()];
    let mut serial = vm.serial.lock();
    history.begin_at(serial.output.end());
    serial.history = history;
    drop(serial);
    let _ = vm.step(&mut vm.control.lock(), Event::Create);
    Ok(vm.handle(id))
}

/// Fills a slot; whether there was a frame for its tables, and vCPUs.
fn set_up_with_tables(id: VmId, label: Label, vcpus: u8) -> bool {
    let Ok(root) = frames().allocate(hv_core::stage2::ROOT_SIZE, Owner::Tables) else {
        return false;
    };
    let done = set_up(id, label, vcpus, root);
    if done {
        reset_devices(id);
    } else {
        frames().free(PaRange { start: root, size: hv_core::stage2::ROOT_SIZE }, Owner::Tables);
    }
    done
}

/// Fills a slot, which may hold what is left of other devices; whether there were vCPUs for it.
pub fn set_up(id: VmId, label: Label, vcpus: u8, root: Pa) -> bool {
    let vm = &VMS[id.index()];
    if !claim_vcpus(id, vm, vcpus) {
        return false;
    }
    let mut control = vm.control.lock();
    *control = Control::new();
    control.label = Some(label);
    control.stage2 = Some(Stage2::new(root));
    control.power = VmPower::new(usize::from(vcpus)).unwrap_or(VmPower::NONE);
    drop(control);
    vm.root.store(root.0, Ordering::Relaxed);
    vm.complaints.store(0, Ordering::Relaxed);
    vm.last_here.iter().for_each(|last| last.store(NO_VCPU, Ordering::Relaxed));
    true
}

/// The devices of a slot that was set up are as they are at reset.
pub fn reset_devices(id: VmId) {
    let vm = &VMS[id.index()];
    vm.gic.lock().reset(vm.vcpu_count());
    vm.serial.lock().reset();
}

fn claim_vcpus(id: VmId, vm: &Vm, count: u8) -> bool {
    let mut claimed = 0;
    for (slot, vcpu) in VCPUS.iter().enumerate() {
        if claimed == count {
            break;
        }
        if vcpu.claim(id, VcpuIdx(claimed)) {
            cpu::act(SCHEDULER.reset(VcpuId(slot as u16), counter::now_relaxed()));
            vm.vcpus[usize::from(claimed)].store(slot as u16, Ordering::Relaxed);
            claimed += 1;
        }
    }
    vm.vcpu_count.store(claimed, Ordering::Relaxed);
    if claimed < count {
        free_vcpus(vm);
    }
    claimed == count
}

pub(super) fn free_vcpus(vm: &Vm) {
    for index in 0..vm.vcpu_count() {
        VCPUS[vm.vcpu(VcpuIdx(index)).index()].free();
    }
    vm.vcpu_count.store(0, Ordering::Relaxed);
}

/// Starts a VM that is built; whether it has an entry.
pub fn start(id: VmId) -> bool {
    let vm = &VMS[id.index()];
    let mut control = vm.control.lock();
    let (Some((entry, x0)), Some(label)) = (control.entry, control.label) else {
        return false;
    };
    control.started = counter::now();
    control.power.boot();
    // The virtual counter begins at 0 with the VM (Arm ARM D11.2.2).
    vm.counter_offset.store(control.started, Ordering::Relaxed);
    let boot = vm.vcpu(VcpuIdx(0));
    VCPUS[boot.index()].prepare(entry, x0, machine().list_registers);
    let _ = vm.step(&mut control, Event::Start);
    drop(control);
    if id != SOS_VM {
        hv_arch::cache::invalidate_instructions();
        log::info!("vm {label}: started");
        console::started(id, label);
        crate::machine::note_first_guest();
    }
    SCHEDULER.add(boot);
    cpu::wake(boot);
    true
}

/// The service partition is built by EL2: from now on its vCPU is picked.
pub fn begin_loading() {
    let vm = &VMS[SOS_VM.index()];
    let _ = vm.step(&mut vm.control.lock(), Event::Load);
    let boot = vm.vcpu(VcpuIdx(0));
    SCHEDULER.add(boot);
    cpu::wake(boot);
}

/// The service partition's vCPU, which was picked to load it, runs from now on.
pub fn loaded(entry: u64, x0: u64) {
    let vm = &VMS[SOS_VM.index()];
    let mut control = vm.control.lock();
    control.started = counter::now();
    control.power.boot();
    vm.counter_offset.store(0, Ordering::Relaxed);
    VCPUS[vm.vcpu(VcpuIdx(0)).index()].prepare(entry, x0, machine().list_registers);
    let _ = vm.step(&mut control, Event::Start);
}
