//! How a vCPU leaves a CPU: to run anywhere, parked, or for good.

use hv_arch::counter;

use super::{Local, act};
use crate::vcpu::Loaded;
use crate::{SCHEDULER, vm};

/// Saves the registers of the vCPU that has them here, if there is one: whoever wants them may have them.
pub(super) fn save(local: &mut Local, resident: &mut Option<Loaded>) {
    if let Some(loaded) = resident.take() {
        loaded.unload(local);
    }
}

/// Lets go of the vCPU whose registers are here, if there is one.
pub(super) fn let_go(local: &mut Local, resident: &mut Option<Loaded>) {
    if let Some(loaded) = resident {
        act(SCHEDULER.release(local.id, loaded.id, counter::now_relaxed()));
    }
    save(local, resident);
}

/// A vCPU is off.
pub(super) fn off(local: &mut Local, loaded: Loaded) {
    let (id, vm_id) = (loaded.id, loaded.vm_id);
    vm::vcpu_leaves(&loaded);
    SCHEDULER.remove(id, counter::now_relaxed());
    loaded.discard(local);
    vm::vcpu_left(vm_id, vm::Event::VcpuOff);
}

/// A vCPU makes way until its VM goes on.
pub(super) fn park(local: &mut Local, loaded: Loaded) {
    let (id, vm_id) = (loaded.id, loaded.vm_id);
    SCHEDULER.remove(id, counter::now_relaxed());
    loaded.park(local);
    vm::vcpu_left(vm_id, vm::Event::VcpuParked);
}
