//! A guest whose kernel does what Linux's drivers/char/virtio_console.c does, and a caller that
//! serves the console as its documentation asks.

use crate::console::*;
use crate::testing::{Buffer, DriverQueue, Layout, QUEUE_BYTES, RAM_BASE, VecMemory};
use std::collections::VecDeque;

pub(super) const STATUS: u64 = 0x70;
const DATA: u64 = RAM_BASE + 0x2_0000;
/// Bytes of a buffer: Linux's are pages, small ones show more.
pub(super) const BUFFER: u64 = 0x100;
const ENTRIES: u16 = 16;

pub(super) const DEVICE_READY: u16 = 0;
pub(super) const PORT_ADD: u16 = 1;
pub(super) const PORT_READY: u16 = 3;
pub(super) const PORT_OPEN: u16 = 6;
pub(super) const PORT_NAME: u16 = 7;
pub(super) const BAD_ID: u32 = u32::MAX;

/// What the features ask of the rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rings {
    Plain,
    EventIndex,
}

/// A control message as the driver got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) port: u32,
    pub(super) event: u16,
    pub(super) value: u16,
    pub(super) text: String,
}

/// What the caller knows of a port.
#[derive(Clone, Debug, Default)]
pub(super) struct CallerPort {
    /// Bytes of the current conversation.
    pub(super) heard: Vec<u8>,
    /// Bytes that the sink takes before it has enough.
    pub(super) capacity: usize,
    pub(super) waiting: VecDeque<u8>,
    pub(super) tx_backlog: bool,
}

pub(super) struct Guest {
    pub(super) memory: VecMemory,
    pub(super) console: Console,
    pub(super) queues: Vec<DriverQueue>,
    pub(super) rings: Rings,
    pub(super) messages: Vec<Message>,
    pub(super) names: Vec<Option<String>>,
    pub(super) host_open: Vec<bool>,
    /// Bytes that each port's reader found.
    pub(super) read: Vec<Vec<u8>>,
    /// Buffers that the driver added to each queue so far, to place the next.
    added: Vec<u64>,
    /// Where each head of a queue was placed.
    placed: Vec<[u64; ENTRIES as usize]>,
    pub(super) callers: Vec<CallerPort>,
    pub(super) events: Vec<PortEvent>,
    pub(super) interrupts: usize,
    /// Whether the driver gives buffers for control messages.
    pub(super) takes_control: bool,
    /// Whether the caller reads port events by itself.
    pub(super) polls_events: bool,
}

pub(super) fn port(number: u32) -> PortId {
    PortId::new(number).unwrap()
}

impl Guest {
    pub(super) fn new(ports: u8, rings: Rings) -> Self {
        let queues = 2 * (usize::from(ports) + 1);
        let caller = CallerPort { capacity: usize::MAX, ..CallerPort::default() };
        Self {
            memory: VecMemory::new(),
            console: Console::new(ports),
            queues: Vec::new(),
            rings,
            messages: Vec::new(),
            names: vec![None; usize::from(ports)],
            host_open: vec![false; usize::from(ports)],
            read: vec![Vec::new(); usize::from(ports)],
            added: vec![0; queues],
            placed: vec![[0; ENTRIES as usize]; queues],
            callers: vec![caller; usize::from(ports)],
            events: Vec::new(),
            interrupts: 0,
            takes_control: true,
            polls_events: true,
        }
    }

    /// A guest whose driver has found all its ports.
    pub(super) fn probed(ports: u8, rings: Rings) -> Self {
        let mut guest = Self::new(ports, rings);
        guest.probe();
        guest
    }

    pub(super) fn get(&self, offset: u64) -> u32 {
        u32::try_from(self.console.read(offset, 4)).unwrap()
    }

    pub(super) fn set(&mut self, offset: u64, value: u32) {
        let effect = self.console.write(offset, 4, value.into());
        self.perform(effect);
        self.interrupt();
    }

    /// Resets the device and sets it up until the driver has sent DEVICE_READY, as
    /// virtio_dev_probe and virtcons_probe do.
    pub(super) fn probe(&mut self) {
        self.set(STATUS, 0);
        self.set(STATUS, 1);
        self.set(STATUS, 3);
        let event_index = u32::from(self.rings == Rings::EventIndex) << 29;
        let low = 1 << 28 | event_index | 2;
        for (offset, value) in [(0x24, 1), (0x20, 1), (0x24, 0), (0x20, low), (STATUS, 11)] {
            self.set(offset, value);
        }
        assert_eq!(self.get(STATUS), 11, "FEATURES_OK stands");
        let ports = self.get(0x104);
        self.queues.clear();
        for index in 0..2 * (ports + 1) {
            self.set_up_queue(index);
        }
        self.set(STATUS, 15);
        if self.takes_control {
            self.fill(2);
        }
        self.send_control(BAD_ID, DEVICE_READY, 1);
    }

    fn set_up_queue(&mut self, index: u32) {
        let base = RAM_BASE + u64::from(index) * QUEUE_BYTES;
        // The kernel's rings are zeroed pages.
        self.memory.write(base, &[0; QUEUE_BYTES as usize]).unwrap();
        let event_index = self.rings == Rings::EventIndex;
        let queue = DriverQueue::new(base, ENTRIES, event_index, 0);
        self.set(0x30, index);
        assert_eq!(self.get(0x44), 0);
        assert_eq!(self.get(0x34), u32::from(ENTRIES));
        for (offset, value) in [
            (0x38, u64::from(ENTRIES)),
            (0x80, queue.descriptor),
            (0x84, 0),
            (0x90, queue.driver),
            (0x94, 0),
            (0xa0, queue.device),
            (0xa4, 0),
            (0x44, 1),
        ] {
            self.set(offset, value as u32);
        }
        assert_eq!(self.get(0x44), 1);
        self.queues.push(queue);
    }

    /// The next place for a buffer of this queue; at most as many are in use as there are.
    fn place(&mut self, queue: usize) -> u64 {
        let slot = self.added[queue] % u64::from(ENTRIES);
        self.added[queue] += 1;
        DATA + queue as u64 * 0x1000 + slot * BUFFER
    }

    /// Fills a receive queue with buffers, as fill_queue does.
    pub(super) fn fill(&mut self, queue: usize) {
        loop {
            let place = self.place(queue);
            let buffer = [Buffer::writable(place, BUFFER as u32)];
            let Some(head) = self.queues[queue].add(&self.memory, &buffer, Layout::Direct) else {
                self.added[queue] -= 1;
                break;
            };
            self.placed[queue][usize::from(head)] = place;
            self.kick(queue);
        }
    }

    /// Takes back a chain and asks for an interrupt at the next, as virtqueue_get_buf does.
    pub(super) fn take_used(&mut self, queue: usize) -> Option<(u16, u32)> {
        let queue = self.queues.get_mut(queue)?;
        let used = queue.take_used(&self.memory);
        if self.rings == Rings::EventIndex {
            queue.set_used_event(&self.memory, queue.used);
        }
        used
    }

    pub(super) fn kick(&mut self, queue: usize) {
        if self.queues[queue].must_kick(&self.memory) {
            self.set(0x50, queue as u32);
        }
    }

    /// Sends bytes by one chain in `layout`, cut into pieces if it is to have several; `false`
    /// if the queue is full.
    pub(super) fn transmit(&mut self, queue: usize, bytes: &[u8], layout: Layout) -> bool {
        assert!(bytes.len() as u64 <= BUFFER);
        let place = self.place(queue);
        self.memory.write(place, bytes).unwrap();
        let pieces = if layout == Layout::Mixed { 3 } else { 1 };
        let size = bytes.len().div_ceil(pieces).max(1);
        let buffers: Vec<_> = (0..bytes.len())
            .step_by(size)
            .map(|at| {
                let length = size.min(bytes.len() - at);
                Buffer::readable(place + at as u64, length as u32)
            })
            .collect();
        let layout = if buffers.len() < 2 { Layout::Direct } else { layout };
        if self.queues[queue].add(&self.memory, &buffers, layout).is_none() {
            self.added[queue] -= 1;
            return false;
        }
        self.kick(queue);
        true
    }

    /// A process writes to a port; `false` if the queue is full.
    pub(super) fn write(&mut self, number: u32, bytes: &[u8], layout: Layout) -> bool {
        let queue = tx_queue(number);
        while self.take_used(queue).is_some() {}
        self.transmit(queue, bytes, layout)
    }

    /// Sends a control message; the kernel spins until it is taken.
    pub(super) fn send_control(&mut self, id: u32, event: u16, value: u16) {
        let mut bytes = id.to_le_bytes().to_vec();
        bytes.extend(event.to_le_bytes());
        bytes.extend(value.to_le_bytes());
        self.send_control_bytes(&bytes);
    }

    pub(super) fn send_control_bytes(&mut self, bytes: &[u8]) {
        assert!(self.transmit(3, bytes, Layout::Direct));
        assert!(self.take_used(3).is_some(), "the kernel would hang");
    }

    pub(super) fn open(&mut self, number: u32) {
        assert!(self.host_open[number as usize], "Linux refuses writes until the host is open");
        self.send_control(number, PORT_OPEN, 1);
    }

    pub(super) fn close(&mut self, number: u32) {
        self.send_control(number, PORT_OPEN, 0);
        while self.take_used(tx_queue(number)).is_some() {}
    }

    /// The interrupt handler: acknowledges, then looks at the queues.
    fn interrupt(&mut self) {
        while self.console.take_pulse() {
            self.interrupts += 1;
            let status = self.get(0x60);
            self.set(0x64, status);
            self.handle_control();
            for number in 0..self.read.len() as u32 {
                self.receive(number);
            }
        }
    }

    /// The control work: answers the device's messages as handle_control_message does.
    fn handle_control(&mut self) {
        let Some((head, written)) = self.take_used(2) else {
            return;
        };
        let place = self.placed[2][usize::from(head)];
        let bytes = self.memory.bytes(place, written as usize);
        self.fill(2);
        let message = Message {
            port: u32::from_le_bytes(bytes[0..4].try_into().unwrap()),
            event: u16::from_le_bytes(bytes[4..6].try_into().unwrap()),
            value: u16::from_le_bytes(bytes[6..8].try_into().unwrap()),
            text: String::from_utf8(bytes[8..].to_vec()).unwrap(),
        };
        self.messages.push(message.clone());
        let index = message.port as usize;
        match message.event {
            PORT_ADD => {
                self.fill(rx_queue(message.port));
                self.send_control(message.port, PORT_READY, 1);
            }
            PORT_NAME => self.names[index] = Some(message.text),
            PORT_OPEN => self.host_open[index] = message.value != 0,
            other => panic!("event {other} makes no sense for a generic port"),
        }
        self.handle_control();
    }

    /// The reader of a port takes what came; the buffers go back.
    fn receive(&mut self, number: u32) {
        let index = rx_queue(number);
        while let Some((head, written)) = self.take_used(index) {
            let place = self.placed[index][usize::from(head)];
            let bytes = self.memory.bytes(place, written as usize);
            self.read[number as usize].extend(bytes);
            self.fill(index);
        }
    }

    /// The caller's part.
    fn perform(&mut self, effect: ConsoleEffect) {
        match effect {
            ConsoleEffect::None => {}
            ConsoleEffect::Control => self.control(),
            ConsoleEffect::Transmit(port) => self.take(port, usize::MAX),
            ConsoleEffect::Receive(port) => self.give(port),
            ConsoleEffect::Started => {
                self.control();
                for number in 0..self.callers.len() as u32 {
                    self.take(port(number), usize::MAX);
                    self.give(port(number));
                }
            }
            ConsoleEffect::Reset => self.poll_events(),
        }
    }

    fn control(&mut self) {
        while self.console.serve_control(&self.memory) == Backlog::Waiting {}
        if self.polls_events {
            self.poll_events();
        }
    }

    pub(super) fn poll_events(&mut self) {
        while let Some(event) = self.console.poll_port_event() {
            let (PortEvent::Opened(port) | PortEvent::Closed(port)) = event;
            let caller = &mut self.callers[usize::from(port.number())];
            caller.heard.clear();
            caller.waiting.clear();
            self.events.push(event);
        }
    }

    /// Takes a port's bytes until there are no more or the sink has enough.
    pub(super) fn take(&mut self, port: PortId, budget: usize) {
        let caller = &mut self.callers[usize::from(port.number())];
        loop {
            let before = caller.heard.len();
            let sink = &mut |bytes: &[u8]| {
                assert!(!bytes.is_empty() && bytes.len() <= MAX_PIECE);
                let count = bytes.len().min(caller.capacity);
                caller.capacity -= count;
                caller.heard.extend(&bytes[..count]);
                count
            };
            let taken = self.console.take_tx(port, &self.memory, budget, sink);
            assert_eq!(taken.bytes, caller.heard.len() - before);
            assert!(taken.bytes <= budget.min(MAX_BYTES_PER_CALL));
            caller.tx_backlog = taken.backlog == Backlog::Waiting;
            if taken.bytes == 0 || !caller.tx_backlog {
                break;
            }
        }
        self.interrupt();
    }

    /// The caller has bytes for a port.
    pub(super) fn answer(&mut self, number: u32, bytes: &[u8]) {
        self.callers[number as usize].waiting.extend(bytes);
        self.give(port(number));
    }

    fn give(&mut self, port: PortId) {
        loop {
            let caller = &mut self.callers[usize::from(port.number())];
            let bytes = caller.waiting.make_contiguous();
            if bytes.is_empty() {
                break;
            }
            let Ok(count) = self.console.give_rx(port, &self.memory, bytes) else {
                break;
            };
            caller.waiting.drain(..count);
            if count == 0 {
                break;
            }
            self.interrupt();
        }
    }
}

pub(super) fn rx_queue(number: u32) -> usize {
    [0, 4, 6, 8][number as usize]
}

pub(super) fn tx_queue(number: u32) -> usize {
    [1, 5, 7, 9][number as usize]
}
