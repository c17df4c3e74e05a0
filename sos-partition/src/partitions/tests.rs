//! Tables that `sfdisk` writes are read as `sfdisk` says; what is wrong with one is said; any bytes are refused or read.

use std::boxed::Box;
use std::format;
use std::process::{Command, Stdio};
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use super::*;

const MIB: usize = 1 << 20;
/// Bytes of the drives of most tests.
const SIZE: usize = 16 * MIB;

/// Reads of a drive in memory, as EL2 does them, with blocks of that size.
fn reader(drive: &[u8], block_size: u32) -> impl FnMut(u64) -> Result<DriveBlock, Status> {
    move |sector| {
        assert!(sector.is_multiple_of(u64::from(block_size) / SECTOR), "no whole blocks");
        let start = usize::try_from(sector).unwrap() * 512;
        let bytes = drive.get(start..start + 4096).ok_or(Status::InvalidArgument)?.to_vec();
        Ok(DriveBlock { bytes, sectors: drive.len() as u64 / SECTOR, block_size })
    }
}

fn find_in(drive: &[u8], wanted: &str) -> Result<Range, PartitionError> {
    find(reader(drive, 512), &Wanted::parse(wanted).expect("a partition's name"))
}

fn error_in(drive: &[u8], wanted: &str) -> String {
    find_in(drive, wanted).expect_err("is refused").to_string()
}

/// A drive with the table that sfdisk makes of `script`, and what it says of its partitions: first sector and sectors.
fn made(script: &str, size: usize) -> (Vec<u8>, Vec<Range>) {
    let name = format!("dormouse-partitions-{}-{:?}.raw", std::process::id(), std::thread::current().id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, vec![0; size]).unwrap();
    let sfdisk = |arguments: &[&str], input: &str| {
        let mut child = Command::new("/usr/sbin/sfdisk")
            .arg("-q")
            .args(arguments)
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sfdisk (fdisk) is installed");
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "sfdisk refuses {script}");
        output.stdout
    };
    sfdisk(&[], script);
    let said: serde_json::Value = serde_json::from_slice(&sfdisk(&["--json"], "")).unwrap();
    let number = |part: &serde_json::Value, key| part[key].as_u64().unwrap();
    let parts = said["partitiontable"]["partitions"].as_array().unwrap();
    let ranges =
        parts.iter().map(|part| Range { first: number(part, "start"), sectors: number(part, "size") }).collect();
    let drive = std::fs::read(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    (drive, ranges)
}

const UUID: &str = "01234567-89AB-4CDE-8F01-23456789ABCD";

fn gpt() -> (Vec<u8>, Vec<Range>) {
    let script = format!(
        "label: gpt\nsize=1MiB, name=boot\nsize=3MiB, name=\"root fs\", uuid={UUID}\nsize=100KiB, name=twin\nname=twin\n"
    );
    made(&script, SIZE)
}

fn mbr() -> (Vec<u8>, Vec<Range>) {
    let script =
        "label: dos\nlabel-id: 0xdeadbeef\nsize=1MiB, type=83\nsize=2MiB, type=c, bootable\nsize=4MiB, type=5\n";
    made(script, SIZE)
}

/// A drive with a bit changed.
fn broken(drive: &[u8], at: usize) -> Vec<u8> {
    let mut drive = drive.to_vec();
    drive[at] ^= 0x40;
    drive
}

#[test]
fn a_partition_of_a_gpt_is_found_by_label_guid_and_number_where_sfdisk_says_that_it_is() {
    let (drive, parts) = gpt();
    for (wanted, part) in [
        ("PARTLABEL=boot", 0),
        ("PARTLABEL=root fs", 1),
        ("PARTUUID=01234567-89ab-4cde-8f01-23456789abcd", 1),
        ("PARTUUID=01234567-89AB-4CDE-8F01-23456789ABCD", 1),
        ("1", 0),
        ("4", 3),
    ] {
        assert_eq!(find_in(&drive, wanted), Ok(parts[part]), "{wanted}");
    }
}

#[test]
fn a_gpt_with_blocks_of_4096_bytes_is_read_in_these() {
    let (small, parts) = made("label: gpt\nsize=256KiB, name=a\nname=b\n", 2 * MIB);
    let parts: Vec<_> = parts.iter().map(|part| Range { first: part.first * 8, sectors: part.sectors * 8 }).collect();
    // The same blocks, each of 4096 bytes; the arrays are bytes that follow each other (UEFI 2.10 §5.3.1).
    let (mut drive, last) = (vec![0; 8 * small.len()], small.len() / 512 - 1);
    for (block, blocks) in [(0, 1), (1, 1), (2, 32), (last - 32, 32), (last, 1)] {
        let bytes = &small[block * 512..(block + blocks) * 512];
        drive[block * 4096..][..bytes.len()].copy_from_slice(bytes);
    }
    let by_label = |label: &str| find(reader(&drive, 4096), &Wanted::Label(label.into()));
    assert_eq!((by_label("a"), by_label("b")), (Ok(parts[0]), Ok(parts[1])));
    drive[4096 + 24] ^= 1;
    let backup = find(reader(&drive, 4096), &Wanted::Label("b".into()));
    assert_eq!(backup, Ok(parts[1]), "by the backup");
}

#[test]
fn a_partition_of_an_mbr_is_found_by_number_and_signature() {
    let (drive, parts) = mbr();
    for (wanted, part) in [("1", 0), ("2", 1), ("PARTUUID=deadbeef-01", 0), ("PARTUUID=DEADBEEF-02", 1)] {
        assert_eq!(find_in(&drive, wanted), Ok(parts[part]), "{wanted}");
    }
}

#[test]
fn the_backup_at_the_drives_end_stands_in_for_a_damaged_gpt() {
    let (drive, parts) = gpt();
    // The header's signature, its CRC, the entries (UEFI 2.10 §5.3.2: blocks 1, and 2 to 33 here).
    for at in [512, 512 + 16, 512 + 40, 1024, 1024 + 128 * 127] {
        assert_eq!(find_in(&broken(&drive, at), "PARTLABEL=root fs"), Ok(parts[1]), "byte {at}");
    }
    let end = drive.len();
    let both = broken(&broken(&drive, 512), end - 512 + 16);
    assert_eq!(
        error_in(&both, "1"),
        "the GPT is damaged: no header in block 1; its backup as well: the header in block 32767 is damaged"
    );
    let entries = broken(&broken(&drive, 1024), end - 33 * 512);
    assert!(error_in(&entries, "1").ends_with("its backup as well: its entries are damaged"));
}

#[test]
fn what_is_not_there_or_not_to_be_used_is_named() {
    let ((gpt, _), (mbr, _)) = (gpt(), mbr());
    for (drive, wanted, words) in [
        (&gpt, "PARTLABEL=roof", "the drive's GPT has no such partition"),
        (&gpt, "PARTLABEL=boo", "no such partition"),
        (&gpt, "PARTLABEL=twin", "partitions 3 and 4 of the drive's GPT are both named so"),
        (&gpt, "5", "no such partition"),
        (&gpt, "1024", "no such partition"),
        (&gpt, "PARTUUID=deadbeef-01", "no such partition"),
        (&mbr, "PARTLABEL=boot", "the drive has an MBR, which knows neither labels nor GUIDs"),
        (&mbr, "3", "partition 3 of the drive's MBR is an extended one"),
        (&mbr, "4", "the drive's MBR has no partition 4"),
        (&mbr, "5", "the drive's MBR has no partition 5"),
        (&mbr, "PARTUUID=deadbee0-01", "the drive's MBR has the signature deadbeef"),
        (&vec![0; SIZE], "1", "the drive has no partition table"),
        (&vec![0xff; 2048], "1", "the board has no such drive, or one of less than 4 KiB"),
    ] {
        let error = error_in(drive, wanted);
        assert!(error.contains(words), "{wanted}: {error}");
    }
    // A FAT's boot sector has the signature as well, and text where a table has entries.
    let mut fat = vec![0; SIZE];
    fat[446..510].fill(b'x');
    fat[510..512].copy_from_slice(&[0x55, 0xaa]);
    assert_eq!(error_in(&fat, "1"), "the drive has no partition table");
    // Entry 1 of the MBR: its first block and their number (UEFI 2.10 table 5.2).
    for (at, value) in [(454, 0_u32), (458, 0), (458, u32::MAX), (454, u32::MAX)] {
        let mut drive = mbr.clone();
        drive[at..at + 4].copy_from_slice(&value.to_le_bytes());
        assert!(error_in(&drive, "1").ends_with("is not on the drive"), "{at}");
    }
}

/// A drive whose first header and entries were changed, with CRCs that fit (UEFI 2.10 §5.3.2, offsets of table 5.5).
fn changed(drive: &[u8], change: impl FnOnce(&mut [u8], &mut [u8])) -> Vec<u8> {
    let mut drive = drive.to_vec();
    seal(&mut drive, change);
    // No backup.
    let end = drive.len();
    drive[end - 512..].fill(0);
    drive
}

/// The same of the drive's start alone.
fn seal(drive: &mut [u8], change: impl FnOnce(&mut [u8], &mut [u8])) {
    let (start, rest) = drive.split_at_mut(1024);
    let header = &mut start[512..604];
    change(header, &mut rest[..128 * 128]);
    let entries = hv_abi::sos_image::crc32(&rest[..128 * 128]);
    header[88..92].copy_from_slice(&entries.to_le_bytes());
    header[16..20].fill(0);
    let whole = hv_abi::sos_image::crc32(header);
    header[16..20].copy_from_slice(&whole.to_le_bytes());
}

#[test]
fn a_header_with_good_crcs_and_bad_values_is_refused() {
    let (drive, parts) = gpt();
    assert_eq!(find_in(&changed(&drive, |_, _| ()), "1"), Ok(parts[0]), "what follows is refused for what it says");
    type Change = Box<dyn FnOnce(&mut [u8], &mut [u8])>;
    let header = |at: usize, value: u64, size: usize| -> Change {
        Box::new(move |header, _| header[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]))
    };
    // Entry 1 has its first and last block at 32 and 40 (table 5.6).
    let entry = |at: usize, value: u64| -> Change {
        Box::new(move |_, entries| entries[at..at + 8].copy_from_slice(&value.to_le_bytes()))
    };
    for (change, words) in [
        (header(8, 0x2_0000, 4), "the header in block 1 is damaged"),
        (header(24, 2, 8), "the header in block 1 is damaged"),
        (header(80, 0, 4), "0 entries of 128 bytes are none that are read"),
        (header(80, 0xffff_ffff, 4), "entries of 128 bytes are none that are read"),
        (header(80, 1025, 4), "1025 entries of 128 bytes are none"),
        (header(84, 127, 4), "128 entries of 127 bytes are none"),
        (header(84, 0, 4), "128 entries of 0 bytes are none"),
        (header(84, 0x8000_0000, 4), "128 entries of 2147483648 bytes are none"),
        (header(72, 0, 8), "its entries are not on the drive"),
        (header(72, u64::MAX, 8), "its entries are not on the drive"),
        (header(72, 32768 - 31, 8), "its entries are not on the drive"),
        (header(40, 3000, 8), "partition 1 of the drive's GPT, blocks 2048 to 4095, is not among its usable blocks"),
        (header(48, 4000, 8), "is not among its usable blocks"),
        (entry(32, 5000), "blocks 5000 to 4095, is not among"),
        (entry(32, 0), "blocks 0 to 4095, is not among"),
        (entry(40, u64::MAX), "is not among its usable blocks"),
        (entry(40, 32767), "is not among its usable blocks"),
    ] {
        let error = error_in(&changed(&drive, change), "1");
        assert!(error.contains(words), "{error}, not {words}");
    }
    // What the header calls usable may reach over the end.
    let wide = changed(&drive, |header, entries| {
        header[48..56].fill(0xff);
        entries[40..48].copy_from_slice(&32768_u64.to_le_bytes());
    });
    assert!(error_in(&wide, "1").contains("blocks 2048 to 32768, is not among"));
}

#[test]
fn a_drive_that_does_not_answer_or_cannot_read_is_said_and_asked_once() {
    let (drive, parts) = gpt();
    for (status, words) in [
        (Status::Again, "the drive does not answer in time"),
        (Status::Denied, "the drive cannot read sector 0"),
        (Status::BadAddress, "drive_read: bad address"),
    ] {
        let mut asked = 0;
        let mut read = |_| {
            asked += 1;
            Err(status)
        };
        let error = find(&mut read, &Wanted::Number(1)).unwrap_err().to_string();
        assert_eq!((error.as_str(), asked), (words, 1));
    }
    // Silent in the middle of a table: the backup is not asked for.
    let (mut good, mut asked) = (reader(&drive, 512), 0);
    let answer = find(
        |sector| {
            asked += 1;
            if sector == 0 { good(sector) } else { Err(Status::Again) }
        },
        &Wanted::Number(1),
    );
    assert_eq!((answer, asked), (Err(PartitionError::Silent), 2));
    // A bad sector in the first table: the backup serves.
    let mut good = reader(&drive, 512);
    let answer = find(|sector| if sector == 2 { Err(Status::Denied) } else { good(sector) }, &Wanted::Number(1));
    assert_eq!(answer, Ok(parts[0]));
}

#[test]
fn words_that_name_no_partition_are_refused() {
    for text in [
        "",
        "0",
        "1025",
        "-1",
        "+1",
        " 1",
        "0x1",
        "root",
        "PARTLABEL=",
        "PARTUUID=",
        "PARTUUID=deadbeef",
        "PARTUUID=deadbeef-00",
        "PARTUUID=deadbeef-1",
        "PARTUUID=+eadbeef-01",
        "PARTUUID=deadbeef-+1",
        "PARTUUID=deadbeef-01-",
        "partlabel=a",
        "PARTUUID=01234567-89ab-4cde-8f01-23456789abc",
        "99999999999",
    ] {
        assert_eq!(Wanted::parse(text), None, "{text:?}");
    }
    assert_eq!(Wanted::parse(&format!("PARTLABEL={}", "x".repeat(37))), None);
    assert_eq!(Wanted::parse("PARTUUID=0000000a-0f"), Some(Wanted::Signature(10, 15)));
    assert_eq!(Wanted::parse("PARTLABEL=a=b"), Some(Wanted::Label("a=b".into())));
}

/// Numbers without order.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

#[test]
fn tables_with_bytes_changed_are_refused_or_give_a_part_of_the_drive_by_few_reads() {
    let (mut random, mut found, mut refused) = (Random(0x1234_5678_9abc_def1), 0, 0);
    // What both tables have at the start and at the end; what is between is never changed.
    const START: usize = 1024 + 128 * 128;
    for (drive, _) in [gpt(), mbr()] {
        let sectors = drive.len() / 512;
        for round in 0..20_000 {
            let (mut start, mut end) = (drive[..START].to_vec(), drive[drive.len() - 512..].to_vec());
            if round % 3 != 0 && drive[450] == 0xee {
                let (at, value) = (random.below(92), random.below(256) as u8);
                let (entry, byte) = (random.below(512), random.below(256) as u8);
                seal(&mut start, |header, entries| (header[at], entries[entry]) = (value, byte));
            }
            for _ in 0..random.below(4) {
                let value = random.below(256) as u8;
                match random.below(3) {
                    0 => start[random.below(2048)] = value,
                    1 => start[446 + random.below(66)] = value,
                    _ => end[random.below(512)] = value,
                }
            }
            let wanted = ["1", "2", "4", "PARTLABEL=boot", "PARTUUID=deadbeef-01"][random.below(5)];
            let (mut reads, mut read) = (0, reader(&drive, 512));
            let changed = |sector| {
                reads += 1;
                let mut block = read(sector)?;
                for (at, bytes) in (sector as usize..).zip(block.bytes.chunks_mut(512)) {
                    let new = if at == sectors - 1 { Some(&end[..]) } else { start.get(at * 512..at * 512 + 512) };
                    if let Some(new) = new {
                        bytes.copy_from_slice(new);
                    }
                }
                Ok(block)
            };
            match find(changed, &Wanted::parse(wanted).unwrap()) {
                Ok(range) => {
                    found += 1;
                    assert!(range.sectors > 0 && range.first > 0);
                    assert!(range.first.checked_add(range.sectors).unwrap() <= sectors as u64);
                }
                Err(_) => refused += 1,
            }
            // The start, and of each table a header and 128 KiB at most, which may begin anywhere.
            assert!(reads <= 1 + 2 * (1 + 33), "{reads}");
        }
    }
    assert!(found > 1000 && refused > 1000, "{found} {refused}");
}
