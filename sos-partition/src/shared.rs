//! Memory that VMs share: what a spec may say of it.

use alloc::string::String;

use hv_abi::call::SharedRegion;
use hv_abi::guest_map::{SHARED_BASE, SHARED_MAX, SHARED_SLOTS};
use hv_abi::handle::Label;
use hv_abi::message::SharedMemory;

/// What is wrong with it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SharedError {
    /// A region that the description does not have.
    #[error("shared memory: there is no region {0:?}")]
    Unknown(String),
    /// A region twice.
    #[error("shared memory: {0:?} is there twice")]
    Twice(String),
    /// More than a VM may have.
    #[error("shared memory: {0} regions, at most 4")]
    TooMany(usize),
    /// More VMs than may have a region.
    #[error("shared memory: more than 4 guests have {0:?}")]
    TooManyUsers(String),
    /// Not a label, or no size of a region.
    #[error("shared memory: {0:?}: a name is 1 to 31 of a-z, 0-9 and '-', a size a power of two from 64 KiB to 8 MiB")]
    Region(String),
}

/// The region as `vm_share` takes it.
pub(crate) fn region(shared: &SharedMemory) -> Option<(Label, SharedRegion)> {
    let region = SharedRegion { bytes: shared.bytes, writable: shared.writable, number: shared.number };
    Some((Label::new(&shared.name)?, SharedRegion::from_register(region.to_register())?))
}

/// Where a VM finds its region `index`: EL2 gives them out in this order.
pub(crate) const fn place(index: usize) -> u64 {
    SHARED_BASE + index as u64 * SHARED_MAX
}

/// Checks what a spec says.
///
/// # Errors
/// The first thing that is wrong.
pub(crate) fn check(shared: &[SharedMemory]) -> Result<(), SharedError> {
    if shared.len() > SHARED_SLOTS {
        return Err(SharedError::TooMany(shared.len()));
    }
    for (index, one) in shared.iter().enumerate() {
        if shared[..index].iter().any(|other| other.name == one.name) {
            return Err(SharedError::Twice(one.name.clone()));
        }
        region(one).ok_or_else(|| SharedError::Region(one.name.clone()))?;
    }
    Ok(())
}
