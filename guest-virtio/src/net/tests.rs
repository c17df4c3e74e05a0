//! A card against virtio 1.2 §5.1: its registers, what it sends, and what it gives.

mod exchange;
mod guest;
pub(crate) mod hostile;
#[cfg(test)]
mod offload;
mod receive;
#[cfg(test)]
mod segment;

use super::*;
use crate::testing::{Buffer, Layout, RAM_BASE};
use guest::*;

#[test]
fn configuration_is_that_of_5_1_4() {
    let mut net = Net::NONE;
    net.restart(&Nic { mtu: 9000, ..nic() });
    let at = |net: &Net, offset: u64, size| net.read(0x100 + offset, size);
    assert_eq!(net.read(0x008, 4), 1, "DeviceID");
    assert_eq!([0, 1, 2, 3, 4, 5].map(|byte| at(&net, byte, 1)), [2, 0x44, 0x6d, 0, 0, 7], "mac");
    assert_eq!([at(&net, 6, 2), at(&net, 8, 2), at(&net, 10, 2)], [1, 0, 9000], "status, pairs, mtu");
    assert_eq!([at(&net, 12, 4), at(&net, 16, 8)], [0; 2]);
    net.restart(&Nic { mtu: 67, link_up: false, ..nic() });
    assert_eq!([at(&net, 6, 2), at(&net, 10, 2)], [0, 68], "no link, the least MTU");
    let _ = net.write(0x30, 4, 2);
    assert_eq!(net.read(0x34, 4), 0, "two queues");
    let _ = net.write(0x30, 4, 1);
    assert_eq!(net.read(0x34, 4), 256);
}

#[test]
fn features_follow_the_card() {
    // CSUM, GUEST_CSUM, MTU, MAC, MRG_RXBUF, STATUS, and the rings' own.
    let always = 1 | 1 << 1 | 1 << 3 | 1 << 5 | 1 << 15 | 1 << 16 | 1 << 28 | 1 << 29 | 1 << 32;
    let segments = GUEST_TSO4 | GUEST_TSO6 | GUEST_ECN | HOST_TSO4 | HOST_TSO6 | HOST_ECN;
    for (segmentation, expected) in [(false, always), (true, always | segments)] {
        assert_eq!(Guest::new(&Nic { segmentation, ..nic() }, 0, 1).features(), expected);
    }
}

#[test]
fn features_without_those_they_need_are_refused() {
    let mut guest = Guest::new(&nic(), 0, 1);
    let all = guest.features();
    // §5.1.3.1.
    for (name, without, stands) in [
        ("all", 0, true),
        ("no segments given", GUEST_TSO4 | GUEST_TSO6 | GUEST_ECN | GUEST_CSUM, true),
        ("no segments sent", HOST_TSO4 | HOST_TSO6 | HOST_ECN | CSUM, true),
        ("one kind of segments", GUEST_TSO4 | HOST_TSO6, true),
        ("no ECN", GUEST_ECN | HOST_ECN, true),
        ("segments given without a checksum", GUEST_CSUM, false),
        ("IPv6's without a checksum", GUEST_CSUM | GUEST_TSO4 | GUEST_ECN, false),
        ("segments sent without a checksum", CSUM, false),
        ("ECN given without segments", GUEST_TSO4 | GUEST_TSO6, false),
        ("ECN sent without segments", HOST_TSO4 | HOST_TSO6, false),
    ] {
        assert_eq!(guest.negotiate(all & !without), stands, "{name}");
    }
    assert!(guest.negotiate(all), "the last refusal is not kept");
}

#[test]
fn a_link_that_changes_tells_its_driver() {
    let mut guest = Guest::new(&nic(), 0, 1);
    let generation = guest.get(0xfc);
    let _ = guest.net.take_pulse();
    guest.net.set_link(true);
    assert!(!guest.net.take_pulse(), "it has not changed");
    guest.net.set_link(false);
    assert!(guest.net.take_pulse());
    assert_eq!(guest.get(0x60) & 2, 2, "configuration change notification");
    assert_ne!(guest.get(0xfc), generation);
    assert_eq!(guest.net.read(0x106, 2), 0, "status");
}

#[test]
fn notifications_name_what_they_are_about() {
    let mut guest = Guest::new(&nic(), 0, 1);
    let effects = [0, 1, 2].map(|queue| guest.set(0x50, queue));
    assert_eq!(effects, [NetEffect::Receive, NetEffect::Transmit, NetEffect::None]);
    assert_eq!(guest.set(STATUS, 0), NetEffect::Reset);
    assert_eq!(guest.set(0x50, 1), NetEffect::None);
}

#[test]
fn frames_are_as_long_as_the_mtu_allows() {
    let mut guest = Guest::new(&nic(), 0, 1);
    let whole = Header::default();
    // A tagged frame has 4 bytes more than one of 14 and the MTU.
    for (length, sent) in [(0, false), (13, false), (14, true), (60, true), (1514, true), (1518, true), (1519, false)] {
        assert_eq!(guest.sends(&whole, &vec![7; length]), sent, "{length}");
        let checksum = guest.sends(&Header::checksum(14, 0), &vec![7; length]);
        assert_eq!(checksum, sent && length >= 16, "{length}");
    }
    assert!(guest.sends(&Header::tcp4(1448), &[7; 5000]), "what is to be cut may be longer");
    let mut guest = Guest::new(&Nic { mtu: 3000, ..nic() }, 0, 1);
    assert_eq!([3018, 3019].map(|length| guest.sends(&whole, &vec![7; length])), [true, false]);
}

#[test]
fn frames_to_be_cut_have_up_to_65550_bytes() {
    let mut guest = Guest::new(&nic(), 0, 1);
    guest.memory.write(DATA, &Header::tcp4(1448).bytes()).unwrap();
    for (length, next) in [(65_550, Next::Frame), (65_551, Next::Dropped), (u32::MAX - 12, Next::Dropped)] {
        guest.queues[TX].add(&guest.memory, &[Buffer::readable(DATA, 12 + length)], Layout::Direct).unwrap();
        let mut frame = Frame::new();
        assert_eq!(guest.net.next_tx(&guest.memory, &mut frame), next, "{length}");
        if next == Next::Frame {
            assert_eq!(frame.length, length);
            guest.net.complete_tx(&frame, &guest.memory);
        }
        assert!(guest.queues[TX].take_used(&guest.memory).is_some());
    }
    assert_eq!(guest.get(STATUS), 15);
}

#[test]
fn what_was_not_accepted_is_not_sent() {
    let (tcp4, tcp6) = (Header::tcp4(1000), Header { gso_type: 4, ..Header::tcp4(1000) });
    let ecn = Header { gso_type: 0x81, ..tcp4 };
    let all = [Header::default(), Header::checksum(34, 16), tcp4, tcp6, ecn];
    let segments = HOST_TSO4 | HOST_TSO6 | HOST_ECN;
    for (without, sent) in [
        (0, [true; 5]),
        (HOST_ECN, [true, true, true, true, false]),
        (HOST_TSO4, [true, true, false, true, false]),
        (HOST_TSO6, [true, true, true, false, true]),
        (segments, [true, true, false, false, false]),
        (segments | CSUM, [true, false, false, false, false]),
    ] {
        let mut guest = Guest::new(&nic(), without, 1);
        assert_eq!(all.map(|header| guest.sends(&header, &[1; 100])), sent, "{without:#x}");
    }
}

#[test]
fn what_is_no_frame_is_dropped_and_the_device_goes_on() {
    let mut guest = Guest::new(&nic(), 0, 1);
    let bytes = [0x55; 100];
    assert!(!guest.sends(&Header::checksum(99, 0), &bytes), "a header that contradicts its frame");
    let chains: [(&str, Vec<Buffer>); 4] = [
        ("half a header", vec![Buffer::readable(DATA, 11)]),
        ("a header alone", vec![Buffer::readable(DATA, 12)]),
        ("something to be written", vec![Buffer::readable(DATA, 100), Buffer::writable(DATA + 0x100, 1)]),
        ("nothing but that", vec![Buffer::writable(DATA, 100)]),
    ];
    guest.memory.write(DATA, &[0; 200]).unwrap();
    for (name, buffers) in chains {
        let head = guest.queues[TX].add(&guest.memory, &buffers, Layout::Direct).unwrap();
        let mut frame = Frame::new();
        assert_eq!(guest.net.next_tx(&guest.memory, &mut frame), Next::Dropped, "{name}");
        assert_eq!(guest.queues[TX].take_used(&guest.memory), Some((head, 0)), "{name}");
        assert_eq!(guest.net.next_tx(&guest.memory, &mut frame), Next::Empty);
    }
    assert_eq!(guest.get(STATUS), 15);
    assert!(guest.sends(&Header::default(), &bytes));
}

#[test]
fn a_driver_is_not_believed_that_its_checksum_is_right() {
    let mut guest = Guest::new(&nic(), 0, 1);
    let mut frame = Frame::new();
    for flags in [2, 0] {
        guest.send(&Header { flags, ..Header::default() }, &[1; 60]).unwrap();
        assert_eq!(guest.take(&mut frame), Some(vec![1; 60]));
        assert_eq!(frame.offload, Offload::None);
    }
}

#[test]
fn a_frame_has_at_most_64_buffers() {
    let mut guest = Guest::new(&nic(), 0, 1);
    let table = DATA + 0x1000;
    guest.memory.write(DATA, &[0; 12]).unwrap();
    // A header in 12 buffers of its own, then `count` bytes in one each.
    for (count, next) in [(64, Next::Frame), (65, Next::Dropped)] {
        for index in 0..12 + count {
            let flags = u16::from(index < 11 + count);
            guest.queues[TX].describe(&guest.memory, (table, index), (DATA + u64::from(index), 1, flags, index + 1));
        }
        let slot = (guest.queues[TX].descriptor, 0);
        guest.queues[TX].describe(&guest.memory, slot, (table, 16 * u32::from(12 + count), 4, 0));
        guest.queues[TX].publish(&guest.memory, 0);
        let mut frame = Frame::new();
        assert_eq!(guest.net.next_tx(&guest.memory, &mut frame), next, "{count}");
        if next == Next::Frame {
            assert_eq!((frame.length, frame.data.len()), (64, 64));
            guest.net.complete_tx(&frame, &guest.memory);
        }
    }
    assert_eq!(guest.get(STATUS), 15);
}

#[test]
fn chains_that_are_none_ask_for_a_reset() {
    let chains: [(&str, Vec<Buffer>); 2] = [
        ("a header outside", vec![Buffer::readable(RAM_BASE - 8, 100)]),
        ("an empty buffer", vec![Buffer::readable(DATA, 12), Buffer::readable(DATA, 0)]),
    ];
    for (name, buffers) in chains {
        let mut guest = Guest::new(&nic(), 0, 1);
        guest.queues[TX].add(&guest.memory, &buffers, Layout::Direct).unwrap();
        assert_eq!(guest.net.next_tx(&guest.memory, &mut Frame::new()), Next::Empty);
        assert_eq!(guest.get(STATUS), 15 | 64, "{name}");
        assert!(guest.net.take_pulse());
        assert_eq!(guest.net.room(60, &guest.memory, &mut Room::new()), Reception::Off);
    }
}

#[test]
fn a_postponed_frame_comes_again() {
    let mut guest = Guest::new(&nic(), 0, 1);
    let heads = [1, 2].map(|byte| guest.send(&Header::default(), &[byte; 60]).unwrap());
    let mut frame = Frame::new();
    for _ in 0..3 {
        assert_eq!(guest.take(&mut frame), Some(vec![1; 60]));
        guest.net.postpone_tx();
    }
    for (byte, head) in [1, 2].into_iter().zip(heads) {
        assert_eq!(guest.take(&mut frame), Some(vec![byte; 60]));
        guest.net.complete_tx(&frame, &guest.memory);
        assert_eq!(guest.queues[TX].take_used(&guest.memory), Some((head, 0)));
    }
    assert_eq!(guest.take(&mut frame), None);
}

#[test]
fn what_was_taken_before_a_reset_is_not_given_back_after_it() {
    let mut guest = Guest::new(&nic(), 0, 1);
    let (mut frame, mut room) = (Frame::new(), Room::new());
    guest.send(&Header::default(), &[1; 60]).unwrap();
    guest.offer(1526).unwrap();
    guest.take(&mut frame).unwrap();
    assert_eq!(guest.net.room(60, &guest.memory, &mut room), Reception::Room);
    guest.probe(0);
    let before = guest.memory.bytes(RAM_BASE, 0x4_0000);
    guest.net.complete_tx(&frame, &guest.memory);
    guest.net.deliver(&room, &Offload::None, &guest.memory);
    guest.net.postpone_tx();
    guest.net.cancel_rx(&room);
    assert!(guest.memory.bytes(RAM_BASE, 0x4_0000) == before, "the memory is the guest's again");
    assert!(guest.sends(&Header::default(), &[1; 60]));
}

#[test]
fn interrupts_come_as_the_driver_asks_for_them() {
    let mut guest = Guest::new(&nic(), 0, 1);
    let _ = guest.net.take_pulse();
    for queue in [RX, TX] {
        guest.queues[queue].set_used_event(&guest.memory, 1);
    }
    for expected in [false, true, false] {
        assert!(guest.sends(&Header::default(), &[1; 60]));
        guest.net.signal_tx(&guest.memory);
        assert_eq!(guest.net.take_pulse(), expected);
        guest.offer(1526).unwrap();
        assert_eq!(guest.give(&Offload::None, &[1; 60]), Reception::Room);
        guest.net.signal_rx(&guest.memory);
        assert_eq!(guest.net.take_pulse(), expected);
    }
}

#[test]
fn a_driver_notifies_of_the_frame_after_the_last() {
    for without in [0, EVENT_IDX] {
        let mut guest = Guest::new(&nic(), without, 1);
        assert_eq!(guest.take(&mut Frame::new()), None);
        for _ in 0..20 {
            guest.send(&Header::default(), &[1; 60]).unwrap();
            assert!(guest.queues[TX].must_kick(&guest.memory));
            let mut frame = Frame::new();
            guest.take(&mut frame).unwrap();
            guest.net.complete_tx(&frame, &guest.memory);
            assert_eq!(guest.take(&mut frame), None);
            guest.queues[TX].take_used(&guest.memory).unwrap();
        }
    }
}

#[test]
fn cards_can_stand_in_a_static_table() {
    static TABLE: [Net; 2] = [const { Net::NONE }; 2];
    assert!(TABLE.iter().all(|net| net.read(8, 4) == 0), "DeviceID 0 is no device (§4.2.2)");
    assert!(size_of::<Net>() <= 512, "{}", size_of::<Net>());
}
