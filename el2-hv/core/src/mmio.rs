//! What every emulated device sees of a guest's access to it.

/// How wide an access is: what `ESR_EL2.ISS.SAS` says of it (Arm ARM D24.2.40).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AccessSize {
    /// 8 bits.
    Byte,
    /// 16 bits.
    Half,
    /// 32 bits.
    Word,
    /// 64 bits.
    Double,
}

impl AccessSize {
    /// All widths, narrowest first.
    pub const ALL: [Self; 4] = [Self::Byte, Self::Half, Self::Word, Self::Double];

    /// The width in bytes.
    #[inline]
    pub const fn bytes(self) -> u32 {
        1 << self.log2()
    }

    /// The binary logarithm of the width in bytes: 0 to 3.
    #[inline]
    pub const fn log2(self) -> u8 {
        self as u8
    }

    /// The width whose binary logarithm is the low two bits of `log2`, as `ESR_EL2.ISS.SAS` encodes it.
    #[inline]
    pub const fn from_log2(log2: u8) -> Self {
        match log2 & 3 {
            0 => Self::Byte,
            1 => Self::Half,
            2 => Self::Word,
            _ => Self::Double,
        }
    }

    /// The bits of a value that an access of this width carries.
    #[inline]
    pub const fn mask(self) -> u64 {
        u64::MAX >> (64 - 8 * self.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::AccessSize;

    #[test]
    fn every_width_goes_to_its_logarithm_and_back() {
        let expected = [(0, 1, 0xff), (1, 2, 0xffff), (2, 4, 0xffff_ffff), (3, 8, u64::MAX)];
        for (log2, bytes, mask) in expected {
            let size = AccessSize::from_log2(log2);
            assert_eq!((size.log2(), size.bytes(), size.mask()), (log2, bytes, mask));
        }
    }

    #[test]
    fn bits_above_the_field_are_ignored() {
        assert_eq!(AccessSize::from_log2(0xfe), AccessSize::Word);
    }
}
