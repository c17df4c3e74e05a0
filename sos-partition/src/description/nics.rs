//! The node `networks`, and the node `nics` of a guest.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use dtoolkit::fdt::FdtNode;
use dtoolkit::{Node, Property};
use hv_abi::call::{MTU_MAX, NETWORKS_MAX};
use hv_abi::message::NicSpec;

use super::{DescriptionError, PropertyProblem, Reader, Result, no_children};
use crate::nics::NicError;

/// Names of the networks, by their numbers. The first is the one with the board's network card; the place is empty where
/// none has it.
#[derive(Default)]
pub(super) struct Networks(Vec<String>);

impl Networks {
    /// Those of the node.
    pub(super) fn parse(node: &FdtNode<'_>) -> Result<Self> {
        Reader::new("/networks", node).finish()?;
        let mut names = Vec::from([String::new()]);
        for child in node.children() {
            let at = format!("/networks/{}", child.name());
            if names.iter().any(|name| name == child.name()) {
                return Err(DescriptionError::NodeTwice(at));
            }
            no_children(&at, &child)?;
            let mut reader = Reader::new(&at, &child);
            reader.constant("compatible", "dormouse,network")?;
            let uplink = reader.flag("uplink")?;
            reader.finish()?;
            if !uplink {
                names.push(child.name().to_owned());
            } else if names[0].is_empty() {
                child.name().clone_into(&mut names[0]);
            } else {
                return Err(DescriptionError::UplinkTwice(at));
            }
            if names.len() > NETWORKS_MAX {
                return Err(DescriptionError::TooManyNetworks);
            }
        }
        Ok(Self(names))
    }

    /// The number of the network with that name.
    pub(super) fn number(&self, name: &str) -> Option<u8> {
        let index = self.0.iter().position(|known| known == name && !name.is_empty())?;
        u8::try_from(index).ok()
    }
}

/// The network cards in a guest's node `nics`.
pub(super) fn parse(path: &str, node: &FdtNode<'_>, networks: &Networks) -> Result<Vec<NicSpec>> {
    Reader::new(path, node).finish()?;
    node.children().map(|nic| parse_nic(&format!("{path}/{}", nic.name()), &nic, networks)).collect()
}

fn parse_nic(at: &str, node: &FdtNode<'_>, networks: &Networks) -> Result<NicSpec> {
    no_children(at, node)?;
    let mut reader = Reader::new(at, node);
    reader.constant("compatible", "dormouse,nic")?;
    let name = node.name().to_owned();
    let property = reader.required("network")?;
    let network = reader.string(&property)?.to_owned();
    let number = networks.number(&network);
    let number = number.ok_or_else(|| reader.spec(NicError::Network(name.clone(), network.clone()).into()))?;
    let mac = mac_address(&mut reader)?;
    let mtu = reader.u32("mtu")?.unwrap_or(MTU_MAX.into());
    let wrong = || reader.spec(NicError::Mtu(name.clone(), mtu).into());
    let nic = NicSpec {
        mac,
        mtu: u16::try_from(mtu).map_err(|_| wrong())?,
        isolated: reader.flag("isolated")?,
        any_source: reader.flag("any-source")?,
        kbit_per_s: reader.u32("max-kbit-per-s")?.unwrap_or(0),
        packets_per_s: reader.u32("max-packets-per-s")?.unwrap_or(0),
        name,
        network,
        number,
    };
    reader.finish()?;
    Ok(nic)
}

/// The property `mac-address`, where it is there.
pub(super) fn mac_address(reader: &mut Reader<'_>) -> Result<Option<[u8; 6]>> {
    let Some(found) = reader.take("mac-address")? else {
        return Ok(None);
    };
    let bytes = found.value().try_into();
    bytes.map(Some).map_err(|_| reader.problem(found.name(), PropertyProblem::NotAddress))
}
