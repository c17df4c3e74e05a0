//! What guests get of drives and networks.

use hv_abi::call::{DeviceKind, DiskLimits, DiskPart, NicPort};

use hv_abi::message::{DeviceChanges, DeviceSet, DiskSet};

use super::*;

const NODES: &str = "rng;\n\
    disks {\n\
        d { compatible = \"dormouse,disk\"; drive = <2>; sectors = /bits/ 64 <8>; read-only; };\n\
        e { compatible = \"dormouse,disk\"; first-sector = /bits/ 64 <8>; max-iops = <5>; max-kbytes-per-s = <6>; };\n\
    };\n\
    nics {\n\
        a { compatible = \"dormouse,nic\"; network = \"lan\"; mac-address = [02 00 00 00 00 07]; };\n\
        b { compatible = \"dormouse,nic\"; network = \"inner\"; any-source; max-kbit-per-s = <9>; mtu = <1400>; };\n\
    };\n";

const NETWORKS: &str = "networks {\n\
        inner { compatible = \"dormouse,network\"; };\n\
        lan { compatible = \"dormouse,network\"; uplink; };\n\
    };\n";

/// SYSTEM with these devices of the guest `linux`.
pub(super) fn with_devices() -> std::string::String {
    let guest = SYSTEM.find("linux {").expect("the guest");
    let end = guest + SYSTEM[guest..].find("};").expect("its end");
    let source = [&SYSTEM[..end], NODES, &SYSTEM[end..]].concat();
    source.replacen("guests {", &[NETWORKS, "guests {"].concat(), 1)
}

#[test]
fn devices_are_given_in_the_order_of_the_description() {
    let mut life = Life1::over(El2::new(), &with_devices());
    assert_eq!(life.ask(&start("linux")), Reply::Done);
    let vm = life.el2.vm("linux").unwrap();
    let disk = DiskPart { drive: 2, disk: 0, queues: 2, writable: false, first: 0, sectors: 8 };
    assert_eq!(vm.disks, [disk, DiskPart { drive: 0, disk: 1, writable: true, first: 8, sectors: 0, ..disk }]);
    assert_eq!(vm.limits, [DiskLimits { disk: 1, iops: 5, kbytes_per_s: 6 }]);
    assert_eq!(vm.devices.iter().filter(|(kind, _)| *kind == DeviceKind::Entropy).count(), 1);
    let a = NicPort {
        network: 0,
        nic: 0,
        isolated: false,
        any_source: false,
        mac: [2, 0, 0, 0, 0, 7],
        mtu: 1500,
        kbit_per_s: 0,
        packets_per_s: 0,
    };
    assert_eq!(vm.nics.first(), Some(&a));
    let made_up = vm.nics[1].mac;
    let b = NicPort { network: 1, nic: 1, any_source: true, mac: made_up, mtu: 1400, kbit_per_s: 9, ..a };
    assert_eq!(vm.nics[1..], [b]);
    assert_eq!(made_up[0] & 3, 2, "a local address of one station");
}

/// SYSTEM whose guest `linux` has the second partition of drive 1, and where `raw` starts at power-on behind it.
fn with_partition() -> std::string::String {
    let (start, end) = SYSTEM.split_at(SYSTEM.find("linux {").expect("the guest"));
    let disk = "disks { d { compatible = \"dormouse,disk\"; drive = <1>; partition = \"2\"; read-only; }; };\n};";
    let end = end.replacen("};", disk, 1).replacen("raw {", "raw { autostart;", 1);
    [start, &end].concat()
}

/// A drive with an MBR whose second entry is of 3 sectors from the fifth on (UEFI 2.10 tables 5.1 and 5.2).
fn drive() -> Vec<u8> {
    let mut drive = vec![0; 64 * 512];
    drive[466] = 0x83;
    drive[470..474].copy_from_slice(&5_u32.to_le_bytes());
    drive[474..478].copy_from_slice(&3_u32.to_le_bytes());
    drive[510..512].copy_from_slice(&[0x55, 0xaa]);
    drive
}

#[test]
fn a_partition_is_given_as_the_sectors_that_its_drives_table_says() {
    let mut life = Life1::over(El2::new(), &with_partition());
    life.el2.0.borrow_mut().drives = vec![vec![0; 8192], drive()];
    assert_eq!(life.ask(&start("linux")), Reply::Done);
    let disk = DiskPart { drive: 1, disk: 0, queues: 2, writable: false, first: 5, sectors: 3 };
    assert_eq!(life.el2.vm("linux").unwrap().disks, [disk]);
}

#[test]
fn a_disk_that_is_a_partition_does_not_grow() {
    let mut life = Life1::over(El2::new(), &with_partition());
    life.el2.0.borrow_mut().drives = vec![vec![0; 8192], drive()];
    assert_eq!(life.ask(&start("linux")), Reply::Done);
    let disk = DiskSet { disk: "d".into(), sectors: Some(4), ..DiskSet::default() };
    let set = DeviceSet { vm: "linux".into(), change: DeviceChanges::Disk(disk) };
    let failure = life.fails(&Request::VmDevice(set));
    assert_eq!(failure.message, "vm \"linux\": disk \"d\" is a partition: it is as large as its table says");
    assert!(!life.el2.0.borrow().calls.contains(&"vm_device_set"));
}

#[test]
fn a_vm_whose_partition_is_not_found_is_not_begun_and_the_answer_names_vm_disk_and_drive() {
    let mut life = Life1::over(El2::new(), &with_partition());
    life.el2.0.borrow_mut().drives = vec![vec![0; 8192]; 2];
    let failure = life.fails(&start("linux"));
    assert_eq!(failure.message, "vm \"linux\": disk \"d\": \"2\" of drive 1: the drive has no partition table");
    assert!(!life.el2.0.borrow().calls.contains(&"vm_create"));
}

#[test]
fn at_power_on_who_waits_for_a_drive_starts_behind_the_others() {
    let mut life = Life1::over(El2::new(), &with_partition());
    life.el2.0.borrow_mut().fail_call = Some(("drive_read", Status::Again));
    life.event(EventKind::PowerOn, VmHandle(0));
    assert!(life.el2.vm("raw").is_some() && life.el2.vm("linux").is_none());
    let state = life.el2.0.borrow();
    let place = |name| state.calls.iter().position(|call| *call == name).expect(name);
    assert!(place("vm_start") < place("drive_read"));
    assert!(state.configs.is_empty(), "one runs");
}

#[test]
fn what_went_through_a_vms_devices_is_shown_as_el2_counts_it_and_nothing_of_another() {
    let mut life = Life1::over(El2::new(), &with_devices());
    assert!(life.show("linux").disks.is_empty(), "it does not run");
    // In the slot before it, without devices; and in the one behind it, with its own.
    assert_eq!(life.ask(&start("raw")), Reply::Done);
    assert_eq!(life.ask(&start("linux")), Reply::Done);
    let slot = u64::from(life.el2.handle("linux").index().expect("a slot"));
    assert_eq!(slot, 1, "the second");
    let detail = life.show("linux");
    // The fake counts a thousand for each slot, a hundred for each device, and one for each field.
    let disks: Vec<_> = detail.disks.iter().map(|disk| (&*disk.name, disk.reads, disk.writes, disk.failed)).collect();
    assert_eq!(disks, [("d", 1001, 0, 1007), ("e", 1101, 0, 1107)]);
    let nics: Vec<_> = detail.nics.iter().map(|nic| (&*nic.name, nic.dropped.spoofed, nic.dropped.no_room)).collect();
    assert_eq!(nics, [("a", 1011, 1015), ("b", 1111, 1115)]);
    let other = life.show("raw");
    assert!(other.disks.is_empty() && other.nics.is_empty());
}

/// SYSTEM with networks, and the partition in one of them.
fn in_network() -> std::string::String {
    let node =
        "image = \"sos.img\"; network = \"inner\"; address = \"10.0.2.100/24\"; mac-address = [02 00 00 00 00 09];";
    SYSTEM.replacen("guests {", &[NETWORKS, "guests {"].concat(), 1).replacen("image = \"sos.img\";", node, 1)
}

#[test]
fn the_partitions_card_and_rules_are_set_at_power_on_and_again_by_a_second_life_there() {
    let el2 = El2::new();
    el2.0.borrow_mut().fail_call = Some(("sos_wake_rules", Status::Again));
    Life1::over(el2.clone(), &in_network()).event(EventKind::PowerOn, VmHandle(0));
    let card = el2.0.borrow().network.expect("a card");
    assert_eq!((card.network, card.mac, card.mtu), (1, [2, 0, 0, 0, 0, 9], 1500));
    assert!(el2.0.borrow().rules.is_empty());
    el2.0.borrow_mut().fail_call = None;
    el2.begin_next_life();
    Life1::over(el2.clone(), &in_network()).event(EventKind::PowerOn, VmHandle(0));
    assert_eq!(el2.0.borrow().rules.len(), 6);
    assert_eq!(el2.0.borrow().network, Some(card));
}

#[test]
fn a_life_without_power_on_or_network_makes_no_call_for_one() {
    for (source, power_on) in [(in_network(), false), (SYSTEM.into(), true)] {
        let mut life = Life1::over(El2::new(), &source);
        if power_on {
            life.event(EventKind::PowerOn, VmHandle(0));
        }
        life.list();
        let state = life.el2.0.borrow();
        assert!(!state.calls.iter().any(|call| call.starts_with("sos_network") || call.starts_with("sos_wake")));
    }
}
