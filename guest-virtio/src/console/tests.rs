//! The console with a guest that behaves as Linux does, with processes that come and go, and
//! with a hostile one.

mod guest;
pub(crate) mod hostile;

use super::*;
use crate::testing::{Buffer, DriverQueue, Layout, RAM_BASE, RAM_SIZE, Random, VecMemory};
use guest::*;
use hostile::MOST_ACCESSES;

const RINGS: [Rings; 2] = [Rings::Plain, Rings::EventIndex];

#[test]
fn device_is_a_console_with_multiport_and_that_many_ports() {
    for (asked, ports) in [(0, 1), (1, 1), (3, 3), (4, 4), (200, 4)] {
        let mut console = Console::new(asked);
        assert_eq!(console.read(0x008, 4), 3);
        assert_eq!(console.read(0x010, 4), 1 << 28 | 1 << 29 | 1 << 1);
        // cols, rows, max_nr_ports, emerg_wr.
        let config = [0x100, 0x104, 0x108].map(|offset| console.read(offset, 4));
        assert_eq!(config, [0, ports, 0]);
        assert_eq!(console.read(0x104, 1), ports);
        let exists = |queue| {
            assert_eq!(console.write(0x30, 4, queue), ConsoleEffect::None);
            console.read(0x34, 4) == u64::from(QUEUE_SIZE_MAX)
        };
        assert_eq!((0..20).map(exists).filter(|&exists| exists).count() as u64, 2 * ports + 2);
    }
}

#[test]
fn driver_without_multiport_is_refused() {
    let mut console = Console::new(2);
    for (offset, value) in [(0x24, 1), (0x20, 1), (0x70, 11)] {
        assert_eq!(console.write(offset, 4, value), ConsoleEffect::None);
    }
    assert_eq!(console.read(0x70, 4), 3);
}

#[test]
fn queues_of_ports_are_laid_out_as_in_5_3_2() {
    for (number, receive, transmit) in [(0, 0, 1), (1, 4, 5), (2, 6, 7), (3, 8, 9)] {
        assert_eq!((port(number).receive_queue(), port(number).transmit_queue()), (receive, transmit));
    }
    assert_eq!(PortId::new(4), None);
    assert_eq!(PortId::new(u32::MAX), None);
}

#[test]
fn handshake_in_the_order_of_linux_finds_every_port() {
    for rings in RINGS {
        let guest = Guest::probed(4, rings);
        for number in 0..4_u32 {
            let messages: Vec<_> = guest.messages.iter().filter(|message| message.port == number).collect();
            let kinds: Vec<_> = messages.iter().map(|m| (m.event, m.value)).collect();
            assert_eq!(kinds, [(PORT_ADD, 1), (PORT_NAME, 1), (PORT_OPEN, 1)], "{rings:?}");
            let name = format!("org.dormouse.mgmt.{number}");
            assert_eq!(guest.names[number as usize], Some(name));
            assert!(guest.host_open[number as usize]);
        }
        assert_eq!(guest.messages.len(), 12);
        assert_eq!(guest.events, []);
    }
}

#[test]
fn control_messages_wait_for_buffers_and_do_not_pile_up() {
    for rings in RINGS {
        let mut guest = Guest::new(4, rings);
        guest.takes_control = false;
        guest.probe();
        for _ in 0..100 {
            guest.send_control(BAD_ID, DEVICE_READY, 1);
            guest.send_control(2, PORT_READY, 1);
        }
        assert_eq!(guest.messages, []);
        guest.fill(2);
        let count = |event| guest.messages.iter().filter(|m| m.event == event).count();
        // Port 2's name and opening once more, for its answer to the late PORT_ADD.
        assert_eq!([PORT_ADD, PORT_NAME, PORT_OPEN].map(count), [4, 5, 5], "{rings:?}");
    }
}

#[test]
fn bytes_go_both_ways_on_every_port() {
    for rings in RINGS {
        let mut guest = Guest::probed(4, rings);
        for number in 0..4 {
            guest.open(number);
            assert_eq!(guest.events.pop(), Some(PortEvent::Opened(port(number))));
            assert!(guest.write(number, b"ping", Layout::Direct));
            assert!(guest.write(number, b" and more", Layout::Mixed));
            guest.answer(number, b"pong");
            assert_eq!(guest.callers[number as usize].heard, b"ping and more");
            assert_eq!(guest.read[number as usize], b"pong");
        }
    }
}

#[test]
fn answer_longer_than_all_buffers_goes_on_as_buffers_come_back() {
    for rings in RINGS {
        let mut guest = Guest::probed(1, rings);
        guest.open(0);
        let answer: Vec<u8> = (0..50_000_u32).map(|n| (n % 251) as u8).collect();
        guest.answer(0, &answer);
        assert!(guest.read[0] == answer, "{rings:?}");
    }
}

#[test]
fn one_call_moves_at_most_its_limit() {
    let mut guest = Guest::probed(1, Rings::EventIndex);
    guest.open(0);
    let room = usize::from(QUEUE_SIZE_MAX) * BUFFER as usize;
    assert_eq!(room, MAX_BYTES_PER_CALL);
    assert!(guest.console.rx_room(port(0), &guest.memory));
    let given = guest.console.give_rx(port(0), &guest.memory, &vec![7; room + 1]);
    assert_eq!(given, Ok(MAX_BYTES_PER_CALL));
    assert!(!guest.console.rx_room(port(0), &guest.memory));
    assert_eq!(guest.console.give_rx(port(0), &guest.memory, &[7]), Ok(0));
}

#[test]
fn buffers_of_one_byte_are_bounded_by_descriptors() {
    let mut guest = Guest::probed(1, Rings::EventIndex);
    guest.open(0);
    guest.memory.write(RAM_BASE + 0x3_f000, b"x").unwrap();
    let one = [Buffer::readable(RAM_BASE + 0x3_f000, 1); 16];
    guest.callers[0].capacity = 0;
    for _ in 0..16 {
        guest.queues[1].add(&guest.memory, &one, Layout::Indirect).unwrap();
    }
    guest.memory.take_accesses();
    let taken = guest.console.take_tx(port(0), &guest.memory, usize::MAX, &mut |bytes| bytes.len());
    assert!(taken.bytes > 40 && taken.bytes <= MAX_DESCRIPTORS_PER_CALL);
    assert_eq!(taken.backlog, Backlog::Waiting);
    assert!(guest.memory.take_accesses() < 4 * MAX_DESCRIPTORS_PER_CALL);
    let mut heard = taken.bytes;
    for _ in 0..10 {
        let sink = &mut |bytes: &[u8]| bytes.len();
        heard += guest.console.take_tx(port(0), &guest.memory, usize::MAX, sink).bytes;
    }
    assert_eq!(heard, 16 * 16);
}

#[test]
fn backpressure_keeps_every_byte_in_order() {
    let random = Random::new(0xbac);
    for round in 0..200 {
        let mut guest = Guest::probed(2, RINGS[round % 2]);
        guest.open(1);
        guest.callers[1].capacity = 0;
        let mut sent = Vec::new();
        while sent.len() < 3000 {
            let length = 1 + random.below(BUFFER);
            let bytes: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
            let layout = random.pick(&[Layout::Direct, Layout::Mixed]);
            if guest.write(1, &bytes, layout) {
                sent.extend(bytes);
            }
            if random.chance(2) {
                guest.callers[1].capacity += random.below(300) as usize;
                guest.take(port(1), 1 + random.below(400) as usize);
            }
            let heard = &guest.callers[1].heard;
            assert!(heard[..] == sent[..heard.len()]);
            assert!(guest.callers[1].tx_backlog || heard.len() == sent.len());
        }
        guest.callers[1].capacity = usize::MAX;
        guest.take(port(1), usize::MAX);
        assert!(guest.callers[1].heard == sent);
        while guest.take_used(5).is_some() {}
        assert_eq!(guest.queues[5].in_flight(), 0);
    }
}

#[test]
fn killed_writer_leaves_nothing_to_the_next() {
    for rings in RINGS {
        let mut guest = Guest::probed(2, rings);
        guest.open(0);
        guest.callers[0].capacity = 5;
        assert!(guest.write(0, b"half a frame", Layout::Direct));
        assert!(guest.write(0, b"and a whole one", Layout::Mixed));
        assert_eq!(guest.callers[0].heard, b"half ");
        guest.answer(0, b"never read");
        guest.close(0);
        assert_eq!(guest.queues[1].in_flight(), 0, "all buffers came back");
        guest.callers[0].capacity = usize::MAX;
        guest.open(0);
        assert!(guest.write(0, b"new", Layout::Direct), "and the driver's kick is not suppressed");
        assert_eq!(guest.callers[0].heard, b"new");
        let (opened, closed) = (PortEvent::Opened(port(0)), PortEvent::Closed(port(0)));
        assert_eq!(guest.events, [opened, closed, opened]);
    }
}

#[test]
fn bytes_wait_until_the_ports_events_are_read() {
    let mut guest = Guest::probed(2, Rings::EventIndex);
    guest.open(1);
    guest.polls_events = false;
    guest.close(1);
    guest.open(1);
    assert!(guest.write(1, b"second", Layout::Direct));
    assert!(guest.callers[1].heard.is_empty() && guest.callers[1].tx_backlog);
    let refused = guest.console.give_rx(port(1), &guest.memory, b"for the first");
    assert_eq!(refused, Err(PortError::Closed(1)));
    assert_eq!(guest.console.poll_port_event(), Some(PortEvent::Closed(port(1))));
    guest.take(port(1), usize::MAX);
    assert!(guest.callers[1].heard.is_empty());
    assert_eq!(guest.console.poll_port_event(), Some(PortEvent::Opened(port(1))));
    assert_eq!(guest.console.poll_port_event(), None);
    guest.take(port(1), usize::MAX);
    assert_eq!(guest.callers[1].heard, b"second");
}

#[test]
fn port_opened_and_closed_unseen_says_nothing() {
    let mut guest = Guest::probed(1, Rings::EventIndex);
    guest.polls_events = false;
    guest.open(0);
    assert!(guest.write(0, b"gone", Layout::Direct));
    guest.close(0);
    assert_eq!(guest.console.poll_port_event(), None);
    guest.polls_events = true;
    guest.open(0);
    assert!(guest.write(0, b"here", Layout::Direct));
    assert_eq!(guest.callers[0].heard, b"here");
}

#[test]
fn closed_port_takes_nothing_and_drops_what_is_sent() {
    let mut guest = Guest::probed(2, Rings::EventIndex);
    let closed = Err(PortError::Closed(0));
    assert_eq!(guest.console.give_rx(port(0), &guest.memory, b"x"), closed);
    assert!(!guest.console.rx_room(port(0), &guest.memory));
    assert!(guest.write(0, b"to nobody", Layout::Direct));
    assert_eq!(guest.queues[1].take_used(&guest.memory).map(|(_, written)| written), Some(0));
    let absent = Err(PortError::NoSuchPort(3));
    assert_eq!(guest.console.give_rx(port(3), &guest.memory, b"x"), absent);
    assert!(!guest.console.rx_room(port(3), &guest.memory));
    let taken = guest.console.take_tx(port(3), &guest.memory, 100, &mut |bytes| bytes.len());
    assert_eq!(taken, Taken { bytes: 0, backlog: Backlog::Empty });
}

#[test]
fn reset_in_the_middle_closes_ports_and_the_driver_starts_anew() {
    for rings in RINGS {
        let mut guest = Guest::probed(3, rings);
        guest.open(0);
        guest.open(2);
        guest.callers[2].capacity = 3;
        assert!(guest.write(2, b"half", Layout::Direct));
        guest.events.clear();
        guest.set(STATUS, 0);
        assert_eq!(guest.events, [PortEvent::Closed(port(0)), PortEvent::Closed(port(2))]);
        let taken = guest.console.take_tx(port(2), &guest.memory, 9, &mut |bytes| bytes.len());
        assert_eq!(taken, Taken { bytes: 0, backlog: Backlog::Empty });

        guest.callers[2].capacity = usize::MAX;
        (guest.messages, guest.names) = (Vec::new(), vec![None; 3]);
        guest.probe();
        assert_eq!(guest.messages.len(), 9);
        assert!(guest.names.iter().all(Option::is_some));
        guest.open(2);
        assert!(guest.write(2, b"whole", Layout::Direct));
        assert_eq!(guest.callers[2].heard, b"whole");
    }
}

#[test]
fn reset_during_the_handshake_forgets_what_was_due() {
    let mut guest = Guest::new(4, Rings::EventIndex);
    guest.probe();
    guest.console.ports[1].outgoing = Outgoing { add: true, name: true, open: true };
    guest.set(STATUS, 0);
    assert!(guest.console.ports.iter().all(|port| port.outgoing == Outgoing::NONE));
}

#[test]
fn bad_control_messages_are_taken_and_ignored() {
    let mut guest = Guest::probed(2, Rings::EventIndex);
    guest.messages.clear();
    let message =
        |id: u32, event: u16, value: u16| [&id.to_le_bytes()[..], &event.to_le_bytes(), &value.to_le_bytes()].concat();
    let cases = [
        message(2, PORT_OPEN, 1),
        message(u32::MAX, PORT_OPEN, 1),
        message(0, PORT_OPEN, 2),
        message(0, PORT_READY, 0),
        message(7, PORT_READY, 1),
        message(BAD_ID, DEVICE_READY, 0),
        message(0, PORT_ADD, 1),
        message(0, 2, 1),
        message(0, 4, 1),
        message(0, 5, 1),
        message(0, PORT_NAME, 1),
        message(0, 8, 1),
        message(0, 0xffff, 1),
        message(0, PORT_OPEN, 1)[..7].to_vec(),
        vec![0],
    ];
    for bytes in cases {
        guest.send_control_bytes(&bytes);
        assert_eq!((guest.messages.len(), guest.events.len()), (0, 0), "{bytes:?}");
    }
    // A longer message counts by its header.
    let long = [message(1, PORT_OPEN, 1), vec![0; 100]].concat();
    guest.send_control_bytes(&long);
    assert_eq!(guest.events, [PortEvent::Opened(port(1))]);
    // Neither 0 nor 1, and a second opening, say nothing about an open port.
    for value in [2, 0xffff, 1] {
        guest.send_control(1, PORT_OPEN, value);
    }
    assert_eq!(guest.events.len(), 1);
    assert_eq!(guest.get(STATUS), 15, "none of it broke the device");
}

#[test]
fn control_message_scattered_over_single_bytes_is_gathered() {
    let mut guest = Guest::probed(2, Rings::EventIndex);
    let at = RAM_BASE + 0x3_f000;
    guest.memory.write(at, &[1, 0, 0, 0, 6, 0, 1, 0]).unwrap();
    let bytes: Vec<_> = (0..8).map(|n| Buffer::readable(at + n, 1)).collect();
    for layout in [Layout::Direct, Layout::Indirect, Layout::Mixed] {
        guest.events.clear();
        guest.queues[3].add(&guest.memory, &bytes, layout).unwrap();
        guest.kick(3);
        assert_eq!(guest.events, [PortEvent::Opened(port(1))], "{layout:?}");
        guest.queues[3].take_used(&guest.memory).unwrap();
        guest.close(1);
    }
}

#[test]
fn broken_queue_asks_for_a_reset_and_closes_every_port() {
    type Break = fn(&mut Guest);
    let at = RAM_BASE + 0x3_f000;
    let breaks: [(&str, Break); 5] = [
        ("lying index", |guest| {
            let index = guest.queues[1].driver + 2;
            guest.memory.write_u16(index, 1000).unwrap();
        }),
        ("writable in a transmit queue", |guest| {
            let buffer = [Buffer::writable(RAM_BASE + 0x3_f000, 1)];
            guest.queues[1].add(&guest.memory, &buffer, Layout::Direct).unwrap();
        }),
        ("buffer outside RAM", |guest| {
            let buffer = [Buffer::readable(RAM_BASE + RAM_SIZE as u64 - 1, 2)];
            guest.queues[1].add(&guest.memory, &buffer, Layout::Direct).unwrap();
        }),
        ("empty buffer", |guest| {
            let buffer = [Buffer::readable(RAM_BASE + 0x3_f000, 0)];
            guest.queues[1].add(&guest.memory, &buffer, Layout::Direct).unwrap();
        }),
        ("head outside the table", |guest| guest.queues[1].publish(&guest.memory, 16)),
    ];
    for (name, break_it) in breaks {
        let mut guest = Guest::probed(2, Rings::EventIndex);
        guest.memory.write(at, b"x").unwrap();
        guest.open(0);
        guest.open(1);
        guest.events.clear();
        guest.interrupts = 0;
        break_it(&mut guest);
        guest.set(0x50, 1);
        assert_eq!(guest.get(STATUS), 15 | 64, "{name}");
        assert_eq!(guest.interrupts, 1, "{name}: a configuration change");
        guest.poll_events();
        assert_eq!(guest.events, [PortEvent::Closed(port(0)), PortEvent::Closed(port(1))]);
        let refused = guest.console.give_rx(port(0), &guest.memory, b"x");
        assert_eq!(refused, Err(PortError::Closed(0)));
        guest.probe();
        guest.open(0);
        assert!(guest.write(0, b"well again", Layout::Direct));
        assert_eq!(guest.callers[0].heard, b"well again", "{name}");
    }
}

#[test]
fn readable_buffer_in_a_receive_queue_breaks_it() {
    let mut guest = Guest::probed(1, Rings::EventIndex);
    guest.open(0);
    let queue = &mut guest.queues[0];
    let (descriptor, at) = (queue.descriptor, RAM_BASE + 0x3_f000);
    for slot in 0..16 {
        queue.describe(&guest.memory, (descriptor, slot), (at, 8, 0, 0));
    }
    assert_eq!(guest.console.give_rx(port(0), &guest.memory, b"x"), Ok(0));
    assert_eq!(guest.get(STATUS), 15 | 64);
    assert_eq!(guest.memory.bytes(at, 8), [0; 8], "nothing was written there");
}

#[test]
fn random_use_of_all_ports_loses_nothing() {
    let random = Random::new(0x9097);
    for round in 0..20 {
        let mut guest = Guest::probed(4, RINGS[round % 2]);
        let mut open = [false; 4];
        let mut sent: [Vec<u8>; 4] = Default::default();
        let mut answered: [Vec<u8>; 4] = Default::default();
        for _ in 0..1000 {
            let number = random.below(4) as usize;
            let id = number as u32;
            let bytes: Vec<u8> = (0..1 + random.below(BUFFER)).map(|_| random.next() as u8).collect();
            match random.below(8) {
                0 if open[number] => {
                    guest.close(id);
                    open[number] = false;
                }
                0 => {
                    guest.open(id);
                    (open[number], sent[number], answered[number]) = (true, vec![], vec![]);
                    guest.read[number].clear();
                }
                1 if random.chance(10) => {
                    guest.probe();
                    open = [false; 4];
                }
                2..=4 if open[number] && guest.write(id, &bytes, Layout::Mixed) => {
                    sent[number].extend(bytes);
                }
                5..=7 if open[number] => {
                    guest.answer(id, &bytes);
                    answered[number].extend(bytes);
                }
                _ => {}
            }
            if open[number] {
                assert!(guest.callers[number].heard == sent[number]);
                assert!(guest.read[number] == answered[number]);
            }
        }
    }
}

#[test]
fn full_ring_of_the_worst_control_messages_is_bounded() {
    let mut guest = Guest::probed(4, Rings::EventIndex);
    for number in 0..4 {
        guest.open(number);
    }
    let at = RAM_BASE + 0x3_f000;
    let mut control: DriverQueue = guest.queues[3].clone();
    for n in 0..16_u64 {
        let message = [(n % 4) as u8, 0, 0, 0, 6, 0, (n / 4 % 2) as u8, 0];
        guest.memory.write(at + 8 * n, &message).unwrap();
        let bytes: Vec<_> = (0..8).map(|b| Buffer::readable(at + 8 * n + b, 1)).collect();
        control.add(&guest.memory, &bytes, Layout::Indirect).unwrap();
    }
    guest.memory.take_accesses();
    let _ = guest.console.serve_control(&guest.memory);
    assert!(guest.memory.take_accesses() <= MOST_ACCESSES);
    assert!(control.take_used(&guest.memory).is_some());
}

#[test]
fn console_can_stand_in_a_static_table() {
    static TABLE: [Console; 2] = [const { Console::NONE }; 2];
    assert!(TABLE.iter().all(|console| console.read(8, 4) == 0), "DeviceID 0 is no device (virtio 1.2 §4.2.2)");
    assert!(size_of::<Console>() <= 2048, "{}", size_of::<Console>());
    let _: &dyn GuestMemory = &VecMemory::new();
}
