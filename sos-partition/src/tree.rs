//! The device tree that a guest finds: QEMU's `virt` machine as far as it is there.
//!
//! Bindings are those of Linux, Documentation/devicetree/bindings: `arm,gic-v3`, `arm,psci`,
//! `arm,arch_timer`, `serial/pl011`, `rtc/arm,pl031`, `virtio/mmio`, `watchdog/arm,sbsa-gwdt`, and the
//! devicetree specification 0.4 for the rest. Addresses and interrupts are `hv_abi::guest_map`'s.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use hv_abi::call::Grants;
use hv_abi::guest_map::{
    GICD_BASE, GICD_SIZE, GICR_BASE, GICR_STRIDE, MAILBOX_BASE, MAILBOX_COMPATIBLE, MAILBOX_SPI, RAM_BASE, RTC_BASE,
    RTC_SPI, UART_BASE, UART_SPI, VIRTIO_BASE, VIRTIO_SPI, VIRTIO_STRIDE, WATCHDOG_CONTROL_BASE, WATCHDOG_REFRESH_BASE,
    WATCHDOG_SPI,
};
use hv_abi::message::VmSpec;

use crate::plan::Extent;

/// First cell of an interrupt: a shared one or one of the CPU's own (`arm,gic-v3`).
const SPI: u32 = 0;
const PPI: u32 = 1;
/// Third cell of an interrupt (`interrupt-controller/arm-gic.h`).
const EDGE_RISING: u32 = 1;
const LEVEL_HIGH: u32 = 4;
/// The nodes that others point at.
const PHANDLE_GIC: u32 = 1;
const PHANDLE_CLOCK: u32 = 2;
/// PPI numbers of the secure, non-secure, virtual and hypervisor timer, as `virt` has them (Arm BSA §3.8).
const TIMERS: [u32; 4] = [13, 14, 11, 10];
/// What drives the PL011 on `virt`, in Hz.
const UART_CLOCK: u32 = 24_000_000;
const PAGE: u64 = 4096;

/// Random bytes for one boot of a guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GuestSeed {
    /// `kaslr-seed`.
    pub kaslr: u64,
    /// `rng-seed`.
    pub rng: [u8; 32],
}

/// The tree for a guest, flattened.
pub fn build(spec: &VmSpec, grants: Grants, initrd: Option<Extent>, seed: Option<GuestSeed>) -> Vec<u8> {
    let mut tree = DeviceTree::new();
    let root = &mut tree.root;
    root.add_property(text("compatible", "linux,dummy-virt"));
    root.add_property(text("model", "linux,dummy-virt"));
    root.add_property(cells("#address-cells", &[2]));
    root.add_property(cells("#size-cells", &[2]));
    root.add_property(cells("interrupt-parent", &[PHANDLE_GIC]));
    root.add_child(chosen(spec, initrd, seed));
    root.add_child(node("aliases", [text("serial0", &uart_path())]));
    root.add_child(memory(spec.memory));
    root.add_child(cpus(spec.vcpus));
    root.add_child(node("psci", [texts("compatible", &["arm,psci-1.0", "arm,psci-0.2"]), text("method", "hvc")]));
    root.add_child(timer());
    root.add_child(interrupt_controller(spec.vcpus));
    root.add_child(clock());
    root.add_child(uart());
    root.add_child(rtc());
    if spec.ports != 0 {
        root.add_child(virtio());
    }
    if grants != Grants::NONE {
        root.add_child(mailbox());
    }
    if spec.watchdog {
        root.add_child(watchdog());
    }
    tree.to_dtb()
}

fn chosen(spec: &VmSpec, initrd: Option<Extent>, seed: Option<GuestSeed>) -> DeviceTreeNode {
    let mut chosen = node("chosen", [text("stdout-path", &uart_path())]);
    if !spec.bootargs.is_empty() {
        chosen.add_property(text("bootargs", &spec.bootargs));
    }
    if let Some(initrd) = initrd {
        chosen.add_property(number("linux,initrd-start", initrd.start));
        chosen.add_property(number("linux,initrd-end", initrd.end()));
    }
    if let Some(seed) = seed {
        chosen.add_property(number("kaslr-seed", seed.kaslr));
        chosen.add_property(DeviceTreeProperty::new_unchecked("rng-seed", &seed.rng[..]));
    }
    chosen
}

fn memory(bytes: u64) -> DeviceTreeNode {
    let name = format!("memory@{RAM_BASE:x}");
    node(&name, [text("device_type", "memory"), reg(&[(RAM_BASE, bytes)])])
}

fn cpus(count: u8) -> DeviceTreeNode {
    let mut cpus = node("cpus", [cells("#address-cells", &[1]), cells("#size-cells", &[0])]);
    for index in 0..u32::from(count) {
        // MPIDR_EL1 of a vCPU has its index in Aff0 and zeroes above.
        let name = format!("cpu@{index:x}");
        cpus.add_child(node(
            &name,
            [
                text("device_type", "cpu"),
                text("compatible", "arm,armv8"),
                cells("reg", &[index]),
                text("enable-method", "psci"),
            ],
        ));
    }
    cpus
}

fn timer() -> DeviceTreeNode {
    let interrupts: Vec<u32> = TIMERS.iter().flat_map(|&timer| [PPI, timer, LEVEL_HIGH]).collect();
    node(
        "timer",
        [
            text("compatible", "arm,armv8-timer"),
            cells("interrupts", &interrupts),
            // The counter goes on whatever the guest's power states: no broadcast timer is needed.
            flag("always-on"),
        ],
    )
}

fn interrupt_controller(vcpus: u8) -> DeviceTreeNode {
    let redistributors = (GICR_BASE, u64::from(vcpus) * GICR_STRIDE);
    node(
        &format!("intc@{GICD_BASE:x}"),
        [
            text("compatible", "arm,gic-v3"),
            cells("#interrupt-cells", &[3]),
            flag("interrupt-controller"),
            reg(&[(GICD_BASE, GICD_SIZE), redistributors]),
            cells("#redistributor-regions", &[1]),
            cells("phandle", &[PHANDLE_GIC]),
        ],
    )
}

fn clock() -> DeviceTreeNode {
    node(
        "apb-pclk",
        [
            text("compatible", "fixed-clock"),
            cells("#clock-cells", &[0]),
            cells("clock-frequency", &[UART_CLOCK]),
            text("clock-output-names", "clk24mhz"),
            cells("phandle", &[PHANDLE_CLOCK]),
        ],
    )
}

fn uart_path() -> String {
    format!("/pl011@{UART_BASE:x}")
}

fn uart() -> DeviceTreeNode {
    node(
        &format!("pl011@{UART_BASE:x}"),
        [
            texts("compatible", &["arm,pl011", "arm,primecell"]),
            reg(&[(UART_BASE, PAGE)]),
            cells("interrupts", &[SPI, UART_SPI, LEVEL_HIGH]),
            cells("clocks", &[PHANDLE_CLOCK, PHANDLE_CLOCK]),
            texts("clock-names", &["uartclk", "apb_pclk"]),
        ],
    )
}

fn rtc() -> DeviceTreeNode {
    node(
        &format!("pl031@{RTC_BASE:x}"),
        [
            texts("compatible", &["arm,pl031", "arm,primecell"]),
            reg(&[(RTC_BASE, PAGE)]),
            cells("interrupts", &[SPI, RTC_SPI, LEVEL_HIGH]),
            cells("clocks", &[PHANDLE_CLOCK]),
            text("clock-names", "apb_pclk"),
        ],
    )
}

/// Slot 0, the console with the management ports. Empty slots are not described.
fn virtio() -> DeviceTreeNode {
    node(
        &format!("virtio_mmio@{VIRTIO_BASE:x}"),
        [
            text("compatible", "virtio,mmio"),
            reg(&[(VIRTIO_BASE, VIRTIO_STRIDE)]),
            cells("interrupts", &[SPI, VIRTIO_SPI, EDGE_RISING]),
            flag("dma-coherent"),
        ],
    )
}

fn mailbox() -> DeviceTreeNode {
    node(
        &format!("mailbox@{MAILBOX_BASE:x}"),
        [
            text("compatible", MAILBOX_COMPATIBLE),
            reg(&[(MAILBOX_BASE, PAGE)]),
            cells("interrupts", &[SPI, MAILBOX_SPI, EDGE_RISING]),
        ],
    )
}

fn watchdog() -> DeviceTreeNode {
    node(
        &format!("watchdog@{WATCHDOG_CONTROL_BASE:x}"),
        [
            text("compatible", "arm,sbsa-gwdt"),
            // The binding has the control frame first.
            reg(&[(WATCHDOG_CONTROL_BASE, PAGE), (WATCHDOG_REFRESH_BASE, PAGE)]),
            cells("interrupts", &[SPI, WATCHDOG_SPI, LEVEL_HIGH]),
        ],
    )
}

fn node<const N: usize>(name: &str, properties: [DeviceTreeProperty; N]) -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new_unchecked(name);
    for property in properties {
        node.add_property(property);
    }
    node
}

fn text(name: &str, value: &str) -> DeviceTreeProperty {
    texts(name, &[value])
}

fn texts(name: &str, values: &[&str]) -> DeviceTreeProperty {
    let mut bytes = Vec::new();
    for value in values {
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
    }
    DeviceTreeProperty::new_unchecked(name, bytes)
}

fn cells(name: &str, values: &[u32]) -> DeviceTreeProperty {
    let bytes: Vec<u8> = values.iter().flat_map(|cell| cell.to_be_bytes()).collect();
    DeviceTreeProperty::new_unchecked(name, bytes)
}

fn number(name: &str, value: u64) -> DeviceTreeProperty {
    DeviceTreeProperty::new_unchecked(name, &value.to_be_bytes()[..])
}

/// Pairs of address and size, two cells each.
fn reg(ranges: &[(u64, u64)]) -> DeviceTreeProperty {
    let bytes: Vec<u8> =
        ranges.iter().flat_map(|(address, size)| [address.to_be_bytes(), size.to_be_bytes()]).flatten().collect();
    DeviceTreeProperty::new_unchecked("reg", bytes)
}

fn flag(name: &str) -> DeviceTreeProperty {
    DeviceTreeProperty::new_unchecked(name, Vec::<u8>::new())
}

#[cfg(test)]
mod tests;
