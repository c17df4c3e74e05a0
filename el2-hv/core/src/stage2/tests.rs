//! Expected values: the Arm ARM's descriptor formats, and a map of pages as the model.

use super::*;
use std::collections::BTreeMap;

/// Frames in a host map; it counts what it hands out and panics on a table that was never given.
struct Host {
    tables: BTreeMap<u64, [u64; 512]>,
    next: u64,
    left: usize,
}

impl Host {
    fn new(left: usize) -> (Self, Stage2) {
        let tables = BTreeMap::from([(0x1000_0000, [0; 512]), (0x1000_1000, [0; 512])]);
        (Self { tables, next: 0x1000_2000, left }, Stage2::new(Pa(0x1000_0000)))
    }
}

impl TableMemory for Host {
    fn read(&self, table: Pa, index: u64) -> u64 {
        self.tables[&table.0][index as usize]
    }
    fn write(&mut self, table: Pa, index: u64, entry: u64) {
        self.tables.get_mut(&table.0).expect("a table")[index as usize] = entry;
    }
    fn allocate(&mut self) -> Option<Pa> {
        self.left = self.left.checked_sub(1)?;
        let pa = self.next;
        self.next += 4096;
        self.tables.insert(pa, [0; 512]);
        Some(Pa(pa))
    }
}

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn range(start: u64, size: u64) -> PaRange {
    PaRange { start: Pa(start), size }
}

#[test]
fn a_one_gib_block_has_the_descriptor_of_the_arm_arm() {
    let (mut host, mut tables) = Host::new(0);
    tables.map(Ipa(GIB), range(0x8000_0000, GIB), Access::Ram, &mut host).unwrap();
    // Block (bits 1:0 = 01), MemAttr 1111, S2AP 11, SH 11, AF 1 (D8.3.1).
    assert_eq!(host.read(Pa(0x1000_0000), 1), 0x8000_0000 | 0b1 | 0b1111 << 2 | 0b11 << 6 | 0b11 << 8 | 1 << 10);
}

#[test]
fn the_second_concatenated_root_table_holds_the_upper_half() {
    let (mut host, mut tables) = Host::new(0);
    tables.map(Ipa(600 * GIB), range(0, GIB), Access::Ram, &mut host).unwrap();
    assert_ne!(host.read(Pa(0x1000_1000), 600 - 512), 0);
    assert_eq!(tables.translate(Ipa(600 * GIB + 5), &host).unwrap().pa, Pa(5));
    assert_eq!(tables.translate(Ipa(1 << 40), &host), None);
}

#[test]
fn the_largest_block_that_fits_is_used() {
    let (mut host, mut tables) = Host::new(9);
    tables.map(Ipa(0x4000_0000), range(0x5020_0000, 4 * MIB + 8192), Access::Ram, &mut host).unwrap();
    // Two blocks of 2 MiB in one level-2 table, two pages in one level-3 table.
    assert_eq!(9 - host.left, 2);
    let last = tables.translate(Ipa(0x4040_1234), &host).unwrap();
    assert_eq!((last.pa, last.remaining), (Pa(0x5060_1234), 4096 - 0x234));
    assert_eq!(tables.translate(Ipa(0x4040_2000), &host), None);
}

#[test]
fn rights_follow_the_access() {
    let (mut host, mut tables) = Host::new(9);
    let accesses = [
        Access::Ram,
        Access::ReadExecute,
        Access::Read,
        Access::ReadWrite,
        Access::SharedRead,
        Access::SharedReadWrite,
    ];
    for (i, access) in accesses.into_iter().enumerate() {
        tables.map(Ipa(i as u64 * 4096), range(0x5000_0000, 4096), access, &mut host).unwrap();
    }
    let leaf = *host.tables.keys().next_back().unwrap();
    let bits = |i| (host.read(Pa(leaf), i) >> 6 & 3, host.read(Pa(leaf), i) >> 53 & 3);
    let all: Vec<_> = (0..6).map(bits).collect();
    assert_eq!(all, [(3, 0), (1, 0), (1, 2), (3, 2), (1, 2), (3, 2)]);
    let shared: Vec<_> = (0..6).map(|i| tables.translate(Ipa(i * 4096), &host).unwrap().shared).collect();
    assert_eq!(shared, [false, false, false, false, true, true]);
    assert!(!tables.translate(Ipa(0x1000), &host).unwrap().writable);
    assert!(tables.translate(Ipa(0x3000), &host).unwrap().writable);
}

#[test]
fn bad_ranges_double_mappings_and_want_of_tables_are_refused() {
    let (mut host, mut tables) = Host::new(2);
    let page = range(0x5000_0000, 4096);
    assert_eq!(tables.map(Ipa(1), page, Access::Ram, &mut host), Err(MapError::Range(Ipa(1))));
    assert_eq!(
        tables.map(Ipa((1 << 40) - 4096), range(0, 8192), Access::Ram, &mut host),
        Err(MapError::Range(Ipa((1 << 40) - 4096)))
    );
    assert_eq!(
        tables.map(Ipa(u64::MAX - 4095), page, Access::Ram, &mut host),
        Err(MapError::Range(Ipa(u64::MAX - 4095)))
    );
    tables.map(Ipa(0), page, Access::Ram, &mut host).unwrap();
    assert_eq!(tables.map(Ipa(0), page, Access::Ram, &mut host), Err(MapError::Mapped(Ipa(0))));
    assert_eq!(tables.map(Ipa(0), range(0x6000_0000, 2 * MIB), Access::Ram, &mut host), Err(MapError::Mapped(Ipa(0))));
    assert_eq!(tables.map(Ipa(GIB), page, Access::Ram, &mut host), Err(MapError::NoMemory));
}

#[test]
fn what_cannot_be_mapped_whole_leaves_nothing_behind() {
    // A block in the middle is taken.
    let (mut host, mut tables) = Host::new(9);
    tables.map(Ipa(0x4020_0000), range(0x6000_0000, 2 * MIB), Access::Ram, &mut host).unwrap();
    assert_eq!(
        tables.map(Ipa(0x4000_0000), range(0x5000_0000, 4 * MIB), Access::Ram, &mut host),
        Err(MapError::Mapped(Ipa(0x4020_0000)))
    );
    assert_eq!(tables.translate(Ipa(0x4000_0000), &host), None);
    assert_eq!(tables.translate(Ipa(0x4020_0000), &host).unwrap().pa, Pa(0x6000_0000));
    // The table behind a 1 GiB seam cannot be had.
    let (mut host, mut tables) = Host::new(1);
    let seam = range(0x5000_0000, 8 * MIB);
    assert_eq!(tables.map(Ipa(2 * GIB - 4 * MIB), seam, Access::Ram, &mut host), Err(MapError::NoMemory));
    assert_eq!(tables.translate(Ipa(2 * GIB - 4 * MIB), &host), None);
    assert!(matches!(tables.take_piece(&mut host), Some(Piece::Table(_))));
    assert_eq!(tables.take_piece(&mut host), None);
    // Pages: the last of three is taken.
    let (mut host, mut tables) = Host::new(9);
    tables.map(Ipa(0x2000), range(0x6000_0000, 4096), Access::Ram, &mut host).unwrap();
    assert!(tables.map(Ipa(0), range(0x5000_0000, 3 * 4096), Access::Ram, &mut host).is_err());
    assert_eq!((tables.translate(Ipa(0), &host), tables.translate(Ipa(0x1000), &host)), (None, None));
}

#[test]
fn random_mappings_translate_like_a_map_of_pages_and_come_back_whole() {
    for seed in 1..40u64 {
        let (mut host, mut tables) = Host::new(64);
        let mut model = BTreeMap::new();
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut next_pa = 0x1_0000_0000u64;
        for _ in 0..30 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let ipa = (random % 4096) * 4096 * if random & 1 << 40 == 0 { 1 } else { 512 };
            let pages = [1, 3, 512, 700][(random >> 20) as usize % 4];
            let taken = (0..pages).any(|i| model.contains_key(&(ipa + i * 4096)));
            if taken {
                continue;
            }
            let pa = range(next_pa, pages * 4096);
            if tables.map(Ipa(ipa), pa, Access::Ram, &mut host).is_ok() {
                model.extend((0..pages).map(|i| (ipa + i * 4096, next_pa + i * 4096)));
            }
            next_pa += 4 * MIB;
        }
        for (&ipa, &pa) in &model {
            assert_eq!(tables.translate(Ipa(ipa + 7), &host).map(|t| t.pa), Some(Pa(pa + 7)), "seed {seed}");
        }
        let mut back = Vec::new();
        let mut tables_back = 0;
        while let Some(piece) = tables.take_piece(&mut host) {
            match piece {
                Piece::Shared(block) => panic!("{block:?} was not shared"),
                Piece::Given => panic!("nothing was given up"),
                Piece::Block(block) => back.extend((0..block.size / 4096).map(|i| block.start.0 + i * 4096)),
                Piece::Table(pa) => {
                    assert!(host.tables.remove(&pa.0).unwrap().iter().all(|&entry| entry == 0));
                    tables_back += 1;
                }
            }
        }
        back.sort_unstable();
        let mut expected: Vec<u64> = model.values().copied().collect();
        expected.sort_unstable();
        assert_eq!(back, expected, "seed {seed}");
        assert_eq!(tables_back, 64 - host.left, "seed {seed}: every table came back");
    }
}

#[test]
fn no_range_needs_more_tables_than_are_said() {
    for pages in [1, 2, 511, 512, 513, 1024, 5000, 262_143, 262_144, 262_145] {
        // Never congruent, so that all is mapped by pages.
        for first in [0, 1, 511, 512, 262_143] {
            let (mut host, mut tables) = Host::new(100_000);
            let bytes = pages * 4096;
            tables.map(Ipa(GIB + first * 4096), range(3 * 4096, bytes), Access::Ram, &mut host).unwrap();
            let used = 100_000 - host.left as u64;
            assert!(used <= tables_for(bytes), "{pages} pages from {first}: {used} of {}", tables_for(bytes));
        }
    }
    // A page needs one of each level; two pages may lie in two gigabytes.
    assert_eq!((tables_for(4096), tables_for(8192)), (4, 4));
}

#[test]
fn vtcr_is_the_value_of_the_arm_arm_for_cortex_a72() {
    // T0SZ=24, SL0=1, IRGN0=ORGN0=1, SH0=3, TG0=0, PS=4 (44 bits), RES1 bit 31.
    assert_eq!(vtcr(4, false), 0x8004_3558);
    assert_eq!(vtcr(6, true), 0x800d_3558);
}

#[test]
fn a_map_of_pages_reaches_exactly_what_is_allowed_and_needs_no_table_for_a_change() {
    // Two banks, and frames in both; 3 tables of level 3 and one of level 2 for each.
    let (mut host, _) = Host::new(8);
    let mut map = PageMap::new(Pa(0x1000_0000));
    let banks = [range(0x4000_0000, 6 * MIB), range(600 * GIB, 6 * MIB)];
    banks.iter().for_each(|bank| map.cover(*bank, &mut host).unwrap());
    assert_eq!(host.left, 0);
    let mut model = std::collections::BTreeSet::new();
    let steps = [
        (0, 1024, true),
        (100, 3, false),
        (600, 500, false),
        (101, 1, true),
        (1535, 1, true),
        (0, 1536, false),
        (7, 600, true),
    ];
    for bank in &banks {
        for (first, count, allowed) in steps {
            let changed = range(bank.start.0 + first * 4096, count * 4096);
            let frames = changed.outer_frames();
            if allowed {
                map.allow(changed, &mut host);
                model.extend(frames);
            } else {
                map.forbid(changed, &mut host);
                model.retain(|frame| !frames.contains(frame));
            }
            for frame in bank.outer_frames() {
                let found = Stage2::new(map.root()).translate(Ipa(frame * 4096), &host);
                assert_eq!(
                    found.map(|found| (found.pa.0, found.writable)),
                    model.contains(&frame).then_some((frame * 4096, true))
                );
            }
        }
    }
    // What is not covered stays out of reach.
    map.allow(range(0x8000_0000, 8192), &mut host);
    map.allow(range(1 << 40, 8192), &mut host);
    map.forbid(range(0, 1 << 30), &mut host);
    assert_eq!(Stage2::new(map.root()).translate(Ipa(0x8000_0000), &host), None);
    assert_eq!(map.cover(range((1 << 40) - 4096, 8192), &mut host), Err(MapError::Range(Ipa((1 << 40) - 4096))));
    assert_eq!(map.cover(range(0x8000_0000, 4096), &mut host), Err(MapError::NoMemory));
}

#[test]
fn a_block_that_is_given_up_leads_nowhere_until_another_is_in_its_place() {
    let (mut host, mut tables) = Host::new(9);
    tables.map(Ipa(GIB), range(0x5000_0000, 6 * MIB), Access::Ram, &mut host).unwrap();
    assert_eq!(tables.give(Ipa(GIB + 2 * MIB), &mut host), Some(range(0x5020_0000, 2 * MIB)));
    for offset in [0, 0x1234, 2 * MIB - 1] {
        assert_eq!(tables.translate(Ipa(GIB + 2 * MIB + offset), &host), None, "{offset:#x}");
        assert!(tables.is_given(Ipa(GIB + 2 * MIB + offset), &host));
    }
    assert_eq!(tables.give(Ipa(GIB + 2 * MIB), &mut host), None, "once");
    assert!(!tables.is_given(Ipa(GIB), &host) && !tables.is_given(Ipa(GIB + 6 * MIB), &host));
    assert!(tables.translate(Ipa(GIB + 2 * MIB - 1), &host).is_some(), "its neighbors stay");
    tables.map(Ipa(GIB + 2 * MIB), range(0x6000_0000, 2 * MIB), Access::Ram, &mut host).unwrap();
    assert_eq!(tables.translate(Ipa(GIB + 2 * MIB + 5), &host).unwrap().pa, Pa(0x6000_0005));
    assert!(!tables.is_given(Ipa(GIB + 2 * MIB), &host));
}

#[test]
fn only_whole_blocks_of_a_vms_own_memory_can_be_given_up() {
    let (mut host, mut tables) = Host::new(9);
    tables.map(Ipa(GIB), range(0x8000_0000, GIB), Access::Ram, &mut host).unwrap();
    tables.map(Ipa(2 * GIB), range(0x5000_0000, 2 * MIB), Access::SharedReadWrite, &mut host).unwrap();
    tables.map(Ipa(2 * GIB + 2 * MIB), range(0x5020_0000, 2 * MIB), Access::ReadExecute, &mut host).unwrap();
    tables.map(Ipa(2 * GIB + 4 * MIB), range(0x5040_0000, 4096), Access::Ram, &mut host).unwrap();
    tables.map(Ipa(2 * GIB + 6 * MIB), range(0x5060_0000, 2 * MIB), Access::Ram, &mut host).unwrap();
    let refused = [GIB, 2 * GIB, 2 * GIB + 2 * MIB, 2 * GIB + 4 * MIB, 2 * GIB + 6 * MIB + 4096, 3 * GIB, 5, u64::MAX];
    for ipa in refused {
        assert_eq!(tables.give(Ipa(ipa), &mut host), None, "{ipa:#x}");
    }
}

#[test]
fn what_was_given_up_does_not_come_back_at_the_end() {
    let (mut host, mut tables) = Host::new(9);
    tables.map(Ipa(GIB), range(0x5000_0000, 4 * MIB), Access::Ram, &mut host).unwrap();
    tables.give(Ipa(GIB), &mut host).unwrap();
    let pieces: Vec<_> = core::iter::from_fn(|| tables.take_piece(&mut host)).collect();
    assert_eq!(pieces.len(), 3, "{pieces:?}");
    assert_eq!(pieces[..2], [Piece::Given, Piece::Block(range(0x5020_0000, 2 * MIB))]);
    assert!(matches!(pieces[2], Piece::Table(_)));
}
