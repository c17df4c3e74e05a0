//! Damaged device trees: whatever the blob, discovery ends, does not panic, and what it accepts keeps
//! the promises of `Board`.
#![allow(missing_docs)]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;

use common::{TREES, blob, padded};
use hv_board::{Board, Gic, MAX_MMIO};
use hv_core::addr::PaRange;

/// Blobs per run, and how long all of them may take. A run takes a few seconds.
const BLOBS: u64 = 30_000;
const LIMIT: Duration = Duration::from_secs(300);

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 16) as usize % end.max(1)
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

fn word(blob: &[u8], offset: usize) -> usize {
    u32::from_be_bytes(blob[offset..offset + 4].try_into().unwrap()) as usize
}

fn set(blob: &mut [u8], offset: usize, value: u32) {
    if let Some(bytes) = blob.get_mut(offset..offset + 4) {
        bytes.copy_from_slice(&value.to_be_bytes());
    }
}

/// Words that lengths, counts, addresses and tokens go wrong with.
const WORDS: [u32; 20] = [
    0,
    1,
    2,
    3,
    4,
    5,
    8,
    9,
    12,
    16,
    0x20,
    0x1000,
    0x4000_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_0000,
    0xffff_f000,
    0xffff_fffc,
    0xffff_fffe,
    0xffff_ffff,
];

/// Where the values of properties lie: offset and length.
fn values(blob: &[u8]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let (mut at, end) = (word(blob, 8), word(blob, 8) + word(blob, 36));
    while at < end {
        match word(blob, at) {
            1 => {
                while blob[at + 4] != 0 {
                    at += 1;
                }
                at = (at + 8) & !3;
            }
            3 => {
                found.push((at + 12, word(blob, at + 4)));
                at = (at + 12 + word(blob, at + 4) + 3) & !3;
            }
            _ => at += 4,
        }
    }
    found
}

/// Damages the blob in one of eight ways. The first two leave the structure whole, so that the damage
/// gets past the gate.
fn damage(blob: &mut Vec<u8>, values: &[(usize, usize)], random: &mut Random) {
    let (structure, length) = (word(blob, 8), word(blob, 36));
    match random.below(8) {
        0 | 1 => {
            let (offset, size) = random.pick(values);
            set(blob, offset + random.below(size / 4 + 1) * 4, random.pick(&WORDS));
        }
        2 => {
            // A property becomes another one.
            let ((from, _), (to, _)) = (random.pick(values), random.pick(values));
            let name = word(blob, from - 4) as u32;
            set(blob, to - 4, name);
        }
        3 => set(blob, random.below(10) * 4, random.pick(&WORDS)),
        4 => set(blob, structure + random.below(length / 4) * 4, random.pick(&WORDS)),
        5 => {
            let at = random.below(blob.len());
            blob[at] ^= 1 << random.below(8);
        }
        6 => {
            let (from, to) = (random.below(blob.len() - 64), random.below(blob.len() - 64));
            let size = random.below(64);
            blob.copy_within(from..from + size, to);
        }
        _ => {
            blob.truncate(40 + random.below(blob.len() - 40));
            let size = blob.len() as u32;
            set(blob, 4, size);
        }
    }
}

fn promises(board: &Board, blob: &[u8]) {
    let whole = |range: &PaRange| range.start.0.checked_add(range.size).is_some();
    assert!(!board.memory.is_empty() && !board.cpus.is_empty());
    assert!(board.memory.iter().all(|bank| whole(bank) && bank.size != 0));
    for pair in board.memory.windows(2) {
        assert!(pair[0].start.0 + pair[0].size <= pair[1].start.0);
    }
    assert!(board.reserved.iter().all(|reserved| whole(&reserved.range)));
    assert!(board.mmio().iter().all(whole) && board.mmio().len() <= MAX_MMIO);
    assert!(board.initrd.iter().chain(board.pci.iter().map(|host| &host.ecam)).all(whole));
    for (index, cpu) in board.cpus.iter().enumerate() {
        assert_eq!(board.cpu_by_mpidr(cpu.mpidr).map(|id| id.index()), Some(index));
    }
    let timer = [board.timer.physical, board.timer.virt, board.timer.hypervisor];
    assert!(timer.iter().chain(&board.maintenance).all(|id| (16..1020).contains(&id.0)));
    if let Gic::V3(gic) = &board.gic {
        assert!(!gic.gicr.is_empty());
    }
    for secret in board.secrets.rng.iter().chain(&board.secrets.kaslr) {
        assert!(secret.offset.checked_add(secret.length).is_some_and(|end| end <= blob.len()));
    }
}

/// How many blobs were accepted.
fn run(seed: u64) -> u64 {
    let trees: Vec<_> = TREES
        .iter()
        .enumerate()
        .map(|(index, name)| {
            let blob = blob(name);
            let size = blob.len() + index % 2 * 100;
            let blob = padded(blob, size);
            let values = values(&blob);
            (blob, values)
        })
        .collect();
    let mut random = Random(seed);
    let mut accepted = 0;
    for index in 0..BLOBS {
        let (blob, values) = &trees[random.below(trees.len())];
        let mut blob = blob.clone();
        // A truncation may follow any other damage, but nothing can follow it.
        for _ in 0..=random.below(3) {
            if blob.len() == word(&blob, 4) && values.iter().all(|(at, size)| at + size <= blob.len()) {
                damage(&mut blob, values, &mut random);
            }
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| match Board::from_tree(&blob) {
            Ok(board) => {
                promises(&board, &blob);
                1
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                0
            }
        }));
        accepted += outcome.unwrap_or_else(|_| panic!("blob {index} of seed {seed:#x}"));
    }
    accepted
}

#[test]
fn damaged_trees_never_panic_or_hang_and_never_break_a_promise() {
    const SEED: u64 = 0x00d0_a70d_5e55_ed01;
    let (done, wait) = mpsc::channel();
    std::thread::spawn(move || done.send(run(SEED)));
    let accepted = wait.recv_timeout(LIMIT).expect("discovery hangs or has panicked");
    // Both sides of the gate are tested.
    assert!((BLOBS / 10..BLOBS * 9 / 10).contains(&accepted), "{accepted} accepted");
}
