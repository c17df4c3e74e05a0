//! What the service partition is told: power-on, ends of guests, its alarm, the wish that it leave.

use hv_abi::VmHandle;
use hv_abi::mailbox::{Event as Told, EventKind, Flags, Frame, Slot};
use hv_core::addr::VmId;
use hv_core::sos::{Event, State};
use zerocopy::IntoBytes;
use zerocopy::little_endian::U32;

use super::SosControl;
use crate::drives::{self, Drive};
use crate::machine::machine;
use crate::networks::partition;
use crate::vm::SOS_VM;
use crate::{SOS, VMS, disks, keeper};

impl SosControl {
    /// Puts events that wait into its ring; whether there were any.
    pub(super) fn tell_events(&mut self) -> bool {
        let mut told = false;
        if self.power_on && self.power_on_told == 0 && tell(EventKind::PowerOn, VmHandle(0)) {
            self.power_on_told = 1;
            told = true;
        }
        if self.ended.contains(&true) {
            for (id, (vm, ended)) in VMS.iter().zip(&mut self.ended).enumerate() {
                if *ended && tell(EventKind::VmEnded, vm.handle(VmId(id as u8))) {
                    *ended = false;
                    told = true;
                }
            }
        }
        if self.alarm.waits() && tell(EventKind::Alarm, VmHandle(0)) {
            self.alarm.tell();
            told = true;
        }
        if self.drain_wanted && tell(EventKind::Drain, VmHandle(0)) {
            self.drain_wanted = false;
            told = true;
        }
        told
    }

    /// Whether something happened that this life has not heard of.
    pub(super) fn has_untold(&self) -> bool {
        self.power_on && self.power_on_told == 0 || self.alarm.waits() || self.ended.iter().any(|ended| *ended)
    }

    /// Events that wait for a life.
    pub(super) fn events_waiting(&self) -> u32 {
        let ended = self.ended.iter().filter(|ended| **ended).count() as u32;
        u32::from(self.power_on) + u32::from(self.alarm.waits()) + u32::from(partition::is_wanted()) + ended
    }

    /// Something has happened that it is to hear of, by nobody's request.
    pub(super) fn happened(&mut self) {
        self.event(Event::Wake);
        self.deliver();
    }
}

/// Puts an event into the partition's ring.
fn tell(kind: EventKind, vm: VmHandle) -> bool {
    let body = Told { kind: U32::new(kind as u32), reserved: U32::ZERO };
    let frame = Frame { vm, ..Frame::request(hv_abi::mailbox::Party::Hv, Flags::EVENT, 0, 0) };
    VMS[SOS_VM.index()].mailbox.lock().put(&Slot::new(frame, body.as_bytes()))
}

/// `sos_alarm`.
pub fn set_alarm(at: Option<u64>) {
    SOS.lock().alarm.set(at);
    keeper::call();
}

/// A deadline of its life, or its alarm, may have passed. Returns the next on the counter.
pub fn deadline_passed() -> Option<u64> {
    let mut sos = SOS.lock();
    let machine = machine();
    if sos.alarm.ring(hv_arch::counter::now()) {
        sos.happened();
    }
    if partition::is_wanted() {
        sos.event(Event::Wake);
    }
    let now = machine.up_ns();
    if sos.life.deadline().is_some_and(|deadline| deadline <= now) {
        // A read that it has given up is nothing to stay for.
        let idles = sos.life.state() == State::Ready && sos.requests.in_progress() == 0;
        if disks::is_awaited() || !idles && drives::all().any(Drive::reads) {
            sos.event(Event::Progress);
        }
        let off = sos.life.state() == State::Off;
        let open = if off { sos.wakeful() } else { sos.requests.in_progress() };
        sos.event(Event::Deadline { open });
    }
    sos.await_cpu();
    let token = sos.token_due(now);
    let own = [sos.life.deadline(), sos.seat.deadline(), token].into_iter().flatten().min();
    let own = own.map(|ns| machine.started + machine.ticks(ns + 1000));
    [own, sos.alarm.deadline()].into_iter().flatten().min()
}
