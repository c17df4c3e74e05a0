//! An entropy device and its hostile driver.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| guest_virtio::fuzz::entropy(input));
