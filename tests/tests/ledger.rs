//! What a guest's disk holds after its guest was killed, or the board's power was cut: of the guest `ledger`'s writes those
//! that must be there, and nothing that is of none of them.

use std::path::{Path, PathBuf};

use dormouse_tests::{Board, Description, Guest, Run, Shell, System, seconds};

const MIB: usize = 1 << 20;
const SECTOR: usize = 512;
const BLOCK: usize = 4096;
/// Blocks of the guest's disk: the drive's second MiB.
const BLOCKS: u64 = (MIB / BLOCK) as u64;
const DISK: &str =
    "disks { d { compatible = \"dormouse,disk\"; first-sector = /bits/ 64 <2048>; sectors = /bits/ 64 <2048>; }; };";

/// The finalizer of SplitMix64 over a number, as the guest has it.
fn scrambled(seed: u64, number: u32) -> u64 {
    let mut bits = (seed << 40).wrapping_add(number.into()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

/// The block that a write is to.
fn block_of(seed: u64, number: u32) -> u64 {
    1 + scrambled(seed, number) % (BLOCKS - 1)
}

fn ledger(bootargs: &str) -> Guest {
    Guest::bare("ledger", bootargs).having(DISK)
}

/// A drive of zeroes.
fn drive(system: &System) -> PathBuf {
    let path = system.directory().join("drive.raw");
    std::fs::write(&path, vec![0; 3 * MIB]).expect("a drive");
    path
}

/// The guest is stopped at random moments of `longest_us` after it has begun, requests in flight, and each of its lives holds the
/// disk against the model; the last goes on until there are so many writes. A third of its requests are reads, so that there
/// are half as many again as there are writes.
fn lives(writes: u32, stops: u64, longest_us: u64) {
    let description = Description::with("debian", Guest::debian(1));
    // More writes than a life has time for.
    let description = description.and("ledger", ledger("count=16000000 seed=5").manual());
    let last = ledger(&format!("count={writes} seed=5")).manual();
    let system = System::new(&description.and("last", last));
    let path = drive(&system);
    let mut shell = Shell::enter(Board::default().drive(&path).boot(&system));
    for stop in 0..stops {
        let wait = scrambled(5, stop as u32) % longest_us;
        // It has looked at its disk once at least, and begins to write.
        let begun = "until hvctl vm logs ledger | grep -q 'LEDGER life'; do :; done";
        shell.command(&format!("hvctl vm start ledger; {begun}; usleep {wait}; hvctl vm stop ledger")).ok();
        // A guest that finds what must not be ends otherwise.
        assert_eq!(shell.run.expect_vm_end("ledger", seconds(30)), "stopped", "stop {stop}");
        shell.run.expect_log("vm ledger: memory returned", seconds(30));
    }
    // A VM has its disk until it is destroyed.
    shell.command("hvctl vm destroy ledger; hvctl vm start last").ok();
    assert_eq!(shell.run.expect_vm_end("last", seconds(3600)), "powered off");
    let said = shell.command("hvctl vm logs last").ok();
    println!("{said}");
    let counted =
        said.lines().find_map(|line| line.trim().strip_prefix("LEDGER count ")?.strip_suffix(" is all there"));
    let counted = counted.expect("a count").parse().expect("a number");
    assert!(counted >= writes, "{counted}");
    check(&std::fs::read(&path).expect("the drive"), 5, counted);
}

/// The drive holds at least the first `least` writes, and nothing but writes; beside the disk it is untouched.
fn check(drive: &[u8], seed: u64, least: u32) {
    assert!(drive[..MIB].iter().chain(&drive[2 * MIB..]).all(|byte| *byte == 0), "what is not its own was touched");
    let mut latest = [0; BLOCKS as usize];
    for number in 0..least {
        latest[block_of(seed, number) as usize] = number + 1;
    }
    for (at, sector) in drive[MIB..2 * MIB].chunks(SECTOR).enumerate() {
        let (block, first) = ((at * SECTOR / BLOCK) as u64, at * SECTOR % BLOCK / 8);
        let words = || sector.chunks(8).map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")));
        let version = words().next().map_or(0, |word| (word >> 16) as u32 & 0xff_ffff);
        let own = |index: usize| if version == 0 { 0 } else { block << 40 | u64::from(version) << 16 | index as u64 };
        assert!(words().enumerate().all(|(index, word)| word == own(first + index)), "block {block} is torn");
        assert!(block == 0 || version == 0 || block_of(seed, version - 1) == block, "block {block}: {version}");
        assert!(version >= latest[block as usize], "block {block}: {version} and not {}", latest[block as usize]);
    }
}

#[test]
fn what_a_guest_was_told_is_written_is_there_in_its_next_life() {
    lives(7_000, 4, 600_000);
}

#[test]
#[ignore = "long; make soak runs it"]
fn a_million_requests_with_random_kills_of_the_guest_agree_with_a_model() {
    lives(700_000, 100, 2_000_000);
}

/// How many writes each of the guest's flushes covers, of those that it has announced.
fn announced(console: &str) -> Vec<u32> {
    let whole = console.rfind('\n').map_or("", |end| &console[..end]);
    let flushed = whole.lines().filter_map(|line| line.trim_end().strip_prefix("LEDGER flushed "));
    flushed.map(|count| count.parse().expect("a number")).collect()
}

/// An entry of a log of writes (Linux, Documentation/admin-guide/device-mapper/log-writes.rst), and where its data begins.
struct Entry {
    sector: usize,
    sectors: usize,
    flags: u64,
    data: usize,
}

const FLUSH: u64 = 1;

fn entry(log: &[u8], at: usize) -> Option<Entry> {
    let word = |index: usize| {
        let bytes = log.get(at + 8 * index..at + 8 * index + 8)?;
        Some(u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
    };
    let (sector, sectors) = (word(0)? as usize, word(1)? as usize);
    Some(Entry { sector, sectors, flags: word(2)?, data: at + SECTOR })
}

/// What a drive would hold that lost all that was not flushed: the log's writes up to each flush. Each flush that the guest
/// has seen end covers what it was said to.
fn replay(log: &[u8], seed: u64, announced: &[u32]) {
    let mut drive = vec![0; 3 * MIB];
    let mut flushes = announced.iter();
    let mut at = SECTOR;
    while let Some(Entry { sector, sectors, flags, data }) = entry(log, at) {
        if flags & FLUSH != 0 {
            let Some(count) = flushes.next() else { return };
            check(&drive, seed, *count);
        }
        // A write that the kill has cut off: nothing that was acknowledged is behind it.
        let end = data + sectors * SECTOR;
        let Some(bytes) = log.get(data..end) else { break };
        let Some(place) = drive.get_mut(sector * SECTOR..(sector + sectors) * SECTOR) else { break };
        place.copy_from_slice(bytes);
        at = end;
    }
    assert_eq!(flushes.count(), 0, "flushes that a guest saw end, and the drive never got");
}

/// Cuts the power behind so many flushes, while more requests are under way.
fn cut(seed: u64, flushes: usize) {
    let bootargs = format!("count=1000000 depth=16 flush=1 seed={seed}");
    let system = System::new(&Description::with("ledger", ledger(&bootargs)));
    let path = drive(&system);
    let log = system.directory().join("drive.log");
    std::fs::write(&log, []).expect("a log");
    let mut run = Board::default().logged_drive(&path, &log).boot(&system);
    for _ in 0..flushes {
        run.expect_line("LEDGER flushed ", seconds(120));
    }
    judge(run, &path, &log, seed);
}

fn judge(run: Run, path: &Path, log: &Path, seed: u64) {
    let announced = announced(&run.kill());
    let last = *announced.last().expect("a flush");
    println!("seed {seed}: cut behind {} flushes, of {last} writes", announced.len());
    check(&std::fs::read(path).expect("the drive"), seed, last);
    replay(&std::fs::read(log).expect("the log"), seed, &announced);
}

#[test]
fn every_flush_that_a_guest_saw_end_had_reached_the_drive_when_the_power_is_cut() {
    for (seed, flushes) in [(1, 1), (2, 17)] {
        cut(seed, flushes);
    }
}

#[test]
#[ignore = "long; make soak runs it"]
fn every_flush_of_fifty_power_cuts_had_reached_the_drive() {
    for seed in 0..50 {
        // Elsewhere each time, among the first few dozen.
        cut(100 + seed, 1 + (seed as usize * 618 + 7) % 61);
    }
}
