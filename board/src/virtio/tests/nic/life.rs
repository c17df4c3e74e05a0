//! A card is brought up, tells of itself, and is stopped.

use super::*;

/// Registers: the features that a driver takes, InterruptStatus, Status (§4.2.2).
const TAKEN: usize = 0x20;
const INTERRUPT: usize = 0x60;
const STATUS: usize = 0x70;
/// VIRTIO_NET_F_GUEST_CSUM, _MAC, _STATUS (§5.1.3).
const GUEST_CSUM_BIT: u32 = 1 << 1;
const MAC_BIT: u32 = 1 << 5;
const STATUS_BIT: u32 = 1 << 16;
/// Of the words in the configuration, the one with the status in its upper half.
const LINK: usize = 0x104;

#[test]
fn what_is_no_usable_card_is_named_and_left_in_reset() {
    let memory = Memory::new(MEMORY as usize);
    for (offset, value, error) in [
        (0x10, 0xffff_fffe, VirtioError::Lacks(1 << 32)),
        (0x34, 32, VirtioError::ShortQueue(32)),
        (0x34, 0, VirtioError::ShortQueue(0)),
    ] {
        let mut registers = registers(0, 1500);
        registers.write(offset, value);
        assert_eq!(start(&mut registers, &memory).map(drop), Err(error));
        assert_eq!(registers.read(STATUS), 0);
    }
}

#[test]
fn only_features_that_are_known_are_taken_and_an_smmu_is_respected() {
    let memory = Memory::new(MEMORY as usize);
    // The upper half is what is seen: VERSION_1, and ACCESS_PLATFORM, which reads as bit 1 as GUEST_CSUM does.
    for (offered, taken) in [(1, 1), (1 | GUEST_CSUM_BIT, 3), (u32::MAX, 3)] {
        let mut registers = registers(offered, 1500);
        let nic = start(&mut registers, &memory).unwrap();
        assert_eq!(registers.read(TAKEN), taken);
        // ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK (§2.1).
        assert_eq!(registers.read(STATUS), 15);
        drop(nic);
        assert_eq!(registers.read(STATUS), 0);
    }
}

#[test]
fn a_cards_shape_is_what_its_features_say_is_there() {
    let mut registers = registers(0, 1280);
    let found = registers.look().unwrap().unwrap();
    let mac = Some([0x02, 0, 0x52, 0x54, 0x56, 0x57]);
    for (features, shape) in [
        (0, Shape { mac: None, mtu: 1500, checksum: false }),
        (CSUM, Shape { mac: None, mtu: 1500, checksum: true }),
        (MAC, Shape { mac, mtu: 1500, checksum: false }),
        (MTU, Shape { mac: None, mtu: 1280, checksum: false }),
        (CSUM | MAC | MTU, Shape { mac, mtu: 1280, checksum: true }),
    ] {
        assert_eq!(read_shape(&found.link, features), Ok(shape));
    }
}

#[test]
fn an_mtu_is_used_between_68_and_1500_bytes() {
    let memory = Memory::new(MEMORY as usize);
    let cases = [(0, 68), (67, 68), (68, 68), (1280, 1280), (1500, 1500), (1501, 1500), (9000, 1500), (u16::MAX, 1500)];
    for (told, used) in cases {
        let mut registers = registers(MTU_BIT | MAC_BIT, told);
        let nic = start(&mut registers, &memory).unwrap();
        assert_eq!((nic.shape().mtu, nic.shape().longest()), (used, u32::from(used) + 18), "{told}");
    }
}

#[test]
fn a_link_is_up_where_the_card_says_so_or_says_nothing() {
    for (features, status, up) in [(STATUS_BIT, 0, false), (STATUS_BIT, 1, true), (STATUS_BIT, 2, false), (0, 0, true)]
    {
        let mut card = Card::new(features);
        card.registers.write(LINK, status << 16);
        assert_eq!(card.nic.link_is_up(), up);
    }
}

#[test]
fn an_interrupt_tells_frames_from_a_change_of_the_configuration() {
    let mut card = Card::new(STATUS_BIT);
    for (status, changed) in [(0, false), (1, false), (2, true), (3, true)] {
        card.registers.write(INTERRUPT, status);
        assert_eq!(card.nic.acknowledge(), changed);
        assert_eq!(card.registers.read(INTERRUPT + 4), status, "InterruptACK");
    }
}

#[test]
fn a_card_that_is_stopped_is_reset_and_has_neither_frames_nor_places() {
    let mut card = Card::new(EVENT_INDEX);
    let (header, frame) = frame(7, 60);
    assert!(card.send(header, &frame) && card.leave().is_some() && card.send(header, &frame));
    assert!(card.arrive(&header, &frame) && card.arrive(&header, &frame));
    let received = card.nic.received().unwrap().unwrap();
    let (placed, _) = card.nic.place().unwrap();
    assert!(!card.nic.needs_reset());
    // DEVICE_NEEDS_RESET (§2.1).
    card.registers.write(STATUS, card.registers.read(STATUS) | 64);
    assert!(card.nic.needs_reset());
    assert_eq!(card.nic.stop(), Ok(()));
    assert_eq!((card.registers.read(STATUS), card.nic.needs_reset()), (0, false));
    assert_eq!((card.nic.received(), card.nic.arm()), (Ok(None), false));
    assert_eq!((card.nic.reclaim(), card.nic.free(), card.nic.place()), (Ok(0), 0, None));
    assert!(!card.nic.send(placed, header, 60));
    card.nic.give_back(received.slot);
    card.registers.write(NOTIFY, 0xffff);
    card.nic.notify();
    card.nic.refill_notify();
    assert_eq!(card.registers.read(NOTIFY), 0xffff);
}
