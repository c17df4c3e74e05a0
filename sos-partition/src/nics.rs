//! Network cards of guests: what a spec may say of them.

use alloc::string::String;

use hv_abi::call::{MTU_MAX, MTU_MIN, NETWORKS_MAX, NicPort};
use hv_abi::guest_map::NICS_MAX;
use hv_abi::handle::Label;
use hv_abi::message::{NicSpec, VmSpec};

/// What is wrong with them.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NicError {
    /// A name that is none.
    #[error("network card {0:?}: a name is 1 to 31 of a-z, 0-9 and '-'")]
    Name(String),
    /// A name twice.
    #[error("network card {0:?} is there twice")]
    Twice(String),
    /// More than a VM may have.
    #[error("{0} network cards, at most 2")]
    TooMany(usize),
    /// A network that is not there.
    #[error("network card {0:?}: there is no network {1:?}")]
    Network(String, String),
    /// An address of several stations, or of none.
    #[error("network card {0:?}: mac-address is not one station's")]
    Mac(String),
    /// A size of packets.
    #[error("network card {0:?}: mtu {1} is not in 1280..=1500")]
    Mtu(String, u32),
}

/// Checks what a spec says; which addresses others have only EL2 knows.
///
/// # Errors
/// The first thing that is wrong.
pub(crate) fn check(nics: &[NicSpec]) -> Result<(), NicError> {
    if nics.len() > NICS_MAX {
        return Err(NicError::TooMany(nics.len()));
    }
    for (index, nic) in nics.iter().enumerate() {
        let name = || nic.name.clone();
        Label::new(&nic.name).ok_or_else(|| NicError::Name(name()))?;
        if nics[..index].iter().any(|other| other.name == nic.name) {
            return Err(NicError::Twice(name()));
        }
        if usize::from(nic.number) >= NETWORKS_MAX {
            return Err(NicError::Network(name(), nic.network.clone()));
        }
        if nic.mac.is_some_and(|mac| mac[0] & 1 != 0 || mac == [0; 6]) {
            return Err(NicError::Mac(name()));
        }
        if !(MTU_MIN..=MTU_MAX).contains(&nic.mtu) {
            return Err(NicError::Mtu(name(), nic.mtu.into()));
        }
    }
    Ok(())
}

/// The network cards as `vm_device` takes them.
pub(crate) fn ports(spec: &VmSpec) -> impl Iterator<Item = NicPort> {
    (0..).zip(&spec.nics).map(|(number, nic)| NicPort {
        network: nic.number,
        nic: number,
        isolated: nic.isolated,
        any_source: nic.any_source,
        mac: nic.address(&spec.name),
        mtu: nic.mtu,
        kbit_per_s: nic.kbit_per_s,
        packets_per_s: nic.packets_per_s,
    })
}
