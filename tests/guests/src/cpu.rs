//! vCPUs: who runs, starting the others, waiting.

use crate::entry::{CPUS_MAX, GUEST_STACKS};
use core::arch::asm;
use core::sync::atomic::{AtomicUsize, Ordering};
use smccc::{Hvc, psci};

unsafe extern "C" {
    safe fn guest_secondary();
}

/// What each secondary vCPU runs, a `fn(usize)`.
static ENTRIES: [AtomicUsize; CPUS_MAX] = [const { AtomicUsize::new(0) }; CPUS_MAX];

/// Number of the vCPU that runs this (MPIDR_EL1.Aff0).
pub fn current() -> usize {
    (crate::read_register!("mpidr_el1") & 0xff) as usize
}

/// Starts vCPU `cpu` in `entry` with its number; it powers itself off when that returns.
pub fn start(cpu: usize, entry: fn(usize)) {
    try_start(cpu, entry).expect("PSCI CPU_ON");
}

/// As [`start`], for a vCPU that may be on.
pub fn try_start(cpu: usize, entry: fn(usize)) -> Result<(), psci::Error> {
    let (address, stack) = entry_of(cpu, entry);
    psci::cpu_on::<Hvc>(cpu as u64, address, stack)
}

/// A power_state of CPU_SUSPEND that loses the context (DEN0022 §5.4.2, StateType).
const POWER_DOWN: u32 = 1 << 16;

/// Powers this vCPU down: when an interrupt is pending it goes on in `entry`, with an empty stack. It comes back where
/// that is refused.
pub fn power_down(entry: fn(usize)) -> psci::Error {
    let (address, stack) = entry_of(current(), entry);
    refusal(psci::cpu_suspend::<Hvc>(POWER_DOWN, address, stack))
}

/// The same with the whole machine, of which no other vCPU is on.
pub fn suspend_system(entry: fn(usize)) -> psci::Error {
    let (address, stack) = entry_of(current(), entry);
    refusal(psci::system_suspend::<Hvc>(address, stack))
}

/// Where vCPU `cpu` begins so that it comes to `entry`, and what is in its x0 there.
fn entry_of(cpu: usize, entry: fn(usize)) -> (u64, u64) {
    ENTRIES[cpu].store(entry as usize, Ordering::Release);
    (guest_secondary as *const () as u64, GUEST_STACKS.top(cpu))
}

fn refusal(answer: Result<(), psci::Error>) -> psci::Error {
    answer.err().unwrap_or(psci::Error::Unknown(0))
}

/// First Rust code on a secondary vCPU.
pub(crate) extern "C" fn secondary_main() -> ! {
    crate::exception::install();
    crate::mmu::enable();
    let cpu = current();
    let entry = ENTRIES[cpu].load(Ordering::Acquire);
    // SAFETY: start() stored a fn(usize) before it powered this vCPU on.
    let entry: fn(usize) = unsafe { core::mem::transmute::<usize, fn(usize)>(entry) };
    entry(cpu);
    let _ = psci::cpu_off::<Hvc>();
    loop {
        wait();
    }
}

/// WFI.
pub fn wait() {
    // SAFETY: WFI changes no state.
    unsafe { asm!("dsb sy", "wfi", options(nostack)) }
}

/// A hint in a spin loop. YIELD, because QEMU's turn-taking under icount heeds it; the ISB of
/// `core::hint::spin_loop` would burn a whole turn.
pub fn relax() {
    // SAFETY: YIELD is a hint.
    unsafe { asm!("yield", options(nomem, nostack)) }
}

/// Takes interrupts from here on.
pub fn unmask_interrupts() {
    // SAFETY: the vectors of crate::exception are installed.
    unsafe { asm!("msr daifclr, #2", options(nostack)) }
}

/// Takes no interrupts from here on.
pub fn mask_interrupts() {
    // SAFETY: only delays interrupts.
    unsafe { asm!("msr daifset, #2", options(nostack)) }
}
