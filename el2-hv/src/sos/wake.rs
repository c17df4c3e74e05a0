//! Who wakes the partition, and when.

use hv_abi::VmHandle;
use hv_abi::handle::Label;
use hv_core::addr::VmId;
use hv_core::sos::{Event, State};

use super::{SosControl, load};
use crate::machine::machine;
use crate::networks::partition;
use crate::vm::{self, SOS_VM};
use crate::{keeper, report};

/// The slot of an asker.
pub(super) fn slot_of(asker: VmHandle) -> VmId {
    VmId(asker.index().unwrap_or(SOS_VM.0))
}

impl SosControl {
    /// Requests may have come: wakes it, or hands them over.
    pub fn work_arrived(&mut self) {
        if self.requests.waiting() == 0 {
            return;
        }
        if self.life.state() != State::Off {
            return self.deliver();
        }
        if self.waker().is_some() {
            self.event(Event::Wake);
        } else {
            // One of the deadlines is that of the next token.
            keeper::call();
        }
    }

    /// Whose request wakes it: one of those that have a token.
    fn waker(&self) -> Option<VmHandle> {
        let now = machine().up_ns();
        self.requests.next_asker(|asker| self.wakes.ready_at(slot_of(asker)) <= now)
    }

    /// Requests and events that are to wake it.
    pub(super) fn wakeful(&self) -> u32 {
        u32::from(self.waker().is_some()) + self.events_waiting()
    }

    /// Wakes the partition where a request has waited for a token. Returns when the next one that waits has one.
    pub(super) fn token_due(&mut self, now: u64) -> Option<u64> {
        // Held off after failures: its own deadline is looked at.
        if self.life.state() != State::Off || self.life.deadline().is_some() {
            return None;
        }
        let due = self.requests.askers().map(|asker| self.wakes.ready_at(slot_of(asker))).min()?;
        if due > now {
            return Some(due);
        }
        self.event(Event::Wake);
        None
    }
    /// Builds it, for who wakes it.
    pub(super) fn begin_life(&mut self) {
        let life = self.life.account().lives;
        let waker = self.waker();
        let packet = (waker.is_none() && partition::is_wanted()).then_some(Label::PACKET);
        partition::begins();
        self.woken_by = waker.and_then(vm::by_handle).and_then(|(_, vm)| vm.label()).or(packet);
        self.asked_at = waker.map(|_| hv_arch::counter::now());
        if let Some(waker) = waker {
            self.wakes.take(slot_of(waker), machine().up_ns());
        }
        self.ledger.begin(life, (waker.map_or(SOS_VM, slot_of), self.woken_by), machine().up_ns());
        self.drain_wanted = false;
        self.loading = load::Loading::BEGIN;
        if !load::claim(self.image.as_ref()) {
            report::fatal(format_args!("the service partition cannot be powered on: no vCPU is free"));
        }
        self.sit_down();
        vm::begin_loading();
    }
}
