//! Where the partition's vCPU runs: `hv_core::sos::seat` says where, here it is put there.

use hv_arch::counter;
use hv_board::power::PowerError;
use hv_core::addr::{CpuId, VcpuIdx};
use hv_core::sched::{Params, Weight};
use hv_core::sos::State;
use hv_core::sos::seat::{CpuOn, Place, Power, Seat};

use super::SosControl;
use crate::machine::machine;
use crate::vm::SOS_VM;
use crate::{SCHEDULER, SOS, VMS, boot, cpu, keeper};

/// The weight of its vCPU: hundreds of busy ones are not to hold up whoever manages them.
const WEIGHT: u16 = 1000;

impl SosControl {
    /// Takes the CPU away from the guests that the description gives to the partition.
    pub(super) fn dedicate(&mut self, power: &Power) {
        if !power.core {
            return;
        }
        let online = SCHEDULER.online();
        let cpu = power.cpu.unwrap_or(CpuId(machine().cpus as u8 - 1));
        // To the CPU that boots one that goes off leaves what was put off.
        if cpu == CpuId(0) || cpu.index() >= machine().cpus || !online.contains(cpu) {
            return log::warn!(
                "sos:     power = \"core\": CPU {cpu} is not there, or boots: it shares the guests' CPUs"
            );
        }
        log::info!("sos:     has CPU {cpu} for itself, {} while it sleeps", if power.lend { "lent" } else { "off" });
        self.seat = Seat::core(cpu, power.lend);
        cpu::act(SCHEDULER.lend(cpu, false, counter::now_relaxed()));
    }

    /// A life begins: its vCPU gets a place.
    pub(super) fn sit_down(&mut self) {
        if let Some(lent) = self.seat.lent() {
            cpu::act(SCHEDULER.lend(lent, false, counter::now_relaxed()));
        }
        let place = self.seat.wake(machine().up_ns());
        self.sit(place);
    }

    /// A life is over, and no other begins at once.
    pub(super) fn stand_up(&self) {
        if let Some(lent) = self.seat.lent().filter(|_| self.life.state() == State::Off) {
            cpu::act(SCHEDULER.lend(lent, true, counter::now_relaxed()));
        }
    }

    /// Puts the vCPU where it is to run.
    fn sit(&mut self, place: Place) {
        let vcpu = VMS[SOS_VM.index()].vcpu(VcpuIdx(0));
        let params = Params { weight: Weight::new(WEIGHT).unwrap_or_default(), ..Params::default() };
        let now = counter::now_relaxed();
        match place {
            Place::Same => {}
            // Refused to nobody: every CPU is in its affinity, and one is open always.
            Place::Shared => cpu::act(SCHEDULER.set(vcpu, &params, now).unwrap_or(hv_core::sched::Kick::NONE)),
            Place::Core(cpu) => cpu::act(SCHEDULER.seat(vcpu, cpu, &params, now)),
            Place::TurnOn(cpu) => {
                // It looks at its queue when it comes; until then no interrupt is to be for it (DEN0022, 5.5).
                cpu::act(SCHEDULER.seat(vcpu, cpu, &params, now).but(cpu));
                self.turn_on(cpu);
            }
        }
    }

    /// Asks firmware for a CPU.
    #[cold]
    fn turn_on(&mut self, cpu: CpuId) {
        let answer = match boot::turn_on(cpu) {
            Ok(()) => CpuOn::Accepted,
            Err(error) if error.is_on_its_way() => CpuOn::NotYet,
            Err(error) => {
                lost(cpu, format_args!("{error}"));
                CpuOn::Refused
            }
        };
        let place = self.seat.answered(answer, machine().up_ns());
        self.sit(place);
        keeper::call();
    }

    /// Looks after a CPU that is to come.
    pub(super) fn await_cpu(&mut self) {
        let Some(deadline) = self.seat.deadline() else { return };
        let now = machine().up_ns();
        if deadline > now {
            return;
        }
        let place = self.seat.time_passed(now);
        if place == Place::Shared {
            lost(self.seat.cpu(), format_args!("it does not come"));
        }
        self.sit(place);
    }
}

/// Says that the partition shares from now on.
#[cold]
fn lost(cpu: CpuId, why: core::fmt::Arguments<'_>) {
    log::error!("sos: CPU {cpu} is not turned on ({why}): it shares the guests' CPUs");
}

/// Another CPU runs.
pub fn cpu_arrived(cpu: CpuId) {
    SOS.lock().seat.arrived(cpu);
}

/// `cpu` has nothing to do, and the partition was taken down there: whether it is to be turned off.
pub fn turns_off(cpu: CpuId) -> bool {
    let mut sos = SOS.lock();
    if sos.life.state() != State::Off || !sos.seat.goes_off(cpu) {
        return false;
    }
    // From here on a wake turns it on.
    let down = SCHEDULER.take_down(cpu);
    if !down {
        sos.seat.stays(false);
    }
    down
}

/// Firmware has not turned this CPU off.
#[cold]
pub fn stays_on(error: PowerError) {
    let mut sos = SOS.lock();
    log::error!("sos: CPU {} is not turned off ({error}): it stays on", hv_arch::cpu::current());
    sos.seat.stays(true);
}
