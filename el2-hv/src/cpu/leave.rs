//! How a vCPU leaves a CPU: to run anywhere, parked, or for good.

use hv_arch::counter;

use super::{Local, act};
use crate::vcpu::Loaded;
use crate::{SCHEDULER, vm};

/// Lets go of the vCPU whose registers are here, if there is one.
pub(super) fn let_go(local: &mut Local, resident: &mut Option<Loaded>) {
    if let Some(loaded) = resident.take() {
        release(local, loaded);
    }
}

/// Stores a vCPU's registers; it may run anywhere afterwards.
fn release(local: &mut Local, loaded: Loaded) {
    let id = loaded.id;
    loaded.unload(local);
    act(SCHEDULER.release(id, counter::now_relaxed()));
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
