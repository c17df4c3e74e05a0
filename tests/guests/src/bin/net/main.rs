//! Sends and receives by its first network card, with the driver that EL2 has for the board's, by `role`:
//! `send`: `count` (1000) frames of 1,514 bytes to an address that nobody here has, `batch` (1) for each notification, and
//! `gap` (0) rounds of a loop between two of them.
//! `flood`: a SYN to the service partition each `period-us` (100) of the board's time from `from-ms` (200) on for `for-ms`
//! (2000), with a WFI between; with `frames=0` it wakes and sends nothing.
//! `ask`: an HTTP request from `rounds` (10) connections, one in `pause-ms` (2000), so that the partition is off before
//! each, and prints counts from the SYN to the status line, its own instructions subtracted: `COLD <count> ...`.
#![no_std]
#![no_main]

extern crate alloc;

mod card;
mod client;
mod tcp;

use hv_abi::guest_map::PPI_VIRTUAL_TIMER;
use test_guests::{Machine, cpu, gic, guest, power, println, read_register, timer};

use card::Card;

guest!(main);

/// Bytes of the longest frame of an Ethernet, without its check sequence.
const FRAME: usize = 1514;
/// Nobody's address.
const NOBODY: [u8; 6] = [0x02, 9, 9, 9, 9, 9];

fn main(machine: &Machine) {
    gic::init_distributor();
    gic::init_cpu();
    gic::enable_ppi(PPI_VIRTUAL_TIMER);
    let mut card = Card::open();
    match machine.option("role") {
        Some("flood") => flood(machine, &mut card),
        Some("ask") => client::ask(machine, &mut card),
        _ => send(machine, &mut card),
    }
}

fn send(machine: &Machine, card: &mut Card) {
    let (count, batch, gap) = (machine.number("count", 1000), machine.number("batch", 1), machine.number("gap", 0));
    let mut frame = [0x5a; FRAME];
    frame[..6].copy_from_slice(&NOBODY);
    frame[6..12].copy_from_slice(&card.address());
    // A type for experiments (IEEE 802 §9.2.3), of which nobody knows anything.
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    let mut sent = 0;
    while sent < count {
        let now = batch.min(count - sent);
        (0..now).for_each(|_| card.put(&frame));
        card.notify();
        card.await_sent();
        sent += now;
        for round in 0..gap {
            core::hint::black_box(round);
        }
    }
    println!("NET sent {sent}");
    power::off();
}

/// The board's time, which is the same for all guests.
fn now() -> u64 {
    read_register!("cntpct_el0")
}

fn flood(machine: &Machine, card: &mut Card) {
    let milliseconds = |key, default| timer::ticks(machine.number(key, default) * 1_000_000);
    let (from, length) = (milliseconds("from-ms", 200), milliseconds("for-ms", 2000));
    let period = timer::ticks(machine.number("period-us", 100) * 1000);
    let frames = machine.number("frames", 1) != 0;
    // The virtual counter, by which the timer goes, differs from the board's time by a constant.
    let offset = now() - timer::now();
    let syn = tcp::syn(card.address(), 0x8000);
    let (mut at, mut sent) = (from, 0_u64);
    while at < from + length {
        timer::sleep_until(at - offset);
        if frames {
            card.put(&syn);
            card.notify();
            card.await_sent();
            sent += 1;
        }
        // A period that has passed already is none.
        at = (at + period).max(now());
    }
    println!("NET sent {sent}");
    loop {
        cpu::wait();
    }
}
