//! What EL2 knows of its machine, fixed at boot.

use core::sync::atomic::{AtomicU64, Ordering};

use hv_arch::guest::TrapControls;
use hv_arch::lock::Mutex;
use hv_board::gicv3::{Distributor, SgiTarget};
use hv_board::pl031::Pl031;
use hv_board::power::Power;
use hv_core::addr::{IntId, PaRange};
use hv_core::description::WhenIdle;
use hv_core::idreg::IdRegisters;
use hv_core::psci::Mitigations;
use hv_core::sched::MAX_CPUS;

use hv_core::counter::scale;

use crate::MACHINE;

/// Constants of the machine.
pub struct Machine {
    /// ID registers as guests see them.
    pub id_registers: IdRegisters,
    /// What traps.
    pub traps: TrapControls,
    /// Speculation work-arounds.
    pub mitigations: Mitigations,
    /// Counter ticks a second.
    pub counter_hz: u64,
    /// The counter when EL2 began.
    pub started: u64,
    /// List registers of the GIC.
    pub list_registers: u8,
    /// Each CPU as the target of SGIs, in the tree's order.
    pub sgi: [SgiTarget; MAX_CPUS],
    /// CPUs that EL2 uses.
    pub cpus: usize,
    /// The console's interrupt and that of the log's UART.
    pub uart_irqs: [Option<IntId>; 2],
    /// What routes them.
    pub distributor: Mutex<Distributor>,
    /// The boot archive.
    pub archive: PaRange,
    /// What the board does when nothing is left to do.
    pub when_idle: WhenIdle,
    /// How the board is powered.
    pub power: Power,
    /// CRC-32 of the image as loaded.
    pub image_crc: u32,
    /// The host's clock.
    pub rtc: Option<Pl031>,
    /// Rows of the memory table that do not change.
    pub boot_memory: BootMemory,
}

/// Memory that has one owner for ever, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct BootMemory {
    /// EL2's tables that lie in its image.
    pub image_tables: u64,
    /// Rings that lie in its image.
    pub image_rings: u64,
    /// Notes that lie in its image.
    pub image_notes: u64,
}

/// CNTPCT at the first entry of the first guest.
pub static FIRST_GUEST: AtomicU64 = AtomicU64::new(0);

/// The machine. Boot has described it before anything asks.
#[inline]
pub fn machine() -> &'static Machine {
    match MACHINE.get() {
        Some(machine) => machine,
        None => panic!("the machine is not described yet"),
    }
}

impl Machine {
    /// Ticks of the counter for `ns` nanoseconds.
    pub const fn ticks(&self, ns: u64) -> u64 {
        scale(ns, 1_000_000_000, self.counter_hz)
    }

    /// Nanoseconds of `ticks`.
    pub const fn nanoseconds(&self, ticks: u64) -> u64 {
        scale(ticks, self.counter_hz, 1_000_000_000)
    }

    /// Nanoseconds since EL2 began.
    pub fn up_ns(&self) -> u64 {
        self.nanoseconds(hv_arch::counter::now_relaxed().wrapping_sub(self.started))
    }

    /// Seconds since 1970 by the host's clock, or since EL2 began where it has none.
    pub fn seconds(&self) -> u64 {
        match self.rtc {
            Some(clock) => u64::from(clock.seconds()),
            None => self.up_ns() / 1_000_000_000,
        }
    }
}

/// The first guest runs now.
pub fn note_first_guest() {
    if FIRST_GUEST.load(Ordering::Relaxed) == 0 {
        FIRST_GUEST.store(hv_arch::counter::now(), Ordering::Relaxed);
    }
}
