//! Partitions of the board's drives, by the tables that `sfdisk` has written there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dormouse_tests::{Board, Description, Guest, Shell, System, seconds};

const MIB: usize = 1 << 20;

/// A disk that is a partition.
fn disk(name: &str, drive: u8, partition: &str) -> String {
    format!("{name} {{ compatible = \"dormouse,disk\"; drive = <{drive}>; partition = \"{partition}\"; }};")
}

fn with_disks(guest: Guest, disks: &[String]) -> Guest {
    guest.having(&format!("disks {{ {} }};", disks.concat()))
}

/// A drive of 16 MiB, each MiB of it of one byte, `sfdisk`'s table of `script`, and the places of its partitions, by `sfdisk`.
fn drive(system: &System, name: &str, script: &str) -> (PathBuf, Vec<std::ops::Range<usize>>) {
    let bytes: Vec<u8> = (0..16 * MIB).map(|at| (at / MIB) as u8 + 1).collect();
    let path = system.file(name, &bytes);
    sfdisk(&["--wipe=always"], &path, script);
    let said: serde_json::Value = serde_json::from_slice(&sfdisk(&["--json"], &path, "")).expect("JSON");
    let parts = said["partitiontable"]["partitions"].as_array().expect("partitions");
    let number = |part: &serde_json::Value, key| part[key].as_u64().expect("a number") as usize * 512;
    let places = parts.iter().map(|part| number(part, "start")..number(part, "start") + number(part, "size"));
    (path, places.collect())
}

fn sfdisk(arguments: &[&str], path: &Path, input: &str) -> Vec<u8> {
    let mut child = Command::new("/usr/sbin/sfdisk")
        .arg("-q")
        .args(arguments)
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sfdisk (fdisk) is installed");
    std::io::Write::write_all(child.stdin.as_mut().expect("its input"), input.as_bytes()).expect("the script");
    let output = child.wait_with_output().expect("sfdisk ends");
    assert!(output.status.success(), "sfdisk refuses {input}");
    output.stdout
}

/// What `sha256sum` says of these bytes of a file.
fn sum(system: &System, file: &Path, place: &std::ops::Range<usize>) -> String {
    let part = system.file("part.raw", &std::fs::read(file).expect("a drive")[place.clone()]);
    let output = Command::new("sha256sum").arg(part).output().expect("sha256sum runs");
    String::from_utf8_lossy(&output.stdout)[..64].to_owned()
}

#[test]
fn guests_have_the_partitions_that_drives_tables_name_and_what_is_wrong_is_said() {
    let manual = |disks: &[String]| with_disks(Guest::bare("tiny", "").manual(), disks);
    let named = "PARTUUID=01234567-89ab-4cde-8f01-23456789abcd";
    let parts = [disk("root", 1, "PARTLABEL=root fs"), disk("data", 1, named), disk("old", 0, "PARTUUID=deadbeef-02")];
    let description = Description::with("debian", with_disks(Guest::debian(1), &parts))
        .and("lost", manual(&[disk("d", 1, "PARTLABEL=lost")]))
        .and("clash", manual(&[disk("d", 1, "1")]))
        .and("nowhere", manual(&[disk("d", 7, "1")]));
    let system = System::new(&description);
    let script = format!("label: gpt\nsize=3MiB, name=\"root fs\"\nsize=1MiB, uuid={named}\n")
        .replace("uuid=PARTUUID=", "uuid=");
    let (gpt, gpt_places) = drive(&system, "gpt.raw", &script);
    let script = "label: dos\nlabel-id: 0xdeadbeef\nsize=1MiB, type=83\nsize=2MiB, type=83\n";
    let (mbr, mbr_places) = drive(&system, "mbr.raw", script);
    // The first header, and the first entry: what is at the drive's end serves.
    let mut bytes = std::fs::read(&gpt).expect("the drive");
    bytes[512] ^= 1;
    bytes[1024] ^= 1;
    std::fs::write(&gpt, bytes).expect("the drive");
    // The one on PCI is number 1, and reaches the page of its reads through the SMMU.
    let board = Board::default().drive(&mbr).pci(&gpt, ",iommu_platform=on,disable-legacy=on");
    let mut shell = Shell::enter(board.boot(&system));
    for (device, file, place) in
        [("vda", &gpt, &gpt_places[0]), ("vdb", &gpt, &gpt_places[1]), ("vdc", &mbr, &mbr_places[1])]
    {
        let said = shell.command(&format!("cat /sys/block/{device}/size; sha256sum /dev/{device}")).ok();
        let words: Vec<_> = said.split_whitespace().take(2).collect();
        assert_eq!(words, [(place.len() / 512).to_string(), sum(&system, file, place)], "{device}");
    }
    let free = shell.hvctl("hv info")["memory"]["guests"].clone();
    for (name, words) in [
        ("lost", "disk \"d\": \"PARTLABEL=lost\" of drive 1: the drive's GPT has no such partition"),
        ("clash", "vm_device (disk): changed meanwhile"),
        ("nowhere", "disk \"d\": \"1\" of drive 7: the board has no such drive"),
    ] {
        let answer = shell.command(&format!("hvctl vm start {name}"));
        assert_eq!(answer.status, 1, "{}", answer.output);
        assert!(answer.output.contains(words), "{}", answer.output);
    }
    assert_eq!(shell.hvctl("hv info")["memory"]["guests"], free, "nothing of them is left");
    assert!(shell.command("hvctl vm show debian").ok().contains("root (drive 1, PARTLABEL=root fs, read-write)"));
    shell.power_off();
}

#[test]
fn a_drive_that_does_not_answer_holds_up_neither_other_starts_nor_the_service_partition() {
    let slow = with_disks(Guest::bare("tiny", ""), &[disk("d", 0, "PARTLABEL=a")]);
    // In the description it is the first.
    let description = Description::with("a-slow", slow).and("debian", Guest::debian(1));
    let system = System::new(&description.partition(|partition| partition.console_first = Some("debian".into())));
    let (path, _) = drive(&system, "gpt.raw", "label: gpt\nname=a\n");
    let mut board = Board::default().drive(&path);
    let option = board.more.iter_mut().rfind(|option| option.starts_with("if=none")).expect("a drive");
    // After the first 4 KiB the next are due in 41 s.
    option.push_str(",throttling.bps-total=100");
    let mut shell = Shell::enter(board.boot(&system));
    // It sleeps while the drive has its read.
    shell.run.expect_log("sos: off", seconds(30));
    let answer = shell.command("hvctl vm start a-slow");
    let words = "vm \"a-slow\": disk \"d\": \"PARTLABEL=a\" of drive 0: the drive does not answer in time";
    assert!(answer.status == 1 && answer.output.contains(words), "{}", answer.output);
    assert_eq!(shell.hvctl("sos status")["failures"], 0);
    shell.power_off();
}
