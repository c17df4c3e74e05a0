//! Disks that come and go while Debian runs, with and without its agent, and under its hands.

use dormouse_tests::{Board, Description, Guest, Shell, System, seconds};

/// Waits until a condition of the shell holds.
fn until(shell: &mut Shell, condition: &str) {
    let wait = format!("for n in $(seq 300); do {condition} && break; sleep 0.1; done; {condition}");
    shell.command_within(&wait, seconds(120)).ok();
}

/// Debian without disks, on a board with a drive of 16 MiB.
fn enter(system: &System) -> Shell {
    let path = system.directory().join("drive.raw");
    std::fs::write(&path, vec![0; 16 << 20]).expect("a drive");
    Shell::enter(Board::default().drive(&path).boot(system))
}

/// Whether Debian has no such disk: its driver has let go of it, which is after Linux shows it no more.
fn is_gone(disk: u8) -> String {
    format!("hvctl vm detach debian disk {disk} 2>&1 | grep -q 'has no disk {disk}'")
}

const ATTACH: &str = "hvctl vm attach debian disk 1 --first-sector 2048 --sectors 8192";

#[test]
fn a_disk_comes_and_goes_and_comes_again_with_what_was_written() {
    let system = System::new(&Description::with("debian", Guest::debian(2)));
    let mut shell = enter(&system);
    shell.command(ATTACH).ok();
    // Without the agent it is bound by hand, and stays where it is.
    shell.command("[ ! -e /dev/vda ] && echo a000400.virtio_mmio > /sys/bus/platform/drivers/virtio-mmio/bind").ok();
    until(&mut shell, "[ \"$(cat /sys/block/vda/size)\" = 8192 ]");
    assert_eq!(shell.command(ATTACH).status, 1, "there is one");
    assert_eq!(shell.command("hvctl vm attach debian disk 2 --first-sector 10239 --sectors 2").status, 1, "taken");
    assert_eq!(shell.command("hvctl vm attach debian disk 2 --first-sector 40000").status, 1, "not of the drive");
    shell.command("dd if=/dev/urandom of=/dev/vda bs=64k conv=fsync count=64").ok();
    let written = shell.command("sha256sum /dev/vda").ok();
    let kept = shell.command("hvctl --timeout 1 vm detach debian disk 1");
    assert!(kept.status == 1 && kept.output.contains("has not let go"), "{}", kept.output);
    // The agent finds what was asked before it was there.
    shell.command("hvctl agent >/tmp/agent 2>&1 & true").ok();
    until(&mut shell, &is_gone(1));
    assert_eq!(shell.command("ls /sys/block | grep -c vd").output, "0\n");
    // Its sectors are nobody's: the same ones in another slot.
    shell.command(&ATTACH.replace("disk 1", "disk 3")).ok();
    until(&mut shell, "[ -b /dev/vda ]");
    assert_eq!(shell.command("sha256sum /dev/vda").ok(), written);
    shell.command("hvctl vm detach debian disk 3").ok();
    until(&mut shell, "[ ! -e /sys/block/vda ]");
    // The agent wakes nobody.
    let lives = shell.await_off()["lives"].clone();
    shell.command("sleep 2").ok();
    assert_eq!(shell.hvctl("sos status")["lives"], lives);
    assert_eq!(shell.command("cat /tmp/agent").ok(), "");
    shell.power_off();
}

#[test]
fn a_disk_that_is_taken_by_surprise_gives_errors_and_the_guest_lives() {
    let system = System::new(&Description::with("debian", Guest::debian(2)));
    let mut shell = enter(&system);
    shell.command("hvctl agent >/tmp/agent 2>&1 & true").ok();
    for _ in 0..2 {
        shell.command(ATTACH).ok();
        until(&mut shell, "[ -b /dev/vda ]");
        let write = "(while dd if=/dev/zero of=/dev/vda bs=64k count=64 oflag=direct; do :; done >/tmp/writes 2>&1; echo over >/tmp/over) &";
        shell.command(&format!("rm -f /tmp/over; {write} true")).ok();
        until(&mut shell, "grep -q 'records out' /tmp/writes");
        shell.command("hvctl vm detach debian disk 1 --force").ok();
        until(&mut shell, "[ -e /tmp/over ]");
        // Its sectors are nobody's at once, though its driver still holds the slot or does no more.
        shell.command(&ATTACH.replace("disk 1", "disk 2")).ok();
        until(&mut shell, "[ -e /sys/bus/platform/drivers/virtio-mmio/a000600.virtio_mmio ]");
        until(&mut shell, &is_gone(1));
        shell.command("hvctl vm detach debian disk 2").ok();
        until(&mut shell, "[ -z \"$(ls /sys/block | grep vd)\" ]");
    }
    shell.power_off();
}
