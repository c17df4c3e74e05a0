//! Dormouse's pure logic: state machines and algorithms that decide, and never touch a register.
//!
//! Everything here runs on the host under `cargo test`. What it decides is performed by the image
//! with the help of `hv-arch`. Nothing here allocates, blocks or formats on a guest's exit path.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod addr;
pub mod counter;
pub mod debug;
pub mod description;
pub mod disk;
pub mod drive_read;
pub mod entropy;
pub mod exit;
pub mod extent;
pub mod frames;
pub mod idreg;
pub mod inflated;
pub mod inject;
pub mod kept;
pub mod ledger;
pub mod life;
pub mod mmio;
pub mod notes;
pub mod psci;
pub mod reclaim;
pub mod requests;
pub mod ring;
pub mod sched;
pub mod serror;
pub mod shared;
pub mod smmu;
pub mod sos;
pub mod stage2;
pub mod switch;
pub mod sysreg;
pub mod timer;
pub mod trap_config;
pub mod vgic;
pub mod wake_filter;
pub mod watch;
