//! The service partition's privileged calls: every argument is checked again here.

mod console;
mod device;
mod drive;
mod schedule;

use hv_abi::call::{CALLS, COPY_MAX, Call, Caller, ConfigKind, DrainAnswer, Grants, MEMORY_ALIGNMENT};
use hv_abi::guest_map::{MAX_VCPUS, RAM_BASE};
use hv_abi::handle::Label;
use hv_abi::mailbox::BODY_MAX;
use hv_abi::record::{EndReason, QueryKind, VmRecord};
use hv_abi::{Status, VmHandle};
use hv_arch::counter;
use hv_arch::ram::{self, NoNewTables, Tables};
use hv_core::addr::{Ipa, PaRange, VmId};
use hv_core::frames::Owner;
use hv_core::stage2::Access;
use zerocopy::IntoBytes;

use crate::cpu::{Local, Next};
use crate::memory::frames;
use crate::vcpu::Loaded;
use crate::vm::{self, CreateError, Phase, SOS_VM, Vm};
use crate::{NOTES, SOS, VMS, disks, kept, query, report, sos};

/// Bytes that are copied between two looks for interrupts.
const COPY_STEP: u64 = 16 * 1024;
/// Bytes of RAM that one `vm_memory` gives out at most; between two blocks there is a look for interrupts.
const MEMORY_STEP: u64 = 32 << 20;

/// Results of a call: x1 to x3.
type Results = [u64; 3];

/// Who may make a call.
pub fn caller_of(call: Call) -> Caller {
    let index = (call as u32 - hv_abi::call::BASE) as usize;
    CALLS.get(index).map_or(Caller::ServicePartition, |row| row.caller)
}

/// Serves a call of the service partition.
pub fn serve(local: &mut Local, loaded: &mut Loaded, call: Call) -> Next {
    let x = &loaded.core.registers.x;
    let arguments = [x[1], x[2], x[3], x[4], x[5], x[6]];
    let mut results: Results = [0; 3];
    let status = match perform(local, call, arguments, &mut results) {
        Ok(()) => Status::Success,
        Err(status) => status,
    };
    let x = &mut loaded.core.registers.x;
    x[0] = status.to_register();
    x[1..4].copy_from_slice(&results);
    match (status, call) {
        // It is told when the VM is further.
        (Status::Again, Call::VmStop | Call::VmDestroy) => Next::Await,
        (Status::Again, _) => Next::GiveWay,
        _ => Next::Resume,
    }
}

fn perform(local: &mut Local, call: Call, x: [u64; 6], results: &mut Results) -> Result<(), Status> {
    match call {
        Call::VmCreate => create([x[0], x[1], x[2], x[3]], x[4], results),
        Call::VmMemory => {
            let answer = memory(x[0], x[1], x[2], results);
            if results[0] > 0 {
                sos::progress();
            }
            answer
        }
        Call::VmCopyIn => copy_in(x[0], [x[1], x[2], x[3]], results),
        Call::VmDevice => device::device(x[0], x[1], [x[2], x[3], x[4]]),
        Call::VcpuInit => vcpu_init(x[0], x[1], x[2]),
        Call::VmStart => start(x[0]),
        Call::VmStop => stop(x[0]),
        Call::VmDestroy => destroy(x[0]),
        Call::VmQuery => vm_query(x[0], x[1], results),
        Call::VmGrant => grant(x[0], x[1]),
        Call::HvQuery => hv_query([x[0], x[1]], x[2], x[3], results),
        Call::HvConfig => config(x[0]),
        Call::SosReady => {
            sos::ready();
            Ok(())
        }
        Call::SosIdle => {
            sos::idle(DrainAnswer::from_register(x[0]).ok_or(Status::InvalidArgument)?);
            Ok(())
        }
        Call::NoteGet => note_get(x[0], x[1], x[2], results),
        Call::NoteSet => note_set(x[0], [x[1], x[2]], x[3], results),
        Call::VmSched => schedule::set(x[0], x[1], [x[2], x[3], x[4]]),
        Call::VmSchedGet => {
            *results = named(x[0])?.1.control.lock().scheduling();
            Ok(())
        }
        Call::SosAlarm => {
            sos::set_alarm((x[0] != 0).then_some(x[0]));
            Ok(())
        }
        Call::VmPause => pause(x[0]),
        Call::VmResume => resume(local, x[0]),
        Call::VmCrash => crash([x[0], x[1], x[2], x[3]], x[4]),
        Call::VmShare => device::share(x[0], [x[1], x[2], x[3], x[4]], x[5], results),
        Call::SosNetwork => device::network([x[0], x[1], x[2]]),
        Call::SosRules => device::rules(x[0], x[1]),
        Call::VmDeviceSet => device::change(x[0], [x[1], x[2], x[3], x[4]]),
        Call::ConsoleAttach => console::attach(x[0], [x[1], x[2]], x[3]),
        Call::DriveRead => drive::read(x[0], x[1], [x[2], x[3]], results),
        Call::VmAttach => device::attach(x[0], [x[1], x[2], x[3]]),
        Call::VmDetach => device::detach(x[0], x[1], x[2]),
        Call::Doorbell => Err(Status::NotSupported),
    }
}

/// The VM that a handle names.
fn named(handle: u64) -> Result<(VmId, &'static Vm), Status> {
    vm::by_handle(VmHandle(handle)).ok_or(Status::NoSuchVm)
}

/// The VM that a handle names, if it is still being built.
fn building(handle: u64) -> Result<(VmId, &'static Vm), Status> {
    let (id, vm) = named(handle)?;
    if vm.phase() == Phase::Building { Ok((id, vm)) } else { Err(Status::WrongState) }
}

fn create(label: [u64; 4], vcpus: u64, results: &mut Results) -> Result<(), Status> {
    let label = Label::from_registers(label).ok_or(Status::InvalidArgument)?;
    let vcpus = u8::try_from(vcpus).ok().filter(|count| (1..=MAX_VCPUS).contains(&usize::from(*count)));
    let handle = vm::create(label, vcpus.ok_or(Status::InvalidArgument)?).map_err(|error| match error {
        CreateError::LabelTaken => Status::Exists,
        CreateError::NoRoom => Status::NoMemory,
    })?;
    results[0] = handle.0;
    sos::progress();
    Ok(())
}

fn memory(handle: u64, ipa: u64, bytes: u64, results: &mut Results) -> Result<(), Status> {
    let (id, vm) = building(handle)?;
    let end = ipa.checked_add(bytes).ok_or(Status::InvalidArgument)?;
    let outside = ipa < RAM_BASE || end > 1 << hv_abi::guest_map::IPA_BITS || bytes == 0;
    if outside || !(ipa | bytes).is_multiple_of(MEMORY_ALIGNMENT) {
        return Err(Status::InvalidArgument);
    }
    let mut done = 0;
    while done < bytes {
        match give_block(id, vm, ipa + done) {
            Ok(()) => done += MEMORY_ALIGNMENT,
            // What was done is said first; the next call meets it again.
            Err(_) if done > 0 => break,
            Err(status) => return Err(status),
        }
        if done == MEMORY_STEP || crate::interrupts::look() {
            break;
        }
    }
    results[0] = done;
    if done < bytes { Err(Status::Again) } else { Ok(()) }
}

/// Gives a VM a block of RAM at `ipa`.
fn give_block(id: VmId, vm: &Vm, ipa: u64) -> Result<(), Status> {
    let mut control = vm.control.lock();
    let control = &mut *control;
    let stage2 = control.stage2.as_mut().ok_or(Status::WrongState)?;
    let mut frames = frames();
    let start = frames.allocate(MEMORY_ALIGNMENT, Owner::Vm(id)).map_err(|_| Status::NoMemory)?;
    let range = PaRange { start, size: MEMORY_ALIGNMENT };
    if let Err(error) = stage2.map(Ipa(ipa), range, Access::Ram, &mut Tables { frames: &mut frames }) {
        // Nothing of it is mapped.
        frames.free(range, Owner::Vm(id));
        return Err(match error {
            hv_core::stage2::MapError::Mapped(_) => Status::Exists,
            _ => Status::NoMemory,
        });
    }
    control.memory += range.size;
    Ok(())
}

/// The physical range behind `ipa` of a VM, as far as it is contiguous, at most `bytes`.
fn translate(vm: &Vm, ipa: u64, bytes: u64, to_write: bool) -> Result<PaRange, Status> {
    let found = vm.tables().translate(Ipa(ipa), &NoNewTables).filter(|found| found.writable || !to_write);
    // What is shared is a running VM's, too.
    let found = found.filter(|found| !found.shared);
    let found = found.ok_or(Status::BadAddress)?;
    Ok(PaRange { start: found.pa, size: found.remaining.min(bytes) })
}

fn copy_in(handle: u64, [target, source, bytes]: [u64; 3], results: &mut Results) -> Result<(), Status> {
    let (_, vm) = building(handle)?;
    if bytes > COPY_MAX || target.checked_add(bytes).is_none() || source.checked_add(bytes).is_none() {
        return Err(Status::InvalidArgument);
    }
    let caller = &VMS[SOS_VM.index()];
    let mut done = 0;
    while done < bytes {
        let from = translate(caller, source + done, (bytes - done).min(COPY_STEP), false)?;
        let to = translate(vm, target + done, from.size, true)?;
        ram::copy_clean(to.start, from.start, to.size);
        done += to.size;
        // What waits is served when the caller runs again; it goes on from here.
        if crate::interrupts::look() {
            break;
        }
    }
    results[0] = done;
    if done > 0 {
        sos::progress();
    }
    Ok(())
}

fn vcpu_init(handle: u64, entry: u64, x0: u64) -> Result<(), Status> {
    let (_, vm) = building(handle)?;
    translate(vm, entry, 4, false)?;
    if !entry.is_multiple_of(4) {
        return Err(Status::InvalidArgument);
    }
    vm.control.lock().entry = Some((entry, x0));
    Ok(())
}

fn start(handle: u64) -> Result<(), Status> {
    let (id, _) = building(handle)?;
    if !vm::start(id) {
        return Err(Status::WrongState);
    }
    sos::progress();
    Ok(())
}

fn stop(handle: u64) -> Result<(), Status> {
    let (id, vm) = named(handle)?;
    match vm.phase() {
        Phase::Running | Phase::Pausing | Phase::Paused => {
            vm::end(id, EndReason::Stopped);
            Err(Status::Again)
        }
        Phase::Stopping => Err(Status::Again),
        Phase::Stopped if vm.control.lock().end == EndReason::Stopped => Ok(()),
        _ => Err(Status::WrongState),
    }
}

fn pause(handle: u64) -> Result<(), Status> {
    let (id, vm) = named(handle)?;
    match vm.phase() {
        Phase::Paused => {
            sos::progress();
            Ok(())
        }
        Phase::Pausing => Err(Status::Again),
        _ if vm::pause(id) => Err(Status::Again),
        _ => Err(Status::WrongState),
    }
}

fn resume(local: &mut Local, handle: u64) -> Result<(), Status> {
    let (id, vm) = named(handle)?;
    if vm.phase() == Phase::Pausing {
        return Err(Status::Again);
    }
    if !vm::resume(id) {
        return Err(Status::WrongState);
    }
    // What its devices do by time: nobody looked meanwhile.
    local.watch_devices(id, Some(counter::now_relaxed()));
    sos::progress();
    Ok(())
}

fn destroy(handle: u64) -> Result<(), Status> {
    let named = named(handle);
    let Ok((id, vm)) = named else {
        // It was there when the call was made first: gone is what was asked for.
        let index = VmHandle(handle).index().and_then(|index| VMS.get(usize::from(index)));
        let known = index.is_some_and(|vm| vm.is_earlier_life(VmHandle(handle)));
        return if known { Ok(()) } else { Err(Status::NoSuchVm) };
    };
    match vm.phase() {
        Phase::Running | Phase::Pausing | Phase::Paused => vm::end(id, EndReason::Stopped),
        // Its memory is the drives' until then; the manager is told when it is not.
        Phase::Stopped if disks::hold_up(id) => {}
        Phase::Building | Phase::Stopped => {
            vm::destroy(id);
            sos::progress();
        }
        _ => {}
    }
    Err(Status::Again)
}

fn grant(handle: u64, grants: u64) -> Result<(), Status> {
    let (_, vm) = building(handle)?;
    vm.set_grants(Grants::from_register(grants).ok_or(Status::InvalidArgument)?);
    Ok(())
}

/// Copies bytes to the caller's memory.
fn write_caller(ipa: u64, bytes: &[u8]) -> Result<(), Status> {
    let caller = &VMS[SOS_VM.index()];
    let mut done = 0;
    while done < bytes.len() {
        let at = ipa.checked_add(done as u64).ok_or(Status::BadAddress)?;
        let to = translate(caller, at, (bytes.len() - done) as u64, true)?;
        ram::write(to.start, &bytes[done..done + to.size as usize]);
        done += to.size as usize;
    }
    Ok(())
}

/// Copies bytes out of the caller's memory.
fn read_caller(ipa: u64, bytes: &mut [u8]) -> Result<(), Status> {
    let caller = &VMS[SOS_VM.index()];
    let mut done = 0;
    while done < bytes.len() {
        let at = ipa.checked_add(done as u64).ok_or(Status::BadAddress)?;
        let from = translate(caller, at, (bytes.len() - done) as u64, false)?;
        ram::read(from.start, &mut bytes[done..done + from.size as usize]);
        done += from.size as usize;
    }
    Ok(())
}

fn vm_query(slot: u64, buffer: u64, results: &mut Results) -> Result<(), Status> {
    let first = usize::try_from(slot).unwrap_or(usize::MAX).max(1);
    let exists = |id: &usize| !VMS[*id].is_free();
    let mut found = (first..VMS.len()).filter(exists);
    let id = found.next().ok_or(Status::NoSuchVm)?;
    let record: VmRecord = query::vm_record(VmId(id as u8));
    write_caller(buffer, record.as_bytes())?;
    results[0] = found.next().map_or(u64::MAX, |next| next as u64);
    Ok(())
}

fn crash(label: [u64; 4], buffer: u64) -> Result<(), Status> {
    let label = Label::from_registers(label).ok_or(Status::InvalidArgument)?;
    kept::with_crash_of(label, |record| write_caller(buffer, record.as_bytes())).ok_or(Status::NoSuchVm)?
}

fn hv_query([kind, argument]: [u64; 2], buffer: u64, bytes: u64, results: &mut Results) -> Result<(), Status> {
    let kind = u32::try_from(kind).ok().and_then(QueryKind::from_number).ok_or(Status::InvalidArgument)?;
    let mut body = [0; BODY_MAX];
    let asked = query::Asked { kind, argument, label: None };
    let length = query::answer(&SOS.lock(), &asked, &mut body).ok_or(Status::InvalidArgument)?;
    if (length as u64) > bytes {
        return Err(Status::InvalidArgument);
    }
    write_caller(buffer, &body[..length])?;
    results[0] = length as u64;
    Ok(())
}

fn config(kind: u64) -> Result<(), Status> {
    match ConfigKind::from_register(kind).ok_or(Status::InvalidArgument)? {
        ConfigKind::PowerOff => {
            crate::console::show_last_of(SOS_VM);
            report::fatal(format_args!("the service partition gave up; its last lines are above"))
        }
        ConfigKind::Reset => report::reset(),
        ConfigKind::ShutDown => report::power_off("as asked"),
    }
}

fn note_get(note: u64, buffer: u64, bytes: u64, results: &mut Results) -> Result<(), Status> {
    let notes = NOTES.lock();
    let (content, version) = notes.get(note)?;
    results[0] = content.len() as u64;
    results[1] = version;
    if content.len() as u64 > bytes {
        return Err(Status::InvalidArgument);
    }
    write_caller(buffer, content)
}

fn note_set(note: u64, [buffer, bytes]: [u64; 2], version: u64, results: &mut Results) -> Result<(), Status> {
    let mut notes = NOTES.lock();
    let mut new = notes.replace(note, bytes, version)?;
    read_caller(buffer, new.bytes())?;
    results[0] = new.finish();
    Ok(())
}
