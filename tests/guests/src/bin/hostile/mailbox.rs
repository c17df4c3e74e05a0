//! The mailbox page with everything wrong that can be wrong.

use crate::code::Attacker;
use hv_abi::mailbox::{
    INBOUND_CONSUMER, INBOUND_PRODUCER, MAGIC, OUTBOUND_CONSUMER, OUTBOUND_PRODUCER, OUTBOUND_SLOTS, PAGE_SIZE,
    SLOT_SIZE, SLOTS, VERSION, slot_offset,
};
use test_guests::{ring, timer};

/// How long the others get to empty a ring that is full.
const PATIENCE_NS: u64 = 50_000;

/// Random bytes and indices, and the doorbell.
pub(crate) fn page(attacker: &mut Attacker<'_>) {
    if !attacker.machine.mailbox {
        // The page is not there, and the doorbell no call.
        for _ in 0..attacker.rounds() / 10 {
            attacker.attempts += 1;
            attacker.faults += u64::from(ring::doorbell() != 0);
        }
        return;
    }
    for _ in 0..attacker.rounds() {
        spoil(attacker);
    }
}

fn spoil(attacker: &mut Attacker<'_>) {
    let offset = attacker.random.below(PAGE_SIZE as u64 / 4) as usize * 4;
    ring::publish(offset, attacker.random.interesting() as u32);
    let index = attacker.random.pick(&[OUTBOUND_PRODUCER, INBOUND_CONSUMER]);
    ring::publish(index, attacker.random.interesting() as u32);
    bell(attacker);
}

/// One frame, a spoiled page, or just the doorbell.
pub(crate) fn once(attacker: &mut Attacker<'_>) {
    match attacker.random.below(8) {
        0 if attacker.machine.mailbox => spoil(attacker),
        1 => bell(attacker),
        _ if !attacker.machine.mailbox => bell(attacker),
        2 => take_replies(),
        _ => {
            let produced = ring::load(OUTBOUND_PRODUCER);
            ring::write_bytes(slot_offset(OUTBOUND_SLOTS, produced), &frame(attacker));
            // What was spoiled is put right, or no frame would be taken any more.
            let consumed = ring::load(OUTBOUND_CONSUMER);
            let full = produced.wrapping_sub(consumed) >= SLOTS;
            ring::publish(OUTBOUND_PRODUCER, if full { consumed.wrapping_add(1) } else { produced.wrapping_add(1) });
            bell(attacker);
        }
    }
}

/// Frames with headers that are nearly right.
pub(crate) fn frames(attacker: &mut Attacker<'_>) {
    if !attacker.machine.mailbox {
        return;
    }
    for _ in 0..attacker.rounds() {
        let produced = ring::load(OUTBOUND_PRODUCER);
        if produced.wrapping_sub(ring::load(OUTBOUND_CONSUMER)) < SLOTS {
            ring::write_bytes(slot_offset(OUTBOUND_SLOTS, produced), &frame(attacker));
            ring::publish(OUTBOUND_PRODUCER, produced.wrapping_add(1));
        } else {
            take_replies();
            timer::sleep_until(timer::now() + timer::ticks(PATIENCE_NS));
        }
        bell(attacker);
        // Sometimes replies are taken, sometimes the inbound ring stays full.
        if attacker.random.below(4) == 0 {
            take_replies();
        }
    }
}

fn take_replies() {
    ring::publish(INBOUND_CONSUMER, ring::load(INBOUND_PRODUCER));
}

/// A good header for `hv` or the service partition with up to two fields spoiled, and a random body.
fn frame(attacker: &mut Attacker<'_>) -> [u8; SLOT_SIZE] {
    let random = &mut attacker.random;
    let mut bytes: [u8; SLOT_SIZE] = core::array::from_fn(|_| random.next() as u8);
    bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
    bytes[4] = VERSION;
    bytes[5] = random.below(2) as u8;
    bytes[6..8].copy_from_slice(&(random.below(2) as u16).to_le_bytes());
    bytes[12..14].copy_from_slice(&(random.below(217) as u16).to_le_bytes());
    bytes[14..24].fill(0);
    for _ in 0..random.below(3) {
        bytes[random.below(24) as usize] = random.interesting() as u8;
    }
    bytes
}

fn bell(attacker: &mut Attacker<'_>) {
    attacker.attempts += 1;
    attacker.faults += u64::from(ring::doorbell() != 0);
}
