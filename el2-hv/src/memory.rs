//! EL2's memory at large: its frames, and who has how many.

use hv_arch::lock::{Mutex, MutexGuard};
use hv_core::frames::Owner;

use crate::FRAMES;
use crate::iommu::Follower;

/// All of RAM, and who sees each change of an owner.
pub type Frames = hv_arch::frames::Frames<Follower>;

/// All of RAM, locked.
pub fn frames() -> MutexGuard<'static, Frames> {
    match FRAMES.get() {
        Some(frames) => Mutex::lock(frames),
        None => panic!("RAM is not described yet"),
    }
}

/// Bytes that `owner` has.
pub fn bytes_of(owner: Owner) -> u64 {
    frames().table().bytes_of(owner)
}
