//! The image that is shipped: nobody sees what the frame table does.

pub use hv_core::ledger::Unwitnessed as Chosen;
