//! How a VM crashed, as EL2 has kept it.

use alloc::string::ToString;

use hv_abi::handle::Label;
use hv_abi::message::{Crash, CrashedVcpu};
use hv_abi::record::{CrashRecord, EndReason, NO_VCPU};
use hv_abi::{Status, VmHandle};

use crate::error::Error;
use crate::hypervisor::Hypervisor;

/// How the last life of `name` crashed or hung, if it did.
pub(super) fn of<H: Hypervisor>(hypervisor: &mut H, name: &str) -> Result<Option<Crash>, Error> {
    let Some(label) = Label::new(name) else {
        return Ok(None);
    };
    match hypervisor.vm_crash(label) {
        Ok(record) => Ok(Some(crash(&record))),
        Err(Status::NoSuchVm) => Ok(None),
        Err(status) => Err(Error::Call { call: "vm_crash", status }),
    }
}

fn crash(record: &CrashRecord) -> Crash {
    let handle = VmHandle(record.handle.get());
    let reason = EndReason::from_number(record.reason.get()).unwrap_or(EndReason::Crashed);
    let vcpu = CrashedVcpu {
        vcpu: record.vcpu.get(),
        pc: record.pc.get(),
        pstate: record.pstate.get(),
        esr: record.esr.get(),
        far: record.far.get(),
        elr_el1: record.elr_el1.get(),
        esr_el1: record.esr_el1.get(),
        far_el1: record.far_el1.get(),
        sp_el1: record.sp_el1.get(),
        x: record.x.iter().map(|x| x.get()).collect(),
    };
    Crash {
        slot: handle.index().map_or(u32::MAX, u32::from),
        generation: handle.generation(),
        reason: reason.to_string(),
        vcpu: (vcpu.vcpu != NO_VCPU).then_some(vcpu),
    }
}
