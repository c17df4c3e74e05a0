//! Who may watch whose console.

use alloc::string::String;

use serde::{Deserialize, Serialize};

/// A console that is to be attached.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConsoleAttach {
    /// Name of the VM.
    pub name: String,
    /// Whether something is to be typed there.
    pub input: bool,
}
