//! What a guest finds of memory that it shares: regions in `/reserved-memory` (`reserved-memory/reserved-memory.yaml`), and
//! a doorbell for each, whose `memory-region` names it.

use alloc::format;

use hv_abi::guest_map::{DOORBELL_BASE, DOORBELL_COMPATIBLE, DOORBELL_SPI, DOORBELL_STRIDE, SHARED_COMPATIBLE};
use hv_abi::message::SharedMemory;

use super::{EDGE_RISING, PAGE, SPI, cells, flag, numbers, text};
use crate::fdt::Writer;
use crate::shared::place;

/// The first region's phandle; the others follow.
const PHANDLE: u32 = 3;

pub(super) fn nodes(tree: &mut Writer, shared: &[SharedMemory]) {
    if shared.is_empty() {
        return;
    }
    tree.begin("reserved-memory");
    tree.property(cells("#address-cells", &[2]));
    tree.property(cells("#size-cells", &[2]));
    tree.property(flag("ranges"));
    for (index, region) in shared.iter().enumerate() {
        tree.begin(&format!("{}@{:x}", region.name, place(index)));
        tree.property(text("compatible", &[SHARED_COMPATIBLE]));
        tree.property(numbers("reg", &[place(index), region.bytes]));
        tree.property(flag("no-map"));
        tree.property(text("label", &[&region.name]));
        tree.property(cells("phandle", &[PHANDLE + index as u32]));
        if !region.writable {
            tree.property(flag("read-only"));
        }
        tree.end();
    }
    tree.end();
    for (index, region) in shared.iter().enumerate() {
        let (base, number) = (DOORBELL_BASE + index as u64 * DOORBELL_STRIDE, index as u32);
        tree.node(
            &format!("doorbell@{base:x}"),
            &[
                text("compatible", &[DOORBELL_COMPATIBLE]),
                numbers("reg", &[base, PAGE]),
                cells("interrupts", &[SPI, DOORBELL_SPI + number, EDGE_RISING]),
                cells("memory-region", &[PHANDLE + number]),
                text("label", &[&region.name]),
            ],
        );
    }
}
