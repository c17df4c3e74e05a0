//! How lives end, the service partition's and guests', and what follows for whoever waits.

use hv_abi::VmHandle;
use hv_abi::record::EndReason;
use hv_core::addr::VmId;
use hv_core::description::WhenIdle;
use hv_core::requests::LifeOver;
use hv_core::sos::{Event, State};

use super::{SosControl, resume_starved};
use crate::machine::machine;
use crate::mailbox::set_starved;
use crate::networks::partition;
use crate::{SOS, VMS, report, vm};

/// Its vCPU has stopped for good.
pub fn stopped() {
    let mut sos = SOS.lock();
    if matches!(sos.life.state(), State::Booting | State::Ready | State::Draining) {
        sos.event(Event::Crash);
    }
    begin_dying(&mut sos);
}

/// It could not be loaded.
pub fn load_failed() {
    let mut sos = SOS.lock();
    sos.event(Event::LoadFailed);
    begin_dying(&mut sos);
}

fn begin_dying(sos: &mut SosControl) {
    let failed = sos.life.state() == State::Faulted;
    sos.charge_unanswered();
    sos.requests.life_over(if failed { LifeOver::Failed } else { LifeOver::Agreed });
    sos.alarm.life_over(!failed);
    if failed {
        // What it was told the next life hears again, once.
        sos.power_on &= sos.life.account().failures < 2 || sos.power_on_told == 0;
        sos.power_on_told = 0;
    }
    for (vm, ended) in VMS.iter().zip(&mut sos.ended).skip(1) {
        *ended |= vm.phase() == vm::Phase::Stopped && vm.ended_by_itself();
    }
    sos.asked_at = None;
    vm::destroy_half_built();
    partition::ends(failed);
    vm::begin_dying(sos.image.iter().flat_map(|image| [image.ram, image.extra]).collect());
    sos.send_errors();
    resume_starved(sos);
}

/// Its frames are back.
pub fn scrubbed() {
    let mut sos = SOS.lock();
    resume_starved(&mut sos);
    log::info!("sos: off");
    sos.charge_off();
    let waiting = sos.wakeful();
    sos.event(Event::Scrubbed { waiting });
    sos.stand_up();
    drop(sos);
    off_if_idle();
}

/// Powers the board off where the description says so, the last guest has ended it, and nothing is left to do.
fn off_if_idle() {
    let sos = SOS.lock();
    // An alarm is a guest that is to start again, for all that EL2 knows.
    let quiet = sos.life.state() == State::Off && sos.life.deadline().is_none() && !sos.alarm.is_set();
    if !quiet || sos.requests.waiting() + sos.events_waiting() > 0 || vm::any_guest() {
        return;
    }
    let had_guests = crate::machine::FIRST_GUEST.load(core::sync::atomic::Ordering::Relaxed) != 0;
    if !had_guests && sos.life.account().failures > 0 {
        report::fatal(format_args!("the service partition failed before any guest was started"));
    }
    let over = matches!(sos.last_end, EndReason::PoweredOff | EndReason::Reset);
    if had_guests && over && machine().when_idle == WhenIdle::PowerOff {
        drop(sos);
        report::power_off("the last guest is gone");
    }
}

/// A guest has ended.
pub fn vm_ended(id: VmId, handle: VmHandle, end: EndReason) {
    if end == EndReason::Stopped {
        SOS.lock().last_end = end;
        return;
    }
    let mut sos = SOS.lock();
    sos.last_end = end;
    if VMS[id.index()].handle(id) != handle {
        // It was destroyed meanwhile: nobody needs to be told.
        return;
    }
    sos.ended[id.index()] = true;
    sos.happened();
}

/// A guest's memory is back and its slot about to be free: what concerns it is forgotten.
pub fn forget_vm(id: VmId, handle: VmHandle) {
    let mut sos = SOS.lock();
    sos.requests.forget_vm(handle);
    sos.ended[id.index()] = false;
    set_starved(id, false);
}

/// A guest's slot is free.
pub fn vm_gone() {
    resume_starved(&mut SOS.lock());
    off_if_idle();
}
