//! Boot, from top to bottom. Each step says why it stands where it does.

mod cpus;

use hv_abi::archive::Archive;
use hv_abi::sos_image::{SosLayout, crc32};
use hv_arch::boot::ImageParts;
use hv_arch::guest::TrapControls;
use hv_arch::lock::Mutex;
use hv_arch::paging::{El2Map, Rights};
use hv_arch::{checksum, counter, cpu, ram, vgic};
use hv_board::gicv3::{Distributor, SgiTarget};
use hv_board::pl011::Pl011;
use hv_board::pl031::Pl031;
use hv_board::power::Power;
use hv_board::{Board, ColdRam, Gic};
use hv_core::addr::{CpuId, FRAME_SIZE, Pa, PaRange};
use hv_core::description::{self, ServicePartition};
use hv_core::frames::{FrameTable, Owner, table_size};
use hv_core::idreg::IdRegisters;
use hv_core::ledger::Witness;
use hv_core::psci::{Mitigations, Workaround};
use hv_core::sched::MAX_CPUS;
use hv_core::stage2;
use hv_core::trap_config::{
    CNTHCTL_GUEST, CPTR_GUEST, FINE_GRAINED_TRAPS_GUEST, HCR_GUEST, HCRX_GUEST, HSTR_GUEST, mdcr_guest,
};
use spin::Once;

use crate::cpu::{Local, run};
use crate::iommu::Follower;
use crate::machine::{BootMemory, Machine, machine};
use crate::memory::Frames;
use crate::sos::Image;
pub use cpus::{come_back, turn_on};
use cpus::{join, start_cpus};

use crate::{CONSOLE, FRAMES, MACHINE, SOS, entropy, iommu, log_ring, memory, report, slots, sos};

/// How the board is powered, as soon as the tree has said it.
pub static POWER: Once<Power> = Once::new();

/// Most bytes of a device tree: the entry code maps 4 MiB from the 2 MiB block that it begins in.
const TREE_MAX: usize = 2 << 20;

macro_rules! fatal {
    ($($argument:tt)*) => { report::fatal(format_args!($($argument)*)) };
}

/// Entered from `hv_arch::boot` with the MMU on and nothing mapped but the image and the device tree.
// SAFETY: the name is the one that `hv_arch::boot` calls; nothing else defines it.
#[unsafe(no_mangle)]
extern "C" fn hv_main(tree: u64) -> ! {
    // First, so that a fault from here on is reported.
    cpu::become_cpu(CpuId(0));
    run(bring_up(tree))
}

/// Everything up to the first guest; its stack is free again then.
#[inline(never)]
fn bring_up(tree: u64) -> Local {
    let started = counter::now();
    let parts = ImageParts::find();
    let image_crc = checksum::crc32(parts.file(), crc32);
    // The tree says where everything else is.
    let blob = read_tree(tree);
    let mut board = read_board(tree, blob);
    POWER.call_once(|| Power::of(&board));
    // CPUs are numbered from the one that boots.
    match board.cpu_by_mpidr(cpu::mpidr()) {
        Some(this) => board.cpus.swap(0, this.index()),
        None => {
            report::fatal_without_tree(format_args!("device tree: /cpus has no CPU {:#x}, which boots", cpu::mpidr()))
        }
    }
    // The map before any device is touched.
    let tree_range = PaRange { start: Pa(tree), size: blob.len() as u64 };
    let (root, map_tables) = map(&board, &parts, &tree_range);
    open_console(&board);
    log_ring::start();
    // DMA is blocked before anything is in memory that is worth protecting.
    block_dma(&board);
    let archive_range = archive_range(&board);
    let frames = describe_ram(&board, &parts, &tree_range, &archive_range);
    let distributor = open_gic(&board);
    let archive = check_archive(&archive_range);
    let description = read_description(archive);
    let facts = Facts { board: &board, archive: archive_range, started, image_crc, map_tables };
    MACHINE.call_once(|| describe_machine(&facts, &description, distributor));
    greet(&board, &description);
    FRAMES.call_once(|| Mutex::new(frames));
    scrub_what_is_free(board.cold_ram);
    hv_arch::boot::mark_started();
    let image = find_image(archive, &description, &archive_range);
    open_smmu(&board);
    slots::open(&board);
    entropy::gather(&board, tree_range.start);
    SOS.lock().configure(&description, image);
    CONSOLE.lock().configure(description.console_escape, description.console_first);
    start_cpus(&board, root);
    // Last: from here on guests may run.
    let local = join(CpuId(0), &board);
    CONSOLE.lock().listen();
    sos::power_on(&description.power);
    local
}

/// The device tree, or the end.
fn read_tree(tree: u64) -> &'static [u8] {
    if tree == 0 || !tree.is_multiple_of(8) {
        report::fatal_without_tree(format_args!(
            "no device tree: x0 is {tree:#x} at entry (QEMU: an Image by -kernel gets one)"
        ));
    }
    let header = PaRange { start: Pa(tree), size: hv_board::HEADER_SIZE as u64 };
    // SAFETY: the entry code has mapped 4 MiB around the tree; nobody writes it but EL2, which wipes
    // its seeds later.
    let header = unsafe { ram::constant(header) };
    let size = header.try_into().map_err(|_| 0).and_then(|header| hv_board::total_size(header).map_err(|_| 1));
    match size {
        Ok(size) if size <= TREE_MAX => {
            let range = PaRange { start: Pa(tree), size: size as u64 };
            // SAFETY: as above; the size is within what is mapped.
            unsafe { ram::constant(range) }
        }
        Ok(size) => report::fatal_without_tree(format_args!("device tree at {tree:#x}: {size} bytes, more than 2 MiB")),
        Err(_) => report::fatal_without_tree(format_args!(
            "no device tree: no flattened tree begins at {tree:#x} (x0 at entry)"
        )),
    }
}

/// What the tree says. What the walk needs is off the stack again before anything else is brought up.
#[inline(never)]
fn read_board(tree: u64, blob: &[u8]) -> Board {
    match Board::from_tree(blob) {
        Ok(board) => board,
        Err(error) => report::fatal_without_tree(format_args!("device tree at {tree:#x}: {error}")),
    }
}

/// Makes and takes EL2's own map. Returns its root and the bytes of its tables.
fn map(board: &Board, parts: &ImageParts, tree: &PaRange) -> (Pa, u64) {
    let mut map = El2Map::new();
    let mut set = |range: PaRange, rights: Rights| {
        if let Err(error) = map.set(range, rights) {
            report::fatal_without_tree(format_args!("EL2 map at {}: {error}", range.start));
        }
    };
    board.memory.iter().for_each(|bank| set(*bank, Rights::Data));
    board.mmio().iter().for_each(|range| set(*range, Rights::Device));
    set(*tree, Rights::Data);
    if let Some(archive) = board.initrd {
        set(archive, Rights::Constant);
    }
    set(parts.text, Rights::Code);
    set(parts.rodata, Rights::Constant);
    set(parts.data, Rights::Data);
    parts.guards().for_each(|guard| set(guard, Rights::Guard));
    let tables = map.table_bytes();
    let root = map.activate();
    cpu::configure();
    (root, tables)
}

fn open_console(board: &Board) {
    // SAFETY: the tree says that PL011s are there, the map has them as devices, and this console is
    // the only driver.
    let uart = |uart: &hv_board::Uart| unsafe { Pl011::new(uart.regs.start) };
    CONSOLE.lock().attach(board.console().and_then(uart), board.log_uart().and_then(uart));
}

fn block_dma(board: &Board) {
    for smmu in &board.smmus {
        // SAFETY: the tree says that an SMMUv3 is there, and it is mapped as a device.
        if let Err(error) = unsafe { hv_board::smmu::block_all(smmu.regs.start) } {
            fatal!("{error}");
        }
    }
}

fn archive_range(board: &Board) -> PaRange {
    match board.initrd {
        Some(range) if range.size > 0 => {
            let inside = |bank: &PaRange| bank.start <= range.start && range.end() <= bank.end();
            if !board.memory.iter().any(inside) {
                fatal!("boot archive at {} ({} bytes) is not in RAM", range.start, range.size);
            }
            range
        }
        _ => fatal!("no boot archive: /chosen has no linux,initrd-start (QEMU: -initrd)"),
    }
}

/// Gives every frame its owner, and takes the rest under management.
fn describe_ram(board: &Board, parts: &ImageParts, tree: &PaRange, archive: &PaRange) -> Frames {
    ram::describe(&board.memory, parts.whole());
    let size = table_size(&board.memory).next_multiple_of(FRAME_SIZE);
    let whole = size + Follower::ROOM;
    let busy = |range: &PaRange| {
        let firmware = board.reserved.iter().map(|reserved| reserved.range);
        firmware.chain([*tree, *archive, parts.whole()]).find(|other| other.overlaps(range))
    };
    let Some(arena) = find_room(&board.memory, whole, busy) else {
        fatal!("too little RAM: no {whole} bytes for the frame table");
    };
    let (owners, room) = ram::take_arena(arena).split_at_mut(size as usize);
    let table = match FrameTable::new(owners, &board.memory) {
        Ok(table) => table,
        Err(error) => fatal!("{error}"),
    };
    let mut frames = Frames::new(table, Follower::new(room, &board.memory));
    board.reserved.iter().for_each(|reserved| frames.reserve(&reserved.range, Owner::Firmware));
    frames.reserve(tree, Owner::Firmware);
    frames.reserve(&parts.stacks, Owner::Stacks);
    frames.reserve(&parts.whole(), Owner::Image);
    frames.reserve(archive, Owner::Archive);
    frames.reserve(&arena, Owner::Tables);
    frames.open();
    frames
}

/// The first place in RAM for `size` bytes that nothing else has.
fn find_room(banks: &[PaRange], size: u64, busy: impl Fn(&PaRange) -> Option<PaRange>) -> Option<PaRange> {
    banks.iter().find_map(|bank| {
        let mut start = bank.start.0.next_multiple_of(FRAME_SIZE);
        while start + size <= bank.end().0 {
            let place = PaRange { start: Pa(start), size };
            match busy(&place) {
                None => return Some(place),
                Some(other) => start = other.end().0.next_multiple_of(FRAME_SIZE),
            }
        }
        None
    })
}

/// Brings up the distributor.
fn open_gic(board: &Board) -> Distributor {
    let Gic::V3(gic) = &board.gic else { fatal!("the board's GIC is a GICv2, which this release does not drive") };
    // SAFETY: the tree says that the distributor is there, it is mapped as a device, and EL2 is its only driver.
    let distributor = unsafe { Distributor::new(gic.gicd.start) };
    let mut distributor = match distributor {
        Ok(distributor) => distributor,
        Err(error) => fatal!("{error}"),
    };
    if let Err(error) = distributor.init() {
        fatal!("{error}");
    }
    for irq in board.uarts.iter().take(2).filter_map(|uart| uart.irq) {
        if let Err(error) = distributor.configure(irq, cpu::mpidr()).and_then(|()| distributor.enable(irq.id)) {
            fatal!("UART: {error}");
        }
    }
    distributor
}

/// Turns the SMMU on, which blocks each device until that is attached.
fn open_smmu(board: &Board) {
    iommu::start(board);
    for irq in iommu::irqs() {
        let mut distributor = machine().distributor.lock();
        if let Err(error) = distributor.configure(irq, cpu::mpidr()).and_then(|()| distributor.enable(irq.id)) {
            fatal!("smmu: {error}");
        }
    }
}

fn check_archive(range: &PaRange) -> Archive<'static> {
    // SAFETY: the archive is mapped read-only, belongs to nobody, and stays where it is.
    let bytes = unsafe { ram::constant(*range) };
    match Archive::check(bytes) {
        Ok(archive) => archive,
        Err(error) => fatal!("boot archive at {}: {error}", range.start),
    }
}

fn read_description(archive: Archive<'static>) -> ServicePartition<'static> {
    let Ok(member) = archive.find(description::FILE) else { fatal!("boot archive: no member {}", description::FILE) };
    match ServicePartition::read(member.data) {
        Ok(description) => description,
        Err(error) => fatal!("{error}"),
    }
}

/// What boot has found out.
struct Facts<'b> {
    board: &'b Board,
    archive: PaRange,
    started: u64,
    image_crc: u32,
    map_tables: u64,
}

fn describe_machine(facts: &Facts<'_>, description: &ServicePartition<'_>, distributor: Distributor) -> Machine {
    let board = facts.board;
    let id_registers = IdRegisters::from_host(|register| cpu::id_register(register.crm() as u8, register.op2() as u8));
    let mmfr0 = cpu::id_register(7, 0);
    let vmid_bits_16 = cpu::id_register(7, 1) >> 4 & 0xf == 2;
    let mut sgi = [SgiTarget::default(); MAX_CPUS];
    for (target, cpu) in sgi.iter_mut().zip(&board.cpus) {
        *target = SgiTarget::of(cpu.mpidr);
    }
    let irqs = |index: usize| board.uarts.get(index).and_then(|uart| uart.irq).map(|irq| irq.id);
    Machine {
        id_registers,
        traps: TrapControls {
            hcr: HCR_GUEST,
            mdcr: mdcr_guest(cpu::event_counters()),
            cptr: CPTR_GUEST,
            cnthctl: CNTHCTL_GUEST,
            vtcr: stage2::vtcr(mmfr0 & 0xf, vmid_bits_16),
            hstr: HSTR_GUEST,
            // ID_AA64MMFR1_EL1.HCX and ID_AA64MMFR0_EL1.FGT.
            hcrx: (cpu::id_register(7, 1) >> 40 & 0xf != 0).then_some(HCRX_GUEST),
            fine_grained: (mmfr0 >> 56 & 0xf != 0).then_some(FINE_GRAINED_TRAPS_GUEST),
        },
        mitigations: mitigations(),
        counter_hz: counter::frequency().max(1),
        started: facts.started,
        list_registers: vgic::list_register_count() as u8,
        sgi,
        cpus: board.cpus.len().min(MAX_CPUS),
        uart_irqs: [irqs(0), irqs(1)],
        distributor: Mutex::new(distributor),
        archive: facts.archive,
        when_idle: description.when_idle,
        power: Power::of(board),
        image_crc: facts.image_crc,
        // SAFETY: the tree says that a PL031 is there, and it is mapped as a device.
        rtc: board.rtc.and_then(|range| unsafe { Pl031::new(range.start) }),
        boot_memory: BootMemory {
            image_tables: facts.map_tables,
            image_rings: (log_ring::LOG_SIZE + crate::VMS.len() * crate::devices::OUTPUT_SIZE) as u64,
            image_notes: size_of::<hv_core::notes::Notes>() as u64,
        },
    }
}

/// What guests are told of speculation work-arounds: where the CPU says that it needs none (CSV2, CSV3),
/// so much; otherwise nothing is promised.
fn mitigations() -> Mitigations {
    let csv2 = cpu::id_register(4, 0) >> 56 & 0xf;
    let safe = if csv2 != 0 { Workaround::NotNeeded } else { Workaround::Unknown };
    Mitigations { workaround_1: safe, workaround_2: Workaround::Unknown, workaround_3: Workaround::Unknown }
}

fn greet(board: &Board, description: &ServicePartition<'_>) {
    let machine = machine();
    let ram: u64 = board.memory.iter().map(|bank| bank.size).sum();
    log::info!("Dormouse {} at EL2, image crc32 {:08x}", env!("CARGO_PKG_VERSION"), machine.image_crc);
    log::info!("cpu:     {} x MIDR {:#010x}, counter {} kHz", machine.cpus, cpu::midr(), machine.counter_hz / 1000);
    log::info!("memory:  {} MiB in {} bank(s)", ram >> 20, board.memory.len());
    log::info!("gic:     GICv3, {} list registers", machine.list_registers);
    log::info!("smmu:    {}", if board.smmus.is_empty() { "none" } else { "SMMUv3, all DMA blocked" });
    log::info!("archive: {} KiB at {}", machine.archive.size >> 10, machine.archive.start);
    log::info!("sos:     {}, {} MiB when on", description.image, description.memory >> 20);
}

/// A free frame is zero. Guests of an earlier boot may have left their data in every one, and so may a boot loader.
fn scrub_what_is_free(cold: ColdRam) {
    match (hv_arch::boot::is_warm_reset(), cold) {
        (true, _) => log::info!("memory:  warm reset: scrubbing all that is free"),
        (false, ColdRam::Anything) => log::info!("memory:  scrubbing all that is free"),
        (false, ColdRam::Zero) => return,
    }
    let frames = memory::frames();
    let mut from = Pa(0);
    while let Some(run) = frames.table().free_run(from) {
        frames.scrub_free(run);
        from = run.end();
    }
}

/// The service partition's image, checked, and the frames that are held for its lives.
fn find_image(archive: Archive<'static>, description: &ServicePartition<'_>, whole: &PaRange) -> Image {
    let name = description.image;
    let Ok(member) = archive.find(name) else {
        fatal!("boot archive: no member {name} (the service partition's image)")
    };
    let layout = match SosLayout::check_with(member.data, |bytes| checksum::crc32(bytes, crc32)) {
        Ok(layout) => layout,
        Err(error) => fatal!("service partition image {name}: {error}"),
    };
    let needed = layout.read_only + layout.writable + layout.bss + 2 * FRAME_SIZE;
    if needed > description.memory {
        fatal!(
            "service partition image {name}: needs {} KiB, its memory is {} KiB",
            needed >> 10,
            description.memory >> 10
        );
    }
    let mut frames = memory::frames();
    let extra_size = sos::extra(description.memory, whole.size);
    let (ram, extra) = (frames.allocate(description.memory, Owner::Held), frames.allocate(extra_size, Owner::Held));
    let (Ok(ram), Ok(extra)) = (ram, extra) else {
        fatal!(
            "too little RAM: {} KiB for the service partition are not free",
            (description.memory + extra_size) >> 10
        );
    };
    Image {
        layout,
        file: PaRange { start: Pa(whole.start.0 + member.offset as u64), size: member.data.len() as u64 },
        ram: PaRange { start: ram, size: description.memory },
        extra: PaRange { start: extra, size: extra_size },
    }
}
