//! What a [`VmSpec`] may say, wherever it comes from: the limits of the guest's machine.

use alloc::string::String;

use hv_abi::call::{Grants, MEMORY_ALIGNMENT, PORTS_MAX};
use hv_abi::guest_map::{ARCHIVE_BASE, MAX_VCPUS, RAM_BASE};
use hv_abi::handle::Label;
use hv_abi::message::{ImageFormat, VmSpec};

use crate::disks::{self, DiskError};
use crate::nics::{self, NicError};
use crate::share::{self, ShareError};
use crate::shared::{self, SharedError};

/// Longest kernel command line in bytes (Linux's COMMAND_LINE_SIZE on arm64, NUL included).
pub const BOOTARGS_MAX: usize = 2047;
/// Most RAM that a VM may ask for: what a 40-bit IPA space has above [`RAM_BASE`], rounded down.
pub const MEMORY_MAX: u64 = 1 << 39;
const _: () = assert!(RAM_BASE + MEMORY_MAX < 1 << hv_abi::guest_map::IPA_BITS);
const _: () = assert!(ARCHIVE_BASE > RAM_BASE);

/// What is wrong with a spec.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SpecError {
    /// The name breaks the rules of a label.
    #[error("name: 1 to 31 of a-z, 0-9 and '-'")]
    Name,
    /// Bytes of RAM.
    #[error("memory: {0:#x} bytes are not a multiple of 2 MiB from 2 MiB up to 512 GiB")]
    Memory(u64),
    /// Bytes of RAM that stay its own.
    #[error("memory-guarantee: {0:#x} bytes are not a multiple of 2 MiB up to its memory")]
    Guarantee(u64),
    /// vCPUs.
    #[error("vcpus: {0} is not in 1..=8")]
    Vcpus(u32),
    /// Management ports.
    #[error("ports: {0} is not in 0..=4")]
    Ports(u32),
    /// Ports without a grant would have nothing to say.
    #[error("ports: they need at least one of the grants manage, info, log, consoles")]
    PortsWithoutGrant,
    /// A grant that does not exist.
    #[error("grants: {0:?} is none of manage, info, log, consoles")]
    Grant(String),
    /// A grant twice.
    #[error("grants: {0:?} is there twice")]
    GrantTwice(String),
    /// No image.
    #[error("image: empty")]
    NoImage,
    /// A command line that Linux would cut.
    #[error("bootargs: {0} bytes, at most 2047")]
    Bootargs(usize),
    /// A raw image has no use for an initrd.
    #[error("initrd: only for image-format \"linux\"")]
    RawInitrd,
    /// A raw image outside of the VM's RAM, or not on an instruction's boundary.
    #[error("load-address: {0:#x} is not a multiple of 8 in the VM's RAM")]
    LoadAddress(u64),
    /// What its vCPUs get of the CPUs.
    #[error("{0}")]
    Share(#[from] ShareError),
    /// Memory that it shares.
    #[error("{0}")]
    Shared(#[from] SharedError),
    /// Its disks.
    #[error("{0}")]
    Disk(#[from] DiskError),
    /// Its network cards.
    #[error("{0}")]
    Nic(#[from] NicError),
}

/// The names of grants and what they are to EL2.
const GRANTS: [(&str, Grants); 4] =
    [("manage", Grants::MANAGE), ("info", Grants::INFO), ("log", Grants::LOG), ("consoles", Grants::CONSOLES)];

/// The set that a list of names means.
///
/// # Errors
/// The first name that is no grant, or is there twice.
pub fn grants(names: &[String]) -> Result<Grants, SpecError> {
    names.iter().try_fold(Grants::NONE, |set, name| {
        let grant = GRANTS
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, grant)| *grant)
            .ok_or_else(|| SpecError::Grant(name.clone()))?;
        if set.contains(grant) {
            return Err(SpecError::GrantTwice(name.clone()));
        }
        Ok(set.union(grant))
    })
}

/// Checks a whole spec.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(spec: &VmSpec) -> Result<(), SpecError> {
    Label::new(&spec.name).ok_or(SpecError::Name)?;
    check_size(spec)?;
    let granted = grants(&spec.grants)?;
    if spec.ports != 0 && granted == Grants::NONE {
        return Err(SpecError::PortsWithoutGrant);
    }
    if spec.image.is_empty() {
        return Err(SpecError::NoImage);
    }
    if spec.bootargs.len() > BOOTARGS_MAX {
        return Err(SpecError::Bootargs(spec.bootargs.len()));
    }
    share::check(&spec.cpu)?;
    shared::check(&spec.shared)?;
    disks::check(&spec.disks)?;
    nics::check(&spec.nics)?;
    check_format(spec)
}

fn check_size(spec: &VmSpec) -> Result<(), SpecError> {
    let memory = spec.memory;
    if memory == 0 || memory > MEMORY_MAX || !memory.is_multiple_of(MEMORY_ALIGNMENT) {
        return Err(SpecError::Memory(memory));
    }
    if let Some(guarantee) = spec.guarantee.filter(|own| *own > memory || !own.is_multiple_of(MEMORY_ALIGNMENT)) {
        return Err(SpecError::Guarantee(guarantee));
    }
    if !(1..=MAX_VCPUS).contains(&usize::from(spec.vcpus)) {
        return Err(SpecError::Vcpus(u32::from(spec.vcpus)));
    }
    if u64::from(spec.ports) > PORTS_MAX {
        return Err(SpecError::Ports(u32::from(spec.ports)));
    }
    Ok(())
}

fn check_format(spec: &VmSpec) -> Result<(), SpecError> {
    let ImageFormat::Raw { load_address } = spec.format else {
        return Ok(());
    };
    if spec.initrd.is_some() {
        return Err(SpecError::RawInitrd);
    }
    let ram = RAM_BASE..RAM_BASE + spec.memory;
    if !ram.contains(&load_address) || !load_address.is_multiple_of(8) {
        return Err(SpecError::LoadAddress(load_address));
    }
    Ok(())
}
