//! A fake firmware that ends the machine at a function that it does not know, as one without SMCCC 1.1 may.

use crate::entropy::firmware::read;

const NOT_SUPPORTED: u64 = 0xffff_ffff;
const NO_ENTROPY: u64 = -3i64 as u64;

/// A firmware, by what each function is answered.
struct Firmware {
    psci: u64,
    /// PSCI_FEATURES of SMCCC_VERSION, SMCCC_VERSION, TRNG_VERSION, TRNG_FEATURES of TRNG_RND64.
    has_smccc: u64,
    smccc: u64,
    trng: u64,
    has_rnd: u64,
    /// Calls of TRNG_RND64 that are answered by NO_ENTROPY before the others.
    empty: usize,
    asked: Vec<u64>,
}

/// All of it, with the upper halves of W0 full of what they may be.
const WHOLE: Firmware = Firmware {
    psci: 0xdead_0001_0001,
    has_smccc: 0,
    smccc: 0x1_0002,
    trng: 0xffff_ffff_0001_0000,
    has_rnd: 0xdead_0000_0000,
    empty: 0,
    asked: vec![],
};

impl Firmware {
    fn call(&mut self, function: u32, argument: u64) -> [u64; 4] {
        let smccc = self.has_smccc == 0 && self.smccc as u32 >= 0x1_0001;
        let first = match (function, argument) {
            (0x8400_0000, _) => self.psci,
            (0x8400_000a, 0x8000_0000) if self.psci as u32 >= 0x1_0000 => self.has_smccc,
            (0x8000_0000, _) if self.has_smccc == 0 => self.smccc,
            (0x8400_0050, _) if smccc => self.trng,
            (0x8400_0051, 0xc400_0053) if smccc && self.trng as i32 > 0 => self.has_rnd,
            (0xc400_0053, bits) if smccc && self.has_rnd as i32 >= 0 => return self.random(bits),
            _ => panic!("firmware does not know {function:#x} of {argument:#x}"),
        };
        [first, 0, 0, 0]
    }

    fn random(&mut self, bits: u64) -> [u64; 4] {
        assert!((1..=192).contains(&bits));
        if self.empty > 0 {
            self.empty -= 1;
            return [NO_ENTROPY, 0, 0, 0];
        }
        self.asked.push(bits);
        // X3 has the low bits, X1 the high ones (DEN0098, TRNG_RND).
        [0, 0x1716_1514_1312_1110, 0x0f0e_0d0c_0b0a_0908, 0x0706_0504_0302_0100]
    }

    fn read(mut self, length: usize) -> (Vec<u8>, usize, Vec<u64>) {
        let mut into = vec![0xee; length];
        let done = read(&mut into, &mut |function, argument| self.call(function, argument));
        assert!(into[done..].iter().all(|byte| *byte == 0xee));
        into.truncate(done);
        (into, done, self.asked)
    }
}

#[test]
fn entropy_is_read_in_calls_of_at_most_192_bits() {
    let counted: Vec<u8> = (0..24).collect();
    assert_eq!(WHOLE.read(32), ([&counted[..], &counted[..8]].concat(), 32, vec![192, 64]));
    assert_eq!(WHOLE.read(5), (counted[..5].to_vec(), 5, vec![40]));
    assert_eq!(WHOLE.read(0).1, 0);
}

#[test]
fn nothing_is_called_that_was_not_said_to_be_there() {
    for firmware in [
        Firmware { psci: 0x2, ..WHOLE },
        Firmware { psci: NOT_SUPPORTED, ..WHOLE },
        Firmware { has_smccc: NOT_SUPPORTED, ..WHOLE },
        Firmware { smccc: 0x1_0000, ..WHOLE },
        Firmware { smccc: NOT_SUPPORTED, ..WHOLE },
        Firmware { trng: NOT_SUPPORTED, ..WHOLE },
        Firmware { trng: u64::MAX, ..WHOLE },
        Firmware { has_rnd: NOT_SUPPORTED, ..WHOLE },
    ] {
        assert_eq!(firmware.read(32).1, 0);
    }
}

#[test]
fn a_source_that_is_empty_for_a_while_is_asked_again_and_one_that_stays_so_is_none() {
    assert_eq!(Firmware { empty: 16, ..WHOLE }.read(32).1, 32);
    assert_eq!(Firmware { empty: usize::MAX, ..WHOLE }.read(32).1, 0);
}
