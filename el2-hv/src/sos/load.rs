//! Building a life of the service partition: frames that are held for it, its image mapped in place.

use core::ops::Range;

use hv_abi::guest_map::{ARCHIVE_BASE, MAILBOX_BASE, RAM_BASE};
use hv_abi::handle::Label;
use hv_abi::sos_image::{LIFE_MAGIC, LifeRecord, SosLayout};
use hv_arch::ram;
use hv_core::addr::{FRAME_SIZE, Ipa, Pa, PaRange};
use hv_core::frames::Owner;
use hv_core::sos::Event;
use hv_core::stage2::{Access, MapError, ROOT_SIZE, Stage2, TableMemory, tables_for};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U32, U64};

use crate::cpu::Local;
use crate::machine::machine;
use crate::memory::frames;
use crate::vm::{self, SOS_VM};
use crate::{SOS, VMS, entropy, interrupts};

/// Bytes held for its tables and mailbox, besides its RAM. The archive lies where the loader has put it.
pub const fn extra(ram: u64, archive: u64) -> u64 {
    let tables = tables_for(ram) + tables_for(archive + FRAME_SIZE) + tables_for(FRAME_SIZE);
    (ROOT_SIZE + FRAME_SIZE + tables * FRAME_SIZE).next_power_of_two()
}

/// Its image and the frames that are held for it.
#[derive(Clone, Copy, Debug)]
pub struct Image {
    /// What the header says.
    pub layout: SosLayout,
    /// The file, in the boot archive.
    pub file: PaRange,
    /// Its RAM.
    pub ram: PaRange,
    /// Its tables and mailbox.
    pub extra: PaRange,
}

/// Tables out of what is held.
struct HeldTables {
    next: Pa,
    end: Pa,
}

impl TableMemory for HeldTables {
    fn read(&self, table: Pa, index: u64) -> u64 {
        ram::NoNewTables.read(table, index)
    }

    fn write(&mut self, table: Pa, index: u64, entry: u64) {
        ram::NoNewTables.write(table, index, entry);
    }

    fn fill(&mut self, table: Pa, places: Range<u64>, entry: u64, step: u64) -> u64 {
        ram::NoNewTables.fill(table, places, entry, step)
    }

    fn allocate(&mut self) -> Option<Pa> {
        let table = self.next;
        if table.0 + FRAME_SIZE > self.end.0 {
            return None;
        }
        self.next = Pa(table.0 + FRAME_SIZE);
        Some(table)
    }
}

/// Makes its slot ready to be loaded; whether that was possible.
pub fn claim(image: Option<&Image>) -> bool {
    let (Some(image), Some(label)) = (image, Label::new("service-partition")) else {
        return false;
    };
    vm::set_up(SOS_VM, label, 1, image.extra.start)
}

/// How far a life is built: all zero before it is begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Loading {
    part: u8,
    /// Bytes of the part that are done.
    done: u64,
    /// Bytes of what is held that are tables now.
    tables: u64,
}

impl Loading {
    /// Nothing is.
    pub const BEGIN: Self = Self { part: 0, done: 0, tables: 0 };
}

/// What came of a turn of loading.
pub enum Load {
    /// It can run.
    Done,
    /// Others are to run.
    Later,
    /// It cannot run.
    Failed,
}

/// A part of building a life.
enum Part {
    /// Frames change from held to its own.
    Own(PaRange),
    Copy {
        to: Pa,
        from: PaRange,
    },
    Map {
        at: u64,
        range: PaRange,
        access: Access,
    },
}

/// Bytes that are copied, or change their owner, between two looks for interrupts.
const COPY_STEP: u64 = 16 << 10;
const OWN_STEP: u64 = 1 << 20;
/// IPA that is mapped between two looks: one table of pages.
const MAP_STEP: u64 = 2 << 20;

/// Loads it, on the CPU that has picked it, until others are to run.
pub fn load(local: &mut Local) -> Load {
    let (image, mut loading) = {
        let sos = SOS.lock();
        let Some(image) = sos.image else { return Load::Failed };
        if sos.loading == Loading::BEGIN {
            // Not before: a guest's exit may have begun this life.
            vm::reset_devices(SOS_VM);
            let life = sos.life.account().lives;
            match &sos.woken_by {
                Some(label) => log::info!("sos: life {life}, woken by {label}"),
                None => log::info!("sos: life {life}, woken by hv"),
            }
        }
        (image, sos.loading)
    };
    loop {
        match step(&image, &mut loading) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                log::error!("sos: cannot be loaded: {error}");
                return Load::Failed;
            }
        }
        if interrupts::make_way(local) {
            SOS.lock().loading = loading;
            return Load::Later;
        }
    }
    begin(&image);
    // From here on it is a vCPU like others, which may have to wait for its turn.
    if interrupts::make_way(local) { Load::Later } else { Load::Done }
}

/// Its memory is there: its vCPU runs from now on.
fn begin(image: &Image) {
    let mut sos = SOS.lock();
    let record = Pa(image.ram.end().0 - FRAME_SIZE);
    let content = LifeRecord {
        magic: U64::new(LIFE_MAGIC),
        abi: U32::new(hv_abi::ABI_VERSION),
        life: U32::new(sos.life.account().lives),
        memory: U64::new(image.ram.size - FRAME_SIZE),
        archive: U64::new(machine().archive.size),
        counter_hz: U64::new(machine().counter_hz),
        seed: entropy::fresh_seed(),
    };
    ram::write(record, content.as_bytes());
    hv_arch::cache::clean_to_poc(record, size_of::<LifeRecord>() as u64);
    hv_arch::cache::invalidate_instructions();
    let vm = &VMS[SOS_VM.index()];
    vm.mailbox.lock().attach(Pa(image.extra.start.0 + ROOT_SIZE));
    vm.control.lock().memory = image.ram.size;
    vm::loaded(image.layout.entry, RAM_BASE + (image.ram.size - FRAME_SIZE));
    sos.event(Event::Loaded);
}

/// Part `number`: read-only bytes are mapped where they lie, where that can be; writable ones are copied, the rest is zero.
fn part(image: &Image, number: u8) -> Option<Part> {
    let (read_only, writable) = (image.layout.read_only, image.layout.writable);
    let own = |start: u64, size: u64| PaRange { start: Pa(image.ram.start.0 + start), size };
    let file = |start: u64, size: u64| PaRange { start: Pa(image.file.start.0 + start), size };
    let in_place = image.file.start.is_aligned_to(FRAME_SIZE);
    Some(match number {
        0 => Part::Own(image.ram),
        1 => Part::Own(image.extra),
        2 => Part::Copy { to: image.ram.start, from: file(0, if in_place { 0 } else { read_only }) },
        3 => {
            let range = if in_place { file(0, read_only) } else { own(0, read_only) };
            Part::Map { at: RAM_BASE, range, access: Access::ReadExecute }
        }
        4 => Part::Copy { to: own(read_only, 0).start, from: file(read_only, writable) },
        5 => {
            let range = own(read_only, image.ram.size - read_only);
            Part::Map { at: RAM_BASE + read_only, range, access: Access::Ram }
        }
        6 => {
            let archive = machine().archive;
            let frames = archive.outer_frames();
            let range = PaRange { start: archive.start.frame(), size: (frames.end - frames.start) * FRAME_SIZE };
            Part::Map { at: ARCHIVE_BASE, range, access: Access::Read }
        }
        7 => {
            let range = PaRange { start: Pa(image.extra.start.0 + ROOT_SIZE), size: FRAME_SIZE };
            Part::Map { at: MAILBOX_BASE, range, access: Access::ReadWrite }
        }
        _ => return None,
    })
}

/// Does what can be done without a look for interrupts; whether there is more.
fn step(image: &Image, loading: &mut Loading) -> Result<bool, MapError> {
    let done = loading.done;
    let (size, step) = match part(image, loading.part) {
        None => return Ok(false),
        Some(Part::Own(range)) => {
            let (whole, step) = (range.size, OWN_STEP.min(range.size - done));
            let range = PaRange { start: Pa(range.start.0 + done), size: step };
            frames().change(&range, Owner::Held, Owner::Vm(SOS_VM));
            (whole, step)
        }
        Some(Part::Copy { to, from }) => {
            let step = COPY_STEP.min(from.size - done);
            ram::copy_clean(Pa(to.0 + done), Pa(from.start.0 + done), step);
            (from.size, step)
        }
        Some(Part::Map { at, range, access }) => {
            let at = at + done;
            let step = (MAP_STEP - at % MAP_STEP).min(range.size - done);
            let piece = PaRange { start: Pa(range.start.0 + done), size: step };
            map(image, &mut loading.tables, Ipa(at), piece, access)?;
            (range.size, step)
        }
    };
    loading.done += step;
    if loading.done == size {
        (loading.part, loading.done) = (loading.part + 1, 0);
    }
    Ok(true)
}

fn map(image: &Image, used: &mut u64, at: Ipa, range: PaRange, access: Access) -> Result<(), MapError> {
    let root = image.extra.start;
    // Behind the root and the mailbox.
    let first = root.0 + ROOT_SIZE + FRAME_SIZE;
    let mut tables = HeldTables { next: Pa(first + *used), end: image.extra.end() };
    let mapped = Stage2::new(root).map(at, range, access, &mut tables);
    *used = tables.next.0 - first;
    mapped
}
