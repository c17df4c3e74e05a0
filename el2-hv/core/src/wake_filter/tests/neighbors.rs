//! Addresses, echoes, and what is none of the partition's business.

use super::partition::*;
use super::wire::*;
use super::*;
use std::vec;

fn service() -> Filter {
    filter(&rules())
}

fn answer(frame: &[u8]) -> Vec<u8> {
    match fate(&service(), frame) {
        Fate::Answer(bytes) => bytes,
        other => panic!("{other:?}"),
    }
}

/// A request as it comes over a wire, where no frame is shorter than 60 bytes (IEEE 802.3 §4.2.3.3).
fn arp_request(target: Ip) -> Vec<u8> {
    let body = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &PEER_MAC, &PEER_IP, &[0; 6], &target, &[0; 18]].concat();
    ethernet([0xff; 6], PEER_MAC, 0x0806, &body)
}

#[test]
fn who_asks_for_our_address_by_arp_gets_it() {
    let reply = answer(&arp_request(OUR_IP));
    let (to, from, kind, body) = read_ethernet(&reply);
    assert_eq!((to, from, kind), (PEER_MAC, OUR_MAC, 0x0806));
    // Ethernet, IPv4, lengths of both, a reply: then the sender's addresses, and the target's (RFC 826).
    assert_eq!(body[..8], [0, 1, 8, 0, 6, 4, 0, 2]);
    assert_eq!((&body[8..14], &body[14..18]), (&OUR_MAC[..], &OUR_IP[..]));
    assert_eq!((&body[18..24], &body[24..]), (&PEER_MAC[..], &PEER_IP[..]));
}

#[test]
fn arp_for_others_and_replies_match_nothing_and_half_a_request_neither() {
    let mut reply = arp_request(OUR_IP);
    reply[21] = 2;
    for frame in [arp_request(PEER_IP), reply, arp_request(OUR_IP)[..41].to_vec()] {
        assert_eq!(fate(&service(), &frame), Fate::Unmatched);
    }
}

fn solicitation(from: [u8; 16], target: [u8; 16], options: &[u8]) -> Vec<u8> {
    let group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xd0, 0, 1];
    let mut message = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &target, options].concat();
    let length = message.len() as u8;
    put_checksum(&mut message, 2, &[&from[..], &group, &[0, 0, 0, length, 0, 0, 0, 58]].concat());
    let packet = [&[0x60, 0, 0, 0, 0, length, 58, 255][..], &from, &group, &message].concat();
    ethernet([0x33, 0x33, 0xff, 0xd0, 0, 1], PEER_MAC, 0x86dd, &packet)
}

/// The flags of an advertisement of our address, and whom it is for; all else is as it has to be (RFC 4861 §7.1.2).
fn advertisement(frame: &[u8]) -> (Mac, [u8; 16], u8) {
    let (to, from, kind, packet) = read_ethernet(frame);
    assert_eq!((from, kind, packet[0] >> 4), (OUR_MAC, 0x86dd, 6));
    let (header, message) = packet.split_at(40);
    assert_eq!(usize::from(u16::from_be_bytes([header[4], header[5]])), message.len());
    assert_eq!((header[6], header[7], &header[8..24]), (58, 255, &OUR_IP6[..]));
    let numbers = [0, 0, 0, message.len() as u8, 0, 0, 0, 58];
    assert!(is_intact(message, &[&header[8..40], &numbers].concat()), "RFC 8200 §8.1");
    assert_eq!((&message[..2], &message[8..24]), (&[136, 0][..], &OUR_IP6[..]));
    assert_eq!((&message[24..26], &message[26..]), (&[2, 1][..], &OUR_MAC[..]), "the target's address");
    (to, header[24..].try_into().unwrap(), message[4])
}

#[test]
fn a_neighbor_that_solicits_gets_an_advertisement() {
    let peer = [0xfe, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    for options in [&[1, 1, 0x52, 0x55, 10, 0, 2, 2][..], &[]] {
        let (mac, to, flags) = advertisement(&answer(&solicitation(peer, OUR_IP6, options)));
        assert_eq!((mac, to, flags), (PEER_MAC, peer, 0x60), "solicited, override");
    }
}

#[test]
fn one_who_wants_our_address_for_itself_hears_of_it_with_all_others() {
    let (mac, to, flags) = advertisement(&answer(&solicitation([0; 16], OUR_IP6, &[])));
    assert_eq!((mac, to, flags), (ALL_NODES_MAC, ALL_NODES, 0x20), "override, not solicited (RFC 4861 §7.2.4)");
}

#[test]
fn a_solicitation_from_beyond_a_router_or_for_others_matches_nothing() {
    let mut far = solicitation(ALL_NODES, OUR_IP6, &[]);
    far[21] = 254;
    for frame in [far, solicitation(ALL_NODES, ALL_NODES, &[])] {
        assert_eq!(fate(&service(), &frame), Fate::Unmatched);
    }
}

fn echo_request(data: usize, fragment: u16) -> Vec<u8> {
    let mut message = vec![8, 0, 0, 0, 0x12, 0x34, 0, 7];
    message.extend((0..data).map(|byte| byte as u8));
    put_checksum(&mut message, 2, &[]);
    ethernet(OUR_MAC, PEER_MAC, 0x0800, &ipv4(1, PEER_IP, OUR_IP, fragment, &message))
}

#[test]
fn an_echo_of_the_length_that_ping_sends_comes_back_and_any_other_does_not() {
    let request = echo_request(56, 0x4000);
    let reply = answer(&request);
    let message = read_ipv4(&reply, 1);
    assert!(is_intact(message, &[]));
    assert_eq!((&message[..2], &message[4..]), (&[0, 0][..], &request[38..]), "a reply with the same data (RFC 792)");
    for data in [0, 55, 57, 86, 87, 1400] {
        assert_eq!(fate(&service(), &echo_request(data, 0x4000)), Fate::Unmatched, "{data}");
    }
}

#[test]
fn an_echo_that_says_to_be_longer_than_it_is_gets_no_answer() {
    assert_eq!(fate(&service(), &echo_request(56, 0)[..97]), Fate::NoAnswer);
}

#[test]
fn fragments_and_headers_with_options_match_nothing() {
    for fragment in [0x2000, 0x0001, 0x1000, 0x3fff] {
        assert_eq!(fate(&service(), &echo_request(56, fragment)), Fate::Unmatched, "{fragment:#x}");
    }
    let mut options = echo_request(56, 0x4000);
    options[14] = 0x46;
    assert_eq!(fate(&service(), &options), Fate::Unmatched);
}

#[test]
fn noise_matches_nothing() {
    let mdns = [&[0x14, 0xe9, 0x14, 0xe9, 0, 20, 0, 0][..], &[0; 12]].concat();
    let dhcp = [&[0, 68, 0, 67, 1, 8, 0, 0][..], &[0; 256]].concat();
    let frames = [
        ethernet([1, 0, 0x5e, 0, 0, 0xfb], PEER_MAC, 0x0800, &ipv4(17, PEER_IP, [224, 0, 0, 251], 0, &mdns)),
        ethernet([0xff; 6], PEER_MAC, 0x0800, &ipv4(17, [0; 4], [255; 4], 0, &dhcp)),
        ethernet([1, 0x80, 0xc2, 0, 0, 0x0e], PEER_MAC, 0x88cc, &[2, 7, 4, 0x52, 0x55, 10, 0, 2, 2, 0, 0]),
        ethernet([1, 0x80, 0xc2, 0, 0, 0], PEER_MAC, 38, &[0x42, 0x42, 3, 0, 0, 0, 0, 0]),
        ethernet(OUR_MAC, PEER_MAC, 0x8100, &[&[0, 5][..], &arp_request(OUR_IP)[12..]].concat()),
        vec![0; 1514],
        vec![0xff; 1514],
        vec![],
    ];
    for frame in frames {
        assert_eq!(fate(&service(), &frame), Fate::Unmatched, "{frame:x?}");
    }
}
