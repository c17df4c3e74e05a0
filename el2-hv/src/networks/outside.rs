//! Between the first network and the board's network card.

use core::sync::atomic::{AtomicBool, Ordering};

use guest_virtio::net::checksum::Completion;
use guest_virtio::net::{Frame, Offload};
use hv_arch::ram;
use hv_board::virtio::Found;
use hv_core::addr::{IntId, Pa};
use hv_core::switch::{Header, PortId, PortRules, Ports, Rate, Verdict};

use super::copy::{Source, frame_at};
use super::part::{Part, segments};
use super::{NETWORKS, Network, UPLINK, WAITING};
use crate::machine::machine;
use crate::uplink::{self, Card, Uplink, uplink};
use crate::vm::SOS_VM;
use crate::{cpu, interrupts, ports, slots, vcpu, vm};

/// Frames that are taken from the card at one go.
const BUDGET: usize = 64;

/// Frames that have come were not all taken, and no interrupt says so.
static COME: AtomicBool = AtomicBool::new(false);

/// Brings the board's card up, in the first network; whether it can be used.
pub fn open(found: Found, place: &slots::Place) -> bool {
    let Some(uplink) = uplink::open(found, place) else { return false };
    let mac = uplink.address;
    let rules = PortRules { mac, any_source: false, isolated: false, uplink: true, rate: Rate::NONE };
    if let Err(error) = NETWORKS[0].lock().switch.connect(UPLINK, rules) {
        log::warn!("uplink:  {error}");
        return false;
    }
    true
}

/// The card's interrupt; whether it is that.
pub fn interrupt(id: IntId) -> bool {
    let Some(uplink) = uplink().filter(|uplink| uplink.is_irq(id)) else {
        return false;
    };
    uplink.acknowledge(&mut uplink.card());
    NETWORKS[0].lock().take(uplink);
    let has_room = uplink.takes_frames(&mut uplink.card(), 1);
    if has_room {
        Ports(WAITING[0].load(Ordering::Relaxed)).iter().for_each(call_sender);
    }
    true
}

/// The card has room: who waits for that at a port sends, in its own time and turn.
fn call_sender(port: PortId) {
    let vm = NETWORKS[0].lock().cards[port.index()].vm();
    if let Some(vm) = vm {
        vm::call_one(vm, vcpu::SEND);
    }
}

/// Takes what has come and was left.
pub(super) fn go_on() {
    if COME.load(Ordering::Relaxed)
        && COME.swap(false, Ordering::Relaxed)
        && let Some(uplink) = uplink()
    {
        NETWORKS[0].lock().take(uplink);
    }
}

/// Sends a frame out; whether the card takes it.
pub(super) fn send(uplink: &Uplink, source: &Source<'_>) -> bool {
    let mut card = uplink.card();
    let mut send = |part: Part<'_>| {
        let part = if uplink.checksum { part } else { part.completed() };
        send_part((uplink, &mut card), source, &part)
    };
    if source.frame.offload.is_segmented() {
        return segments(source, &mut |segment| send(Part::of(segment)));
    }
    send(Part::whole(source))
}

fn send_part((uplink, card): (&Uplink, &mut Card), source: &Source<'_>, part: &Part<'_>) -> bool {
    if part.length() > uplink.longest {
        return false;
    }
    // A frame can be cut into more than the card takes before it is told of them.
    let full = !uplink.takes_frames(card, 1);
    if full {
        card.notify();
    }
    let Some((place, at)) = (!full || uplink.takes_frames(card, 1)).then(|| card.place()).flatten() else {
        return false;
    };
    let behind = |offset: u32| Pa(at.0 + u64::from(offset));
    let mut completion = part.begin();
    ram::write(at, part.headers);
    source.copy_out(part.payload(&mut completion), behind(part.headers.len() as u32));
    if let Some(patch) = completion.map(Completion::finish) {
        ram::write(behind(patch.at), &patch.bytes);
    }
    card.send(place, part.offload.to_bytes(0), part.length())
}

impl Network {
    /// Takes frames that have come, within the budget. Above it they wait in the card, which drops what it has no room for.
    fn take(&mut self, uplink: &Uplink) {
        let (mut frame, mut receivers, mut left) = (Frame::new(), Ports::NONE, BUDGET);
        let now = machine().up_ns();
        loop {
            let received = uplink.received(&mut uplink.card());
            let Some(received) = received else {
                if uplink.card().arm() {
                    continue;
                }
                break;
            };
            let at = uplink.card().frame(&received);
            frame_at(&mut frame, at, received.length);
            // The card was not asked to leave frames whole that are to be cut.
            let offload = Offload::from_bytes(&received.header, received.length);
            match offload.filter(|offload| !offload.is_segmented()) {
                Some(offload) => {
                    frame.offload = offload;
                    receivers = receivers.union(self.take_in(&frame, now));
                }
                None => self.malformed(),
            }
            uplink.card().give_back(&received);
            left -= 1;
            if left == 0 || interrupts::look() {
                self.take_later(uplink);
                break;
            }
        }
        self.announce(receivers);
    }

    /// Passes a frame that has come on; who got it.
    fn take_in(&mut self, frame: &Frame, now: u64) -> Ports {
        let Some(source) = Source::of_board(frame) else {
            self.malformed();
            return Ports::NONE;
        };
        let header = Header::parse(&source.first, frame.length);
        match self.switch.forward(UPLINK, &header, now) {
            Verdict::To(ports) => self.hand_out(UPLINK, ports, &source),
            Verdict::Later { .. } | Verdict::Drop(_) => Ports::NONE,
        }
    }

    /// The card has passed on what is no frame: it is said of the first one, and of each when their number has doubled.
    #[cold]
    fn malformed(&mut self) {
        let count = self.switch.malformed(UPLINK);
        if count.is_power_of_two() {
            log::warn!("uplink:  {count} so far of what came were no frames, and were dropped");
        }
    }

    /// The rest is taken after a while, without an interrupt of the card; a VM's deadline is what brings it about.
    fn take_later(&self, uplink: &Uplink) {
        let somebody = self.cards.iter().find(|card| card.in_use && card.vm().is_some());
        let vm = somebody.map_or(SOS_VM, |card| card.vm);
        uplink.card().quiet();
        COME.store(true, Ordering::Relaxed);
        ports::look_again(vm);
        cpu::interrupt_self();
    }
}
