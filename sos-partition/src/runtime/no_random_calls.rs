//! No random calls: what an image that is shipped has.

use hv_abi::sos_image::LifeRecord;

use crate::runtime::call::El2;

/// Does nothing.
#[inline]
pub(crate) const fn make(_: &mut El2, _: &LifeRecord) {}
