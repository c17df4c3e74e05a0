//! What guests see of shared devices, from the device's side: the virtio-mmio transport, split
//! virtqueues, disks, network cards, a multiport console, an entropy device, a memory balloon, the two PrimeCells of QEMU's `virt` machine, and a
//! watchdog.
//!
//! Each device is a plain value that can stand in a static table: it is made by a `const fn`,
//! never allocates, and answers each access with a bounded amount of work. It decides and
//! returns; the caller moves bytes, drives interrupt lines and takes locks.
//!
//! Guest memory is reached only through [`memory::GuestMemory`], which copies. Nothing here keeps
//! a reference into it or reads a field twice where the first reading was checked.
#![cfg_attr(not(any(test, fuzzing)), no_std)]
#![forbid(unsafe_code)]
// A fuzzer plays the tests' hostile drivers, and none of the rest of the tests.
#![cfg_attr(fuzzing, allow(dead_code, unused_imports))]

pub mod balloon;
pub mod blk;
pub mod console;
pub mod entropy;
#[cfg(fuzzing)]
pub mod fuzz;
pub mod memory;
pub mod mmio;
pub mod net;
pub mod pl011;
pub mod pl031;
pub mod queue;
pub mod watchdog;

#[cfg(any(test, fuzzing))]
mod testing;
