//! Boards and the drivers of what EL2 itself uses on them.
//!
//! A board is data: [`Board::from_tree`] reads the host's device tree once and EL2 keeps the result.
//! Nothing here allocates, logs, or decides what a guest gets; a driver never waits without a bound.
//!
//! Every driver takes a physical address and uses it as a pointer: EL2 maps devices where they are,
//! and before its MMU is on there is nothing else.
#![cfg_attr(not(test), no_std)]

#[cfg_attr(target_arch = "aarch64", path = "barrier.rs")]
#[cfg_attr(not(target_arch = "aarch64"), path = "barrier_host.rs")]
mod barrier;
mod bus;
mod cells;
mod discover;
mod dma;
mod error;
mod model;
mod nodes;
mod tree;
mod wait;
mod wiring;

pub mod gicv3;
pub mod pci;
pub mod pl011;
pub mod pl031;
#[cfg(target_arch = "aarch64")]
pub mod power;
pub mod smmu;
pub mod virtio;

pub use dma::DmaMemory;
pub use error::{Fault, NodePath, TreeError};
pub use model::{
    Board, ColdRam, Conduit, Cpu, CpuStart, Gic, GicV2, GicV3, Irq, MAX_BANKS, MAX_CPUS, MAX_GICR_REGIONS, MAX_MMIO,
    MAX_PCI_HOSTS, MAX_RESERVED, MAX_SMMUS, MAX_UARTS, MAX_VIRTIO, Psci, PsciVersion, Reserved, ReservedKind, Secret,
    Secrets, SmmuV3, TimerPpis, Trigger, Uart, VirtioSlot,
};
pub use tree::{HEADER_SIZE, MAX_BLOB_SIZE, total_size};
