//! The header of the service partition's image.
#![no_main]

use hv_abi::sos_image::SosLayout;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Ok(layout) = SosLayout::check(input) {
        assert!(layout.read_only + layout.writable <= input.len() as u64);
    }
});
