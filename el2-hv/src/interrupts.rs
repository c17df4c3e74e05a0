//! Physical interrupts at EL2: forward the guest's timer, serve EL2's own.

use hv_board::gicv3::{SPURIOUS, cpu as gic};
use hv_core::addr::IntId;

use crate::cpu::{Local, Next, SGI_ATTENTION, SGI_KEEP, SGI_SCHEDULE, SGI_SELF};
use crate::vcpu::{Loaded, Reason};
use crate::{console, disks, iommu, keeper, networks, ports, stay};

/// Virtual timer of EL1.
const TIMER: IntId = IntId(hv_abi::guest_map::PPI_VIRTUAL_TIMER);
/// EL2's physical timer (Arm BSA, PPI assignments).
pub const HYPERVISOR_TIMER: IntId = IntId(26);
/// Maintenance interrupt of the virtual CPU interface.
pub const MAINTENANCE: IntId = IntId(25);

/// Whether an interrupt waits for this CPU.
#[inline]
pub fn look() -> bool {
    stay::looked();
    hv_arch::cpu::interrupt_pending()
}

/// An interrupt took the CPU from a guest.
#[inline]
pub fn while_running(local: &mut Local, loaded: &mut Loaded) -> Next {
    let id = gic::acknowledge();
    if id == TIMER {
        loaded.vcpu.exits.count(Reason::Timer);
        // Its deactivation is the guest's, through list register 0.
        gic::drop_priority(id);
        loaded.timer_fired();
        return Next::Resume;
    }
    other(local, loaded, id)
}

fn other(local: &mut Local, loaded: &mut Loaded, id: IntId) -> Next {
    loaded.vcpu.exits.count(Reason::Interrupt);
    if id == SPURIOUS {
        return Next::Resume;
    }
    gic::drop_priority(id);
    gic::deactivate(id);
    match id {
        // The loop looks at the vCPU's attention before it goes on.
        SGI_ATTENTION => Next::Resume,
        SGI_SCHEDULE => Next::Review,
        SGI_SELF => {
            put_off(local);
            Next::Resume
        }
        SGI_KEEP => {
            keeper::called(local);
            Next::Resume
        }
        MAINTENANCE => {
            loaded.sync_gic(local);
            Next::Resume
        }
        HYPERVISOR_TIMER => {
            if local.timer_fired(Some(loaded)) {
                Next::Review
            } else {
                Next::Resume
            }
        }
        _ => {
            device(local, id);
            Next::Resume
        }
    }
}

/// An interrupt came while no guest runs here. A vCPU that sleeps with its registers in this CPU
/// still has its timer here. Whether it goes on at once.
pub fn while_idle(local: &mut Local, mut resident: Option<&mut Loaded>) -> bool {
    let id = gic::acknowledge();
    if id == SPURIOUS {
        return false;
    }
    gic::drop_priority(id);
    if id == TIMER {
        if let Some(loaded) = resident {
            loaded.timer_fired();
            return local.wake_here(loaded.id);
        }
        gic::deactivate(id);
        return false;
    }
    gic::deactivate(id);
    match id {
        SGI_SCHEDULE => local.reschedule = true,
        SGI_SELF => put_off(local),
        SGI_KEEP => keeper::called(local),
        HYPERVISOR_TIMER => {
            local.reschedule |= local.timer_fired(resident.as_deref_mut());
            if let Some(loaded) = resident.filter(|loaded| loaded.has_pending()) {
                return local.wake_here(loaded.id);
            }
        }
        // It came as its vCPU went to sleep, and stays until the list registers are looked at.
        MAINTENANCE => match resident {
            Some(loaded) => {
                loaded.sync_gic(local);
                return local.wake_here(loaded.id);
            }
            None => hv_arch::vgic::set_controls(0),
        },
        // Attention that came as its vCPU went to sleep: it was woken, too.
        _ => device(local, id),
    }
    false
}

/// Serves what interrupts wait for this CPU while it builds or takes down a VM. Whether that work is to make way.
pub fn make_way(local: &mut Local) -> bool {
    while look() {
        while_idle(local, None);
        if core::mem::take(&mut local.reschedule) && local.review() {
            return true;
        }
    }
    false
}

/// What was put off: a switch of the console, ports whose guest has more for them.
fn put_off(local: &mut Local) {
    console::switch_if_wanted();
    let soon = hv_arch::counter::now() + local.machine.ticks(ports::PAUSE_NS);
    ports::with_more(|vm| local.watch_devices(vm, Some(soon)));
}

/// A device's interrupt.
fn device(local: &Local, id: IntId) {
    if local.machine.uart_irqs.contains(&Some(id)) {
        console::interrupt();
        keeper::got_interrupt(local);
    } else if disks::interrupt(id) | networks::interrupt(id) || iommu::interrupt(id) {
        // Drives and the network card may share a pin of PCI.
        keeper::got_interrupt(local);
    }
}
