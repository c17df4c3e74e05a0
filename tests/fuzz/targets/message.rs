//! Messages between guests and the service partition: bytes are refused or read.
#![no_main]

use hv_abi::message::{Reply, Request, decode};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let _ = decode::<Request>(input);
    let _ = decode::<Reply>(input);
});
