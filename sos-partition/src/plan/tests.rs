use std::vec::Vec;

use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;

fn kernel(text_offset: u64, memory_size: u64, placement: Placement) -> Payload {
    Payload::Linux(LinuxImage { text_offset, memory_size, placement })
}

fn sizes(image: u64, initrd: u64) -> Sizes {
    Sizes { image, tree: 8192, initrd }
}

#[test]
fn a_kernel_that_may_be_anywhere_has_the_tree_below_it() {
    // Debian's 6.1 cloud kernel: image_size 0x1aa0000, text_offset 0.
    let plan = plan(256 * MIB, kernel(0, 0x1aa_0000, Placement::Anywhere), sizes(27 * MIB, 1_000_000)).unwrap();
    assert_eq!(plan.image.start, 0x4020_0000);
    assert_eq!(plan.tree.start, 0x4000_0000);
    assert_eq!(plan.initrd.unwrap().start, 0x41ca_0000);
}

#[test]
fn an_old_kernel_is_at_the_start_and_the_tree_in_a_block_above_everything() {
    let plan = plan(64 * MIB, kernel(0x8_0000, 16 * MIB, Placement::NearStart), sizes(12 * MIB, 5 * MIB)).unwrap();
    assert_eq!(plan.image.start, 0x4008_0000);
    assert_eq!(plan.initrd.unwrap().start, 0x4108_0000);
    assert_eq!(plan.tree.start, 0x4160_0000);
}

#[test]
fn what_does_not_fit_is_said_in_mebibytes() {
    let refused = |memory, payload, sizes| plan(memory, payload, sizes).unwrap_err();
    let kernel_30 = kernel(0, 30 * MIB, Placement::Anywhere);
    let error = refused(32 * MIB, kernel_30, sizes(MIB, 1));
    assert_eq!(std::format!("{error}"), "memory: image, initrd and device tree need 33 MiB, it has 32 MiB");
    assert!(plan(32 * MIB, kernel_30, sizes(MIB, 0)).is_ok());
    for size in [u64::MAX, u64::MAX - 4095, 1 << 63] {
        let error = refused(MIB * 32, kernel(0, size, Placement::NearStart), sizes(1, 1));
        assert!(matches!(error, PlanError::Memory { .. }));
    }
    let huge = kernel(0, 33 << 30, Placement::Anywhere);
    assert_eq!(refused(64 << 30, huge, sizes(1, 1)), PlanError::Window);
}

#[test]
fn a_raw_image_at_the_start_leaves_the_last_block_to_the_tree() {
    let raw = |load_address| Payload::Raw { load_address };
    let at_start = plan(8 * MIB, raw(0x4000_0000), sizes(MIB, 0)).unwrap();
    assert_eq!(at_start.tree.start, 0x4060_0000);
    assert_eq!(plan(2 * MIB, raw(0x4000_0000), sizes(1, 0)), Err(PlanError::NoTreeBlock));
    let above = plan(2 * MIB, raw(0x4000_2000), sizes(1, 0)).unwrap();
    assert_eq!(above.tree.start, 0x4000_0000);
    let error = plan(2 * MIB, raw(0x401f_fff8), sizes(9, 0)).unwrap_err();
    assert!(matches!(error, PlanError::Memory { .. }));
}

fn any_payload() -> impl Strategy<Value = Payload> {
    let linux = (0..512u64, any::<u64>(), 0..40u32, any::<bool>()).prop_map(|(offset, size, shift, anywhere)| {
        let placement = if anywhere { Placement::Anywhere } else { Placement::NearStart };
        kernel(offset * 4096, (size >> 24 >> shift).max(1), placement)
    });
    let raw = (0..1u64 << 28).prop_map(|offset| Payload::Raw { load_address: RAM_BASE + offset * 8 });
    prop_oneof![linux, raw]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn whatever_is_placed_lies_inside_ram_by_the_rules_and_overlaps_nothing(
        payload in any_payload(),
        blocks in 1..2048u64,
        image in 1..1u64 << 28,
        tree in 0..TREE_MAX + 2,
        initrd in prop_oneof![Just(0u64), 1..1u64 << 28],
    ) {
        let memory = blocks * 2 * MIB;
        let Ok(plan) = plan(memory, payload, Sizes { image, tree, initrd }) else {
            return Ok(());
        };
        let mut parts: Vec<Extent> = [Some(plan.image), Some(plan.tree), plan.initrd]
            .into_iter()
            .flatten()
            .collect();
        parts.sort_by_key(|part| part.start);
        prop_assert!(parts[0].start >= 0x4000_0000);
        prop_assert!(parts.last().unwrap().end() <= 0x4000_0000 + memory);
        for pair in parts.windows(2) {
            prop_assert!(pair[0].end() <= pair[1].start, "{:x?}", parts);
        }
        // booting.rst: 8-byte aligned, at most 2 MiB, in one 2 MiB block.
        prop_assert_eq!(plan.tree.start % 8, 0);
        prop_assert!(plan.tree.size <= 2 * MIB);
        prop_assert!(plan.tree.start % (2 * MIB) + plan.tree.size <= 2 * MIB);
        if let Payload::Linux(linux) = payload {
            prop_assert_eq!((plan.image.start - linux.text_offset) % (2 * MIB), 0);
            prop_assert_eq!(plan.initrd.map_or(0, |part| part.size), initrd);
            prop_assert_eq!(plan.image.size, linux.memory_size);
        }
    }
}
