use std::string::ToString;

use hv_abi::message::{CpuShare, DiskSpec, NicSpec, Reservation, SharedMemory};

use super::*;
use crate::fake::{SYSTEM, compile};

fn error_of(source: &str) -> String {
    parse(&compile(source)).unwrap_err().to_string()
}

/// SYSTEM with one thing changed.
fn changed(from: &str, to: &str) -> String {
    assert!(SYSTEM.contains(from), "{from}");
    SYSTEM.replacen(from, to, 1)
}

#[test]
fn guests_are_read_in_order_with_every_property() {
    let guests = parse(&compile(SYSTEM)).unwrap().guests;
    let expected = VmSpec {
        name: "linux".into(),
        memory: 0x200_0000,
        vcpus: 2,
        image: "kernel".into(),
        format: ImageFormat::Linux,
        initrd: Some("initrd".into()),
        bootargs: "console=ttyAMA0".into(),
        autostart: true,
        grants: ["manage", "info", "log", "consoles"].map(Into::into).into(),
        ports: 4,
        watchdog: true,
        cpu: CpuShare::default(),
        restart: RestartPolicy::OnFailure,
        restart_limit: 5,
        shared: Vec::new(),
        disks: Vec::new(),
        nics: Vec::new(),
        rng: false,
        guarantee: Some(0x100_0000),
        memory_missed: MissedPolicy::Refuse,
    };
    assert_eq!(guests[0], expected);
    let raw = VmSpec {
        name: "raw".into(),
        memory: 0x100_0000,
        vcpus: 1,
        image: "raw.img".into(),
        format: ImageFormat::Raw { load_address: 0x4008_0000 },
        initrd: None,
        bootargs: String::new(),
        autostart: false,
        grants: Vec::new(),
        ports: 0,
        watchdog: false,
        cpu: CpuShare {
            weight: 300,
            cap: None,
            affinity: [1, 3].into(),
            reservation: Some(Reservation { budget_us: 2000, period_us: 10_000 }),
            pinned: false,
        },
        restart: RestartPolicy::Never,
        restart_limit: 0,
        shared: Vec::new(),
        disks: Vec::new(),
        nics: Vec::new(),
        rng: false,
        guarantee: None,
        memory_missed: MissedPolicy::Refuse,
    };
    assert_eq!(guests[1], raw);
    assert_eq!(guests.len(), 3);
}

#[test]
fn the_demo_system_is_read() {
    let source = include_str!("../../../dts/virt/demo.dts");
    let guests = parse(&compile(source)).unwrap().guests;
    assert_eq!(guests[0].name, "debian");
    assert!(guests[0].autostart && !guests[1].autostart);
    assert_eq!((guests[0].vcpus, guests[0].ports), (2, 4));
    assert_eq!(guests[1].name, "tiny");
    assert_eq!(guests[1].grants, Vec::<String>::new());
}

#[test]
fn each_mistake_is_named_with_file_node_and_property() {
    let cases = [
        ("autostart;", "autostart; dma;", "/guests/linux: property \"dma\": unknown"),
        ("autostart;", "autostart = <1>;", "/guests/linux: property \"autostart\": takes no value"),
        ("watchdog;", "watchdog; rng = <1>;", "/guests/linux: property \"rng\": takes no value"),
        ("watchdog;", "watchdog = \"on\";", "/guests/linux: property \"watchdog\": takes no value"),
        (
            "restart = \"on-failure\"",
            "restart = \"sometimes\"",
            "/guests/linux: property \"restart\": must be \"never\", \"on-failure\" or \"always\"",
        ),
        (
            "restart-limit = <5>",
            "restart-limit = <5 6>",
            "/guests/linux: property \"restart-limit\": must be one 32-bit cell",
        ),
        ("vcpus = <2>", "vcpus = \"two\", \"2\"", "/guests/linux: property \"vcpus\": must be one 32-bit cell"),
        ("vcpus = <2>", "vcpus = <9>", "/guests/linux: vcpus: 9 is not in 1..=8"),
        (
            "watchdog;",
            "memory-missed = \"wait\";",
            "/guests/linux: property \"memory-missed\": must be \"refuse\", \"pause\" or \"kill\"",
        ),
        (
            "memory-guarantee = /bits/ 64 <0x1000000>",
            "memory-guarantee = /bits/ 64 <0x2200000>",
            "/guests/linux: memory-guarantee: 0x2200000 bytes are not a multiple of 2 MiB up to its memory",
        ),
        ("vcpus = <2>", "vcpus = <258>", "/guests/linux: vcpus: 258 is not in 1..=8"),
        ("vcpus = <2>", "vcpus = <0>", "/guests/linux: vcpus: 0 is not in 1..=8"),
        (
            "memory = /bits/ 64 <0x2000000>",
            "memory = <0x2000000>",
            "/guests/linux: property \"memory\": must be one /bits/ 64 number",
        ),
        (
            "memory = /bits/ 64 <0x2000000>",
            "memory = /bits/ 64 <0x2100000>",
            "/guests/linux: memory: 0x2100000 bytes are not a multiple of 2 MiB from 2 MiB up to 512 GiB",
        ),
        ("memory = /bits/ 64 <0x2000000>;", "", "/guests/linux: property \"memory\": is missing"),
        ("image = \"kernel\";", "", "/guests/linux: property \"image\": is missing"),
        ("image = \"kernel\"", "image = \"\"", "/guests/linux: image: empty"),
        ("image = \"kernel\"", "image = \"a\", \"b\"", "/guests/linux: property \"image\": must be one string"),
        ("image = \"kernel\"", "image = <5>", "/guests/linux: property \"image\": must be one string"),
        ("\"info\"", "\"root\"", "/guests/linux: grants: \"root\" is none of manage, info, log, consoles"),
        ("\"info\"", "\"log\"", "/guests/linux: grants: \"log\" is there twice"),
        (
            "grants = \"manage\", \"info\", \"log\", \"consoles\";",
            "",
            "/guests/linux: ports: they need at least one of the grants manage, info, log, consoles",
        ),
        (
            "grants = \"manage\", \"info\", \"log\", \"consoles\"",
            "grants = <1>",
            "/guests/linux: property \"grants\": must be a list of strings",
        ),
        ("ports = <4>", "ports = <5>", "/guests/linux: ports: 5 is not in 0..=4"),
        ("\"raw\";", "\"elf\";", "/guests/raw: property \"image-format\": must be \"linux\" or \"raw\""),
        ("\"raw\";", "\"linux\";", "/guests/raw: property \"load-address\": only for image-format \"raw\""),
        ("load-address = /bits/ 64 <0x40080000>;", "", "/guests/raw: property \"load-address\": is missing"),
        (
            "<0x40080000>",
            "<0x41000000>",
            "/guests/raw: load-address: 0x41000000 is not a multiple of 8 in the VM's RAM",
        ),
        (
            "<0x40080000>",
            "<0x40080004>",
            "/guests/raw: load-address: 0x40080004 is not a multiple of 8 in the VM's RAM",
        ),
        ("<0x40080000>;", "<0x40080000>; initrd = \"x\";", "/guests/raw: initrd: only for image-format \"linux\""),
        ("<300>", "<0>", "/guests/raw: cpu-weight: 0 is not in 1..=10000"),
        ("<300>", "<65636>", "/guests/raw: cpu-weight: 65636 is not in 1..=10000"),
        ("<300>", "<3 0>", "/guests/raw: property \"cpu-weight\": must be one 32-bit cell"),
        ("<1 3>", "\"1\"", "/guests/raw: property \"cpu-affinity\": must be a list of 32-bit cells"),
        ("<1 3>", "<1 1>", "/guests/raw: cpu-affinity: 1 is there twice"),
        ("<1 3>", "<256>", "/guests/raw: cpu-affinity: 256 is not in 0..=63"),
        (
            "<2000 10000>",
            "<2000>",
            "/guests/raw: property \"cpu-reservation\": must be two 32-bit cells, budget and period in microseconds",
        ),
        (
            "<2000 10000>",
            "<2000 1000>",
            "/guests/raw: cpu-reservation: budget of 2000 us is not in 100 up to its period",
        ),
        (
            "<2000 10000>;",
            "<2000 10000>; cpu-cap = <500>;",
            "/guests/raw: cpu-cap: not together with cpu-reservation, which is a limit as well",
        ),
        (
            "<2000 10000>;",
            "<2000 10000>; cpu-pinned;",
            "/guests/raw: cpu-pinned: not together with cpu-cap or cpu-reservation",
        ),
        ("<2000 10000>;", "<2000 10000>; cpu-pinned = <1>;", "/guests/raw: property \"cpu-pinned\": takes no value"),
        (
            "autostart;",
            "autostart; cpu-cap = <1001>;",
            "/guests/linux: cpu-cap: 1001 is not in 10..=1000 thousandths of a CPU",
        ),
        ("ports = <4>;", "ports = <4>; disk { };", "/guests/linux/disk: unknown node"),
        ("linux {", "Linux {", "/guests/Linux: name: 1 to 31 of a-z, 0-9 and '-'"),
        ("dormouse,guest", "dormouse,guests", "/guests/linux: property \"compatible\": must be \"dormouse,guest\""),
        ("guests {", "guests { x;", "/guests: property \"x\": unknown"),
        ("guests {", "guest {", "/guest: unknown node"),
        ("dormouse,system", "dormouse,systems", "/: property \"compatible\": must be \"dormouse,system\""),
        ("service-partition {", "service-partition { fast;", "/service-partition: property \"fast\": unknown"),
        ("service-partition {", "partition {", "/partition: unknown node"),
    ];
    for (from, to, message) in cases {
        assert_eq!(error_of(&changed(from, to)), std::format!("system.dtb: {message}"));
    }
    let alone = "/dts-v1/; / { compatible = \"dormouse,system\"; };";
    assert_eq!(error_of(alone), "system.dtb: /service-partition: node is missing");
}

#[test]
fn bounds_hold() {
    assert_eq!(parse(&std::vec![0; SIZE_MAX + 1]), Err(DescriptionError::TooBig(SIZE_MAX + 1)));
    let many: String = (0..=GUESTS_MAX)
        .map(|i| {
            std::format!("g{i} {{ compatible = \"dormouse,guest\"; image = \"x\"; memory = /bits/ 64 <0x200000>; }};")
        })
        .collect();
    let source = changed("guests {", &std::format!("guests {{ {many}"));
    assert_eq!(parse(&compile(&source)), Err(DescriptionError::TooManyGuests));
}

#[test]
fn mutated_descriptions_are_refused_or_give_guests_within_the_limits() {
    let good = compile(SYSTEM);
    let mut random = 0x0dd0_5eed_0f0f_1234u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..100_000 {
        let mut blob = good.clone();
        for _ in 0..1 + next() % 3 {
            let place = (next() % blob.len() as u64) as usize;
            match next() % 3 {
                0 => blob[place] ^= 1 << (next() % 8),
                1 => blob[place] = next() as u8,
                _ => {
                    // A word of the structure, moved elsewhere.
                    let from = (next() % (blob.len() as u64 / 4)) as usize * 4;
                    let word: [u8; 4] = blob[from..from + 4].try_into().unwrap();
                    let to = place.min(blob.len() - 4) / 4 * 4;
                    blob[to..to + 4].copy_from_slice(&word);
                }
            }
        }
        match parse(&blob) {
            Ok(description) => {
                accepted += 1;
                description.guests.iter().for_each(|guest| assert_eq!(spec::check(guest), Ok(())));
            }
            Err(error) => {
                refused += 1;
                assert!(error.to_string().starts_with("system.dtb"));
            }
        }
    }
    assert!(accepted > 1000 && refused > 10_000, "{accepted} {refused}");
}

/// SYSTEM with disks of the guest `linux`.
fn with_disks(nodes: &str) -> String {
    let guest = SYSTEM.find("linux {").expect("the guest");
    let end = guest + SYSTEM[guest..].find("};").expect("its end");
    std::format!("{}disks {{ {nodes} }};\n{}", &SYSTEM[..end], &SYSTEM[end..])
}

#[test]
fn disks_are_read_in_their_order() {
    let nodes = "root { compatible = \"dormouse,disk\"; };\n\
        data { compatible = \"dormouse,disk\"; drive = <3>; first-sector = /bits/ 64 <0x800>; \
        sectors = /bits/ 64 <0x100000000>; read-only; max-iops = <500>; max-kbytes-per-s = <20000>; };\
        part { compatible = \"dormouse,disk\"; partition = \"PARTLABEL=a b\"; };";
    let guests = parse(&compile(&with_disks(nodes))).unwrap().guests;
    let disk = |name: &str, drive, first, sectors, writable, [iops, kbytes_per_s]: [u32; 2]| DiskSpec {
        name: name.into(),
        drive,
        first,
        sectors,
        writable,
        iops,
        kbytes_per_s,
        partition: None,
    };
    let data = disk("data", 3, 0x800, 0x1_0000_0000, false, [500, 20_000]);
    let part = DiskSpec { partition: Some("PARTLABEL=a b".into()), ..disk("part", 0, 0, 0, true, [0, 0]) };
    assert_eq!(guests[0].disks, [disk("root", 0, 0, 0, true, [0, 0]), data, part]);
    assert_eq!(guests[1].disks, []);
}

#[test]
fn what_is_wrong_with_a_disk_is_named() {
    let disk = |properties: &str| std::format!("d {{ compatible = \"dormouse,disk\"; {properties} }};");
    let many: String = (0..5).map(|n| std::format!("d{n} {{ compatible = \"dormouse,disk\"; }};")).collect();
    for (nodes, words) in [
        (disk("drive = <256>;"), "/guests/linux/disks/d: disk \"d\": drive 256 is not in 0..=255"),
        (disk("size = <1>;"), "/guests/linux/disks/d: property \"size\": unknown"),
        (disk("max-iops = \"fast\";"), "/guests/linux/disks/d: property \"max-iops\": must be one 32-bit cell"),
        (
            disk("max-kbytes-per-s = /bits/ 64 <1>;"),
            "/guests/linux/disks/d: property \"max-kbytes-per-s\": must be one 32-bit cell",
        ),
        (disk("max-kbit-per-s = <1>;"), "/guests/linux/disks/d: property \"max-kbit-per-s\": unknown"),
        (disk("sectors = <1>;"), "property \"sectors\": must be one /bits/ 64 number"),
        (disk("more { };"), "/guests/linux/disks/d/more: unknown node"),
        ("d { };".into(), "property \"compatible\": is missing"),
        (disk("").replace("d {", "Root {"), "disk \"Root\": a name is"),
        (disk("first-sector = /bits/ 64 <2>; sectors = /bits/ 64 <0xffffffffffffffff>;"), "no drive has its sectors"),
        (disk("partition = <1>;"), "property \"partition\": must be one string"),
        (disk("partition = \"root\";"), "/guests/linux: disk \"d\": \"root\" is no partition: \"PARTLABEL="),
        (disk("partition = \"1\"; sectors = /bits/ 64 <8>;"), "disk \"d\": a partition has its own sectors"),
        (disk("partition = \"1\"; first-sector = /bits/ 64 <8>;"), "disk \"d\": a partition has its own sectors"),
        (many, "5 disks, at most 4"),
    ] {
        let error = error_of(&with_disks(&nodes));
        assert!(error.contains(words), "{error}");
    }
    let error = error_of(&with_disks("").replace("disks {", "discs {"));
    assert!(error.contains("/guests/linux/discs: unknown node"), "{error}");
}

/// SYSTEM with networks, and network cards of the guest `linux`.
fn with_nics(networks: &str, nodes: &str) -> String {
    let guest = SYSTEM.find("linux {").expect("the guest");
    let end = guest + SYSTEM[guest..].find("};").expect("its end");
    let source = std::format!("{}nics {{ {nodes} }};\n{}", &SYSTEM[..end], &SYSTEM[end..]);
    source.replacen("guests {", &std::format!("networks {{ {networks} }};\nguests {{"), 1)
}

/// Two networks without the board's network card around one with it.
const NETWORKS: &str = "inner { compatible = \"dormouse,network\"; };\n\
    lan { compatible = \"dormouse,network\"; uplink; };\n\
    other { compatible = \"dormouse,network\"; };";

#[test]
fn network_cards_are_read_in_their_order_and_the_network_with_the_uplink_is_the_first() {
    let nodes = "e0 { compatible = \"dormouse,nic\"; network = \"lan\"; };\n\
        e1 { compatible = \"dormouse,nic\"; network = \"other\"; mac-address = [02 11 22 33 44 55]; mtu = <1400>; \
        isolated; any-source; max-kbit-per-s = <100000>; max-packets-per-s = <5000>; };";
    let guests = parse(&compile(&with_nics(NETWORKS, nodes))).unwrap().guests;
    let plain = NicSpec {
        name: "e0".into(),
        network: "lan".into(),
        number: 0,
        mac: None,
        mtu: 1500,
        isolated: false,
        any_source: false,
        kbit_per_s: 0,
        packets_per_s: 0,
    };
    let full = NicSpec {
        name: "e1".into(),
        network: "other".into(),
        number: 2,
        mac: Some([2, 0x11, 0x22, 0x33, 0x44, 0x55]),
        mtu: 1400,
        isolated: true,
        any_source: true,
        kbit_per_s: 100_000,
        packets_per_s: 5000,
    };
    assert_eq!(guests[0].nics, [plain, full]);
    assert_eq!(guests[1].nics, []);
}

#[test]
fn what_is_wrong_with_a_network_card_is_named() {
    let nic =
        |properties: &str| std::format!("e {{ compatible = \"dormouse,nic\"; network = \"lan\"; {properties} }};");
    let many: String = (0..3).map(|n| nic("").replace("e {", &std::format!("e{n} {{"))).collect();
    for (nodes, words) in [
        (nic("").replace("lan", "wan"), "/guests/linux/nics/e: network card \"e\": there is no network \"wan\""),
        (nic("").replace("lan", ""), "there is no network \"\""),
        (nic("").replace("network = \"lan\";", ""), "property \"network\": is missing"),
        (nic("mac-address = [02 11];"), "property \"mac-address\": must be six bytes"),
        (nic("mac-address = [03 00 00 00 00 01];"), "network card \"e\": mac-address is not one station's"),
        (nic("mtu = <1279>;"), "network card \"e\": mtu 1279 is not in 1280..=1500"),
        (nic("mtu = <66000>;"), "network card \"e\": mtu 66000 is not in 1280..=1500"),
        (nic("speed = <1>;"), "/guests/linux/nics/e: property \"speed\": unknown"),
        (nic("").replace("e {", "E {"), "network card \"E\": a name is"),
        (many, "3 network cards, at most 2"),
    ] {
        let error = error_of(&with_nics(NETWORKS, &nodes));
        assert!(error.contains(words), "{error}");
    }
    let many: String = (0..8).map(|n| std::format!("n{n} {{ compatible = \"dormouse,network\"; }};")).collect();
    for (networks, words) in [
        (NETWORKS.replace("inner {", "inner { uplink;"), "/networks/lan: another"),
        ("a { compatible = \"dormouse,network\"; size = <1>; };".into(), "/networks/a: property \"size\": unknown"),
        (many, "/networks: more than 7 networks"),
    ] {
        let error = error_of(&with_nics(&networks, ""));
        assert!(error.contains(words), "{error}");
    }
}

/// SYSTEM with a region of 64 KiB and one of 8 MiB, and guests that have them by these properties.
fn shared(linux: &str, raw: &str) -> String {
    let regions = "shared-memory {\n\
        link { compatible = \"dormouse,shared-memory\"; size = /bits/ 64 <0x10000>; };\n\
        feed { compatible = \"dormouse,shared-memory\"; size = /bits/ 64 <0x800000>; };\n};\n";
    let mut source = SYSTEM.to_string();
    for (node, properties) in [("raw {", raw), ("linux {", linux), ("guests {", "")] {
        assert_eq!(source.matches(node).count(), 1, "{node}");
        let before = if node == "guests {" { regions } else { "" };
        source = source.replacen(node, &std::format!("{before}{node}\n{properties}"), 1);
    }
    source
}

#[test]
fn regions_are_shared_by_name_with_a_right_and_a_number_for_each_guest() {
    let source =
        shared("shared-memory = \"feed\"; shared-memory-read-only = \"link\";", "shared-memory = \"link\", \"feed\";");
    let guests = parse(&compile(&source)).unwrap().guests;
    let region = |name: &str, bytes, writable, number| SharedMemory { name: name.into(), bytes, writable, number };
    assert_eq!(guests[0].shared, [region("feed", 0x80_0000, true, 0), region("link", 0x1_0000, false, 0)]);
    assert_eq!(guests[1].shared, [region("link", 0x1_0000, true, 1), region("feed", 0x80_0000, true, 1)]);
}

#[test]
fn what_is_wrong_with_shared_memory_is_named() {
    let link = "shared-memory = \"link\";";
    for (source, words) in [
        (shared("shared-memory = \"nothing\";", ""), "/guests/linux: shared memory: there is no region \"nothing\""),
        (shared(link, "").replace("0x10000>", "0x11000>"), "/shared-memory/link: shared memory: \"link\": a name"),
        (shared("shared-memory = \"link\"; shared-memory-read-only = \"link\";", ""), "\"link\" is there twice"),
        (
            shared(link, "").replace("link {", "link { colour = <1>;"),
            "/shared-memory/link: property \"colour\": unknown",
        ),
    ] {
        let error = error_of(&source);
        assert!(error.contains(words), "{error}");
    }
}
