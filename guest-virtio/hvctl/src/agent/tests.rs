use super::*;

fn record(present: u32, leaving: u32) -> PlugRecord {
    PlugRecord { present: present.into(), leaving: leaving.into() }
}

#[test]
fn a_disk_that_comes_is_bound_once_and_one_that_leaves_until_it_is_gone() {
    let mut slots = Slots::default();
    assert_eq!(slots.change(&record(0b10, 0), 0b10), Change { bind: 0, unbind: 0 }, "the kernel has it");
    assert_eq!(slots.change(&record(0b110, 0), 0b10), Change { bind: 0b100, unbind: 0 });
    assert_eq!(slots.change(&record(0b110, 0), 0b10), Change { bind: 0, unbind: 0 }, "somebody has unbound it");
    assert_eq!(slots.change(&record(0b110, 0b100), 0b110), Change { bind: 0, unbind: 0b100 });
    assert_eq!(slots.change(&record(0b110, 0b100), 0b110), Change { bind: 0, unbind: 0b100 }, "it was in use");
    assert_eq!(slots.change(&record(0b10, 0), 0b10), Change { bind: 0, unbind: 0 });
    assert_eq!(slots.change(&record(0b110, 0), 0b10), Change { bind: 0b100, unbind: 0 }, "another one came");
}

#[test]
fn slots_have_the_names_that_linux_gives_them() {
    // of_device_make_bus_id: the translated address in hexadecimal, a dot, the node's name without its unit.
    assert_eq!(name(DISK_SLOT), "a000200.virtio_mmio");
    assert_eq!(name(DISK_SLOT + 3), "a000800.virtio_mmio");
}
