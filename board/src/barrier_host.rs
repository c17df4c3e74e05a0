//! The same where drivers are tested: a device is another thread.

use core::sync::atomic::{Ordering, fence};

pub(crate) fn before_device() {
    fence(Ordering::Release);
}

pub(crate) fn after_device() {
    fence(Ordering::Acquire);
}

pub(crate) fn both_ways() {
    fence(Ordering::SeqCst);
}
