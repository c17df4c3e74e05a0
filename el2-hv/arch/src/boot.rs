//! From the first instruction to Rust with the MMU on.
//!
//! The image is entered as an arm64 Linux kernel is (Documentation/arch/arm64/booting): MMU off,
//! x0 = device tree. The entry code relocates the image, clears .bss, maps the image and the
//! device tree one to one by 2 MiB blocks, and turns the MMU on, so that no Rust code but
//! [`early_tables`] ever runs on Device memory. Rights come later, with [`crate::paging`].

use core::arch::global_asm;
use core::cell::UnsafeCell;

use hv_core::addr::{CpuId, Pa, PaRange};
use hv_core::sched::MAX_CPUS;

/// Bytes of a CPU's stack.
const STACK_SIZE: usize = 32 * 1024;
/// Bytes of a CPU's stack for its last report.
const EMERGENCY_SIZE: usize = 8 * 1024;
/// Bytes of the unmapped page below each stack.
const GUARD_SIZE: usize = 4096;

/// A CPU's stacks, a guard page below each.
#[repr(C, align(4096))]
struct Stacks {
    _guard: [u8; GUARD_SIZE],
    _stack: [u8; STACK_SIZE],
    _emergency_guard: [u8; GUARD_SIZE],
    _emergency: [u8; EMERGENCY_SIZE],
}

const STACKS: Stacks = Stacks {
    _guard: [0; GUARD_SIZE],
    _stack: [0; STACK_SIZE],
    _emergency_guard: [0; GUARD_SIZE],
    _emergency: [0; EMERGENCY_SIZE],
};

/// Memory that only assembly and the hardware touch.
#[repr(transparent)]
pub(crate) struct Raw<T>(pub(crate) UnsafeCell<T>);

// SAFETY: Rust code takes addresses of `Raw` statics and never refers to what is inside; each
// element is used by one CPU, or before a second one runs.
unsafe impl<T> Sync for Raw<T> {}

#[unsafe(no_mangle)]
static BOOT_STACKS: Raw<[Stacks; MAX_CPUS]> = Raw(UnsafeCell::new([STACKS; MAX_CPUS]));

/// Address of the first CPU's stacks.
fn stacks() -> u64 {
    BOOT_STACKS.0.get() as u64
}

/// MAIR_EL2: index 0 Device-nGnRE, index 1 Normal write-back, index 2 Normal non-cacheable (Arm ARM D24.2.110).
pub(crate) const MAIR: u64 = 0x04 | 0xff << 8 | 0x44 << 16;
/// TCR_EL2: 48 bits (T0SZ 16), walks write-back and inner shareable, 4 KiB, RES1 bits 23 and 31; PS is added at run time.
pub(crate) const TCR: u64 = 16 | 0b01 << 8 | 0b01 << 10 | 0b11 << 12 | 1 << 23 | 1 << 31;
/// SCTLR_EL2: RES1 bits, I, SA, C, M (Arm ARM D24.2.148).
pub(crate) const SCTLR: u64 = 0x30c5_0830 | 1 << 12 | 1 << 3 | 1 << 2 | 1;
/// SCTLR_EL2.WXN: what is writable is never executed.
pub(crate) const SCTLR_WXN: u64 = 1 << 19;

global_asm!(
    r#"
    .section .head, "ax"
    .global _head
_head:
    b       _start
    .long   0
    .quad   0                       // text_offset
    .quad   0                       // image_size: filled in by the image tool
    .quad   0xa                     // little-endian, 4 KiB pages, anywhere in memory
    .quad   0
    .quad   0
    .quad   0
    .ascii  "ARM\x64"
    .long   0

    .text
_start:
    msr     daifset, #0xf
    mov     x19, x0
    // Relative relocations, packed (ELF gABI, SHT_RELR): an even entry is the offset of a word to add the base
    // to; an odd one is a map of the 63 words behind, bit n + 1 for word n.
    adrp    x20, _head
    adrp    x9, __relr_start
    add     x9, x9, :lo12:__relr_start
    adrp    x10, __relr_end
    add     x10, x10, :lo12:__relr_end
1:  cmp     x9, x10
    b.hs    2f
    ldr     x11, [x9], #8
    tbnz    x11, #0, 7f
    add     x12, x20, x11
    ldr     x13, [x12]
    add     x13, x13, x20
    str     x13, [x12], #8
    b       1b
7:  mov     x14, x12
    add     x12, x12, #(63 * 8)
8:  lsr     x11, x11, #1
    cbz     x11, 1b
    tbz     x11, #0, 9f
    ldr     x13, [x14]
    add     x13, x13, x20
    str     x13, [x14]
9:  add     x14, x14, #8
    b       8b
2:  adrp    x9, __bss_start
    adrp    x10, __bss_end
3:  stp     xzr, xzr, [x9]
    stp     xzr, xzr, [x9, #16]
    stp     xzr, xzr, [x9, #32]
    stp     xzr, xzr, [x9, #48]
    add     x9, x9, #64
    cmp     x9, x10
    b.lo    3b
    adrp    x9, BOOT_STACKS
    add     x9, x9, #({GUARD} + {STACK})
    mov     sp, x9
    mrs     x9, CurrentEL
    cmp     x9, #8
    b.ne    4f
    // EL1 is AArch64, and neither E2H nor TGE: they change what EL2's other registers mean.
    mov     x9, #0x80000000
    msr     hcr_el2, x9
    isb

    adrp    x0, __image_start
    adrp    x1, __image_end
    mov     x2, x19
    bl      early_tables
    mov     x21, x0
    // What was written with the MMU off is in memory; lines of it that a cache may hold are stale.
    adrp    x9, __rodata_start
    adrp    x10, __image_end
    mrs     x11, ctr_el0
    ubfx    x11, x11, #16, #4
    mov     x12, #4
    lsl     x11, x12, x11
5:  dc      ivac, x9
    add     x9, x9, x11
    cmp     x9, x10
    b.lo    5b
    dsb     sy
    mov     x0, x21
    bl      {mmu_on}
    mov     x0, x19
    bl      hv_main
4:  mov     x0, x19
    bl      hv_wrong_el
6:  wfi
    b       6b

// x0 = root of the translation tables. Turns the MMU on, or changes tables with the MMU off in between.
    .global {mmu_on}
{mmu_on}:
    mrs     x9, sctlr_el2
    bic     x10, x9, #1
    msr     sctlr_el2, x10
    isb
    mov     x9, #{MAIR_LOW}
    movk    x9, #{MAIR_HIGH}, lsl #16
    msr     mair_el2, x9
    ldr     x9, ={TCR}
    mrs     x10, id_aa64mmfr0_el1
    and     x10, x10, #0xf
    mov     x11, #5
    cmp     x10, x11
    csel    x10, x10, x11, lo
    bfi     x9, x10, #16, #3
    msr     tcr_el2, x9
    msr     ttbr0_el2, x0
    dsb     sy
    isb
    // Guests' translations as well: a CPU that was off has heard of no invalidation.
    tlbi    alle2
    tlbi    alle1
    ic      iallu
    dsb     sy
    isb
    ldr     x9, ={SCTLR}
    msr     sctlr_el2, x9
    isb
    ret

// Another CPU, by PSCI CPU_ON (DEN0022 5.6): MMU off, x0 = SecondaryStart.
    .global secondary_entry
secondary_entry:
    msr     daifset, #0xf
    mov     x19, x0
    mov     x9, #0x80000000
    msr     hcr_el2, x9
    isb
    ldr     x0, [x19]
    bl      {mmu_on}
    ldr     x9, =({SCTLR} | {WXN})
    msr     sctlr_el2, x9
    isb
    ldp     x9, x0, [x19, #8]
    mov     sp, x9
    bl      hv_secondary
7:  wfi
    b       7b
    .ltorg
"#,
    GUARD = const GUARD_SIZE,
    STACK = const STACK_SIZE,
    MAIR_LOW = const MAIR & 0xffff,
    MAIR_HIGH = const MAIR >> 16,
    TCR = const TCR,
    SCTLR = const SCTLR,
    WXN = const SCTLR_WXN,
    mmu_on = sym mmu_on,
);

unsafe extern "C" {
    /// See the assembly above.
    pub(crate) fn mmu_on(root: u64);
    safe static __image_start: u8;
    safe static __rodata_start: u8;
    safe static __data_start: u8;
    safe static __file_end: u8;
    safe static __image_end: u8;
    fn secondary_entry();
}

/// Tables for the first minutes: level 0, level 1, and a level 2 for each of two regions.
#[repr(C, align(4096))]
struct EarlyTables([[u64; 512]; 4]);

static EARLY_TABLES: Raw<EarlyTables> = Raw(UnsafeCell::new(EarlyTables([[0; 512]; 4])));

/// Maps the image, and 4 MiB around the device tree, one to one. Runs with the MMU off, so it does
/// nothing but aligned 64-bit stores. Returns the root.
#[unsafe(no_mangle)]
extern "C" fn early_tables(image_start: u64, image_end: u64, tree: u64) -> u64 {
    const TABLE: u64 = 0b11;
    // Block, AttrIndx 1, inner shareable, access flag: Normal memory, all rights.
    const BLOCK: u64 = 0b01 | 1 << 2 | 0b11 << 8 | 1 << 10;
    const MIB_2: u64 = 2 << 20;
    let tables = EARLY_TABLES.0.get() as *mut u64;
    let put = |table: u64, index: u64, entry: u64| {
        // SAFETY: `tables` is 4 * 512 entries, table < 4, index < 512; only this CPU runs, and
        // nothing else refers to EARLY_TABLES.
        unsafe { tables.add((table * 512 + index) as usize).write_volatile(entry) };
    };
    let address = |table: u64| tables as u64 + table * 4096;
    put(0, image_start >> 39 & 511, address(1) | TABLE);
    put(0, tree >> 39 & 511, address(1) | TABLE);
    put(1, image_start >> 30 & 511, address(2) | TABLE);
    let tree_table = if image_start >> 30 == tree >> 30 { 2 } else { 3 };
    put(1, tree >> 30 & 511, address(tree_table) | TABLE);
    let mut at = image_start & !(MIB_2 - 1);
    while at < image_end {
        put(2, at >> 21 & 511, at | BLOCK);
        at += MIB_2;
    }
    let tree_block = tree & !(MIB_2 - 1);
    put(tree_table, tree_block >> 21 & 511, tree_block | BLOCK);
    if tree_block >> 21 & 511 != 511 {
        put(tree_table, (tree_block >> 21 & 511) + 1, (tree_block + MIB_2) | BLOCK);
    }
    tables as u64
}

/// The parts of the image.
#[derive(Clone, Copy, Debug)]
pub struct ImageParts {
    /// Code.
    pub text: PaRange,
    /// Constants and relocations.
    pub rodata: PaRange,
    /// What is written, .bss included.
    pub data: PaRange,
    /// Bytes that the file has.
    pub file_size: u64,
    /// Stacks with their guards, a part of `data`.
    pub stacks: PaRange,
}

impl ImageParts {
    /// Where the image is now. EL2 maps itself one to one, so symbols' addresses are physical.
    pub fn find() -> Self {
        let address = |symbol: &u8| Pa(symbol as *const u8 as u64);
        let between = |start: Pa, end: Pa| PaRange { start, size: end.0 - start.0 };
        let (start, rodata) = (address(&__image_start), address(&__rodata_start));
        let (data, end) = (address(&__data_start), address(&__image_end));
        Self {
            text: between(start, rodata),
            rodata: between(rodata, data),
            data: between(data, end),
            file_size: address(&__file_end).0 - start.0,
            stacks: PaRange { start: Pa(stacks()), size: (MAX_CPUS * size_of::<Stacks>()) as u64 },
        }
    }

    /// The whole image.
    pub const fn whole(&self) -> PaRange {
        PaRange { start: self.text.start, size: self.text.size + self.rodata.size + self.data.size }
    }

    /// The bytes of the file as it was loaded and relocated.
    pub fn file(&self) -> &'static [u8] {
        let len = self.text.size + self.rodata.size;
        // SAFETY: text and rodata are mapped, never written after the relocation, and live for ever.
        unsafe { core::slice::from_raw_parts(self.text.start.0 as *const u8, len as usize) }
    }

    /// The guard pages, which are not mapped.
    pub fn guards(&self) -> impl Iterator<Item = PaRange> + use<> {
        let first = self.stacks.start.0;
        (0..MAX_CPUS as u64).flat_map(move |cpu| {
            let base = first + cpu * size_of::<Stacks>() as u64;
            [base, base + (GUARD_SIZE + STACK_SIZE) as u64].map(|at| PaRange { start: Pa(at), size: GUARD_SIZE as u64 })
        })
    }
}

/// Top of a CPU's stack for its last report.
pub(crate) fn emergency_top(cpu: CpuId) -> u64 {
    stacks() + ((cpu.index() + 1) * size_of::<Stacks>()) as u64
}

/// What a CPU that is turned on finds at x0.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct SecondaryStart {
    root: u64,
    stack: u64,
    cpu: u64,
}

impl SecondaryStart {
    /// For `cpu`, with the tables at `root`.
    pub fn new(cpu: CpuId, root: Pa) -> Self {
        let stacks = stacks() + (cpu.index() * size_of::<Stacks>()) as u64;
        Self { root: root.0, stack: stacks + (GUARD_SIZE + STACK_SIZE) as u64, cpu: u64::from(cpu.0) }
    }

    /// Entry point and context for PSCI CPU_ON. The record is cleaned to memory, where a CPU with its MMU off looks.
    pub fn publish(&'static self) -> (Pa, u64) {
        let at = core::ptr::from_ref(self) as u64;
        crate::cache::clean_to_poc(Pa(at), size_of::<Self>() as u64);
        (Pa(secondary_entry as *const () as u64), at)
    }
}

/// A number that survives a warm reset, because nothing clears it: DRAM keeps it, the loader does not know it.
#[unsafe(link_section = ".noinit")]
static WARM: core::sync::atomic::AtomicU64 = core::sync::atomic::AtomicU64::new(0);

/// What [`mark_started`] leaves.
const STARTED: u64 = u64::from_le_bytes(*b"DormWarm");

/// Whether guests have run in this memory since it was powered: then every frame may hold their data.
pub fn is_warm_reset() -> bool {
    WARM.load(core::sync::atomic::Ordering::Relaxed) == STARTED
}

/// Guests run from now on.
pub fn mark_started() {
    WARM.store(STARTED, core::sync::atomic::Ordering::Relaxed);
    crate::cache::clean_to_poc(Pa(WARM.as_ptr() as u64), 8);
}
