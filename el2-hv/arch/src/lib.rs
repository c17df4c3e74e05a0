//! Hardware room.
