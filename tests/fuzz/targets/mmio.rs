//! The registers of the virtio-mmio transport.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| guest_virtio::fuzz::mmio(input));
