//! The device tree that a guest finds: QEMU's `virt` machine as far as it is there.
//!
//! Bindings are those of Linux, Documentation/devicetree/bindings: `arm,gic-v3`, `arm,psci`,
//! `arm,arch_timer`, `serial/pl011`, `rtc/arm,pl031`, `virtio/mmio`, `watchdog/arm,sbsa-gwdt`, and the
//! devicetree specification 0.4 for the rest. Addresses and interrupts are `hv_abi::guest_map`'s.

mod shared;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use hv_abi::call::Grants;
use hv_abi::guest_map::{
    BALLOON_SLOT, DISK_SLOT, DISKS_MAX, ENTROPY_SLOT, GICD_BASE, GICD_SIZE, GICR_BASE, GICR_STRIDE, MAILBOX_BASE,
    MAILBOX_COMPATIBLE, MAILBOX_SPI, NIC_SLOT, RAM_BASE, RTC_BASE, RTC_SPI, UART_BASE, UART_SPI, VIRTIO_BASE,
    VIRTIO_SPI, VIRTIO_STRIDE, WATCHDOG_CONTROL_BASE, WATCHDOG_REFRESH_BASE, WATCHDOG_SPI,
};
use hv_abi::message::VmSpec;

use crate::builder::TREE_ROOM;
use crate::fdt::{Property, Value, Writer};
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
    let mut tree = Writer::new(TREE_ROOM as usize);
    tree.begin("");
    tree.property(text("compatible", &["linux,dummy-virt"]));
    tree.property(text("model", &["linux,dummy-virt"]));
    tree.property(cells("#address-cells", &[2]));
    tree.property(cells("#size-cells", &[2]));
    tree.property(cells("interrupt-parent", &[PHANDLE_GIC]));
    chosen(&mut tree, spec, initrd, seed);
    tree.node("aliases", &[text("serial0", &[&uart_path()])]);
    memory(&mut tree, spec.memory);
    cpus(&mut tree, spec.vcpus);
    tree.node("psci", &[text("compatible", &["arm,psci-1.0", "arm,psci-0.2"]), text("method", &["hvc"])]);
    timer(&mut tree);
    interrupt_controller(&mut tree, spec.vcpus);
    clock(&mut tree);
    uart(&mut tree);
    rtc(&mut tree);
    if spec.ports != 0 {
        virtio(&mut tree, 0);
    }
    // Those that are empty as well: disks come to them while the guest runs.
    (DISK_SLOT..).take(DISKS_MAX).for_each(|slot| virtio(&mut tree, slot));
    (NIC_SLOT..).zip(&spec.nics).for_each(|(slot, _)| virtio(&mut tree, slot));
    if spec.rng {
        virtio(&mut tree, ENTROPY_SLOT);
    }
    if spec.guarantee.is_some() {
        virtio(&mut tree, BALLOON_SLOT);
    }
    if grants != Grants::NONE {
        mailbox(&mut tree);
    }
    if spec.watchdog {
        watchdog(&mut tree);
    }
    shared::nodes(&mut tree, &spec.shared);
    tree.end();
    tree.finish()
}

fn chosen(tree: &mut Writer, spec: &VmSpec, initrd: Option<Extent>, seed: Option<GuestSeed>) {
    tree.begin("chosen");
    tree.property(text("stdout-path", &[&uart_path()]));
    if !spec.bootargs.is_empty() {
        tree.property(text("bootargs", &[&spec.bootargs]));
    }
    if let Some(initrd) = initrd {
        tree.property(numbers("linux,initrd-start", &[initrd.start]));
        tree.property(numbers("linux,initrd-end", &[initrd.end()]));
    }
    if let Some(seed) = seed {
        tree.property(numbers("kaslr-seed", &[seed.kaslr]));
        tree.property(("rng-seed", Value::Bytes(&seed.rng)));
    }
    tree.end();
}

fn memory(tree: &mut Writer, bytes: u64) {
    let name = format!("memory@{RAM_BASE:x}");
    tree.node(&name, &[text("device_type", &["memory"]), numbers("reg", &[RAM_BASE, bytes])]);
}

fn cpus(tree: &mut Writer, count: u8) {
    tree.begin("cpus");
    tree.property(cells("#address-cells", &[1]));
    tree.property(cells("#size-cells", &[0]));
    for index in 0..u32::from(count) {
        // MPIDR_EL1 of a vCPU has its index in Aff0 and zeroes above.
        tree.node(
            &format!("cpu@{index:x}"),
            &[
                text("device_type", &["cpu"]),
                text("compatible", &["arm,armv8"]),
                cells("reg", &[index]),
                text("enable-method", &["psci"]),
            ],
        );
    }
    tree.end();
}

fn timer(tree: &mut Writer) {
    let interrupts: [u32; 3 * TIMERS.len()] =
        core::array::from_fn(|cell| [PPI, TIMERS[cell / 3], LEVEL_HIGH][cell % 3]);
    // The counter goes on whatever the guest's power states: no broadcast timer is needed.
    let always = flag("always-on");
    tree.node("timer", &[text("compatible", &["arm,armv8-timer"]), cells("interrupts", &interrupts), always]);
}

fn interrupt_controller(tree: &mut Writer, vcpus: u8) {
    let redistributors = u64::from(vcpus) * GICR_STRIDE;
    tree.node(
        &format!("intc@{GICD_BASE:x}"),
        &[
            text("compatible", &["arm,gic-v3"]),
            cells("#interrupt-cells", &[3]),
            flag("interrupt-controller"),
            numbers("reg", &[GICD_BASE, GICD_SIZE, GICR_BASE, redistributors]),
            cells("#redistributor-regions", &[1]),
            cells("phandle", &[PHANDLE_GIC]),
        ],
    );
}

fn clock(tree: &mut Writer) {
    tree.node(
        "apb-pclk",
        &[
            text("compatible", &["fixed-clock"]),
            cells("#clock-cells", &[0]),
            cells("clock-frequency", &[UART_CLOCK]),
            text("clock-output-names", &["clk24mhz"]),
            cells("phandle", &[PHANDLE_CLOCK]),
        ],
    );
}

fn uart_path() -> String {
    format!("/pl011@{UART_BASE:x}")
}

fn uart(tree: &mut Writer) {
    tree.node(
        &format!("pl011@{UART_BASE:x}"),
        &[
            text("compatible", &["arm,pl011", "arm,primecell"]),
            numbers("reg", &[UART_BASE, PAGE]),
            cells("interrupts", &[SPI, UART_SPI, LEVEL_HIGH]),
            cells("clocks", &[PHANDLE_CLOCK, PHANDLE_CLOCK]),
            text("clock-names", &["uartclk", "apb_pclk"]),
        ],
    );
}

fn rtc(tree: &mut Writer) {
    tree.node(
        &format!("pl031@{RTC_BASE:x}"),
        &[
            text("compatible", &["arm,pl031", "arm,primecell"]),
            numbers("reg", &[RTC_BASE, PAGE]),
            cells("interrupts", &[SPI, RTC_SPI, LEVEL_HIGH]),
            cells("clocks", &[PHANDLE_CLOCK]),
            text("clock-names", &["apb_pclk"]),
        ],
    );
}

/// A virtio slot: the first has the console with the management ports. Of empty ones only those for disks are described.
fn virtio(tree: &mut Writer, slot: u32) {
    let base = VIRTIO_BASE + u64::from(slot) * VIRTIO_STRIDE;
    tree.node(
        &format!("virtio_mmio@{base:x}"),
        &[
            text("compatible", &["virtio,mmio"]),
            numbers("reg", &[base, VIRTIO_STRIDE]),
            cells("interrupts", &[SPI, VIRTIO_SPI + slot, EDGE_RISING]),
            flag("dma-coherent"),
        ],
    );
}

fn mailbox(tree: &mut Writer) {
    tree.node(
        &format!("mailbox@{MAILBOX_BASE:x}"),
        &[
            text("compatible", &[MAILBOX_COMPATIBLE]),
            numbers("reg", &[MAILBOX_BASE, PAGE]),
            cells("interrupts", &[SPI, MAILBOX_SPI, EDGE_RISING]),
        ],
    );
}

fn watchdog(tree: &mut Writer) {
    tree.node(
        &format!("watchdog@{WATCHDOG_CONTROL_BASE:x}"),
        &[
            text("compatible", &["arm,sbsa-gwdt"]),
            // The binding has the control frame first.
            numbers("reg", &[WATCHDOG_CONTROL_BASE, PAGE, WATCHDOG_REFRESH_BASE, PAGE]),
            cells("interrupts", &[SPI, WATCHDOG_SPI, LEVEL_HIGH]),
        ],
    );
}

const fn text<'a>(name: &'static str, values: &'a [&'a str]) -> Property<'a> {
    (name, Value::Texts(values))
}

const fn cells<'a>(name: &'static str, values: &'a [u32]) -> Property<'a> {
    (name, Value::Cells(values))
}

/// Numbers of two cells: addresses, sizes.
const fn numbers<'a>(name: &'static str, values: &'a [u64]) -> Property<'a> {
    (name, Value::Numbers(values))
}

const fn flag(name: &'static str) -> Property<'static> {
    (name, Value::Bytes(&[]))
}

#[cfg(test)]
mod tests;
