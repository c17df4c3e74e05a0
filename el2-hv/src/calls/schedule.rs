//! `vm_sched`: what vCPUs get of the CPUs.

use hv_abi::Status;
use hv_abi::call::Scheduling;
use hv_abi::guest_map::MAX_VCPUS;
use hv_arch::counter;
use hv_core::addr::VcpuIdx;
use hv_core::sched::{CpuMask, Params, Refused};

use super::named;
use crate::machine::machine;
use crate::vm::Phase;
use crate::{SCHEDULER, cpu, keeper, sos};

/// Every vCPU of a VM.
const ALL: u64 = u64::MAX;

/// Sets what a vCPU of a VM gets, or all of them.
pub fn set(handle: u64, vcpu: u64, registers: [u64; 3]) -> Result<(), Status> {
    let (_, vm) = named(handle)?;
    if vm.phase() != Phase::Building && !vm.phase().is_alive() {
        return Err(Status::WrongState);
    }
    let machine = machine();
    let words = Scheduling::from_registers(registers).ok_or(Status::InvalidArgument)?;
    let params = Params::asked(&words, CpuMask::first_of(machine.cpus), machine.counter_hz);
    let params = params.ok_or(Status::InvalidArgument)?;
    let count = usize::from(vm.vcpu_count());
    let slots: [_; MAX_VCPUS] = core::array::from_fn(|index| vm.vcpu(VcpuIdx(index as u8)));
    let chosen = match usize::try_from(vcpu) {
        _ if vcpu == ALL => slots.get(..count),
        Ok(index) if index < count => slots.get(index..=index),
        _ => None,
    };
    let chosen = chosen.ok_or(Status::InvalidArgument)?;
    let (kick, outcome) = SCHEDULER.set_all(chosen, &params, counter::now_relaxed());
    cpu::act(kick);
    keeper::call();
    outcome.map_err(status)?;
    if vcpu == 0 || vcpu == ALL {
        vm.control.lock().schedule(registers);
    }
    sos::progress();
    Ok(())
}

const fn status(refused: Refused) -> Status {
    match refused {
        Refused::NoCpu => Status::Denied,
        Refused::Overcommitted => Status::NoRoom,
        Refused::Strands => Status::Conflict,
    }
}
