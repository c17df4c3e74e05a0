//! Limits of guests' disks, and what EL2 counts of disks, held against what the guest counts itself.

use dormouse_tests::{Board, Description, Guest, Shell, System, seconds};
use serde_json::Value;

const MIB: usize = 1 << 20;

/// Disks of 4 MiB of the first drive, one behind the other, each with these properties.
fn with_disks<const N: usize>(guest: Guest, properties: [&str; N]) -> Guest {
    let sectors = 4 * MIB / 512;
    let node = |(index, more)| {
        let first = index * sectors;
        format!(
            "d{index} {{ compatible = \"dormouse,disk\"; first-sector = /bits/ 64 <{first}>; \
             sectors = /bits/ 64 <{sectors}>; {more} }};"
        )
    };
    let nodes: String = properties.into_iter().enumerate().map(node).collect();
    guest.having(&format!("disks {{ {nodes} }};"))
}

/// How long a command takes, by the guest's own clock, in seconds.
fn timed(shell: &mut Shell, command: &str) -> f64 {
    let uptime = "cut -d' ' -f1 /proc/uptime";
    let said = shell.command_within(&format!("{uptime}; {command}; {uptime}"), seconds(120)).ok();
    let times: Vec<f64> = said.lines().filter_map(|line| line.parse().ok()).collect();
    let [before, after] = times[..] else { panic!("{said}") };
    after - before
}

/// What Linux has counted of a disk (Documentation/block/stat.rst): reads, sectors of these, writes, sectors of these,
/// flushes.
fn counted_by_linux(shell: &mut Shell, disk: &str) -> [u64; 5] {
    let said = shell.command(&format!("cat /sys/block/{disk}/stat")).ok();
    let fields: Vec<u64> = said.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    assert!(fields.len() >= 17, "{said}");
    let [reads, read, writes, written, flushes] = [0, 2, 4, 6, 15].map(|field| fields[field]);
    // A flush comes by an empty write, which Linux counts among these, too (block/blk-flush.c).
    [reads, read, writes - flushes, written, flushes]
}

/// The same by EL2.
fn counted_by_el2(disk: &Value) -> [u64; 5] {
    let number = |name| disk[name].as_u64().expect("a number");
    let sectors = |name| number(name) / 512;
    [number("reads"), sectors("read_bytes"), number("writes"), sectors("written_bytes"), number("flushes")]
}

#[test]
fn disks_with_limits_are_no_faster_lose_nothing_and_are_counted_as_their_guest_counts() {
    let guest = with_disks(Guest::debian(1), ["", "max-iops = <50>;", "max-kbytes-per-s = <1000>;"]);
    let system = System::new(&Description::with("debian", guest));
    let path = system.directory().join("drive.raw");
    std::fs::write(&path, vec![0x5a; 12 * MIB]).expect("a drive");
    let mut shell = Shell::enter(Board::default().drive(&path).boot(&system));
    // Each of 100 requests but the first waits for a fiftieth of a second.
    let took = timed(&mut shell, "dd if=/dev/vdb of=/dev/null bs=4k count=100 iflag=direct 2>/dev/null");
    assert!(took > 1.9, "{took} s for 100 requests at 50 in a second");
    // What is written arrives, flushes among it: 2 MiB, of which the last request and a burst of 10 kB need not wait.
    shell.command("dd if=/dev/urandom of=/tmp/data bs=64k count=32 2>/dev/null").ok();
    let took = timed(&mut shell, "dd if=/tmp/data of=/dev/vdc bs=64k oflag=direct conv=fsync 2>/dev/null");
    assert!(took > 1.9, "{took} s for 2 MiB at 1 MB/s");
    shell.command("dd if=/tmp/data of=/dev/vda bs=64k oflag=direct conv=fsync 2>/dev/null").ok();
    for disk in ["vda", "vdc"] {
        let same = format!("dd if=/dev/{disk} bs=64k count=32 iflag=direct 2>/dev/null | cmp - /tmp/data");
        shell.command_within(&same, seconds(120)).ok();
    }
    let shown = shell.hvctl("vm show debian");
    assert_eq!(
        (&shown["spec"]["disks"][1]["iops"], &shown["spec"]["disks"][2]["kbytes_per_s"]),
        (&50.into(), &1000.into())
    );
    for (index, disk) in ["vda", "vdb", "vdc"].into_iter().enumerate() {
        let counted = &shown["disks"][index];
        assert_eq!(counted_by_el2(counted), counted_by_linux(&mut shell, disk), "{disk}: {counted}");
        assert_eq!((&counted["name"], &counted["failed"]), (&format!("d{index}").into(), &0.into()));
        let waits = counted["waits"].as_u64().expect("a number");
        assert_eq!(waits > 0, index > 0, "{disk}: {counted}");
    }
    // Rates while it is busy: by the limit, and the one request that a burst is.
    shell.command("(dd if=/dev/vdb of=/dev/null bs=4k iflag=direct 2>/dev/null &)").ok();
    let samples = shell.hvctl("top -i 2 -n 1");
    let io =
        &samples[0]["vms"].as_array().and_then(|vms| vms.iter().find(|vm| vm["name"] == "debian")).expect("it")["io"];
    let rate = io["requests_per_s"].as_f64().expect("a rate");
    assert!(rate > 0.0 && rate <= 52.0, "{io}");
    let bytes = io["read_bytes_per_s"].as_f64().expect("a rate");
    // Each rate is rounded to a thousandth.
    assert!((bytes - rate * 4096.0).abs() < 4.096, "{io}");
}
