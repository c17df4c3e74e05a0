//! The service partition's network card. While nothing of the partition is there to drive it, what comes for it is judged
//! by the rules that it has left.

use core::sync::atomic::{AtomicBool, Ordering};

use guest_virtio::net::checksum::Completion;
use guest_virtio::net::{Fit, Offload, Reception, Room};
use hv_abi::Status;
use hv_abi::call::NicPort;
use hv_abi::guest_map::{NIC_SLOT, VIRTIO_SPI};
use hv_abi::wake::{ANSWER_MAX, MATCHED, WakeRule};
use hv_arch::lock::Mutex;
use hv_arch::ram;
use hv_core::switch::{Mac, PortId, Ports};
use hv_core::wake_filter::{Filter, Judgement, Kept, Seen, WakeLimits};

use super::{NETWORKS, Network, Place, UPLINK, copy::Source};
use crate::guest_ram::Ram;
use crate::machine::machine;
use crate::uplink::uplink;
use crate::vm::SOS_VM;
use crate::{VMS, devices, keeper};

/// Rules, limits, and what is kept for the partition; locked behind its network.
static WAITING_ROOM: Mutex<WaitingRoom> = Mutex::new(WaitingRoom::NONE);
/// A frame is kept that is to wake it.
static WANTED: AtomicBool = AtomicBool::new(false);
/// It has sent something since this was asked last.
static SENT: AtomicBool = AtomicBool::new(false);

struct WaitingRoom {
    filter: Filter,
    limits: WakeLimits,
    kept: Kept,
}

impl WaitingRoom {
    const NONE: Self = Self { filter: Filter::NONE, limits: WakeLimits::NONE, kept: Kept::NONE };

    /// Keeps a frame, its checksum made; whether there was room.
    fn keep(&mut self, from: PortId, head: &[u8], source: &Source<'_>) -> bool {
        let frame = source.frame;
        if frame.offload.is_segmented() {
            return false;
        }
        let Some(bytes) = self.kept.keep(from, frame.length as usize) else {
            return false;
        };
        // What cannot be read stays zero, and is no frame for anybody.
        let _ = frame.read(0, bytes, source.memory);
        // What was judged is what it gets.
        bytes[..head.len()].copy_from_slice(head);
        let mut completion = match frame.offload {
            Offload::Checksum(checksum) => Completion::new(checksum),
            _ => return true,
        };
        completion.add(bytes);
        let patch = completion.finish();
        if let Some(place) = bytes.get_mut(patch.at as usize..).and_then(|rest| rest.first_chunk_mut()) {
            *place = patch.bytes;
        }
        true
    }
}

/// `sos_network`.
pub fn connect(port: &NicPort) -> Result<(), Status> {
    if port.nic != 0 {
        return Err(Status::InvalidArgument);
    }
    super::add(SOS_VM, &VMS[SOS_VM.index()], port)?;
    WAITING_ROOM.lock().limits = WakeLimits::new();
    Ok(())
}

/// `sos_wake_rules`.
pub fn set_rules(rules: &[WakeRule]) -> Result<(), Status> {
    WAITING_ROOM.lock().filter.set(rules).map_err(|error| {
        log::warn!("sos: {error}");
        Status::InvalidArgument
    })
}

/// Whether a frame waits that is to wake it.
pub fn is_wanted() -> bool {
    WANTED.load(Ordering::Relaxed)
}

/// What was seen of frames for it.
pub fn seen() -> Seen {
    WAITING_ROOM.lock().limits.seen()
}

/// A life of it begins, which gets what is kept.
pub fn begins() {
    WANTED.store(false, Ordering::Relaxed);
}

/// Its life has agreed to end; whether somebody has connected by its card.
pub fn leaves(connected: bool) {
    let mut room = WAITING_ROOM.lock();
    // What has come since is for its next life.
    if room.kept.is_empty() {
        room.limits.life_over(connected, machine().up_ns());
    }
}

/// Whether it has sent something since this was asked last.
pub fn has_sent() -> bool {
    SENT.swap(false, Ordering::Relaxed)
}

pub(super) fn sends() {
    SENT.store(true, Ordering::Relaxed);
}

fn place() -> Option<Place> {
    VMS[SOS_VM.index()].nics.at(u64::from(NIC_SLOT)).map(Place::of)
}

/// A life of it is ready: it is told of its card where something waits there.
pub fn is_ready() {
    if place().is_some() && has_kept() {
        devices::pulse(SOS_VM, VIRTIO_SPI + NIC_SLOT);
    }
}

/// Whether frames are kept for it.
pub fn has_kept() -> bool {
    !WAITING_ROOM.lock().kept.is_empty()
}

/// Nothing of it runs any more: its card is as after power-on. What is kept is for its next life, but not after a failure.
pub fn ends(failed: bool) {
    let Some(place) = place() else { return };
    let mut network = NETWORKS[place.network].lock();
    network.cards[place.port.index()].net.power_off();
    let mut room = WAITING_ROOM.lock();
    if failed {
        room.kept.clear();
    }
    WANTED.store(!room.kept.is_empty(), Ordering::Relaxed);
}

impl Network {
    /// Whether a port is the partition's, and frames for it wait or are judged.
    pub(super) fn is_waiting_room(&self, port: PortId) -> bool {
        let card = &self.cards[port.index()];
        card.in_use
            && card.vm == SOS_VM
            && (card.vm().is_none() || !card.net.is_running() || !WAITING_ROOM.lock().kept.is_empty())
    }

    /// Copies a frame to the partition, which is on; whether it may get it and has room for it.
    pub(super) fn reach(&mut self, [from, port]: [PortId; 2], source: &Source<'_>) -> bool {
        let count = u64::from(source.frame.offload.frames(source.frame.length));
        let may = WAITING_ROOM.lock().limits.may_reach(from, count, machine().up_ns());
        may && self.deliver(port, source)
    }

    /// Does with a frame for the partition what its rules say; whether it is kept.
    pub(super) fn judge(&mut self, [from, port]: [PortId; 2], source: &Source<'_>) -> bool {
        let frame = source.frame;
        let (mut head, mut answer) = ([0; MATCHED], [0; ANSWER_MAX]);
        let head = &mut head[..MATCHED.min(frame.length as usize)];
        if frame.read(0, head, source.memory).is_err() {
            return false;
        }
        head[..source.first.len()].copy_from_slice(&source.first);
        let now = machine().up_ns();
        let mut guard = WAITING_ROOM.lock();
        let room = &mut *guard;
        let judgement = room.filter.judge(head);
        room.limits.judged(&judgement);
        match judgement {
            Judgement::Drop | Judgement::Unmatched => false,
            Judgement::Answer(template) => {
                let length = template.fill(head, &mut answer).filter(|_| room.limits.may_answer(now));
                drop(guard);
                if let Some(length) = length {
                    self.send_back([port, from], &answer[..length]);
                }
                false
            }
            Judgement::Wake => {
                // What comes behind the frame that wakes it costs no wake.
                let fits = self.cards[port.index()].net.accepts(&Offload::None, frame.length) == Fit::AsIs;
                let may = fits && (!room.kept.is_empty() || room.limits.may_wake(from, now));
                if !may || !room.keep(from, head, source) {
                    return false;
                }
                drop(guard);
                WANTED.store(true, Ordering::Relaxed);
                keeper::call();
                // Where it is on already, this is how it learns of it.
                if VMS[SOS_VM.index()].phase().is_alive() {
                    devices::pulse(SOS_VM, VIRTIO_SPI + NIC_SLOT);
                }
                true
            }
        }
    }

    /// Sends an answer to the port that has asked, by the partition's own address only.
    fn send_back(&mut self, [from, to]: [PortId; 2], bytes: &[u8]) {
        let source = bytes.get(6..12).and_then(|source| source.try_into().ok()).map(Mac);
        if source.and_then(|source| self.switch.owner_of(source)) != Some(from) {
            return;
        }
        let sent = match uplink() {
            Some(uplink) if to == UPLINK => {
                let mut card = uplink.card();
                let place = uplink.takes_frames(&mut card, 1).then(|| card.place()).flatten();
                place.is_some_and(|(place, at)| {
                    ram::write(at, bytes);
                    let sent = card.send(place, Offload::None.to_bytes(0), bytes.len() as u32);
                    card.notify();
                    sent
                })
            }
            _ => self.put(to, bytes) == Reception::Room,
        };
        if sent {
            self.switch.delivered(to, bytes.len() as u32);
            self.announce(Ports::one(to));
        }
    }

    /// Gives a port a frame of these bytes, if it has room for it.
    fn put(&mut self, to: PortId, bytes: &[u8]) -> Reception {
        let card = &mut self.cards[to.index()];
        let Some(vm) = card.vm() else { return Reception::Off };
        let (ram, mut room) = (Ram::of(vm), Room::new());
        let found = card.net.room(bytes.len() as u32, &ram, &mut room);
        if found == Reception::Room && room.write(0, bytes, &ram).is_err() {
            card.net.fail();
            return Reception::Off;
        }
        if found == Reception::Room {
            card.net.deliver(&room, &Offload::None, &ram);
        }
        found
    }

    /// The partition has buffers: it gets what was kept, in order.
    pub(super) fn give_kept(&mut self, port: PortId) {
        let mut given = false;
        loop {
            let mut guard = WAITING_ROOM.lock();
            let Some((_, bytes)) = guard.kept.first() else { break };
            match self.put(port, bytes) {
                Reception::Room => self.switch.delivered(port, bytes.len() as u32),
                Reception::TooLong => {}
                Reception::Full | Reception::Off => break,
            }
            guard.kept.drop_first();
            given = true;
        }
        if given {
            // It was on already when they came.
            WANTED.store(has_kept(), Ordering::Relaxed);
            self.announce(Ports::one(port));
        }
    }
}
