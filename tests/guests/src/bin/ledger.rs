//! Writes blocks of its first disk in an order that the seed decides, several at once, and reads them meanwhile. Write number n
//! leaves version n + 1 of the block that the seed gives it. The disk's first block says of how many writes, from the first on,
//! all have ended; it is written when that is so. Whoever comes to the disk later can tell from it what must be there, what may
//! be, and what may not: so this guest looks at all blocks when it starts, and goes on from there.
//!
//! Options: `count` (1000) writes, after which it ends, `depth` (8) requests at once, `seed` (1), `flush` (0) to have the writes flushed, and said so
//! on the console, before the first block counts them.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec;
use alloc::vec::Vec;

use hv_board::virtio::disk::{Command, DEPTH, Disk};
use hv_core::addr::Pa;
use test_guests::disk::{self, BLOCK, SECTORS, SPI, buffer_address, fill, holds, version_of, word, word_at};
use test_guests::random::Random;
use test_guests::{Machine, gic, guest, power, println, timer};

guest!(main);

/// Writes that may have begun beyond those that the first block counts.
const WINDOW: u32 = 256;
/// Writes that have ended before they are counted.
const STEP: u32 = WINDOW / 4;
/// 64-bit words of a sector.
const WORDS: usize = 64;

/// What a request is for. Writes are numbered; the others say how many of them had ended.
#[derive(Clone, Copy)]
enum What {
    Read,
    Write(u32),
    Flush(u32),
    Record(u32),
}

#[derive(Clone, Copy)]
struct Request {
    what: What,
    block: u64,
    buffer: usize,
}

struct Ledger {
    disk: Disk,
    random: Random,
    seed: u64,
    count: u32,
    flushes: bool,
    blocks: u64,
    /// What each block holds, where that is known.
    versions: Vec<Option<u32>>,
    /// Blocks that a request in flight is about.
    busy: Vec<bool>,
    /// By slot.
    requests: [Option<Request>; DEPTH],
    free: Vec<usize>,
    in_flight: usize,
    next: u32,
    /// Of the writes from `done` on, by their number modulo the window's size, whether they have ended.
    ended: [bool; WINDOW as usize],
    /// All writes before this one have ended.
    done: u32,
    recorded: u32,
    /// Whether a flush or the first block is under way.
    recording: bool,
}

/// The block that a write is to: the finalizer of SplitMix64 over its number.
fn block_of(seed: u64, number: u32, blocks: u64) -> u64 {
    let mut bits = (seed << 40).wrapping_add(number.into()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    1 + (bits ^ bits >> 31) % (blocks - 1)
}

impl Ledger {
    fn new(machine: &Machine) -> Self {
        let disk = disk::open();
        let blocks = disk.shape().sectors / SECTORS;
        let seed = machine.number("seed", 1);
        Self {
            disk,
            // Each life does other things with the same writes.
            random: Random::new(seed ^ timer::now()),
            seed,
            count: machine.number("count", 1000) as u32,
            flushes: machine.number("flush", 0) != 0,
            blocks,
            versions: vec![None; blocks as usize],
            busy: vec![false; blocks as usize],
            requests: [None; DEPTH],
            free: (0..DEPTH).collect(),
            in_flight: 0,
            next: 0,
            ended: [false; WINDOW as usize],
            done: 0,
            recorded: 0,
            recording: false,
        }
    }

    /// Asks the disk; whether there was room for a request.
    fn submit(&mut self, what: What, block: u64) -> bool {
        let Some(buffer) = self.free.pop() else {
            return false;
        };
        let sector = block * SECTORS;
        let (command, version) = match what {
            What::Read => (Command::Read(sector), None),
            What::Flush(_) => (Command::Flush, None),
            What::Write(number) => (Command::Write(sector), Some(number + 1)),
            What::Record(done) => (Command::Write(sector), Some(done)),
        };
        if let Some(version) = version {
            fill(buffer, block, version);
        }
        let Some(mut draft) = self.disk.draft(command) else {
            self.free.push(buffer);
            return false;
        };
        if !matches!(what, What::Flush(_)) {
            assert!(draft.push(Pa(buffer_address(buffer)), BLOCK as u32), "one piece");
        }
        let slot = draft.submit();
        self.busy[block as usize] = true;
        self.requests[usize::from(slot)] = Some(Request { what, block, buffer });
        self.in_flight += 1;
        true
    }

    /// Begins what is next; whether anything is.
    fn begin(&mut self) -> bool {
        let due = self.done - self.recorded >= STEP || self.done == self.count;
        if due && !self.recording && self.recorded < self.count {
            let what = if self.flushes { What::Flush(self.done) } else { What::Record(self.done) };
            self.recording = self.submit(what, 0);
            return self.recording;
        }
        if self.random.below(3) == 0 {
            let block = 1 + self.random.below(self.blocks - 1);
            return !self.busy[block as usize] && self.submit(What::Read, block);
        }
        if self.next >= self.count.min(self.recorded + WINDOW) {
            return false;
        }
        let block = block_of(self.seed, self.next, self.blocks);
        let begun = !self.busy[block as usize] && self.submit(What::Write(self.next), block);
        self.next += u32::from(begun);
        begun
    }

    /// Takes what the disk has finished with; whether that was anything.
    fn take(&mut self) -> bool {
        let mut any = false;
        while let Some((slot, went_well)) = self.disk.done().expect("an honest disk") {
            self.disk.release(slot);
            assert!(went_well, "the disk does what it is asked for");
            let request = self.requests[usize::from(slot)].take().expect("a request");
            self.in_flight -= 1;
            self.busy[request.block as usize] = false;
            self.end(request);
            self.free.push(request.buffer);
            any = true;
        }
        any
    }

    fn end(&mut self, Request { what, block, buffer }: Request) {
        match what {
            What::Read => {
                let known = self.versions[block as usize];
                assert!(known.is_none_or(|version| holds(buffer, block, version)), "block {block} is not {known:?}");
            }
            What::Write(number) => {
                self.versions[block as usize] = Some(number + 1);
                self.ended[(number % WINDOW) as usize] = true;
                while core::mem::take(&mut self.ended[(self.done % WINDOW) as usize]) {
                    self.done += 1;
                }
            }
            What::Flush(done) => {
                println!("LEDGER flushed {done}");
                assert!(self.submit(What::Record(done), 0), "the flush has left its slot, and there are two buffers");
            }
            What::Record(done) => (self.recorded, self.recording) = (done, false),
        }
    }

    /// Reads a block, with nothing else under way, into the buffer that is next.
    fn read_now(&mut self, block: u64) -> usize {
        assert!(self.submit(What::Read, block), "nothing is under way");
        self.disk.notify();
        while !self.take() {
            disk::wait(&mut self.disk, false);
        }
        *self.free.last().expect("all are free")
    }

    /// The one version that all words of a sector are of.
    fn sector_version(&self, buffer: usize, block: u64, sector: usize) -> u32 {
        let words = sector * WORDS..(sector + 1) * WORDS;
        let version = version_of(word_at(buffer, words.start));
        let whole = words.clone().all(|index| word_at(buffer, index) == word(block, version, index));
        assert!(whole, "block {block}, sector {sector}: not of one write");
        version
    }

    /// Looks at all blocks, and goes on from the writes that the first counts.
    fn recover(&mut self) {
        let buffer = self.read_now(0);
        let counted = (0..BLOCK / 512).map(|sector| self.sector_version(buffer, 0, sector)).max().unwrap_or(0);
        let mut latest = vec![0; self.blocks as usize];
        for number in 0..counted {
            latest[block_of(self.seed, number, self.blocks) as usize] = number + 1;
        }
        for block in 1..self.blocks {
            let buffer = self.read_now(block);
            let first = self.sector_version(buffer, block, 0);
            let mut alike = true;
            for sector in 0..BLOCK / 512 {
                let version = self.sector_version(buffer, block, sector);
                let own = version == 0 || block_of(self.seed, version - 1, self.blocks) == block;
                let range = latest[block as usize]..=counted + WINDOW;
                assert!(own && range.contains(&version), "block {block}, sector {sector}: {version}, not {range:?}");
                alike &= version == first;
            }
            self.versions[block as usize] = alike.then_some(first);
        }
        (self.next, self.done, self.recorded) = (counted, counted, counted);
    }
}

fn main(machine: &Machine) {
    gic::init_distributor();
    gic::init_cpu();
    gic::enable_spi(SPI);
    let depth = machine.number("depth", 8) as usize;
    let mut ledger = Ledger::new(machine);
    ledger.recover();
    println!("LEDGER life from {}", ledger.recorded);
    while ledger.recorded < ledger.count || ledger.in_flight > 0 {
        while ledger.recorded < ledger.count && ledger.in_flight < depth && ledger.begin() {}
        ledger.disk.notify();
        if !ledger.take() {
            disk::wait(&mut ledger.disk, false);
        }
    }
    ledger.recover();
    println!("LEDGER count {} is all there", ledger.recorded);
    power::off();
}
