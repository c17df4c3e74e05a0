//! Changes of devices of VMs that run.

use hv_abi::call::DiskLimits;
use hv_abi::message::{DeviceChanges, DeviceSet, DiskSet, NicSet};

use super::devices::with_devices;
use super::*;

fn disk(change: DiskSet) -> Request {
    Request::VmDevice(DeviceSet { vm: "linux".into(), change: DeviceChanges::Disk(change) })
}

fn nic(change: NicSet) -> Request {
    Request::VmDevice(DeviceSet { vm: "linux".into(), change: DeviceChanges::Nic(change) })
}

fn running() -> Life1 {
    let mut life = Life1::over(El2::new(), &with_devices());
    assert_eq!(life.ask(&start("linux")), Reply::Done);
    life
}

#[test]
fn limits_of_a_disk_and_a_card_change_what_is_named_and_are_the_descriptions_again_at_the_next_start() {
    let mut life = running();
    // By name, and by number; what is not named stays as it was set last.
    let e = |iops, kbytes_per_s| disk(DiskSet { disk: "e".into(), iops, kbytes_per_s, sectors: None });
    assert_eq!(life.ask(&e(Some(70), None)), Reply::Done);
    assert_eq!(life.ask(&e(None, Some(0))), Reply::Done);
    let limits = life.el2.vm("linux").unwrap().limits;
    assert_eq!(limits.last(), Some(&DiskLimits { disk: 1, iops: 70, kbytes_per_s: 0 }));
    let b = NicSet { nic: "1".into(), packets_per_s: Some(11), ..NicSet::default() };
    assert_eq!(life.ask(&nic(b)), Reply::Done);
    let ports = life.el2.vm("linux").unwrap().nics;
    assert_eq!((ports[1].kbit_per_s, ports[1].packets_per_s), (9, 11));
    let shown = life.show("linux").spec;
    assert_eq!((shown.disks[1].iops, shown.disks[1].kbytes_per_s), (70, 0));
    assert_eq!((shown.nics[1].kbit_per_s, shown.nics[1].packets_per_s), (9, 11));
    assert_eq!(life.ask(&stop("linux")), Reply::Done);
    assert_eq!(life.ask(&start("linux")), Reply::Done);
    let shown = life.show("linux").spec;
    assert_eq!((shown.disks[1].iops, shown.disks[1].kbytes_per_s), (5, 6));
    assert_eq!((shown.nics[1].kbit_per_s, shown.nics[1].packets_per_s), (9, 0));
}

#[test]
fn a_link_goes_down_and_up_and_vm_show_names_those_that_are_down() {
    let mut life = running();
    let link = |up| nic(NicSet { nic: "b".into(), link_up: Some(up), ..NicSet::default() });
    assert_eq!(life.ask(&link(false)), Reply::Done);
    assert_eq!(life.el2.vm("linux").unwrap().links_down, 0b10);
    assert_eq!(life.show("linux").links_down, ["b"]);
    assert_eq!(life.ask(&link(true)), Reply::Done);
    assert!(life.show("linux").links_down.is_empty());
}

#[test]
fn a_disk_that_has_grown_stays_so_for_lives_of_the_vm_and_of_the_partition() {
    let mut life = running();
    let grow = |sectors| disk(DiskSet { disk: "d".into(), sectors: Some(sectors), ..DiskSet::default() });
    assert_eq!(life.ask(&grow(16)), Reply::Done);
    assert_eq!(life.el2.vm("linux").unwrap().disks[0].sectors, 16);
    assert_eq!(life.show("linux").spec.disks[0].sectors, 16);
    let vm = life.el2.end("linux", EndReason::Reset);
    let mut next = Life1::over(life.el2.clone(), &with_devices());
    next.event(EventKind::VmEnded, vm);
    assert_eq!(next.el2.vm("linux").unwrap().disks[0].sectors, 16, "its guest's reset");
    assert_eq!(next.ask(&stop("linux")), Reply::Done);
    next.event(EventKind::PowerOn, VmHandle(0));
    assert_eq!(next.el2.vm("linux").unwrap().disks[0].sectors, 16, "a power-on that is handed over again");
    // A second one replaces the first.
    assert_eq!(next.ask(&grow(24)), Reply::Done);
    assert_eq!(next.show("linux").spec.disks[0].sectors, 24);
}

#[test]
fn a_change_that_el2_refuses_is_named_with_its_reason_and_leaves_all_as_it_was() {
    let mut life = running();
    let both = DiskSet { disk: "d".into(), iops: Some(1), sectors: Some(4), ..DiskSet::default() };
    let failure = life.fails(&disk(both.clone()));
    assert_eq!(failure.code, FailureCode::Invalid);
    assert_eq!(failure.message, "vm \"linux\": \"d\": a disk is never made smaller");
    for (status, code, reason) in [
        (
            Status::InvalidArgument,
            FailureCode::Invalid,
            "its drive does not have these sectors, or not as whole blocks",
        ),
        (Status::Conflict, FailureCode::NoResources, "another VM writes to some of these sectors"),
        (Status::WrongState, FailureCode::WrongState, "the VM has ended"),
    ] {
        life.el2.0.borrow_mut().fail_call = Some(("vm_device_set", status));
        let failure = life.fails(&disk(both.clone()));
        assert_eq!((failure.code, failure.message), (code, std::format!("vm \"linux\": \"d\": {reason}")));
    }
    life.el2.0.borrow_mut().fail_call = None;
    assert_eq!(life.el2.vm("linux").unwrap().limits.len(), 1, "the description's");
    let shown = life.show("linux").spec.disks;
    assert_eq!((shown[0].sectors, shown[0].iops), (8, 0));
}

#[test]
fn a_device_or_a_vm_that_is_not_there_is_named() {
    let mut life = running();
    let failure = life.fails(&disk(DiskSet { disk: "f".into(), iops: Some(1), ..DiskSet::default() }));
    assert_eq!((failure.code, &*failure.message), (FailureCode::NotFound, "vm \"linux\" has no disk \"f\""));
    let failure = life.fails(&nic(NicSet { nic: "2".into(), link_up: Some(true), ..NicSet::default() }));
    assert_eq!((failure.code, &*failure.message), (FailureCode::NotFound, "vm \"linux\" has no network card \"2\""));
    assert_eq!(life.ask(&stop("linux")), Reply::Done);
    let failure = life.fails(&disk(DiskSet { disk: "d".into(), iops: Some(1), ..DiskSet::default() }));
    assert_eq!((failure.code, &*failure.message), (FailureCode::WrongState, "vm \"linux\" does not run"));
    let set = DeviceSet { vm: "nobody".into(), change: DeviceChanges::Disk(DiskSet::default()) };
    assert_eq!(life.fails(&Request::VmDevice(set)).code, FailureCode::NotFound);
}
