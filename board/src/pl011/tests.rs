use super::*;
use core::fmt::Write;

/// Offsets of DDI0183 table 3-1, in words.
const DR: usize = 0;
const FR: usize = 0x18 / 4;
const IBRD: usize = 0x24 / 4;
const LCR_H: usize = 0x2c / 4;
const CR: usize = 0x30 / 4;
const IFLS: usize = 0x34 / 4;
const IMSC: usize = 0x38 / 4;
const MIS: usize = 0x40 / 4;
const ICR: usize = 0x44 / 4;

/// Registers that are plain memory.
struct Fake {
    words: Box<[u32; 18]>,
}

impl Fake {
    fn new() -> (Self, Pl011) {
        let mut words = Box::new([0; 18]);
        // UARTFR after reset: both FIFOs are empty (DDI0183 table 3-1).
        words[FR] = 0x90;
        let base = Pa(words.as_mut_ptr().expose_provenance() as u64);
        // SAFETY: `words` has the size of the registers, is as aligned, and outlives the driver in each test.
        let uart = unsafe { Pl011::new(base) };
        (Self { words }, uart.unwrap())
    }

    fn read(&self, index: usize) -> u32 {
        // SAFETY: a valid reference; volatile because the driver writes behind the compiler's back.
        unsafe { core::ptr::from_ref(&self.words[index]).read_volatile() }
    }

    fn write(&mut self, index: usize, value: u32) {
        // SAFETY: as in `read`.
        unsafe { core::ptr::from_mut(&mut self.words[index]).write_volatile(value) }
    }
}

#[test]
fn a_device_as_reset_leaves_it_is_enabled_with_8_bits_and_fifos() {
    let (mut fake, mut uart) = Fake::new();
    fake.write(CR, 0x300);
    fake.write(IMSC, 0x7ff);
    uart.init();
    assert_eq!(fake.read(CR), 0x301);
    assert_eq!(fake.read(LCR_H), 0x70);
    assert_eq!(fake.read(IMSC), 0);
    assert_eq!(fake.read(ICR), 0x7ff);
    assert_eq!(fake.read(IFLS), 0b010_000);
}

#[test]
fn the_line_that_firmware_has_set_is_kept() {
    let (mut fake, mut uart) = Fake::new();
    // 7 bits, even parity, two stop bits, FIFOs on; RTS on.
    fake.write(LCR_H, 0b101_1110);
    fake.write(CR, 0xb01);
    fake.write(IBRD, 26);
    uart.init();
    assert_eq!(fake.read(LCR_H), 0b101_1110);
    assert_eq!(fake.read(CR), 0xb01);
    assert_eq!(fake.read(IBRD), 26);
}

#[test]
fn bytes_that_wait_in_a_device_without_fifos_are_not_thrown_away_for_having_them() {
    let (mut device, mut uart) = Fake::new();
    device.write(FR, 0x80);
    device.write(0x2c / 4, 0x60);
    uart.init();
    assert_eq!(device.read(0x2c / 4) & 0x10, 0, "FEN stays off");
}

#[test]
fn firmware_without_fifos_gets_them_and_keeps_the_rest() {
    let (mut fake, mut uart) = Fake::new();
    fake.write(LCR_H, 0b100_0110);
    fake.write(CR, 0x101);
    uart.init();
    assert_eq!(fake.read(LCR_H), 0b101_0110);
    assert_eq!(fake.read(CR), 0x301);
}

#[test]
fn put_sends_when_there_is_room_and_refuses_at_once_when_not() {
    let (mut fake, mut uart) = Fake::new();
    assert_eq!(uart.put(b'x'), Ok(()));
    assert_eq!(fake.read(DR), u32::from(b'x'));
    fake.write(FR, 1 << 5);
    assert_eq!(uart.put(b'y'), Err(Full));
    assert_eq!(fake.read(DR), u32::from(b'x'));
}

#[test]
fn get_takes_a_byte_only_when_there_is_one() {
    let (mut fake, mut uart) = Fake::new();
    fake.write(FR, 0x80);
    fake.write(DR, 0x100 * 8 + 0x41);
    assert_eq!(uart.get(), Some(0x41), "an overrun says nothing of this byte");
    fake.write(FR, 1 << 4);
    assert_eq!(uart.get(), None);
}

#[test]
fn damaged_bytes_are_dropped_and_never_waited_behind() {
    let (mut fake, mut uart) = Fake::new();
    fake.write(FR, 0x80);
    for error in [0x100, 0x200, 0x400] {
        fake.write(DR, error | 0x41);
        assert_eq!(uart.get(), None);
    }
}

#[test]
fn masks_are_changed_one_cause_at_a_time() {
    let (mut fake, mut uart) = Fake::new();
    uart.enable(Causes::RECEIVE);
    assert_eq!(fake.read(IMSC), 0x50);
    uart.enable(Causes::TRANSMIT);
    assert_eq!(fake.read(IMSC), 0x70);
    uart.disable(Causes::RECEIVE);
    assert_eq!(fake.read(IMSC), 0x20);
    fake.write(MIS, 0x40);
    assert!(uart.pending().intersects(Causes::RECEIVE));
    assert!(!uart.pending().contains(Causes::RECEIVE));
    assert!(!uart.pending().intersects(Causes::TRANSMIT));
    uart.clear(Causes::TRANSMIT);
    assert_eq!(fake.read(ICR), 0x20);
}

#[test]
fn a_stuck_device_does_not_hold_the_last_report() {
    let (mut fake, mut uart) = Fake::new();
    fake.write(FR, 1 << 5 | 1 << 3);
    uart.put_blocking(b'x');
    uart.flush();
    assert_eq!(fake.read(DR), 0);
    fake.write(FR, 0);
    writeln!(uart.last_report(), "panic").unwrap();
    assert_eq!(fake.read(DR), u32::from(b'\n'));
}

#[test]
fn address_0_is_no_device() {
    // SAFETY: nothing is accessed.
    assert!(unsafe { Pl011::new(Pa(0)) }.is_none());
}
