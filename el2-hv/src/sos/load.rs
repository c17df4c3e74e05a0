//! Building a life of the service partition: frames that are held for it, its image mapped in place.

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

use crate::machine::machine;
use crate::memory::frames;
use crate::vm::{self, SOS_VM};
use crate::{SOS, VMS};

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

/// Loads it, on the CPU that has picked it; whether it can run.
pub fn load() -> bool {
    let mut sos = SOS.lock();
    let Some(image) = sos.image else { return false };
    let life = sos.life.account().lives;
    let seed = sos.fresh_seed();
    let mut frames = frames();
    frames.change(&image.ram, Owner::Held, Owner::Vm(SOS_VM));
    frames.change(&image.extra, Owner::Held, Owner::Vm(SOS_VM));
    drop(frames);
    if let Err(error) = build(&image) {
        log::error!("sos: cannot be loaded: {error}");
        return false;
    }
    let record = Pa(image.ram.end().0 - FRAME_SIZE);
    let content = LifeRecord {
        magic: U64::new(LIFE_MAGIC),
        abi: U32::new(hv_abi::ABI_VERSION),
        life: U32::new(life),
        memory: U64::new(image.ram.size - FRAME_SIZE),
        archive: U64::new(machine().archive.size),
        counter_hz: U64::new(machine().counter_hz),
        seed,
    };
    ram::write(record, content.as_bytes());
    hv_arch::cache::clean_to_poc(record, size_of::<LifeRecord>() as u64);
    hv_arch::cache::invalidate_instructions();
    vm::loaded(image.layout.entry, RAM_BASE + (image.ram.size - FRAME_SIZE));
    sos.event(Event::Loaded);
    true
}

/// Maps its memory: read-only parts in place, writable ones copied, the rest zero.
fn build(image: &Image) -> Result<(), MapError> {
    let root = image.extra.start;
    let mailbox = Pa(root.0 + ROOT_SIZE);
    let mut tables = HeldTables { next: Pa(mailbox.0 + FRAME_SIZE), end: image.extra.end() };
    let mut stage2 = Stage2::new(root);
    let (read_only, writable) = (image.layout.read_only, image.layout.writable);
    let part = |start: u64, size: u64| PaRange { start: Pa(image.ram.start.0 + start), size };
    if image.file.start.is_aligned_to(FRAME_SIZE) {
        let in_place = PaRange { start: image.file.start, size: read_only };
        stage2.map(Ipa(RAM_BASE), in_place, Access::ReadExecute, &mut tables)?;
    } else {
        ram::copy_clean(image.ram.start, image.file.start, read_only);
        stage2.map(Ipa(RAM_BASE), part(0, read_only), Access::ReadExecute, &mut tables)?;
    }
    ram::copy_clean(Pa(image.ram.start.0 + read_only), Pa(image.file.start.0 + read_only), writable);
    stage2.map(Ipa(RAM_BASE + read_only), part(read_only, image.ram.size - read_only), Access::Ram, &mut tables)?;
    let archive = machine().archive;
    let frames = archive.outer_frames();
    let whole = PaRange { start: archive.start.frame(), size: (frames.end - frames.start) * FRAME_SIZE };
    stage2.map(Ipa(ARCHIVE_BASE), whole, Access::Read, &mut tables)?;
    stage2.map(Ipa(MAILBOX_BASE), PaRange { start: mailbox, size: FRAME_SIZE }, Access::ReadWrite, &mut tables)?;
    let vm = &VMS[SOS_VM.index()];
    vm.mailbox.lock().attach(mailbox);
    vm.control.lock().memory = image.ram.size;
    Ok(())
}
