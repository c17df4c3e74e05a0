//! Random bytes: one pool, filled at boot from what the board has, and drawn of by each life and each guest.

use core::fmt;

use hv_arch::{counter, cpu, ram};
use hv_board::{Board, Secret};
use hv_core::addr::{Pa, PaRange, VmId};
use hv_core::entropy::{Pool, SEED_BYTES, firmware};
use hv_core::frames::MAX_VMS;
use hv_core::switch::Bucket;

use crate::ENTROPY;
use crate::machine::machine;

/// Bytes that each VM gets in a second and at once. Linux draws some hundred at boot and 32 in a minute.
const RATE: u64 = 16 << 10;
const BURST: u64 = 8 << 10;
/// What a draw costs at least: EL2 makes a new key for it.
const DRAW_MIN: usize = SEED_BYTES;

/// Bytes that are read of a source at once.
const PIECE: usize = 64;
/// Readings of the counter that are absorbed at boot.
const TIMES: usize = 64;
/// Readings of RNDR that may fail before it counts as empty.
const RETRIES: usize = 64;

/// The pool, and what each VM may draw. A bucket belongs to a slot: a guest gains nothing by beginning another life.
pub struct Entropy {
    pool: Pool,
    shares: [Bucket; MAX_VMS],
}

impl Entropy {
    /// A pool that knows nothing: all zero.
    pub const fn new() -> Self {
        Self { pool: Pool::new(), shares: [Bucket::NONE; MAX_VMS] }
    }

    /// Absorbs secrets of the firmware where they lie. They count if they are whole keys; returns whether they do.
    fn absorb_secret(&mut self, range: &PaRange, is_seed: bool) -> bool {
        let mut piece = [0; PIECE];
        let counts = is_seed && range.size >= SEED_BYTES as u64;
        let mut done = 0;
        while done < range.size {
            let length = (range.size - done).min(PIECE as u64);
            let bytes = &mut piece[..length as usize];
            ram::read(Pa(range.start.0 + done), bytes);
            if counts {
                self.pool.seed(bytes)
            } else {
                self.pool.absorb(bytes)
            }
            done += length;
        }
        counts
    }

    /// Absorbs the CPU's own numbers; whether there were enough.
    fn absorb_cpu(&mut self) -> bool {
        let mut seed = [0; SEED_BYTES];
        let mut read = 0;
        let numbers = (0..RETRIES).filter_map(|_| cpu::random());
        for (place, number) in seed.chunks_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
            read += place.len();
        }
        self.pool.seed(&seed[..read]);
        read == SEED_BYTES
    }

    /// Absorbs the firmware's numbers; whether there were enough.
    fn absorb_firmware(&mut self) -> bool {
        let mut seed = [0; SEED_BYTES];
        let power = machine().power;
        let mut call = |function, argument| power.call(function, argument).unwrap_or([u64::MAX; 4]);
        let read = firmware::read(&mut seed, &mut call);
        self.pool.seed(&seed[..read]);
        read == SEED_BYTES
    }

    /// Absorbs when this is, in ticks since power-on, and how long that took: others may know it, so it does not count.
    fn absorb_times(&mut self) {
        for _ in 0..TIMES {
            self.pool.absorb(&counter::now().to_le_bytes());
        }
        self.pool.absorb(&machine().seconds().to_le_bytes());
    }
}

/// Which sources a pool has, for the log.
struct Sources([(bool, &'static str); 3]);

impl fmt::Display for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (_, name) in self.0.iter().filter(|(there, _)| *there) {
            write!(f, "{separator}{name}")?;
            separator = ", ";
        }
        Ok(())
    }
}

/// Fills the pool from all that the board has. Firmware's secrets in the tree are wiped: nobody else shall see them.
pub fn gather(board: &Board, tree: Pa) {
    let place = |secret: Secret| PaRange { start: Pa(tree.0 + secret.offset as u64), size: secret.length as u64 };
    let [rng, kaslr] = [board.secrets.rng, board.secrets.kaslr].map(|secret| secret.map(place));
    let mut entropy = ENTROPY.lock();
    let seed = rng.is_some_and(|range| entropy.absorb_secret(&range, true));
    let _ = kaslr.is_some_and(|range| entropy.absorb_secret(&range, false));
    [rng, kaslr].into_iter().flatten().for_each(ram::wipe);
    let (rndr, trng) = (entropy.absorb_cpu(), entropy.absorb_firmware());
    entropy.absorb_times();
    entropy.shares = [Bucket::new(RATE, BURST); MAX_VMS];
    if entropy.pool.is_seeded() {
        let sources = Sources([(seed, "firmware's rng-seed"), (rndr, "RNDR"), (trng, "firmware's TRNG")]);
        log::info!("random:  {sources}");
    } else {
        log::warn!("random:  no rng-seed of firmware, no RNDR, no TRNG; guests get no random numbers");
    }
}

/// A seed for a life; zeroes where the board has no source.
pub fn fresh_seed() -> [u8; SEED_BYTES] {
    let mut seed = [0; SEED_BYTES];
    let mut entropy = ENTROPY.lock();
    entropy.pool.absorb(&counter::now().to_le_bytes());
    match entropy.pool.draw(&mut seed) {
        Ok(()) => seed,
        Err(_) => [0; SEED_BYTES],
    }
}

/// Whether the board has a source.
pub fn is_seeded() -> bool {
    ENTROPY.lock().pool.is_seeded()
}

/// When, in nanoseconds since EL2 began, a VM that has had its share has some of it again; `None` where it has now.
pub fn share_back(vm: VmId) -> Option<u64> {
    let now = machine().up_ns();
    ENTROPY.lock().shares.get(vm.index()).and_then(|share| share.wait(1, now))
}

/// Fills `into` for a VM that has some of its share, and may be owing for the rest. Without a source it stays as it is.
pub fn draw_ahead_for(vm: VmId, into: &mut [u8]) {
    let (now, cost) = (machine().up_ns(), into.len().max(DRAW_MIN) as u64);
    let mut entropy = ENTROPY.lock();
    if let Some(share) = entropy.shares.get_mut(vm.index()) {
        share.take(cost, now);
    }
    // There is a source: without one nobody has a device.
    let _ = entropy.pool.draw(into);
}

/// Fills `into` for a VM. False where the board has no source, or the VM has had its share.
pub fn draw_for(vm: VmId, into: &mut [u8]) -> bool {
    let (now, cost) = (machine().up_ns(), into.len().max(DRAW_MIN) as u64);
    let mut entropy = ENTROPY.lock();
    let Entropy { pool, shares } = &mut *entropy;
    match shares.get_mut(vm.index()) {
        Some(share) if share.wait(cost, now).is_none() => {
            share.take(cost, now);
            pool.draw(into).is_ok()
        }
        _ => false,
    }
}
