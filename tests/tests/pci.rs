//! The board's drive and network card over PCI, with an SMMU before them and without.

use std::path::Path;

use dormouse_tests::{Board, Description, Guest, Shell, System, seconds};

const MIB: usize = 1 << 20;

/// Debian reads and writes all of a drive, and has an address by DHCP; `log` is in EL2's log. Returns the board's end.
fn works(board: impl FnOnce(Board, &Path) -> Board, log: &[&str]) {
    let disk = "disks { all { compatible = \"dormouse,disk\"; first-sector = /bits/ 64 <0>; }; };";
    let nic = "nics { eth0 { compatible = \"dormouse,nic\"; network = \"lan\"; }; };";
    let guest = Guest::debian(2).having(&format!("{disk} {nic}"));
    let system = System::new(&Description::with("debian", guest).network("lan", "uplink;"));
    let mut bytes: Vec<u8> =
        (0..2 * MIB as u32 / 4).flat_map(|word| word.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect();
    let path = system.file("drive.raw", &bytes);
    let mut shell = Shell::enter(board(Board::default(), &path).boot(&system));
    for words in log {
        shell.run.expect_log(words, seconds(30));
    }
    shell.command_within("dd if=/dev/vda of=/dev/vda bs=64k count=16 seek=16 conv=fsync", seconds(120)).ok();
    shell.command("until ip addr show eth0 | grep -q 'inet 10.0.2.15/24'; do sleep 0.1; done").ok();
    assert!(shell.command("ping -c 3 10.0.2.2").ok().contains("3 packets received"));
    shell.run.send("poweroff -f\n");
    assert!(shell.run.expect_end(seconds(60)).success());
    bytes.copy_within(..MIB, MIB);
    assert!(std::fs::read(&path).expect("the drive") == bytes);
}

#[test]
fn a_drive_and_a_card_on_pci_serve_guests_without_an_smmu() {
    let log = ["drive:   0 is the disk at 0000:00:02.0, 2 MiB", "uplink:  network card at 0000:00:03.0"];
    works(|board, drive| board.without_smmu().pci(drive, ""), &log);
}

#[test]
fn a_drive_and_a_card_on_pci_serve_guests_through_the_smmu() {
    let log = ["drive:   0 is the disk at 0000:00:02.0, 2 MiB", "uplink:  network card at 0000:00:03.0"];
    works(|board, drive| board.pci(drive, ",iommu_platform=on,disable-legacy=on"), &log);
}

#[test]
fn devices_that_go_around_the_smmu_are_named() {
    let log = [
        "0000:00:02.0 does not offer VIRTIO_F_ACCESS_PLATFORM: its DMA goes around the SMMU before it",
        "0000:00:03.0 does not offer VIRTIO_F_ACCESS_PLATFORM: its DMA goes around the SMMU before it",
    ];
    works(|board, drive| board.pci(drive, ""), &log);
}
