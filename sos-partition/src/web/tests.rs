//! smoltcp's client against smoltcp's server, through a network in memory.

use std::boxed::Box;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::format;
use std::rc::Rc;
use std::string::String;

use hv_abi::call::DrainAnswer;
use hv_abi::handle::VmHandle;
use hv_abi::mailbox::{Event, EventKind, Flags, Frame, Party, Slot};
use smoltcp::socket::tcp::{SocketBuffer, State};
use smoltcp::wire::Ipv4Address;
use zerocopy::IntoBytes;

use super::*;
use crate::fake::{El2, SYSTEM, system_archive};
use crate::service::Life;

const TICKS: u64 = 1_000_000;
const STEP: u64 = TICKS / 1000;
const ADDRESS: Ipv4Address = Ipv4Address::new(10, 0, 2, 100);

/// One end of a cable.
#[derive(Clone, Default)]
struct End {
    inward: Rc<RefCell<VecDeque<Vec<u8>>>>,
    outward: Rc<RefCell<VecDeque<Vec<u8>>>>,
}

impl Card for End {
    fn receive(&mut self) -> Option<Vec<u8>> {
        self.inward.borrow_mut().pop_front()
    }

    fn send(&mut self, frame: &[u8]) {
        self.outward.borrow_mut().push_back(frame.to_vec());
    }
}

/// Whether a frame gets through.
type Cable = Box<dyn Fn(&[u8]) -> bool>;

/// A life of the partition, and a client beside it.
struct World {
    el2: El2,
    service: Service<'static, El2, El2>,
    server: Server<End>,
    port: Port<End>,
    interface: Interface,
    sockets: SocketSet<'static>,
    now: u64,
    next: Next,
    /// Which of the client's frames get through.
    cable: Cable,
}

impl World {
    fn new() -> Self {
        let networks = "networks { lan { compatible = \"dormouse,network\"; uplink; }; }; guests {";
        let node = "image = \"sos.img\"; network = \"lan\"; address = \"10.0.2.100/24\";";
        let source = SYSTEM.replacen("guests {", networks, 1).replacen("image = \"sos.img\";", node, 1);
        let (el2, archive) = (El2::new(), system_archive(&source).leak());
        let life = Life { archive, seed: [7; 32], ticks_per_second: TICKS };
        let mut service = Service::begin(el2.clone(), el2.clone(), life).unwrap();
        let network = service.network().unwrap();
        let ours = End::default();
        let theirs = End { inward: ours.outward.clone(), outward: ours.inward.clone() };
        let server = Server::new(ours, &network, &mut service, 0);
        let mut port = Port(theirs);
        let config = Config::new(HardwareAddress::Ethernet(EthernetAddress([2, 0, 0, 0, 0, 1])));
        let mut interface = Interface::new(config, &mut port, Instant::ZERO);
        interface.update_ip_addrs(|all| all.push(IpCidr::new(Ipv4Address::new(10, 0, 2, 2).into(), 24)).unwrap());
        let (sockets, next) = (SocketSet::new(Vec::new()), Next::Turn);
        Self { el2, service, server, port, interface, sockets, now: 0, next, cable: Box::new(|_| true) }
    }

    fn connect(&mut self, local: u16) -> SocketHandle {
        let buffer = || SocketBuffer::new(std::vec![0; 4096]);
        let handle = self.sockets.add(Socket::new(buffer(), buffer()));
        let socket = self.sockets.get_mut::<Socket<'_>>(handle);
        socket.connect(self.interface.context(), (ADDRESS, 80), local).unwrap();
        handle
    }

    /// A millisecond of both sides.
    fn step(&mut self) {
        self.now += STEP;
        let instant = Turn { now: self.now, ticks_per_second: TICKS }.instant();
        self.interface.poll(instant, &mut self.port, &mut self.sockets);
        self.port.0.outward.borrow_mut().retain(|frame| (self.cable)(frame));
        self.next = self.server.turn(&mut self.service, self.now);
        for _ in 0..100 {
            if self.service.turn(self.now).unwrap() != Next::Turn {
                return;
            }
        }
        panic!("the service never sleeps");
    }

    fn steps(&mut self, milliseconds: u64) {
        (0..milliseconds).for_each(|_| self.step());
    }

    fn socket(&mut self, handle: SocketHandle) -> &mut Socket<'static> {
        self.sockets.get_mut(handle)
    }

    fn say(&mut self, handle: SocketHandle, text: &[u8]) {
        let mut left = text;
        for _ in 0..1000 {
            let socket = self.socket(handle);
            if socket.may_send() {
                let sent = socket.send_slice(left).unwrap();
                left = &left[sent..];
            }
            if left.is_empty() {
                return;
            }
            self.step();
        }
        panic!("not sent");
    }

    /// What comes until the server closes its side; the client then closes as well.
    fn hear(&mut self, handle: SocketHandle) -> String {
        let mut all = Vec::new();
        for _ in 0..1000 {
            let socket = self.socket(handle);
            while socket.can_recv() {
                socket.recv(|bytes| (bytes.len(), all.extend_from_slice(bytes))).unwrap();
            }
            if socket.state() == State::CloseWait {
                socket.close();
                self.steps(5);
                return String::from_utf8(all).unwrap();
            }
            self.step();
        }
        panic!("no end of {}", String::from_utf8_lossy(&all))
    }

    fn get(&mut self, target: &str, local: u16) -> String {
        let handle = self.connect(local);
        self.say(handle, format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        self.hear(handle)
    }

    /// What the partition answers to the wish that it leave.
    fn drain(&mut self) -> DrainAnswer {
        let event = Event { kind: (EventKind::Drain as u32).into(), reserved: 0.into() };
        let frame = Frame { party: Party::Hv, flags: Flags::EVENT, id: 0, port: 0, vm: VmHandle(0), length: 0 };
        self.el2.deliver(Slot::new(frame, event.as_bytes()));
        self.step();
        self.el2.0.borrow_mut().drains.pop().unwrap()
    }
}

#[test]
fn the_page_and_the_list_are_served_one_after_the_other_without_time_wait() {
    let mut world = World::new();
    for local in 50_000..50_010 {
        let page = world.get("/", local);
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
        assert!(page.contains("<td>linux</td><td>defined</td>"), "{page}");
        // 90 061 s since EL2 started, by the fake.
        assert!(page.contains("<td>25:01:01</td>") && page.contains("<td>512 MiB</td>"), "{page}");
        assert!(!page.contains("<script") && !page.contains("src="), "{page}");
    }
    let list = world.get("/api/v1/vms", 50_010);
    let (head, body) = list.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
    let list: serde_json::Value = serde_json::from_str(body).unwrap();
    let first = serde_json::json!(
        {"name": "linux", "state": "defined", "vcpus": 2, "memory": 0x200_0000, "uptime_ns": null}
    );
    assert_eq!((&list[0], list.as_array().unwrap().len()), (&first, 3));
    assert_eq!(world.drain(), DrainAnswer::Agreed);
}

#[test]
fn two_clients_at_once_both_have_their_answers() {
    let mut world = World::new();
    let (one, two) = (world.connect(50_000), world.connect(50_001));
    world.say(one, b"GET / HTTP/1.1\r\n");
    world.say(two, b"GET /api/v1/vms HTTP/1.0\r\n\r\n");
    assert!(world.hear(two).contains("\"name\":\"raw\""));
    world.say(one, b"Host: a\r\n\r\n");
    assert!(world.hear(one).contains("<h1>Dormouse</h1>"));
}

#[test]
fn garbage_other_methods_and_large_heads_have_their_status() {
    let large = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(3000));
    for (local, (text, status)) in (50_000..).zip([
        ("GET /etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", "404"),
        ("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", "405"),
        ("\u{16}\u{3}\u{1}\u{2}", "400"),
        (&*large, "431"),
    ]) {
        let mut world = World::new();
        let handle = world.connect(local);
        world.say(handle, text.as_bytes());
        let answer = world.hear(handle);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{text:?}: {answer}");
        assert_eq!(world.drain(), DrainAnswer::Agreed, "{text:?}");
    }
}

#[test]
fn a_client_that_does_not_get_on_is_reset_after_5_s_and_the_partition_may_leave() {
    let mut world = World::new();
    let handle = world.connect(50_000);
    world.say(handle, b"GET / HT");
    world.steps(20);
    assert_eq!(world.drain(), DrainAnswer::Busy);
    assert!(matches!(world.next, Next::Sleep(Some(_))), "it sleeps until the reset");
    // One letter a second is no request either.
    for letter in [b"T", b"P", b"/", b"1"] {
        world.steps(1000);
        world.say(handle, letter);
    }
    world.steps(900);
    assert_eq!(world.socket(handle).state(), State::Established);
    world.steps(150);
    assert_eq!(world.socket(handle).state(), State::Closed, "reset");
    assert_eq!(world.drain(), DrainAnswer::Agreed);
    assert!(world.get("/", 50_001).starts_with("HTTP/1.1 200"));
}

#[test]
fn a_client_that_says_nothing_is_reset_after_a_second() {
    let mut world = World::new();
    let handle = world.connect(50_000);
    world.steps(950);
    assert_eq!(world.drain(), DrainAnswer::Busy);
    assert_eq!(world.socket(handle).state(), State::Established);
    world.steps(100);
    assert_eq!(world.socket(handle).state(), State::Closed, "reset");
    assert_eq!(world.drain(), DrainAnswer::Agreed);
}

#[test]
fn a_client_that_takes_no_answer_or_does_not_close_is_reset() {
    let mut world = World::new();
    let handle = world.connect(50_000);
    world.say(handle, b"GET / HTTP/1.0\r\n\r\n");
    world.steps(50);
    assert_eq!(world.socket(handle).state(), State::CloseWait);
    assert_eq!(world.drain(), DrainAnswer::Busy);
    world.steps(5100);
    assert_eq!(world.socket(handle).state(), State::Closed);
    assert_eq!(world.drain(), DrainAnswer::Agreed);
}

#[test]
fn a_client_that_closes_or_resets_at_once_leaves_its_place_to_the_next() {
    let mut world = World::new();
    for local in 50_000..50_012 {
        let handle = world.connect(local);
        world.steps(10);
        assert_eq!(world.socket(handle).state(), State::Established, "{local}");
        if local % 2 == 0 {
            world.socket(handle).close()
        } else {
            world.socket(handle).abort()
        }
        world.steps(10);
    }
    assert_eq!(world.drain(), DrainAnswer::Agreed);
}

#[test]
fn a_fifth_connection_is_refused_and_the_four_go_on() {
    let mut world = World::new();
    let four: Vec<SocketHandle> = (50_000..50_004).map(|local| world.connect(local)).collect();
    world.steps(10);
    let fifth = world.connect(50_004);
    world.steps(10);
    assert_eq!(world.socket(fifth).state(), State::Closed);
    for handle in four {
        world.say(handle, b"GET / HTTP/1.0\r\n\r\n");
        assert!(world.hear(handle).starts_with("HTTP/1.1 200"));
    }
}

#[test]
fn half_open_connections_do_not_keep_the_partition_on() {
    let mut world = World::new();
    // Of TCP only SYNs get through: for the server each connection stays at SYN-RECEIVED.
    world.cable = Box::new(|frame| frame.get(47).is_none_or(|flags| flags & 0x3f == 2));
    world.connect(51_000);
    world.steps(900);
    assert_eq!(world.drain(), DrainAnswer::Busy);
    for local in 51_001..51_030 {
        world.connect(local);
        world.steps(200);
        assert_eq!(world.drain(), DrainAnswer::AgreedUnvisited, "{local}");
    }
    // They leave their places, and one that asks is answered.
    world.steps(1100);
    world.cable = Box::new(|_| true);
    assert!(world.get("/", 50_000).starts_with("HTTP/1.1 200"));
    assert_eq!(world.drain(), DrainAnswer::Agreed);
}

#[test]
fn damaged_and_repeated_frames_cause_no_panic_and_the_page_is_served_after_them() {
    let mut world = World::new();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let all = seen.clone();
    world.cable = Box::new(move |frame| {
        all.borrow_mut().push(frame.to_vec());
        true
    });
    world.get("/", 50_000);
    world.cable = Box::new(|_| true);
    let mut random = 0x2545_f491_4f6c_dd1du64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as usize
    };
    for _ in 0..5000 {
        let mut frame = seen.borrow()[next() % seen.borrow().len()].clone();
        for _ in 0..next() % 4 {
            let place = next() % frame.len();
            frame[place] = next() as u8;
        }
        world.port.0.outward.borrow_mut().push_back(frame);
        world.step();
    }
    world.steps(6000);
    assert!(world.get("/", 50_001).starts_with("HTTP/1.1 200"));
}
