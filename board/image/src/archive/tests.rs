use super::*;
use crate::testing::{Scratch, gnu_cpio, message, read_newc};
use hv_abi::archive::Archive;
use proptest::prelude::*;

fn member(name: &str, data: &[u8]) -> NamedData {
    (name.into(), data.into())
}

fn names(members: &[NamedData]) -> Vec<&str> {
    members.iter().map(|(name, _)| name.as_str()).collect()
}

/// As the board sees it: found by the contract's own reader, on a page, unchanged.
fn check_against_readers(members: &[NamedData], archive: &[u8]) {
    let found = read_newc(archive);
    let real: Vec<_> = found.iter().filter(|found| !found.name.starts_with(FILLER)).collect();
    let real_names: Vec<_> = real.iter().map(|found| found.name.as_str()).collect();
    assert_eq!(real_names, names(members));
    let contract = Archive::check(archive).unwrap();
    for ((name, data), found) in members.iter().zip(&real) {
        assert_eq!(&found.data, data);
        assert_eq!(found.data_offset % 4096, 0, "{name} is not on a page");
        assert_eq!(found.mode, 0o100644);
        let seen = contract.find(name).unwrap();
        assert_eq!((seen.offset, seen.data), (found.data_offset, data.as_slice()));
    }
    for found in &found {
        assert!(found.name_size <= 4096, "Linux passes over names longer than PATH_MAX");
    }
}

proptest! {
    #[test]
    fn every_member_lies_on_a_page_for_any_sizes(
        sizes in prop::collection::vec((1usize..=63, 0usize..10_000), 1..12),
    ) {
        let members: Vec<_> = sizes
            .iter()
            .enumerate()
            .map(|(index, &(name, size))| {
                (format!("{index:x}{}", "n".repeat(name - 1)), vec![index as u8 + 1; size])
            })
            .collect();
        check_against_readers(&members, &build(&members).unwrap());
    }
}

#[test]
fn every_distance_to_the_next_page_is_bridged_within_linux_limits() {
    // The second header goes through all 1024 places that it can have within a page.
    let mut fillers = 0;
    for size in (0..4096).step_by(4) {
        let members = [member("first", &vec![1; size]), member(&"n".repeat(63), b"second")];
        let archive = build(&members).unwrap();
        check_against_readers(&members, &archive);
        fillers += read_newc(&archive).len() - members.len();
    }
    // Header and name field fill whole words, so a field has 2 bytes over a multiple of 4; it has
    // at least 64, so those too long for Linux are 4098, 4102 ... 4158.
    assert_eq!(fillers, 16);
}

#[test]
fn gnu_cpio_lists_and_extracts_what_went_in() {
    let scratch = Scratch::new("archive");
    let members = [
        member("system.dtb", b"tree"),
        member("sos.img", &[7; 5000]),
        member("debian-vmlinuz", &[9; 4096]),
        member("empty", b""),
        member("tiny.img", &[3; 1]),
    ];
    let archive = build(&members).unwrap();
    let listed = gnu_cpio(&["-it", "--quiet"], &archive, &scratch.0);
    assert_eq!(listed.lines().collect::<Vec<_>>(), names(&members));
    gnu_cpio(&["-i", "--quiet"], &archive, &scratch.0);
    for (name, data) in &members {
        assert_eq!(&std::fs::read(scratch.0.join(name)).unwrap(), data);
    }
}

#[test]
fn the_same_input_gives_the_same_archive() {
    let members = [member("a", b"1"), member("b", b"2")];
    assert_eq!(build(&members).unwrap(), build(&members).unwrap());
}

#[test]
fn a_name_given_twice_is_refused() {
    let error = message(build(&[member("sos.img", b"1"), member("x", b""), member("sos.img", b"2")]));
    assert_eq!(error, "archive member `sos.img`: is given twice");
}

#[test]
fn names_with_a_meaning_or_a_strange_character_are_refused() {
    for name in ["", "a/b", "TRAILER!!!", ".pad3", "a b", "a\0", &"n".repeat(64), "ä"] {
        let error = message(build(&[member(name, b"")]));
        assert!(error.contains(&format!("archive member `{name}`: ")), "{error}");
    }
}
