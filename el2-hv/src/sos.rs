//! Control of the service partition: wakes it, hands it requests, routes its replies, ends its lives.
//!
//! `hv_core::sos` says what is to be done, `hv_core::requests` what waits; here it is done.

mod answer;
mod end;
mod events;
mod history;
mod load;
mod seat;
mod wake;

use hv_abi::call::{DrainAnswer, Grants};
use hv_abi::guest_map::MAILBOX_SPI;
use hv_abi::handle::Label;
use hv_abi::mailbox::{Frame, HvErrorKind, OPEN_MAX, Party, Slot};
use hv_abi::record::EndReason;
use hv_abi::{Status, VmHandle};
use hv_core::addr::VmId;
use hv_core::description::ServicePartition;
use hv_core::requests::{Asker, Offer, Requests};
use hv_core::sos::history::Ledger;
use hv_core::sos::seat::{Power, Seat};
use hv_core::sos::wakes::WakeBuckets;
use hv_core::sos::{Action, Alarm, Event, LifeEnd, SosLife, SosTimes};

use answer::{error_slot, refuse};
pub use end::{forget_vm, load_failed, scrubbed, stopped, vm_ended, vm_gone};
pub use events::{deadline_passed, set_alarm};
pub use load::{Image, Load, extra, load};
pub use seat::{cpu_arrived, stays_on, turns_off};
use wake::slot_of;

use crate::machine::machine;
use crate::mailbox::{self, deliver, set_starved};
use crate::networks::partition;
use crate::vm::{self, SOS_VM};
use crate::{SOS, VMS, devices, keeper, ports, watch};

/// The service partition's state at EL2.
pub struct SosControl {
    life: SosLife,
    requests: Requests,
    image: Option<Image>,
    loading: load::Loading,
    /// Where its vCPU runs.
    seat: Seat,
    /// Who may wake it.
    wakes: WakeBuckets,
    /// What its lives were for.
    ledger: Ledger,
    /// The board was powered on, and no life has agreed to end since.
    power_on: bool,
    /// A life has been told so.
    power_on_told: u8,
    /// VMs that ended by themselves and were not reported in this life.
    ended: [bool; hv_core::frames::MAX_VMS],
    drain_wanted: bool,
    alarm: Alarm,
    woken_by: Option<Label>,
    /// When the present life was woken by a request that has no answer yet.
    asked_at: Option<u64>,
    wake_to_answer_ns: u64,
    /// How the guest ended that ended last.
    last_end: EndReason,
}

/// What became of a frame from a guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// It is done with.
    Yes,
    /// It has to wait where it is.
    Later,
}

/// Sends a frame to who asked; whether there was room.
pub type Answer<'a> = dyn FnMut(&Slot) -> bool + 'a;

impl SosControl {
    /// Before the description is read: all zero, so that the image's file need not hold it.
    pub const fn new() -> Self {
        Self {
            life: SosLife::new(SosTimes { idle: 0, boot: 0, busy: 0 }),
            requests: Requests::new(),
            image: None,
            loading: load::Loading::BEGIN,
            seat: Seat::SHARED,
            wakes: WakeBuckets::NONE,
            ledger: Ledger::NONE,
            power_on: false,
            power_on_told: 0,
            ended: [false; hv_core::frames::MAX_VMS],
            drain_wanted: false,
            alarm: Alarm::NONE,
            woken_by: None,
            asked_at: None,
            wake_to_answer_ns: 0,
            last_end: EndReason::None,
        }
    }

    /// What boot has found out.
    pub fn configure(&mut self, said: &ServicePartition<'_>, image: Image) {
        self.power_on = true;
        self.life = SosLife::new(said.times);
        self.wakes.set(said.wakes);
        self.image = Some(image);
    }

    /// Its life.
    pub const fn life(&self) -> &SosLife {
        &self.life
    }

    /// Its requests.
    pub const fn requests(&self) -> &Requests {
        &self.requests
    }

    /// What its lives were for.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Who woke it last.
    pub const fn woken_by(&self) -> Option<Label> {
        self.woken_by
    }

    /// From the request that woke it last to its first answer.
    pub const fn wake_to_answer_ns(&self) -> u64 {
        self.wake_to_answer_ns
    }

    /// Takes a frame of a guest: answers what is for EL2, keeps what is for the service partition.
    pub fn take_frame(&mut self, id: VmId, port: u16, slot: &Slot, answer: &mut Answer<'_>) -> Taken {
        let vm = &VMS[id.index()];
        let number = slot.header.id.get();
        let frame = match Frame::parse(&slot.header) {
            Ok(frame) => frame,
            Err(error) => {
                if vm.may_complain() {
                    log::warn!("vm {}: {error}", vm.name());
                }
                return refuse(number, HvErrorKind::BadFrame, answer);
            }
        };
        match frame.party {
            Party::Hv => self.answer_hv(Asker { vm: vm.handle(id), port }, &frame, slot, answer),
            Party::Sos if !vm.grants().contains(Grants::MANAGE) => refuse(number, HvErrorKind::NotGranted, answer),
            Party::Sos => match self.requests.offer(Asker { vm: vm.handle(id), port }, &frame, slot) {
                Offer::Taken => Taken::Yes,
                Offer::Full => Taken::Later,
                Offer::Refused(kind) => refuse(number, kind, answer),
            },
        }
    }

    /// Whether something waits for it, or was handed to it and is not done.
    fn has_work(&self) -> bool {
        let unread = VMS[SOS_VM.index()].mailbox.lock().unread();
        unread
            || partition::has_kept()
            || self.has_untold()
            || self.requests.waiting() > 0
            || self.requests.in_progress() > 0
    }

    /// Takes an event of its life and does what follows.
    fn event(&mut self, event: Event) {
        let before = self.life.deadline();
        if let Ok(action) = self.life.on(event, machine().up_ns()) {
            self.perform(action);
        }
        if self.life.deadline() != before {
            keeper::call();
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Nothing => {}
            Action::Load => self.begin_life(),
            Action::Deliver => self.deliver(),
            Action::AskDrain => {
                self.drain_wanted = true;
                self.deliver();
            }
            Action::TearDown(end) => self.tear_down(end),
            Action::RefuseWaiting => {
                self.requests.refuse_waiting();
                self.send_errors();
                resume_starved(self);
            }
        }
    }

    fn tear_down(&mut self, end: LifeEnd) {
        self.ledger.ends(end);
        match end {
            LifeEnd::Drained => vm::end(SOS_VM, EndReason::Stopped),
            LifeEnd::Crashed => log::error!("sos: life {} crashed", self.life.account().lives),
            LifeEnd::Hung => {
                log::error!("sos: life {} hangs, ended", self.life.account().lives);
                vm::end(SOS_VM, EndReason::Crashed);
            }
        }
    }

    /// Hands over what waits: events first, then requests.
    fn deliver(&mut self) {
        if !self.life.takes_work() {
            return;
        }
        self.charge_rest();
        let told = self.tell_events();
        let mut mailbox = VMS[SOS_VM.index()].mailbox.lock();
        let count = self.requests.deliver(|slot| mailbox.put(slot));
        drop(mailbox);
        if count > 0 {
            self.event(Event::Progress);
        }
        if told || count > 0 {
            devices::pulse(SOS_VM, MAILBOX_SPI);
        }
    }

    /// Sends what EL2 has to say about requests that failed, as far as there is room.
    fn send_errors(&mut self) {
        let mut failed: arrayvec::ArrayVec<(Asker, u32, HvErrorKind), OPEN_MAX> = arrayvec::ArrayVec::new();
        failed.extend(self.requests.failures().take(OPEN_MAX));
        for (asker, id, kind) in failed {
            if send(asker, &error_slot(id, kind)) {
                self.requests.error_sent(asker, id);
            }
        }
    }

    /// A port was opened or closed: what was asked through it is nobody's.
    pub fn forget_port(&mut self, asker: Asker) {
        self.requests.forget_port(asker);
    }

    /// Routes the replies in its ring. NO_ROOM: the first that found none was taken back.
    fn route_replies(&mut self) -> Status {
        let own = &VMS[SOS_VM.index()].mailbox;
        // The ring holds eight; what it puts there meanwhile rings again.
        for _ in 0..hv_abi::mailbox::SLOTS {
            let Some(slot) = own.lock().peek() else { break };
            own.lock().consume();
            let Ok(frame) = Frame::parse(&slot.header) else {
                continue;
            };
            let Some(route) = self.requests.route(&frame) else {
                continue;
            };
            let head = Frame { port: 0, vm: VmHandle(0), party: Party::Sos, ..frame };
            if !send(route.asker, &Slot::new(head, &slot.body[..frame.length])) {
                self.requests.stalled(route.asker, frame.id);
                return Status::NoRoom;
            }
            if let Some(asked) = self.asked_at.take() {
                self.wake_to_answer_ns = machine().nanoseconds(hv_arch::counter::now().wrapping_sub(asked));
            }
            if route.last {
                self.charge_answer(route.asker.vm);
            }
            self.requests.replied(&route, frame.id);
            self.event(Event::Progress);
        }
        Status::Success
    }
}

/// Sends a frame to who asked. Nobody is there any more: that counts as sent.
pub fn send(asker: Asker, slot: &Slot) -> bool {
    let Some((id, vm)) = vm::by_handle(asker.vm) else {
        return true;
    };
    if !vm.phase().is_alive() {
        return true;
    }
    match asker.port.checked_sub(1).map(|port| guest_virtio::console::PortId::new(u32::from(port))) {
        None => deliver(id, slot),
        Some(Some(port)) => ports::give(id, port, slot),
        Some(None) => true,
    }
}

/// Takes what a guest's ring holds.
pub fn serve_ring(id: VmId) {
    let mut sos = SOS.lock();
    take_from_ring(&mut sos, id);
    sos.work_arrived();
}

fn take_from_ring(sos: &mut SosControl, id: VmId) {
    let ring = &VMS[id.index()].mailbox;
    for _ in 0..hv_abi::mailbox::SLOTS {
        let Some(slot) = ring.lock().peek() else {
            return;
        };
        if sos.take_frame(id, 0, &slot, &mut |reply| deliver(id, reply)) == Taken::Later {
            return set_starved(id, true);
        }
        ring.lock().consume();
    }
}

/// A guest's ring or port has room again, or a request of it ended: goes on where something waited.
pub fn has_room_again(id: VmId) {
    let mut sos = SOS.lock();
    set_starved(id, false);
    watch::has_room_again(id);
    sos.send_errors();
    take_from_ring(&mut sos, id);
    ports::retry(&mut sos, id);
    sos.work_arrived();
    // It may hold a frame that found no room.
    devices::pulse(SOS_VM, MAILBOX_SPI);
}

/// The partition's own doorbell.
pub fn serve_own_doorbell() -> Status {
    let mut sos = SOS.lock();
    let status = sos.route_replies();
    sos.deliver();
    resume_starved(&mut sos);
    status
}

/// Places became free: those who had to wait for one may come in.
fn resume_starved(sos: &mut SosControl) {
    if mailbox::is_any_starved() {
        for id in (1..VMS.len()).map(|id| VmId(id as u8)).filter(|id| mailbox::is_starved(*id)) {
            take_from_ring(sos, id);
            ports::retry(sos, id);
        }
    }
    sos.work_arrived();
}

/// `sos_ready`.
pub fn ready() {
    SOS.lock().event(Event::Ready);
    partition::is_ready();
}

/// `sos_idle`.
pub fn idle(answer: DrainAnswer) {
    let mut sos = SOS.lock();
    match answer {
        // Something may have come since it looked.
        DrainAnswer::Agreed | DrainAnswer::AgreedUnvisited if sos.has_work() => sos.event(Event::DrainBusy),
        DrainAnswer::Agreed | DrainAnswer::AgreedUnvisited => {
            sos.event(Event::DrainAgreed);
            if sos.life.has_agreed() {
                partition::leaves(answer == DrainAnswer::Agreed);
                // What it was told at power-on is done.
                sos.power_on &= sos.power_on_told == 0;
            }
        }
        DrainAnswer::Busy => {
            if partition::has_sent() {
                sos.event(Event::Progress);
            }
            sos.event(Event::DrainBusy);
        }
    }
}

/// It has changed something about a VM.
pub fn progress() {
    SOS.lock().event(Event::Progress);
}

/// Powers it on for the first time, when all CPUs run.
pub fn power_on(power: &Power) {
    let mut sos = SOS.lock();
    sos.dedicate(power);
    sos.event(Event::Wake);
}
