//! Metrics of the mailbox and of the service partition, and what `hv` tells about itself.

use crate::{operations, report};
use alloc::borrow::ToOwned;
use alloc::vec::Vec;
use hv_abi::call::Call;
use hv_abi::guest_map::{MAILBOX_SPI, PPI_VIRTUAL_TIMER};
use hv_abi::mailbox::{BODY_MAX, Flags, Frame, Party};
use hv_abi::message::{Reply, Request, VmCreate, decode, encode};
use hv_abi::record::{HvInfo, Query, QueryKind, SosStatus};
use test_guests::ring::{self, Rings};
use test_guests::{Machine, gic, println, timer};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, IntoBytes};

/// Between two looks at a service partition that is to go away.
const POLL_NS: u64 = 10_000_000;
const OFF: u32 = 0;
/// The guest of the description whose spec the VMs of a cycle have, and their name.
const MODEL: &str = "model";
const NEW: &str = "new";
/// Bytes of the smaller VM of a cycle.
const CYCLE_BYTES: u64 = 16 << 20;

/// Measures and prints everything that goes by the mailbox.
pub(crate) fn measure(machine: &Machine, rounds: u64) {
    gic::enable_spi(MAILBOX_SPI);
    gic::enable_ppi(PPI_VIRTUAL_TIMER);
    let mut client = Client { rings: Rings::open(), id: 0 };
    if machine.chooses("run", "doorbell") {
        report("doorbell", (0..rounds).map(|_| doorbell()).collect());
    }
    if machine.chooses("run", "sos_warm_vm_list") {
        client.vm_list();
        report("sos_warm_vm_list", (0..rounds).map(|_| client.vm_list()).collect());
    }
    if machine.chooses("run", "sos_ram") {
        client.vm_list();
        println!("BENCH sos_ram_on {}", client.sos_status().frames.get() * 4096);
        client.await_off();
        println!("BENCH sos_ram_off {}", client.sos_status().frames.get() * 4096);
    }
    if machine.chooses("run", "sos_cold_vm_list") {
        let rounds = machine.number("cold-rounds", rounds);
        report("sos_cold_vm_list", (0..rounds).map(|_| client.cold_vm_list()).collect());
    }
    if machine.chooses("run", "vm_cycle") {
        cycles(&mut client, rounds);
    }
    if machine.chooses("run", "info") {
        client.await_off();
        print_info(&client.info());
    }
}

/// VMs that are defined, started and destroyed, the partition awake; and what a frame takes to be scrubbed and returned:
/// the difference between the ends of a VM and of one of twice the size, by frames.
fn cycles(client: &mut Client, rounds: u64) {
    client.vm_list();
    let (mut whole, mut frame) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let small = client.cycle(CYCLE_BYTES);
        let large = client.cycle(2 * CYCLE_BYTES);
        whole.push(small.whole);
        frame.push((large.end - small.end).div_ceil(CYCLE_BYTES / 4096));
    }
    report("vm_cycle", whole);
    report("frame_scrub", frame);
}

/// What the life of a VM takes.
struct Cycle {
    /// From the request to define it until it is gone.
    whole: u64,
    /// From the request to destroy it.
    end: u64,
}

fn doorbell() -> u64 {
    let (ticks, status) = operations::hvc(Call::Doorbell as u64);
    assert!(status == 0, "doorbell answered {status:#x}");
    ticks
}

struct Client {
    rings: Rings,
    id: u32,
}

impl Client {
    /// From the doorbell to the whole reply.
    fn vm_list(&mut self) -> u64 {
        let (ticks, reply) = self.ask(Party::Sos, Flags::REPEAT_SAFE, &encode(&Request::VmList));
        match decode(&reply) {
            Ok(Reply::VmList(list)) if !list.is_empty() => ticks,
            other => panic!("vm list: {other:?}"),
        }
    }

    fn cold_vm_list(&mut self) -> u64 {
        self.await_off();
        self.vm_list()
    }

    /// Defines a VM, starts it, destroys it.
    fn cycle(&mut self, memory: u64) -> Cycle {
        let before = timer::now();
        self.change(&Request::VmCreate(VmCreate {
            name: NEW.to_owned(),
            from: MODEL.to_owned(),
            memory: Some(memory),
            vcpus: None,
            bootargs: None,
            image: None,
            grants: None,
        }));
        self.change(&Request::VmStart { name: NEW.to_owned() });
        let end = self.change(&Request::VmDestroy { name: NEW.to_owned() });
        Cycle { whole: timer::now() - before, end }
    }

    /// A request that is done: how long it took.
    fn change(&mut self, request: &Request) -> u64 {
        let (ticks, reply) = self.ask(Party::Sos, Flags::default(), &encode(request));
        match decode(&reply) {
            Ok(Reply::Done) => ticks,
            other => panic!("{request:?}: {other:?}"),
        }
    }

    fn await_off(&mut self) {
        while self.sos_status().state.get() != OFF {
            timer::sleep_until(timer::now() + timer::ticks(POLL_NS));
        }
    }

    fn sos_status(&mut self) -> SosStatus {
        SosStatus::read_from_prefix(&self.query(QueryKind::SosStatus)).expect("SosStatus").0
    }

    fn info(&mut self) -> HvInfo {
        HvInfo::read_from_prefix(&self.query(QueryKind::HvInfo)).expect("HvInfo").0
    }

    fn query(&mut self, kind: QueryKind) -> Vec<u8> {
        let query = Query { kind: U32::new(kind as u32), reserved: U32::ZERO, argument: U64::ZERO };
        self.ask(Party::Hv, Flags::default(), query.as_bytes()).1
    }

    /// Sends a request of one frame; ticks from the doorbell to the last frame of the reply, and its body.
    fn ask(&mut self, party: Party, flags: Flags, body: &[u8]) -> (u64, Vec<u8>) {
        self.id += 1;
        assert!(self.rings.put(Frame::request(party, flags, self.id, body.len()), body));
        let mut reply = Vec::with_capacity(BODY_MAX);
        let before = timer::now();
        ring::doorbell();
        loop {
            self.await_frame();
            let after = timer::now();
            let (frame, part) = self.rings.take().expect("a frame is pending");
            assert!(frame.id == self.id && !frame.flags.contains(Flags::ERROR), "{frame:?} {part:?}");
            reply.extend_from_slice(&part[..frame.length]);
            if !frame.flags.contains(Flags::MORE) {
                return (after - before, reply);
            }
            ring::doorbell();
        }
    }

    /// Sleeps until a frame is there; the mailbox's interrupt, masked at the CPU, ends WFI.
    fn await_frame(&self) {
        while !self.rings.pending() {
            test_guests::cpu::wait();
            let interrupt = gic::acknowledge();
            if interrupt < gic::SPECIAL {
                gic::end(interrupt);
            }
        }
    }
}

fn print_info(info: &HvInfo) {
    println!("BENCH boot_to_guest {}", info.first_guest_count.get());
    for (name, value) in [
        ("ram", info.ram),
        ("guests", info.guests),
        ("sos", info.sos),
        ("el2_image", info.el2_image),
        ("el2_stacks", info.el2_stacks),
        ("el2_tables", info.el2_tables),
        ("el2_rings", info.el2_rings),
        ("el2_mailboxes", info.el2_mailboxes),
        ("archive", info.archive),
        ("notes", info.notes),
        ("firmware", info.firmware),
        ("free", info.free),
        ("held", info.held),
    ] {
        println!("INFO {name} {}", value.get());
    }
    println!("INFO image_crc {}", info.image_crc.get());
}
