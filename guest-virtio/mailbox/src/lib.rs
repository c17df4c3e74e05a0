//! The asker's side of the mailbox, free of transport: whoever has the page brings a [`Page`],
//! whoever has a byte stream feeds a [`FrameReader`].
//!
//! | type | what it does |
//! | --- | --- |
//! | [`Client`] | the owner's side of the page's two rings |
//! | [`FrameReader`] | frames that follow each other as bytes on a management port |
//! | [`Frames`] | a message cut into frames |
//! | [`Assembler`] | a message put together from frames, with a bound |
//! | [`Exchange`] | one request and its reply, over either transport |
//!
//! It never interprets a message's body and never waits: the caller rings the doorbell, sleeps and
//! counts time. Without the feature `alloc` it needs no allocator.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;

mod exchange;
mod message;
mod ring;
mod stream;

pub use exchange::{Exchange, Progress};
pub use message::{Assembler, Buffer, Frames, Part, Sink, open};
pub use ring::{Client, Page, Ring, Sent, Step};
pub use stream::FrameReader;

use hv_abi::mailbox::{FrameError, MESSAGE_MAX};

/// What is wrong with a ring, a stream or a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MailboxError {
    /// The outbound ring has no free slot; there is one after EL2 has looked at it.
    #[error("mailbox: the outbound ring is full")]
    Full,
    /// EL2's index is more than a ring away from the owner's: one of the two is damaged.
    #[error("mailbox: the {ring} ring is broken: producer {producer:#x}, consumer {consumer:#x}")]
    Broken {
        /// Which ring.
        ring: Ring,
        /// Its producer index.
        producer: u32,
        /// Its consumer index.
        consumer: u32,
    },
    /// A frame's header was refused. On a stream nothing behind it can be read.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A message of more than [`MESSAGE_MAX`] bytes.
    #[error("message: more than {MESSAGE_MAX} bytes")]
    TooLong,
    /// A message longer than the buffer that was brought for it, of so many bytes.
    #[error("message: longer than the buffer of {0} bytes")]
    Buffer(usize),
    /// A frame without a body that says more frames follow: such a message need never end.
    #[error("message: an empty frame that is not the last")]
    EmptyPart,
    /// EL2 ended the request for a reason that this build does not know.
    #[error("message: the hypervisor gives the unknown error {0}")]
    UnknownError(u32),
}
