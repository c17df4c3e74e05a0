//! Disks that come and go while their VM runs.

use hv_abi::Status;
use hv_abi::call::DiskPart;
use hv_abi::message::{DiskAttach, DiskDetach};

use super::*;

fn disk(number: u8) -> DiskAttach {
    DiskAttach { name: "linux".to_owned(), disk: number, drive: 1, first: 8, sectors: 16, writable: true }
}

fn detach(number: u8, force: bool) -> Request {
    Request::VmDetach(DiskDetach { name: "linux".to_owned(), disk: number, force })
}

fn code(reply: Reply) -> FailureCode {
    match reply {
        Reply::Error(failure) => failure.code,
        reply => panic!("{reply:?}"),
    }
}

#[test]
fn a_vm_that_runs_gets_a_disk_and_is_asked_for_it_back() {
    let mut life = Life1::new();
    assert_eq!(life.ask(&start("linux")), Reply::Done);
    assert_eq!(life.ask(&Request::VmAttach(disk(2))), Reply::Done);
    let part = DiskPart { drive: 1, disk: 2, queues: 2, writable: true, first: 8, sectors: 16 };
    assert_eq!(life.el2.vm("linux").unwrap().disks, [part]);
    assert_eq!(code(life.ask(&Request::VmAttach(disk(2)))), FailureCode::Exists);
    assert_eq!(life.ask(&detach(2, false)), Reply::Pending);
    assert_eq!(code(life.ask(&detach(2, false))), FailureCode::NotFound, "it has let go");
    assert_eq!(life.ask(&Request::VmAttach(disk(3))), Reply::Done);
    assert_eq!(life.ask(&detach(3, true)), Reply::Done);
}

#[test]
fn what_cannot_be_attached_is_refused_with_its_reason() {
    let mut life = Life1::new();
    assert_eq!(code(life.ask(&Request::VmAttach(disk(2)))), FailureCode::WrongState, "it does not run");
    assert_eq!(code(life.ask(&detach(2, true))), FailureCode::WrongState);
    assert_eq!(life.ask(&start("linux")), Reply::Done);
    let wraps = DiskAttach { first: u64::MAX, ..disk(1) };
    for wrong in [disk(4), disk(255), wraps] {
        assert_eq!(code(life.ask(&Request::VmAttach(wrong))), FailureCode::Invalid);
    }
    assert!(!life.el2.0.borrow().calls.contains(&"vm_attach"), "EL2 is not asked");
    for (status, expected) in [
        (Status::InvalidArgument, FailureCode::Invalid),
        (Status::Conflict, FailureCode::Denied),
        (Status::Denied, FailureCode::Denied),
        (Status::NoMemory, FailureCode::NoResources),
        (Status::WrongState, FailureCode::WrongState),
    ] {
        life.el2.0.borrow_mut().fail_call = Some(("vm_attach", status));
        assert_eq!(code(life.ask(&Request::VmAttach(disk(1)))), expected, "{status}");
    }
}
