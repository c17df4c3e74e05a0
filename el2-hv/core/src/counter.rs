//! Times: conversion between units, and which comes first.

/// The earlier of two times; nothing comes after everything.
#[inline]
pub const fn earlier(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(first), Some(second)) if first > second => b,
        (Some(_), _) => a,
        (None, _) => b,
    }
}

/// `value` units of which a second has `from`, in units of which it has `to`; rounded down.
///
/// Neither product overflows while both rates are below 2^32: hundreds of years fit, which a plain
/// multiplication before the division would not reach.
#[inline]
pub const fn scale(value: u64, from: u64, to: u64) -> u64 {
    (value / from).saturating_mul(to).saturating_add(value % from * to / from)
}

#[cfg(test)]
mod tests {
    use super::{earlier, scale};

    const NS: u64 = 1_000_000_000;
    const CENTURY_NS: u128 = 100 * 365 * 24 * 3600 * 1_000_000_000;

    #[test]
    fn the_earlier_time_is_the_one_that_there_is() {
        assert_eq!(earlier(None, None), None);
        assert_eq!((earlier(Some(3), None), earlier(None, Some(3))), (Some(3), Some(3)));
        assert_eq!((earlier(Some(3), Some(4)), earlier(Some(4), Some(3))), (Some(3), Some(3)));
    }

    #[test]
    fn a_century_is_converted_as_exactly_as_by_128_bits() {
        for hz in [1u64, 54_000_000, 62_500_000, 100_000_000, 1_000_000_000] {
            for ns in [0, 1, 999, 4_000_000, 3_600_000_000_000, CENTURY_NS as u64] {
                let expected = (u128::from(ns) * u128::from(hz) / u128::from(NS)) as u64;
                assert_eq!(scale(ns, NS, hz), expected, "{ns} ns at {hz} Hz");
            }
            let ticks = (CENTURY_NS * u128::from(hz) / u128::from(NS)) as u64;
            let expected = (u128::from(ticks) * u128::from(NS) / u128::from(hz)) as u64;
            assert_eq!(scale(ticks, hz, NS), expected, "{hz} Hz");
        }
    }
}
