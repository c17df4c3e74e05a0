//! Metrics between two vCPUs.

use crate::operations;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use test_guests::{cpu, gic};

const SGI: u32 = 2;
const PEER: usize = 1;
/// Turns given to the peer after it said that it waits, so that it does.
const SETTLE: usize = 8;

static ROUNDS: AtomicU64 = AtomicU64::new(0);
/// The round for which the peer waits.
static READY: AtomicU64 = AtomicU64::new(0);
/// When the peer's handler was entered, 0 before.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// From the SGI's write on this vCPU to the handler's entry on a busy one.
pub(crate) fn sgi_cross(rounds: u64) -> Vec<u64> {
    ROUNDS.store(rounds, Ordering::Relaxed);
    cpu::start(PEER, peer);
    (1..=rounds).map(round).collect()
}

fn round(round: u64) -> u64 {
    while READY.load(Ordering::Acquire) != round {
        cpu::relax();
    }
    (0..SETTLE).for_each(|_| cpu::relax());
    TAKEN.store(0, Ordering::Relaxed);
    let sent = operations::send(gic::sgi_to(SGI, PEER));
    loop {
        cpu::relax();
        match TAKEN.load(Ordering::Acquire) {
            0 => {}
            taken => return taken - sent,
        }
    }
}

fn peer(_: usize) {
    gic::init_cpu();
    operations::install_vectors();
    for round in 1..=ROUNDS.load(Ordering::Relaxed) {
        READY.store(round, Ordering::Release);
        let taken = operations::await_interrupt();
        TAKEN.store(taken, Ordering::Release);
    }
}
