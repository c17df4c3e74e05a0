//! What is kept of VMs whose life has ended: the end of their console, and how they crashed. It outlives the VM and the
//! service partition's lives, until the next life of that name ends, or makes way for others.

use core::mem;

use hv_abi::VmHandle;
use hv_abi::handle::Label;
use hv_abi::record::{CrashRecord, EndReason, NO_VCPU};
use hv_arch::guest;
use hv_core::addr::VmId;
use hv_core::kept::{Place, Shelf};
use hv_core::watch::Target;
use zerocopy::FromZeros;
use zerocopy::little_endian::{U32, U64};

use crate::history::History;
use crate::vcpu::Loaded;
use crate::{KEPT, VMS, vm};

/// Lives that are kept.
const LIVES: usize = 8;

/// What is kept of a life.
pub struct Life {
    history: History,
    /// Whose history it is.
    handle: VmHandle,
    /// Its reason is 0 where there was no crash.
    crash: CrashRecord,
}

impl Life {
    const NONE: Self = Self { history: History::NONE, handle: VmHandle(0), crash: CrashRecord::NONE };

    fn clear(&mut self) {
        mem::replace(&mut self.history, History::NONE).free();
        self.handle = VmHandle(0);
        self.crash.zero();
    }
}

/// What is kept of all.
pub type Kept = Shelf<Life, LIVES>;

/// Nothing.
pub const fn nothing() -> Kept {
    Kept::new([const { Place::new(Life::NONE) }; LIVES])
}

/// A vCPU goes on no more, and its VM ends for that: what is known of it.
#[cold]
pub fn crashed(loaded: &Loaded, reason: EndReason) {
    let Some(label) = loaded.vm.label() else { return };
    let mut kept = KEPT.lock();
    // Its console comes with the end of its life.
    let Some(life) = kept.put(label, Life::clear) else { return };
    let crash = &mut life.crash;
    let registers = &loaded.core.registers;
    crash.handle = U64::new(loaded.vm.handle(loaded.vm_id).0);
    crash.reason = U32::new(reason as u32);
    crash.vcpu = U32::new(u32::from(loaded.index.0));
    crash.pc = U64::new(registers.pc);
    crash.pstate = U64::new(registers.pstate);
    crash.esr = U64::new(guest::esr());
    crash.far = U64::new(guest::fault_addresses().0);
    let taken = guest::exception_state();
    crash.elr_el1 = U64::new(taken.elr);
    crash.esr_el1 = U64::new(taken.esr);
    crash.far_el1 = U64::new(taken.far);
    crash.sp_el1 = U64::new(taken.sp);
    for (kept, value) in crash.x.iter_mut().zip(&registers.x) {
        *kept = U64::new(*value);
    }
}

/// A VM's life is over.
#[inline(never)]
pub fn ended(id: VmId, handle: VmHandle, label: Label, end: EndReason) {
    let mut serial = VMS[id.index()].serial.lock();
    let serial = &mut *serial;
    serial.history.follow(&serial.output);
    let mut kept = KEPT.lock();
    let Some(life) = kept.put(label, Life::clear) else { return };
    mem::swap(&mut life.history, &mut serial.history);
    life.handle = handle;
    // That of the life before goes with the VM's memory.
    let is_crash = matches!(end, EndReason::Crashed | EndReason::Watchdog);
    if !is_crash || life.crash.handle.get() != handle.0 {
        life.crash.zero();
    }
    if is_crash && life.crash.reason.get() == 0 {
        life.crash.handle = U64::new(handle.0);
        life.crash.reason = U32::new(end as u32);
        life.crash.vcpu = U32::new(NO_VCPU);
    }
}

/// Does something with how the last life of a name crashed, if it did.
pub fn with_crash_of<R>(label: Label, work: impl FnOnce(&CrashRecord) -> R) -> Option<R> {
    let kept = KEPT.lock();
    kept.get(label).filter(|life| life.crash.reason.get() != 0).map(|life| work(&life.crash))
}

/// Reads a VM's console: that of its present life, or of its last one. See [`History::read_at`].
pub fn console_of(label: Label, position: u64, into: &mut [u8]) -> Option<(u64, usize, u64)> {
    let living = VMS[1..].iter().find(|vm| vm.phase().is_alive() && vm.label() == Some(label));
    let Some(vm) = living else {
        return Some(KEPT.lock().get(label)?.history.read_at(position, into));
    };
    let mut serial = vm.serial.lock();
    let serial = &mut *serial;
    serial.history.follow(&serial.output);
    Some(serial.history.read_at(position, into))
}

/// Reads the console of one life of a VM, while it lasts and as long as it is kept. See [`History::read_at`].
pub fn console_of_life(target: &Target, position: u64, into: &mut [u8]) -> Option<(u64, usize, u64)> {
    if let Some((id, vm)) = vm::by_handle(target.vm) {
        let mut serial = vm.serial.lock();
        let serial = &mut *serial;
        // Looked at again: the next life of the slot begins with this lock.
        if serial.history.is_kept() && vm.handle(id) == target.vm {
            serial.history.follow(&serial.output);
            return Some(serial.history.read_at(position, into));
        }
    }
    let kept = KEPT.lock();
    let life = kept.get(target.label?).filter(|life| life.handle == target.vm)?;
    Some(life.history.read_at(position, into))
}
