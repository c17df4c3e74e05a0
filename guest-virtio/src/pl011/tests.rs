//! Registers against DDI0183, input held for drivers that start as Linux's does, and random
//! accesses against an independent model of the FIFO.

use super::*;
use crate::testing::Random;
use std::collections::VecDeque;

const DR: u64 = 0x00;
const FR: u64 = 0x18;
const LCR_H: u64 = 0x2c;
const CR: u64 = 0x30;
const IMSC: u64 = 0x38;
const RIS: u64 = 0x3c;
const MIS: u64 = 0x40;
const ICR: u64 = 0x44;

const RXIM: u64 = 1 << 4;
const TXIM: u64 = 1 << 5;
const RTIM: u64 = 1 << 6;

fn get(uart: &mut Pl011, offset: u64) -> u64 {
    uart.read(offset, 4, TxState::Room)
}

fn set(uart: &mut Pl011, offset: u64, value: u64) {
    assert_eq!(uart.write(offset, 4, value, TxState::Room), UartEffect::None);
}

/// A driver that is ready: FIFOs on, UART, receiver and transmitter on, receive unmasked.
fn started() -> Pl011 {
    let mut uart = Pl011::new();
    set(&mut uart, LCR_H, 0x70);
    set(&mut uart, CR, 0x301);
    set(&mut uart, IMSC, RXIM | RTIM);
    uart
}

#[test]
fn reset_values_are_those_of_table_3_1() {
    let mut uart = Pl011::new();
    for (offset, expected) in [
        (0x04, 0),
        (FR, 0x90),
        (0x20, 0),
        (0x24, 0),
        (0x28, 0),
        (LCR_H, 0),
        (CR, 0x300),
        (0x34, 0x12),
        (IMSC, 0),
        (RIS, 0),
        (MIS, 0),
        (0x48, 0),
    ] {
        assert_eq!(get(&mut uart, offset), expected, "{offset:#x}");
    }
    assert!(!uart.line());
    assert!(!uart.wants_input());
}

#[test]
fn identification_is_a_primecell_pl011() {
    let mut uart = Pl011::new();
    let ids: Vec<u64> = (0..8).map(|n| get(&mut uart, 0xfe0 + 4 * n)).collect();
    assert_eq!(ids, [0x11, 0x10, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1]);
}

#[test]
fn registers_keep_the_bits_they_have() {
    let mut uart = Pl011::new();
    for (offset, kept) in [
        (0x20, 0xff),
        (0x24, 0xffff),
        (0x28, 0x3f),
        (LCR_H, 0xff),
        (CR, 0xff87),
        (0x34, 0x3f),
        (IMSC, 0x7ff),
        (0x48, 0x7),
        // Read-only, write-only and absent ones.
        (0x04, 0),
        (FR, 0x90),
        (RIS, 0),
        (MIS, 0),
        (ICR, 0),
        (0x4c, 0),
        (0x100, 0),
        (0xfe0, 0x11),
    ] {
        set(&mut uart, offset, u64::MAX);
        assert_eq!(get(&mut uart, offset), kept, "{offset:#x}");
    }
}

#[test]
fn access_sizes_give_the_registers_bytes() {
    let mut uart = Pl011::new();
    set(&mut uart, 0x24, 0xabcd);
    for (offset, size, expected) in [(0x24, 1, 0xcd), (0x25, 1, 0xab), (0x24, 2, 0xabcd), (0x26, 2, 0), (0x24, 8, 0)] {
        assert_eq!(uart.read(offset, size, TxState::Room), expected, "{offset:#x} {size}");
    }
    let none = UartEffect::None;
    assert_eq!(uart.write(0x24, 8, 1, TxState::Room), none);
    assert_eq!(uart.write(0x25, 1, 1, TxState::Room), none);
    assert_eq!(uart.write(DR, 8, 1, TxState::Room), none);
    assert_eq!(get(&mut uart, 0x24), 0xabcd);
    assert_eq!(uart.write(DR, 1, 0x41, TxState::Room), UartEffect::Transmit(0x41));
    assert_eq!(uart.write(DR, 4, 0xfff_ff42, TxState::Room), UartEffect::Transmit(0x42));
}

#[test]
fn flag_register_shows_both_fifos() {
    let mut uart = started();
    assert_eq!(uart.read(FR, 4, TxState::Room), 0x90, "TXFE, RXFE");
    assert_eq!(uart.read(FR, 4, TxState::Full), 0x38, "TXFF, RXFE, BUSY");
    uart.receive(b'a');
    assert_eq!(uart.read(FR, 4, TxState::Room), 0x80, "TXFE");
    while uart.receive(b'a') {}
    assert_eq!(uart.read(FR, 4, TxState::Room), 0xc0, "TXFE, RXFF");
    assert_eq!(uart.read(FR, 4, TxState::Full), 0x68, "TXFF, RXFF, BUSY");
}

#[test]
fn fifo_holds_32_bytes_or_one_without_fen() {
    let mut uart = started();
    let taken = (0..100).filter(|&n| uart.receive(n)).count();
    assert_eq!(taken, 32);
    let bytes: Vec<u64> = (0..32).map(|_| get(&mut uart, DR)).collect();
    assert_eq!(bytes, (0..32).collect::<Vec<u64>>());
    assert_eq!(get(&mut uart, DR), 0);

    set(&mut uart, LCR_H, 0x60);
    assert!(uart.receive(1) && !uart.receive(2));
    assert_eq!(get(&mut uart, FR) & 0x50, 0x40);
    assert_eq!(get(&mut uart, DR), 1);
}

#[test]
fn receive_interrupts_last_until_the_fifo_is_empty() {
    let mut uart = started();
    uart.receive(1);
    uart.receive(2);
    assert_eq!((get(&mut uart, RIS), get(&mut uart, MIS)), (0x50, 0x50));
    assert!(uart.line());
    get(&mut uart, DR);
    assert!(uart.line());
    get(&mut uart, DR);
    assert_eq!((get(&mut uart, RIS), uart.line()), (0, false));
    // Cleared by hand, the next byte raises them again.
    uart.receive(3);
    set(&mut uart, ICR, 0x50);
    assert!(!uart.line());
    uart.receive(4);
    assert!(uart.line());
}

#[test]
fn transmit_interrupt_comes_with_each_byte_that_found_room() {
    let mut uart = started();
    set(&mut uart, IMSC, TXIM);
    assert!(!uart.line(), "not for being empty: only for passing the level");
    assert_eq!(uart.write(DR, 4, 1, TxState::Room), UartEffect::Transmit(1));
    assert!(uart.line());
    set(&mut uart, ICR, TXIM);
    assert!(!uart.line());
    assert_eq!(uart.write(DR, 4, 2, TxState::Room), UartEffect::Transmit(2));
    assert!(uart.line());
    assert_eq!(uart.write(DR, 4, 3, TxState::Full), UartEffect::Transmit(3));
    assert!(!uart.line());
    uart.transmit_room();
    assert!(uart.line());
    set(&mut uart, IMSC, 0);
    assert!(!uart.line());
    assert_eq!(get(&mut uart, RIS), TXIM);
}

#[test]
fn input_is_wanted_only_with_uart_receiver_and_interrupt_on() {
    for (control, mask, expected) in [
        (0x301, RXIM, true),
        (0x301, RTIM, true),
        (0x301, RXIM | RTIM | TXIM, true),
        (0x301, 0, false),
        (0x301, TXIM, false),
        (0x300, RXIM, false),
        (0x101, RXIM, false),
    ] {
        let mut uart = Pl011::new();
        set(&mut uart, CR, control);
        set(&mut uart, IMSC, mask);
        assert_eq!(uart.wants_input(), expected, "CR {control:#x} IMSC {mask:#x}");
    }
}

#[test]
fn input_is_wanted_only_while_the_fifo_has_room() {
    let mut uart = started();
    while uart.wants_input() {
        assert!(uart.receive(0));
    }
    assert!(!uart.receive(0));
    get(&mut uart, DR);
    assert!(uart.wants_input());
}

/// What Linux's amba-pl011.c does from boot to an open tty, a message now and then.
#[test]
fn linux_gets_no_input_before_it_has_emptied_the_fifo() {
    let mut uart = Pl011::new();
    let print = |uart: &mut Pl011| {
        for byte in *b"[    0.000000] Booting Linux\r\n" {
            assert_eq!(get(uart, FR) & 0x20, 0);
            assert_eq!(uart.write(DR, 4, byte.into(), TxState::Room), UartEffect::Transmit(byte));
            assert_eq!(get(uart, FR) & 0x08, 0);
            assert!(!uart.wants_input());
        }
    };
    print(&mut uart);
    for (offset, value) in [(IMSC, 0), (ICR, 0xffff), (CR, 0x301)] {
        set(&mut uart, offset, value);
        assert!(!uart.wants_input());
    }
    print(&mut uart);
    // Start-up: the mask is opened while the UART is off, and closed again.
    for (offset, value) in [
        (CR, 0x300),
        (ICR, 0x7f0),
        (IMSC, RXIM | RTIM),
        (IMSC, 0),
        (0x34, 0x12),
        (LCR_H, 0x70),
        (CR, 0xb01),
        (ICR, 0x50),
    ] {
        set(&mut uart, offset, value);
        assert!(!uart.wants_input(), "{offset:#x}");
    }
    // It reads until RXFE and takes what it finds for noise.
    assert_eq!(get(&mut uart, FR) & 0x10, 0x10);
    assert!(!uart.wants_input());
    set(&mut uart, IMSC, RXIM | RTIM);
    assert!(uart.wants_input());
    print_while_ready(&mut uart);
    // Throttled: the mask closes, and input waits with the caller.
    set(&mut uart, IMSC, 0);
    assert!(!uart.wants_input());
}

fn print_while_ready(uart: &mut Pl011) {
    get(uart, FR);
    assert_eq!(uart.write(DR, 4, 0x41, TxState::Room), UartEffect::Transmit(0x41));
    assert!(uart.wants_input());
}

#[test]
fn polling_guest_gets_one_byte_for_each_look() {
    // Neither CR nor IMSC is ever written: QEMU serves such a guest. With FIFOs and without.
    for line_control in [0x70, 0] {
        let mut uart = Pl011::new();
        set(&mut uart, LCR_H, line_control);
        let mut input = VecDeque::from(*b"hello");
        let mut heard = Vec::new();
        for look in 1..200 {
            if get(&mut uart, FR) & 0x10 == 0 {
                heard.push(get(&mut uart, DR) as u8);
            }
            if uart.wants_input() {
                assert!(look >= u32::from(POLLS));
                assert!(uart.receive(input.pop_front().unwrap_or(b'.')));
                assert!(!uart.wants_input());
            }
        }
        assert!(heard.starts_with(b"hello...."));
    }
}

#[test]
fn guest_that_reads_the_data_register_blindly_is_polling_too() {
    let mut uart = Pl011::new();
    for _ in 0..POLLS {
        assert!(!uart.wants_input());
        assert_eq!(get(&mut uart, DR), 0);
    }
    assert!(uart.wants_input());
}

#[test]
fn writer_that_waits_for_room_is_not_polling() {
    let mut uart = Pl011::new();
    for _ in 0..1000 {
        uart.read(FR, 4, TxState::Full);
        assert!(!uart.wants_input());
    }
}

#[test]
fn starting_a_driver_ends_polling() {
    for offset in [LCR_H, CR, IMSC] {
        let mut uart = Pl011::new();
        for _ in 0..100 {
            get(&mut uart, FR);
        }
        assert!(uart.wants_input());
        set(&mut uart, offset, 0);
        assert!(!uart.wants_input(), "{offset:#x}");
    }
}

#[test]
fn random_accesses_lose_and_repeat_no_byte() {
    let random = Random::new(0x011);
    let mut uart = Pl011::new();
    let mut model = VecDeque::new();
    for _ in 0..200_000 {
        let tx = random.pick(&[TxState::Room, TxState::Full]);
        let offset = random.pick(&[DR, DR, FR, LCR_H, CR, IMSC, ICR, RIS, MIS, 0xfe0, random.below(0x1000)]);
        let size = random.pick(&[1, 2, 4, 8, 3]);
        match random.below(3) {
            0 => {
                let byte = random.next() as u8;
                let taken = uart.receive(byte);
                assert!(taken || !uart.wants_input());
                if taken {
                    model.push_back(byte);
                }
                assert!(model.len() <= FIFO_DEPTH);
            }
            1 => {
                let value = uart.read(offset, size, tx);
                if offset == DR && matches!(size, 1 | 2 | 4) {
                    assert_eq!(value, u64::from(model.pop_front().unwrap_or(0)));
                }
                assert!(value <= 0xffff);
            }
            _ => {
                let value = random.next();
                let expected = match (offset, size) {
                    (DR, 1..=4) => UartEffect::Transmit(value as u8),
                    _ => UartEffect::None,
                };
                assert_eq!(uart.write(offset, size, value, tx), expected);
            }
        }
        let (raw, masked) = (get(&mut uart, RIS), get(&mut uart, MIS));
        assert_eq!(masked, raw & get(&mut uart, IMSC));
        assert_eq!(uart.line(), masked != 0);
        assert!(raw & 0x50 == 0 || !model.is_empty(), "no receive interrupt without a byte");
    }
}

#[test]
fn a_console_that_prints_before_the_line_is_opened_gets_no_input() {
    const UARTEN_TXE: u64 = 0x101;
    const RXE: u64 = 0x200;
    let mut uart = Pl011::new();
    let put = |uart: &mut Pl011, offset, value| {
        let _ = uart.write(offset, 4, value, TxState::Room);
    };
    // Set-up of the console: the receive interrupts are unmasked and stay so.
    put(&mut uart, 0x38, 0x50);
    // A line is printed: the UART is on meanwhile, its receiver from reset.
    put(&mut uart, 0x30, UARTEN_TXE | RXE);
    assert!(!uart.wants_input());
    put(&mut uart, 0x00, u64::from(b'x'));
    uart.settle();
    assert!(!uart.wants_input());
    put(&mut uart, 0x30, RXE);
    // The line is opened: on, interrupts cleared, FIFO emptied, unmasked.
    put(&mut uart, 0x30, UARTEN_TXE | RXE);
    assert!(!uart.wants_input());
    put(&mut uart, 0x44, 0x50);
    uart.settle();
    assert!(!uart.wants_input(), "what comes now would be emptied out");
    put(&mut uart, 0x38, 0x50);
    assert!(uart.wants_input());
    // From then on printing changes nothing.
    put(&mut uart, 0x30, UARTEN_TXE | RXE);
    put(&mut uart, 0x00, u64::from(b'x'));
    assert!(uart.wants_input());
}

#[test]
fn a_driver_that_unmasks_first_and_enables_last_gets_input_when_it_has_settled() {
    let mut uart = Pl011::new();
    for (offset, value) in [(0x38, 0x10), (0x30, 0x301)] {
        let _ = uart.write(offset, 4, value, TxState::Room);
    }
    assert!(!uart.wants_input());
    uart.settle();
    assert!(uart.wants_input());
}
