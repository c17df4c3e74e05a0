//! The partition's CPU time is charged to who asked for it.

use hv_abi::VmHandle;
use hv_core::addr::VcpuIdx;
use hv_core::sos::history::Payer;

use super::{SosControl, slot_of};
use crate::machine::machine;
use crate::vm::{self, SOS_VM};
use crate::{SCHEDULER, VMS};

/// CPU time of the present life.
fn cpu_ns() -> u64 {
    let vcpu = VMS[SOS_VM.index()].vcpu(VcpuIdx(0));
    machine().nanoseconds(SCHEDULER.account(vcpu, hv_arch::counter::now_relaxed()).ran)
}

/// An asker, as long as it is there.
fn payer(asker: VmHandle) -> Option<Payer> {
    vm::by_handle(asker).map(|(_, vm)| (slot_of(asker), vm.label()))
}

impl SosControl {
    /// A request is answered.
    #[cold]
    pub(super) fn charge_answer(&mut self, asker: VmHandle) {
        if let Some(payer) = payer(asker) {
            self.ledger.answered(payer, cpu_ns());
        }
    }

    /// What ran while nothing was in progress is who woke it's.
    #[cold]
    pub(super) fn charge_rest(&mut self) {
        if self.requests.in_progress() == 0 {
            self.ledger.charge_waker(cpu_ns());
        }
    }

    /// A life ends: what it was at without an answer is the asker's.
    #[cold]
    pub(super) fn charge_unanswered(&mut self) {
        if let Some(payer) = self.requests.worked_for().and_then(payer) {
            self.ledger.charge(payer, cpu_ns());
        }
    }

    /// Nothing is left of a life.
    #[cold]
    pub(super) fn charge_off(&mut self) {
        self.ledger.off(cpu_ns(), machine().up_ns());
    }
}
