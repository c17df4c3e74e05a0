//! What EL2 does with packets for this partition while it is off: who asks for its address is answered, a new connection
//! to the page wakes it, and every other one is refused.
//!
//! A connection ends with the life that served it, so that what is still sent on one is answered as by a host that knows
//! nothing of it (RFC 9293 §3.10.7.1). Whatever no rule names is dropped.

use hv_abi::wake::{ANSWER_MAX, CHECKSUMS_MAX, ChecksumField, CopyField, MATCHED, SumField, WakeAction, WakeRule};
use zerocopy::FromZeros;

use crate::description::NetworkSpec;

/// Ethernet (IEEE 802.3 §3.2): addresses and type; the least that a frame carries, its check sequence excepted.
const DESTINATION: usize = 0;
const SOURCE: usize = 6;
const ETHER_TYPE: usize = 12;
const FRAME_MIN: u8 = 60;
const TYPE_ARP: [u8; 2] = [0x08, 0x06];
const TYPE_IPV4: [u8; 2] = [0x08, 0x00];

/// ARP (RFC 826): from the kind of hardware to the operation, then the sender's two addresses and the target's.
const ARP: usize = 14;
const ARP_OPERATION: usize = 20;
const ARP_SENDER: usize = 22;
const ARP_TARGET: usize = 32;
const ARP_TARGET_ADDRESS: usize = 38;
const ARP_ADDRESSES: usize = 10;
/// Ethernet and IPv4, and the lengths of their addresses.
const ARP_KINDS: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// IPv4 (RFC 791 §3.1), without options.
const IP: usize = 14;
const IP_LENGTH: usize = IP + 2;
const IP_FRAGMENT: usize = IP + 6;
const IP_TTL: usize = IP + 8;
const IP_PROTOCOL: usize = IP + 9;
const IP_CHECKSUM: usize = IP + 10;
const IP_SOURCE: usize = IP + 12;
const IP_DESTINATION: usize = IP + 16;
const IP_HEADER: usize = 20;
/// Version 4, five words.
const IP_PLAIN: u8 = 0x45;
/// More fragments, and the offset of this one.
const IP_FRAGMENTED: [u8; 2] = [0x3f, 0xff];
const IP_WHOLE: [u8; 2] = [0x40, 0];
const PROTOCOL_TCP: u8 = 6;

/// TCP (RFC 9293 §3.1).
const TCP: usize = IP + IP_HEADER;
const TCP_SOURCE: usize = TCP;
const TCP_DESTINATION: usize = TCP + 2;
const TCP_SEQUENCE: usize = TCP + 4;
const TCP_ACKNOWLEDGMENT: usize = TCP + 8;
const TCP_OFFSET: usize = TCP + 12;
const TCP_FLAGS: usize = TCP + 13;
const TCP_CHECKSUM: usize = TCP + 16;
const TCP_HEADER: usize = 20;
const FIN: u8 = 1;
const SYN: u8 = 1 << 1;
const RST: u8 = 1 << 2;
const ACK: u8 = 1 << 4;

/// The rules, in their order.
pub fn rules(network: &NetworkSpec) -> [WakeRule; 6] {
    let port = network.port.to_be_bytes();
    [
        address_asked(network),
        // A segment from a group is no host's: it is not answered (RFC 1122 §4.2.3.10).
        tcp(network, WakeAction::Drop).bits(IP_SOURCE, &[0xe0], &[0xe0]),
        tcp(network, WakeAction::Drop).bits(TCP_FLAGS, &[RST], &[RST]),
        tcp(network, WakeAction::Wake).opens().bytes(TCP_DESTINATION, &port),
        // Of what comes without an acknowledgment only a SYN is answered: its length is 1, whatever it carries beside is
        // not taken, and the sender believes an answer to the SYN alone (RFC 9293 §3.10.7.3).
        tcp(network, WakeAction::Answer).opens().reset(network, RST | ACK).acknowledges_one(),
        tcp(network, WakeAction::Answer).bits(TCP_FLAGS, &[ACK], &[ACK]).reset(network, RST).goes_on(),
    ]
    .map(|draft| draft.0)
}

/// A rule that is being written.
struct Draft(WakeRule);

impl Draft {
    fn new(action: WakeAction, ether_type: [u8; 2]) -> Self {
        let mut rule = WakeRule::new_zeroed();
        rule.action = action as u8;
        Self(rule).bytes(ETHER_TYPE, &ether_type)
    }

    /// The frame has these bytes there.
    fn bytes(self, at: usize, value: &[u8]) -> Self {
        let mask = [0xff; MATCHED];
        self.bits(at, value, &mask[..value.len()])
    }

    /// The frame has these bits of `mask` there, besides those that were asked for before.
    fn bits(mut self, at: usize, value: &[u8], mask: &[u8]) -> Self {
        for (place, (value, mask)) in (at..).zip(value.iter().zip(mask)) {
            self.0.value[place] |= value;
            self.0.mask[place] |= mask;
        }
        self
    }

    /// A segment that opens a connection, and nothing else.
    fn opens(self) -> Self {
        self.bits(TCP_FLAGS, &[SYN], &[FIN | SYN | RST | ACK])
    }

    /// The answer has these bytes there.
    fn says(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0.answer[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// The answer has bytes of the frame there.
    fn copies(mut self, from: usize, to: usize, length: usize) -> Self {
        const { assert!(MATCHED <= 256 && ANSWER_MAX <= 256) };
        let free = self.0.copies.iter_mut().find(|copy| copy.length == 0);
        if let Some(copy) = free {
            *copy = CopyField { from: from as u8, to: to as u8, length: length as u8 };
        }
        self
    }

    /// The answer's frame goes from the partition's card to where the frame came from.
    fn back(mut self, network: &NetworkSpec, ether_type: [u8; 2]) -> Self {
        self.0.answer_length = FRAME_MIN;
        self.copies(SOURCE, DESTINATION, 6).says(SOURCE, &network.mac).says(ETHER_TYPE, &ether_type)
    }

    /// The answer is a segment without data that ends a connection, its numbers still 0.
    fn reset(self, network: &NetworkSpec, flags: u8) -> Self {
        let length = (IP_HEADER + TCP_HEADER) as u16;
        let mut draft = self
            .back(network, TYPE_IPV4)
            .says(IP, &[IP_PLAIN])
            .says(IP_LENGTH, &length.to_be_bytes())
            .says(IP_FRAGMENT, &IP_WHOLE)
            .says(IP_TTL, &[64])
            .says(IP_PROTOCOL, &[PROTOCOL_TCP])
            .says(IP_SOURCE, &network.address.octets())
            .copies(IP_SOURCE, IP_DESTINATION, 4)
            .copies(TCP_DESTINATION, TCP_SOURCE, 2)
            .copies(TCP_SOURCE, TCP_DESTINATION, 2)
            .says(TCP_OFFSET, &[((TCP_HEADER / 4) << 4) as u8, flags]);
        draft.0.checksums = checksums();
        draft
    }

    /// SEG.SEQ is 0, SEG.ACK behind the SYN.
    fn acknowledges_one(mut self) -> Self {
        let (to, wide) = (TCP_ACKNOWLEDGMENT as u8, TCP_SEQUENCE as u8);
        self.0.sum = SumField { to, wide, narrow: 0, reserved: 0, constant: 1.into() };
        self
    }

    /// SEG.SEQ is what the sender expects: its own SEG.ACK.
    fn goes_on(self) -> Self {
        self.copies(TCP_ACKNOWLEDGMENT, TCP_SEQUENCE, 4)
    }
}

/// Those of the IPv4 header, and of TCP, whose pseudo header's addresses stand right before it (RFC 9293 §3.1).
fn checksums() -> [ChecksumField; CHECKSUMS_MAX] {
    let pseudo = u16::from(PROTOCOL_TCP) + TCP_HEADER as u16;
    let field = |to: usize, start: usize, end: usize| ChecksumField {
        to: to as u8,
        start: start as u8,
        end: end as u8,
        ..ChecksumField::default()
    };
    let segment = ChecksumField { seed: pseudo.into(), ..field(TCP_CHECKSUM, IP_SOURCE, TCP + TCP_HEADER) };
    [field(IP_CHECKSUM, IP, TCP), segment]
}

/// Somebody asks for the partition's address: it is told (RFC 826).
fn address_asked(network: &NetworkSpec) -> Draft {
    let address = network.address.octets();
    Draft::new(WakeAction::Answer, TYPE_ARP)
        .bytes(ARP, &ARP_KINDS)
        .bytes(ARP_OPERATION, &[0, 1])
        .bytes(ARP_TARGET_ADDRESS, &address)
        .back(network, TYPE_ARP)
        .says(ARP, &ARP_KINDS)
        .says(ARP_OPERATION, &[0, 2])
        .says(ARP_SENDER, &network.mac)
        .says(ARP_SENDER + 6, &address)
        .copies(ARP_SENDER, ARP_TARGET, ARP_ADDRESSES)
}

/// A TCP segment to the partition's card and address, whole and without IPv4 options.
fn tcp(network: &NetworkSpec, action: WakeAction) -> Draft {
    Draft::new(action, TYPE_IPV4)
        .bytes(DESTINATION, &network.mac)
        .bytes(IP, &[IP_PLAIN])
        .bits(IP_FRAGMENT, &[0, 0], &IP_FRAGMENTED)
        .bytes(IP_PROTOCOL, &[PROTOCOL_TCP])
        .bytes(IP_DESTINATION, &network.address.octets())
}

#[cfg(test)]
mod tests;
