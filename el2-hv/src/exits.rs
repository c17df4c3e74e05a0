//! Why a guest came to EL2, and what is done about it: one match.

use hv_arch::{debug, guest};
use hv_core::addr::{Va, VcpuIdx};
use hv_core::debug::Hardware;
use hv_core::exit::{
    self, Direction, Exit, MemoryAccess, MmioAccess, RareExit, Syndrome, SysRegAccess, WfxKind, decode,
};
use hv_core::inject::{GuestException, Interrupted};
use hv_core::serror::SError;
use hv_core::sysreg::{ICC_SGI1R_EL1, ID_AA64DFR0_EL1, SysRegAction, TimerRegister, classify};
use hv_core::vgic::SgiRegister;

use crate::cpu::{Local, Next};
use crate::devices::Access;
use crate::vcpu::{Loaded, Reason};
use crate::vm::Vm;
use crate::{balloon, devices, firmware, vm};

/// Serves a synchronous exit. What a guest does often is here; the rest is out of the way.
#[inline(always)]
pub fn handle(local: &mut Local, loaded: &mut Loaded) -> Next {
    let syndrome = syndrome();
    let esr = syndrome.esr;
    match decode(syndrome) {
        Exit::Hvc { .. } => {
            loaded.vcpu.exits.count(Reason::Hypercall);
            firmware::call(local, loaded)
        }
        Exit::SystemRegister(access) => {
            loaded.vcpu.exits.count(Reason::Register);
            if access.register.is_id() && access.direction == Direction::Read {
                let value = local.machine.id_registers.read(access.register);
                loaded.core.registers.write(access.rt, value);
            } else if access.register == ICC_SGI1R_EL1 && access.direction == Direction::Write {
                let value = loaded.core.registers.read(access.rt);
                loaded.send_sgi(local, SgiRegister::Sgi1, value);
            } else if !system_register(local, loaded, &access) {
                return undefined(loaded);
            }
            advance(loaded, esr);
            Next::Resume
        }
        Exit::Mmio(access) => {
            loaded.vcpu.exits.count(Reason::Device);
            match devices::access(local, loaded, &access) {
                Access::Done => {}
                Access::Nothing => return no_such_device(loaded, &access),
                Access::Later => return Next::Await,
            }
            advance(loaded, esr);
            Next::Resume
        }
        Exit::Wfx { kind } => {
            loaded.vcpu.exits.count(Reason::Wait);
            advance(loaded, esr);
            match kind {
                WfxKind::Wfi => Next::Block,
                // An event or a time may end it, which EL2 does not see: let others run instead.
                WfxKind::Wfe | WfxKind::Wfit | WfxKind::Wfet => Next::GiveWay,
            }
        }
        Exit::Rare(syndrome) => rare(loaded, &syndrome),
    }
}

/// The syndrome registers. FAR_EL2 and HPFAR_EL2 are read for aborts only (classes 0x20 to 0x25).
#[inline(always)]
fn syndrome() -> Syndrome {
    let esr = guest::esr();
    if esr >> 29 & 0x7 != 0b100 {
        return Syndrome { esr, far: 0, hpfar: 0 };
    }
    let (far, hpfar) = guest::fault_addresses();
    Syndrome { esr, far, hpfar }
}

/// Goes on behind the instruction that was emulated.
#[inline]
fn advance(loaded: &mut Loaded, esr: u64) {
    let registers = &mut loaded.core.registers;
    (registers.pc, registers.pstate) = exit::step_over(registers.pc, registers.pstate, esr);
}

/// What a well-behaved guest does seldom or never.
#[cold]
fn rare(loaded: &mut Loaded, syndrome: &Syndrome) -> Next {
    loaded.vcpu.exits.count(Reason::Other);
    match syndrome.decode_rare() {
        RareExit::CacheMaintenance { .. } => {
            advance(loaded, syndrome.esr);
            Next::Resume
        }
        RareExit::UndescribedAbort(abort) => {
            let kind = if abort.direction == Direction::Read { MemoryAccess::Load } else { MemoryAccess::Store };
            no_such_place(loaded, kind, abort.va, abort.ipa.0)
        }
        RareExit::InstructionAbort(abort) => no_such_place(loaded, MemoryAccess::Fetch, abort.va, abort.ipa.0),
        RareExit::PermissionFault(fault) => {
            no_such_place(loaded, fault.access, fault.va, fault.ipa.map_or(0, |ipa| ipa.0))
        }
        RareExit::ExternalAbort(abort) => inject_abort(loaded, abort.access, abort.va.unwrap_or(Va(0))),
        RareExit::OtherAbort(abort) => inject_abort(loaded, abort.access, abort.va),
        RareExit::Smc { .. }
        | RareExit::FpAccess
        | RareExit::Sve
        | RareExit::Sme
        | RareExit::PointerAuth
        | RareExit::Aarch32Register
        | RareExit::IllegalState
        | RareExit::Debug(_)
        | RareExit::Unknown { .. } => undefined(loaded),
    }
}

/// Emulates a system register; whether the guest may do that.
#[inline(never)]
fn system_register(local: &mut Local, loaded: &mut Loaded, access: &SysRegAccess) -> bool {
    match classify(access.register, access.direction) {
        SysRegAction::IdRegister => {
            let value = local.machine.id_registers.read(access.register);
            loaded.core.registers.write(access.rt, value);
        }
        SysRegAction::Sgi(register) => {
            let value = loaded.core.registers.read(access.rt);
            loaded.send_sgi(local, register, value);
        }
        SysRegAction::PhysicalTimer(register) => physical_timer(local, loaded, register, access),
        SysRegAction::DeactivateInterrupt => {
            let value = loaded.core.registers.read(access.rt);
            loaded.sync_gic(local);
            let intid = hv_core::addr::IntId(value as u32 & 0xff_ffff);
            let kicks = loaded.vm.gic.lock().deactivate(loaded.index, intid);
            vm::notify_all(loaded.vm, kicks);
        }
        SysRegAction::Debug => return debug_register(local, loaded, access).is_some(),
        SysRegAction::ReadZeroWriteIgnore => read(loaded, access, 0),
        SysRegAction::ReadValue(value) => read(loaded, access, value),
        // Whole-cache maintenance by set and way reaches this CPU only and is no use to a guest that
        // migrates: stage 2 maps its memory cacheable, so nothing is lost without it.
        SysRegAction::SetWayCache => {}
        SysRegAction::Undefined => return false,
    }
    true
}

fn read(loaded: &mut Loaded, access: &SysRegAccess, value: u64) {
    if access.direction == Direction::Read {
        loaded.core.registers.write(access.rt, value);
    }
}

fn physical_timer(local: &mut Local, loaded: &mut Loaded, register: TimerRegister, access: &SysRegAccess) {
    let now = hv_arch::counter::now();
    if access.direction == Direction::Read {
        let value = loaded.core.physical_timer.read(register, now);
        return loaded.core.registers.write(access.rt, value);
    }
    let value = loaded.core.registers.read(access.rt);
    loaded.core.physical_timer.write(register, value, now);
    loaded.arm_physical_timer(local);
    local.program();
    if loaded.core.physical_timer.deadline().is_none() {
        loaded.set_physical_line(false);
    }
}

/// A debug register, if the vCPU has it.
fn debug_register(local: &Local, loaded: &mut Loaded, access: &SysRegAccess) -> Option<()> {
    let features = local.machine.id_registers.read(ID_AA64DFR0_EL1);
    let core = &mut *loaded.core;
    if access.direction == Direction::Read {
        core.registers.write(access.rt, core.debug.read(access.register, features)?);
        return Some(());
    }
    match core.debug.write(access.register, core.registers.read(access.rt), features)? {
        Hardware::Unchanged => {}
        Hardware::Load => debug::load(&core.debug),
        Hardware::Clear => debug::clear(),
    }
    Some(())
}

/// The vCPU at the instruction that cannot be done.
fn interrupted(loaded: &Loaded) -> Interrupted {
    let (sctlr_el1, vbar_el1) = guest::exception_controls();
    let registers = &loaded.core.registers;
    Interrupted { pc: registers.pc, pstate: registers.pstate, sctlr_el1, vbar_el1 }
}

/// The guest takes an UNDEFINED exception.
#[cold]
fn undefined(loaded: &mut Loaded) -> Next {
    let exception = interrupted(loaded).undefined();
    take(loaded, exception)
}

/// A load or store that no device takes.
#[cold]
fn no_such_device(loaded: &mut Loaded, access: &MmioAccess) -> Next {
    let kind = if access.direction == Direction::Read { MemoryAccess::Load } else { MemoryAccess::Store };
    let (far, _) = guest::fault_addresses();
    no_such_place(loaded, kind, Va(far), access.ipa.0)
}

/// The guest touched a place where nothing is: it gets the abort that hardware gives, and a line says so. Where it has given
/// memory up it gets some instead, and tries again.
#[cold]
fn no_such_place(loaded: &mut Loaded, access: MemoryAccess, va: Va, ipa: u64) -> Next {
    if balloon::touched(loaded.vm_id, loaded.vm, ipa) {
        return Next::Resume;
    }
    if loaded.vm.may_complain() {
        let pc = loaded.core.registers.pc;
        let what = match access {
            MemoryAccess::Load => "load from",
            MemoryAccess::Store => "store to",
            MemoryAccess::Fetch => "fetch from",
        };
        log::warn!(
            "vm {}: vcpu {}: {what} IPA {ipa:#x} at pc {pc:#x}: nothing is there",
            loaded.vm.name(),
            loaded.index
        );
    }
    inject_abort(loaded, access, va)
}

fn inject_abort(loaded: &mut Loaded, access: MemoryAccess, va: Va) -> Next {
    let exception = interrupted(loaded).external_abort(access, va);
    take(loaded, exception)
}

/// Puts the guest at its exception vector, or ends it where that leads nowhere.
fn take(loaded: &mut Loaded, exception: GuestException) -> Next {
    // A vector that cannot be fetched takes the same exception again: after the first round nothing changes any more.
    if exception.is_dead_end() {
        let pc = loaded.core.registers.pc;
        log::error!(
            "vm {}: vcpu {}: crashed: its exception vector at {pc:#x} cannot be executed",
            loaded.vm.name(),
            loaded.index
        );
        vm::crashed(loaded);
        return Next::Off;
    }
    let registers = &mut loaded.core.registers;
    registers.pc = exception.pc;
    registers.pstate = exception.pstate;
    guest::set_exception_state(exception.esr_el1, exception.elr_el1, exception.spsr_el1, exception.far_el1);
    Next::Resume
}

/// A physical SError came while the guest ran: it is the guest's.
#[cold]
pub fn serror(loaded: &mut Loaded) -> Next {
    loaded.vcpu.exits.count(Reason::Other);
    let error = SError::taken(guest::esr());
    say_serror(loaded.vm, loaded.index, &error);
    if error.harms() {
        guest::pend_serror();
    }
    Next::Resume
}

/// Says that an SError has come of what a vCPU did.
#[cold]
pub fn say_serror(vm: &Vm, vcpu: VcpuIdx, error: &SError) {
    if vm.may_complain() {
        log::warn!("vm {}: vcpu {vcpu}: SError, syndrome {:#x}", vm.name(), error.syndrome());
    }
}
