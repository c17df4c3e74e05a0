//! Capabilities of devices as they are and as they lie (virtio 1.2 §4.1.4).

use hv_core::addr::Pa;
use proptest::prelude::*;
use virtio_drivers::transport::pci::bus::{BarInfo, MemoryBarType};

use super::*;
use crate::pci::{Bar, FunctionKind, Placed, Space};

const DEVICE: Function = Function { bdf: Bdf(8), vendor: 0x1af4, device: 0x1042, kind: FunctionKind::Endpoint, pin: 1 };

/// The words of a function that is alone.
#[derive(Clone)]
struct Words([u32; 64]);

impl ConfigSpace for Words {
    fn read(&self, _: Bdf, offset: u8) -> u32 {
        self.0[usize::from(offset / 4)]
    }

    fn write(&mut self, _: Bdf, _: u8, _: u32) {}
}

/// Capabilities as QEMU's disk has them, in its BAR 4: number, offset, length.
fn words() -> Words {
    let mut words = Words([0; 64]);
    words.0[1] = 1 << 20;
    words.0[0x34 / 4] = 0x40;
    for (index, (number, offset, length)) in
        [(1, 0, 0x1000), (3, 0x1000, 0x1000), (4, 0x2000, 0x1000), (2, 0x3000, 0x1000)].into_iter().enumerate()
    {
        let at = 0x40 / 4 + 5 * index;
        let next = if index == 3 { 0 } else { (at as u32 + 5) * 4 };
        words.0[at..at + 5].copy_from_slice(&[number << 24 | 20 << 16 | next << 8 | 9, 4, offset, length, 4]);
    }
    words
}

fn bars() -> Bars {
    let bar = Bar { space: Space::Memory64, prefetchable: true, size: 0x4000 };
    let mut bars = Bars::default();
    bars[4] = Some(Placed { bar, bus: 0x80_0000_4000, cpu: Pa(0x90_0000_4000) });
    bars
}

#[test]
fn structures_are_found_where_capabilities_say() {
    let layout = layout(&words(), Bdf(8), &bars()).unwrap();
    let offsets = layout.structures.map(|structure| (structure.bar, structure.offset));
    assert_eq!((offsets, layout.multiplier), ([(4, 0), (4, 0x3000), (4, 0x1000), (4, 0x2000)], 4));
    let common = address(&layout.structures[COMMON], &bars()).unwrap();
    assert_eq!(common.addr().get(), 0x90_0000_4000);
}

#[test]
fn the_first_capability_of_a_kind_that_can_be_used_counts() {
    let mut twice = words();
    // The interrupt's becomes another of the common structure, the first one is beyond its BAR.
    twice.0[0x40 / 4 + 2] = 0x3fff;
    assert_eq!(layout(&twice, Bdf(8), &bars()), Err(VirtioError::Structure("common")));
    twice.0[0x54 / 4] = twice.0[0x54 / 4] & 0x00ff_ffff | 1 << 24;
    assert_eq!(layout(&twice, Bdf(8), &bars()), Err(VirtioError::Structure("interrupt")));
}

#[test]
fn a_structure_outside_of_its_bar_or_too_short_or_not_aligned_is_none() {
    for (word, value) in [(1, 6), (1, 0), (2, u32::MAX), (2, 2), (3, 55), (3, u32::MAX)] {
        let mut wrong = words();
        wrong.0[0x40 / 4 + word] = value;
        assert_eq!(layout(&wrong, Bdf(8), &bars()), Err(VirtioError::Structure("common")), "{word}: {value:#x}");
    }
}

#[test]
fn doorbells_are_inside_of_their_structure() {
    assert_eq!(doorbell(1, 4, 0x1000), Some(4));
    assert_eq!(doorbell(0xffff, 0, 2), Some(0));
    assert_eq!(doorbell(0x400, 4, 0x1000), None);
    assert_eq!(doorbell(0xffff, u32::MAX, u32::MAX), None);
    assert_eq!(doorbell(0, 3, 0x1000), None);
}

#[test]
fn what_the_transport_is_shown_has_the_addresses_of_cpus() {
    let layout = layout(&words(), Bdf(8), &bars()).unwrap();
    let mut root = PciRoot::new(Shown::new(&DEVICE, &bars(), &layout));
    let place = DeviceFunction { bus: 0, device: 0, function: 0 };
    let shown = root.bar_info(place, 4).unwrap().unwrap();
    let (address_type, address, size) = (MemoryBarType::Width64, 0x90_0000_4000, 0x4000);
    assert_eq!(shown, BarInfo::Memory { address_type, prefetchable: false, address, size });
    let numbers: Vec<_> = root.capabilities(place).map(|capability| capability.private_header >> 8).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
}

proptest! {
    /// Any list of capabilities: the walk ends, and what it accepts is inside of the BAR.
    #[test]
    fn damaged_capabilities_never_lead_out_of_a_bar(damage in prop::collection::vec((0..64_usize, any::<u32>()), 1..8)) {
        let mut words = words();
        for (at, value) in damage {
            words.0[at] = value;
        }
        if let Ok(layout) = layout(&words, Bdf(8), &bars()) {
            for structure in layout.structures {
                prop_assert!(structure.bar == 4);
                prop_assert!(u64::from(structure.offset) + u64::from(structure.length) <= 0x4000);
            }
        }
    }
}
