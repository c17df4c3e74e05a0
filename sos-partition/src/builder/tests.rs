use super::*;

#[test]
fn each_boot_has_seeds_of_its_own_and_no_seed_gives_none() {
    let mut seeds = Seeds::new([3; 32]);
    let first = seeds.next().unwrap();
    let second = seeds.next().unwrap();
    assert_ne!(first.rng, second.rng);
    assert_ne!(first.kaslr, second.kaslr);
    assert_ne!(Seeds::new([4; 32]).next().unwrap().rng, first.rng);
    assert!(Seeds::new([0; 32]).next().is_none());
}

#[test]
fn seeds_are_chacha20_of_the_life_s_seed() {
    // RFC 8439 A.1, test vector 3: key 00..01, nonce 0, block counter 1. A generator begins with
    // block 0 and takes 8 and 32 bytes for each boot, so that the second boot's rng-seed ends at
    // byte 80, 16 bytes into block 1.
    let mut key = [0; 32];
    key[31] = 1;
    let mut seeds = Seeds::new(key);
    seeds.next();
    let second = seeds.next().unwrap();
    assert_eq!(
        second.rng[16..],
        [0x3a, 0xeb, 0x52, 0x24, 0xec, 0xf8, 0x49, 0x92, 0x9b, 0x9d, 0x82, 0x8d, 0xb1, 0xce, 0xd4, 0xdd]
    );
}
