//! EL2's lock: it spins, and tells the CPU so.

/// Waits by YIELD, the hint that a thread may be swapped out for a better one (Arm ARM C6.2, YIELD): QEMU ends a
/// CPU's turn there, so that the owner of the lock runs.
pub struct Relax;

impl spin::RelaxStrategy for Relax {
    #[inline(always)]
    fn relax() {
        crate::cpu::pause();
    }
}

/// A lock around what several CPUs change. Whoever holds it is not interrupted.
pub type Mutex<T> = spin::mutex::Mutex<T, Relax>;

/// The same, for what a guest can ask for again and again: those that wait have their turns in the order in which they came.
pub type FairMutex<T> = spin::mutex::TicketMutex<T, Relax>;

/// A held [`Mutex`].
pub type MutexGuard<'a, T> = spin::mutex::MutexGuard<'a, T, Relax>;
