//! Breakpoints, watchpoints and software step: each must be hit exactly as often as its place is passed.
//!
//! All run the same code at the same addresses; `side` (0 or 1) chooses which places are this guest's, so that a hit
//! of another VM's shows. Options: `side` (0), `ms` (500) of virtual time, `lock` (closed) of the CPU at its start:
//! nothing is hit before it is opened. QEMU's own CPU does not look at it.
#![no_std]
#![no_main]

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use test_guests::{Machine, exception, guest, power, println, read_register, timer, write_register};

guest!(main);

/// Places for breakpoints, and as many for watchpoints: two for each comparator that a CPU can have.
const PLACES: usize = 32;
const MDSCR_SS: u64 = 1;
/// MDE, KDE: breakpoints, watchpoints and steps at EL1 too.
const MDSCR_ON: u64 = 1 << 15 | 1 << 13;
const SPSR_SS: u64 = 1 << 21;
const SPSR_D: u64 = 1 << 9;
/// E, EL1 only, all four bytes of the instruction.
const BREAKPOINT_ON: u64 = 1 | 1 << 1 | 0xf << 5;
/// E, EL1 only, all eight bytes; loads or stores are added.
const WATCHPOINT_ON: u64 = 1 | 1 << 1 | 0xff << 5;
/// OSLM = 0b10, OSLK.
const OSLSR_CLOSED: u64 = 0b1010;
/// A stretch of steps in so many rounds.
const ROUNDS_A_STEP: u64 = 8;
/// Nobody but another vCPU on this CPU keeps a round for so long.
const GAP_NS: u64 = 2_000_000;

global_asm!(
    r#"
    .section .text.debug, "ax"
    .balign 2048
debug_vectors:
    .rept   16
    .balign 128
    b       1f
    .endr
1:  stp     x29, x30, [sp, #-176]!      // only the code below is ever interrupted: it uses no other register
    stp     x0, x1, [sp, #16]
    stp     x2, x3, [sp, #32]
    stp     x4, x5, [sp, #48]
    stp     x6, x7, [sp, #64]
    stp     x8, x9, [sp, #80]
    stp     x10, x11, [sp, #96]
    stp     x12, x13, [sp, #112]
    stp     x14, x15, [sp, #128]
    stp     x16, x17, [sp, #144]
    str     x18, [sp, #160]
    bl      {taken}
    ldr     x18, [sp, #160]
    ldp     x16, x17, [sp, #144]
    ldp     x14, x15, [sp, #128]
    ldp     x12, x13, [sp, #112]
    ldp     x10, x11, [sp, #96]
    ldp     x8, x9, [sp, #80]
    ldp     x6, x7, [sp, #64]
    ldp     x4, x5, [sp, #48]
    ldp     x2, x3, [sp, #32]
    ldp     x0, x1, [sp, #16]
    ldp     x29, x30, [sp], #176
    eret

    .global debug_places
debug_places:                           // x0 = words: a load and a store of each
    .rept   {places}
    nop
    .endr
    .rept   {places}
    ldr     x9, [x0]
    str     x9, [x0]
    add     x0, x0, #8
    .endr
    ret

    .global debug_stepped
debug_stepped:                          // x0 = a register of a device that is emulated
    brk     #0
debug_steps:
    nop
    mrs     x9, id_aa64pfr0_el1         // traps
    ldr     w9, [x0]                    // stage 2 maps nothing
    mrs     x9, mdscr_el1               // traps
    msr     mdscr_el1, x9               // traps while this step is armed
    mrs     x9, cntp_ctl_el0            // traps
    b       2f
    nop                                 // jumped over
2:  movz    w0, #0x8400, lsl #16        // PSCI_VERSION
    hvc     #0
    mrs     x9, cntvct_el0
debug_steps_end:
    ret
    "#,
    taken = sym taken,
    places = const PLACES,
);

/// What of `debug_steps` is executed, a bit for the address behind each instruction, or where a branch went.
const STEPPED: u64 = 0b1111_0111_1110;

unsafe extern "C" {
    safe static debug_vectors: u8;
    safe static debug_steps: u8;
    safe static debug_steps_end: u8;
    fn debug_places(words: *const AtomicU64);
    fn debug_stepped(device: u64);
}

static WORDS: [AtomicU64; PLACES] = [const { AtomicU64::new(0) }; PLACES];
static BROKEN: [AtomicU64; PLACES] = [const { AtomicU64::new(0) }; PLACES];
static LOADED: [AtomicU64; PLACES] = [const { AtomicU64::new(0) }; PLACES];
static STORED: [AtomicU64; PLACES] = [const { AtomicU64::new(0) }; PLACES];
static STEPS: AtomicU64 = AtomicU64::new(0);
static STEPS_SEEN: AtomicU64 = AtomicU64::new(0);

fn address(symbol: &u8) -> u64 {
    core::ptr::from_ref(symbol) as u64
}

fn count(counter: &AtomicU64) {
    counter.store(counter.load(Relaxed) + 1, Relaxed);
}

/// A debug exception of this guest's own code: counts it and goes on behind the instruction.
extern "C" fn taken() {
    let (esr, elr) = (read_register!("esr_el1"), read_register!("elr_el1"));
    match esr >> 26 {
        0x31 => {
            count(&BROKEN[(elr - debug_places as *const () as u64) as usize / 4]);
            write_register!("elr_el1", elr + 4);
        }
        0x33 => stepped(elr),
        0x35 => {
            let word = (read_register!("far_el1") - WORDS.as_ptr() as u64) as usize / 8;
            // WnR.
            count(if esr & 1 << 6 == 0 { &LOADED[word] } else { &STORED[word] });
            write_register!("elr_el1", elr + 4);
        }
        // BRK: from here on by steps.
        0x3c => {
            write_register!("mdscr_el1", MDSCR_ON | MDSCR_SS);
            write_register!("spsr_el1", read_register!("spsr_el1") & !SPSR_D | SPSR_SS);
            write_register!("elr_el1", elr + 4);
        }
        _ => {
            println!("DEBUG exception esr={esr:#x} elr={elr:#x}");
            power::reset()
        }
    }
}

/// A step has come to `elr`.
fn stepped(elr: u64) {
    count(&STEPS);
    let place = elr.wrapping_sub(address(&debug_steps)) / 4;
    STEPS_SEEN.fetch_or(1u64.checked_shl(place as u32).unwrap_or(1 << 63), Relaxed);
    let spsr = read_register!("spsr_el1");
    if elr == address(&debug_steps_end) {
        write_register!("mdscr_el1", MDSCR_ON);
        write_register!("spsr_el1", spsr & !SPSR_SS);
    } else {
        write_register!("spsr_el1", spsr | SPSR_SS);
    }
}

/// The pair of comparator registers `kind` number `n`: written, and read back.
macro_rules! comparator {
    ($n:expr, $value:expr, $control:expr, $kind:literal: $($number:literal)*) => {
        match $n {
            $($number => {
                write_register!(concat!("dbg", $kind, "vr", $number, "_el1"), $value);
                write_register!(concat!("dbg", $kind, "cr", $number, "_el1"), $control);
                (
                    read_register!(concat!("dbg", $kind, "vr", $number, "_el1")),
                    read_register!(concat!("dbg", $kind, "cr", $number, "_el1")),
                )
            })*
            _ => (0, 0),
        }
    };
}

/// What this guest watches: every comparator of the CPU, at each second place from `side` on.
struct Plan {
    side: usize,
    breakpoints: usize,
    watchpoints: usize,
}

impl Plan {
    fn new(side: usize) -> Self {
        let features = read_register!("id_aa64dfr0_el1");
        let count = |shift: u32| (features >> shift & 0xf) as usize + 1;
        Self { side, breakpoints: count(12), watchpoints: count(20) }
    }

    /// Loads on one side, stores on the other.
    fn watches(&self) -> u64 {
        1 << (3 + self.side)
    }

    /// Writes all comparators; how many did not read back as written.
    fn write(&self, on: u64) -> u64 {
        let mut wrong = 0;
        for n in 0..self.breakpoints {
            let pair = (debug_places as *const () as u64 + 4 * (2 * n + self.side) as u64, BREAKPOINT_ON * on);
            let found = comparator!(n, pair.0, pair.1, "b": 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
            wrong += u64::from(found != pair);
        }
        for n in 0..self.watchpoints {
            let control = (WATCHPOINT_ON | self.watches()) * on;
            let pair = (&raw const WORDS[2 * n + self.side] as u64, control);
            let found = comparator!(n, pair.0, pair.1, "w": 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
            wrong += u64::from(found != pair);
        }
        wrong
    }

    /// How many counters are not what so many rounds leave: hits that are missing, too many, or another's.
    fn wrong(&self, rounds: u64) -> u64 {
        let wrong = |counters: &[AtomicU64; PLACES], used: usize| {
            let wanted = |at: usize| if at % 2 == self.side && at / 2 < used { rounds } else { 0 };
            counters.iter().enumerate().filter(|(at, counter)| counter.load(Relaxed) != wanted(*at)).count() as u64
        };
        let (loads, stores) = if self.side == 0 { (self.watchpoints, 0) } else { (0, self.watchpoints) };
        wrong(&BROKEN, self.breakpoints) + wrong(&LOADED, loads) + wrong(&STORED, stores)
    }
}

fn pass() {
    // SAFETY: reads and writes WORDS; exceptions come back behind the instruction.
    unsafe { debug_places(WORDS.as_ptr()) }
}

fn step() {
    // SAFETY: reads registers of the distributor and calls the hypervisor; no memory is changed.
    unsafe { debug_stepped(hv_abi::guest_map::GICD_BASE + 4) }
}

fn main(machine: &Machine) {
    let plan = Plan::new(machine.number("side", 0) as usize & 1);
    // SAFETY: 16 vectors on a 2 KiB boundary that keep every register.
    unsafe { exception::install_at(address(&debug_vectors)) };
    // SAFETY: debug exceptions are taken from here on, by the vectors above.
    unsafe { asm!("msr daifclr, #8", options(nostack)) };
    let mut wrong = plan.write(1);
    write_register!("mdscr_el1", MDSCR_ON);
    if machine.chooses("lock", "closed") {
        wrong += u64::from(read_register!("oslsr_el1") != OSLSR_CLOSED);
        pass();
        wrong += plan.wrong(0);
    }
    write_register!("oslar_el1", 0);
    let (rounds, stretches, gaps) = run(machine.number("ms", 500) * 1_000_000);
    wrong += plan.write(0);
    pass();
    let steps = STEPS.load(Relaxed);
    let missed = plan.wrong(rounds) + wrong;
    let strayed = STEPS_SEEN.load(Relaxed) != STEPPED || steps != stretches * u64::from(STEPPED.count_ones());
    println!("DEBUG side {} breakpoints {} watchpoints {}", plan.side, plan.breakpoints, plan.watchpoints);
    println!("DEBUG rounds {rounds} steps {steps} gaps {gaps} wrong {missed} strayed {strayed}");
    if missed != 0 || strayed {
        println!("DEBUG FAIL");
        // So that EL2's log tells it too, where this console has no focus.
        power::crash();
    }
    println!("DEBUG PASS");
}

/// Passes all places and steps, for `ns` of virtual time. How often each, and how often another vCPU ran in between.
fn run(ns: u64) -> (u64, u64, u64) {
    let (mut rounds, mut stretches, mut gaps) = (0, 0, 0);
    let mut last = timer::now();
    let end = last + timer::ticks(ns);
    while last < end {
        pass();
        rounds += 1;
        if rounds % ROUNDS_A_STEP == 0 {
            step();
            stretches += 1;
        }
        let now = timer::now();
        gaps += u64::from(now - last > timer::ticks(GAP_NS));
        last = now;
    }
    (rounds, stretches, gaps)
}
