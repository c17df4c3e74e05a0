//! An SMMU that lets each device reach what its stream's entry says, and nothing where nobody has said anything.
//!
//! The stream table is linear, of 256 entries: those of a PCI host's bus 0, whose streams are the requesters' numbers. EL2
//! assigns no other bus. A table of two levels, which an SMMU need not have (IDR0.ST_LEVEL), would save memory only where
//! identifiers are sparse. A stream beyond the table is aborted (IHI0070 §7.3.3).
//!
//! Commands are waited for: when a call returns, what it says is in force, and nothing goes by what was before.

use arrayvec::ArrayVec;
use hv_core::addr::{FRAME_SIZE, Ipa, PaRange, Vmid};
use hv_core::smmu::{
    COMMAND_WORDS, Command, EVENT_WORDS, Event, Features, GlobalErrors, Lack, QueueIndex, QueueSize, STE_WORDS, Ste,
    StreamId,
};
use thiserror::Error;

use super::registers::{Hardware, Register};
use crate::dma::DmaMemory;
use crate::{barrier, wait};

/// Binary logarithms of the streams in the table, and of the entries of the queues.
const STREAM_BITS: u8 = 8;
const COMMAND_BITS: u8 = 6;
const EVENT_BITS: u8 = 7;

/// Bytes of an entry of each.
const STE: usize = STE_WORDS * 8;
const COMMAND: usize = COMMAND_WORDS * 8;
const EVENT: usize = EVENT_WORDS * 8;

/// Where they lie. Each is aligned to its size (§6.3.24, §6.3.26, §6.3.29).
const COMMANDS: usize = STE << STREAM_BITS;
const EVENTS: usize = COMMANDS + 0x1000;
const END: usize = EVENTS + (EVENT << EVENT_BITS);

/// Bytes of memory of an SMMU, which are aligned to as many.
pub const MEMORY: u64 = END.next_power_of_two() as u64;

const _: () = assert!(COMMAND << COMMAND_BITS <= 0x1000 && EVENTS.is_multiple_of(EVENT << EVENT_BITS));

/// CR0.SMMUEN, CR0.EVENTQEN, CR0.CMDQEN (§6.3.9).
const SMMUEN: u32 = 1 << 0;
const EVENTQEN: u32 = 1 << 2;
const CMDQEN: u32 = 1 << 3;
/// CR1 (§6.3.11): tables and queues are write-back, inner shareable. Where the SMMU is not coherent, they are not cached (0).
const WRITE_BACK: u32 = 0x35 << 6 | 0x35;
/// CR2.PTM (§6.3.12): what CPUs invalidate is not its affair; it is told. RECINVSID stays clear: a device without an entry
/// is not to fill the event queue.
const PTM: u32 = 1 << 2;
/// IRQ_CTRL.GERROR_IRQEN, IRQ_CTRL.EVENTQ_IRQEN (§6.3.16).
const INTERRUPTS: u32 = 1 << 0 | 1 << 2;
/// GBPA.ABORT, GBPA.UPDATE (§6.3.14).
const GBPA_ABORT: u32 = 1 << 20;
const GBPA_UPDATE: u32 = 1 << 31;
/// STRTAB_BASE.RA, CMDQ_BASE.RA, EVENTQ_BASE.WA: caches may keep it.
const ALLOCATE: u64 = 1 << 62;
/// EVENTQ_PROD.OVFLG and EVENTQ_CONS.OVACKFLG, which differ after events were lost (§7.4).
const OVERFLOW: u32 = 1 << 31;

/// Frames whose translations are forgotten one by one; of more, all of the VM's are.
const SINGLE_FRAMES: u64 = 16;

/// Why an SMMU does not do what it is told. What it lets through is then not known, unless [`Smmu::close`] succeeds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Failure {
    /// It cannot be used.
    #[error("lacks {0}")]
    Lacks(Lack),
    /// It does not take new controls.
    #[error("does not acknowledge {0:?}")]
    Unacknowledged(Register),
    /// It does not go on with commands.
    #[error("does not go on with its commands")]
    Stuck,
    /// It refuses a command, for a reason of §7.1 (1: unknown, 2: it cannot be read).
    #[error("refuses a command, reason {0}")]
    Refused(u8),
    /// The stream is beyond the table.
    #[error("has no stream {0}")]
    NoStream(StreamId),
}

/// An SMMU that is on.
#[derive(Debug)]
pub struct Smmu<H> {
    hardware: H,
    memory: DmaMemory,
    features: Features,
    stream_bits: u8,
    commands: QueueSize,
    /// Index of the next command.
    produced: QueueIndex,
    events: QueueSize,
    /// Index of the next event.
    consumed: QueueIndex,
}

impl<H: Hardware> Smmu<H> {
    /// Turns an SMMU on that [`super::block_all`] has turned off, with all streams aborted. Its memory is of [`MEMORY`] bytes.
    ///
    /// # Errors
    ///
    /// It lacks something, or does not follow. It then still aborts everything.
    ///
    /// # Panics
    ///
    /// If the memory is not aligned to its size.
    pub fn start(hardware: H, memory: DmaMemory) -> Result<Self, Failure> {
        assert!(memory.address(0).is_aligned_to(MEMORY), "an SMMU's memory at {}", memory.address(0));
        let [idr0, idr1, idr5] =
            [Register::Idr0, Register::Idr1, Register::Idr5].map(|register| hardware.read(register));
        let features = Features::of(idr0, idr1, idr5).map_err(Failure::Lacks)?;
        let (most_commands, most_events) = features.queue_bits;
        let mut smmu = Self {
            hardware,
            memory,
            features,
            stream_bits: STREAM_BITS.min(features.stream_bits),
            commands: QueueSize::new(COMMAND_BITS.min(most_commands)),
            produced: QueueIndex::START,
            events: QueueSize::new(EVENT_BITS.min(most_events)),
            consumed: QueueIndex::START,
        };
        smmu.abort_all_streams();
        smmu.place();
        smmu.turn_on()?;
        Ok(smmu)
    }

    fn abort_all_streams(&mut self) {
        for stream in 0..1 << self.stream_bits {
            let words = (0..).step_by(8).zip(Ste::ABORT.words());
            words.for_each(|(offset, word)| self.memory.write(stream * STE + offset, *word));
        }
        self.publish(0, STE << self.stream_bits);
        // No line of a cache is to be written over an event later.
        self.publish(EVENTS, EVENT << EVENT_BITS);
    }

    /// Tells it where table and queues are.
    fn place(&mut self) {
        let [table, commands, events] = [0, COMMANDS, EVENTS].map(|offset| self.memory.address(offset));
        let (command_bits, event_bits) = (u64::from(self.commands.bits()), u64::from(self.events.bits()));
        self.hardware.write(Register::Cr1, if self.features.coherent { WRITE_BACK } else { 0 });
        self.hardware.write(Register::Cr2, PTM);
        self.write_long([Register::StrtabBase, Register::StrtabBaseHigh], table.0 | ALLOCATE);
        // Linear (FMT 0), with so many streams.
        self.hardware.write(Register::StrtabBaseCfg, self.stream_bits.into());
        self.write_long([Register::CmdqBase, Register::CmdqBaseHigh], commands.0 | ALLOCATE | command_bits);
        self.write_long([Register::EventqBase, Register::EventqBaseHigh], events.0 | ALLOCATE | event_bits);
        let indices = [Register::CmdqProd, Register::CmdqCons, Register::EventqProd, Register::EventqCons];
        indices.into_iter().for_each(|index| self.hardware.write(index, QueueIndex::START.bits()));
        // Errors of the time before.
        let errors = self.hardware.read(Register::Gerror);
        self.hardware.write(Register::Gerrorn, errors);
    }

    /// The commands first, by which it forgets what it may have kept of the time before; itself last.
    fn turn_on(&mut self) -> Result<(), Failure> {
        self.control(CMDQEN)?;
        self.run(&[Command::CfgiAll, Command::TlbiNsnhAll])?;
        self.control(CMDQEN | EVENTQEN)?;
        self.hardware.write(Register::IrqCtrl, INTERRUPTS);
        if !wait::until(|| self.hardware.read(Register::IrqCtrlAck) == INTERRUPTS) {
            return Err(Failure::Unacknowledged(Register::IrqCtrl));
        }
        self.control(CMDQEN | EVENTQEN | SMMUEN)
    }

    /// Sets CR0; each bit is in force when CR0ACK shows it.
    fn control(&mut self, value: u32) -> Result<(), Failure> {
        self.hardware.write(Register::Cr0, value);
        let followed = wait::until(|| self.hardware.read(Register::Cr0Ack) == value);
        if followed { Ok(()) } else { Err(Failure::Unacknowledged(Register::Cr0)) }
    }

    fn write_long(&mut self, [low, high]: [Register; 2], value: u64) {
        self.hardware.write(low, value as u32);
        self.hardware.write(high, (value >> 32) as u32);
    }

    /// What it can.
    pub const fn features(&self) -> &Features {
        &self.features
    }

    /// Gives a stream another entry, by the steps of §3.21.3: it is never seen half of the one and half of the other.
    /// Meanwhile its accesses are aborted. What was kept of its translations is not forgotten: see [`Smmu::invalidate`].
    ///
    /// # Errors
    ///
    /// The stream is beyond the table, or the SMMU does not follow.
    pub fn set(&mut self, stream: StreamId, entry: &Ste) -> Result<(), Failure> {
        if stream.0 >= 1 << self.stream_bits {
            return Err(Failure::NoStream(stream));
        }
        let at = stream.0 as usize * STE;
        let [first, rest @ ..] = entry.words();
        self.memory.write(at, 0_u64);
        self.publish(at, STE);
        self.run(&[Command::CfgiSte(stream)])?;
        (at + 8..).step_by(8).zip(rest).for_each(|(offset, word)| self.memory.write(offset, *word));
        self.publish(at, STE);
        self.memory.write(at, *first);
        self.publish(at, STE);
        self.run(&[Command::CfgiSte(stream)])
    }

    /// Forgets all translations that have the tag. On return nothing goes by them.
    ///
    /// # Errors
    ///
    /// The SMMU does not follow.
    pub fn invalidate(&mut self, vmid: Vmid) -> Result<(), Failure> {
        self.run(&[Command::TlbiS12Vmall(vmid)])
    }

    /// Forgets the translations of `count` frames from `start` on that have the tag, and maybe others.
    ///
    /// # Errors
    ///
    /// The SMMU does not follow.
    pub fn invalidate_frames(&mut self, vmid: Vmid, start: Ipa, count: u64) -> Result<(), Failure> {
        if count > SINGLE_FRAMES {
            return self.invalidate(vmid);
        }
        let frame = |index| Command::TlbiS2Ipa(vmid, Ipa(start.0.wrapping_add(index * FRAME_SIZE)));
        let commands: ArrayVec<Command, { SINGLE_FRAMES as usize }> = (0..count).map(frame).collect();
        self.run(&commands)
    }

    /// The next event, if there is one.
    pub fn take_event(&mut self) -> Option<Event> {
        let register = self.hardware.read(Register::EventqProd);
        if self.events.count(self.events.index(register), self.consumed) == 0 {
            return None;
        }
        // The record is not read before the index says that it is there.
        barrier::after_device();
        let at = EVENTS + self.events.entry(self.consumed) * EVENT;
        self.refresh(at, EVENT);
        let words = [0, 8, 16, 24].map(|offset| self.memory.read(at + offset));
        // Its place is not given back before it is read.
        barrier::both_ways();
        self.consumed = self.events.after(self.consumed);
        let acknowledged = self.hardware.read(Register::EventqCons) & OVERFLOW;
        self.hardware.write(Register::EventqCons, self.consumed.bits() | acknowledged);
        Some(Event::decode(&words))
    }

    /// Whether events were lost since this was last asked, because the queue was full.
    pub fn take_overflow(&mut self) -> bool {
        let flag = self.hardware.read(Register::EventqProd) & OVERFLOW;
        let lost = self.hardware.read(Register::EventqCons) & OVERFLOW != flag;
        if lost {
            self.hardware.write(Register::EventqCons, self.consumed.bits() | flag);
        }
        lost
    }

    /// The errors that have come since this was last asked.
    pub fn take_errors(&mut self) -> Option<GlobalErrors> {
        let now = self.hardware.read(Register::Gerror);
        let errors = GlobalErrors::active(now, self.hardware.read(Register::Gerrorn));
        self.hardware.write(Register::Gerrorn, now);
        errors
    }

    /// Aborts everything, for good: GBPA first, so that nothing passes when it is off.
    ///
    /// # Errors
    ///
    /// It does not follow: what it lets through is not known.
    pub fn close(&mut self) -> Result<(), Failure> {
        self.hardware.write(Register::Gbpa, GBPA_ABORT | GBPA_UPDATE);
        if !wait::until(|| self.hardware.read(Register::Gbpa) & (GBPA_ABORT | GBPA_UPDATE) == GBPA_ABORT) {
            return Err(Failure::Unacknowledged(Register::Gbpa));
        }
        self.control(0)
    }

    /// Has commands done, and waits until they are.
    fn run(&mut self, commands: &[Command]) -> Result<(), Failure> {
        for command in commands.iter().chain(&[Command::Sync]) {
            if self.commands.is_full(self.produced, self.next_done()) {
                return Err(Failure::Stuck);
            }
            self.write_command(self.produced, *command);
            self.produced = self.commands.after(self.produced);
        }
        self.hardware.write(Register::CmdqProd, self.produced.bits());
        let done = |smmu: &Self| smmu.next_done() == smmu.produced;
        if !wait::until(|| done(self) || self.is_refused()) {
            return Err(Failure::Stuck);
        }
        if self.is_refused() { Err(self.skip_refused()) } else { Ok(()) }
    }

    fn write_command(&mut self, index: QueueIndex, command: Command) {
        let at = COMMANDS + self.commands.entry(index) * COMMAND;
        let [low, high] = command.encode();
        self.memory.write(at, low);
        self.memory.write(at + 8, high);
        self.publish(at, COMMAND);
    }

    /// Index of the command that it has not done yet.
    fn next_done(&self) -> QueueIndex {
        self.commands.index(self.hardware.read(Register::CmdqCons))
    }

    fn is_refused(&self) -> bool {
        let [now, seen] = [Register::Gerror, Register::Gerrorn].map(|register| self.hardware.read(register));
        GlobalErrors::active(now, seen).is_some_and(|errors| errors.has(GlobalErrors::COMMAND))
    }

    /// Puts a command that does nothing in place of the refused one and has it go on, so that it does the next ones (§7.1).
    fn skip_refused(&mut self) -> Failure {
        // CMDQ_CONS.ERR.
        let reason = (self.hardware.read(Register::CmdqCons) >> 24) as u8 & 0x7f;
        self.write_command(self.next_done(), Command::Sync);
        let acknowledged = self.hardware.read(Register::Gerrorn) ^ GlobalErrors::COMMAND;
        self.hardware.write(Register::Gerrorn, acknowledged);
        wait::until(|| self.next_done() == self.produced || self.is_refused());
        Failure::Refused(reason)
    }

    /// The SMMU sees what was written, before what is written next.
    fn publish(&mut self, offset: usize, size: usize) {
        self.refresh(offset, size);
        self.hardware.order();
    }

    fn refresh(&mut self, offset: usize, size: usize) {
        if !self.features.coherent {
            self.hardware.maintain(PaRange { start: self.memory.address(offset), size: size as u64 });
        }
    }
}

impl<H> Smmu<H> {
    /// Streams that its table has.
    pub const fn streams(&self) -> u32 {
        1 << self.stream_bits
    }
}

#[cfg(test)]
mod tests;
