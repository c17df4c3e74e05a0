//! Guests' network cards, and the switch between those of a network.
//!
//! What a guest sends is copied once: from its buffers to those of each receiver, or to the board's network card. A frame is
//! never kept at EL2. One for which a receiver has no room is dropped; one that has to wait, for its sender's rate or for the
//! board's card, stays in its sender's queue.

mod change;
mod copy;
mod outside;
mod part;
pub mod partition;

use core::sync::atomic::{AtomicU16, Ordering};

use guest_virtio::net::checksum::Completion;
use guest_virtio::net::{Fit, Frame, Net, NetEffect, Next, Nic, Reception, Room};
use hv_abi::Status;
use hv_abi::call::{NETWORKS_MAX, NicPort};
use hv_abi::guest_map::{NIC_SLOT, NICS_MAX, VIRTIO_SPI};
use hv_arch::lock::FairMutex;
use hv_core::addr::VmId;
use hv_core::switch::{
    Counters, HEADER, Header, MAX_PORTS, Mac, PortId, PortRules, Ports, Rate, Switch, SwitchError, Verdict,
};

use crate::guest_ram::Ram;
use crate::machine::machine;
use crate::places::Places;
use crate::uplink::{Uplink, uplink};
use crate::vm::{SOS_VM, Vm};
use crate::{VMS, cpu, devices, interrupts, ports, vcpu, vm};

pub use change::{limit, set_link};
use copy::Source;
pub use outside::{interrupt, open};
use part::{Part, segments};

/// The network cards that a VM has, as places in [`NETWORKS`].
pub type Cards = Places<NIC_SLOT, NICS_MAX>;

/// The board's network card is at the last port of the first network.
const UPLINK: PortId = PortId(MAX_PORTS as u8 - 1);
/// Frames, and bytes of them, that are taken from a guest at one go.
const TURN: usize = 32;
const TURN_BYTES: u32 = 256 << 10;

/// The networks.
pub static NETWORKS: [FairMutex<Network>; NETWORKS_MAX] = [const { FairMutex::new(Network::NONE) }; NETWORKS_MAX];
/// Ports of each with frames that were not taken yet, a bit each: for a rate, the board's card, or because it was others' turn.
static WAITING: [AtomicU16; NETWORKS_MAX] = [const { AtomicU16::new(0) }; NETWORKS_MAX];

/// The port whose frame is the next for the board's card, as a bit, while it has to wait.
static NEXT: AtomicU16 = AtomicU16::new(0);

const _: () = assert!(NETWORKS_MAX * MAX_PORTS < 255, "a place is a byte");

/// A port of a network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    network: usize,
    port: PortId,
}

impl Place {
    const fn of(index: usize) -> Self {
        Self { network: index / MAX_PORTS % NETWORKS_MAX, port: PortId((index % MAX_PORTS) as u8) }
    }

    const fn index(self) -> usize {
        self.network * MAX_PORTS + self.port.index()
    }

    /// It has nothing for the board's card after all.
    fn gives_way(self) {
        if self.network == 0 {
            NEXT.fetch_and(!Ports::one(self.port).0, Ordering::Relaxed);
        }
    }

    fn wait(self) {
        WAITING[self.network].fetch_or(Ports::one(self.port).0, Ordering::Relaxed);
    }
}

/// A network.
pub struct Network {
    switch: Switch,
    cards: [Card; MAX_PORTS],
}

/// A guest's network card.
struct Card {
    net: Net,
    vm: VmId,
    /// Which of the VM's cards it is.
    number: u8,
    in_use: bool,
}

impl Network {
    const NONE: Self = Self { switch: Switch::NONE, cards: [const { Card::NONE }; MAX_PORTS] };
}

impl Card {
    const NONE: Self = Self { net: Net::NONE, vm: VmId(0), number: 0, in_use: false };

    /// Its VM, as long as that has memory of its own.
    fn vm(&self) -> Option<&'static Vm> {
        let vm = &VMS[self.vm.index()];
        vm.phase().is_alive().then_some(vm)
    }

    /// Interrupts the guest where the card has something to say.
    fn pulse(&mut self) {
        if self.net.take_pulse() {
            devices::pulse(self.vm, VIRTIO_SPI + NIC_SLOT + u32::from(self.number));
        }
    }
}

/// Gives a VM that is being built a network card.
#[inline(never)]
pub fn add(id: VmId, vm: &Vm, port: &NicPort) -> Result<(), Status> {
    if !vm.nics.is_free(port.nic) {
        return Err(Status::Exists);
    }
    let network_number = usize::from(port.network);
    let mut network = NETWORKS.get(network_number).ok_or(Status::InvalidArgument)?.lock();
    let rules = PortRules {
        mac: Mac(port.mac),
        any_source: port.any_source,
        isolated: port.isolated,
        uplink: false,
        rate: Rate { bits_per_s: u64::from(port.kbit_per_s) * 1000, packets_per_s: port.packets_per_s },
    };
    let free = (0..UPLINK.0).map(PortId).find(|port| !network.cards[port.index()].in_use).ok_or(Status::NoRoom)?;
    network.switch.connect(free, rules).map_err(|error| {
        log::warn!("vm {}: network card {}: {error}", vm.name(), port.nic);
        match error {
            SwitchError::Taken(..) => Status::Conflict,
            _ => Status::InvalidArgument,
        }
    })?;
    let card = &mut network.cards[free.index()];
    (card.vm, card.number, card.in_use) = (id, port.nic, true);
    card.net.restart(&Nic { mac: port.mac, mtu: port.mtu, link_up: true, segmentation: true });
    vm.nics.put(port.nic, Place { network: network_number, port: free }.index());
    Ok(())
}

/// Takes a VM's network cards away. Nothing of its memory is read or written for them from here on.
pub fn remove_all(vm: &Vm) {
    for place in vm.nics.all().map(Place::of) {
        let mut network = NETWORKS[place.network].lock();
        network.switch.disconnect(place.port);
        let card = &mut network.cards[place.port.index()];
        card.net.restart(&Nic::NONE);
        card.in_use = false;
        WAITING[place.network].fetch_and(!Ports::one(place.port).0, Ordering::Relaxed);
        place.gives_way();
    }
    vm.nics.clear();
}

/// A network card of a guest.
pub struct Account {
    /// Its network.
    pub network: u8,
    /// What went by it.
    pub counters: Counters,
    /// What it may send.
    pub rate: Rate,
    /// Its link is there.
    pub link_up: bool,
}

/// What there is to say of a network card; `None` where it is nobody's.
pub fn account(index: usize) -> Option<Account> {
    let place = Place::of(index);
    let network = NETWORKS[place.network].lock();
    let (counters, rate) = (network.switch.counters(place.port)?, network.switch.rate(place.port)?);
    let link_up = network.cards[place.port.index()].net.is_link_up();
    Some(Account { network: place.network as u8, counters, rate, link_up })
}

/// Waits for whoever is at a VM's network cards.
pub fn wait_for(vm: &Vm) {
    vm.nics.all().map(Place::of).for_each(|place| drop(NETWORKS[place.network].lock()));
}

/// A guest's load from a network card's registers.
#[inline]
pub fn read(index: usize, offset: u64, size: u8) -> u64 {
    let place = Place::of(index);
    NETWORKS[place.network].lock().cards[place.port.index()].net.read(offset, size)
}

/// A guest's store to a network card's registers; whether there is [more to send](send_waiting).
#[inline(never)]
pub fn write(index: usize, [offset, size, value]: [u64; 3]) -> bool {
    let place = Place::of(index);
    let mut network = NETWORKS[place.network].lock();
    let card = &mut network.cards[place.port.index()];
    let is_partition = card.vm == SOS_VM;
    match card.net.write(offset, size as u8, value) {
        NetEffect::Receive if is_partition => {
            network.give_kept(place.port);
            false
        }
        NetEffect::None | NetEffect::Receive | NetEffect::Reset => {
            card.pulse();
            false
        }
        NetEffect::Started if is_partition => {
            network.give_kept(place.port);
            network.transmit(place)
        }
        NetEffect::Transmit | NetEffect::Started => network.transmit(place),
    }
}

/// Does what was put off, for the network cards of a VM and the board's.
pub fn go_on(vm: &Vm) {
    outside::go_on();
    if send_waiting(vm) {
        vm::call_one(vm, vcpu::SEND);
    }
}

/// Sends what waits at a VM's network cards. Whether there is more that waits for nothing but others' turn: the VM is to go on
/// with it in its own time, when the interrupts that wait were taken.
pub fn send_waiting(vm: &Vm) -> bool {
    let mut more = false;
    for place in vm.nics.all().map(Place::of) {
        let own = Ports::one(place.port).0;
        if WAITING[place.network].fetch_and(!own, Ordering::Relaxed) & own != 0 {
            more |= NETWORKS[place.network].lock().transmit(place);
        }
    }
    more
}

/// Whose turn it is to send.
struct Sender<'t> {
    from: PortId,
    ram: &'t Ram,
    /// The board's card, if it is in this network.
    outside: Option<&'t Uplink>,
    /// When the turn began, in nanoseconds since EL2 did.
    now: u64,
}

/// What one frame comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// It is gone, to these ports.
    Gone(Ports),
    /// It stays in its queue, and nothing behind it is looked at.
    Stays,
}

impl Network {
    /// Takes what a guest has to send, as far as it is its turn; whether there may be more.
    #[inline(never)]
    fn transmit(&mut self, place: Place) -> bool {
        let from = place.port;
        let Some(vm) = self.cards[from.index()].vm() else {
            return false;
        };
        let ram = Ram::of(vm);
        // One look at the clock for all of them.
        let sender =
            Sender { from, ram: &ram, outside: uplink().filter(|_| place.network == 0), now: machine().up_ns() };
        let (mut frame, mut receivers, mut bytes, mut more) = (Frame::new(), Ports::NONE, 0_u32, false);
        for turn in 0.. {
            if turn == TURN || bytes >= TURN_BYTES || turn > 0 && interrupts::look() {
                place.wait();
                more = true;
                break;
            }
            match self.cards[from.index()].net.next_tx(&ram, &mut frame) {
                Next::Empty => {
                    place.gives_way();
                    break;
                }
                Next::Dropped => continue,
                Next::Frame => {}
            }
            let net = match self.pass_on(&sender, &frame) {
                Step::Gone(ports) => {
                    receivers = receivers.union(ports);
                    &mut self.cards[from.index()].net
                }
                Step::Stays => {
                    self.cards[from.index()].net.postpone_tx();
                    self.go_on_later(place);
                    break;
                }
            };
            net.complete_tx(&frame, &ram);
            bytes = bytes.saturating_add(frame.length);
        }
        let card = &mut self.cards[from.index()];
        card.net.signal_tx(&ram);
        card.pulse();
        if card.vm == SOS_VM && receivers != Ports::NONE {
            partition::sends();
        }
        self.announce(receivers);
        more
    }

    /// Decides about a frame of a guest, and copies it to those that get it.
    fn pass_on(&mut self, sender: &Sender<'_>, frame: &Frame) -> Step {
        let Sender { from, ram, outside, now } = *sender;
        // As by a cable that is not there: no driver has to obey what it is told of its link.
        if !self.cards[from.index()].net.is_link_up() {
            return Step::Gone(Ports::NONE);
        }
        let mut bytes = [0; HEADER];
        let Ok(()) = frame.read(0, &mut bytes, ram) else {
            return Step::Gone(Ports::NONE);
        };
        let (count, repeated) = (frame.offload.frames(frame.length), frame.offload.repeated());
        let header = Header::parse(&bytes, frame.length).cut(count, repeated);
        if outside.is_some_and(|uplink| self.has_to_wait(from, &header, uplink)) {
            return Step::Stays;
        }
        match self.switch.forward(from, &header, now) {
            Verdict::Later { .. } => Step::Stays,
            Verdict::Drop(_) => Step::Gone(Ports::NONE),
            Verdict::To(ports) => match Source::of_guest(frame, bytes, ram) {
                Some(source) => Step::Gone(self.hand_out(from, ports, &source)),
                None => Step::Gone(Ports::NONE),
            },
        }
    }

    /// Whether the board's card has no place for a frame that may be for it. One that waits for many places is the next:
    /// others would take each place as it becomes free.
    fn has_to_wait(&self, from: PortId, header: &Header, uplink: &Uplink) -> bool {
        if self.switch.owner_of(header.destination).is_some() {
            return false;
        }
        let (next, own) = (NEXT.load(Ordering::Relaxed), Ports::one(from).0);
        let waits = next & !own != 0 || !uplink.takes_frames(&mut uplink.card(), header.frames);
        if next & !own == 0 {
            NEXT.store(if waits { own } else { 0 }, Ordering::Relaxed);
        }
        waits
    }

    /// Copies a frame of a port to these; those that got it.
    fn hand_out(&mut self, from: PortId, ports: Ports, source: &Source<'_>) -> Ports {
        let mut got = Ports::NONE;
        for port in ports.iter() {
            let done = match uplink() {
                Some(uplink) if port == UPLINK => outside::send(uplink, source),
                _ if self.is_waiting_room(port) => self.judge([from, port], source),
                _ if self.cards[port.index()].vm == SOS_VM => self.reach([from, port], source),
                _ => self.deliver(port, source),
            };
            if done {
                self.switch.delivered(port, source.frame.length);
                got = got.union(Ports::one(port));
            } else if !self.is_waiting_room(port) {
                self.switch.missed(port);
            }
        }
        got
    }

    /// Copies a frame to a guest; whether it has room for it.
    fn deliver(&mut self, port: PortId, source: &Source<'_>) -> bool {
        let frame = source.frame;
        if !self.cards[port.index()].net.is_link_up() {
            return false;
        }
        match self.cards[port.index()].net.accepts(&frame.offload, frame.length) {
            Fit::TooLong => false,
            Fit::AsIs => self.give(port, source, &Part::whole(source)),
            Fit::NeedsChecksum => self.give(port, source, &Part::whole(source).completed()),
            Fit::NeedsSegments => segments(source, &mut |segment| match self.cards[port.index()]
                .net
                .accepts(&segment.offload(), segment.length())
            {
                Fit::AsIs => self.give(port, source, &Part::of(segment)),
                Fit::NeedsChecksum => self.give(port, source, &Part::of(segment).completed()),
                Fit::NeedsSegments | Fit::TooLong => false,
            }),
        }
    }

    /// Copies a frame, or a segment of one, to a guest; whether it has room for it.
    fn give(&mut self, port: PortId, source: &Source<'_>, part: &Part<'_>) -> bool {
        let card = &mut self.cards[port.index()];
        let Some(vm) = card.vm() else {
            return false;
        };
        let (ram, mut room) = (Ram::of(vm), Room::new());
        if card.net.room(part.length(), &ram, &mut room) != Reception::Room {
            return false;
        }
        let mut completion = part.begin();
        let copied = source.copy_to(part.payload(&mut completion), (&room, part.headers.len() as u32), &ram);
        let mut written = room.write(0, part.headers, &ram).is_ok();
        if let Some(patch) = completion.map(Completion::finish) {
            written &= room.write(patch.at, &patch.bytes, &ram).is_ok();
        }
        if !copied || !written {
            card.net.fail();
            card.pulse();
            return false;
        }
        card.net.deliver(&room, &part.offload, &ram);
        true
    }

    /// Tells these ports of what they got.
    fn announce(&mut self, ports: Ports) {
        for port in ports.iter() {
            match uplink() {
                Some(uplink) if port == UPLINK => uplink.card().notify(),
                _ => {
                    let card = &mut self.cards[port.index()];
                    if let Some(vm) = card.vm() {
                        card.net.signal_rx(&Ram::of(vm));
                        card.pulse();
                    }
                }
            }
        }
    }

    /// The rest is sent after a while, when others had their turn, or the sender's rate allows it.
    fn go_on_later(&self, place: Place) {
        place.wait();
        ports::look_again(self.cards[place.port.index()].vm);
        cpu::interrupt_self();
    }
}
