//! Reads and writes its first disk at random, 4 KiB a request, with the driver that EL2 has for the board's disks, and holds
//! what it reads against what it has written. Options: `count` (1000) requests, `depth` (1) of them at once, `write` (0) one
//! of so many is a write and as many are flushes and discards, 0 for reads only, `seed` (1), `spin` (0) to look without
//! pause for what the disk has finished with, not to wait for its interrupt. The disk is of zeroes at first.
//! Two other things it does instead, by `role`: `leave` asks for as many writes as it can and is gone; `flood` offers a
//! request that is refused again and again, from another vCPU, until so many were answered, and stays.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use hv_abi::guest_map::{DISK_SLOT, VIRTIO_BASE, VIRTIO_STRIDE};
use hv_board::virtio::disk::{Command, DEPTH, Disk};
use hv_core::addr::Pa;
use test_guests::disk::{self, BLOCK, SECTORS, SPI, buffer_address, fill, holds};
use test_guests::random::Random;
use test_guests::{Machine, cpu, gic, guest, power, println, timer};

guest!(main);

/// Blocks of which the guest remembers what they hold; the disk may have more.
const BLOCKS_MAX: u64 = 1 << 14;
/// A request in flight.
#[derive(Clone, Copy, Default)]
struct Request {
    block: u64,
    version: u32,
    reads: bool,
    /// Which buffer, and one; 0 for none.
    buffer: usize,
}

struct Load {
    disk: Disk,
    random: Random,
    write: u64,
    blocks: u64,
    /// How often each block was written.
    versions: Vec<u32>,
    /// Blocks that a request in flight is about.
    busy: Vec<bool>,
    /// By slot.
    requests: [Request; DEPTH],
    /// Buffers that are free.
    free: Vec<usize>,
    spins: bool,
    errors: u64,
    wrong: u64,
}

impl Load {
    fn new(machine: &Machine) -> Self {
        let disk = disk::open();
        let blocks = (disk.shape().sectors / SECTORS).min(BLOCKS_MAX);
        Self {
            disk,
            random: Random::new(machine.number("seed", 1)),
            write: machine.number("write", 0),
            blocks,
            versions: vec![0; blocks as usize],
            busy: vec![false; blocks as usize],
            requests: [Request::default(); DEPTH],
            free: (0..DEPTH).collect(),
            spins: machine.number("spin", 0) != 0,
            errors: 0,
            wrong: 0,
        }
    }

    /// Begins a request about a block that no other is about; whether there was room for one.
    fn begin(&mut self) -> bool {
        let mut block = self.random.below(self.blocks);
        while self.busy[block as usize] {
            block = (block + 1) % self.blocks;
        }
        let Some(buffer) = self.free.pop() else {
            return false;
        };
        let version = self.versions[block as usize];
        let sector = block * SECTORS;
        let (command, version) = match self.write {
            0 => (Command::Read(sector), version),
            odds => match self.random.below(odds * 16) {
                0 => (Command::Flush, version),
                1 if self.disk.shape().discard > 0 => (Command::WriteZeroes(sector, SECTORS as u32, true), 0),
                1..16 => (Command::Write(sector), version + 1),
                _ => (Command::Read(sector), version),
            },
        };
        let moves = matches!(command, Command::Read(_) | Command::Write(_));
        if let Command::Write(_) = command {
            fill(buffer, block, version);
        }
        let Some(mut draft) = self.disk.draft(command) else {
            self.free.push(buffer);
            return false;
        };
        if moves {
            assert!(draft.push(Pa(buffer_address(buffer)), BLOCK as u32), "one piece");
        }
        let slot = draft.submit();
        self.busy[block as usize] = true;
        let reads = matches!(command, Command::Read(_));
        self.requests[usize::from(slot)] = Request { block, version, reads, buffer: buffer + 1 };
        true
    }

    /// Takes what the disk has finished with; how many requests that were.
    fn take(&mut self) -> u64 {
        let mut taken = 0;
        while let Some((slot, went_well)) = self.disk.done().expect("an honest disk") {
            self.disk.release(slot);
            let request = core::mem::take(&mut self.requests[usize::from(slot)]);
            let buffer = request.buffer - 1;
            self.errors += u64::from(!went_well);
            if request.reads {
                self.wrong += u64::from(!holds(buffer, request.block, request.version));
            }
            self.versions[request.block as usize] = request.version;
            self.busy[request.block as usize] = false;
            self.free.push(buffer);
            taken += 1;
        }
        taken
    }
}

/// Writes the first block of each of as many MiB as there are slots, and ends with the disk in the middle of it.
fn leave(disk: &mut Disk) -> ! {
    for slot in 0..DEPTH {
        fill(slot, slot as u64, 1);
        let mut draft = disk.draft(Command::Write(slot as u64 * 2048)).expect("a slot");
        assert!(draft.push(Pa(buffer_address(slot)), BLOCK as u32), "one piece");
        draft.submit();
    }
    disk.notify();
    power::off()
}

/// The words of the disk's rings: those of the available one, and of the used one (hv_board::virtio::ring).
const AVAILABLE: usize = DEPTH * 16;
const USED: usize = 0x500;

fn ring_index(ring: usize) -> *mut u16 {
    disk::rings().cast::<u16>().wrapping_add(ring / 2 + 1)
}

/// Set when enough was answered.
static FLOODED: AtomicBool = AtomicBool::new(false);

/// vCPU 1: whatever was given back is offered again.
fn refill(_: usize) {
    // An index that goes back would be a driver's fault, after which nothing more is taken.
    let mut offered = 1_u16;
    while !FLOODED.load(Relaxed) {
        // SAFETY: indices in memory of the rings, which only this vCPU and the device use from here on.
        let more = unsafe { ring_index(USED).read_volatile() }.wrapping_add(DEPTH as u16 / 2);
        if more.wrapping_sub(offered) < DEPTH as u16 {
            offered = more;
            // SAFETY: as above.
            unsafe { ring_index(AVAILABLE).write_volatile(offered) };
        }
    }
}

/// Tells the disk of a request for what it does not have, of which there is always one more, until `count` were answered;
/// then it stays, so that its exits can be counted.
fn flood(disk: &mut Disk, count: u64) {
    let mut draft = disk.draft(Command::Read(u64::MAX / 1024)).expect("a slot");
    assert!(draft.push(Pa(buffer_address(0)), BLOCK as u32), "one piece");
    assert_eq!(draft.submit(), 0, "the slot that all entries name");
    cpu::start(1, refill);
    let register = (VIRTIO_BASE + u64::from(DISK_SLOT) * VIRTIO_STRIDE + 0x50) as *mut u32;
    // SAFETY: as in `refill`.
    let taken = || unsafe { ring_index(USED).read_volatile() };
    let mut sum = 0;
    // However little the other vCPU runs.
    while sum < count {
        let before = taken();
        // SAFETY: QueueNotify, of queue 0.
        unsafe { register.write_volatile(0) };
        sum += u64::from(taken().wrapping_sub(before));
    }
    FLOODED.store(true, Relaxed);
    println!("BLK flooded: {sum} answered");
    loop {
        cpu::wait();
    }
}

fn main(machine: &Machine) {
    gic::init_distributor();
    gic::init_cpu();
    gic::enable_spi(SPI);
    let (count, depth) = (machine.number("count", 1000), machine.number("depth", 1));
    let mut load = Load::new(machine);
    match machine.option("role") {
        Some("leave") => leave(&mut load.disk),
        Some("flood") => return flood(&mut load.disk, count),
        _ => {}
    }
    println!("BLK sectors {} block {}", load.disk.shape().sectors, load.disk.shape().block_size);
    let (mut begun, mut ended) = (0, 0);
    let start = timer::now();
    while ended < count {
        while begun < count && begun - ended < depth && load.begin() {
            begun += 1;
        }
        load.disk.notify();
        match load.take() {
            0 => disk::wait(&mut load.disk, load.spins),
            taken => ended += taken,
        }
    }
    let ticks = timer::now() - start;
    println!("BLK count {count} depth {depth} ticks {ticks} errors {} wrong {}", load.errors, load.wrong);
    power::off();
}
