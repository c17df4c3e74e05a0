//! No fault injection: what an image that is shipped has.

use hv_abi::Status;
use hv_abi::message::Fault;

/// Nothing.
pub(crate) struct Faults;

impl Faults {
    /// Nothing.
    pub(crate) const fn new() -> Self {
        Self
    }

    /// Refuses.
    #[expect(clippy::unused_self, clippy::needless_pass_by_ref_mut, reason = "the other variant arms itself")]
    pub(crate) const fn arm(&mut self, _: Fault) -> Result<(), Status> {
        Err(Status::Denied)
    }

    /// Does nothing.
    #[inline]
    #[expect(clippy::unused_self, clippy::needless_pass_by_ref_mut, reason = "the other variant counts")]
    pub(crate) const fn after_call(&mut self) {}
}
