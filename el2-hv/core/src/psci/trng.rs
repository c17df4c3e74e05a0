//! A guest's random numbers (Arm True Random Number Generator Firmware Interface 1.0, DEN0098).

use super::{Outcome, PsciCall, SimpleCall, smccc, status};

/// TRNG_VERSION.
pub const VERSION: u32 = 0x8400_0050;
/// TRNG_FEATURES.
pub const FEATURES: u32 = 0x8400_0051;
/// TRNG_GET_UUID.
pub const GET_UUID: u32 = 0x8400_0052;
/// TRNG_RND, 32-bit convention.
pub const RND_32: u32 = 0x8400_0053;
/// TRNG_RND, 64-bit convention.
pub const RND_64: u32 = 0xc400_0053;

/// TRNG_VERSION's answer: 1.0, major in the upper half.
pub const VERSION_1_0: i32 = 0x1_0000;
/// TRNG_RND: there is no entropy now.
pub const NO_ENTROPY: i64 = -3;

/// Which source answers: a random (version 4) UUID, 08183365-1989-4d4f-b3b3-bd9382d85681, that stays the same for ever.
pub const SOURCE_UUID: [u8; 16] =
    [0x08, 0x18, 0x33, 0x65, 0x19, 0x89, 0x4d, 0x4f, 0xb3, 0xb3, 0xbd, 0x93, 0x82, 0xd8, 0x56, 0x81];

/// Most bytes that one call gives.
pub const BYTES_MAX: usize = 24;

/// Width of a register that carries entropy: the convention's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Width {
    /// W1 to W3: at most 96 bits.
    Word,
    /// X1 to X3: at most 192 bits.
    DoubleWord,
}

/// TRNG_RND: so many bits are asked for, 1 to [`Width`]'s most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RandomCall {
    bits: u32,
    width: Width,
}

impl RandomCall {
    /// Whole bytes that the bits need, 1 to [`BYTES_MAX`].
    pub const fn bytes(self) -> usize {
        self.bits.div_ceil(8) as usize
    }

    /// What the call comes to with these bytes, of which as many as [`RandomCall::bytes`] are random, or with none.
    ///
    /// The bits stand in the three registers as in one number, the low ones in the last; those above are zero.
    pub fn answer(self, entropy: Option<&[u8; BYTES_MAX]>) -> Outcome {
        let Some(bytes) = entropy else {
            return Outcome::Return4([NO_ENTROPY as u64, 0, 0, 0]);
        };
        let register = |index: u32| {
            let (bits, width) = (self.width.bits(), self.width.bits() as usize / 8);
            let start = index as usize * width;
            let mut low = [0; 8];
            low[..width].copy_from_slice(&bytes[start..start + width]);
            let wanted = self.bits.saturating_sub(index * bits).min(bits);
            u64::from_le_bytes(low) & mask(wanted)
        };
        Outcome::Return4([status::SUCCESS, register(2), register(1), register(0)])
    }
}

impl Width {
    /// Bits of a register.
    const fn bits(self) -> u32 {
        match self {
            Self::Word => 32,
            Self::DoubleWord => 64,
        }
    }
}

/// The low `bits` of a register, at most 64.
const fn mask(bits: u32) -> u64 {
    match bits {
        0 => 0,
        bits => u64::MAX >> (64 - bits),
    }
}

/// Decodes what PSCI's dispatch does not know. Kept out of its way: a guest asks for this seldom.
#[inline(never)]
pub(super) fn decode(function: u32, first: u64) -> PsciCall {
    let simple = match function {
        VERSION => SimpleCall::TrngVersion,
        FEATURES => SimpleCall::TrngFeatures { function: first as u32 },
        GET_UUID => SimpleCall::TrngUuid,
        RND_32 => return random(u64::from(first as u32), Width::Word),
        RND_64 => return random(first, Width::DoubleWord),
        _ => SimpleCall::Unknown,
    };
    PsciCall::Simple(simple)
}

/// TRNG_RND of so many bits.
fn random(bits: u64, width: Width) -> PsciCall {
    match u32::try_from(bits) {
        Ok(bits) if (1..=3 * width.bits()).contains(&bits) => PsciCall::Random(RandomCall { bits, width }),
        _ => PsciCall::Simple(SimpleCall::TrngRefused),
    }
}

/// TRNG_FEATURES: all functions are there, and none has a property to tell of.
pub(super) const fn features(function: u32) -> u64 {
    match function {
        VERSION | FEATURES | GET_UUID | RND_32 | RND_64 => status::SUCCESS,
        _ => status::NOT_SUPPORTED,
    }
}

/// TRNG_GET_UUID.
pub(super) fn uuid() -> Outcome {
    Outcome::Return4(smccc::uid_registers(&SOURCE_UUID))
}

/// The first bytes, at most [`BYTES_MAX`], of the entropy in a TRNG_RND64's registers.
pub fn copy_entropy(answer: &[u64; 4], into: &mut [u8]) {
    let bytes = [answer[3], answer[2], answer[1]].into_iter().flat_map(u64::to_le_bytes);
    into.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
}
