//! Boards found in trees as QEMU 10.0.2 makes them and in one of a Raspberry Pi 4's shape. The expected
//! values are those of the machines' memory and interrupt maps.
#![allow(missing_docs)]

mod common;

use common::{QEMU_PADDING, blob, compile, edited, padded, source};
use hv_board::pci::{Bdf, Space, Window};
use hv_board::{
    Board, ColdRam, Conduit, Cpu, CpuStart, Fault, Gic, GicV2, GicV3, Irq, Psci, PsciVersion, Reserved, ReservedKind,
    SmmuV3, TimerPpis, TreeError, Trigger, Uart, total_size,
};
use hv_core::addr::{CpuId, IntId, Pa, PaRange};
use hv_core::smmu::StreamId;

const GIB: u64 = 1 << 30;

fn range(start: u64, size: u64) -> PaRange {
    PaRange::new(Pa(start), size).unwrap()
}

fn level(id: u32) -> Option<Irq> {
    Some(Irq { id: IntId(id), trigger: Trigger::Level })
}

fn board(name: &str) -> Board {
    Board::from_tree(&blob(name)).unwrap()
}

fn refusal(name: &str, from: &str, to: &str) -> String {
    Board::from_tree(&edited(name, from, to)).unwrap_err().to_string()
}

/// PPI 14, 11 and 10 (BSA), as INTIDs.
const TIMER: TimerPpis = TimerPpis { physical: IntId(30), virt: IntId(27), hypervisor: IntId(26) };

const VIRT_UART0: Uart = Uart {
    regs: PaRange { start: Pa(0x0900_0000), size: 0x1000 },
    irq: Some(Irq { id: IntId(33), trigger: Trigger::Level }),
};
const VIRT_UART1: Uart = Uart {
    regs: PaRange { start: Pa(0x0904_0000), size: 0x1000 },
    irq: Some(Irq { id: IntId(40), trigger: Trigger::Level }),
};

fn virt_gicv3() -> Gic {
    let gicr = [range(0x080a_0000, 0xf6_0000)].into_iter().collect();
    Gic::V3(GicV3 { gicd: range(0x0800_0000, 0x1_0000), gicr, stride: None })
}

fn psci_cpus(count: u64) -> Vec<Cpu> {
    (0..count).map(|mpidr| Cpu { mpidr, start: CpuStart::Psci }).collect()
}

#[test]
fn virt_with_gicv3_and_smmu_is_found_whole() {
    let board = board("virt-gicv3");
    assert_eq!(board.memory.as_slice(), [range(0x4000_0000, GIB)]);
    assert!(board.reserved.is_empty());
    assert_eq!(board.cpus.as_slice(), psci_cpus(4));
    assert_eq!(board.psci, Some(Psci { conduit: Conduit::Smc, version: PsciVersion::V1 }));
    assert_eq!(board.uarts.as_slice(), [VIRT_UART0, VIRT_UART1]);
    assert_eq!(board.gic, virt_gicv3());
    assert_eq!(board.maintenance, Some(IntId(25)));
    assert_eq!(board.timer, TIMER);
    // hw/arm/virt.c: SPIs from 74: event queue, PRI queue, command, error; rising edge.
    let irq = |spi: u32| Some(Irq { id: IntId(32 + spi), trigger: Trigger::Edge });
    let smmu = SmmuV3 { regs: range(0x0905_0000, 0x2_0000), events: irq(74), errors: irq(77) };
    assert_eq!(board.smmus.as_slice(), [smmu]);
    assert_eq!(board.rtc, Some(range(0x0901_0000, 0x1000)));
    assert_eq!(board.pci.iter().map(|host| host.ecam).collect::<Vec<_>>(), [range(0x40_1000_0000, 0x1000_0000)]);
    assert_eq!(board.initrd, Some(range(0x4800_0000, 5 << 20)));
    assert_eq!(board.cold_ram, ColdRam::Zero);
}

#[test]
fn ram_is_zero_at_a_cold_boot_only_where_no_loader_was_at_work() {
    let loaded = edited("virt-gicv3", "chosen {", "chosen { u-boot,version = \"2025.01\";");
    assert_eq!(Board::from_tree(&loaded).unwrap().cold_ram, ColdRam::Anything);
    assert_eq!(board("rpi4-like").cold_ram, ColdRam::Anything);
}

#[test]
fn a_release_address_in_the_last_page_of_all_is_refused() {
    let last = edited("rpi4-like", "<0x0 0x000000e0>", "<0xffffffff 0xfffff008>");
    let error = Board::from_tree(&last).unwrap_err().to_string();
    assert!(error.contains("cpu-release-addr"), "{error}");
}

#[test]
fn el2_maps_uarts_gic_smmu_rtc_its_part_of_pci_and_virtio_slots() {
    let expected = [
        range(0x0900_0000, 0x1000),
        range(0x0904_0000, 0x1000),
        range(0x0800_0000, 0x1_0000),
        range(0x080a_0000, 0xf6_0000),
        range(0x0905_0000, 0x2_0000),
        range(0x0901_0000, 0x1000),
        range(0x40_1000_0000, 1 << 20),
        range(0x1000_0000, 2 << 20),
        range(0x80_0000_0000, 2 << 20),
        range(0x0a00_0000, 0x4000),
    ];
    assert_eq!(board("virt-gicv3").mmio().as_slice(), expected);
}

#[test]
fn virtio_slots_come_by_address_with_their_interrupts() {
    // hw/arm/virt.c: 32 slots of 0x200 bytes from 0x0a00_0000, SPIs from 16, rising edge.
    let slots = board("virt-gicv3").virtio;
    assert_eq!(slots.len(), 32);
    for (number, slot) in (0..).zip(&slots) {
        assert_eq!(slot.regs, range(0x0a00_0000 + 0x200 * number, 0x200));
        assert_eq!(slot.irq, Irq { id: IntId(32 + 16 + number as u32), trigger: Trigger::Edge });
    }
    assert!(board("rpi4-like").virtio.is_empty());
}

#[test]
fn padding_behind_the_strings_changes_nothing() {
    let padded = padded(blob("virt-gicv3"), QEMU_PADDING);
    assert_eq!(total_size(padded.first_chunk().unwrap()), Ok(QEMU_PADDING));
    assert_eq!(Board::from_tree(&padded).unwrap(), board("virt-gicv3"));
}

#[test]
fn virt_with_8_gib_has_one_bank_above_4_gib_and_8_cpus() {
    let board = board("virt-gicv3-8g");
    assert_eq!(board.memory.as_slice(), [range(0x4000_0000, 8 * GIB)]);
    assert_eq!(board.cpus.as_slice(), psci_cpus(8));
    assert_eq!(board.uarts.as_slice(), [VIRT_UART0, VIRT_UART1]);
    assert_eq!(board.initrd, None);
}

#[test]
fn virt_with_gicv2_has_the_hypervisors_frames_and_no_smmu() {
    let board = board("virt-gicv2-4g");
    let gic = GicV2 {
        gicd: range(0x0800_0000, 0x1_0000),
        gicc: range(0x0801_0000, 0x1_0000),
        gich: Some(range(0x0803_0000, 0x1_0000)),
        gicv: Some(range(0x0804_0000, 0x1_0000)),
    };
    assert_eq!(board.gic, Gic::V2(gic));
    assert_eq!(board.maintenance, Some(IntId(25)));
    assert_eq!(board.memory.as_slice(), [range(0x4000_0000, 4 * GIB)]);
    assert_eq!(board.cpus.as_slice(), psci_cpus(2));
    assert_eq!(board.uarts.as_slice(), [VIRT_UART0]);
    assert!(board.smmus.is_empty());
    assert!(!board.mmio().contains(&range(0x0804_0000, 0x1_0000)), "GICV is the guests'");
    assert!(board.mmio().contains(&range(0x0803_0000, 0x1_0000)));
}

#[test]
fn virt_without_virtualization_is_read_all_the_same() {
    let board = board("virt-el1");
    assert_eq!(board.psci, Some(Psci { conduit: Conduit::Hvc, version: PsciVersion::V1 }));
    assert_eq!(board.cpus.as_slice(), [Cpu { mpidr: 0, start: CpuStart::Unspecified }]);
    assert_eq!(board.maintenance, None);
    assert_eq!(board.memory.as_slice(), [range(0x4000_0000, GIB / 2)]);
    assert_eq!(board.console(), Some(&VIRT_UART0));
    assert_eq!(board.log_uart(), None);
}

#[test]
fn addresses_behind_ranges_are_the_cpus() {
    let board = board("rpi4-like");
    let gic = GicV2 {
        gicd: range(0xff84_1000, 0x1000),
        gicc: range(0xff84_2000, 0x2000),
        gich: Some(range(0xff84_4000, 0x2000)),
        gicv: Some(range(0xff84_6000, 0x2000)),
    };
    assert_eq!(board.gic, Gic::V2(gic));
    assert_eq!(board.timer, TIMER);
    // Two buses deep, and not the one that no window shows.
    assert_eq!(board.rtc, Some(range(0xfd00_5000, 0x1000)));
}

#[test]
fn disabled_uarts_are_left_out_and_a_foreign_interrupt_is_none() {
    let uart = |start, irq| Uart { regs: range(start, 0x200), irq };
    let expected = [uart(0xfe20_1000, level(153)), uart(0xfe20_1600, level(153)), uart(0xfe30_0000, None)];
    assert_eq!(board("rpi4-like").uarts.as_slice(), expected);
}

#[test]
fn memory_is_sorted_and_empty_banks_are_left_out() {
    let expected = [range(0, 0x3c00_0000), range(0x4000_0000, 0xbc00_0000)];
    assert_eq!(board("rpi4-like").memory.as_slice(), expected);
}

#[test]
fn reservations_nodes_and_the_spin_table_are_reserved() {
    let reserved = |start, size, kind| Reserved { range: range(start, size), kind };
    let expected = [
        reserved(0, 0x1000, ReservedKind::Reservation),
        reserved(0, 0x8_0000, ReservedKind::NoMap),
        reserved(0x3b00_0000, 0x1_0000, ReservedKind::Node),
        reserved(0x3b10_0000, 0x2000, ReservedKind::Node),
        reserved(0, 0x1000, ReservedKind::SpinTable),
    ];
    assert_eq!(board("rpi4-like").reserved.as_slice(), expected);
}

#[test]
fn a_board_without_psci_has_a_spin_table() {
    let board = board("rpi4-like");
    assert_eq!(board.psci, None);
    let releases = [0xd8, 0xe0, 0xe8, 0xf0];
    for (mpidr, (cpu, release)) in board.cpus.iter().zip(releases).enumerate() {
        let start = CpuStart::SpinTable { release: Pa(release) };
        assert_eq!(*cpu, Cpu { mpidr: mpidr as u64, start });
    }
    assert_eq!(board.initrd, Some(range(0x0800_0000, 0x12_3456)));
}

#[test]
fn stdout_path_decides_which_uart_is_the_console() {
    for path in ["/pl011@9040000", "/pl011@9040000:115200n8", "serial1", "serial1:115200"] {
        let from = r#"stdout-path = "/pl011@9000000""#;
        let blob = edited("virt-gicv3", from, &format!("stdout-path = \"{path}\""));
        let board = Board::from_tree(&blob).unwrap();
        assert_eq!(board.uarts.as_slice(), [VIRT_UART1, VIRT_UART0], "{path}");
    }
    for path in ["", ":", "/", "serial7", "/pl011@9040000/x", "/nobody"] {
        let from = r#"stdout-path = "/pl011@9000000""#;
        let blob = edited("virt-gicv3", from, &format!("stdout-path = \"{path}\""));
        let board = Board::from_tree(&blob).unwrap();
        assert_eq!(board.uarts.as_slice(), [VIRT_UART0, VIRT_UART1], "{path}");
    }
}

#[test]
fn seeds_are_found_where_they_lie_in_the_blob() {
    let blob = padded(blob("virt-gicv3"), QEMU_PADDING);
    let secrets = Board::from_tree(&blob).unwrap().secrets;
    let at =
        |secret: Option<hv_board::Secret>| secret.map(|secret| &blob[secret.offset..secret.offset + secret.length]);
    assert_eq!(at(secrets.rng), Some(&(0..32).collect::<Vec<u8>>()[..]));
    assert_eq!(at(secrets.kaslr), Some(&(0xa0..0xa8).collect::<Vec<u8>>()[..]));
}

#[test]
fn cpus_are_numbered_in_the_trees_order_and_found_by_affinity() {
    let blob = edited("virt-gicv3", "reg = <0x02>;", "reg = <0x102>;");
    let board = Board::from_tree(&blob).unwrap();
    assert_eq!(board.cpu_by_mpidr(0x102), Some(CpuId(2)));
    assert_eq!(board.cpu_by_mpidr(0x8000_0003), Some(CpuId(3)), "bit 31 is RES1, no affinity");
    assert_eq!(board.cpu_by_mpidr(2), None);
}

#[test]
fn timer_interrupts_go_by_name_where_the_tree_names_them() {
    let blob = edited(
        "rpi4-like",
        "interrupts = <1 13 0xf08>, <1 14 0xf08>, <1 11 0xf08>, <1 10 0xf08>;",
        "interrupts = <1 10 0xf08>, <1 14 0xf08>, <1 11 0xf08>;
         interrupt-names = \"hyp-phys\", \"phys\", \"virt\";",
    );
    assert_eq!(Board::from_tree(&blob).unwrap().timer, TIMER);
}

#[test]
fn several_redistributor_regions_and_a_stride_are_kept() {
    let blob = edited(
        "virt-gicv3",
        "0x00 0x80a0000 0x00 0xf60000>;\n\t\t#redistributor-regions = <0x01>;",
        "0x00 0x80a0000 0x00 0x80000 0x40 0x0 0x00 0x4000000>;
         #redistributor-regions = <0x02>; redistributor-stride = <0x0 0x40000>;",
    );
    let Gic::V3(gic) = Board::from_tree(&blob).unwrap().gic else { panic!("a GICv3") };
    assert_eq!(gic.gicr.as_slice(), [range(0x80a_0000, 0x8_0000), range(0x40_0000_0000, 0x400_0000)]);
    assert_eq!(gic.stride, Some(0x4_0000));
}

#[test]
fn a_refusal_names_node_and_property() {
    let reg = "reg = <0x00 0x40000000 0x00 0x40000000>;";
    let cases = [
        (
            "virt-gicv3",
            reg,
            "reg = <0x00 0x40000000 0x00>;",
            "/memory@40000000: property `reg` has 12 bytes, which is no whole number of entries",
        ),
        (
            "virt-gicv3",
            reg,
            "reg = <0xffffffff 0xfffff000 0x0 0x2000>;",
            "/memory@40000000: property `reg` names a range that passes the end of the address space",
        ),
        ("virt-gicv3", reg, "", "/memory@40000000: property `reg` is missing"),
        (
            "virt-gicv3",
            r#"method = "smc""#,
            r#"method = "call""#,
            "/psci: property `method` has a value that is not known here",
        ),
        ("virt-gicv3", r#"method = "smc";"#, "", "/psci: property `method` is missing"),
        (
            "virt-gicv3",
            "reg = <0x02>;",
            "reg = <0x1000000>;",
            "/cpus/cpu@2: property `reg` has the value 0x1000000, which is not allowed here",
        ),
        (
            "virt-gicv3",
            "#redistributor-regions = <0x01>;",
            "#redistributor-regions = <9>;",
            "/intc@8000000: property `#redistributor-regions` has the value 0x9, which is not allowed here",
        ),
        (
            "virt-gicv3",
            "#redistributor-regions = <0x01>;",
            "#redistributor-regions = <2>;",
            "/intc@8000000: property `reg` names an address that no `ranges` of the buses above translates",
        ),
        (
            "virt-gicv3",
            "linux,initrd-end = <0x00 0x48500000>;",
            "linux,initrd-end = [00];",
            "/chosen: property `linux,initrd-end` has 1 bytes, which is no whole number of entries",
        ),
        (
            "virt-gicv3",
            "linux,initrd-end = <0x00 0x48500000>;",
            "linux,initrd-end = <0x47ffffff>;",
            "/chosen: property `linux,initrd-end` has the value 0x47ffffff, which is not allowed here",
        ),
        (
            "virt-gicv3",
            "linux,initrd-start = <0x00 0x48000000>;",
            "",
            "/chosen: property `linux,initrd-start` is missing",
        ),
        (
            "virt-gicv3",
            "0x01 0x0a 0x04>;",
            "0x01 0x10 0x04>;",
            "/timer: property `interrupts` has the value 0x10, which is not allowed here",
        ),
        (
            "virt-gicv3",
            " 0x01 0x0a 0x04>;",
            ">;",
            "/timer: property `interrupts` has 36 bytes, which is no whole number of entries",
        ),
        (
            "rpi4-like",
            "cpu-release-addr = <0x0 0x000000e8>;",
            "",
            "/cpus/cpu@2: property `cpu-release-addr` is missing",
        ),
        (
            "rpi4-like",
            "cpu-release-addr = <0x0 0x000000e8>;",
            "cpu-release-addr = <0xe4>;",
            "/cpus/cpu@2: property `cpu-release-addr` has the value 0xe4, which is not allowed here",
        ),
    ];
    for (name, from, to, message) in cases {
        assert_eq!(refusal(name, from, to), message);
    }
}

#[test]
fn what_every_board_has_must_be_there() {
    let cases = [
        ("arm,gic-v3\"", "x,gic-v3\"", "device tree: no interrupt controller"),
        ("arm,armv8-timer", "x,armv8-timer", "device tree: no timer"),
        ("device_type = \"memory\"", "device_type = \"x\"", "device tree: no memory"),
        ("device_type = \"cpu\"", "device_type = \"x\"", "device tree: no CPU"),
    ];
    for (from, to, message) in cases {
        assert_eq!(refusal("virt-gicv3", from, to), message);
    }
}

#[test]
fn memory_or_a_cpu_described_twice_is_refused() {
    let reg = "reg = <0x00 0x40000000 0x00 0x40000000>;";
    let twice = "reg = <0x0 0x40000000 0x0 0x40000000 0x0 0x7ffff000 0x0 0x2000>;";
    assert_eq!(refusal("virt-gicv3", reg, twice), "device tree: two memory banks hold 0x7ffff000");
    assert_eq!(refusal("virt-gicv3", "reg = <0x02>;", "reg = <0x01>;"), "device tree: two CPUs have the affinity 0x1");
}

#[test]
fn more_than_there_is_room_for_is_refused() {
    let cpus: String = (4..17).map(|n| format!("cpu@{n:x} {{ device_type = \"cpu\"; reg = <{n}>; }};\n")).collect();
    let blob = edited("virt-gicv3", "\t\tcpu@0 {", &format!("{cpus}\t\tcpu@0 {{"));
    assert_eq!(Board::from_tree(&blob).unwrap_err().to_string(), "/cpus/cpu@3: more than 16 CPUs");
    let reserved: String =
        (0..33).map(|n| format!("r@{n:x} {{ reg = <0x0 {:#x} 0x0 0x1000>; }};", 0x5000_0000 + n * 0x1000)).collect();
    let node = format!("reserved-memory {{ #address-cells = <2>; #size-cells = <2>; ranges; {reserved} }};\n\tcpus {{");
    let blob = edited("virt-gicv3", "cpus {", &node);
    assert_eq!(Board::from_tree(&blob).unwrap_err().to_string(), "/reserved-memory/r@20: more than 32 reserved ranges");
}

#[test]
fn nodes_nested_too_deep_are_refused_and_never_dropped() {
    let nest = |depth: usize| format!("{}{}", "n {".repeat(depth), "};".repeat(depth));
    let tree = |depth| edited("virt-gicv3", "\tcpus {", &format!("{}\n\tcpus {{", nest(depth)));
    let (deep, plain) = (Board::from_tree(&tree(12)).unwrap(), board("virt-gicv3"));
    assert_eq!(Board { secrets: plain.secrets, ..deep }, plain);
    for depth in [13, 15, 16, 17, 40] {
        let error = Board::from_tree(&tree(depth)).unwrap_err();
        assert!(matches!(error, TreeError::Depth { .. }), "{depth}: {error}");
    }
}

#[test]
fn a_structure_size_that_hides_nodes_is_refused() {
    let mut blob = blob("virt-gicv3");
    let size = u32::from_be_bytes(*blob[36..].first_chunk().unwrap());
    for wrong in [0, 4, 8, 12, size - 4, size + 4] {
        blob[36..40].copy_from_slice(&wrong.to_be_bytes());
        assert!(Board::from_tree(&blob).is_err(), "{wrong}");
    }
}

#[test]
fn a_blob_that_is_no_tree_is_refused_by_its_header() {
    assert_eq!(total_size(&[0; 8]), Err(TreeError::Magic(0)));
    assert_eq!(total_size(b"\xd0\x0d\xfe\xed\x00\x20\x00\x01"), Err(TreeError::Size(0x20_0001)));
    assert_eq!(total_size(b"\xd0\x0d\xfe\xed\x00\x20\x00\x00"), Ok(0x20_0000));
    assert_eq!(Board::from_tree(&[]), Err(TreeError::Size(0)));
    let blob = blob("virt-gicv3");
    assert!(matches!(Board::from_tree(&blob[..blob.len() - 1]), Err(TreeError::Damaged(_))));
}

#[test]
fn ranges_without_a_byte_per_entry_do_not_hang() {
    let source = source("rpi4-like");
    let soc = source.find("\tsoc {").unwrap();
    let (head, tail) = source.split_at(soc);
    let tail = tail.replacen("#address-cells = <1>", "#address-cells = <0>", 1);
    let tail = tail.replacen("#size-cells = <1>", "#size-cells = <0>", 1);
    let head = head.replacen("#address-cells = <2>", "#address-cells = <0>", 1);
    let error = Board::from_tree(&compile(&format!("{head}{tail}"))).unwrap_err();
    assert!(matches!(error, TreeError::Property { property: "reg", fault: Fault::Length(_), .. }), "{error}");
}

#[test]
fn the_error_is_small_enough_to_return() {
    assert!(size_of::<TreeError>() <= 128);
}

#[test]
fn the_host_bridge_of_virt_has_its_windows_pins_and_streams() {
    let board = board("virt-gicv3");
    let [host] = board.pci.as_slice() else { panic!("{:?}", board.pci) };
    assert_eq!((host.ecam, host.bus, host.coherent), (range(0x40_1000_0000, 0x1000_0000), 0, true));
    let window = |space, start, size| Window { space, prefetchable: false, bus: start, cpu: Pa(start), size };
    let (low, high) =
        (window(Space::Memory32, 0x1000_0000, 0x2eff_0000), window(Space::Memory64, 0x80_0000_0000, 0x80_0000_0000));
    assert_eq!(host.windows.as_slice(), [low, high]);
    // SPI 3 to 6, by device and pin in turn (hw/arm/virt.c, create_pcie_irq_map).
    for (device, pin) in (0..32_u16).flat_map(|device| (1..=4_u8).map(move |pin| (device, pin))) {
        let spi = 3 + (u32::from(device) + u32::from(pin) - 1) % 4;
        assert_eq!(host.irq(Bdf(device << 3), pin), level(32 + spi), "{device} {pin}");
    }
    assert_eq!((host.irq(Bdf(8), 0), host.irq(Bdf(8), 5)), (None, None));
    assert_eq!(host.stream(Bdf(0x10)), Some(StreamId(0x10)));
    let map: Vec<_> = host.mmio().collect();
    let own = [range(0x40_1000_0000, 1 << 20), range(0x1000_0000, 2 << 20), range(0x80_0000_0000, 2 << 20)];
    assert_eq!(map, own);
    assert!(own.iter().all(|range| board.mmio().contains(range)));
}

#[test]
fn a_host_bridge_without_an_smmu_has_no_streams() {
    let plain = Board::from_tree(&edited("virt-gicv3", "iommu-map = <0x00 0x8007 0x00 0x10000>;", "")).unwrap();
    assert_eq!(plain.pci[0].stream(Bdf(0x10)), None);
}

#[test]
fn an_error_of_a_host_bridge_names_node_and_property() {
    for (from, to, words) in [
        ("bus-range = <0x00 0xff>", "bus-range = <0xff>", "/pcie@10000000: property `bus-range` has 4 bytes"),
        ("bus-range = <0x00 0xff>", "bus-range = <2 1>", "/pcie@10000000: property `bus-range` has the value 0x1"),
        ("<0x00 0x8007 0x00 0x10000>", "<0x00 0x8007 0x00>", "/pcie@10000000: property `iommu-map` has 12 bytes"),
        ("<0x1800 0x00 0x00 0x07>", "<0x1800>", "/pcie@10000000: property `interrupt-map-mask` has 4 bytes"),
        ("0x10000000 0x00 0x2eff0000", "0x10000000 0x01 0x00", "/pcie@10000000: property `ranges` names a range"),
        ("0x10000000 0x00 0x2eff0000", "0x10000000 0x00", "/pcie@10000000: property `ranges` has"),
        ("<0x40 0x10000000 0x00 0x10000000>", "<0x40 0x10000000 0x00 0x1000>", "/pcie@10000000: property `reg` has"),
    ] {
        let error = refusal("virt-gicv3", from, to);
        assert!(error.starts_with(words), "{error}");
    }
}
