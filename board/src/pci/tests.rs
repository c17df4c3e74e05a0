//! Root buses that lie, and windows with and without room. What a register answers is by PCI Express Base 5.0 §7.5.1.

use std::cell::Cell;
use std::collections::BTreeMap;

use hv_core::addr::Pa;
use proptest::prelude::*;

use super::*;

/// A function: its words, and of each BAR the bits that can be written.
#[derive(Clone, Default, Debug)]
struct Fake {
    words: BTreeMap<u8, u32>,
    writable: [u32; 6],
}

/// A bus of such. A word that nobody has set is 0.
#[derive(Clone, Default, Debug)]
struct Bus {
    functions: BTreeMap<u16, Fake>,
    reads: Cell<u32>,
}

impl ConfigSpace for Bus {
    fn read(&self, bdf: Bdf, offset: u8) -> u32 {
        self.reads.set(self.reads.get() + 1);
        let Some(function) = self.functions.get(&bdf.0) else { return u32::MAX };
        function.words.get(&offset).copied().unwrap_or(0)
    }

    fn write(&mut self, bdf: Bdf, offset: u8, value: u32) {
        let Some(function) = self.functions.get_mut(&bdf.0) else { return };
        let old = function.words.get(&offset).copied().unwrap_or(0);
        let new = match offset {
            0x04 => old & 0xffff_0000 | value & 0xffff,
            0x10..0x28 => {
                let writable = function.writable[usize::from((offset - 0x10) / 4)];
                old & !writable | value & writable
            }
            _ => value,
        };
        function.words.insert(offset, new);
    }
}

/// virtio-blk-pci as QEMU has it: BAR 1 of 4 KiB and 32 bits, BAR 4 of 16 KiB and 64 bits, prefetchable; pin A.
fn disk() -> Fake {
    let words = [(0x00, 0x1042_1af4), (0x04, 0x0010_0000), (0x08, 0x0100_0001), (0x20, 0xc), (0x3c, 0x100)];
    let writable = [0, 0xffff_f000, 0, 0, 0xffff_c000, 0xffff_ffff];
    Fake { words: words.into(), writable }
}

fn bus(functions: impl IntoIterator<Item = (u16, Fake)>) -> Bus {
    Bus { functions: functions.into_iter().collect(), ..Bus::default() }
}

const LOW: Window =
    Window { space: Space::Memory32, prefetchable: false, bus: 0x1000_0000, cpu: Pa(0x1000_0000), size: 0x2eff_0000 };
const HIGH: Window =
    Window { space: Space::Memory64, prefetchable: false, bus: 0x80_0000_0000, cpu: Pa(0x90_0000_0000), size: 1 << 39 };

fn all(bus: &Bus) -> Vec<Function> {
    let mut found = Vec::new();
    let mut next = Some(Bdf::first(0));
    while let Some(function) = next.and_then(|from| find(bus, from)) {
        found.push(function);
        next = function.bdf.next();
    }
    found
}

#[test]
fn a_number_is_read_as_bus_device_and_function() {
    assert_eq!(Bdf(0x01_0b).to_string(), "01:01.3");
    assert_eq!((Bdf(0x00ff).next(), Bdf(0x0007).next()), (None, Some(Bdf(8))));
}

#[test]
fn functions_are_found_in_order_and_only_where_a_device_says_that_it_has_several() {
    let with = |header_type: u32| {
        let mut fake = disk();
        fake.words.insert(0x0c, header_type << 16);
        fake
    };
    let mut host = with(0);
    host.words.insert(0x08, 0x0600_0000);
    let bus =
        bus([(0, host), (8, with(0)), (9, with(0)), (16, with(0x80)), (19, with(0)), (25, with(0)), (0xf8, with(1))]);
    let found: Vec<_> = all(&bus).iter().map(|function| (function.bdf.0, function.kind)).collect();
    use FunctionKind::{Bridge, Endpoint, Other};
    assert_eq!(found, [(0, Other), (8, Endpoint), (16, Endpoint), (19, Endpoint), (0xf8, Bridge)]);
}

#[test]
fn an_endpoint_gets_its_addresses_and_reaches_memory_only_when_it_is_started() {
    let mut bus = bus([(8, disk())]);
    let mut room = Allocator::new([LOW, HIGH].into_iter());
    let bars = prepare(&mut bus, Bdf(8), &mut room).unwrap();
    assert_eq!(bars[1].unwrap().cpu, Pa(0x1000_0000));
    let wide = bars[4].unwrap();
    assert_eq!((wide.bus, wide.cpu, wide.bar.size), (0x80_0000_0000, Pa(0x90_0000_0000), 0x4000));
    let word = |bus: &Bus, offset| bus.read(Bdf(8), offset);
    assert_eq!([0x14, 0x20, 0x24].map(|offset| word(&bus, offset)), [0x1000_0000, 0xc, 0x80]);
    assert_eq!(word(&bus, 4) & 0x7, 2, "memory, and no bus master");
    start(&mut bus, Bdf(8));
    assert_eq!(word(&bus, 4) & 0x407, 6, "memory, bus master, INTx");
    quiet(&mut bus, Bdf(8));
    assert_eq!(word(&bus, 4) & 0x407, 0x400);
}

#[test]
fn messages_that_firmware_left_on_are_turned_off() {
    let mut fake = disk();
    fake.words.extend([(0x34, 0x98), (0x98, 0x8001_4011), (0x40, 0x0001_0005)]);
    let mut bus = bus([(8, fake)]);
    prepare(&mut bus, Bdf(8), &mut Allocator::new([LOW, HIGH].into_iter())).unwrap();
    assert_eq!((bus.read(Bdf(8), 0x98) >> 31, bus.read(Bdf(8), 0x40) >> 16 & 1), (0, 0));
}

#[test]
fn bars_of_no_known_type_or_of_no_power_of_two_are_refused() {
    let refused = |index: usize, bits: u32, writable: u32| {
        let mut fake = disk();
        fake.words.insert(0x10 + 4 * index as u8, bits);
        fake.writable[index] = writable;
        let mut bus = bus([(8, fake)]);
        let result = prepare(&mut bus, Bdf(8), &mut Allocator::new([LOW, HIGH].into_iter()));
        assert_eq!(bus.read(Bdf(8), 4) & 7, 0, "it stays silent");
        result.unwrap_err()
    };
    assert_eq!(refused(0, 2, 0xffff_f000), PciError::BarType(0));
    assert_eq!(refused(0, 6, 0xffff_f000), PciError::BarType(0));
    assert_eq!(refused(0, 0, 0xffff_5000), PciError::BarSize(0, 0xb000));
    let mut last = disk();
    (last.writable[4], last.writable[5]) = (0, 0xffff_f000);
    last.words.extend([(0x20, 0), (0x24, 4)]);
    let mut bus = bus([(8, last)]);
    let result = prepare(&mut bus, Bdf(8), &mut Allocator::new([LOW, HIGH].into_iter()));
    assert_eq!(result, Err(PciError::BarType(5)), "there is no register for its upper half");
}

#[test]
fn a_bar_that_fits_in_no_window_is_refused_and_takes_nothing() {
    let small = Window { size: 0x3000, ..LOW };
    let mut room = Allocator::new([small].into_iter());
    let bar = |size| Bar { space: Space::Memory64, prefetchable: false, size };
    assert_eq!(room.place(bar(0x4000)), None);
    assert_eq!(room.place(bar(3)), None);
    assert_eq!(room.place(bar(16)).map(|placed| placed.bus), Some(0x1000_0000));
    assert_eq!(room.place(bar(0x1000)).map(|placed| placed.bus), Some(0x1000_1000), "no two share a page");
    assert_eq!(room.place(bar(0x2000)), None);
    let prefetchable = Window { prefetchable: true, ..HIGH };
    assert_eq!(Allocator::new([prefetchable].into_iter()).place(bar(0x1000)), None, "reads may have side effects");
    let narrow = Bar { space: Space::Memory32, ..bar(0x1000) };
    assert_eq!(Allocator::new([HIGH].into_iter()).place(narrow), None);
    let zero = Window { bus: 0, ..LOW };
    assert_eq!(Allocator::new([zero].into_iter()).place(narrow).map(|placed| placed.bus), Some(0x1000));
}

fn window() -> impl Strategy<Value = Window> {
    let parts = (any::<bool>(), any::<bool>(), any::<u64>(), any::<u64>(), 0..64_u32, 0..64_u32);
    parts.prop_map(|(wide, prefetchable, bus, cpu, narrow, size)| {
        let (bus, cpu, size) = (bus >> narrow, cpu >> 1, u64::MAX >> size);
        let size = size.min(u64::MAX - bus).min(u64::MAX - cpu);
        Window { space: if wide { Space::Memory64 } else { Space::Memory32 }, prefetchable, bus, cpu: Pa(cpu), size }
    })
}

proptest! {
    #[test]
    fn places_are_aligned_inside_of_a_window_and_never_shared(
        windows in prop::collection::vec(window(), 1..4),
        bars in prop::collection::vec((any::<bool>(), any::<bool>(), 4..50_u32), 0..20),
    ) {
        let mut room = Allocator::new(windows.iter().copied());
        let mut taken: Vec<(Window, u64, u64)> = Vec::new();
        for (wide, prefetchable, exponent) in bars {
            let space = if wide { Space::Memory64 } else { Space::Memory32 };
            let bar = Bar { space, prefetchable, size: 1 << exponent };
            let Some(placed) = room.place(bar) else { continue };
            prop_assert!(placed.bus != 0 && placed.bus.is_multiple_of(bar.size));
            prop_assert!(wide || placed.bus + bar.size <= 1 << 32);
            let inside = |window: &&Window| {
                let offset = placed.bus.wrapping_sub(window.bus);
                offset < window.size && bar.size <= window.size - offset && placed.cpu.0 == window.cpu.0 + offset
                    && (prefetchable || !window.prefetchable)
            };
            let window = *windows.iter().find(inside).expect("a window that holds it");
            for (other, bus, size) in &taken {
                prop_assert!(*other != window || placed.bus + bar.size <= *bus || bus + size <= placed.bus);
            }
            taken.push((window, placed.bus, bar.size));
        }
    }

    /// Any words, and any bits that can be written: the walks end, and what is accepted has its place.
    #[test]
    fn a_bus_of_liars_is_walked_in_bounded_time(
        fakes in prop::collection::vec((0..256_u16, prop::collection::vec(any::<u32>(), 64), any::<[u32; 6]>()), 0..12),
        low in 0..0x2000_u64,
    ) {
        let fake = |(bdf, words, writable): (u16, Vec<u32>, [u32; 6])| {
            let words = (0..=0xfc).step_by(4).zip(words).collect();
            (bdf, Fake { words, writable })
        };
        let mut bus = bus(fakes.into_iter().map(fake));
        let mut room = Allocator::new([Window { size: low << 8, ..LOW }, HIGH].into_iter());
        for function in all(&bus) {
            if let Ok(bars) = prepare(&mut bus, function.bdf, &mut room) {
                prop_assert!(bars.iter().flatten().all(|placed| placed.bar.size.is_power_of_two()));
            }
        }
        prop_assert!(bus.reads.get() < 256 * 8 + 256 * 64);
    }
}
