//! The contract between EL2, the service partition, guests and the tools on the host.
//!
//! Numbers, layouts and message types live here once; every side uses this crate. It holds no
//! policy and no unsafe code.
//!
//! | module | what it fixes |
//! | --- | --- |
//! | [`call`] | hypercalls: numbers, arguments, results, who may call |
//! | [`status`] | what a hypercall answers |
//! | [`mailbox`] | the page, its two rings, the header of a frame |
//! | [`record`] | fixed records that EL2 fills in |
//! | [`message`] | typed requests and replies between `hvctl` and the service partition |
//! | [`sos_image`] | header of the service partition's image, and its life record |
//! | [`archive`] | the boot archive (cpio newc) |
//! | [`guest_map`] | the guest's machine |
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

#[cfg(feature = "messages")]
extern crate alloc;

pub mod archive;
pub mod call;
pub mod console;
pub mod guest_map;
pub mod handle;
pub mod mailbox;
#[cfg(feature = "messages")]
pub mod message;
pub mod record;
pub mod sos_image;
pub mod status;
pub mod wake;

pub use handle::VmHandle;
pub use status::Status;

/// Version of everything in this crate; EL2 refuses a service partition that was built for another.
pub const ABI_VERSION: u32 = 1;
