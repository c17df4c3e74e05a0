//! Management ports: frames as bytes on a virtio console, and their way to and from the mailbox's logic.

use core::sync::atomic::{AtomicBool, Ordering};

use guest_virtio::console::{Console, ConsoleEffect, MAX_PORTS, PortEvent, PortId};
use guest_virtio::queue::Backlog;
use hv_abi::guest_map::VIRTIO_SPI;
use hv_abi::mailbox::{Frame, FrameHeader, HEADER_SIZE, SLOT_SIZE, Slot};
use hv_core::addr::VmId;
use hv_core::frames::MAX_VMS;
use hv_core::requests::Asker;
use zerocopy::{FromBytes, IntoBytes};

use crate::guest_ram::Ram;
use crate::sos::{self, SosControl, Taken};
use crate::{SOS, VMS, WATCHERS, cpu, devices, mailbox};

/// Bytes that are taken from a port in one piece.
const BUDGET: usize = 4096;
/// Pieces, each of a frame at most, that are taken from a port at one go. What waits behind them is taken later,
/// so that a guest that always has more does not keep a CPU from others.
const PIECES: usize = 8;

/// Between two goes at a port that has more, in nanoseconds.
pub const PAUSE_NS: u64 = 100_000;

/// Ports of these VMs have more.
static MORE: [AtomicBool; MAX_VMS] = [const { AtomicBool::new(false) }; MAX_VMS];
/// Of some VM.
static ANY_MORE: AtomicBool = AtomicBool::new(false);

/// The device, and for each port the frame that is coming and the one that is going.
pub struct Ports {
    /// The device as the guest sees it.
    pub console: Console,
    ports: [PortBuffers; MAX_PORTS],
}

/// A frame on its way in and one on its way out.
#[derive(Clone, Copy)]
struct PortBuffers {
    coming: [u8; SLOT_SIZE],
    come: usize,
    /// Bytes of the frame that is coming, by its header, once that has come; 0 where it cannot be read.
    whole: usize,
    going: [u8; SLOT_SIZE],
    going_len: usize,
    gone: usize,
}

impl PortBuffers {
    const EMPTY: Self =
        Self { coming: [0; SLOT_SIZE], come: 0, whole: 0, going: [0; SLOT_SIZE], going_len: 0, gone: 0 };

    /// Nothing comes or goes; bytes of old frames are behind what is counted, where nobody reads.
    const fn empty(&mut self) {
        (self.come, self.going_len, self.gone) = (0, 0, 0);
    }

    /// Bytes that the frame which is coming still lacks: of its header, then of its body. `None` for a header that cannot be read.
    fn missing(&self) -> Option<usize> {
        if self.come < HEADER_SIZE {
            return Some(HEADER_SIZE - self.come);
        }
        self.whole.checked_sub(self.come)
    }

    /// What its header says of the bytes of the frame that is coming.
    fn read_header(&mut self) {
        let header = FrameHeader::read_from_prefix(&self.coming).ok();
        let frame = header.and_then(|(header, _)| Frame::parse(&header).ok());
        self.whole = frame.map_or(0, |frame| HEADER_SIZE + frame.length);
    }

    /// Takes bytes as far as the frame lacks them.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let mut used = 0;
        while let Some(missing) = self.missing().filter(|missing| *missing > 0) {
            let piece = &bytes[used..bytes.len().min(used + missing)];
            if piece.is_empty() {
                break;
            }
            self.coming[self.come..self.come + piece.len()].copy_from_slice(piece);
            self.come += piece.len();
            used += piece.len();
            if self.come == HEADER_SIZE {
                self.read_header();
            }
        }
        used
    }

    fn slot(&self) -> Slot {
        let mut slot = Slot::EMPTY;
        slot.as_mut_bytes()[..self.come].copy_from_slice(&self.coming[..self.come]);
        slot
    }
}

impl Ports {
    /// No ports: all zero, so that the image's file need not hold it.
    pub const fn new() -> Self {
        Self { console: Console::NONE, ports: [PortBuffers::EMPTY; MAX_PORTS] }
    }

    /// A fresh device with `count` ports.
    pub fn reset(&mut self, count: u8) {
        self.console.restart(count);
        self.ports.iter_mut().for_each(PortBuffers::empty);
    }
}

/// A guest's write to the device's registers, and what follows from it.
pub fn write(id: VmId, offset: u64, size: u8, value: u64) {
    let vm = &VMS[id.index()];
    let effect = vm.ports().console.write(offset, size, value);
    match effect {
        ConsoleEffect::None => {}
        ConsoleEffect::Control | ConsoleEffect::Reset => control(id),
        ConsoleEffect::Transmit(port) => receive(id, port),
        ConsoleEffect::Receive(port) => send_rest(id, port),
        ConsoleEffect::Started => {
            control(id);
            for port in (0..u32::from(vm.port_count())).filter_map(PortId::new) {
                receive(id, port);
                send_rest(id, port);
            }
        }
    }
    signal(id);
}

/// Interrupts the guest where the device has something to say.
fn signal(id: VmId) {
    let pulse = VMS[id.index()].ports().console.take_pulse();
    if pulse {
        devices::pulse(id, VIRTIO_SPI);
    }
}

/// Control messages, and ports that were opened or closed by them.
fn control(id: VmId) {
    let vm = &VMS[id.index()];
    let memory = Ram::of(vm);
    let mut sos = SOS.lock();
    let mut watchers = WATCHERS.lock();
    let mut ports = vm.ports();
    // The control queues hold 16 buffers each; a driver that refills them meanwhile notifies again.
    for _ in 0..64 {
        if ports.console.serve_control(&memory) == Backlog::Empty {
            break;
        }
    }
    while let Some(event) = ports.console.poll_port_event() {
        let (PortEvent::Opened(port) | PortEvent::Closed(port)) = event;
        if let Some(buffers) = ports.ports.get_mut(usize::from(port.number())) {
            buffers.empty();
        }
        let asker = Asker { vm: vm.handle(id), port: u16::from(port.number()) + 1 };
        watchers.forget_port(asker);
        sos.forget_port(asker);
    }
}

/// Takes what a guest has written to a port.
fn receive(id: VmId, port: PortId) {
    let mut sos = SOS.lock();
    take_from_port(&mut sos, id, port);
    sos.work_arrived();
}

/// The VMs whose ports had more, once each: [`go_on`] is to be called for them.
pub fn with_more(mut found: impl FnMut(VmId)) {
    if ANY_MORE.swap(false, Ordering::Acquire) {
        let waiting = MORE.iter().enumerate().filter(|(_, more)| more.load(Ordering::Relaxed));
        waiting.for_each(|(id, _)| found(VmId(id as u8)));
    }
}

/// Whether [`go_on`] has something to do.
pub fn has_more(id: VmId) -> bool {
    MORE[id.index()].load(Ordering::Relaxed)
}

/// Goes on with the ports of a VM, if they had more.
pub fn go_on(id: VmId) {
    if MORE[id.index()].swap(false, Ordering::Relaxed) {
        let mut sos = SOS.lock();
        retry(&mut sos, id);
        sos.work_arrived();
    }
}

/// Takes frames from a port until it is empty, has nothing complete, or the frame has to wait.
fn take_from_port(sos: &mut SosControl, id: VmId, port: PortId) {
    let vm = &VMS[id.index()];
    for _ in 0..PIECES {
        let mut guard = vm.ports();
        let memory = Ram::of(vm);
        let Ports { console, ports } = &mut *guard;
        let Some(buffers) = ports.get_mut(usize::from(port.number())) else {
            return;
        };
        let taken = console.take_tx(port, &memory, BUDGET, &mut |bytes| buffers.take(bytes));
        match buffers.missing() {
            Some(0) => {
                let slot = buffers.slot();
                drop(guard);
                let number = u16::from(port.number()) + 1;
                let outcome = sos.take_frame(id, number, &slot, &mut |reply| give(id, port, reply));
                if outcome == Taken::Later {
                    mailbox::set_starved(id, true);
                    return;
                }
                if let Some(buffers) = vm.ports().ports.get_mut(usize::from(port.number())) {
                    buffers.come = 0;
                }
            }
            // A header that cannot be read is answered, and what follows tried as the next.
            None => {
                let slot = buffers.slot();
                buffers.come = 0;
                drop(guard);
                let _ = sos.take_frame(id, u16::from(port.number()) + 1, &slot, &mut |reply| give(id, port, reply));
            }
            Some(_) if taken.bytes == 0 && taken.backlog == Backlog::Empty => return,
            Some(_) => {}
        }
    }
    look_again(id);
    cpu::interrupt_self();
}

/// What a VM's devices do by time, its ports among them, is looked at where work that was put off is done next.
pub fn look_again(id: VmId) {
    MORE[id.index()].store(true, Ordering::Relaxed);
    ANY_MORE.store(true, Ordering::Release);
}

/// Sends a frame to a port; whether there was room for it.
pub fn give(id: VmId, port: PortId, slot: &Slot) -> bool {
    let vm = &VMS[id.index()];
    let mut guard = vm.ports();
    let Some(buffers) = guard.ports.get_mut(usize::from(port.number())) else {
        return true;
    };
    if buffers.going_len > buffers.gone {
        mailbox::set_starved(id, true);
        return false;
    }
    let length = Frame::parse(&slot.header).map_or(0, |frame| HEADER_SIZE + frame.length);
    buffers.going[..length].copy_from_slice(&slot.as_bytes()[..length]);
    (buffers.going_len, buffers.gone) = (length, 0);
    drop(guard);
    push(id, port);
    signal(id);
    true
}

/// Sends what is left of the frame that is going.
fn push(id: VmId, port: PortId) {
    let vm = &VMS[id.index()];
    let memory = Ram::of(vm);
    let mut guard = vm.ports();
    let Ports { console, ports } = &mut *guard;
    let Some(buffers) = ports.get_mut(usize::from(port.number())) else {
        return;
    };
    while buffers.gone < buffers.going_len {
        match console.give_rx(port, &memory, &buffers.going[buffers.gone..buffers.going_len]) {
            Ok(0) => return,
            Ok(count) => buffers.gone += count,
            // Nobody has the port open: the frame is nobody's.
            Err(_) => buffers.gone = buffers.going_len,
        }
    }
}

/// The guest has given the device buffers for a port.
fn send_rest(id: VmId, port: PortId) {
    push(id, port);
    if mailbox::is_starved(id) {
        sos::has_room_again(id);
    }
}

/// Looks again at frames that had to wait.
pub fn retry(sos: &mut SosControl, id: VmId) {
    for port in (0..u32::from(VMS[id.index()].port_count())).filter_map(PortId::new) {
        take_from_port(sos, id, port);
    }
    signal(id);
}
