//! After which ends a VM begins another life.

use serde::{Deserialize, Serialize};

/// After which ends a VM is started again. One that resets itself always is; one that was stopped never is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// After a reset only.
    Never,
    /// After a crash or the expiry of its watchdog, too.
    OnFailure,
    /// After a power-off of its own, too.
    Always,
}

impl core::fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(match self {
            Self::Never => "never",
            Self::OnFailure => "on-failure",
            Self::Always => "always",
        })
    }
}
