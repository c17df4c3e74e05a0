//! Plays the driver of a network card: frames that are right, nearly right, and nothing like it, by others' names too.

use crate::code::Attacker;
use crate::virtio::{Device, ENTRIES, TABLE, describe, poke};
use hv_abi::guest_map::NIC_SLOT;

/// The first card. What is sent and received is behind what the disk reads and writes.
const CARD: Device = Device {
    slot: NIC_SLOT,
    // Indirect tables, event index, merged buffers, checksums, segments in both directions: any of them.
    features: 1 << 28 | 1 << 29 | 1 << 15 | 0b11 | 1 << 7 | 1 << 8 | 1 << 11 | 1 << 12,
    rings: 0x2_8000,
    data: 0x24_0000,
    data_size: 0x4_0000,
    ask,
    header,
};

/// Sets the card up, and sends and receives.
pub(crate) fn frames(attacker: &mut Attacker<'_>) {
    CARD.requests(attacker);
}

/// One frame, or some other thing that a driver does.
pub(crate) fn frame(attacker: &mut Attacker<'_>) {
    CARD.request(attacker);
}

/// struct virtio_net_hdr (virtio 1.2 §5.1.6): of an ordinary frame, of one with work left to do, and of none.
fn header(attacker: &mut Attacker<'_>, at: u64) {
    let mut bytes = [0; 16];
    match attacker.random.below(16) {
        0..12 => {}
        // NEEDS_CSUM, perhaps with TCPv4 or TCPv6 segments.
        12..15 => {
            let gso = attacker.random.pick(&[0, 0, 1, 4, 0x81, 5]);
            let (size, start) = (attacker.random.pick(&[0, 1, 536, 1448, 9000]), attacker.random.below(100));
            bytes[0] = 1;
            bytes[1] = gso as u8;
            bytes[2..4].copy_from_slice(&(attacker.random.below(120) as u16).to_le_bytes());
            bytes[4..6].copy_from_slice(&(size as u16).to_le_bytes());
            bytes[6..8].copy_from_slice(&(start as u16).to_le_bytes());
            bytes[8..10].copy_from_slice(&(attacker.random.pick(&[0, 6, 16, 16, 2000]) as u16).to_le_bytes());
        }
        _ => {
            bytes[..8].copy_from_slice(&attacker.random.next().to_le_bytes());
            bytes[8..].copy_from_slice(&attacker.random.interesting().to_le_bytes());
        }
    }
    poke(at, &bytes);
}

/// A buffer for a frame that comes, or a frame: header and data, in the queue's table or an indirect one.
fn ask(attacker: &mut Attacker<'_>, queue: u64) {
    let base = CARD.base(attacker, queue);
    let top = CARD.small(attacker);
    header(attacker, top);
    let data = attacker.scratch() + CARD.data + attacker.random.below(CARD.data_size / 64) * 64;
    let length = attacker.random.pick(&[14, 60, 60, 342, 1514, 1518, 1519, 4096, 65_550]);
    addresses(attacker, data);
    let indirect = attacker.random.below(2) == 0;
    let head = attacker.random.below(ENTRIES - 4);
    let (table, first) = if indirect { (base + TABLE, 0) } else { (base, head) };
    // The first queue is the one to receive by, so that its buffers are the device's to write.
    let writes = u64::from((queue == 0) != (attacker.random.below(16) == 0)) << 1;
    describe(table, first, [top, 12, 1 | writes, first + 1]);
    describe(table, first + 1, [data, length, writes, 0]);
    if indirect {
        describe(base, head, [table, 32, 4, 0]);
    }
    CARD.offer(base, head);
}

/// For everybody, somebody, or nobody; by itself, or by another; as a protocol that somebody has to look at.
fn addresses(attacker: &mut Attacker<'_>, at: u64) {
    let debian = crate::mix::NEIGHBOUR;
    let own = crate::mix::OWN;
    let to = attacker.random.pick(&[[0xff; 6], debian, debian, own, [0x33, 0x33, 0, 0, 0, 1], [2, 9, 9, 9, 9, 9]]);
    let from = attacker.random.pick(&[own, own, own, own, own, own, own, debian, [0xff; 6], [0; 6]]);
    let kind = attacker.random.pick(&[[8, 0], [8, 6], [0x86, 0xdd], [0x81, 0], [0, 46]]);
    poke(at, &to);
    poke(at + 6, &from);
    poke(at + 12, &kind);
    let noise = attacker.random.next();
    poke(at + 14, &noise.to_le_bytes());
    // IPv4 and IPv6 with a length, so that some of it is looked at further.
    if attacker.random.below(2) == 0 {
        poke(at + 14, &[if kind == [0x86, 0xdd] { 0x60 } else { 0x45 }]);
        poke(at + 23, &[attacker.random.pick(&[1, 6, 17, 58])]);
    }
}
