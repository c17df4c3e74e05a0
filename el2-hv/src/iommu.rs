//! What devices reach of memory, where an SMMU is before them: nothing, but for streams that are attached.
//!
//! All attached streams have one map, of EL2's own: frames of guests, and what EL2 has shared with a device, each at its own
//! address. It follows each change of a frame's owner, so EL2's image, stacks and tables are never in it, and a frame has left
//! it before anybody else gets it. The tables are made when the first stream is attached; until then nothing costs anything.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use arrayvec::ArrayVec;
use hv_arch::cache;
use hv_arch::lock::{Mutex, MutexGuard};
use hv_arch::ram::{NoNewTables, Tables};
use hv_board::smmu::{Failure, MEMORY, Mmio, Smmu};
use hv_board::{Board, DmaMemory, Irq, MAX_BANKS, SmmuV3};
use hv_core::addr::{FRAME_SIZE, IntId, Ipa, Pa, PaRange, Vmid};
use hv_core::frames::{FrameTable, MAX_VMS, Owner};
use hv_core::ledger::Witness;
use hv_core::smmu::{Ste, StreamId};
use hv_core::stage2::{MapError, PageMap, Piece, ROOT_SIZE, Stage2, TableMemory};
use hv_core::switch::Bucket;
use spin::Once;

use crate::machine::machine;
use crate::memory::{Frames, frames};
use crate::vm::SOS_VM;
use crate::witness::Chosen;

/// The tag of the map in the SMMU: the last one of 8 bits, which no VM has.
const DEVICES: Vmid = Vmid(0xff);
const _: () = assert!(MAX_VMS < DEVICES.0 as usize);

/// Streams of an SMMU's table, at most.
const MAX_STREAMS: usize = 256;
/// Refused accesses after which a stream is cut off: what it may do to the log and to the CPU is bounded by that.
const REFUSALS_MAX: u8 = 64;
/// Events that one interrupt takes, at most: four times what the queue holds.
const EVENTS_MAX: u32 = 512;
/// Events that go to the log in a second, and at once.
const LOGGED_A_SECOND: u64 = 2;
const LOGGED_AT_ONCE: u64 = 8;

/// The board's SMMU.
static IOMMU: Once<Iommu> = Once::new();

struct Iommu {
    at: Pa,
    irqs: [Option<Irq>; 2],
    banks: ArrayVec<PaRange, MAX_BANKS>,
    /// Streams were attached, and the map follows the frames' owners.
    follows: AtomicBool,
    state: Mutex<State>,
}

struct State {
    smmu: Smmu<Mmio>,
    map: Option<PageMap>,
    /// It did not follow, and aborts everything since.
    closed: bool,
    /// Refused accesses of each stream since it was attached.
    refused: [u8; MAX_STREAMS],
    logged: Bucket,
    /// Events that were not logged.
    unsaid: u32,
}

/// Why a stream is not attached. It reaches nothing then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttachError {
    /// The board has no SMMU, or several, or EL2 cannot use it.
    NoSmmu,
    /// No frames for the map's tables.
    NoMemory,
    /// RAM of the board is beyond what the map has.
    TooFar(Ipa),
    /// The SMMU does not follow, and aborts everything since.
    Closed,
    /// The SMMU refused.
    Failed(Failure),
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSmmu => f.write_str("no SMMU that EL2 drives"),
            Self::NoMemory => f.write_str("no memory for the map of devices"),
            Self::TooFar(at) => write!(f, "RAM at {at} is beyond the map of devices"),
            Self::Closed => f.write_str("the SMMU failed, and aborts everything since"),
            Self::Failed(failure) => write!(f, "the SMMU {failure}"),
        }
    }
}

/// Turns the board's SMMU on, with all streams aborted. Of several, all stay off and abort: nothing says before which of them
/// a stream is.
pub fn start(board: &Board) {
    let [found] = board.smmus.as_slice() else {
        if !board.smmus.is_empty() {
            log::warn!("smmu:    {} of them: none is used, all DMA stays blocked", board.smmus.len());
        }
        return;
    };
    if let Some(smmu) = turn_on(found) {
        let at = found.regs.start;
        log::info!("smmu:    at {at}: {}; {} streams, each blocked", smmu.features(), smmu.streams());
        let logged = Bucket::new(LOGGED_A_SECOND, LOGGED_AT_ONCE);
        let refused = [0; MAX_STREAMS];
        let state = Mutex::new(State { smmu, map: None, closed: false, refused, logged, unsaid: 0 });
        let irqs = [found.events, found.errors];
        let banks = board.memory.clone();
        IOMMU.call_once(|| Iommu { at, irqs, banks, follows: AtomicBool::new(false), state });
    }
}

fn turn_on(found: &SmmuV3) -> Option<Smmu<Mmio>> {
    let at = found.regs.start;
    // SAFETY: the tree says that an SMMUv3 is there, it is mapped as a device, and boot has only closed it before.
    let Some(hardware) = (unsafe { Mmio::new(found.regs, cache::clean_and_invalidate) }) else {
        log::warn!("smmu:    at {at} has {} bytes of registers: it stays off", found.regs.size);
        return None;
    };
    let Ok(start) = frames().allocate(MEMORY, Owner::Tables) else {
        log::warn!("smmu:    no memory for the one at {at}: it stays off");
        return None;
    };
    let range = PaRange { start, size: MEMORY };
    // SAFETY: the frames were allocated for this and nothing else, are RAM that EL2 maps, and stay the SMMU's for ever.
    let memory = unsafe { DmaMemory::new(range) }?;
    match Smmu::start(hardware, memory) {
        Ok(smmu) => Some(smmu),
        Err(failure) => {
            log::warn!("smmu:    at {at} {failure}: all DMA stays blocked");
            None
        }
    }
}

/// The SMMU's interrupts, to be routed.
pub fn irqs() -> impl Iterator<Item = Irq> {
    IOMMU.get().into_iter().flat_map(|iommu| iommu.irqs).flatten()
}

/// Lets a device reach guests' memory and what was [shared](share) with devices.
///
/// # Errors
/// See [`AttachError`]. The device reaches nothing then.
pub fn attach(stream: StreamId) -> Result<(), AttachError> {
    let iommu = IOMMU.get().ok_or(AttachError::NoSmmu)?;
    iommu.follow()?;
    let mut state = iommu.state.lock();
    let root = state.map.as_ref().map(PageMap::root).ok_or(AttachError::NoMemory)?;
    let entry = Ste::stage_2(root, DEVICES, state.smmu.features());
    if let Some(refused) = state.refused.get_mut(stream.0 as usize) {
        *refused = 0;
    }
    iommu.set(&mut state, stream, &entry)
}

/// A device reaches nothing any more; on return, what it had begun is over.
///
/// # Errors
/// See [`AttachError`]. Where the SMMU does not follow, nothing behind it reaches anything.
pub fn detach(stream: StreamId) -> Result<(), AttachError> {
    let iommu = IOMMU.get().ok_or(AttachError::NoSmmu)?;
    iommu.set(&mut iommu.state.lock(), stream, &Ste::ABORT)
}

/// Lets attached devices reach memory of EL2's, whole frames of nothing but what it shares with them, for ever. After the first
/// stream is attached.
///
/// # Errors
/// Nothing is attached yet.
pub fn share(range: PaRange) -> Result<(), AttachError> {
    let iommu = IOMMU.get().ok_or(AttachError::NoSmmu)?;
    let mut state = iommu.state.lock();
    let mut memory = Walked { coherent: state.smmu.features().coherent };
    state.map.as_mut().ok_or(AttachError::NoMemory)?.allow(range, &mut memory);
    Ok(())
}

/// Serves an interrupt, if it is the SMMU's.
pub fn interrupt(id: IntId) -> bool {
    let Some(iommu) = IOMMU.get() else { return false };
    let is_its = iommu.irqs.iter().flatten().any(|irq| irq.id == id);
    if is_its {
        iommu.take_reports(&mut iommu.state.lock());
    }
    is_its
}

/// Whether devices may have frames of `owner` as buffers. The service partition's are copied from and to.
const fn is_reached(owner: Owner) -> bool {
    match owner {
        Owner::Vm(id) => id.0 != SOS_VM.0,
        Owner::Shared | Owner::Mailboxes => true,
        _ => false,
    }
}

impl Iommu {
    /// Makes the map, if there is none yet, of what guests have now. The frames are locked meanwhile, so that none is missed.
    fn follow(&self) -> Result<(), AttachError> {
        let mut frames = frames();
        if self.follows.load(Ordering::Relaxed) {
            return Ok(());
        }
        let root = frames.allocate(ROOT_SIZE, Owner::Tables).map_err(|_| AttachError::NoMemory)?;
        let mut map = PageMap::new(root);
        let covered = self.banks.iter().try_for_each(|bank| map.cover(*bank, &mut Tables { frames: &mut frames }));
        if let Err(error) = covered {
            take_down(map.into_tables(), &mut frames);
            return Err(match error {
                MapError::Range(at) | MapError::Mapped(at) => AttachError::TooFar(at),
                MapError::NoMemory => AttachError::NoMemory,
            });
        }
        let mut state = self.state.lock();
        let mut memory = Walked { coherent: state.smmu.features().coherent };
        for bank in &self.banks {
            publish_tables(&map, bank, &memory);
            for frame in bank.outer_frames().map(|frame| Pa(frame * FRAME_SIZE)) {
                if frames.table().owner(frame).is_some_and(is_reached) {
                    map.allow(PaRange { start: frame, size: FRAME_SIZE }, &mut memory);
                }
            }
        }
        state.map = Some(map);
        self.follows.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn set(&self, state: &mut State, stream: StreamId, entry: &Ste) -> Result<(), AttachError> {
        if state.closed {
            return Err(AttachError::Closed);
        }
        match state.smmu.set(stream, entry) {
            Ok(()) => Ok(()),
            Err(failure @ Failure::NoStream(_)) => Err(AttachError::Failed(failure)),
            Err(failure) => {
                self.close(state, failure);
                Err(AttachError::Failed(failure))
            }
        }
    }

    /// What it lets through is not known any more, so it is to let nothing through.
    fn close(&self, state: &mut State, failure: Failure) {
        log::error!("smmu:    at {} {failure}: all DMA is blocked from here on", self.at);
        state.closed = true;
        if let Err(failure) = state.smmu.close() {
            panic!("the SMMU at {} {failure}: devices may reach all memory", self.at);
        }
    }

    /// Frames have another owner.
    fn changed(&self, range: &PaRange, from: Owner, to: Owner) {
        let (before, now) = (is_reached(from), is_reached(to));
        if before == now || !self.follows.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.state.lock();
        let mut memory = Walked { coherent: state.smmu.features().coherent };
        let Some(map) = &mut state.map else { return };
        if now {
            return map.allow(*range, &mut memory);
        }
        map.forbid(*range, &mut memory);
        let frames = range.outer_frames();
        let start = Ipa(frames.start * FRAME_SIZE);
        if state.closed {
            return;
        }
        if let Err(failure) = state.smmu.invalidate_frames(DEVICES, start, frames.end - frames.start) {
            self.close(&mut state, failure);
        }
    }

    fn take_reports(&self, state: &mut MutexGuard<'_, State>) {
        if let Some(errors) = state.smmu.take_errors() {
            log::error!("smmu:    at {}: {errors}", self.at);
        }
        let now = machine().up_ns();
        for _ in 0..EVENTS_MAX {
            let Some(event) = state.smmu.take_event() else { break };
            if state.logged.wait(1, now).is_none() {
                state.logged.take(1, now);
                log::warn!("smmu:    {event}");
            } else {
                state.unsaid = state.unsaid.saturating_add(1);
            }
            self.count(state, event.stream);
        }
        let lost = state.smmu.take_overflow();
        if (lost || state.unsaid > 0) && state.logged.wait(1, now).is_none() {
            state.logged.take(1, now);
            let unsaid = core::mem::take(&mut state.unsaid);
            let more = if lost { ", and more than it could keep" } else { "" };
            log::warn!("smmu:    {unsaid} more events{more}");
        }
    }

    /// A stream that is refused again and again is cut off.
    fn count(&self, state: &mut State, stream: StreamId) {
        let Some(refused) = state.refused.get_mut(stream.0 as usize) else { return };
        *refused = refused.saturating_add(1);
        if *refused == REFUSALS_MAX {
            log::error!("smmu:    stream {stream}: cut off after {REFUSALS_MAX} accesses that were refused");
            // A failure has closed it.
            let _ = self.set(state, stream, &Ste::ABORT);
        }
    }
}

/// Gives the tables of a map that could not be made back.
fn take_down(mut tables: Stage2, frames: &mut Frames) {
    let mut memory = NoNewTables;
    while let Some(piece) = tables.take_piece(&mut memory) {
        if let Piece::Table(table) = piece {
            frames.free(PaRange { start: table, size: FRAME_SIZE }, Owner::Tables);
        }
    }
    frames.free(PaRange { start: tables.root(), size: ROOT_SIZE }, Owner::Tables);
}

/// Cleans what `cover` has written for a bank: the entries that lead to the tables. The tables themselves were zeroed, cleaned.
fn publish_tables(map: &PageMap, bank: &PaRange, memory: &Walked) {
    memory.clean(map.root(), ROOT_SIZE);
    map.tables_above(bank, memory).for_each(|table| memory.clean(table, FRAME_SIZE));
}

/// The map's tables, which the SMMU walks.
struct Walked {
    coherent: bool,
}

impl Walked {
    fn clean(&self, at: Pa, size: u64) {
        if !self.coherent {
            cache::clean_to_poc(at, size);
        }
    }
}

impl TableMemory for Walked {
    fn read(&self, table: Pa, index: u64) -> u64 {
        NoNewTables.read(table, index)
    }

    fn write(&mut self, table: Pa, index: u64, entry: u64) {
        NoNewTables.write(table, index, entry);
        self.clean(Pa(table.0 + index * 8), 8);
    }

    fn fill(&mut self, table: Pa, places: core::ops::Range<u64>, entry: u64, step: u64) -> u64 {
        let (start, count) = (places.start, places.end.saturating_sub(places.start));
        let filled = NoNewTables.fill(table, places, entry, step);
        self.clean(Pa(table.0 + start * 8), count * 8);
        filled
    }

    fn allocate(&mut self) -> Option<Pa> {
        None
    }
}

/// The witness of changes of owners that the map follows, besides the build's own.
pub struct Follower(Chosen);

impl Witness for Follower {
    const ROOM: u64 = Chosen::ROOM;

    fn new(room: &'static mut [u8], banks: &[PaRange]) -> Self {
        Self(Chosen::new(room, banks))
    }

    #[inline]
    fn refuses(&mut self, size: u64, owner: Owner) -> bool {
        self.0.refuses(size, owner)
    }

    #[inline]
    fn changed(&mut self, table: &FrameTable<'_>, range: &PaRange, from: Owner, to: Owner) {
        if let Some(iommu) = IOMMU.get() {
            iommu.changed(range, from, to);
        }
        self.0.changed(table, range, from, to);
    }

    #[inline]
    fn reserved(&mut self, table: &FrameTable<'_>, range: &PaRange, to: Owner) {
        self.0.reserved(table, range, to);
    }
}
