//! The rules of a partition that serves HTTP on port 80.

use super::Draft;
use super::wire::*;
use std::vec::Vec;

pub const OPEN: u16 = 80;

/// fec0::5054:ff:fed0:1, and ff02::1 with its Ethernet address (RFC 4291 §2.7.1, RFC 2464 §7).
pub const OUR_IP6: [u8; 16] = [0xfe, 0xc0, 0, 0, 0, 0, 0, 0, 0x50, 0x54, 0, 0xff, 0xfe, 0xd0, 0, 1];
pub const ALL_NODES: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
pub const ALL_NODES_MAC: Mac = [0x33, 0x33, 0, 0, 0, 1];

/// Who has our address? (RFC 826)
fn arp() -> Draft {
    let reply = [&[0, 1, 8, 0, 6, 4, 0, 2][..], &OUR_MAC, &OUR_IP, &[0; 10]].concat();
    let template = ethernet([0; 6], OUR_MAC, 0x0806, &reply);
    let request = Draft::answer(&template).at(12, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]).at(38, &OUR_IP);
    request.copy(6, 0, 6).copy(22, 32, 10)
}

/// A neighbor solicitation for our address; `is_probe`: of one who has no address yet (RFC 4861 §7.2.4).
fn neighbor(is_probe: bool) -> Draft {
    let (to, mac, flags) = if is_probe { (ALL_NODES, ALL_NODES_MAC, 0x20) } else { ([0; 16], [0; 6], 0x60) };
    let message = [&[136, 0, 0, 0, flags, 0, 0, 0][..], &OUR_IP6, &[2, 1], &OUR_MAC].concat();
    let packet = [&[0x60, 0, 0, 0, 0, message.len() as u8, 58, 255][..], &OUR_IP6, &to, &message].concat();
    let rule = Draft::answer(&ethernet(mac, OUR_MAC, 0x86dd, &packet))
        .at(12, &[0x86, 0xdd])
        .bits(14, 0xf0, 0x60)
        .at(20, &[58, 255])
        .at(54, &[135, 0])
        .at(62, &OUR_IP6)
        // From the source address on: with it the pseudo header's other two numbers make the whole (RFC 8200 §8.1).
        .checksum(56, 22..86, 58 + 32);
    if is_probe { rule.at(22, &[0; 16]) } else { rule.copy(6, 0, 6).copy(22, 38, 16) }
}

/// A rule for whole IPv4 packets to us without options.
fn over_ip(rule: Draft, protocol: u8) -> Draft {
    rule.at(12, &[8, 0, 0x45]).bits(20, 0x3f, 0).bits(21, 0xff, 0).at(23, &[protocol]).at(30, &OUR_IP)
}

/// An answer over IPv4 to whom the packet comes from.
fn back(protocol: u8, payload: &[u8]) -> Draft {
    let template = ethernet([0; 6], OUR_MAC, 0x0800, &ipv4(protocol, OUR_IP, [0; 4], 0x4000, payload));
    let rule = over_ip(Draft::answer(&template), protocol).copy(6, 0, 6).copy(26, 30, 4);
    rule.checksum(24, 14..34, 0)
}

/// An echo request with as many bytes of data, which are sent back (RFC 792).
fn echo(data: u8) -> Draft {
    let reply = std::vec![0; usize::from(8 + data)];
    let rule = back(1, &reply).at(16, &[0, 28 + data]).at(34, &[8, 0]);
    rule.copy(38, 38, 4 + data).checksum(36, 34..42 + data, 0)
}

/// A segment's flags.
fn flags(rule: Draft, mask: u8, value: u8) -> Draft {
    over_ip(rule, 6).bits(47, mask, value)
}

/// An answer without options or data, to a segment with such flags.
fn reset(mask: u8, value: u8, flags_of_answer: u8) -> Draft {
    let empty = Segment { flags: flags_of_answer, ..Segment::new(0, 0) };
    let bytes = Segment { from: 0, sequence: 0, ..empty }.bytes(OUR_IP, [0; 4]);
    let rule = back(6, &bytes).copy(34, 36, 2).copy(36, 34, 2).checksum(50, 26..54, 6 + 20);
    flags(rule, mask, value)
}

/// A segment with an acknowledgment: <SEQ=SEG.ACK><CTL=RST> (RFC 9293 §3.10.7.1).
fn reset_acknowledged() -> Draft {
    reset(ACK, ACK, RST).copy(42, 38, 4)
}

/// One without: <SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>. Its data are the packet's without both headers.
fn reset_unacknowledged(value: u8, header: u8) -> Draft {
    let counted = u32::from(value & SYN != 0) + u32::from(value & FIN != 0);
    let constant = counted.wrapping_sub(20 + u32::from(header));
    reset(ACK | SYN | FIN, value, RST | ACK).bits(46, 0xf0, (header / 4) << 4).sum(42, 38, 16, constant)
}

/// All of them.
pub fn rules() -> Vec<Draft> {
    let open = flags(Draft::wake(), SYN | ACK | FIN, SYN).at(36, &OPEN.to_be_bytes());
    std::vec![
        arp(),
        neighbor(true),
        neighbor(false),
        echo(56),
        flags(Draft::drop(), RST, RST),
        open,
        reset_acknowledged(),
        reset_unacknowledged(SYN, 40),
        reset_unacknowledged(SYN, 20),
        reset_unacknowledged(SYN | FIN, 20),
        reset_unacknowledged(FIN, 20),
        reset_unacknowledged(0, 20),
    ]
}
