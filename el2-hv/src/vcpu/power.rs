//! A vCPU that is powered down, or parked.

use core::sync::atomic::Ordering;

use hv_arch::debug;
use hv_arch::guest::{self, GuestRegisters};
use hv_arch::vgic::InterfaceState;
use hv_core::debug::DebugState;

use super::{ASLEEP, Loaded, Vcpu, VcpuCore};
use crate::cpu::Local;

impl Vcpu {
    /// Whether others have told it to look at something.
    #[inline]
    pub fn is_called(&self) -> bool {
        self.attention.load(Ordering::SeqCst) & !ASLEEP != 0
    }
}

impl VcpuCore {
    /// General registers and CPU interface before the first instruction.
    pub(super) fn begin_at(&mut self, entry: u64, x0: u64) {
        self.registers = GuestRegisters::RESET;
        self.registers.pc = entry;
        self.registers.x[0] = x0;
        self.interface = InterfaceState::RESET;
    }
}

impl Loaded {
    /// It sleeps until an interrupt is pending for it, and goes on at `entry` then.
    pub fn power_down(&mut self, entry: u64, context: u64) {
        self.core.wakes_at = (entry, context);
        self.vcpu.attention.fetch_or(ASLEEP, Ordering::SeqCst);
    }

    /// Whether it stays powered down. Where an interrupt is pending it begins at its entry, with nothing of what it had
    /// but its timers and the state of its interrupts, as if those were in an always-on power domain (DEN0022 §6.4).
    #[cold]
    pub fn sleeps_on(&mut self) -> bool {
        // The timer's interrupt may be on its way to a list register: it comes with the entry.
        let timer = self.core.timer_template != 0 && guest::virtual_timer_line();
        if !timer && !self.has_pending() {
            return true;
        }
        let (entry, context) = self.core.wakes_at;
        self.vcpu.attention.fetch_and(!ASLEEP, Ordering::SeqCst);
        self.core.context.restart(&self.vm.registers(self.vm_id));
        self.core.begin_at(entry, context);
        self.core.interface.load();
        if self.core.debug.is_armed() {
            debug::clear();
        }
        self.core.debug = DebugState::RESET;
        false
    }

    /// Stores this CPU's registers and lets the vCPU go, so that nothing wakes it until its VM goes on.
    pub fn park(self, local: &mut Local) {
        let id = self.id;
        self.unload(local);
        local.watch(id, None);
        local.watch_physical(id, None);
    }
}
