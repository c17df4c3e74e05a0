//! Started wrongly: one clear line, then power-off.

use dormouse_tests::{Board, Description, Entry, Guest, Run, System, seconds};

fn description() -> Description {
    Description::with("tiny", Guest::bare("tiny", ""))
}

fn system() -> System {
    System::new(&description())
}

/// The fatal line of a start, which must hold all of `words`.
fn fatal(mut run: Run, words: &[&str]) {
    let line = run.expect_fatal(seconds(30)).to_lowercase();
    for word in words {
        assert!(line.contains(&word.to_lowercase()), "{word:?} in {line:?}");
    }
}

/// The fatal line of a start with those bytes as the archive.
fn fatal_archive(system: &System, bytes: &[u8], words: &[&str]) {
    let archive = system.file("damaged.cpio", bytes);
    fatal(Board::default().boot_archive(system, &archive), words);
}

#[test]
fn at_el1() {
    let mut run = Board::default().entry(Entry::El1).boot(&system());
    let line = run.expect_line("dormouse: fatal:", seconds(30));
    assert!(line.contains("EL1"), "{line}");
}

#[test]
fn without_a_device_tree() {
    let mut run = Board::default().entry(Entry::WithoutTree).start(None);
    let line = run.expect_line("dormouse: fatal:", seconds(30));
    assert!(line.contains("device tree"), "{line}");
}

#[test]
fn without_an_archive() {
    fatal(Board::default().start(None), &["archive"]);
}

#[test]
fn with_an_archive_that_is_none() {
    fatal_archive(&system(), &[0x5a; 8192], &["archive", "byte 0"]);
}

#[test]
fn with_a_damaged_header_in_the_archive() {
    let system = system();
    let mut bytes = system.bytes();
    let second = (1..bytes.len()).find(|&i| bytes[i..].starts_with(b"070701")).expect("two members");
    bytes[second] = b'1';
    fatal_archive(&system, &bytes, &["archive", &second.to_string()]);
}

#[test]
fn with_a_damaged_number_in_the_archive() {
    let system = system();
    let mut bytes = system.bytes();
    bytes[6 + 6 * 8] = b'x';
    fatal_archive(&system, &bytes, &["header", "byte 0"]);
}

#[test]
fn with_an_archive_cut_short() {
    let system = system();
    let bytes = system.bytes();
    fatal_archive(&system, &bytes[..bytes.len() / 2], &["archive"]);
}

#[test]
fn with_an_archive_without_a_trailer() {
    let system = system();
    let bytes = system.bytes();
    let trailer = (0..bytes.len()).rfind(|&i| bytes[i..].starts_with(b"TRAILER!!!")).expect("trailer");
    fatal_archive(&system, &bytes[..trailer - 110], &["archive"]);
}

#[test]
fn with_a_member_named_twice() {
    let system = system();
    let mut bytes = system.bytes();
    let name = (0..bytes.len()).rfind(|&i| bytes[i..].starts_with(b"tiny.img")).expect("member");
    bytes[name..name + 8].copy_from_slice(b"sos.img\0");
    fatal_archive(&system, &bytes, &["archive", "name"]);
}

#[test]
fn without_a_description() {
    let mut system = system();
    system.remove("system.dtb");
    fatal(Board::default().boot(&system), &["system.dtb"]);
}

#[test]
fn with_a_description_that_is_no_tree() {
    let mut system = system();
    let file = system.file("bad.dtb", &[0; 4096]);
    system.member("system.dtb", file);
    fatal(Board::default().boot(&system), &["system.dtb"]);
}

#[test]
fn with_an_unknown_property_of_the_service_partition() {
    let description = description().partition(|partition| partition.more = "idle-timout-ms = <5>;".into());
    let system = System::new(&description);
    fatal(Board::default().boot(&system), &["system.dtb", "service-partition", "idle-timout-ms"]);
}

#[test]
fn without_the_partitions_image() {
    let mut system = system();
    system.remove("sos.img");
    fatal(Board::default().boot(&system), &["sos.img"]);
}

#[test]
fn with_a_damaged_image_of_the_partition() {
    let mut system = system();
    let mut image = std::fs::read(dormouse_tests::artifact::built("sos.img")).expect("sos.img");
    let middle = image.len() / 2;
    image[middle] ^= 1;
    let file = system.file("sos.img", &image);
    system.member("sos.img", file);
    fatal(Board::default().boot(&system), &["sos.img", "CRC"]);
}

#[test]
fn with_an_image_of_the_partition_without_its_magic() {
    let mut system = system();
    let file = system.file("sos.img", &[0; 8192]);
    system.member("sos.img", file);
    fatal(Board::default().boot(&system), &["sos.img", "magic"]);
}

#[test]
fn with_too_little_ram() {
    let description = description().partition(|partition| partition.memory = 128 << 20);
    let mut run = Board::default().memory(64).boot(&System::new(&description));
    let line = run.expect_fatal(seconds(30));
    assert!(line.contains("memory") || line.contains("RAM"), "{line}");
}

#[test]
fn a_guest_image_without_a_header_is_named_and_starts_nothing() {
    let mut system = system();
    let file = system.file("bad.img", &[0; 70_000]);
    system.member("tiny.img", file);
    let mut run = Board::default().boot(&system);
    let line = run.expect_on_any("no arm64 Linux Image", seconds(30));
    assert!(line.contains("\"tiny\"") && line.contains("tiny.img"), "{line}");
    run.expect_fatal(seconds(30));
}

#[test]
fn an_unknown_property_of_a_guest_is_named_with_its_node() {
    let source = description().source().replace("vcpus = <1>;", "vcpu = <1>;");
    let mut system = System::from_source(&source);
    system.member("sos.img", dormouse_tests::artifact::built("sos.img"));
    let tiny = dormouse_tests::artifact::guest("tiny", system.directory());
    system.member("tiny.img", tiny);
    let mut run = Board::default().boot(&system);
    let line = run.expect_on_any("vcpu\"", seconds(30));
    assert!(line.contains("/guests/tiny"), "{line}");
}
