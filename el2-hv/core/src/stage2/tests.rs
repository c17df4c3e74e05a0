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
