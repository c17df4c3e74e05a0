//! Asks for random numbers by the firmware's interface (DEN0098), says which seed its tree has, and resets itself. Option:
//! `source`, `none` where the board has none.
#![no_std]
#![no_main]

use smccc::hvc64;
use test_guests::{Machine, guest, power, println, timer};

guest!(main);

const VERSION: u32 = 0x8400_0050;
const FEATURES: u32 = 0x8400_0051;
const GET_UUID: u32 = 0x8400_0052;
const RND_32: u32 = 0x8400_0053;
const RND_64: u32 = 0xc400_0053;

const INVALID_PARAMETERS: i64 = -2;
const NO_ENTROPY: i64 = -3;

/// Numbers that are compared with each other.
const NUMBERS: usize = 64;
/// Calls in a flood; what they would get is many times a VM's share.
const FLOOD: u64 = 20_000;
/// Most bytes that a VM may have at once, and in each second (docs/SECURITY.md); a call counts as 32 bytes.
const BURST: u64 = 8 << 10;
const RATE: u64 = 16 << 10;
const CALL: u64 = 32;

fn main(machine: &Machine) {
    let is_right = match machine.option("source") {
        Some("none") => machine.seed.is_none() && call(RND_64, 64) == [NO_ENTROPY as u64, 0, 0, 0],
        _ => is_described() && refuses_lengths() && never_repeats() && keeps_to_its_share(),
    };
    match machine.seed {
        Some(seed) => println!("TRNG seed {seed:#018x}"),
        None => println!("TRNG no seed"),
    }
    println!("TRNG {}", if is_right { "ok" } else { "failed" });
    power::reset();
}

fn call(function: u32, argument: u64) -> [u64; 4] {
    let mut arguments = [0; 17];
    arguments[0] = argument;
    let answer = hvc64(function, arguments);
    [answer[0], answer[1], answer[2], answer[3]]
}

/// Says what is wrong where something is.
fn expect(what: &str, is_so: bool) -> bool {
    if !is_so {
        println!("TRNG wrong: {what}");
    }
    is_so
}

fn is_described() -> bool {
    let there = [VERSION, FEATURES, GET_UUID, RND_32, RND_64].iter().all(|it| call(FEATURES, u64::from(*it))[0] == 0);
    let uuid = call(GET_UUID, 0);
    expect("version 1.0", call(VERSION, 0)[0] == 0x1_0000)
        && expect("features", there && call(FEATURES, 0x8400_0000)[0] as i64 == -1)
        && expect("a UUID", uuid[0] as u32 != u32::MAX && uuid == call(GET_UUID, 0))
}

fn refuses_lengths() -> bool {
    let lengths = [(RND_64, 0), (RND_64, 193), (RND_64, 1 << 32), (RND_64, u64::MAX), (RND_32, 0), (RND_32, 97)];
    let refused = [INVALID_PARAMETERS as u64, 0, 0, 0];
    expect("lengths are refused", lengths.iter().all(|(function, bits)| call(*function, *bits) == refused))
}

/// Numbers of 192 bits all differ, and of a few bits there are no more.
fn never_repeats() -> bool {
    let mut numbers = [[0; 4]; NUMBERS];
    numbers.iter_mut().for_each(|number| *number = call(RND_64, 192));
    let is_new = |at: usize| {
        let [status, words @ ..] = numbers[at];
        status == 0 && words.iter().all(|word| numbers[..at].iter().all(|other| !other[1..].contains(word)))
    };
    let [status, high, middle, low] = call(RND_32, 13);
    expect("numbers differ", (0..NUMBERS).all(is_new))
        && expect("13 bits", (status, high, middle) == (0, 0, 0) && low < 1 << 13)
}

/// A flood gets its share and no more, and afterwards there are numbers again.
fn keeps_to_its_share() -> bool {
    let begun = timer::now();
    let (mut given, mut refused) = (0, 0);
    for _ in 0..FLOOD {
        match call(RND_64, 192)[0] as i64 {
            0 => given += 1,
            NO_ENTROPY => refused += 1,
            _ => {}
        }
    }
    let elapsed = timer::nanoseconds(timer::now() - begun);
    let share = (BURST + RATE * elapsed.div_ceil(1_000_000) / 1000) / CALL + 1;
    if given > share || given + refused != FLOOD || refused == 0 {
        println!("TRNG wrong: {given} given and {refused} refused in {elapsed} ns, the share is {share}");
        return false;
    }
    // A token of one call comes in two milliseconds.
    let until = timer::now() + timer::ticks(1_000_000_000);
    while timer::now() < until {
        if call(RND_64, 192)[0] == 0 {
            return true;
        }
    }
    expect("numbers come back", false)
}
