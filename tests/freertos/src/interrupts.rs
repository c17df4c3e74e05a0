//! The vectors, the tick, and two interrupts beside it: an urgent one that the kernel's critical sections do not
//! mask, and the SGI by which it reaches the kernel.

use crate::kernel::{self, Queue, TICKS_PER_SECOND};
use core::arch::global_asm;
use core::ffi::{CStr, c_char, c_int};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use hv_abi::guest_map::{PPI_PHYSICAL_TIMER, PPI_VIRTUAL_TIMER};
use test_guests::{gic, power, println, timer, write_register};

/// SGI from the urgent handler to one that may call the kernel.
const SGI: u32 = 1;
/// Lowest usable of 32 priorities, which the port's tick handler asserts.
const TICK_PRIORITY: u8 = 30 << 3;
/// Between the tick's and where critical sections begin to mask.
const SGI_PRIORITY: u8 = 20 << 3;
const URGENT_PRIORITY: u8 = 8 << 3;
/// The urgent interrupt comes at this rate.
pub const URGENT_PER_SECOND: u64 = 400;

// The port's tasks run at EL1 with SP_EL0, its handlers with SP_EL1 (Arm ARM D1.4: the table's first two groups).
global_asm!(
    r#"
    .section .text.rtos_vectors, "ax"
    .balign 2048
    .global _freertos_vector_table
_freertos_vector_table:
    b       FreeRTOS_SWI_Handler
    .balign 128
    b       FreeRTOS_IRQ_Handler
    .balign 128
    b       rtos_unexpected
    .balign 128
    b       rtos_unexpected
    .balign 128
    b       rtos_unexpected
    .balign 128
    b       FreeRTOS_IRQ_Handler
    .rept   10
    .balign 128
    b       rtos_unexpected
    .endr

rtos_unexpected:
    mrs     x0, esr_el1
    mrs     x1, elr_el1
    mrs     x2, far_el1
    bl      {unexpected}
    "#,
    unexpected = sym unexpected,
);

/// Counter at tick 0.
static START: AtomicU64 = AtomicU64::new(0);
/// Counter at which the next tick is due.
static NEXT: AtomicU64 = AtomicU64::new(0);
/// Counter at which the next urgent interrupt is due.
static URGENT_NEXT: AtomicU64 = AtomicU64::new(0);
/// Urgent interrupts so far.
static URGENT: AtomicU64 = AtomicU64::new(0);
/// Queue that gets their number.
static QUEUE: AtomicUsize = AtomicUsize::new(0);

/// Brings up the GIC; nothing is unmasked yet.
pub fn init() {
    gic::init_distributor();
    gic::init_cpu();
    gic::set_priority(PPI_VIRTUAL_TIMER, TICK_PRIORITY);
    gic::set_priority(PPI_PHYSICAL_TIMER, URGENT_PRIORITY);
    gic::set_priority(SGI, SGI_PRIORITY);
}

/// Counts of a tick.
pub fn counts_per_tick() -> u64 {
    timer::frequency() / TICKS_PER_SECOND
}

/// Counter at which `tick` is due.
pub fn due(tick: u64) -> u64 {
    START.load(Ordering::Relaxed) + tick * counts_per_tick()
}

/// Urgent interrupts so far.
pub fn urgent() -> u64 {
    URGENT.load(Ordering::Relaxed)
}

/// The urgent interrupt begins; `queue` gets how many there were.
pub fn start_urgent(queue: Queue) {
    QUEUE.store(queue.raw(), Ordering::Relaxed);
    arm_urgent(timer::now() + timer::frequency() / URGENT_PER_SECOND);
    write_register!("cntp_ctl_el0", 1);
    gic::enable_ppi(PPI_PHYSICAL_TIMER);
}

/// The urgent interrupt ends.
pub fn stop_urgent() {
    write_register!("cntp_ctl_el0", 0);
}

fn arm_urgent(count: u64) {
    URGENT_NEXT.store(count, Ordering::Relaxed);
    write_register!("cntp_cval_el0", count);
}

#[unsafe(no_mangle)]
extern "C" fn guest_start_tick() {
    let start = timer::now();
    START.store(start, Ordering::Relaxed);
    NEXT.store(start + counts_per_tick(), Ordering::Relaxed);
    timer::arm(start + counts_per_tick());
    gic::enable_ppi(PPI_VIRTUAL_TIMER);
}

/// From where this one was due, not from now: what came late is made up for.
#[unsafe(no_mangle)]
extern "C" fn guest_next_tick() {
    let next = NEXT.load(Ordering::Relaxed) + counts_per_tick();
    NEXT.store(next, Ordering::Relaxed);
    timer::arm(next);
}

/// Every interrupt, after the port has acknowledged it and saved all registers; it ends it as well.
#[unsafe(no_mangle)]
extern "C" fn vApplicationFPUSafeIRQHandler(interrupt: u32) {
    match interrupt {
        PPI_VIRTUAL_TIMER => kernel::tick(),
        PPI_PHYSICAL_TIMER => {
            arm_urgent(URGENT_NEXT.load(Ordering::Relaxed) + timer::frequency() / URGENT_PER_SECOND);
            URGENT.fetch_add(1, Ordering::Relaxed);
            gic::send(SGI, 0);
        }
        SGI => {
            // A full queue loses the number; the receiver sees the next one.
            let _ = Queue::from_raw(QUEUE.load(Ordering::Relaxed)).send_from_handler(urgent());
        }
        // Something was pending and is so no more.
        gic::SPECIAL.. => {}
        other => panic!("interrupt {other}"),
    }
}

#[unsafe(no_mangle)]
extern "C" fn guest_assertion_failed(file: *const c_char, line: c_int) {
    // SAFETY: the kernel's __FILE__.
    let file = unsafe { CStr::from_ptr(file) }.to_str().unwrap_or("?");
    println!("RTOS assertion at {file}:{line}");
    power::reset()
}

extern "C" fn unexpected(esr: u64, elr: u64, far: u64) -> ! {
    println!("RTOS exception esr={esr:#x} elr={elr:#x} far={far:#x}");
    power::reset()
}
