//! Devices that are changed while their guests use them.

use dormouse_tests::{Board, Description, Guest, Shell, System, seconds};

const MIB: usize = 1 << 20;
/// Sectors of a MiB.
const SECTORS: usize = MIB / 512;

/// A disk of 4 MiB of the first drive, from this MiB on.
fn disk(name: &str, first: usize) -> String {
    let [first, sectors] = [first * SECTORS, 4 * SECTORS];
    format!(
        "{name} {{ compatible = \"dormouse,disk\"; first-sector = /bits/ 64 <{first}>; sectors = /bits/ 64 <{sectors}>; }};"
    )
}

/// How long a command takes, by the guest's own clock, in seconds.
fn timed(shell: &mut Shell, command: &str) -> f64 {
    let uptime = "cut -d' ' -f1 /proc/uptime";
    let said = shell.command_within(&format!("{uptime}; {command}; {uptime}"), seconds(120)).ok();
    let times: Vec<f64> = said.lines().filter_map(|line| line.parse().ok()).collect();
    let [before, after] = times[..] else { panic!("{said}") };
    after - before
}

#[test]
fn a_disk_is_limited_and_grows_while_debian_uses_it_and_never_into_anothers_sectors() {
    let disks = format!("disks {{ {}{} }};", disk("d0", 0), disk("d1", 12));
    let system = System::new(&Description::with("debian", Guest::debian(1).having(&disks)));
    let path = system.directory().join("drive.raw");
    std::fs::write(&path, vec![0x5a; 16 * MIB]).expect("a drive");
    let mut shell = Shell::enter(Board::default().drive(&path).boot(&system));
    shell.command("hvctl vm set debian --disk d1 --max-iops 50").ok();
    assert_eq!(shell.hvctl("vm show debian")["spec"]["disks"][1]["iops"], 50);
    let read = "dd if=/dev/vdb of=/dev/null bs=4k count=100 iflag=direct 2>/dev/null";
    let took = timed(&mut shell, read);
    assert!(took > 1.9, "{took} s for 100 requests at 50 in a second");
    // What waits for a limit goes on when that is taken away: at one request in a second it would take more than a minute.
    shell.command("hvctl vm set debian --disk 1 --max-iops 1").ok();
    let took =
        timed(&mut shell, &format!("({read} &); sleep 2; hvctl vm set debian --disk d1 --max-iops none; {read}"));
    assert!(took < 60.0, "{took} s though nothing is limited");
    // Another's sectors begin at 12 MiB.
    let grow = |sectors: usize| format!("hvctl vm set debian --disk d0 --sectors {sectors}");
    let refused = shell.command(&grow(12 * SECTORS + 8));
    assert!(refused.output.contains("another VM writes to some of these sectors"), "{}", refused.output);
    let refused = shell.command(&grow(4 * SECTORS - 8));
    assert!(refused.output.contains("a disk is never made smaller"), "{}", refused.output);
    let refused = shell.command("hvctl vm set debian --disk d1 --sectors 16384");
    assert!(refused.output.contains("its drive does not have these sectors"), "{}", refused.output);
    assert_eq!(shell.command("cat /sys/block/vda/size").ok().trim(), (4 * SECTORS).to_string());
    shell.command(&grow(8 * SECTORS)).ok();
    let waits = format!("until [ $(cat /sys/block/vda/size) = {} ]; do sleep 0.1; done", 8 * SECTORS);
    shell.command(&waits).ok();
    assert!(shell.command("dmesg").ok().contains("[vda] new size: 16384 512-byte logical blocks"));
    shell.command("yes grown | dd of=/dev/vda bs=512 seek=16383 count=1 oflag=direct conv=fsync 2>/dev/null").ok();
    shell.power_off();
    let drive = std::fs::read(&path).expect("the drive");
    assert_eq!(&drive[8 * MIB - 512..8 * MIB - 506], b"grown\n");
    assert_eq!(drive[8 * MIB], 0x5a, "nothing behind it");
}

#[test]
fn a_link_that_is_down_carries_nothing_whether_its_driver_obeys_or_not_and_a_limit_holds_at_once() {
    let nic =
        |more: &str| format!("nics {{ eth0 {{ compatible = \"dormouse,nic\"; network = \"inner\"; {more} }}; }};");
    // It sends all the time to an address that nobody has, and knows nothing of links. Debian gets that as a bridge would.
    let sender = Guest::bare("net", "role=send count=1000000000 gap=20000").having(&nic(""));
    let description = Description::with("debian", Guest::debian(1).having(&nic("any-source;")))
        .and("net", sender)
        .network("inner", "");
    let mut shell = Shell::enter(Board::default().boot(&System::new(&description)));
    shell.command("ip link set eth0 up").ok();
    let frames = |shell: &mut Shell, name: &str| {
        let card = shell.hvctl("vm show debian")["nics"][0].clone();
        if name == "no_room" { &card["dropped"][name] } else { &card[name] }.as_u64().expect("a number")
    };
    let comes = |shell: &mut Shell, name: &str| {
        let before = frames(shell, name);
        (0..100).any(|_| frames(shell, name) > before + 100)
    };
    assert!(comes(&mut shell, "received_frames"));
    // A driver that obeys.
    shell.command("hvctl vm set debian --nic eth0 --link down").ok();
    shell.command("until [ $(cat /sys/class/net/eth0/carrier) = 0 ]; do sleep 0.1; done").ok();
    assert_eq!(shell.hvctl("vm show debian")["links_down"][0], "eth0");
    assert!(comes(&mut shell, "no_room"), "what is for it is dropped");
    let received = shell.hvctl("vm show debian")["nics"][0]["received_frames"].clone();
    assert!(comes(&mut shell, "no_room"));
    assert_eq!(shell.hvctl("vm show debian")["nics"][0]["received_frames"], received);
    shell.command("hvctl vm set debian --nic eth0 --link up").ok();
    shell.command("until [ $(cat /sys/class/net/eth0/carrier) = 1 ]; do sleep 0.1; done").ok();
    assert!(comes(&mut shell, "received_frames"));
    // One that does not.
    shell.command("hvctl vm set net --nic 0 --link down").ok();
    let counted = |shell: &mut Shell| frames(shell, "received_frames");
    let before = counted(&mut shell);
    shell.command("sleep 1").ok();
    assert_eq!(counted(&mut shell), before);
    shell.command("hvctl vm set net --nic 0 --link up").ok();
    assert!(comes(&mut shell, "received_frames"));
    // A limit: 50 in a second, and what a burst is.
    shell.command("hvctl vm set net --nic eth0 --max-packets-per-s 50").ok();
    let look = |file: &str| format!("hvctl --json vm show debian >/tmp/{file}");
    let took = timed(&mut shell, &format!("{}; sleep 3; {}", look("before"), look("after")));
    let [before, after] = ["before", "after"].map(|file| {
        let shown = shell.command(&format!("cat /tmp/{file}")).json();
        shown["nics"][0]["received_frames"].as_u64().expect("a number")
    });
    assert!((after - before) as f64 <= took * 50.0 + 3.0, "{} in {took} s", after - before);
    shell.command("hvctl vm set net --nic eth0 --max-packets-per-s none").ok();
    assert!(comes(&mut shell, "received_frames"));
}
