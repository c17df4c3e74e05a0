//! Guests' disks: parts of the board's drives, which hold what a guest has written and nothing else.

use std::path::{Path, PathBuf};
use std::process::Command;

use dormouse_tests::{Board, Clock, Description, Guest, Run, Shell, System, artifact, seconds};

const MIB: usize = 1 << 20;

/// A drive of so many MiB of bytes without order, in the directory of `system`.
fn drive(system: &System, mib: usize) -> (PathBuf, Vec<u8>) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .take(mib * MIB / 8)
    .flatten()
    .collect();
    let path = system.directory().join("drive.raw");
    std::fs::write(&path, &bytes).expect("a drive");
    (path, bytes)
}

/// A node of a guest's disks. Sectors are of 512 bytes; none of `sectors` is all that follow.
fn disk(name: &str, first: u64, sectors: u64, more: &str) -> String {
    let sectors = if sectors == 0 { String::new() } else { format!("sectors = /bits/ 64 <{sectors}>;") };
    format!("{name} {{ compatible = \"dormouse,disk\"; first-sector = /bits/ 64 <{first}>; {sectors} {more} }};")
}

fn with_disks(guest: Guest, disks: &[String]) -> Guest {
    guest.having(&format!("disks {{ {} }};", disks.concat()))
}

/// Sectors of a MiB.
const S: u64 = MIB as u64 / 512;

/// What `sha256sum` says of bytes.
fn sum(system: &System, bytes: &[u8]) -> String {
    let path = system.directory().join("part.raw");
    std::fs::write(&path, bytes).expect("a part");
    sum_of(&path)
}

fn sum_of(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().expect("sha256sum runs");
    String::from_utf8_lossy(&output.stdout).split_whitespace().next().expect("a sum").to_owned()
}

/// The sum of a file in the guest.
fn guest_sum(shell: &mut Shell, file: &str) -> String {
    let said = shell.command_within(&format!("sha256sum {file}"), seconds(120)).ok();
    said.split_whitespace().next().expect("a sum").to_owned()
}

/// Ends Debian, and the board with it, so that QEMU has written everything.
fn end(mut run: Run) {
    run.send("poweroff -f\n");
    assert!(run.expect_end(seconds(60)).success());
}

#[test]
fn a_guest_reads_and_writes_its_parts_of_a_drive_and_nothing_else() {
    let parts = [disk("system", S, 8 * S, ""), disk("data", 9 * S, 0, "read-only;")];
    let system = System::new(&Description::with("debian", with_disks(Guest::debian(2), &parts)));
    let (path, mut bytes) = drive(&system, 16);
    let mut shell = Shell::enter(Board::default().drive(&path).boot(&system));
    assert_eq!(guest_sum(&mut shell, "/dev/vda"), sum(&system, &bytes[MIB..9 * MIB]));
    assert_eq!(guest_sum(&mut shell, "/dev/vdb"), sum(&system, &bytes[9 * MIB..]));
    assert_eq!(shell.command("cat /sys/block/vda/size /sys/block/vdb/ro").ok(), format!("{}\n1\n", 8 * S));
    // 4 MiB of one disk to another place of the other, in large pieces; a few sectors at its very end, and past it.
    shell.command("dd if=/dev/vdb of=/dev/vda bs=1M count=4 seek=2 conv=fsync").ok();
    shell.command("dd if=/dev/zero of=/dev/vda bs=512 count=3 seek=16381 conv=fsync").ok();
    assert_ne!(shell.command("dd if=/dev/zero of=/dev/vda bs=512 count=1 seek=16384 conv=fsync").status, 0);
    assert_ne!(shell.command("dd if=/dev/zero of=/dev/vdb bs=512 count=1 conv=fsync").status, 0);
    let shown = shell.command("hvctl vm show debian").ok();
    assert!(
        shown.contains("system (drive 0, 8 MiB from 1 MiB on, read-write), data (drive 0, from 9 MiB on, read-only)")
    );
    end(shell.run);
    bytes.copy_within(9 * MIB..13 * MIB, 3 * MIB);
    bytes[9 * MIB - 3 * 512..9 * MIB].fill(0);
    assert!(std::fs::read(&path).expect("the drive") == bytes);
}

#[test]
fn a_file_system_on_a_disk_survives_the_guests_reboots() {
    let guest = with_disks(Guest::debian(2), &[disk("root", 0, 0, "")]);
    let system = System::new(&Description::with("debian", guest));
    let (path, _) = drive(&system, 64);
    let mut shell = Shell::enter(Board::default().drive(&path).boot(&system));
    shell.command("mke2fs /dev/vda && mkdir -p /mnt && mount -t ext4 /dev/vda /mnt").ok();
    shell.command("seq 300000 > /mnt/numbers && cp /bin/busybox /mnt && sync").ok();
    for _ in 0..2 {
        shell.command("umount /mnt").ok();
        shell.run.send("reboot -f\n");
        shell.run.expect_log("vm debian: started", seconds(60));
        shell = Shell::enter(shell.run);
        shell.command("mkdir -p /mnt && mount -t ext4 /dev/vda /mnt").ok();
        assert_eq!(shell.command("seq 300000 | cmp - /mnt/numbers && cmp /bin/busybox /mnt/busybox").ok(), "");
    }
    end(shell.run);
}

#[test]
fn many_requests_at_once_by_all_vcpus_keep_their_places() {
    let guest = with_disks(Guest::debian(4), &[disk("a", 0, 8 * S, ""), disk("b", 8 * S, 0, "")]);
    let system = System::new(&Description::with("debian", guest));
    let (path, bytes) = drive(&system, 16);
    let mut shell = Shell::enter(Board::default().drive(&path).boot(&system));
    assert_eq!(shell.command("ls /sys/block/vda/mq | wc -l").ok(), "4\n");
    // Each of 16 at once copies half a MiB from one disk to the same place of the other, past the cache.
    let copy = "for n in $(seq 0 15); do dd if=/dev/vda of=/dev/vdb bs=64k count=8 skip=$((n * 8)) seek=$((n * 8)) \
                iflag=direct oflag=direct 2>/dev/null & done; wait; sync";
    shell.command_within(copy, seconds(120)).ok();
    end(shell.run);
    let after = std::fs::read(&path).expect("the drive");
    assert!(after[..8 * MIB] == bytes[..8 * MIB] && after[8 * MIB..] == bytes[..8 * MIB]);
}

#[test]
fn no_two_guests_write_to_the_same_sectors() {
    let manual = |disks: &[String]| with_disks(Guest::bare("tiny", "").manual(), disks);
    let description = Description::with("debian", with_disks(Guest::debian(1), &[disk("mine", 0, 4 * S, "")]))
        .and("over", manual(&[disk("d", 4 * S - 1, 2, "")]))
        .and("beside", manual(&[disk("d", 4 * S, 4 * S, "")]))
        .and("reads", manual(&[disk("d", 0, 0, "read-only;")]))
        .and("behind", manual(&[disk("d", 8 * S, 8 * S + 1, "")]))
        .and("nowhere", manual(&[disk("d", 0, 1, "drive = <1>;")]));
    let system = System::new(&description);
    let (path, _) = drive(&system, 16);
    let mut shell = Shell::enter(Board::default().drive(&path).boot(&system));
    let free = shell.hvctl("hv info")["memory"]["guests"].clone();
    for (name, words) in [
        ("over", "drive 0: sectors 8191 to 8192 are written by another"),
        ("behind", "drive 0 has 32768 sectors: 16385 from 16384 on are not among them"),
    ] {
        let answer = shell.command(&format!("hvctl vm start {name}"));
        assert_eq!(answer.status, 1, "{}", answer.output);
        assert!(answer.output.contains(name) && answer.output.contains("vm_device (disk)"), "{}", answer.output);
        shell.run.expect_log(words, seconds(30));
    }
    assert_eq!(shell.command("hvctl vm start nowhere").status, 1);
    assert_eq!(shell.hvctl("hv info")["memory"]["guests"], free, "nothing of them is left");
    for name in ["beside", "reads"] {
        shell.hvctl(&format!("vm start {name}"));
    }
    // What is not a VM's any more can be another's.
    shell.hvctl("vm destroy beside");
    shell.hvctl("vm start beside");
}

/// What `tool` of e2fsprogs ends with.
fn e2fs(tool: &str, arguments: &[&str], path: &Path) -> Option<i32> {
    let tool = Path::new("/usr/sbin").join(tool);
    let output = Command::new(tool).args(arguments).arg(path).output().expect("e2fsprogs is installed");
    println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    output.status.code()
}

/// A guest that writes to an ext4 is stopped hard, again and again; each time the journal makes the file system clean.
fn hard_stops(count: u64) {
    let busy = Guest { bootargs: "console=ttyAMA0 loglevel=4 kpti=off hostname=busy".into(), ..Guest::debian(2) };
    let busy = with_disks(busy.manual(), &[disk("d", 0, 0, "")]);
    let system = System::new(&Description::with("debian", Guest::debian(1)).and("busy", busy));
    let (path, _) = drive(&system, 64);
    assert_eq!(e2fs("mkfs.ext4", &["-q", "-F"], &path), Some(0));
    let mut shell = Shell::enter(Board::default().drive(&path).boot(&system));
    for stop in 0..count {
        shell.command("hvctl vm start busy").ok();
        shell.run.focus("busy");
        let mut busy = Shell::enter(shell.run);
        busy.command("mkdir -p /mnt && mount -t ext4 /dev/vda /mnt").ok();
        busy.run.send(
            "n=0; while true; do n=$((n + 1)); mkdir -p /mnt/d$((n % 7)); seq $((n * 97 % 40000)) >/mnt/d$((n % 7))/f$((n % 50)); \
             rm -rf /mnt/d$(((n + 3) % 7)); [ $((n % 5)) = 0 ] && sync; echo \"round_\"$n; done\n",
        );
        busy.run.expect("round_9", seconds(60));
        busy.run.focus("debian");
        shell = busy;
        // Somewhere in the first second, elsewhere each time.
        shell.command(&format!("usleep {}; hvctl vm stop busy", stop * 618_033 % 1_000_000)).ok();
        shell.run.expect_log("vm busy: memory returned", seconds(60));
        let copy = system.directory().join("copy.raw");
        std::fs::copy(&path, &copy).expect("a copy");
        // 0 is clean, 1 is so after the journal was replayed (e2fsck(8)).
        assert!(e2fs("e2fsck", &["-p"], &copy).is_some_and(|status| status <= 1), "stop {stop}");
        assert_eq!(e2fs("e2fsck", &["-f", "-n"], &copy), Some(0), "stop {stop}");
    }
    shell.power_off();
}

#[test]
fn a_file_system_is_clean_after_hard_stops_of_its_guest() {
    hard_stops(2);
}

#[test]
#[ignore = "long; make soak runs it"]
fn a_file_system_is_clean_after_a_hundred_hard_stops_of_its_guest() {
    hard_stops(100);
}

#[test]
fn a_guest_that_is_stopped_amid_requests_gives_all_its_memory_back() {
    let busy = "console=ttyAMA0 loglevel=4 kpti=off hostname=busy";
    let other = Guest { bootargs: busy.into(), ..Guest::debian(2) };
    let other = with_disks(other.manual(), &[disk("d", S, 0, "")]);
    let description = Description::with("debian", with_disks(Guest::debian(1), &[disk("mine", 0, S, "")]));
    let system = System::new(&description.and("busy", other));
    let (path, bytes) = drive(&system, 16);
    let mut shell = Shell::enter(Board::default().drive(&path).boot(&system));
    let guests = |shell: &mut Shell| shell.hvctl("hv info")["memory"]["guests"].clone();
    let before = guests(&mut shell);
    let mine = guest_sum(&mut shell, "/dev/vda");
    for wait in [0.1, 0.4, 0.7] {
        shell.command("hvctl vm start busy").ok();
        shell.run.focus("busy");
        let mut other = Shell::enter(shell.run);
        other.run.send("while true; do dd if=/dev/vda of=/dev/vda bs=1M count=14 seek=1 conv=fsync; done\n");
        other.run.expect("records out", seconds(60));
        other.run.focus("debian");
        shell = other;
        shell.command(&format!("sleep {wait}; hvctl vm stop busy")).ok();
        assert_eq!(guests(&mut shell), before);
    }
    assert_eq!(guest_sum(&mut shell, "/dev/vda"), mine);
    end(shell.run);
    assert!(std::fs::read(&path).expect("the drive")[..MIB] == bytes[..MIB], "what is another's was never touched");
}

/// A bare-metal driver's requests, each block held against what it has written there. Where idle time is skipped, 30 s of it
/// pass while the host looks for a byte: there the driver does not idle.
fn random_requests(board: &Board, count: u32, seed: u32) {
    let spin = u32::from(board.clock == Clock::Instructions);
    let bootargs = format!("count={count} depth=40 write=2 seed={seed} spin={spin}");
    let system =
        System::new(&Description::with("blk", with_disks(Guest::bare("blk", &bootargs), &[disk("d", S, 0, "")])));
    let path = system.directory().join("drive.raw");
    std::fs::write(&path, vec![0; 16 * MIB]).expect("a drive");
    let mut run = board.clone().drive(&path).boot(&system);
    let said = run.expect_line("BLK count", seconds(600));
    assert!(said.ends_with("errors 0 wrong 0"), "{said}");
    assert_eq!(run.expect_vm_end("blk", seconds(30)), "powered off");
    assert!(run.expect_end(seconds(30)).success());
    let after = std::fs::read(&path).expect("the drive");
    assert!(after[..MIB].iter().all(|byte| *byte == 0), "what is not its own was never touched");
    assert!(after[MIB..].iter().any(|byte| *byte != 0));
}

#[test]
fn random_requests_of_a_bare_metal_driver_agree_with_its_model() {
    random_requests(&Board::default(), 20_000, 1);
    random_requests(&Board::counting(1), 20_000, 2);
}

#[test]
#[ignore = "long; make soak runs it"]
fn a_million_random_requests_agree_with_a_model() {
    random_requests(&Board::default(), 1_000_000, 3);
}

/// The board with this limit of QEMU's on the drive that was added last.
fn slow(mut board: Board, limit: &str) -> Board {
    let drive = board.more.iter_mut().rfind(|option| option.starts_with("if=none")).expect("a drive");
    drive.push_str(&format!(",throttling.{limit}"));
    board
}

#[test]
fn a_drive_that_does_not_answer_is_given_up_and_holds_up_nobody_for_longer() {
    // 1 MiB of the silent drive, number 0, is read by one guest; another leaves with writes in flight.
    let silent = |args: &str, first, sectors, more| {
        with_disks(Guest::bare("blk", args).manual(), &[disk("d", first, sectors, &format!("drive = <0>; {more}"))])
    };
    let description = Description::with("debian", with_disks(Guest::debian(1), &[disk("mine", 0, 0, "drive = <1>;")]))
        .and("reads", silent("count=16 depth=8", 0, S, "read-only;"))
        .and("leaves", silent("role=leave", S, 0, ""));
    // Less than a drive has to answer.
    let system = System::new(&description.partition(|partition| partition.boot_timeout_ms = 8000));
    let (healthy, bytes) = drive(&system, 16);
    let path = system.directory().join("silent.raw");
    std::fs::write(&path, vec![0; 65 * MIB]).expect("a drive");
    // After the first 4 KiB the next are due in 41 s.
    let board = slow(Board::default().drive(&healthy).drive(&path), "bps-total=100");
    let mut shell = Shell::enter(board.boot(&system));
    shell.hvctl("vm start reads");
    shell.hvctl("vm start leaves");
    assert_eq!(shell.run.expect_vm_end("leaves", seconds(30)), "powered off");
    assert_eq!(guest_sum(&mut shell, "/dev/vda"), sum(&system, &bytes), "who has another drive goes on");
    let said = shell.run.expect_log("does not answer: given up", seconds(60));
    assert!(said.contains("drive:   0, the disk at 0xa00"), "{said}");
    let over = ["vm leaves: memory returned", "vm reads: powered off"].map(String::from);
    shell.run.expect_log_of_all(&over, seconds(30));
    // QEMU hands on what lies side by side as one.
    let log = shell.command("hvctl vm logs reads").ok();
    assert!((8..16).any(|errors| log.contains(&format!("errors {errors} wrong 0"))), "{log}");
    // To wait for a drive is no hang of the service partition.
    assert_eq!(shell.hvctl("sos status")["failures"], 0);
    // What is asked later fails at once, and its guest ends as well.
    shell.hvctl("vm start reads");
    shell.run.expect_vm_end("reads", seconds(10));
    assert!(shell.command("hvctl vm logs reads").ok().contains("errors 16 wrong 0"));
}

#[test]
fn a_guest_that_has_ended_has_no_more_requests_taken() {
    let guest = with_disks(Guest::bare("blk", "role=leave"), &[disk("d", 0, 0, "")]);
    let system = System::new(&Description::with("blk", guest));
    let path = system.directory().join("drive.raw");
    std::fs::write(&path, vec![0; 64 * MIB]).expect("a drive");
    // So slow that the guest is gone before the drive has room for the rest.
    let mut run = slow(Board::default().drive(&path), "iops-total=40").boot(&system);
    assert_eq!(run.expect_vm_end("blk", seconds(60)), "powered off");
    run.expect_log("vm blk: memory returned", seconds(60));
    assert!(run.expect_end(seconds(60)).success());
    let bytes = std::fs::read(&path).expect("the drive");
    let written = bytes.chunks(MIB).skip(1).filter(|part| part[..8] != [0; 8]).count();
    assert!((1..60).contains(&written), "{written} of the 63 that can be told from zeroes");
}

#[test]
fn a_queue_that_never_empties_keeps_no_cpu_at_el2() {
    let guest = with_disks(Guest::bare("blk", "role=flood count=200000").vcpus(2), &[disk("d", 0, 0, "")]);
    let asks = Guest::bare("client", "ask=vcpus,sleep:100 repeat=10000").granted();
    let system = System::new(&Description::with("blk", guest).and("asks", asks));
    let (path, _) = drive(&system, 4);
    let mut run = Board::default().drive(&path).boot(&system);
    let said = run.expect_line("BLK flooded: ", seconds(120));
    let answered = said.split(' ').find_map(|word| word.parse::<u64>().ok()).expect("a count");
    run.send("\u{1d}");
    run.expect("[console: asks", seconds(20));
    let mut exits = || {
        let text = run.expect("CLIENT vcpus: ok", seconds(30));
        let counted = text.lines().filter(|line| line.contains("CLIENT vcpu blk "));
        let counts = counted.filter_map(|line| line.split_once("exits [")?.1.split_once(']'));
        counts.flat_map(|(counts, _)| counts.split(", ")).map(|count| count.parse::<u64>().expect("a count")).sum()
    };
    // A turn is of 16 requests, and an interrupt comes between two. Without turns an exit ends when the other vCPU has
    // nothing to offer, after thousands. What the console shows first is of before.
    let enough = (0..1000).map(|_| exits()).find(|exits: &u64| answered <= 16 * exits);
    assert!(enough.is_some(), "{answered} answered in {} exits", exits());
}

#[test]
fn a_drive_with_the_legacy_interface_only_is_named_and_left_alone() {
    let system = System::new(&Description::with("tiny", Guest::bare("tiny", "")));
    let (path, _) = drive(&system, 1);
    let mut board = Board::default();
    let drive = format!("if=none,id=old,format=raw,file={}", artifact::text(&path));
    board.more.extend(["-drive", &drive, "-device", "virtio-blk-device,drive=old"].map(String::from));
    let mut run = board.boot(&system);
    run.expect_log("virtio:  device at 0xa003e00 has the legacy interface only", seconds(30));
    run.expect_log("vm tiny: started", seconds(30));
}
