//! The pool against RFC 8439, and by what must never be seen; the firmware's client against a fake of DEN0098.

mod firmware;

use super::*;
use proptest::prelude::*;
use std::collections::HashSet;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Key streams of RFC 8439 appendix A.1 (nonce 0): test vectors 1 and 2 of the zero key, blocks 0 and 1, and 4 of the key
/// 00 ff 00 .. 00, block 2.
const ZERO_KEY: [&str; 2] = [
    "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586",
    "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f",
];
const OTHER_KEY_BLOCK_2: &str = "72d54dfbf12ec44b362692df94137f328fea8da73990265ec1bbbea1ae9af0ca13b25aa26cb4a648cb9b9d1be65b2c0924a66c54d545ec1b7374f4872e99f096";

fn pool(key: [u8; KEY]) -> Pool {
    Pool { key, seeded: SEED_BYTES }
}

/// A pool with a seed of its own.
fn seeded(with: u64) -> Pool {
    let mut pool = Pool::new();
    pool.seed(&[with.to_le_bytes(); 4].concat());
    pool
}

fn draw<const N: usize>(pool: &mut Pool) -> [u8; N] {
    let mut into = [0; N];
    pool.draw(&mut into).expect("a seeded pool");
    into
}

#[test]
fn a_draw_is_the_key_stream_behind_the_next_key() {
    let stream = ZERO_KEY.map(bytes).concat();
    let mut pool = pool([0; KEY]);
    assert_eq!(draw::<96>(&mut pool)[..], stream[32..]);
    assert_eq!(pool.key[..], stream[..32]);
    let mut key = [0; KEY];
    key[1] = 0xff;
    assert_eq!(draw::<160>(&mut super::tests::pool(key))[96..], bytes(OTHER_KEY_BLOCK_2));
}

#[test]
fn what_is_absorbed_is_added_to_the_key_with_its_end() {
    let next = bytes(ZERO_KEY[0])[..32].to_vec();
    // The key, the input and the end of its piece come to the zero key.
    let mut key = [0; KEY];
    key[..3].copy_from_slice(&[0x11, 0x22, 0x80]);
    let mut short = pool(key);
    short.absorb(&[0x11, 0x22]);
    assert_eq!(short.key[..], next);
    let mut long = pool([0x55; KEY]);
    long.key[31] = 0x80;
    long.absorb(&[0x55; 31]);
    assert_eq!(long.key[..], next);
    // 32 bytes are two pieces: the second changes the key that the first has led to.
    let mut pieces = pool([0; KEY]);
    pieces.key[..31].fill(0x55);
    pieces.key[31] = 0x80;
    let mut again = pool(next.clone().try_into().unwrap());
    pieces.absorb(&[0x55; 32]);
    again.absorb(&[0x55]);
    assert!(pieces.key == again.key && pieces.key[..] != next);
}

#[test]
fn nothing_is_given_before_32_bytes_of_a_real_source() {
    let mut pool = Pool::new();
    let mut into = [7; 16];
    pool.absorb(&[1; 1000]);
    for length in [0, 1, 24, 6] {
        pool.seed(&[2; 24][..length]);
        assert_eq!((pool.draw(&mut into), into), (Err(NotSeeded), [7; 16]));
    }
    assert!(!pool.is_seeded());
    pool.seed(&[3]);
    assert!(pool.is_seeded() && pool.draw(&mut into).is_ok());
    assert_ne!(into, [7; 16]);
    pool.seed(&[4; 4096]);
    assert!(pool.is_seeded());
}

#[test]
fn ten_thousand_draws_never_repeat() {
    let mut pool = seeded(1);
    let mut seen = HashSet::new();
    for _ in 0..10_000 {
        let (drawn, key) = (draw::<32>(&mut pool), pool.key);
        assert!(seen.insert(drawn) && seen.insert(key), "neither an output nor a key, nor one that is the other");
    }
}

#[test]
fn a_pool_is_all_zero_at_first() {
    static POOL: Pool = Pool::new();
    assert!(POOL.key == [0; KEY] && POOL.seeded == 0);
}

proptest! {
    #[test]
    fn what_a_pool_has_given_is_not_to_be_had_of_its_later_state(with: u64, length in 1..300usize) {
        let mut pool = seeded(with);
        let mut given = vec![0; length];
        pool.draw(&mut given).unwrap();
        // Whoever takes the pool now has its key, and all that follows.
        let key = pool.key;
        let later = (0..4).flat_map(|_| draw::<1024>(&mut pool)).collect::<Vec<_>>();
        if let Some(piece) = given.get(..8) {
            let everything = [&key[..], &later[..]].concat();
            prop_assert!(!everything.windows(8).any(|window| window == piece));
        }
    }

    #[test]
    fn each_bit_of_an_input_and_its_length_changes_all_that_follows(
        input in prop::collection::vec(any::<u8>(), 1..100),
        at: prop::sample::Index,
        bit in 0..8u32,
    ) {
        let mut changed = input.clone();
        *at.get_mut(&mut changed) ^= 1 << bit;
        let longer = [&input[..], &[0]].concat();
        let shorter = &input[..input.len() - 1];
        let drawn = [&input[..], &changed[..], &longer[..], shorter].map(|input| {
            let mut pool = seeded(1);
            pool.absorb(input);
            draw::<32>(&mut pool)
        });
        prop_assert_eq!(HashSet::from(drawn).len(), 4);
    }

    #[test]
    fn what_others_know_and_choose_takes_nothing_away(chosen in prop::collection::vec(any::<u8>(), 0..200), a: u64, b: u64) {
        prop_assume!(a != b);
        let mut pools = [seeded(a), seeded(b)];
        pools.iter_mut().for_each(|pool| pool.absorb(&chosen));
        let [first, second] = pools.map(|mut pool| draw::<32>(&mut pool));
        prop_assert_ne!(first, second);
    }
}
