//! What a guest's firmware calls mean: PSCI 1.1 (DEN0022), SMCCC 1.1 discovery (DEN0028), stolen time (DEN0057A) and random
//! numbers (DEN0098), by HVC.
//!
//! Pure: a call and the VM's power states go in, an [`Outcome`] comes out, and the image performs it. It must never wait
//! and never touch a vCPU.
//!
//! The crate `arm-psci` decodes PSCI too. It takes all registers from memory and builds a nested enum for every call, and it
//! knows PSCI alone; here an id that nobody knows has to cost a handful of compares, and SMCCC discovery shares the dispatch.
//! SMCCC 1.1 is the version that makes ARCH_FEATURES mandatory (DEN0028 §7.2); 1.2 adds only registers that no call here uses.

use crate::addr::Ipa;

mod power;
mod smccc;
#[cfg(test)]
mod tests;
pub mod trng;

pub use power::{Started, VcpuPower, VmPower, affinity};
pub use smccc::{DORMOUSE_UID, Mitigations, REVISION, Workaround};

/// Function ids (DEN0022 §5.2, DEN0028 §7).
pub mod function {
    /// The upper half of PSCI ids of the 32-bit convention.
    pub(super) const PSCI_32: u32 = 0x8400;
    /// The upper half of PSCI ids of the 64-bit convention.
    pub(super) const PSCI_64: u32 = 0xc400;
    /// The upper half of ids that belong to the architecture.
    pub(super) const ARCH: u32 = 0x8000;
    /// The upper half of ids of standard hypervisor services, 64-bit convention.
    pub(super) const STANDARD_HYPERVISOR: u32 = 0xc500;
    /// The upper half of ids that belong to the vendor of the hypervisor.
    pub(super) const HYPERVISOR: u32 = 0x8600;

    /// PSCI_VERSION.
    pub const VERSION: u32 = 0x8400_0000;
    /// CPU_SUSPEND, 32-bit arguments.
    pub const CPU_SUSPEND_32: u32 = 0x8400_0001;
    /// CPU_SUSPEND, 64-bit arguments.
    pub const CPU_SUSPEND_64: u32 = 0xc400_0001;
    /// CPU_OFF.
    pub const CPU_OFF: u32 = 0x8400_0002;
    /// CPU_ON, 32-bit arguments.
    pub const CPU_ON_32: u32 = 0x8400_0003;
    /// CPU_ON, 64-bit arguments.
    pub const CPU_ON_64: u32 = 0xc400_0003;
    /// AFFINITY_INFO, 32-bit arguments.
    pub const AFFINITY_INFO_32: u32 = 0x8400_0004;
    /// AFFINITY_INFO, 64-bit arguments.
    pub const AFFINITY_INFO_64: u32 = 0xc400_0004;
    /// MIGRATE_INFO_TYPE.
    pub const MIGRATE_INFO_TYPE: u32 = 0x8400_0006;
    /// SYSTEM_OFF.
    pub const SYSTEM_OFF: u32 = 0x8400_0008;
    /// SYSTEM_RESET.
    pub const SYSTEM_RESET: u32 = 0x8400_0009;
    /// PSCI_FEATURES.
    pub const FEATURES: u32 = 0x8400_000a;
    /// SYSTEM_SUSPEND, 32-bit arguments.
    pub const SYSTEM_SUSPEND_32: u32 = 0x8400_000e;
    /// SYSTEM_SUSPEND, 64-bit arguments.
    pub const SYSTEM_SUSPEND_64: u32 = 0xc400_000e;
    /// SYSTEM_RESET2, 32-bit arguments.
    pub const SYSTEM_RESET2_32: u32 = 0x8400_0012;
    /// SYSTEM_RESET2, 64-bit arguments.
    pub const SYSTEM_RESET2_64: u32 = 0xc400_0012;
    /// SMCCC_VERSION.
    pub const SMCCC_VERSION: u32 = 0x8000_0000;
    /// SMCCC_ARCH_FEATURES.
    pub const SMCCC_ARCH_FEATURES: u32 = 0x8000_0001;
    /// SMCCC_ARCH_WORKAROUND_1, against CVE-2017-5715.
    pub const ARCH_WORKAROUND_1: u32 = 0x8000_8000;
    /// SMCCC_ARCH_WORKAROUND_2, against CVE-2018-3639.
    pub const ARCH_WORKAROUND_2: u32 = 0x8000_7fff;
    /// SMCCC_ARCH_WORKAROUND_3, against CVE-2022-23960.
    pub const ARCH_WORKAROUND_3: u32 = 0x8000_3fff;
    /// PV_TIME_FEATURES (DEN0057A).
    pub const PV_TIME_FEATURES: u32 = 0xc500_0020;
    /// PV_TIME_ST: where the caller's structure of stolen time is.
    pub const PV_TIME_ST: u32 = 0xc500_0021;
    /// Call UID of the vendor-specific hypervisor service.
    pub const HYPERVISOR_UID: u32 = 0x8600_ff01;
    /// Revision of the vendor-specific hypervisor service.
    pub const HYPERVISOR_REVISION: u32 = 0x8600_ff03;
}

/// PSCI_VERSION's answer: 1.1, major in the upper half (DEN0022 §5.3).
pub const VERSION_1_1: u64 = 0x1_0001;
/// SMCCC_VERSION's answer: 1.1 (DEN0028 §7.2).
pub const SMCCC_VERSION_1_1: u64 = 0x1_0001;

/// Return values (DEN0022 §5.2.2), sign-extended so that W0 and X0 both hold the error.
pub mod status {
    /// The call succeeded.
    pub const SUCCESS: u64 = 0;
    /// No such function; in SMCCC, too.
    pub const NOT_SUPPORTED: u64 = -1i64 as u64;
    /// An argument is wrong.
    pub const INVALID_PARAMETERS: u64 = -2i64 as u64;
    /// Not allowed now.
    pub const DENIED: u64 = -3i64 as u64;
    /// CPU_ON: it is on.
    pub const ALREADY_ON: u64 = -4i64 as u64;
    /// CPU_ON: it has been asked for before.
    pub const ON_PENDING: u64 = -5i64 as u64;
    /// CPU_ON: nothing can run at that address.
    pub const INVALID_ADDRESS: u64 = -9i64 as u64;
}

/// MIGRATE_INFO_TYPE: there is no Trusted OS that would have to migrate (DEN0022 §5.9).
const MIGRATION_NOT_REQUIRED: u64 = 2;

/// A firmware call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PsciCall {
    /// It can be answered without looking at the VM.
    Simple(SimpleCall),
    /// It concerns power: [`VmPower::apply`].
    Power(PowerCall),
    /// PV_TIME_ST: X0 is the address of the caller's structure, or NOT_SUPPORTED where it has none.
    StolenTime,
    /// TRNG_RND: it needs random bytes.
    Random(trng::RandomCall),
}

/// A call that needs no state of the VM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SimpleCall {
    /// PSCI_VERSION.
    Version,
    /// No call that is known here.
    Unknown,
    /// CPU_SUSPEND to standby.
    Standby {
        /// The power_state argument.
        power_state: u32,
    },
    /// MIGRATE_INFO_TYPE.
    MigrateInfoType,
    /// PSCI_FEATURES.
    Features {
        /// The function asked about.
        function: u32,
    },
    /// SMCCC_VERSION.
    SmcccVersion,
    /// SMCCC_ARCH_FEATURES.
    ArchFeatures {
        /// The function asked about.
        function: u32,
    },
    /// One of the SMCCC_ARCH_WORKAROUND calls, by its id.
    ArchWorkaround {
        /// Which.
        function: u32,
    },
    /// PV_TIME_FEATURES (DEN0057A).
    TimeFeatures {
        /// The function asked about.
        function: u32,
    },
    /// Call UID.
    HypervisorUid,
    /// Revision.
    HypervisorRevision,
    /// TRNG_VERSION.
    TrngVersion,
    /// TRNG_FEATURES.
    TrngFeatures {
        /// The function asked about.
        function: u32,
    },
    /// TRNG_GET_UUID.
    TrngUuid,
    /// TRNG_RND of no bits, or of more than its registers hold.
    TrngRefused,
}

/// A call that reads or changes power states.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PowerCall {
    /// CPU_OFF.
    CpuOff,
    /// CPU_ON.
    CpuOn {
        /// The target's affinity, as in MPIDR_EL1.
        target: u64,
        /// Where it starts.
        entry: Ipa,
        /// Its X0.
        context: u64,
    },
    /// AFFINITY_INFO.
    AffinityInfo {
        /// The affinity asked about.
        target: u64,
        /// The lowest affinity level that counts.
        level: u32,
    },
    /// SYSTEM_OFF.
    SystemOff,
    /// SYSTEM_RESET.
    SystemReset,
    /// CPU_SUSPEND to a state that loses the caller's context.
    PowerDown {
        /// Where it goes on.
        entry: Ipa,
        /// Its X0 there.
        context: u64,
    },
    /// SYSTEM_SUSPEND.
    SystemSuspend {
        /// Where the caller goes on.
        entry: Ipa,
        /// Its X0 there.
        context: u64,
    },
    /// SYSTEM_RESET2.
    SystemReset2 {
        /// Which kind.
        kind: u32,
    },
}

/// What a call comes to. Registers that it does not name keep their values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Outcome {
    /// X0.
    Return(u64),
    /// X0 to X3.
    Return4([u64; 4]),
    /// X0 is SUCCESS; the caller waits as in WFI before it goes on.
    Wait,
    /// X0 of the caller is SUCCESS; a vCPU starts at EL1, MMU off, and the image says [`VmPower::started`] when it does.
    PowerOn {
        /// Which.
        vcpu: crate::addr::VcpuIdx,
        /// Its PC.
        entry: Ipa,
        /// Its X0.
        context: u64,
    },
    /// The caller is off and does not return.
    PowerOff,
    /// The caller sleeps until an interrupt is pending for it, and then starts at EL1, MMU off. Of what it had, its
    /// timers and its interrupts are kept.
    PowerDown {
        /// Its PC.
        entry: Ipa,
        /// Its X0.
        context: u64,
    },
    /// The VM has ended. None of its vCPUs may run again.
    SystemOff,
    /// The VM has asked to start over. None of its vCPUs may run again in this life.
    SystemReset,
}

/// Decodes a firmware call: the function id in W0 and the arguments in X1 to X3.
///
/// Owner and convention first, then the number, which is dense: an id that nobody knows is recognised by a few compares.
#[inline]
pub fn decode(function: u32, args: [u64; 3]) -> PsciCall {
    if function == function::VERSION {
        return PsciCall::Simple(SimpleCall::Version);
    }
    match function >> 16 {
        function::PSCI_32 if function <= function::SYSTEM_RESET2_32 => {
            decode_psci_32(function, args.map(|arg| arg & 0xffff_ffff))
        }
        function::PSCI_64 if function <= function::SYSTEM_RESET2_64 => decode_psci_64(function, args),
        function::PSCI_32 | function::PSCI_64 => trng::decode(function, args[0]),
        function::ARCH => PsciCall::Simple(decode_arch(function, args[0])),
        function::HYPERVISOR => PsciCall::Simple(decode_hypervisor(function)),
        function::STANDARD_HYPERVISOR => decode_time(function, args[0]),
        _ => PsciCall::Simple(SimpleCall::Unknown),
    }
}

/// PSCI functions of the 32-bit convention, whose arguments have been cut to 32 bits (DEN0028 §3.1).
#[inline]
fn decode_psci_32(function: u32, args: [u64; 3]) -> PsciCall {
    match function {
        function::CPU_SUSPEND_32 => cpu_suspend(args),
        function::CPU_OFF => PsciCall::Power(PowerCall::CpuOff),
        function::CPU_ON_32 => cpu_on(args),
        function::AFFINITY_INFO_32 => affinity_info(args),
        function::MIGRATE_INFO_TYPE => PsciCall::Simple(SimpleCall::MigrateInfoType),
        function::SYSTEM_OFF => PsciCall::Power(PowerCall::SystemOff),
        function::SYSTEM_RESET => PsciCall::Power(PowerCall::SystemReset),
        function::FEATURES => PsciCall::Simple(SimpleCall::Features { function: args[0] as u32 }),
        function::SYSTEM_SUSPEND_32 => system_suspend(args),
        function::SYSTEM_RESET2_32 => system_reset2(args),
        _ => PsciCall::Simple(SimpleCall::Unknown),
    }
}

/// The PSCI functions that take addresses or affinities exist in the 64-bit convention, too.
#[inline]
fn decode_psci_64(function: u32, args: [u64; 3]) -> PsciCall {
    match function {
        function::CPU_SUSPEND_64 => cpu_suspend(args),
        function::CPU_ON_64 => cpu_on(args),
        function::AFFINITY_INFO_64 => affinity_info(args),
        function::SYSTEM_SUSPEND_64 => system_suspend(args),
        function::SYSTEM_RESET2_64 => system_reset2(args),
        _ => PsciCall::Simple(SimpleCall::Unknown),
    }
}

/// CPU_SUSPEND. A power-down needs its entry point, and so the VM; what is no power state at all does not.
const fn cpu_suspend([power_state, entry, context]: [u64; 3]) -> PsciCall {
    let power_state = power_state as u32;
    if power_state & (POWER_STATE_DOWN | POWER_STATE_RESERVED) == POWER_STATE_DOWN {
        PsciCall::Power(PowerCall::PowerDown { entry: Ipa(entry), context })
    } else {
        PsciCall::Simple(SimpleCall::Standby { power_state })
    }
}

const fn system_suspend([entry, context, _]: [u64; 3]) -> PsciCall {
    PsciCall::Power(PowerCall::SystemSuspend { entry: Ipa(entry), context })
}

const fn system_reset2([kind, _, _]: [u64; 3]) -> PsciCall {
    PsciCall::Power(PowerCall::SystemReset2 { kind: kind as u32 })
}

const fn cpu_on([target, entry, context]: [u64; 3]) -> PsciCall {
    PsciCall::Power(PowerCall::CpuOn { target, entry: Ipa(entry), context })
}

const fn affinity_info([target, level, _]: [u64; 3]) -> PsciCall {
    PsciCall::Power(PowerCall::AffinityInfo { target, level: level as u32 })
}

#[inline]
const fn decode_time(function: u32, first: u64) -> PsciCall {
    match function {
        function::PV_TIME_FEATURES => PsciCall::Simple(SimpleCall::TimeFeatures { function: first as u32 }),
        function::PV_TIME_ST => PsciCall::StolenTime,
        _ => PsciCall::Simple(SimpleCall::Unknown),
    }
}

#[inline]
fn decode_hypervisor(function: u32) -> SimpleCall {
    match function {
        function::HYPERVISOR_UID => SimpleCall::HypervisorUid,
        function::HYPERVISOR_REVISION => SimpleCall::HypervisorRevision,
        _ => SimpleCall::Unknown,
    }
}

#[inline]
fn decode_arch(function: u32, first: u64) -> SimpleCall {
    match function {
        function::SMCCC_VERSION => SimpleCall::SmcccVersion,
        function::SMCCC_ARCH_FEATURES => SimpleCall::ArchFeatures { function: first as u32 },
        function::ARCH_WORKAROUND_1 | function::ARCH_WORKAROUND_2 | function::ARCH_WORKAROUND_3 => {
            SimpleCall::ArchWorkaround { function }
        }
        _ => SimpleCall::Unknown,
    }
}

impl SimpleCall {
    /// The answer, on a CPU with these mitigations.
    #[inline]
    pub fn answer(self, mitigations: &Mitigations) -> Outcome {
        match self {
            Self::Version => Outcome::Return(VERSION_1_1),
            Self::Unknown => Outcome::Return(status::NOT_SUPPORTED),
            Self::Standby { power_state } => standby(power_state),
            Self::MigrateInfoType => Outcome::Return(MIGRATION_NOT_REQUIRED),
            Self::Features { function } => Outcome::Return(psci_features(function)),
            Self::SmcccVersion => Outcome::Return(SMCCC_VERSION_1_1),
            Self::ArchFeatures { function } => Outcome::Return(mitigations.features(function)),
            Self::ArchWorkaround { function } => Outcome::Return(mitigations.call(function)),
            Self::TimeFeatures { function } => Outcome::Return(time_features(function)),
            Self::HypervisorUid => Outcome::Return4(smccc::uid_registers(&DORMOUSE_UID)),
            Self::HypervisorRevision => Outcome::Return4([REVISION.0, REVISION.1, 0, 0]),
            Self::TrngVersion => Outcome::Return(trng::VERSION_1_0 as u64),
            Self::TrngFeatures { function } => Outcome::Return(trng::features(function)),
            Self::TrngUuid => trng::uuid(),
            Self::TrngRefused => Outcome::Return4([status::INVALID_PARAMETERS, 0, 0, 0]),
        }
    }
}

/// Bits of power_state in the original format that must be zero (DEN0022 §5.4.2).
const POWER_STATE_RESERVED: u32 = 0xfcfe_0000;

/// StateType of power_state: the state loses the caller's context (DEN0022 §5.4.2).
const POWER_STATE_DOWN: u32 = 1 << 16;

/// CPU_SUSPEND to standby: whatever its depth, it is a WFI.
const fn standby(power_state: u32) -> Outcome {
    if power_state & POWER_STATE_RESERVED == 0 { Outcome::Wait } else { Outcome::Return(status::INVALID_PARAMETERS) }
}

/// PV_TIME_FEATURES. Whether a VM has stolen time is PV_TIME_ST's to say.
const fn time_features(function: u32) -> u64 {
    match function {
        function::PV_TIME_FEATURES | function::PV_TIME_ST => status::SUCCESS,
        _ => status::NOT_SUPPORTED,
    }
}

/// PSCI_FEATURES. For CPU_SUSPEND, 0 says: original power_state format, platform-coordinated (DEN0022 §5.15.2).
fn psci_features(function: u32) -> u64 {
    let known = function == function::SMCCC_VERSION
        || matches!(function >> 16, function::PSCI_32 | function::PSCI_64)
            && function as u16 <= function::SYSTEM_RESET2_32 as u16
            && decode(function, [0; 3]) != PsciCall::Simple(SimpleCall::Unknown);
    if known { status::SUCCESS } else { status::NOT_SUPPORTED }
}
