//! A network card and its hostile driver.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| guest_virtio::fuzz::net(input));
