//! Guests' balloons: what a guest reports free, or puts into its balloon because it is asked to, goes back to all of RAM, in
//! blocks of 2 MiB, and comes back as zeroes when the guest uses it again.
//!
//! # A block's way
//! Out of the VM's tables; its translations forgotten; every device of the VM has let go of what it had found there, and no
//! drive has a request of the VM's in flight (else the block is put back as it was); scrubbed; free. A place in the tables that
//! was given up says so, and gets another block at the guest's next access, or a device's. A VM keeps its guarantee: below it
//! nothing is taken, so that it need not come back. Where nothing is free the VM is paused.
//!
//! What is put into a balloon comes by pages of 4 KiB, in no order. They are counted for each block ([`hv_core::inflated`]),
//! and a block is taken when all of it is there. What of the pages is in no such block stays where it is.
//!
//! # Locks
//! `device` comes before those of the VM's other devices, and `lent`, under which the tables change, behind them and before the
//! frames'.

mod counts;

use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use guest_virtio::balloon::{Answer, Balloon, BalloonEffect, PAGE_SIZE, Pages};
use guest_virtio::memory::{GuestMemory, GuestMemoryError};
use guest_virtio::queue::Backlog;
use hv_abi::Status;
use hv_abi::call::MEMORY_ALIGNMENT;
use hv_abi::guest_map::{BALLOON_SLOT, RAM_BASE, VIRTIO_SPI};
use hv_abi::record::BalloonRecord;
use hv_arch::cache;
use hv_arch::lock::Mutex;
use hv_arch::ram::{self, NoNewTables};
use hv_core::addr::{Ipa, PaRange, VmId};
use hv_core::frames::Owner;
use hv_core::stage2::{Access, GIVEN_SIZE};
use zerocopy::little_endian::U64;

use crate::guest_ram::Ram;
use crate::memory::frames;
use crate::vm::{self, Vm};
use crate::{VMS, cpu, devices, disks, interrupts, networks, ports};
use counts::Counts;

const _: () = assert!(GIVEN_SIZE == MEMORY_ALIGNMENT, "memory is given out in blocks that can be given up");

/// Times that a block is tried of a VM whose drives are busy. After that it stays the VM's: a report is no promise.
const TRIES_MAX: u8 = 64;

/// A VM's balloon.
pub struct GuestBalloon {
    /// The VM's slot and one, or 0 where it has none.
    owner: AtomicU8,
    /// There is more to do for the device.
    waits: AtomicBool,
    /// A device found no memory, which the log does not say yet.
    starved: AtomicBool,
    device: Mutex<Balloon>,
    lent: Mutex<Lent>,
    pages: Mutex<Counts>,
}

/// What of a VM's memory is on its way, or away.
struct Lent {
    /// Bytes that it has given up.
    given: u64,
    /// Bytes that it may give up.
    most: u64,
    /// Out of the tables, and still as it was: where the VM uses the place meanwhile it is put back.
    taken: Option<(Ipa, PaRange)>,
    /// Being scrubbed: all of it, and what is left.
    dirty: Option<(PaRange, PaRange)>,
    /// Times that the next block was tried.
    tries: u8,
}

impl GuestBalloon {
    /// None: all zero.
    pub const fn new() -> Self {
        let lent = Lent { given: 0, most: 0, taken: None, dirty: None, tries: 0 };
        Self {
            owner: AtomicU8::new(0),
            waits: AtomicBool::new(false),
            starved: AtomicBool::new(false),
            device: Mutex::new(Balloon::NONE),
            lent: Mutex::new(lent),
            pages: Mutex::new(Counts::NONE),
        }
    }

    /// The VM, if it has a balloon.
    #[inline]
    pub fn owner(&self) -> Option<VmId> {
        self.owner.load(Ordering::Relaxed).checked_sub(1).map(VmId)
    }

    /// A guest's load from the device's registers.
    pub fn read(&self, offset: u64, size: u8) -> u64 {
        self.device.lock().read(offset, size)
    }
}

/// Gives a VM that is being built a balloon. `guarantee` bytes of its memory stay its own whatever it reports.
pub fn add(id: VmId, vm: &Vm, guarantee: u64) -> Result<(), Status> {
    let most = vm.control.lock().memory.checked_sub(guarantee).ok_or(Status::InvalidArgument)?;
    if !guarantee.is_multiple_of(MEMORY_ALIGNMENT) {
        return Err(Status::InvalidArgument);
    }
    if vm.balloon.owner().is_some() {
        return Err(Status::Exists);
    }
    *vm.balloon.pages.lock() = Counts::new(most + guarantee).ok_or(Status::NoMemory)?;
    vm.balloon.device.lock().restart();
    *vm.balloon.lent.lock() = Lent { given: 0, most, taken: None, dirty: None, tries: 0 };
    vm.balloon.owner.store(id.0 + 1, Ordering::Relaxed);
    Ok(())
}

/// Asks a VM for what it has above so many bytes.
#[inline(never)]
pub fn set_memory(id: VmId, vm: &Vm, bytes: u64) -> Result<(), Status> {
    let memory = vm.control.lock().memory;
    let above = memory.checked_sub(bytes).filter(|_| vm.balloon.owner() == Some(id));
    let above = above.ok_or(Status::InvalidArgument)?;
    let mut device = vm.balloon.device.lock();
    if above > vm.balloon.lent.lock().most {
        return Err(Status::Denied);
    }
    device.set_target(u32::try_from(above / PAGE_SIZE).map_err(|_| Status::InvalidArgument)?);
    pulse(id, &mut device);
    Ok(())
}

/// What there is to say of a VM's balloon, if it has one.
pub fn account(vm: &Vm) -> Option<BalloonRecord> {
    vm.balloon.owner()?;
    let memory = vm.control.lock().memory;
    let device = vm.balloon.device.lock();
    let lent = vm.balloon.lent.lock();
    let without = |pages: u32| U64::new(memory.saturating_sub(u64::from(pages) * PAGE_SIZE));
    Some(BalloonRecord {
        target: without(device.target()),
        actual: without(device.actual()),
        taken: U64::new(lent.given),
        guarantee: U64::new(memory.saturating_sub(lent.most)),
    })
}

/// Takes a VM's balloon away. Frames that are in no table any more and belong to it still are returned.
pub fn remove(vm: &Vm) -> Option<PaRange> {
    // Whoever serves the device has it locked until a block is in the tables, dirty or free.
    let _device = vm.balloon.device.lock();
    vm.balloon.owner.store(0, Ordering::Relaxed);
    vm.balloon.waits.store(false, Ordering::Relaxed);
    vm.balloon.starved.store(false, Ordering::Relaxed);
    vm.balloon.pages.lock().give_back();
    vm.balloon.lent.lock().dirty.take().map(|(whole, _)| whole)
}

/// A guest's store to the device's registers.
#[inline(never)]
pub fn write(id: VmId, vm: &Vm, [offset, size, value]: [u64; 3]) {
    let mut device = vm.balloon.device.lock();
    match device.write(offset, size as u8, value) {
        BalloonEffect::Requests => serve(id, vm, &mut device),
        // All pages are the guest's again. Blocks that were taken come back when it uses them.
        BalloonEffect::Reset => vm.balloon.pages.lock().forget(),
        BalloonEffect::None | BalloonEffect::Actual => {}
    }
    pulse(id, &mut device);
}

/// Does what was put off.
pub fn go_on(id: VmId, vm: &Vm) {
    if vm.balloon.starved.load(Ordering::Relaxed)
        && vm.balloon.starved.swap(false, Ordering::Relaxed)
        && vm.may_complain()
    {
        log::warn!("vm {}: a device needs memory above its guarantee, and none is free: requests fail", vm.name());
    }
    if vm.balloon.waits.load(Ordering::Relaxed) && vm.balloon.waits.swap(false, Ordering::Relaxed) {
        let mut device = vm.balloon.device.lock();
        serve(id, vm, &mut device);
        pulse(id, &mut device);
    }
}

fn pulse(id: VmId, device: &mut Balloon) {
    if device.take_pulse() {
        devices::pulse(id, VIRTIO_SPI + BALLOON_SLOT);
    }
}

/// A VM that has ended gives nothing up: all it has is about to be returned.
fn serve(id: VmId, vm: &Vm, device: &mut Balloon) {
    if vm.balloon.owner() != Some(id) || !vm.phase().is_alive() {
        return;
    }
    if device.serve(&Fresh(vm), &mut Reported { id, vm }) == Backlog::Waiting {
        vm.balloon.waits.store(true, Ordering::Relaxed);
        ports::look_again(id);
        cpu::interrupt_self();
    }
}

/// A guest's memory that is looked for at each access anew: it changes while the device is served.
struct Fresh<'v>(&'v Vm);

impl GuestMemory for Fresh<'_> {
    fn read(&self, ipa: u64, into: &mut [u8]) -> Result<(), GuestMemoryError> {
        Ram::of(self.0).read(ipa, into)
    }

    fn write(&self, ipa: u64, from: &[u8]) -> Result<(), GuestMemoryError> {
        Ram::of(self.0).write(ipa, from)
    }
}

/// What a VM reports.
struct Reported<'v> {
    id: VmId,
    vm: &'v Vm,
}

impl Pages for Reported<'_> {
    fn inflate(&mut self, page: u32) -> Answer {
        if !self.clean() {
            return Answer::Later;
        }
        let whole = self.vm.balloon.pages.lock().put(page);
        match whole.map(|block| self.take(block)) {
            // Its number comes again, and counts no more where the block is whole already.
            Some(Taken::Busy) => Answer::Later,
            // What is left to be scrubbed is so before the next.
            Some(Taken::Block) => {
                self.clean();
                Answer::Done
            }
            Some(Taken::Nothing) | None => Answer::Done,
        }
    }

    /// It has memory there when it uses it.
    fn deflate(&mut self, page: u32) -> Answer {
        self.vm.balloon.pages.lock().take(page);
        Answer::Done
    }

    fn report(&mut self, ipa: u64, bytes: u32) -> u32 {
        if !self.clean() {
            return 0;
        }
        // What is no whole block stays the VM's.
        let before = ipa.wrapping_neg() % GIVEN_SIZE;
        if before != 0 {
            return bytes.min(before as u32);
        }
        if u64::from(bytes) < GIVEN_SIZE || ipa < RAM_BASE {
            return bytes.min(GIVEN_SIZE as u32);
        }
        match self.take(Ipa(ipa)) {
            Taken::Block if !self.clean() => 0,
            Taken::Block | Taken::Nothing => GIVEN_SIZE as u32,
            Taken::Busy => 0,
        }
    }
}

/// What came of a block that a VM reports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Taken {
    /// It is in no table and nobody's any more, and is to be scrubbed.
    Block,
    /// It stays what it is.
    Nothing,
    /// A drive may be at it.
    Busy,
}

impl Reported<'_> {
    fn take(&self, ipa: Ipa) -> Taken {
        if disks::in_flight(self.vm) > 0 {
            return self.busy();
        }
        let mut lent = self.vm.balloon.lent.lock();
        if lent.given + GIVEN_SIZE > lent.most {
            return Taken::Nothing;
        }
        let Some(block) = self.vm.tables().give(ipa, &mut NoNewTables) else {
            return Taken::Nothing;
        };
        lent.given += GIVEN_SIZE;
        lent.taken = Some((ipa, block));
        drop(lent);
        vm::forget_translations(self.id);
        // Who is at one of the devices now may have found the block before. Who comes later finds it given up.
        drop(self.vm.ports());
        self.vm.rng.wait_for();
        networks::wait_for(self.vm);
        let idle = disks::in_flight(self.vm) == 0;
        let mut lent = self.vm.balloon.lent.lock();
        let Some((ipa, block)) = lent.taken.take() else {
            return Taken::Nothing;
        };
        if !idle {
            put(self.vm, &mut lent, (ipa, block));
            drop(lent);
            return self.busy();
        }
        (lent.dirty, lent.tries) = (Some((block, block)), 0);
        Taken::Block
    }

    /// Tries a block again later, so many times.
    fn busy(&self) -> Taken {
        let mut lent = self.vm.balloon.lent.lock();
        lent.tries += 1;
        if lent.tries < TRIES_MAX {
            return Taken::Busy;
        }
        lent.tries = 0;
        Taken::Nothing
    }

    /// Scrubs what is dirty, as far as interrupts allow, and gives it back; whether nothing is left.
    fn clean(&self) -> bool {
        let dirty = self.vm.balloon.lent.lock().dirty;
        let Some((whole, left)) = dirty else { return true };
        let done = ram::scrub(left, interrupts::look);
        cache::finish();
        let left = PaRange { start: hv_core::addr::Pa(left.start.0 + done), size: left.size - done };
        if left.size > 0 {
            self.vm.balloon.lent.lock().dirty = Some((whole, left));
            return false;
        }
        self.vm.balloon.lent.lock().dirty = None;
        frames().free(whole, Owner::Vm(self.id));
        true
    }
}

/// Puts a block into a place that was given up.
fn put(vm: &Vm, lent: &mut Lent, (ipa, block): (Ipa, PaRange)) {
    let mapped = vm.tables().map(ipa, block, Access::Ram, &mut NoNewTables);
    assert!(mapped.is_ok(), "{ipa} was given up, and is mapped");
    lent.given -= GIVEN_SIZE;
}

/// What becomes of a place that is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Filled {
    /// There is memory.
    Yes,
    /// It was not given up.
    No,
    /// Nothing is free.
    NoMemory,
}

/// Gives a VM memory where it had given it up.
fn fill_block(id: VmId, ipa: u64) -> Filled {
    let vm = &VMS[id.index()];
    let start = Ipa(ipa & !(GIVEN_SIZE - 1));
    let mut lent = vm.balloon.lent.lock();
    let tables = vm.tables();
    if !tables.is_given(start, &NoNewTables) {
        // Another CPU may have been faster.
        return if tables.translate(start, &NoNewTables).is_some() { Filled::Yes } else { Filled::No };
    }
    if let Some(taken) = lent.taken.take_if(|(taken, _)| *taken == start) {
        put(vm, &mut lent, taken);
        return Filled::Yes;
    }
    let Ok(pa) = frames().allocate(GIVEN_SIZE, Owner::Vm(id)) else {
        return Filled::NoMemory;
    };
    put(vm, &mut lent, (start, PaRange { start: pa, size: GIVEN_SIZE }));
    drop(lent);
    // What the last owner of the frames executed there is not to be executed here.
    cache::invalidate_instructions();
    Filled::Yes
}

/// Gives a VM memory where it had given it up, for a device; whether there is some. The device's request fails where not.
#[inline(never)]
pub fn fill(id: VmId, ipa: u64) -> bool {
    let filled = if ipa >= RAM_BASE { fill_block(id, ipa) } else { Filled::No };
    if filled == Filled::NoMemory {
        // A device's lock is held: the VM's name is behind one that comes before it.
        VMS[id.index()].balloon.starved.store(true, Ordering::Relaxed);
        ports::look_again(id);
    }
    filled == Filled::Yes
}

/// A vCPU has used a place where nothing is; whether it tries again. Where nothing is free its VM stands still until it is
/// resumed.
#[cold]
pub fn touched(id: VmId, vm: &Vm, ipa: u64) -> bool {
    if vm.balloon.owner().is_none() || ipa < RAM_BASE {
        return false;
    }
    match fill_block(id, ipa) {
        Filled::Yes => true,
        Filled::No => false,
        Filled::NoMemory => {
            if vm::pause(id) {
                log::warn!("vm {}: paused: it uses memory above its guarantee, and none is free", vm.name());
            }
            true
        }
    }
}
