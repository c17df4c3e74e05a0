//! What drives have finished with goes back to the guests; a drive that does not finish is given up.

use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use arrayvec::ArrayVec;
use hv_abi::guest_map::MAILBOX_SPI;
use hv_arch::counter;
use hv_board::virtio::requests::Fault;
use hv_core::addr::{IntId, VcpuIdx};
use hv_core::counter::earlier;

use super::{DISKS, GuestDisk, serve_waiting};
use crate::drives::{self, Drive, Finished};
use crate::guest_ram::Ram;
use crate::machine::machine;
use crate::vm::{SOS_VM, Vm};
use crate::{VCPUS, VMS, cpu, devices, interrupts, keeper, ports, sos, uplink, vcpu, vm};

/// Requests that are taken back from a drive at one go, and goes after which others have their turn.
const BATCH: usize = 8;
const BATCHES: usize = 8;
/// A drive that has requests gives one back within this time, in nanoseconds.
const PATIENCE_NS: u64 = 30_000_000_000;

/// Drives with requests that are over and were not taken back yet, a bit each.
static FINISHED: AtomicU8 = AtomicU8::new(0);
/// The keeper will look at the drives: one of them had requests when it last did, or has been given the first since.
static WATCHED: AtomicBool = AtomicBool::new(false);

/// A drive's interrupt, which it may share with others; whether it is one.
pub fn interrupt(id: IntId) -> bool {
    let (mut is_drives, mut works) = (false, false);
    for drive in drives::all().filter(|drive| drive.irq == id) {
        let mut requests = drive.requests();
        if let Err(fault) = requests.acknowledge() {
            drive.give_up(&mut requests, fault);
        }
        is_drives = true;
        works |= requests.works();
        drop(requests);
        finish(drive);
    }
    if is_drives && !works && uplink::irq().is_none_or(|irq| irq.id != id) {
        // A drive that is not reset may not take it back either. It was configured at boot, so it can be disabled.
        let _ = machine().distributor.lock().disable(id);
    }
    is_drives
}

/// A drive has been given its first request.
pub fn watch() {
    if !WATCHED.swap(true, Ordering::Relaxed) {
        keeper::call();
    }
}

/// The time of a drive may be over. Returns when the next one is, on the counter.
pub fn deadline_passed() -> Option<u64> {
    if !WATCHED.swap(false, Ordering::Relaxed) {
        return None;
    }
    let patience = machine().ticks(PATIENCE_NS);
    let mut next = None;
    for drive in drives::all() {
        let mut requests = drive.requests();
        let mut answers_by = requests.answers_by(patience);
        if answers_by.is_some_and(|at| at <= counter::now()) {
            drop(requests);
            // It may have answered, and its interrupt be on the way.
            finish(drive);
            requests = drive.requests();
            answers_by = requests.answers_by(patience);
        }
        if answers_by.is_some_and(|at| at <= counter::now()) {
            drive.give_up(&mut requests, Fault::Silent);
            drop(requests);
            finish(drive);
        } else {
            next = earlier(next, answers_by);
        }
    }
    // Who gives a drive its first request meanwhile has later to be answered.
    WATCHED.fetch_or(next.is_some(), Ordering::Relaxed);
    next
}

/// Goes on with what was put off.
pub(super) fn go_on() {
    let finished = FINISHED.swap(0, Ordering::Relaxed);
    drives::all().filter(|drive| finished & 1 << drive.number != 0).for_each(finish);
}

/// Gives guests back what their drive has finished with.
fn finish(drive: &Drive) {
    for _ in 0..BATCHES {
        let batch = take_back(drive);
        give_back(&batch);
        let Some(last) = batch.last().filter(|_| batch.is_full()) else {
            return serve_waiting(drive.number);
        };
        if interrupts::look() {
            return finish_later(drive, last.tag.disk);
        }
    }
    finish_later(drive, 0);
}

fn take_back(drive: &Drive) -> ArrayVec<Finished, BATCH> {
    let mut batch = ArrayVec::new();
    let now = counter::now_relaxed();
    let mut requests = drive.requests();
    let mut has_read = false;
    while !batch.is_full() {
        match requests.finished(now) {
            Ok(Some(finished)) if finished.tag.is_partition() => {
                drive.has_read(&finished);
                has_read = true;
            }
            Ok(Some(finished)) => batch.push(finished),
            Ok(None) => break,
            Err(fault) => drive.give_up(&mut requests, fault),
        }
    }
    drop(requests);
    if has_read {
        devices::pulse(SOS_VM, MAILBOX_SPI);
    }
    batch
}

/// The rest is taken back after a while; a VM's deadline is what brings it about.
fn finish_later(drive: &Drive, disk: u8) {
    FINISHED.fetch_or(1 << drive.number, Ordering::Relaxed);
    ports::look_again(DISKS[usize::from(disk)].lock().vm);
    cpu::interrupt_self();
}

/// Gives requests back to their guests. Those of one disk that follow each other have one interrupt.
fn give_back(batch: &[Finished]) {
    for same in batch.chunk_by(|one, next| one.tag.disk == next.tag.disk) {
        let index = usize::from(same[0].tag.disk);
        let mut disk = DISKS[index].lock();
        let vm = &VMS[disk.vm.index()];
        let ram = Ram::of(vm);
        let mut queues = 0_u8;
        for Finished { tag, went_well, lost } in same {
            if *lost {
                vm.lose_memory();
            }
            disk.end(tag, *went_well, &ram);
            queues |= 1 << (tag.ticket.queue % 8);
        }
        disk.signal(queues, &ram);
        disk.pulse();
        if disk.block.in_flight() == 0 {
            nothing_in_flight(&mut disk, vm);
            drop(disk);
            tell(vm);
        }
    }
}

/// Whoever waits for that goes on.
fn nothing_in_flight(disk: &mut GuestDisk, vm: &Vm) {
    let waits = core::mem::take(&mut disk.waits);
    for index in (0..vm.vcpu_count()).filter(|index| waits & 1 << index != 0) {
        let id = vm.vcpu(VcpuIdx(index));
        VCPUS[id.index()].notify(id, vcpu::GIC);
    }
}

/// Tells who destroys a VM that one of its disks has nothing in flight any more. No lock of a disk is held.
fn tell(vm: &Vm) {
    if !vm.phase().is_alive() {
        // What was waited for until now is no time in which the service partition hung.
        sos::progress();
        vm::tell_manager();
    }
}
