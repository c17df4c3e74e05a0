//! A fuzzer's way in: each function plays one device's hostile driver, which does what the bytes say.

use crate::testing::Random;

/// A disk's driver.
pub fn blk(input: &[u8]) {
    crate::blk::tests::hostile::game(&Random::of_input(input), &mut Default::default());
}

/// A network card's driver, and frames for it.
pub fn net(input: &[u8]) {
    crate::net::tests::hostile::game(&Random::of_input(input), &mut Default::default());
}

/// A console's driver.
pub fn console(input: &[u8]) {
    crate::console::tests::hostile::game(&Random::of_input(input), &mut Default::default());
}

/// An entropy device's driver.
pub fn entropy(input: &[u8]) {
    crate::entropy::tests::hostile::game(&Random::of_input(input), &mut Default::default());
}

/// A queue's driver.
pub fn queue(input: &[u8]) {
    crate::queue::tests::hostile::game(&Random::of_input(input), &mut Default::default());
}

/// Registers of the transport.
pub fn mmio(input: &[u8]) {
    crate::mmio::tests::hostile::game(&Random::of_input(input));
}
