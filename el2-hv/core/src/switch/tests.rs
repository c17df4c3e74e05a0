//! Each rule by its name; the buckets by what a window may hold; and random lives of a switch against a model.

mod buckets;
mod model;

use super::*;
use std::format;
use std::vec;
use std::vec::Vec;

const SECOND: u64 = 1_000_000_000;

const ANN: PortId = PortId(1);
const BOB: PortId = PortId(2);
const CAT: PortId = PortId(3);
/// A guest with a bridge.
const BRIDGE: PortId = PortId(4);
const NIC: PortId = PortId(0);

/// A port's own address; locally administered, as the first byte says (IEEE 802.3 §3.2.3).
const fn own(port: PortId) -> Mac {
    Mac([2, 0, 0, 0, 0, port.0])
}

/// The address of a station behind a port.
const fn behind(port: PortId, station: u16) -> Mac {
    let [high, low] = station.to_be_bytes();
    Mac([2, 0, 1, port.0, high, low])
}

const fn guest(port: PortId) -> PortRules {
    PortRules { mac: own(port), any_source: false, isolated: false, uplink: false, rate: Rate::NONE }
}

const fn frame(source: Mac, destination: Mac) -> Header {
    Header { destination, source, length: 1514, frames: 1, repeated: 0 }
}

fn to(ports: &[PortId]) -> Verdict {
    Verdict::To(ports.iter().fold(Ports::NONE, |set, &port| set.union(Ports::one(port))))
}

/// A switch with these ports.
fn switch(ports: &[(PortId, PortRules)]) -> Switch {
    let mut switch = Switch::NONE;
    ports.iter().for_each(|&(port, rules)| assert_eq!(switch.connect(port, rules), Ok(())));
    switch
}

/// The board's NIC, a bridge, and three guests.
fn whole() -> Switch {
    switch(&[
        (NIC, PortRules { uplink: true, ..guest(NIC) }),
        (ANN, guest(ANN)),
        (BOB, guest(BOB)),
        (CAT, guest(CAT)),
        (BRIDGE, PortRules { any_source: true, ..guest(BRIDGE) }),
    ])
}

/// How many frames of a port were dropped for each reason that there was.
fn drops(switch: &Switch, port: PortId) -> Vec<(Reason, u64)> {
    let counters = switch.counters(port).unwrap();
    Reason::ALL.map(|reason| (reason, counters.dropped(reason))).into_iter().filter(|&(_, count)| count > 0).collect()
}

#[test]
fn a_header_is_destination_then_source_and_the_lowest_bit_of_the_first_byte_is_a_groups() {
    let bytes = *b"\x01\x00\x5e\x00\x00\xfb\x52\x54\x00\x12\x34\x56\x08\x00";
    let header = Header::parse(&bytes, 60);
    assert_eq!(format!("{} {}", header.destination, header.source), "01:00:5e:00:00:fb 52:54:00:12:34:56");
    assert_eq!((header.length, header.frames), (60, 1));
    assert!(header.destination.is_group() && Mac::BROADCAST.is_group() && !header.source.is_group());
    assert!(!Mac([0xfe, 255, 255, 255, 255, 255]).is_group() && Mac([3, 0, 0, 0, 0, 0]).is_group());
}

#[test]
fn guests_reach_each_other_by_their_addresses_though_nobody_has_sent_yet() {
    let mut switch = whole();
    assert_eq!(switch.forward(ANN, &frame(own(ANN), own(BOB)), 0), to(&[BOB]));
    assert_eq!(switch.forward(NIC, &frame(own(NIC), own(CAT)), 0), to(&[CAT]));
    assert_eq!(switch.forward(ANN, &frame(own(ANN), own(BOB)), u64::MAX), to(&[BOB]), "guests' addresses do not age");
}

#[test]
fn a_guest_that_sends_from_any_address_but_its_own_is_dropped() {
    let mut switch = whole();
    for source in [own(BOB), behind(ANN, 1), Mac::BROADCAST, Mac([0; 6]), own(NIC)] {
        assert_eq!(switch.forward(ANN, &frame(source, own(BOB)), 0), Verdict::Drop(Reason::Spoofed), "{source}");
    }
    assert_eq!(drops(&switch, ANN), [(Reason::Spoofed, 5)]);
}

#[test]
fn the_uplink_and_a_bridge_may_send_from_any_address_but_a_ports_a_groups_and_none() {
    for port in [NIC, BRIDGE] {
        let mut switch = whole();
        for source in [behind(port, 1), own(port)] {
            assert_eq!(switch.forward(port, &frame(source, own(BOB)), 0), to(&[BOB]), "{source}");
        }
        for source in [own(ANN), own(BOB), Mac::BROADCAST, Mac([1, 0, 0x5e, 0, 0, 1]), Mac([0; 6])] {
            let verdict = switch.forward(port, &frame(source, own(BOB)), 0);
            assert_eq!(verdict, Verdict::Drop(Reason::Spoofed), "{source}");
        }
        assert_eq!(drops(&switch, port), [(Reason::Spoofed, 5)]);
    }
}

#[test]
fn what_is_unknown_goes_to_the_uplink_and_to_bridges_and_to_no_other_guest() {
    let mut switch = whole();
    let unknown = behind(NIC, 7);
    assert_eq!(switch.forward(ANN, &frame(own(ANN), unknown), 0), to(&[NIC, BRIDGE]));
    assert_eq!(switch.forward(NIC, &frame(own(NIC), unknown), 0), to(&[BRIDGE]));
    assert_eq!(switch.forward(BRIDGE, &frame(own(BRIDGE), unknown), 0), to(&[NIC]));
    switch.disconnect(BRIDGE);
    switch.disconnect(NIC);
    assert_eq!(switch.forward(ANN, &frame(own(ANN), unknown), 0), Verdict::Drop(Reason::Nobody));
    assert_eq!(switch.forward(ANN, &frame(own(ANN), Mac([0; 6])), 0), Verdict::Drop(Reason::Nobody));
}

#[test]
fn what_was_learnt_goes_where_it_came_from_and_nowhere_else() {
    let mut switch = whole();
    let station = behind(BRIDGE, 1);
    assert_eq!(switch.forward(BRIDGE, &frame(station, own(ANN)), 0), to(&[ANN]));
    assert_eq!(switch.forward(ANN, &frame(own(ANN), station), 0), to(&[BRIDGE]));
    let neighbour = frame(behind(BRIDGE, 2), station);
    assert_eq!(switch.forward(BRIDGE, &neighbour, 0), Verdict::Drop(Reason::Nobody), "both are behind the bridge");
    // It moves: IEEE 802.1Q §8.7 has the latest port.
    assert_eq!(switch.forward(NIC, &frame(station, own(ANN)), 0), to(&[ANN]));
    assert_eq!(switch.forward(ANN, &frame(own(ANN), station), 0), to(&[NIC]));
}

#[test]
fn a_dropped_frame_teaches_nothing() {
    let mut switch = whole();
    let station = behind(BRIDGE, 1);
    assert_eq!(switch.forward(BRIDGE, &frame(station, own(BRIDGE)), 0), Verdict::Drop(Reason::Nobody));
    assert_eq!(switch.forward(ANN, &frame(own(ANN), station), 0), to(&[NIC, BRIDGE]));
}

#[test]
fn a_learnt_address_is_forgotten_when_its_age_is_reached_and_not_a_nanosecond_before() {
    let mut switch = whole();
    let (station, first) = (behind(BRIDGE, 1), 5 * SECOND);
    let asked = |switch: &mut Switch, now| switch.forward(ANN, &frame(own(ANN), station), now);
    let _ = switch.forward(BRIDGE, &frame(station, own(ANN)), first);
    assert_eq!(asked(&mut switch, first + AGE_NS - 1), to(&[BRIDGE]));
    assert_eq!(asked(&mut switch, first + AGE_NS), to(&[NIC, BRIDGE]));
    let again = first + AGE_NS - 1;
    let _ = switch.forward(BRIDGE, &frame(station, own(ANN)), again);
    let _ = switch.forward(BRIDGE, &frame(station, own(ANN)), first);
    assert_eq!(asked(&mut switch, again + AGE_NS - 1), to(&[BRIDGE]), "an earlier time makes it no older");
    assert_eq!(asked(&mut switch, again + AGE_NS), to(&[NIC, BRIDGE]));
    assert_eq!(AGE_NS, 300 * SECOND);
}

#[test]
fn a_port_takes_its_address_from_whoever_had_learnt_it_and_nobody_learns_it_again() {
    let mut switch = whole();
    switch.disconnect(CAT);
    assert_eq!(switch.forward(BRIDGE, &frame(own(CAT), own(ANN)), 0), to(&[ANN]));
    assert_eq!(switch.forward(ANN, &frame(own(ANN), own(CAT)), 0), to(&[BRIDGE]));
    assert_eq!(switch.connect(CAT, guest(CAT)), Ok(()));
    assert_eq!(switch.forward(BRIDGE, &frame(own(CAT), own(ANN)), 0), Verdict::Drop(Reason::Spoofed));
    assert_eq!(switch.forward(ANN, &frame(own(ANN), own(CAT)), 0), to(&[CAT]));
}

#[test]
fn one_who_sends_from_ever_new_addresses_pushes_out_its_own_only() {
    let mut switch = whole();
    let station = behind(NIC, 1);
    let _ = switch.forward(NIC, &frame(station, own(ANN)), 0);
    for index in 0..1000_u16 {
        let _ = switch.forward(BRIDGE, &frame(behind(BRIDGE, index), own(ANN)), 1 + u64::from(index));
    }
    assert_eq!(switch.forward(ANN, &frame(own(ANN), station), 1000), to(&[NIC]));
    let learnt = |index: &u16| switch.forward(ANN, &frame(own(ANN), behind(BRIDGE, *index)), 1000) == to(&[BRIDGE]);
    let kept: Vec<u16> = (0..1000).filter(learnt).collect();
    assert_eq!(kept, (1000 - LEARNT_PER_PORT as u16..1000).collect::<Vec<_>>(), "the latest");
}

#[test]
fn a_full_table_gives_the_place_of_the_one_that_was_silent_longest() {
    let bridge = |port| (port, PortRules { any_source: true, ..guest(port) });
    let mut switch =
        switch(&[bridge(PortId(0)), bridge(PortId(1)), bridge(PortId(2)), bridge(PortId(3)), bridge(BRIDGE)]);
    let speak = |switch: &mut Switch, port, index, now| {
        let _ = switch.forward(port, &frame(behind(port, index), own(PortId(port.0 ^ 1))), now);
    };
    for index in 0..LEARNT_MAX as u16 {
        speak(&mut switch, PortId((index % 4) as u8), index / 4, u64::from(index) + 1);
    }
    speak(&mut switch, PortId(0), 0, 100);
    let _ = switch.forward(BRIDGE, &frame(behind(BRIDGE, 0), own(ANN)), 101);
    let at = |switch: &mut Switch, port: PortId, index| {
        let asker = PortId(if port.0 == 2 { 3 } else { 2 });
        switch.forward(asker, &frame(own(asker), behind(port, index)), 102) == to(&[port])
    };
    assert!(at(&mut switch, BRIDGE, 0) && at(&mut switch, PortId(0), 0), "the new one, and one that has spoken since");
    assert!(!at(&mut switch, PortId(1), 0), "the oldest");
    assert!(at(&mut switch, PortId(2), 0) && at(&mut switch, PortId(3), 0), "those after it");
}

#[test]
fn a_port_that_leaves_takes_its_address_its_stations_and_its_counters_along() {
    let mut switch = whole();
    let station = behind(BRIDGE, 1);
    let _ = switch.forward(BRIDGE, &frame(station, own(ANN)), 0);
    switch.disconnect(BRIDGE);
    switch.disconnect(BRIDGE);
    assert_eq!(switch.forward(ANN, &frame(own(ANN), station), 0), to(&[NIC]));
    assert_eq!(switch.forward(BRIDGE, &frame(station, own(ANN)), 0), Verdict::Drop(Reason::NoSuchPort));
    assert_eq!(switch.counters(BRIDGE), None);
    assert_eq!(switch.connect(BRIDGE, guest(BRIDGE)), Ok(()));
    assert_eq!(switch.counters(BRIDGE), Some(Counters::NONE));
    assert_eq!(switch.forward(BRIDGE, &frame(station, own(ANN)), 0), Verdict::Drop(Reason::Spoofed), "no bridge now");
}

#[test]
fn a_group_is_everybody_but_the_sender() {
    let mut switch = whole();
    assert_eq!(switch.forward(ANN, &frame(own(ANN), Mac::BROADCAST), 0), to(&[NIC, BOB, CAT, BRIDGE]));
    let multicast = Mac([0x33, 0x33, 0, 0, 0, 1]);
    assert_eq!(switch.forward(NIC, &frame(own(NIC), multicast), 0), to(&[ANN, BOB, CAT, BRIDGE]));
    let mut alone = self::switch(&[(ANN, guest(ANN))]);
    assert_eq!(alone.forward(ANN, &frame(own(ANN), Mac::BROADCAST), 0), Verdict::Drop(Reason::Nobody));
}

#[test]
fn isolated_ports_have_to_do_with_those_only_that_are_not() {
    let isolated = |port| (port, PortRules { isolated: true, ..guest(port) });
    let mut switch = switch(&[isolated(ANN), isolated(BOB), (CAT, guest(CAT))]);
    assert_eq!(switch.forward(ANN, &frame(own(ANN), own(BOB)), 0), Verdict::Drop(Reason::Isolated));
    assert_eq!(switch.forward(ANN, &frame(own(ANN), own(CAT)), 0), to(&[CAT]));
    assert_eq!(switch.forward(CAT, &frame(own(CAT), own(ANN)), 0), to(&[ANN]));
    assert_eq!(switch.forward(ANN, &frame(own(ANN), Mac::BROADCAST), 0), to(&[CAT]));
    assert_eq!(switch.forward(CAT, &frame(own(CAT), Mac::BROADCAST), 0), to(&[ANN, BOB]));
    switch.disconnect(CAT);
    assert_eq!(switch.forward(ANN, &frame(own(ANN), Mac::BROADCAST), 0), Verdict::Drop(Reason::Isolated));
    assert_eq!(drops(&switch, ANN), [(Reason::Isolated, 2)]);
}

#[test]
fn an_isolated_guest_finds_no_way_to_an_isolated_bridge_by_an_unknown_address() {
    let isolated = |port| PortRules { isolated: true, ..guest(port) };
    let mut switch = switch(&[(ANN, isolated(ANN)), (BRIDGE, PortRules { any_source: true, ..isolated(BRIDGE) })]);
    assert_eq!(switch.forward(ANN, &frame(own(ANN), behind(BRIDGE, 1)), 0), Verdict::Drop(Reason::Isolated));
}

#[test]
fn a_hundred_group_frames_at_once_and_then_a_thousand_a_second_of_each_port() {
    let mut switch = whole();
    let group = frame(own(ANN), Mac::BROADCAST);
    let mut passes = |now, times| (0..times).filter(|_| switch.forward(ANN, &group, now) != STORM).count();
    const STORM: Verdict = Verdict::Drop(Reason::Storm);
    assert_eq!(passes(0, 150), 100);
    assert_eq!(passes(SECOND / 1000 - 1, 1), 0);
    assert_eq!(passes(SECOND / 1000, 2), 1);
    assert_eq!((0..10_000).map(|ms| passes(SECOND + ms * SECOND / 1000, 3)).sum::<usize>(), 100 + 9_999);
    assert_eq!(switch.forward(ANN, &frame(own(ANN), own(BOB)), 11 * SECOND), to(&[BOB]), "others go on");
    assert_eq!(switch.forward(BOB, &frame(own(BOB), Mac::BROADCAST), 0), to(&[NIC, ANN, CAT, BRIDGE]));
}

#[test]
fn a_group_frame_that_becomes_a_storm_on_a_wire_is_one() {
    let mut switch = whole();
    let group = |frames| Header { frames, ..frame(own(ANN), Mac::BROADCAST) };
    for frames in [101, u16::MAX] {
        assert_eq!(switch.forward(ANN, &group(frames), SECOND), Verdict::Drop(Reason::Storm));
    }
    assert_eq!(switch.forward(ANN, &group(100), SECOND), to(&[NIC, BOB, CAT, BRIDGE]));
    assert_eq!(switch.forward(ANN, &group(0), SECOND), Verdict::Drop(Reason::Storm), "no frame is one");
}

#[test]
fn a_guest_above_its_rate_waits_and_nothing_is_counted_until_it_may_send() {
    let mut switch = whole();
    // 8 Mbit/s is a byte in each microsecond; 10 ms of it are less than the longest frame, which is the burst then.
    let rate = Rate { bits_per_s: 8_000_000, packets_per_s: 0 };
    assert_eq!(switch.set_rate(BRIDGE, rate), Ok(()));
    let burst = Header { length: FRAME_MAX, ..frame(own(BRIDGE), own(BOB)) };
    assert_eq!(switch.forward(BRIDGE, &burst, 0), to(&[BOB]));
    let before = switch.counters(BRIDGE);
    let next = frame(behind(BRIDGE, 1), own(BOB));
    let until_ns = 1514 * 1000;
    for now in [0, until_ns - 1] {
        assert_eq!(switch.forward(BRIDGE, &next, now), Verdict::Later { until_ns });
    }
    assert_eq!(switch.counters(BRIDGE), before);
    assert_eq!(switch.forward(ANN, &frame(own(ANN), next.source), 0), to(&[NIC, BRIDGE]), "not learnt yet");
    assert_eq!(switch.forward(BRIDGE, &next, until_ns), to(&[BOB]));
    assert_eq!(switch.forward(ANN, &frame(own(ANN), next.source), until_ns), to(&[BRIDGE]));
}

#[test]
fn a_rate_of_packets_counts_what_a_frame_becomes_on_a_wire() {
    let mut switch = whole();
    assert_eq!(switch.set_rate(ANN, Rate { bits_per_s: 0, packets_per_s: 10_000 }), Ok(()));
    let segmented = Header { frames: 45, length: 65_000, ..frame(own(ANN), own(BOB)) };
    assert_eq!(switch.forward(ANN, &segmented, 0), to(&[BOB]));
    assert_eq!(switch.forward(ANN, &segmented, 0), to(&[BOB]), "10 ms are 100");
    // 10 are left, and one comes each 100 us.
    assert_eq!(switch.forward(ANN, &segmented, 0), Verdict::Later { until_ns: 35 * 100_000 });
}

#[test]
fn a_rate_of_bits_counts_the_headers_of_each_frame_that_one_becomes_on_a_wire() {
    let mut switch = whole();
    // 8 Mbit/s is a byte in each microsecond, and a burst is 65,550 bytes.
    assert_eq!(switch.set_rate(ANN, Rate { bits_per_s: 8_000_000, packets_per_s: 0 }), Ok(()));
    // 45 frames of 54 bytes of headers, and 63,000 of payload, are 65,430 bytes on a wire.
    let segmented = frame(own(ANN), own(BOB)).cut(45, 54);
    let segmented = Header { length: 54 + 63_000, ..segmented };
    assert_eq!(switch.forward(ANN, &segmented, 0), to(&[BOB]));
    let next = Header { length: 121, ..frame(own(ANN), own(BOB)) };
    assert_eq!(switch.forward(ANN, &next, 0), Verdict::Later { until_ns: 1000 });
    assert_eq!(switch.counters(ANN).unwrap().sent_bytes, 63_054, "what the guest counts");
}

#[test]
fn what_is_for_bridges_themselves_is_passed_on_to_nobody() {
    // IEEE 802.1Q table 8-1: spanning trees, PAUSE, slow protocols, EAPOL, LLDP among them.
    for last in 0..=0x0f {
        for (from, source) in [(NIC, behind(NIC, 1)), (ANN, own(ANN)), (BRIDGE, behind(BRIDGE, 1))] {
            let mut switch = whole();
            let reserved = frame(source, Mac([0x01, 0x80, 0xc2, 0, 0, last]));
            assert_eq!(switch.forward(from, &reserved, 0), Verdict::Drop(Reason::Reserved), "{last:x}");
            assert_eq!(drops(&switch, from), [(Reason::Reserved, 1)]);
        }
    }
    let everybody_else = to(&[NIC, BOB, CAT, BRIDGE]);
    for other in [[0x01, 0x80, 0xc2, 0, 0, 0x10], [0x01, 0x80, 0xc2, 0, 1, 0], [0x03, 0x80, 0xc2, 0, 0, 0]] {
        assert_eq!(whole().forward(ANN, &frame(own(ANN), Mac(other)), 0), everybody_else, "{other:x?}");
    }
}

#[test]
fn what_is_no_frame_is_counted_where_it_came_from() {
    let mut switch = whole();
    assert_eq!([NIC, NIC, PortId(9), PortId(255)].map(|port| switch.malformed(port)), [1, 2, 0, 0]);
    assert_eq!((drops(&switch, NIC), drops(&switch, ANN)), (vec![(Reason::Malformed, 2)], vec![]));
}

#[test]
fn a_frame_longer_than_any_passes_all_the_same() {
    let mut switch = whole();
    assert_eq!(switch.set_rate(ANN, Rate { bits_per_s: 1, packets_per_s: 1 }), Ok(()));
    let endless = Header { length: u32::MAX, frames: u16::MAX, ..frame(own(ANN), own(BOB)) };
    assert_eq!(switch.forward(ANN, &endless, 0), to(&[BOB]));
    assert_eq!(switch.forward(ANN, &endless, 0), Verdict::Later { until_ns: u64::MAX }, "2^35 s");
}

#[test]
fn the_uplink_above_its_rate_loses_the_frame() {
    let mut switch = whole();
    assert_eq!(switch.set_rate(NIC, Rate { bits_per_s: 8_000_000, packets_per_s: 0 }), Ok(()));
    let burst = Header { length: FRAME_MAX, ..frame(own(NIC), own(BOB)) };
    assert_eq!(switch.forward(NIC, &burst, 0), to(&[BOB]));
    assert_eq!(switch.forward(NIC, &burst, 0), Verdict::Drop(Reason::Rate));
    assert_eq!(drops(&switch, NIC), [(Reason::Rate, 1)]);
}

#[test]
fn what_went_by_is_counted_at_both_ends() {
    let mut switch = whole();
    let _ = switch.forward(ANN, &frame(own(ANN), own(BOB)), 0);
    let _ = switch.forward(ANN, &Header { length: 60, frames: 3, ..frame(own(ANN), own(BOB)) }, 0);
    switch.delivered(BOB, 1514);
    switch.delivered(PortId(9), 1);
    switch.missed(BOB);
    switch.missed(PortId(9));
    let (ann, bob) = (switch.counters(ANN).unwrap(), switch.counters(BOB).unwrap());
    assert_eq!((ann.sent_frames, ann.sent_bytes, ann.received_frames, ann.received_bytes), (2, 1574, 0, 0));
    assert_eq!((bob.sent_frames, bob.sent_bytes, bob.received_frames, bob.received_bytes), (0, 0, 1, 1514));
    assert_eq!((ann.missed, bob.missed), (0, 1));
}

#[test]
fn a_port_that_cannot_be_is_refused_by_name() {
    let mut switch = whole();
    let at = |mac| PortRules { mac, ..guest(CAT) };
    let mut refused = |port, mac| format!("{}", switch.connect(port, at(mac)).unwrap_err());
    assert_eq!(refused(PortId(16), own(PortId(16))), "a switch has 16 ports: there is no port 16");
    assert_eq!(refused(ANN, behind(ANN, 1)), "port 1 is in use");
    assert_eq!(refused(PortId(9), own(BOB)), "02:00:00:00:00:02 is the address of port 2");
    assert_eq!(refused(PortId(9), Mac([0; 6])), "00:00:00:00:00:00 is not the address of a station");
    assert_eq!(refused(PortId(9), Mac::BROADCAST), "ff:ff:ff:ff:ff:ff is not the address of a station");
    assert_eq!(switch.set_rate(PortId(9), Rate::NONE), Err(SwitchError::NotConnected(PortId(9))));
    for port in [PortId(9), PortId(16), PortId(255)] {
        let verdict = switch.forward(port, &frame(own(port), own(ANN)), 0);
        assert_eq!(verdict, Verdict::Drop(Reason::NoSuchPort));
        assert_eq!(switch.counters(port), None);
        switch.disconnect(port);
    }
}

#[test]
fn switches_can_stand_in_a_static_table() {
    static TABLE: [Switch; 2] = [const { Switch::NONE }; 2];
    assert!(TABLE.iter().all(|switch| switch.counters(ANN).is_none()));
    assert!(size_of::<Switch>() <= 8192, "{}", size_of::<Switch>());
}
