//! CPUs besides the one that boots: started by PSCI CPU_ON, at boot and whenever one that was turned off is wanted.

use core::sync::atomic::{AtomicU32, Ordering};

use hv_arch::boot::SecondaryStart;
use hv_arch::{counter, cpu, vgic};
use hv_board::gicv3::Redistributor;
use hv_board::power::PowerError;
use hv_board::{Board, CpuStart, Gic};
use hv_core::addr::{CpuId, Pa};
use hv_core::sched::MAX_CPUS;
use spin::Once;

use crate::cpu::{Local, SGI_ATTENTION, SGI_KEEP, SGI_SCHEDULE, SGI_SELF, run};
use crate::interrupts::{HYPERVISOR_TIMER, MAINTENANCE};
use crate::machine::machine;
use crate::{SCHEDULER, report, sos};

/// Starts of the other CPUs.
static STARTS: Once<[SecondaryStart; MAX_CPUS]> = Once::new();
/// CPUs that run.
static RUNNING: AtomicU32 = AtomicU32::new(1);

/// So long a CPU may take from CPU_ON to its first step here, in seconds: an emulator's host may be busy.
const PATIENCE_S: u64 = 10;

macro_rules! fatal {
    ($($argument:tt)*) => { report::fatal(format_args!($($argument)*)) };
}

/// Starts the other CPUs and waits until they are here.
pub(super) fn start_cpus(board: &Board, root: Pa) {
    let starts = STARTS.call_once(|| core::array::from_fn(|cpu| SecondaryStart::new(CpuId(cpu as u8), root)));
    BOARD_GIC.call_once(|| board.clone());
    let count = machine().cpus;
    if board.cpus.len() > count {
        log::warn!("cpu:     {} of {} are used", count, board.cpus.len());
    }
    let mut expected = 1;
    for (index, start) in starts.iter().enumerate().take(count) {
        let cpu = &board.cpus[index];
        if cpu.mpidr == cpu::mpidr() {
            continue;
        }
        if cpu.start != CpuStart::Psci {
            log::warn!("cpu:     {index} cannot be started: no PSCI");
            continue;
        }
        match start_cpu(cpu.mpidr, start) {
            Ok(()) => expected += 1,
            Err(error) => log::warn!("cpu:     {index} does not start: {error}"),
        }
    }
    // A CPU that firmware has promised and that never comes is a broken board.
    let patience = counter::now() + PATIENCE_S * counter::frequency();
    while RUNNING.load(Ordering::Acquire) < expected {
        if counter::now() > patience {
            fatal!("only {} of {expected} CPUs have started", RUNNING.load(Ordering::Relaxed));
        }
        cpu::pause();
    }
    log::info!("cpu:     {expected} running");
}

fn start_cpu(mpidr: u64, start: &'static SecondaryStart) -> Result<(), PowerError> {
    let (entry, context) = start.publish();
    // SAFETY: `entry` is the entry code for other CPUs and `context` its record, both cleaned to memory.
    unsafe { machine().power.cpu_on(mpidr, entry, context) }
}

/// Turns a CPU on that has turned itself off.
#[cold]
pub fn turn_on(cpu: CpuId) -> Result<(), PowerError> {
    match (STARTS.get(), BOARD_GIC.get().and_then(|board| board.cpus.get(cpu.index()))) {
        (Some(starts), Some(place)) => start_cpu(place.mpidr, &starts[cpu.index()]),
        _ => Err(PowerError::Absent),
    }
}

/// The CPU that calls was not turned off: it serves again.
#[cold]
pub fn come_back(id: CpuId) -> ! {
    match BOARD_GIC.get() {
        Some(board) => run(join(id, board)),
        None => cpu::halt(),
    }
}

/// The board, for CPUs that start later.
static BOARD_GIC: Once<Board> = Once::new();

/// Entered from `hv_arch::boot` on each other CPU, its MMU on.
// SAFETY: the name is the one that `hv_arch::boot` calls; nothing else defines it.
#[unsafe(no_mangle)]
extern "C" fn hv_secondary(cpu: u64) -> ! {
    let id = CpuId(cpu as u8);
    cpu::become_cpu(id);
    cpu::configure();
    let Some(board) = BOARD_GIC.get() else { cpu::halt() };
    let local = join(id, board);
    RUNNING.fetch_add(1, Ordering::Release);
    sos::cpu_arrived(id);
    run(local)
}

/// Brings up what each CPU has for itself.
pub(super) fn join(id: CpuId, board: &Board) -> Local {
    let Gic::V3(gic) = &board.gic else { cpu::halt() };
    if let Err(error) = hv_board::gicv3::cpu::init() {
        fatal!("{error}");
    }
    // SAFETY: the tree says that redistributors are there, they are mapped as devices, and each CPU drives its own.
    let redistributor = unsafe { Redistributor::find(gic, cpu::mpidr()) };
    let mut redistributor = match redistributor {
        Ok(redistributor) => redistributor,
        Err(error) => fatal!("{error}"),
    };
    let timer = hv_core::addr::IntId(hv_abi::guest_map::PPI_VIRTUAL_TIMER);
    let enabled = [SGI_ATTENTION, SGI_SCHEDULE, SGI_SELF, SGI_KEEP, MAINTENANCE, HYPERVISOR_TIMER, timer];
    if let Err(error) = redistributor.init(&enabled) {
        fatal!("{error}");
    }
    machine().traps.apply();
    vgic::init();
    crate::stay::start();
    SCHEDULER.bring_up(id, machine().counter_hz);
    Local::new(id, redistributor)
}
