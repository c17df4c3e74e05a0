//! Says what it has, then sleeps; ends on `o` (off), `r` (reset) or `c` (crash), and hangs on `h`.
#![no_std]
#![no_main]

use test_guests::{Machine, guest, heartbeat};

guest!(main);

fn main(machine: &Machine) {
    heartbeat::run("tiny", machine)
}
