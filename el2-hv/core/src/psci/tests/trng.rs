//! Random numbers against DEN0098.

use super::*;
use crate::psci::trng;
use proptest::prelude::*;

const INVALID: Outcome = Outcome::Return4([-2i64 as u64, 0, 0, 0]);

/// Bytes that are all different and none of which is zero.
const BYTES: [u8; 24] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 0xff];

fn random(function: u32, bits: u64) -> trng::RandomCall {
    match decode(function, [bits, 0, 0]) {
        PsciCall::Random(call) => call,
        call => panic!("{bits} bits: {call:?}"),
    }
}

#[test]
fn trng_is_version_1_0_and_lists_its_functions() {
    assert_eq!(answer(0x8400_0050, [0; 3]), Outcome::Return(0x1_0000));
    for function in [0x8400_0050u64, 0x8400_0051, 0x8400_0052, 0x8400_0053, 0xc400_0053] {
        assert_eq!(answer(0x8400_0051, [function, 0, 0]), Outcome::Return(0), "{function:#x}");
        assert_eq!(answer(0x8400_0051, [function | 0xdead << 32, 0, 0]), Outcome::Return(0), "a word counts");
        // Neither PSCI nor the architecture owns them.
        assert_eq!(answer(0x8400_000a, [function, 0, 0]), Outcome::Return(u64::MAX), "{function:#x}");
        assert_eq!(answer(0x8000_0001, [function, 0, 0]), Outcome::Return(u64::MAX), "{function:#x}");
    }
    for other in [0xc400_0050u64, 0x8400_0054, 0x8400_0000, 0x8400_004f, 0] {
        assert_eq!(answer(0x8400_0051, [other, 0, 0]), Outcome::Return(u64::MAX), "{other:#x}");
    }
    for function in [0x8400_004f, 0x8400_0054, 0x8400_005f, 0xc400_0050, 0xc400_0051, 0xc400_0052, 0xc400_0054] {
        assert_eq!(answer(function, [8, 0, 0]), Outcome::Return(u64::MAX), "{function:#x}");
    }
}

#[test]
fn the_sources_uuid_is_random_and_no_error() {
    // RFC 9562: version 4 in byte 6, variant 0b10 in byte 8.
    assert_eq!((trng::SOURCE_UUID[6] >> 4, trng::SOURCE_UUID[8] >> 6), (4, 0b10));
    // A W0 of -1 would say that there is none.
    let expected = [0x6533_1808, 0x4f4d_8919, 0x93bd_b3b3, 0x8156_d882];
    assert_eq!(answer(0x8400_0052, [0; 3]), Outcome::Return4(expected));
}

#[test]
fn a_length_is_that_of_three_registers_at_most() {
    for (function, most) in [(0x8400_0053, 96), (0xc400_0053, 192)] {
        for bits in 1..=most {
            assert_eq!(random(function, bits).bytes(), bits.div_ceil(8) as usize);
        }
        for bits in [0, most + 1, 1 << 20, 0xffff_ffff] {
            assert_eq!(answer(function, [bits, 0, 0]), INVALID, "{function:#x} of {bits}");
        }
    }
    // The 32-bit convention takes a word, the other all of the register (DEN0028 §3.1).
    assert_eq!(random(0x8400_0053, 0xdead_0000_0020).bytes(), 4);
    assert_eq!(answer(0xc400_0053, [0x1_0000_0020, 0, 0]), INVALID);
    assert_eq!(answer(0xc400_0053, [u64::MAX, 0, 0]), INVALID);
}

#[test]
fn entropy_stands_in_the_last_register_first() {
    let answer = |function, bits| random(function, bits).answer(Some(&BYTES));
    let whole = [0, 0xff17_1615_1413_1211, 0x100f_0e0d_0c0b_0a09, 0x0807_0605_0403_0201];
    assert_eq!(answer(0xc400_0053, 192), Outcome::Return4(whole));
    assert_eq!(answer(0xc400_0053, 68), Outcome::Return4([0, 0, 0x9, whole[3]]));
    assert_eq!(answer(0xc400_0053, 1), Outcome::Return4([0, 0, 0, 1]));
    assert_eq!(answer(0x8400_0053, 96), Outcome::Return4([0, 0x0c0b_0a09, 0x0807_0605, 0x0403_0201]));
    assert_eq!(answer(0x8400_0053, 33), Outcome::Return4([0, 0, 1, 0x0403_0201]));
}

#[test]
fn without_entropy_a_call_gets_none() {
    assert_eq!(random(0xc400_0053, 192).answer(None), Outcome::Return4([-3i64 as u64, 0, 0, 0]));
}

proptest! {
    #[test]
    fn no_bit_is_given_beyond_those_asked_for_and_each_of_those_is(bits in 1..=192u64, word: bool) {
        let (function, width, most) = if word { (0x8400_0053, 32, 96) } else { (0xc400_0053, 64, 192) };
        let bits = bits.min(most);
        let Outcome::Return4([0, high, middle, low]) = random(function, bits).answer(Some(&[0xff; 24])) else {
            return Err(TestCaseError::fail("no success"));
        };
        let registers = [low, middle, high];
        for at in 0..192 {
            let bit = registers[at / 64] >> (at % 64) & 1;
            let number = (at / 64 * width + at % 64) as u64;
            prop_assert_eq!(bit == 1, at % 64 < width && number < bits, "bit {}", at);
        }
    }

    #[test]
    fn a_client_finds_the_bytes_that_the_answer_was_made_of(bytes: [u8; 24]) {
        let Outcome::Return4(registers) = random(0xc400_0053, 192).answer(Some(&bytes)) else {
            return Err(TestCaseError::fail("no success"));
        };
        let mut found = [0; 24];
        trng::copy_entropy(&registers, &mut found);
        prop_assert_eq!(found, bytes);
    }
}
