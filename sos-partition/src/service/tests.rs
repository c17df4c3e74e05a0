use std::borrow::ToOwned;
use std::string::String;
use std::vec;
use std::vec::Vec;

use hv_abi::call::{ConfigKind, DeviceKind, Grants, Scheduling};
use hv_abi::mailbox::{BODY_MAX, FrameHeader, INBOUND_PRODUCER, MESSAGE_MAX, OPEN_MAX, OUTBOUND_CONSUMER};
use hv_abi::message::{
    Failure, FailureCode, Fault, FaultKind, Origin, Reservation, VmCreate, VmDetail, VmPhase, VmSet, VmSummary,
};
use hv_abi::record::EndReason;
use zerocopy::IntoBytes;

use super::*;
use crate::fake::{El2, SYSTEM, system_archive};

mod change;
mod console;
mod devices;
mod lives;
mod memory;
mod plug;

const SECOND: u64 = 1_000_000;
const ASKER: VmHandle = VmHandle::new(5, 9);

/// A life over the fake.
struct Life1 {
    el2: El2,
    service: Service<'static, El2, El2>,
    id: u32,
    now: u64,
}

impl Life1 {
    fn over(el2: El2, source: &str) -> Self {
        let archive = system_archive(source).leak();
        let life = Life { archive, seed: [7; 32], ticks_per_second: SECOND };
        let service = Service::begin(el2.clone(), el2.clone(), life).unwrap();
        Self { el2, service, id: 0, now: 0 }
    }

    fn new() -> Self {
        Self::over(El2::new(), SYSTEM)
    }

    /// Turns until there is nothing to do; the time to wake at.
    fn run(&mut self) -> Option<u64> {
        for _ in 0..100_000 {
            if let Next::Sleep(until) = self.service.turn(self.now).unwrap() {
                return until;
            }
        }
        panic!("never sleeps");
    }

    fn frame(&self, flags: Flags, id: u32, vm: VmHandle, body: &[u8]) {
        let frame = Frame { party: Party::Sos, flags, id, port: 2, vm, length: 0 };
        self.el2.deliver(Slot::new(frame, body));
    }

    fn event(&mut self, kind: EventKind, vm: VmHandle) {
        let event = Event { kind: (kind as u32).into(), reserved: 0.into() };
        let frame = Frame { party: Party::Hv, flags: Flags::EVENT, id: 0, port: 0, vm, length: 0 };
        self.el2.deliver(Slot::new(frame, event.as_bytes()));
        self.run();
    }

    /// The frames of all replies so far, put together by number.
    fn replies(&self) -> Vec<(u32, Reply)> {
        let mut partial: Vec<(u32, Vec<u8>)> = Vec::new();
        let mut whole = Vec::new();
        for slot in &self.el2.0.borrow().delivered {
            let frame = Frame::parse(&slot.header).unwrap();
            assert_eq!((frame.party, frame.port), (Party::Sos, 2));
            let place = partial.iter().position(|(id, _)| *id == frame.id);
            let place = place.unwrap_or_else(|| {
                partial.push((frame.id, Vec::new()));
                partial.len() - 1
            });
            partial[place].1.extend_from_slice(&slot.body[..frame.length]);
            if frame.flags == Flags::default() {
                let (id, bytes) = partial.remove(place);
                whole.push((id, decode(&bytes).unwrap()));
            } else {
                assert_eq!(frame.flags, Flags::MORE);
                assert_eq!(frame.length, BODY_MAX);
            }
        }
        assert!(partial.is_empty(), "half a reply");
        whole
    }

    fn ask(&mut self, request: &Request) -> Reply {
        self.id += 1;
        self.el2.0.borrow_mut().delivered.clear();
        self.frame(Flags::default(), self.id, ASKER, &encode(request));
        self.run();
        let mut replies = self.replies();
        assert_eq!(replies.len(), 1, "{request:?}");
        let (id, reply) = replies.remove(0);
        assert_eq!(id, self.id);
        reply
    }

    fn list(&mut self) -> Vec<VmSummary> {
        match self.ask(&Request::VmList) {
            Reply::VmList(list) => list,
            other => panic!("{other:?}"),
        }
    }

    fn show(&mut self, name: &str) -> VmDetail {
        match self.ask(&Request::VmShow { name: name.into() }) {
            Reply::Vm(detail) => *detail,
            other => panic!("{other:?}"),
        }
    }

    fn fails(&mut self, request: &Request) -> Failure {
        match self.ask(request) {
            Reply::Error(failure) => failure,
            other => panic!("{other:?}"),
        }
    }
}

fn start(name: &str) -> Request {
    Request::VmStart { name: name.into() }
}

fn stop(name: &str) -> Request {
    Request::VmStop { name: name.into() }
}

fn destroy(name: &str) -> Request {
    Request::VmDestroy { name: name.into() }
}

fn create(name: &str, from: &str) -> VmCreate {
    VmCreate {
        name: name.into(),
        from: from.into(),
        memory: None,
        vcpus: None,
        bootargs: None,
        image: None,
        grants: None,
    }
}

#[test]
fn a_list_has_the_description_in_its_order_and_what_el2_runs() {
    let mut life = Life1::new();
    let names: Vec<_> = life.list().iter().map(|line| (line.name.clone(), line.state)).collect();
    let defined = |name: &str| (name.to_owned(), VmPhase::Defined);
    assert_eq!(names, [defined("linux"), defined("raw"), defined("tiny")]);
    assert_eq!(life.ask(&start("raw")), Reply::Done);
    let list = life.list();
    assert_eq!(list[1].state, VmPhase::Running);
    assert_eq!(list[1].uptime_ns, Some(1_234_567_890));
    assert_eq!((list[0].vcpus, list[0].memory), (2, 0x200_0000));
}

#[test]
fn a_linux_guest_is_built_as_its_spec_says() {
    let mut life = Life1::new();
    assert_eq!(life.ask(&start("linux")), Reply::Done);
    let vm = life.el2.vm("linux").unwrap();
    assert_eq!((vm.vcpus, vm.memory), (2, 0x200_0000));
    use DeviceKind::{Balloon, Mailbox, ManagementPorts, StolenTime, Watchdog};
    let kinds = [(StolenTime, 0), (Watchdog, 0), (Balloon, 0x100_0000), (Mailbox, 0), (ManagementPorts, 4)];
    assert_eq!(vm.devices, kinds);
    assert_eq!(vm.scheduling, Scheduling::DEFAULT);
    assert_eq!(vm.grants, Grants::ALL);
    // text_offset 0 above the first 2 MiB block; the tree at the start of RAM.
    assert_eq!(vm.boot, Some((0x4020_0000, 0x4000_0000)));
    assert_eq!(vm.bytes(0x4020_0000, 100_000), crate::fake::linux(100_000, 0x40_0000));
    // The initrd lies behind the image's 4 MiB of memory.
    assert_eq!(vm.bytes(0x4060_0000, 70_000), vec![0x1f; 70_000]);
    assert_eq!(vm.bytes(0x4000_0000, 4), [0xd0, 0x0d, 0xfe, 0xed]);
}

#[test]
fn a_raw_guest_without_grants_gets_stolen_time_its_share_of_the_cpus_and_its_image_in_three_copies() {
    let mut life = Life1::new();
    assert_eq!(life.ask(&start("raw")), Reply::Done);
    let vm = life.el2.vm("raw").unwrap();
    assert_eq!(vm.devices, [(DeviceKind::StolenTime, 0)]);
    assert_eq!(vm.grants, Grants::NONE);
    let share = Scheduling { cpus: 0b1010, weight: 300, budget_us: 2000, period_us: 10_000, ..Scheduling::DEFAULT };
    assert_eq!(vm.scheduling, share);
    assert_eq!(vm.boot, Some((0x4008_0000, 0x4000_0000)));
    assert_eq!(vm.copies.len(), 4, "three of the image, one of the tree");
    let image: Vec<u8> = (0..150_000u32).map(|i| (i % 251) as u8).collect();
    assert_eq!(vm.bytes(0x4008_0000, 150_000), image);
}

#[test]
fn calls_that_do_less_than_asked_are_gone_on_with() {
    let mut life = Life1::new();
    {
        let mut el2 = life.el2.0.borrow_mut();
        (el2.memory_step, el2.copy_step, el2.agains) = (0x20_0000, 1000, 3);
    }
    assert_eq!(life.ask(&start("linux")), Reply::Done);
    let vm = life.el2.vm("linux").unwrap();
    assert_eq!(vm.memory, 0x200_0000);
    assert_eq!(vm.bytes(0x4020_0000, 100_000), crate::fake::linux(100_000, 0x40_0000));
    assert_eq!(life.ask(&stop("linux")), Reply::Done);
    assert!(life.el2.vm("linux").is_none());
}

#[test]
fn whichever_call_of_a_create_and_start_fails_no_vm_is_left_and_the_error_names_the_step() {
    let request = Request::VmCreate(create("copy", "linux"));
    let mut life = Life1::new();
    assert_eq!(life.ask(&request), Reply::Done);
    assert_eq!(life.ask(&start("copy")), Reply::Done);
    let total = life.el2.0.borrow().calls.clone();
    assert!(total.len() > 15, "{total:?}");
    for (at, &call) in total.iter().enumerate().skip(1) {
        let mut life = Life1::new();
        life.el2.0.borrow_mut().fail = Some((at, Status::NoMemory));
        let replies = [life.ask(&request), life.ask(&start("copy"))];
        assert!(life.el2.vm("copy").is_none(), "call {at} ({call})");
        assert!(life.el2.0.borrow().vms.is_empty());
        let failed = replies.iter().find_map(|reply| match reply {
            Reply::Error(failure) => Some(failure.clone()),
            _ => None,
        });
        let failure = failed.expect("one of them fails");
        assert_eq!(failure.code, FailureCode::NoResources, "{failure:?}");
        assert!(failure.message.contains(call), "{failure:?}");
        assert!(failure.message.ends_with("no memory"), "{failure:?}");
        // And EL2 well again, it works.
        life.el2.0.borrow_mut().fail = None;
        if replies[0] != Reply::Done {
            assert_eq!(life.ask(&request), Reply::Done, "call {at}");
        }
        assert_eq!(life.ask(&start("copy")), Reply::Done, "call {at}");
    }
}

#[test]
fn a_created_spec_outlives_lives_until_it_is_destroyed() {
    let mut life = Life1::new();
    let request = VmCreate {
        memory: Some(0x60_0000),
        vcpus: Some(3),
        bootargs: Some("quiet".into()),
        grants: Some(vec!["info".into()]),
        ..create("copy", "linux")
    };
    // The initrd no longer fits: 2 MiB + 4 MiB of image.
    let failure = life.fails(&Request::VmCreate(request.clone()));
    assert_eq!(failure.code, FailureCode::Invalid);
    assert!(failure.message.contains("has 6 MiB"), "{}", failure.message);
    let request = VmCreate { memory: Some(0x80_0000), ..request };
    life.el2.0.borrow_mut().conflicts = 3;
    assert_eq!(life.ask(&Request::VmCreate(request.clone())), Reply::Done);
    let again = life.fails(&Request::VmCreate(request));
    assert_eq!(again.code, FailureCode::Exists);

    let mut next = Life1::over(life.el2.clone(), SYSTEM);
    let detail = next.show("copy");
    assert_eq!(detail.origin, Origin::Created);
    assert_eq!((detail.spec.vcpus, detail.spec.memory), (3, 0x80_0000));
    assert_eq!(detail.spec.grants, ["info"]);
    assert_eq!((detail.spec.ports, detail.spec.autostart), (4, false));
    assert_eq!(detail.summary.state, VmPhase::Defined);
    assert_eq!(detail.last_end, None);
    assert_eq!(next.list().len(), 4);
    assert_eq!(next.ask(&start("copy")), Reply::Done);
    assert_eq!(next.ask(&stop("copy")), Reply::Done);
    assert_eq!(next.show("copy").last_end.as_deref(), Some("stopped after 1.234 s"));
    assert_eq!(next.ask(&start("copy")), Reply::Done);
    assert_eq!(next.ask(&destroy("copy")), Reply::Done);
    assert!(next.el2.0.borrow().vms.is_empty());
    assert_eq!(next.list().len(), 3);
    let gone = next.fails(&destroy("copy"));
    assert_eq!(gone.message, "vm \"copy\": no such VM");
}

#[test]
fn a_note_that_always_conflicts_is_given_up_with_an_error() {
    let mut life = Life1::new();
    life.el2.0.borrow_mut().conflicts = u32::MAX;
    let failure = life.fails(&Request::VmCreate(create("copy", "raw")));
    assert_eq!(failure.message, "sos_note_set: changed meanwhile");
    life.el2.0.borrow_mut().notes[0].bytes = vec![0xff; 9];
    let failure = life.fails(&Request::VmList);
    assert_eq!((failure.code, failure.message.as_str()), (FailureCode::Internal, "note 0: not readable"));
}

#[test]
fn specs_that_are_not_allowed_are_refused_by_name() {
    let cases: [(VmCreate, FailureCode, &str); 9] = [
        (create("linux", "raw"), FailureCode::Exists, "vm \"linux\" exists already"),
        (create("x", "y"), FailureCode::NotFound, "vm \"x\": from \"y\": no such guest"),
        (create("Bad", "raw"), FailureCode::Invalid, "vm \"Bad\": name: 1 to 31 of a-z, 0-9 and '-'"),
        (
            VmCreate { memory: Some(0x30_0000), ..create("x", "raw") },
            FailureCode::Invalid,
            "vm \"x\": memory: 0x300000 bytes are not a multiple of 2 MiB from 2 MiB up to 512 GiB",
        ),
        (VmCreate { vcpus: Some(9), ..create("x", "raw") }, FailureCode::Invalid, "vm \"x\": vcpus: 9 is not in 1..=8"),
        (
            VmCreate { image: Some("y".into()), ..create("x", "raw") },
            FailureCode::NotFound,
            "vm \"x\": image \"y\" is not in the boot archive",
        ),
        (
            VmCreate { image: Some("raw.img".into()), ..create("x", "linux") },
            FailureCode::Invalid,
            "vm \"x\": image \"raw.img\": no arm64 Linux Image: no magic at 0x38",
        ),
        (
            VmCreate { grants: Some(vec!["root".into()]), ..create("x", "linux") },
            FailureCode::Invalid,
            "vm \"x\": grants: \"root\" is none of manage, info, log, consoles",
        ),
        (
            create("x", "tiny"),
            FailureCode::Invalid,
            "vm \"x\": memory: image, initrd and device tree need 6 MiB, it has 2 MiB",
        ),
    ];
    for (request, code, message) in cases {
        let mut life = Life1::new();
        let failure = life.fails(&Request::VmCreate(request));
        assert_eq!((failure.code, failure.message.as_str()), (code, message));
    }
}

#[test]
fn states_that_do_not_allow_a_request_are_named() {
    let mut life = Life1::new();
    let mut refused = |request: &Request, message: &str| {
        let failure = life.fails(request);
        assert_eq!(failure.code, FailureCode::WrongState);
        assert_eq!(failure.message, message);
    };
    refused(&stop("raw"), "vm \"raw\" does not run");
    refused(&destroy("raw"), "vm \"raw\" does not run, and its spec stays: it is part of the system description");
    assert_eq!(life.ask(&start("raw")), Reply::Done);
    assert_eq!(life.fails(&start("raw")).message, "vm \"raw\" runs already");
    assert_eq!(life.ask(&destroy("raw")), Reply::Done);
    assert_eq!(life.list().len(), 3);
    assert_eq!(life.fails(&stop("x")).code, FailureCode::NotFound);
    let fault = Request::Fault(Fault { kind: FaultKind::Crash, after_calls: 0 });
    assert_eq!(life.fails(&fault).code, FailureCode::Denied);
}

fn set(name: &str) -> VmSet {
    VmSet { name: name.into(), ..VmSet::default() }
}

#[test]
fn what_is_set_of_a_vm_that_runs_holds_at_once_and_leaves_the_rest() {
    let mut life = Life1::new();
    assert_eq!(life.ask(&start("raw")), Reply::Done);
    assert_eq!(life.ask(&Request::VmSet(VmSet { weight: Some(50), ..set("raw") })), Reply::Done);
    let share = life.show("raw").spec.cpu;
    assert_eq!((share.weight, &*share.affinity), (50, &[1, 3][..]));
    assert_eq!(life.el2.vm("raw").unwrap().scheduling, share.words());
    let none = Reservation { budget_us: 0, period_us: 0 };
    let change = VmSet { affinity: Some(vec![]), reservation: Some(none), pinned: Some(true), ..set("raw") };
    assert_eq!(life.ask(&Request::VmSet(change)), Reply::Done);
    let words = life.el2.vm("raw").unwrap().scheduling;
    assert_eq!(words, Scheduling { weight: 50, pinned: true, ..Scheduling::DEFAULT });
    // The next start is by the description again.
    assert_eq!(life.ask(&stop("raw")), Reply::Done);
    assert_eq!(life.show("raw").spec.cpu.weight, 300);
    assert_eq!(life.ask(&start("raw")), Reply::Done);
    assert_eq!(life.el2.vm("raw").unwrap().scheduling.weight, 300);
}

#[test]
fn what_is_set_of_a_created_vm_stays_with_it() {
    let mut life = Life1::new();
    assert_eq!(life.ask(&Request::VmCreate(create("copy", "raw"))), Reply::Done);
    assert_eq!(life.ask(&Request::VmSet(VmSet { weight: Some(7), ..set("copy") })), Reply::Done);
    assert_eq!(life.ask(&start("copy")), Reply::Done);
    assert_eq!(life.el2.vm("copy").unwrap().scheduling.weight, 7);
    assert_eq!(life.ask(&Request::VmSet(VmSet { weight: Some(8), ..set("copy") })), Reply::Done);
    assert_eq!(life.ask(&stop("copy")), Reply::Done);
    let mut next = Life1::over(life.el2.clone(), SYSTEM);
    assert_eq!(next.show("copy").spec.cpu.weight, 8);
}

#[test]
fn what_cannot_be_set_is_refused_by_name_and_reason() {
    let mut life = Life1::new();
    let failure = life.fails(&Request::VmSet(VmSet { weight: Some(1), ..set("raw") }));
    assert_eq!(failure.message, "vm \"raw\" does not run; what it starts with is part of the system description");
    assert_eq!(life.fails(&Request::VmSet(set("nobody"))).code, FailureCode::NotFound);
    assert_eq!(life.ask(&start("raw")), Reply::Done);
    let failure = life.fails(&Request::VmSet(VmSet { pinned: Some(true), ..set("raw") }));
    assert_eq!(failure.message, "vm \"raw\": cpu-pinned: not together with cpu-cap or cpu-reservation");
    for (status, code, reason) in [
        (Status::InvalidArgument, FailureCode::Invalid, "cpu-affinity: the board does not have all of these CPUs"),
        (
            Status::Denied,
            FailureCode::NoResources,
            "cpu-affinity: too few of its CPUs are open, pinned vCPUs own the others",
        ),
        (
            Status::NoRoom,
            FailureCode::NoResources,
            "cpu-reservation: does not fit: nine tenths of a CPU can be reserved",
        ),
        (Status::Conflict, FailureCode::NoResources, "cpu-pinned: another vCPU would be left without a CPU"),
        (Status::WrongState, FailureCode::WrongState, "vm_sched: wrong state"),
    ] {
        let before = life.el2.vm("raw").unwrap().scheduling;
        {
            let mut el2 = life.el2.0.borrow_mut();
            // A look for VMs, one at what it has, then the call.
            let at = el2.calls.len() + 2;
            el2.fail = Some((at, status));
        }
        let failure = life.fails(&Request::VmSet(VmSet { weight: Some(1), ..set("raw") }));
        assert_eq!((failure.code, failure.message), (code, std::format!("vm \"raw\": {reason}")));
        life.el2.0.borrow_mut().fail = None;
        assert_eq!(life.el2.vm("raw").unwrap().scheduling, before);
    }
}

#[test]
fn a_guest_whose_share_is_refused_is_not_started_and_the_line_names_property_and_reason() {
    let mut life = Life1::new();
    assert_eq!(life.ask(&start("raw")), Reply::Done);
    let at = life.el2.0.borrow().calls.iter().position(|call| *call == "vm_sched").unwrap();
    let mut life = Life1::new();
    life.el2.0.borrow_mut().fail = Some((at, Status::NoRoom));
    let failure = life.fails(&start("raw"));
    assert_eq!(failure.message, "vm \"raw\": cpu-reservation: does not fit: nine tenths of a CPU can be reserved");
    assert!(life.el2.vm("raw").is_none());
}

#[test]
fn power_on_starts_the_guests_that_are_to_start_and_only_once() {
    let mut life = Life1::new();
    life.event(EventKind::PowerOn, VmHandle::default());
    assert!(life.el2.vm("linux").is_some());
    assert_eq!(life.el2.0.borrow().vms.len(), 1);
    // A life that takes over from one that crashed in between gets the event again.
    let mut next = Life1::over(life.el2.clone(), SYSTEM);
    next.event(EventKind::PowerOn, VmHandle::default());
    assert_eq!(next.el2.0.borrow().vms.len(), 1);
    assert!(next.el2.0.borrow().configs.is_empty());
}

#[test]
fn a_board_on_which_nothing_can_run_is_powered_off() {
    let unknown = SYSTEM.replace("autostart;", "autostart; colour = \"red\";");
    let missing = SYSTEM.replace("\"kernel\"", "\"nothing\"");
    for source in [unknown, missing] {
        let mut life = Life1::over(El2::new(), &source);
        life.event(EventKind::PowerOn, VmHandle::default());
        assert_eq!(life.el2.0.borrow().configs, [ConfigKind::PowerOff]);
    }
    let nothing_to_start = SYSTEM.replace("autostart;", "");
    let mut life = Life1::over(El2::new(), &nothing_to_start);
    life.event(EventKind::PowerOn, VmHandle::default());
    assert!(life.el2.0.borrow().configs.is_empty());
}

#[test]
fn a_request_of_many_frames_is_put_together_whatever_comes_between() {
    let mut life = Life1::new();
    let request = VmCreate { bootargs: Some("x".repeat(1000)), ..create("long", "linux") };
    let bytes = encode(&Request::VmCreate(request));
    let pieces: Vec<&[u8]> = bytes.chunks(BODY_MAX).collect();
    for (i, piece) in pieces.iter().enumerate() {
        let flags = if i + 1 < pieces.len() { Flags::MORE } else { Flags::default() };
        life.frame(flags, 77, ASKER, piece);
        life.frame(Flags::default(), i as u32, ASKER, &[0]);
        life.run();
    }
    let replies = life.replies();
    assert_eq!(replies.len(), pieces.len() + 1);
    assert!(replies.contains(&(77, Reply::Done)));
    assert_eq!(life.show("long").spec.bootargs.len(), 1000);
}

#[test]
fn a_reply_of_many_frames_arrives_whole() {
    let mut life = Life1::new();
    let request = VmCreate { bootargs: Some("y".repeat(2000)), ..create("long", "linux") };
    // Straight into the note: the request itself would take many frames.
    let spec = {
        let from = life.show("linux").spec;
        hv_abi::message::VmSpec { name: request.name, bootargs: request.bootargs.unwrap(), ..from }
    };
    crate::notes::add_created(&mut life.el2.clone(), &spec).unwrap();
    assert_eq!(life.show("long").spec, spec);
    assert!(life.el2.0.borrow().delivered.len() > 9);
}

#[test]
fn a_receiver_without_room_holds_nobody_up_and_gets_its_reply_later() {
    let mut life = Life1::new();
    let slow = VmHandle::new(6, 1);
    life.el2.0.borrow_mut().full.push(slow);
    life.frame(Flags::default(), 1, slow, &encode(&Request::VmList));
    assert_eq!(life.run(), Some(SECOND), "wakes to drop it");
    let doorbells = life.el2.0.borrow().doorbells;
    assert_eq!(life.run(), Some(SECOND));
    assert_eq!(life.el2.0.borrow().doorbells, doorbells, "a parked frame is not polled");
    assert_eq!(life.list().len(), 3, "another asker");
    life.el2.0.borrow_mut().full.clear();
    life.now = SECOND / 2;
    life.service.interrupt();
    assert_eq!(life.run(), None);
    let ids: Vec<u32> = life.el2.0.borrow().delivered.iter().map(|slot| slot.header.id.get()).collect();
    assert_eq!(ids, [1, 1], "id 1 of the other asker, then of this one");
}

#[test]
fn a_receiver_that_never_has_room_loses_its_reply_after_a_second() {
    let mut life = Life1::new();
    let slow = VmHandle::new(6, 1);
    life.el2.0.borrow_mut().full.push(slow);
    life.frame(Flags::default(), 1, slow, &encode(&Request::VmList));
    life.run();
    // Interrupts do not give it more time.
    life.now = SECOND / 2;
    life.service.interrupt();
    assert_eq!(life.run(), Some(SECOND));
    life.event(EventKind::Drain, VmHandle::default());
    life.now = SECOND;
    assert_eq!(life.run(), None);
    life.event(EventKind::Drain, VmHandle::default());
    assert_eq!(life.el2.0.borrow().drains, [DrainAnswer::Busy, DrainAnswer::Agreed]);
    assert!(life.el2.0.borrow().delivered.is_empty());
}

#[test]
fn a_drain_with_half_a_request_or_a_frame_behind_it_is_answered_busy() {
    let mut life = Life1::new();
    life.frame(Flags::MORE, 1, ASKER, &[2]);
    life.event(EventKind::Drain, VmHandle::default());
    assert_eq!(life.el2.0.borrow().drains, [DrainAnswer::Busy]);
    // The other half does not come: the asker is told, and the partition can go.
    life.now = 5 * SECOND;
    life.run();
    let (id, reply) = life.replies().remove(0);
    assert_eq!(id, 1);
    assert!(matches!(reply, Reply::Error(failure) if failure.code == FailureCode::BadRequest));
    life.event(EventKind::Drain, VmHandle::default());
    assert_eq!(life.el2.0.borrow().drains[1], DrainAnswer::Agreed);
}

#[test]
fn hostile_frames_are_refused_and_the_next_request_is_answered() {
    let mut life = Life1::new();
    let refusal = |reason: &str| {
        Reply::Error(Failure { code: FailureCode::BadRequest, message: std::format!("request: {reason}") })
    };
    life.frame(Flags::default(), 1, ASKER, &[0xff; BODY_MAX]);
    life.frame(Flags::default(), 2, ASKER, &[]);
    // A guest cannot make events: those are EL2's own.
    life.frame(Flags::EVENT, 3, ASKER, &[1, 0, 0, 0, 0, 0, 0, 0]);
    life.run();
    let replies = life.replies();
    assert_eq!(replies[0], (1, refusal("not readable")));
    assert_eq!(replies[1], (2, refusal("not readable")));
    assert!(life.el2.vm("linux").is_none());
    // A header that EL2 should not have let pass.
    let header = FrameHeader { magic: 0.into(), ..Slot::EMPTY.header };
    life.el2.deliver(Slot { header, ..Slot::EMPTY });
    life.run();
    assert_eq!(life.list().len(), 3);
}

#[test]
fn a_request_that_is_too_long_is_refused_at_its_last_frame_and_its_number_is_good_again() {
    let mut life = Life1::new();
    let frames = MESSAGE_MAX / BODY_MAX + 50;
    for _ in 0..frames {
        life.frame(Flags::MORE, 9, ASKER, &[0; BODY_MAX]);
        life.run();
    }
    assert_eq!(life.replies(), [], "its rest is on its way");
    life.frame(Flags::default(), 9, ASKER, &[0; BODY_MAX]);
    life.frame(Flags::default(), 9, ASKER, &encode(&Request::VmStop { name: "nobody".into() }));
    assert_eq!(life.run(), None);
    let refused = |reason| Reply::Error(Error::Request(reason).failure());
    let nobody = Reply::Error(Error::NoSuchVm("nobody".into()).failure());
    assert_eq!(life.replies(), [(9, refused("longer than 1 MiB")), (9, nobody)]);
}

#[test]
fn a_request_that_is_too_long_and_never_ends_is_given_up_however_often_it_goes_on() {
    let mut life = Life1::new();
    for _ in 0..MESSAGE_MAX / BODY_MAX + 2 {
        life.frame(Flags::MORE, 9, ASKER, &[0; BODY_MAX]);
        life.run();
    }
    for _ in 0..2 * crate::assembly::PATIENCE_SECONDS {
        life.now += SECOND / 2;
        life.frame(Flags::MORE, 9, ASKER, &[0; BODY_MAX]);
        life.run();
    }
    let refused = Reply::Error(Error::Request("longer than 1 MiB").failure());
    assert_eq!(life.replies()[0], (9, refused));
}

#[test]
fn what_is_no_possible_request_is_refused_by_its_length_before_it_is_decoded() {
    let mut life = Life1::new();
    // Decoded, each of these strings takes a multiple of the two bytes that it has here.
    let grants = std::vec![String::from("x"); 400_000];
    let create = VmCreate {
        name: "a".into(),
        from: "linux".into(),
        memory: None,
        vcpus: None,
        image: None,
        bootargs: None,
        grants: Some(grants),
    };
    let bytes = encode(&Request::VmCreate(create));
    let (last, parts) = bytes.split_last_chunk::<100>().map(|(parts, last)| (last, parts)).unwrap();
    for part in parts.chunks(BODY_MAX) {
        life.frame(Flags::MORE, 3, ASKER, part);
        life.run();
    }
    life.frame(Flags::default(), 3, ASKER, last);
    life.run();
    let refused = Reply::Error(Error::Request("longer than any request is").failure());
    assert_eq!(life.replies(), [(3, refused)]);
}

#[test]
fn as_many_requests_may_be_incomplete_as_el2_keeps_and_they_go_with_their_asker() {
    let mut life = Life1::new();
    for id in 0..OPEN_MAX as u32 + 3 {
        life.frame(Flags::MORE, id, ASKER, &[0; BODY_MAX]);
        life.run();
    }
    assert_eq!(life.replies().len(), 3);
    life.event(EventKind::VmEnded, ASKER);
    assert_eq!(life.run(), None, "the asker is gone, and its requests");
}

#[test]
fn an_impossible_index_of_el2_ends_the_life() {
    for (offset, value) in [(INBOUND_PRODUCER, 9), (OUTBOUND_CONSUMER, 100)] {
        let mut life = Life1::new();
        life.frame(Flags::default(), 1, ASKER, &encode(&Request::VmList));
        life.el2.corrupt(offset, value);
        let ended = (0..100).find_map(|_| life.service.turn(0).err());
        assert!(matches!(ended, Some(Error::Mailbox { .. })), "{ended:?}");
    }
}

#[test]
fn a_damaged_description_is_named_in_every_answer_that_needs_it() {
    let source = SYSTEM.replace("vcpus = <2>;", "vcpu = <2>;");
    let mut life = Life1::over(El2::new(), &source);
    let failure = life.fails(&Request::VmList);
    let message: String = failure.message;
    assert_eq!(message, "system.dtb: /guests/linux: property \"vcpu\": unknown");
}

#[test]
fn nothing_to_do_is_one_doorbell_and_sleep_without_a_deadline() {
    let mut life = Life1::new();
    assert_eq!(life.run(), None);
    assert_eq!(life.el2.0.borrow().doorbells, 0);
    life.list();
    assert_eq!(life.el2.0.borrow().doorbells, 1, "the reply's doorbell also tells of the room in the ring");
}

#[test]
fn twelve_waiting_frames_all_come_through_a_ring_of_eight() {
    let mut life = Life1::new();
    for id in 0..12 {
        life.frame(Flags::default(), id, ASKER, &encode(&Request::VmList));
    }
    life.run();
    assert_eq!(life.replies().len(), 12);
}
