//! The CPU that looks after what concerns no vCPU: interrupts of the UARTs and drives, deadlines of the service partition
//! and of drives.
//!
//! It is the lowest that runs and that nobody owns, so that a pinned vCPU is not disturbed by them. Who becomes it is
//! told; what comes to one that it no longer is, is passed on.

use core::sync::atomic::{AtomicU8, Ordering};

use hv_core::addr::CpuId;
use hv_core::counter::earlier;

use crate::cpu::{self, Local, SGI_KEEP};
use crate::{SCHEDULER, disks, drives, iommu, sos, uplink};

/// The CPU that gets the interrupts: the one that boots, at first.
static ROUTED: AtomicU8 = AtomicU8::new(0);

fn keeper() -> CpuId {
    SCHEDULER.open().first().unwrap_or(CpuId(0))
}

/// Deadlines have changed, or who the keeper is: it looks at them anew.
pub fn call() {
    cpu::send(keeper(), SGI_KEEP);
}

/// The keeper was called.
pub fn called(local: &mut Local) {
    if keeper() != local.id {
        local.watch_sos(None);
        return call();
    }
    local.watch_sos(earlier(sos::deadline_passed(), disks::deadline_passed()));
    if ROUTED.load(Ordering::Relaxed) != local.id.0 {
        let mut distributor = local.machine.distributor.lock();
        ROUTED.store(local.id.0, Ordering::Relaxed);
        let drives = drives::all().map(|drive| drive.irq).chain(uplink::irq().map(|irq| irq.id));
        let drives = drives.chain(iommu::irqs().map(|irq| irq.id));
        for irq in local.machine.uart_irqs.into_iter().flatten().chain(drives) {
            // The same interrupts were routed at boot.
            let _ = distributor.route(irq, hv_arch::cpu::mpidr());
        }
    }
}

/// A device's interrupt came here.
pub fn got_interrupt(local: &Local) {
    if keeper() != local.id {
        call();
    }
}
