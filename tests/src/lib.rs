//! Boots the real image in QEMU and talks to it.
//!
//! A test builds a [`System`] (a description and the members of the boot archive), puts it on a
//! [`Board`] (QEMU's options), and holds a [`Run`]: it waits for text on the two serial lines,
//! types, and asks for QEMU's end. Nothing here sleeps for a fixed time. When a test panics the run
//! prints the seed, the ends of both lines and a command that repeats it; QEMU never outlives it.
//!
//! [`cycles`] has the loops of `make soak`, and which variables set their seed, length and start.
//! `DORMOUSE_CPU` (cortex-a72) is the model of CPU where a test does not ask for one, `DORMOUSE_SEED` that of the hostile
//! guest's operations in `make soak`. `DORMOUSE_TIMEOUT_FACTOR` (1) stretches every time-out; `DORMOUSE_BUILD` (`build/`) is where
//! `make image` leaves its files.

pub mod artifact;
pub mod board;
pub mod cycles;
pub mod debian;
pub mod debugger;
pub mod description;
pub mod figures;
pub mod hostile;
pub mod line;
pub mod run;
pub mod system;

pub use board::{Board, CPUS, Clock, Entry, Reset};
pub use debian::Shell;
pub use description::{Description, Guest, Partition};
pub use hostile::{Mix, SUM};
pub use run::Run;
pub use system::System;

use std::time::Duration;

/// A time-out of `seconds`, stretched by `DORMOUSE_TIMEOUT_FACTOR`.
pub fn seconds(seconds: u64) -> Duration {
    let factor = std::env::var("DORMOUSE_TIMEOUT_FACTOR").ok().and_then(|text| text.parse::<f64>().ok()).unwrap_or(1.0);
    Duration::from_secs(seconds).mul_f64(factor)
}
