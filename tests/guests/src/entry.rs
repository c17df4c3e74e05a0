//! The first instructions: the Image header, relocation, .bss, a stack, then [`main`].
//!
//! Linux, Documentation/arch/arm64/booting.rst: entered at EL1 with the MMU off and the device
//! tree's address in x0, anywhere in RAM on a 2 MiB boundary.

use crate::{Machine, console, exception, heap, mmu, power, timer};

/// vCPUs that have a stack.
pub const CPUS_MAX: usize = 8;
/// Bytes of a stack.
pub const STACK: usize = 0x8000;

/// Stacks, one for each vCPU, kept apart from the data that a guest's tests write on purpose.
#[repr(C, align(4096))]
pub(crate) struct Stacks(core::cell::UnsafeCell<[[u8; STACK]; CPUS_MAX]>);

// SAFETY: vCPU n touches stack n only.
unsafe impl Sync for Stacks {}

impl Stacks {
    /// Address behind the stack of vCPU `cpu`.
    pub(crate) fn top(&self, cpu: usize) -> u64 {
        self.0.get() as u64 + ((cpu + 1) * STACK) as u64
    }
}

#[unsafe(no_mangle)]
pub(crate) static GUEST_STACKS: Stacks = Stacks(core::cell::UnsafeCell::new([[0; STACK]; CPUS_MAX]));

core::arch::global_asm!(
    r#"
    .section .head, "ax"
    .global _start
_start:
    b       1f
    .long   0
    .quad   0                   // text_offset
    .quad   0                   // image_size, filled in by dormouse-image
    .quad   0xa                 // flags: little-endian, 4 KiB pages, anywhere in memory
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   0
1:  mov     x19, x0
    adr     x20, _start
    adrp    x1, __relr_start
    add     x1, x1, :lo12:__relr_start
    adrp    x2, __relr_end
    add     x2, x2, :lo12:__relr_end
2:  cmp     x1, x2
    b.hs    3f
    ldr     x3, [x1], #8        // SHT_RELR (dormouse-image refuses other relocations): an offset,
    tbnz    x3, #0, 6f
    add     x4, x20, x3
    ldr     x5, [x4]
    add     x5, x5, x20
    str     x5, [x4], #8
    b       2b
6:  mov     x6, x4              // or a map of the 63 words behind
    add     x4, x4, #(63 * 8)
7:  lsr     x3, x3, #1
    cbz     x3, 2b
    tbz     x3, #0, 8f
    ldr     x5, [x6]
    add     x5, x5, x20
    str     x5, [x6]
8:  add     x6, x6, #8
    b       7b
3:  adrp    x1, __bss_start
    add     x1, x1, :lo12:__bss_start
    adrp    x2, __bss_end
    add     x2, x2, :lo12:__bss_end
4:  cmp     x1, x2
    b.hs    5f
    stp     xzr, xzr, [x1], #16
    b       4b
5:  mov     x0, #(3 << 20)      // CPACR_EL1.FPEN: code of this target uses FP registers
    msr     cpacr_el1, x0
    isb
    adrp    x0, GUEST_STACKS
    add     x0, x0, :lo12:GUEST_STACKS
    add     sp, x0, #{stack}
    mov     x0, x19
    bl      {main}
    b       .

    .global guest_secondary
guest_secondary:                // PSCI CPU_ON: x0 = top of the stack
    mov     sp, x0
    mov     x0, #(3 << 20)
    msr     cpacr_el1, x0
    isb
    bl      {secondary}
    b       .
    "#,
    stack = const STACK,
    main = sym main,
    secondary = sym crate::cpu::secondary_main,
);

unsafe extern "Rust" {
    /// The guest's own code, declared by [`crate::guest!`].
    safe fn guest_main(machine: &Machine);
}

/// First Rust code on the boot vCPU.
extern "C" fn main(tree: u64) -> ! {
    let count = timer::now();
    exception::install();
    mmu::enable();
    heap::init();
    let machine = Machine::read(tree, count);
    console::println!("GUEST vcpus {} memory {} bootargs \"{}\"", machine.vcpus, machine.memory, machine.bootargs);
    guest_main(&machine);
    power::off()
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    console::println!("GUEST panic: {info}");
    // EL2's log then tells it from an end that was meant.
    power::reset()
}
