//! The firmware's entropy source (Arm True Random Number Generator Firmware Interface 1.0, DEN0098), as its client.
//!
//! Firmware that does not know a function need not survive it: a function is called only after another one has said that
//! it is there. PSCI 1.0 has PSCI_FEATURES, that tells of SMCCC_VERSION, and with SMCCC 1.1 an unknown function is
//! answered (DEN0022 §5.1, DEN0028 §5.2).

use crate::psci::{function, trng};

/// Bytes that one call gives.
const CALL_BYTES: usize = 24;
/// Calls that may in all be answered by NO_ENTROPY: a source that gathers for so long is none at boot.
const RETRIES: usize = 16;

/// PSCI_VERSION 1.0 and SMCCC_VERSION 1.1: major in the upper half.
const PSCI_1_0: i32 = 0x1_0000;
const SMCCC_1_1: i32 = 0x1_0001;

/// Asks firmware for random bytes by `call`, which takes a function and its argument and returns X0 to X3, and returns how
/// many of `into` it has filled, from the front.
pub fn read(into: &mut [u8], call: &mut dyn FnMut(u32, u64) -> [u64; 4]) -> usize {
    if !has_trng(call) {
        return 0;
    }
    let (mut done, mut retries) = (0, 0);
    while let Some(piece) = into.get_mut(done..).filter(|left| !left.is_empty()) {
        let length = piece.len().min(CALL_BYTES);
        let answer = call(trng::RND_64, 8 * length as u64);
        match answer[0] as i64 {
            0 => {
                trng::copy_entropy(&answer, &mut piece[..length]);
                done += length;
            }
            trng::NO_ENTROPY if retries < RETRIES => retries += 1,
            _ => break,
        }
    }
    done
}

/// Whether firmware has TRNG_RND64, found without a call that it may not know.
fn has_trng(call: &mut dyn FnMut(u32, u64) -> [u64; 4]) -> bool {
    // The 32-bit convention: only W0 is the answer, and a negative one is an error.
    let mut answer = |function, argument| call(function, argument)[0] as i32;
    answer(function::VERSION, 0) >= PSCI_1_0
        && answer(function::FEATURES, function::SMCCC_VERSION.into()) >= 0
        && answer(function::SMCCC_VERSION, 0) >= SMCCC_1_1
        && answer(trng::VERSION, 0) >= trng::VERSION_1_0
        && answer(trng::FEATURES, trng::RND_64.into()) >= 0
}
