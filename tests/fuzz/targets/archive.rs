//! The boot archive: what is a member's lies within it, and no two members share a byte or a name.
#![no_main]

use hv_abi::archive::Archive;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Ok(archive) = Archive::check(input) else { return };
    let mut end = 0;
    for member in archive.members() {
        assert!(member.offset >= end, "they overlap");
        end = member.offset + member.data.len();
        assert_eq!(&input[member.offset..end], member.data);
    }
});
