//! As `tiny`, from an image that takes three steps of `vm_copy_in`; checks that it arrived whole.
#![no_std]
#![no_main]

use test_guests::{Machine, guest, heartbeat, println};

guest!(main);

const WORDS: usize = 140 * 1024 / 8;

/// Word `i` of the filler.
const fn word(i: usize) -> u64 {
    (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

static FILLER: [u64; WORDS] = {
    let mut words = [0; WORDS];
    let mut i = 0;
    while i < WORDS {
        words[i] = word(i);
        i += 1;
    }
    words
};

fn main(machine: &Machine) {
    let damaged = (0..WORDS)
        .filter(|&i| {
            // SAFETY: inside FILLER; volatile, so that what was loaded is read and not what was compiled.
            let found = unsafe { FILLER.as_ptr().add(i).read_volatile() };
            found != word(i)
        })
        .count();
    println!("big: {WORDS} words, {damaged} damaged");
    heartbeat::run("big", machine)
}
