//! What guests see of shared devices, from the device's side: the virtio-mmio transport, split
//! virtqueues, disks, network cards, a multiport console, an entropy device, the two PrimeCells of QEMU's `virt` machine, and a
//! watchdog.
//!
//! Each device is a plain value that can stand in a static table: it is made by a `const fn`,
//! never allocates, and answers each access with a bounded amount of work. It decides and
//! returns; the caller moves bytes, drives interrupt lines and takes locks.
//!
//! Guest memory is reached only through [`memory::GuestMemory`], which copies. Nothing here keeps
//! a reference into it or reads a field twice where the first reading was checked.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod blk;
pub mod console;
pub mod entropy;
pub mod memory;
pub mod mmio;
pub mod net;
pub mod pl011;
pub mod pl031;
pub mod queue;
pub mod watchdog;

#[cfg(test)]
mod testing;
