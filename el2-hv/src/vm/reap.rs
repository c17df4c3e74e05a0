//! From a VM that does not run to a free slot: every frame scrubbed and returned.
//!
//! The VM pays for it: its first vCPU's place in the scheduler's queue is where the work is done.

use core::sync::atomic::Ordering;

use arrayvec::ArrayVec;
use hv_abi::call::Grants;
use hv_arch::ram::NoNewTables;
use hv_arch::{cache, counter, ram};
use hv_core::addr::{Pa, PaRange, VcpuId, VcpuIdx, VmId};
use hv_core::frames::Owner;
use hv_core::reclaim::{Hands, Progress, Reclaim};
use hv_core::stage2::{ROOT_SIZE, TableMemory};

use super::{Event, Phase, SOS_VM, Vm};
use crate::cpu::Local;
use crate::history::History;
use crate::memory::{bytes_of, frames};
use crate::{SCHEDULER, VCPUS, VMS, balloon, cpu, disks, networks, shared, sos};

/// Begins to scrub and return a VM that does not run; whether it may.
pub fn destroy(id: VmId) -> bool {
    let vm = &VMS[id.index()];
    if !matches!(vm.phase(), Phase::Building | Phase::Stopped) {
        return false;
    }
    // Nobody reaches its memory through EL2 from here on.
    vm.mailbox.lock().detach();
    vm.stolen_time.detach();
    if vm.has_ports() {
        vm.ports().reset(0);
    }
    vm.port_count.store(0, Ordering::Relaxed);
    disks::remove_all(vm);
    networks::remove_all(vm);
    vm.rng.remove();
    let given = balloon::remove(vm);
    vm.has_watchdog.store(false, Ordering::Relaxed);
    vm.set_grants(Grants::NONE);
    let mut control = vm.control.lock();
    let stage2 = control.stage2.take();
    // What it had given up and nobody else has got yet is in no table any more.
    let root = stage2.iter().map(|stage2| PaRange { start: stage2.root(), size: ROOT_SIZE }).chain(given).collect();
    control.reclaim = Reclaim::begin(id, stage2, root, &mut Own(id));
    let _ = vm.step(&mut control, Event::Destroy);
    drop(control);
    shared::leave_all(id, vm);
    // What was reserved for it is others' from here on, and no cap holds up what is left to do.
    for index in 0..vm.vcpu_count() {
        cpu::act(SCHEDULER.reset(vm.vcpu(VcpuIdx(index)), counter::now_relaxed()));
    }
    send_to_reap(vm);
    true
}

/// The service partition has stopped, or could not be loaded: takes down `held`, in which its tables lie.
pub fn begin_dying(held: ArrayVec<PaRange, 2>) {
    let vm = &VMS[SOS_VM.index()];
    vm.mailbox.lock().detach();
    let mut control = vm.control.lock();
    control.reclaim = Reclaim::begin(SOS_VM, None, held, &mut Own(SOS_VM));
    let _ = vm.step(&mut control, Event::Destroy);
    drop(control);
    send_to_reap(vm);
}

/// Its first vCPU's place in the queue pays for the work.
fn send_to_reap(vm: &Vm) {
    let reaper = vm.vcpu(VcpuIdx(0));
    SCHEDULER.add(reaper);
    cpu::wake(reaper);
}

/// A turn of a dying VM: scrubs and returns memory until all is back, or others are to run.
pub fn reap(local: &mut Local, reaper: VcpuId) {
    let id = VCPUS[reaper.index()].vm();
    let vm = &VMS[id.index()];
    // Nobody else needs it, so it is not locked while the work is done.
    let mut reclaim = core::mem::replace(&mut vm.control.lock().reclaim, Reclaim::NONE);
    loop {
        if crate::interrupts::make_way(local) {
            vm.control.lock().reclaim = reclaim;
            return cpu::act(SCHEDULER.release(local.id, reaper, counter::now_relaxed()));
        }
        match reclaim.step(&mut Own(id)) {
            Progress::More => {}
            Progress::Done => break,
            Progress::Foreign(frame, owner) => panic!("vm {id}: maps {frame} of {owner:?}"),
        }
    }
    // Of a VM that was never started: nobody keeps it.
    let history = core::mem::replace(&mut vm.serial.lock().history, History::NONE);
    history.free();
    // Whoever is to run does so when this turn is over, which is soon.
    let _ = crate::interrupts::make_way(local);
    SCHEDULER.remove(reaper, counter::now_relaxed());
    local.took_sos_down = id == SOS_VM;
    finish(id);
}

/// The hands that take back what a VM had.
struct Own(VmId);

impl TableMemory for Own {
    fn read(&self, table: Pa, index: u64) -> u64 {
        NoNewTables.read(table, index)
    }

    fn write(&mut self, table: Pa, index: u64, entry: u64) {
        NoNewTables.write(table, index, entry);
    }

    fn allocate(&mut self) -> Option<Pa> {
        None
    }

    fn find(&self, table: Pa, index: u64) -> Option<u64> {
        NoNewTables.find(table, index)
    }
}

impl Hands for Own {
    fn forget_translations(&mut self) {
        super::forget_translations(self.0);
    }

    fn owner(&self, frame: Pa) -> Option<Owner> {
        frames().table().owner(frame)
    }

    fn scrub(&mut self, range: PaRange) -> u64 {
        ram::scrub(range, crate::interrupts::look)
    }

    fn complete(&mut self) {
        cache::finish();
    }

    fn give_back(&mut self, range: PaRange, owner: Owner) {
        match owner {
            // The service partition's next life begins in it.
            Owner::Vm(SOS_VM) => frames().change(&range, owner, Owner::Held),
            // A drive may write to it for ever.
            _ if VMS[self.0.index()].lost.load(Ordering::Relaxed) => frames().change(&range, owner, Owner::Lost),
            _ => frames().free(range, owner),
        }
    }
}

/// Everything is back: the slot is free, its next life has another handle.
fn finish(id: VmId) {
    let vm = &VMS[id.index()];
    let handle = vm.handle(id);
    let label = vm.control.lock().label.take();
    if id != SOS_VM {
        let leaked = bytes_of(Owner::Vm(id));
        assert!(leaked == 0, "vm {id}: {leaked} bytes were not returned");
        sos::forget_vm(id, handle);
        let what = if vm.lost.swap(false, Ordering::Relaxed) { "kept, for a drive may use it" } else { "returned" };
        // Before anybody can see that the slot is free, and begin its next life.
        if let Some(label) = label {
            log::info!("vm {label}: memory {what}");
        }
    }
    super::build::free_vcpus(vm);
    vm.generation.fetch_add(1, Ordering::Relaxed);
    let _ = vm.step(&mut vm.control.lock(), Event::Scrubbed);
    if id == SOS_VM {
        return sos::scrubbed();
    }
    super::life::tell_manager();
    sos::vm_gone();
}
