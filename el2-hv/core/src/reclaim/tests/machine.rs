//! Memory, caches, TLBs and the allocator's links. What is wrong with them is kept, and [`Machine::check`] says it.

use super::*;
use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

/// Bytes of a cache line, and words in it.
const LINE: u64 = 64;
const LINE_WORDS: usize = 8;
/// What stands in the first word of a free frame.
const LINK: u64 = 0x1111_0000_0000_0001;
/// What a VM writes.
const SECRET: u64 = 0x5ec2_e700;
/// Where memory begins.
const FIRST: u64 = 0x1_0000_0000;
/// Bytes between two looks for interrupts.
const SCRUB_STEP: u64 = 16 << 10;

/// What can be left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    Zero,
    Clean,
    ScrubBarrier,
    Unmap,
    Forget,
    ClearLink,
    CleanLink,
    LinkBarrier,
}

impl Step {
    pub const ALL: [Self; 8] = [
        Self::Zero,
        Self::Clean,
        Self::ScrubBarrier,
        Self::Unmap,
        Self::Forget,
        Self::ClearLink,
        Self::CleanLink,
        Self::LinkBarrier,
    ];
}

/// xorshift64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 8) % end
    }
}

type Line = [u64; LINE_WORDS];

/// A line that a cache holds and memory does not.
struct Dirty {
    content: Line,
    /// It is being cleaned; a barrier waits for that.
    under_way: bool,
}

pub struct Machine {
    random: Random,
    without: Option<Step>,
    /// Lines of memory that are not zero.
    memory: BTreeMap<u64, Line>,
    dirty: BTreeMap<u64, Dirty>,
    /// Frames that a TLB leads to, or that a walk under way reads next.
    tlb: BTreeSet<u64>,
    owners: BTreeMap<u64, Owner>,
    /// Free blocks, by size.
    free: BTreeMap<u64, Vec<u64>>,
    next: u64,
    wrong: Option<&'static str>,
}

impl Machine {
    pub fn new(random: Random, without: Option<Step>) -> Self {
        let (memory, dirty) = (BTreeMap::new(), BTreeMap::new());
        let (owners, free) = (BTreeMap::new(), BTreeMap::new());
        Self { random, without, memory, dirty, tlb: BTreeSet::new(), owners, free, next: FIRST, wrong: None }
    }

    fn does(&self, step: Step) -> bool {
        self.without != Some(step)
    }

    /// What has been wrong first.
    pub fn check(&self) -> Result<(), &'static str> {
        self.wrong.map_or(Ok(()), Err)
    }

    /// That, or what is left of a VM that is gone.
    pub fn check_end(&self) -> Result<(), &'static str> {
        self.check()?;
        if !self.owners.is_empty() {
            return Err("a frame was not returned");
        }
        if self.tlb.is_empty() { Ok(()) } else { Err("a translation waits for the VMID's next life") }
    }

    fn find_wrong(&mut self, is_wrong: bool, text: &'static str) {
        if is_wrong && self.wrong.is_none() {
            self.wrong = Some(text);
        }
    }

    /// `range` goes to somebody who begins with its caches off, and must find nothing in it.
    fn must_be_clean(&mut self, range: &PaRange) {
        let lines = || range.start.0..range.end().0;
        self.find_wrong(self.memory.range(lines()).next().is_some(), "memory is not zero");
        self.find_wrong(
            self.dirty.range(lines()).next().is_some(),
            "a cache will write over what the next owner writes",
        );
        self.find_wrong(self.tlb.range(lines()).next().is_some(), "a CPU still finds its way to it");
    }

    /// What a CPU sees whose caches are on.
    fn line(&self, at: u64) -> Line {
        let memory = || self.memory.get(&at).copied().unwrap_or_default();
        self.dirty.get(&at).map_or_else(memory, |line| line.content)
    }

    fn store_line(&mut self, at: u64, content: Line) {
        self.dirty.insert(at, Dirty { content, under_way: false });
        // Any line may be written back at any time.
        if self.random.below(64) == 0 {
            self.write_back(at);
        }
    }

    fn store(&mut self, at: u64, value: u64) {
        let mut content = self.line(at & !(LINE - 1));
        content[(at % LINE / 8) as usize] = value;
        self.store_line(at & !(LINE - 1), content);
    }

    fn write_back(&mut self, at: u64) {
        match self.dirty.remove(&at) {
            Some(line) if line.content == [0; LINE_WORDS] => self.memory.remove(&at),
            Some(line) => self.memory.insert(at, line.content),
            None => None,
        };
    }

    fn clean(&mut self, at: u64) {
        if let Some(line) = self.dirty.get_mut(&at) {
            line.under_way = true;
        }
    }

    fn barrier(&mut self) {
        let cleaned: Vec<u64> = self.dirty.iter().filter(|(_, line)| line.under_way).map(|(at, _)| *at).collect();
        cleaned.into_iter().for_each(|at| self.write_back(at));
    }

    /// The instructions of [`crate::scrub_line`], on a line.
    fn scrub_line(&mut self, at: u64) {
        for instruction in crate::scrub_line!().lines() {
            match instruction {
                "dc zva, {at}" if self.does(Step::Zero) => self.store_line(at, [0; LINE_WORDS]),
                "dc cvac, {at}" if self.does(Step::Clean) => self.clean(at),
                "dc zva, {at}" | "dc cvac, {at}" => {}
                other => panic!("the model does not know {other}"),
            }
        }
    }

    /// The allocator, and the image's steps: a block for `owner`.
    pub fn give_out(&mut self, size: u64, owner: Owner) -> PaRange {
        let free = self.free.get_mut(&size).and_then(Vec::pop);
        let block = PaRange { start: Pa(free.unwrap_or_else(|| self.never_used(size))), size };
        clear(&block, self);
        self.must_be_clean(&block);
        for frame in block.outer_frames() {
            self.owners.insert(frame * FRAME_SIZE, owner);
        }
        block
    }

    /// A frame gets another owner.
    pub fn change(&mut self, frame: Pa, to: Owner) {
        self.owners.insert(frame.0, to);
    }

    /// A block that was free since power-on: the allocator has split what it is of.
    fn never_used(&mut self, size: u64) -> u64 {
        let start = self.next.next_multiple_of(size);
        self.next = start + size;
        self.link(&PaRange { start: Pa(start), size });
        start
    }

    fn link(&mut self, block: &PaRange) {
        for frame in block.outer_frames() {
            self.store(frame * FRAME_SIZE, LINK);
        }
    }

    /// The VM runs: it uses all that it can reach, with its caches on and then off, and each TLB holds all of it.
    pub fn run(&mut self, stage2: &Stage2) {
        for table in [stage2.root(), Pa(stage2.root().0 + FRAME_SIZE)] {
            self.walk(table.0, 1);
        }
        let reached = self.tlb.iter().filter(|frame| self.owners.get(frame) != Some(&Owner::Tables));
        for frame in reached.copied().collect::<Vec<u64>>() {
            let at = frame + self.random.below(FRAME_SIZE / 8) * 8;
            self.store(at, SECRET);
            if self.random.below(2) == 0 {
                self.write_back(at & !(LINE - 1));
            }
        }
    }

    fn walk(&mut self, table: u64, level: u32) {
        self.tlb.insert(table);
        for index in 0..512 {
            let entry = self.read(Pa(table), index);
            let target = entry & 0x0000_ffff_ffff_f000;
            match (entry & 0b11, level) {
                (0b11, 1 | 2) => self.walk(target, level + 1),
                (0b11 | 0b01, _) => {
                    let frames = 1 << (9 * (3 - level));
                    self.tlb.extend((0..frames).map(|frame| target + frame * FRAME_SIZE));
                }
                _ => {}
            }
        }
    }
}

impl TableMemory for Machine {
    fn read(&self, table: Pa, index: u64) -> u64 {
        self.line(table.0 + index * 8 / LINE * LINE)[index as usize % LINE_WORDS]
    }

    fn write(&mut self, table: Pa, index: u64, entry: u64) {
        if entry != 0 || self.does(Step::Unmap) {
            self.store(table.0 + index * 8, entry);
        }
    }

    fn allocate(&mut self) -> Option<Pa> {
        Some(self.give_out(FRAME_SIZE, Owner::Tables).start)
    }
}

impl Clearing for Machine {
    fn clear_link(&mut self, frame: Pa) {
        if self.does(Step::ClearLink) {
            self.store(frame.0, 0);
        }
    }

    fn clean_line(&mut self, frame: Pa) {
        if self.does(Step::CleanLink) {
            self.clean(frame.0);
        }
    }

    fn complete(&mut self) {
        if self.does(Step::LinkBarrier) {
            self.barrier();
        }
    }
}

impl Hands for Machine {
    fn forget_translations(&mut self) {
        if self.does(Step::Forget) {
            self.tlb.clear();
        }
    }

    fn owner(&self, frame: Pa) -> Option<Owner> {
        self.owners.get(&frame.0).copied()
    }

    fn scrub(&mut self, range: PaRange) -> u64 {
        // An interrupt comes whenever it likes.
        let done = range.size.min(SCRUB_STEP * (1 + self.random.below(64)));
        for line in 0..done / LINE {
            self.scrub_line(range.start.0 + line * LINE);
        }
        done
    }

    fn complete(&mut self) {
        if self.does(Step::ScrubBarrier) {
            self.barrier();
        }
    }

    fn give_back(&mut self, range: PaRange, owner: Owner) {
        for frame in range.outer_frames() {
            let had = self.owners.remove(&(frame * FRAME_SIZE));
            self.find_wrong(had != Some(owner), "it was somebody else's");
        }
        self.must_be_clean(&range);
        self.link(&range);
        self.free.entry(range.size).or_default().push(range.start.0);
    }
}

/// Tables out of one block.
pub struct Held<'m> {
    pub machine: &'m mut Machine,
    pub next: u64,
}

impl TableMemory for Held<'_> {
    fn read(&self, table: Pa, index: u64) -> u64 {
        self.machine.read(table, index)
    }

    fn write(&mut self, table: Pa, index: u64, entry: u64) {
        self.machine.write(table, index, entry);
    }

    fn allocate(&mut self) -> Option<Pa> {
        self.next += FRAME_SIZE;
        Some(Pa(self.next - FRAME_SIZE))
    }
}
