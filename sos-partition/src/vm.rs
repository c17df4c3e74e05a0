//! The VMs that EL2 has, as `vm_query` tells of them.

use alloc::borrow::ToOwned;
use alloc::vec::Vec;

use hv_abi::handle::label_text;
use hv_abi::message::{CpuShare, VmPhase, VmSpec, VmSummary};
use hv_abi::record::{EndReason, VmRecord, VmState};
use hv_abi::{Status, VmHandle};

use crate::builder::{self, Step};
use crate::error::Error;
use crate::hypervisor::Hypervisor;
use crate::notes::{self, LastEnd};

/// Slots that EL2 can name (`VmHandle::index`); a list of VMs that goes on longer is no list.
const SLOTS_MAX: usize = 256;

/// A VM that EL2 has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vm(VmRecord);

impl Vm {
    pub(crate) fn handle(&self) -> VmHandle {
        VmHandle(self.0.handle.get())
    }

    pub(crate) fn name(&self) -> &str {
        label_text(&self.0.label)
    }

    pub(crate) fn state(&self) -> Option<VmState> {
        VmState::from_number(self.0.state.get())
    }

    pub(crate) fn end(&self) -> EndReason {
        EndReason::from_number(self.0.end.get()).unwrap_or(EndReason::None)
    }

    pub(crate) fn phase(&self) -> VmPhase {
        match self.state() {
            Some(VmState::Building) => VmPhase::Building,
            Some(VmState::Running) => VmPhase::Running,
            Some(VmState::Stopped) => VmPhase::Stopped,
            Some(VmState::Paused) => VmPhase::Paused,
            Some(VmState::Dying) | None => VmPhase::Dying,
        }
    }

    pub(crate) fn uptime(&self) -> Option<u64> {
        self.is_alive().then(|| self.0.uptime_ns.get())
    }

    /// What its vCPUs get of the CPUs, by EL2.
    pub(crate) fn cpu<H: Hypervisor>(&self, hypervisor: &mut H) -> Result<CpuShare, Error> {
        let words = hypervisor.vm_sched_get(self.handle());
        words.map(|words| CpuShare::of(&words)).map_err(|status| self.failed(Step::Share, status))
    }

    pub(crate) fn summary(&self) -> VmSummary {
        VmSummary {
            name: self.name().to_owned(),
            state: self.phase(),
            vcpus: u8::try_from(self.0.vcpus.get()).unwrap_or(u8::MAX),
            memory: self.0.memory.get(),
            uptime_ns: self.uptime(),
        }
    }

    /// How it ended, where that was for `reason`.
    pub(crate) fn ended(&self, reason: EndReason) -> LastEnd {
        LastEnd {
            name: self.name().to_owned(),
            reason: reason as u32,
            uptime_ns: self.0.uptime_ns.get(),
            vm: self.handle().0,
            restarts: 0,
            in_row: 0,
            due: None,
        }
    }

    /// Notes how it ended.
    pub(crate) fn record_end<H: Hypervisor>(&self, hypervisor: &mut H, reason: EndReason) {
        keep_end(hypervisor, &self.ended(reason));
    }

    /// Whether its life goes on.
    pub(crate) fn is_alive(&self) -> bool {
        matches!(self.state(), Some(VmState::Running | VmState::Paused))
    }

    /// Ends it for good, where how it ended is noted already.
    pub(crate) fn end_and_destroy_unnoted<H: Hypervisor>(&self, hypervisor: &mut H) -> Result<(), Error> {
        if self.is_alive() {
            match builder::stop(hypervisor, self.handle()) {
                // It has ended by itself meanwhile.
                Ok(()) | Err(Status::WrongState) => {}
                Err(status) => return Err(self.failed(Step::Stop, status)),
            }
        }
        self.destroy(hypervisor)
    }

    pub(crate) fn destroy<H: Hypervisor>(&self, hypervisor: &mut H) -> Result<(), Error> {
        builder::destroy(hypervisor, self.handle()).map_err(|status| self.failed(Step::Destroy, status))
    }

    pub(crate) fn failed(&self, step: Step, status: Status) -> Error {
        Error::Step { name: self.name().to_owned(), step, status }
    }
}

/// Notes how a VM ended. A note that cannot be written must not keep it from being destroyed.
pub(crate) fn keep_end<H: Hypervisor>(hypervisor: &mut H, end: &LastEnd) {
    if let Err(error) = notes::record_end(hypervisor, end) {
        log::error!("vm {:?}: how it ended is not kept: {error}", end.name);
    }
}

/// Ends a VM for good; the state that it was found in.
pub(crate) fn end_and_destroy<H: Hypervisor>(hypervisor: &mut H, vm: &Vm) -> Result<VmState, Error> {
    let state = vm.state().unwrap_or(VmState::Dying);
    match state {
        VmState::Running | VmState::Paused => match builder::stop(hypervisor, vm.handle()) {
            Ok(()) => vm.record_end(hypervisor, EndReason::Stopped),
            // It has ended by itself since it was looked at.
            Err(Status::WrongState) => {
                let now = find_vm(hypervisor, vm.name())?.unwrap_or(*vm);
                now.record_end(hypervisor, now.end());
            }
            Err(status) => return Err(vm.failed(Step::Stop, status)),
        },
        VmState::Stopped => vm.record_end(hypervisor, vm.end()),
        VmState::Building | VmState::Dying => {}
    }
    vm.destroy(hypervisor)?;
    Ok(state)
}

/// Every VM that EL2 has.
pub(crate) fn vms<H: Hypervisor>(hypervisor: &mut H) -> Result<Vec<Vm>, Error> {
    let mut vms = Vec::new();
    let mut slot = Some(0);
    while let Some(at) = slot.filter(|_| vms.len() < SLOTS_MAX) {
        match hypervisor.vm_query(at) {
            Ok(answer) => {
                vms.push(Vm(answer.record));
                slot = answer.next.filter(|&next| next > at);
            }
            Err(Status::NoSuchVm) => break,
            Err(status) => {
                return Err(Error::Call { call: "vm_query", status });
            }
        }
    }
    Ok(vms)
}

pub(crate) fn find_vm<H: Hypervisor>(hypervisor: &mut H, name: &str) -> Result<Option<Vm>, Error> {
    Ok(vms(hypervisor)?.into_iter().find(|vm| vm.name() == name))
}

pub(crate) fn summary(spec: &VmSpec, vm: Option<&Vm>) -> VmSummary {
    vm.map_or_else(
        || VmSummary {
            name: spec.name.clone(),
            state: VmPhase::Defined,
            vcpus: spec.vcpus,
            memory: spec.memory,
            uptime_ns: None,
        },
        Vm::summary,
    )
}
