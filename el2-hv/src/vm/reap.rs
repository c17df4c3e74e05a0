//! From a VM that does not run to a free slot: every frame scrubbed and returned.
//!
//! The VM pays for it: its first vCPU's place in the scheduler's queue is where the work is done.

use core::sync::atomic::Ordering;

use hv_abi::call::Grants;
use hv_arch::ram::NoNewTables;
use hv_arch::{counter, ram, tlb};
use hv_core::addr::{FRAME_SIZE, PaRange, VcpuId, VcpuIdx, VmId};
use hv_core::frames::Owner;
use hv_core::stage2::Piece;

use super::{Event, Phase, SOS_VM};
use crate::cpu::Local;
use crate::history::History;
use crate::memory::{bytes_of, frames};
use crate::{SCHEDULER, VCPUS, VMS, cpu, sos};

/// Begins to scrub and return a VM that does not run; whether it may.
pub fn destroy(id: VmId) -> bool {
    let vm = &VMS[id.index()];
    if !matches!(vm.phase(), Phase::Building | Phase::Stopped) {
        return false;
    }
    // Nobody reaches its memory through EL2 from here on.
    vm.mailbox.lock().detach();
    vm.stolen_time.detach();
    vm.ports().reset(0);
    vm.port_count.store(0, Ordering::Relaxed);
    vm.has_watchdog.store(false, Ordering::Relaxed);
    vm.set_grants(Grants::NONE);
    tlb::invalidate_vmid(vm.vttbr(id));
    let _ = vm.step(&mut vm.control.lock(), Event::Destroy);
    // What was reserved for it is others' from here on, and no cap holds up what is left to do.
    for index in 0..vm.vcpu_count() {
        cpu::act(SCHEDULER.reset(vm.vcpu(VcpuIdx(index)), counter::now_relaxed()));
    }
    // Its first vCPU's place in the queue pays for the work.
    let reaper = vm.vcpu(VcpuIdx(0));
    SCHEDULER.add(reaper);
    cpu::wake(reaper);
    true
}

/// Bytes that are scrubbed between two looks for interrupts.
const SCRUB_STEP: u64 = 4 * FRAME_SIZE;

/// A turn of a dying VM: scrubs and returns memory until all is back, an interrupt waits, or its slice is over.
pub fn reap(local: &mut Local, reaper: VcpuId) {
    let id = VCPUS[reaper.index()].vm();
    loop {
        while hv_arch::cpu::interrupt_pending() {
            if crate::interrupts::while_reaping(local) {
                return cpu::act(SCHEDULER.release(local.id, reaper, counter::now_relaxed()));
            }
        }
        let done = if id == SOS_VM { sos::scrub_step() } else { reap_step(id) };
        if done {
            SCHEDULER.remove(reaper, counter::now_relaxed());
            local.took_sos_down = id == SOS_VM;
            finish(id);
            return;
        }
    }
}

/// Scrubs one step, or takes the next piece out of the tables. Returns whether all is back.
fn reap_step(id: VmId) -> bool {
    let vm = &VMS[id.index()];
    let mut control = vm.control.lock();
    let control = &mut *control;
    if let Some(left) = control.reaping {
        let step = PaRange { start: left.start, size: left.size.min(SCRUB_STEP) };
        ram::zero(step);
        return_frames(step, id);
        let rest = left.size - step.size;
        control.reaping = (rest > 0).then_some(PaRange { start: step.end(), size: rest });
        return false;
    }
    let Some(stage2) = &mut control.stage2 else {
        return true;
    };
    match stage2.take_piece(&mut NoNewTables) {
        Some(Piece::Block(range)) => {
            let owner = frames().table().owner(range.start);
            let its_own = owner == Some(Owner::Vm(id)) || owner == Some(Owner::Mailboxes);
            assert!(its_own, "vm {id}: maps {} of {owner:?}", range.start);
            control.reaping = Some(range);
        }
        Some(Piece::Table(table)) => return_tables(PaRange { start: table, size: FRAME_SIZE }),
        None => {
            // Its walks end here, on every CPU, before the root is somebody else's. The VMID is used again by
            // the slot's next life.
            tlb::invalidate_vmid(vm.vttbr(id));
            return_tables(PaRange { start: stage2.root(), size: hv_core::stage2::ROOT_SIZE });
            control.stage2 = None;
            return true;
        }
    }
    false
}

/// Gives tables back. Their entries are zero; but memory has to hold that, too, for an owner whose caches are off.
fn return_tables(range: PaRange) {
    ram::zero(range);
    frames().free(range, Owner::Tables);
}

/// Gives scrubbed frames back, by blocks that are aligned to their size.
fn return_frames(range: PaRange, id: VmId) {
    let mut frames = frames();
    let owner = frames.table().owner(range.start).unwrap_or(Owner::Vm(id));
    let mut at = range.start;
    while at.0 < range.end().0 {
        let left = range.end().0 - at.0;
        let aligned = 1 << at.0.trailing_zeros().min(left.ilog2());
        frames.free(PaRange { start: at, size: aligned }, owner);
        at.0 += aligned;
    }
}

/// Everything is back: the slot is free, its next life has another handle.
fn finish(id: VmId) {
    let vm = &VMS[id.index()];
    if id == SOS_VM {
        // Its tables lie in what is held for it.
        tlb::invalidate_vmid(vm.vttbr(id));
    }
    let handle = vm.handle(id);
    let label = vm.control.lock().label.take();
    if id != SOS_VM {
        let leaked = bytes_of(Owner::Vm(id));
        assert!(leaked == 0, "vm {id}: {leaked} bytes were not returned");
        // Of a VM that was never started: nobody keeps it.
        let history = core::mem::replace(&mut vm.serial.lock().history, History::NONE);
        history.free();
        sos::forget_vm(id, handle);
    }
    super::build::free_vcpus(vm);
    vm.generation.fetch_add(1, Ordering::Relaxed);
    let _ = vm.step(&mut vm.control.lock(), Event::Scrubbed);
    if id == SOS_VM {
        return sos::scrubbed();
    }
    if let Some(label) = label {
        log::info!("vm {label}: memory returned");
    }
    sos::vm_gone();
}

/// The service partition has stopped, or could not be loaded: take its memory down.
pub fn begin_dying(id: VmId) {
    let vm = &VMS[id.index()];
    vm.mailbox.lock().detach();
    let _ = vm.step(&mut vm.control.lock(), Event::Destroy);
    let reaper = vm.vcpu(VcpuIdx(0));
    SCHEDULER.add(reaper);
    cpu::wake(reaper);
}
