//! Holds EL2's `memcpy` and `memset` against loops over bytes: every size up to some rounds, every alignment of both ends.
#![no_std]
#![no_main]

use core::hint::black_box;
use test_guests::{Machine, guest, println};

#[allow(dead_code, reason = "EL2 copies through it; here the compiler calls what is in it")]
#[path = "../../../../el2-hv/arch/src/mem.rs"]
mod mem;

guest!(main);

/// More than three rounds.
const SIZE_MAX: usize = 260;
const OFFSETS: usize = 17;
const ROOM: usize = SIZE_MAX + 2 * OFFSETS;

fn main(_: &Machine) {
    let from: [u8; ROOM] = core::array::from_fn(|index| (index * 7 + 3) as u8);
    for size in 0..=SIZE_MAX {
        for offset in 0..OFFSETS * OFFSETS {
            let (source, target) = (offset / OFFSETS, offset % OFFSETS);
            let mut to = [0xee; ROOM];
            black_box(&mut to)[target..target + size].copy_from_slice(black_box(&from[source..source + size]));
            check(&to, target, size, |index| from[source + index]);
            black_box(&mut to)[target..target + size].fill(black_box(offset as u8));
            check(&to, target, size, |_| offset as u8);
        }
    }
    println!("COPIES ok");
}

/// What was written is there, and nothing beside it.
fn check(bytes: &[u8; ROOM], start: usize, size: usize, written: impl Fn(usize) -> u8) {
    for (index, byte) in bytes.iter().enumerate() {
        let expected = if (start..start + size).contains(&index) { written(index - start) } else { 0xee };
        assert!(*byte == expected, "byte {index} of {size} at {start}: {byte:#x}, not {expected:#x}");
    }
}
