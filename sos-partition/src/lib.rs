//! The service partition: manages VMs, and is off while there is nothing to manage.
//!
//! It is written as a library over the trait [`Hypervisor`], so that tests put an EL2 of their own
//! under it. Its life begins from nothing each time: what runs is asked from EL2, what is defined
//! is read from the system description and from EL2's notes. It never holds a truth of its own.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`hypervisor`] | the privileged calls, as a trait |
//! | [`ring`] | the mailbox page, seen from its owner |
//! | [`description`] | system description to [`hv_abi::message::VmSpec`] |
//! | [`spec`] | what a spec may say |
//! | [`notes`] | what outlives a life: created specs, how VMs ended |
//! | [`image`], [`plan`] | where image, tree and initrd go in a guest's RAM |
//! | [`partitions`] | where a partition is on its drive, by the table there |
//! | [`tree`] | the guest's device tree |
//! | [`builder`] | a spec becomes a VM, in privileged calls |
//! | [`manager`] | requests to replies |
//! | [`restart`] | whether and when a VM that has ended begins another life |
//! | [`assembly`], [`outbox`] | messages of many frames, in and out |
//! | [`service`] | one turn of the main loop |
//! | [`wake_rules`] | what becomes of packets for it while it is off |
//! | [`web`] | the page that it serves in a network |
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod assembly;
pub mod builder;
pub mod description;
mod disks;
pub mod error;
mod fdt;
pub mod hypervisor;
pub mod image;
pub mod manager;
mod nics;
pub mod notes;
pub mod outbox;
pub mod partitions;
pub mod plan;
pub mod restart;
pub mod ring;
pub mod service;
pub mod share;
pub mod shared;
pub mod spec;
pub mod tree;
mod vm;
pub mod wake_rules;
pub mod web;

#[cfg(test)]
mod fake;

pub use error::Error;
pub use hypervisor::Hypervisor;
