//! Messages have their golden bytes, and any bytes are refused or read.

use super::*;
use alloc::borrow::ToOwned;
use alloc::vec;

#[test]
fn messages_have_their_golden_bytes() {
    // postcard: a variant is a varint of its number, a string its length and bytes,
    // an option 0 or 1 and the value (postcard wire format, "Serde data model").
    assert_eq!(encode(&Request::VmList), [0]);
    assert_eq!(encode(&Request::VmShow { name: "ab".to_owned() }), [1, 2, b'a', b'b']);
    let create = VmCreate {
        name: "x".to_owned(),
        from: "y".to_owned(),
        memory: Some(300),
        vcpus: Some(2),
        bootargs: None,
        image: None,
        grants: None,
    };
    assert_eq!(encode(&Request::VmCreate(create)), [2, 1, b'x', 1, b'y', 1, 0xac, 2, 1, 2, 0, 0, 0]);
    assert_eq!(encode(&Request::VmStart { name: "a".to_owned() })[0], 3);
    assert_eq!(encode(&Request::VmStop { name: "a".to_owned() })[0], 4);
    assert_eq!(encode(&Request::VmDestroy { name: "a".to_owned() })[0], 5);
    assert_eq!(encode(&Request::Fault(Fault { kind: FaultKind::Spin, after_calls: 3 })), [6, 1, 3]);
    assert_eq!(encode(&Request::VmReboot { name: "a".to_owned() }), [8, 1, b'a']);
    assert_eq!(encode(&Request::VmPause { name: "a".to_owned() }), [9, 1, b'a']);
    assert_eq!(encode(&Request::VmResume { name: "a".to_owned() }), [10, 1, b'a']);
    assert_eq!(encode(&Request::Board(BoardPower::Reset)), [11, 1]);
    let console = ConsoleAttach { name: "a".to_owned(), input: true };
    assert_eq!(encode(&Request::Console(console)), [12, 1, b'a', 1]);
    let device = |change| encode(&Request::VmDevice(DeviceSet { vm: "a".to_owned(), change }));
    let disk = DiskSet { disk: "d".to_owned(), iops: Some(5), kbytes_per_s: None, sectors: Some(300) };
    assert_eq!(device(DeviceChanges::Disk(disk)), [13, 1, b'a', 0, 1, b'd', 1, 5, 0, 1, 0xac, 2]);
    let nic = NicSet { nic: "n".to_owned(), kbit_per_s: None, packets_per_s: Some(6), link_up: Some(false) };
    assert_eq!(device(DeviceChanges::Nic(nic)), [13, 1, b'a', 1, 1, b'n', 0, 1, 6, 1, 0]);
    let memory = MemorySet { bytes: 0x1000, within_s: Some(7) };
    assert_eq!(device(DeviceChanges::Memory(memory)), [13, 1, b'a', 2, 0x80, 0x20, 1, 7]);
    let attach = DiskAttach { name: "a".to_owned(), disk: 2, drive: 1, first: 0x80, sectors: 300, writable: true };
    assert_eq!(encode(&Request::VmAttach(attach)), [14, 1, b'a', 2, 1, 0x80, 1, 0xac, 2, 1]);
    let detach = DiskDetach { name: "a".to_owned(), disk: 2, force: true };
    assert_eq!(encode(&Request::VmDetach(detach)), [15, 1, b'a', 2, 1]);
    assert_eq!(encode(&Reply::Done), [0]);
    assert_eq!(encode(&Reply::Pending), [4]);
    let line = VmSummary { name: "a".to_owned(), state: VmPhase::Running, vcpus: 2, memory: 1, uptime_ns: None };
    assert_eq!(encode(&Reply::VmList(vec![line])), [1, 1, 1, b'a', 2, 2, 1, 0]);
    assert_eq!(
        encode(&spec()),
        [
            1, b'v', 0xac, 2, 3, 1, b'i', 1, 0x80, 0x80, 0xa0, 0x80, 4, 1, 1, b'r', 1, b'b', 1, 1, 1, b'g', 4, 1, 100,
            1, 0xf4, 3, 2, 0, 3, 1, 0xe8, 7, 0x90, 0x4e, 1, 2, 7, 1, 1, b's', 0x80, 0x80, 4, 1, 2, 1, 1, b'd', 1, 0x80,
            1, 2, 1, 0xac, 2, 5, 1, 1, b'1', 1, 1, b'n', 1, b'w', 5, 1, 2, 3, 4, 5, 6, 7, 0xdc, 11, 1, 0, 1, 2, 1, 1,
            0x80, 0x80, 0x80, 1, 2
        ]
    );
    let set = VmSet { name: "a".to_owned(), weight: Some(7), cap: None, ..VmSet::default() };
    assert_eq!(encode(&Request::VmSet(set)), [7, 1, b'a', 1, 7, 0, 0, 0, 0]);
    let failure = Failure { code: FailureCode::WrongState, message: "m".to_owned() };
    assert_eq!(encode(&Reply::Error(failure)), [3, 2, 1, b'm']);
}

fn spec() -> VmSpec {
    VmSpec {
        name: "v".to_owned(),
        memory: 300,
        vcpus: 3,
        image: "i".to_owned(),
        format: ImageFormat::Raw { load_address: 0x4008_0000 },
        initrd: Some("r".to_owned()),
        bootargs: "b".to_owned(),
        autostart: true,
        grants: vec!["g".to_owned()],
        ports: 4,
        watchdog: true,
        cpu: CpuShare {
            weight: 100,
            cap: Some(500),
            affinity: vec![0, 3],
            reservation: Some(Reservation { budget_us: 1000, period_us: 10_000 }),
            pinned: true,
        },
        restart: RestartPolicy::Always,
        restart_limit: 7,
        shared: vec![SharedMemory { name: "s".to_owned(), bytes: 0x1_0000, writable: true, number: 2 }],
        disks: vec![DiskSpec {
            name: "d".to_owned(),
            drive: 1,
            first: 0x80,
            sectors: 2,
            writable: true,
            iops: 300,
            kbytes_per_s: 5,
            partition: Some("1".to_owned()),
        }],
        nics: vec![NicSpec {
            name: "n".to_owned(),
            network: "w".to_owned(),
            number: 5,
            mac: Some([2, 3, 4, 5, 6, 7]),
            mtu: 1500,
            isolated: true,
            any_source: false,
            kbit_per_s: 1,
            packets_per_s: 2,
        }],
        rng: true,
        guarantee: Some(0x20_0000),
        memory_missed: MissedPolicy::Kill,
    }
}

#[test]
fn made_up_addresses_are_local_stay_the_same_and_differ() {
    let mut seen = Vec::new();
    for vm in ["debian", "tiny", "second", "a", "b"] {
        for name in ["eth0", "eth1"] {
            let nic = NicSpec { name: name.to_owned(), mac: None, ..spec().nics[0].clone() };
            let mac = nic.address(vm);
            // Bit 1: local; bit 0: a group.
            assert_eq!(mac[0] & 3, 2);
            assert!(!seen.contains(&mac) && mac == nic.address(vm), "{mac:x?}");
            seen.push(mac);
        }
    }
    assert_eq!(spec().nics[0].address("a"), [2, 3, 4, 5, 6, 7]);
}

#[test]
fn random_bytes_are_refused_or_read_but_never_harm() {
    let mut random = 0xfeed_beef_dead_c0deu64;
    for _ in 0..100_000 {
        let bytes: [u8; 24] = core::array::from_fn(|_| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random >> 24) as u8 % 8
        });
        let _ = decode::<Request>(&bytes);
        let _ = decode::<Reply>(&bytes);
    }
}
