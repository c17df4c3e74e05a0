//! How a VM crashed, or hung.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// How a VM crashed, or hung: see [`crate::record::CrashRecord`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Crash {
    /// Its slot.
    pub slot: u32,
    /// Which life of the slot it was.
    pub generation: u32,
    /// Why it ended.
    pub reason: String,
    /// A vCPU of it, where one's registers are known.
    pub vcpu: Option<CrashedVcpu>,
}

/// Registers of a vCPU at a crash.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CrashedVcpu {
    /// Its number in its VM.
    pub vcpu: u32,
    /// Where it was.
    pub pc: u64,
    /// Its PSTATE.
    pub pstate: u64,
    /// ESR_EL2 and FAR_EL2 of its last exit.
    pub esr: u64,
    /// See `esr`.
    pub far: u64,
    /// What its last exception at EL1 has left.
    pub elr_el1: u64,
    /// See `elr_el1`.
    pub esr_el1: u64,
    /// See `elr_el1`.
    pub far_el1: u64,
    /// SP_EL1.
    pub sp_el1: u64,
    /// x0 to x30.
    pub x: Vec<u64>,
}
