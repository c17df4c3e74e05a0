//! The service partition's own place in a network.

use alloc::borrow::ToOwned;
use alloc::string::String;
use core::net::Ipv4Addr;

use hv_abi::call::{MTU_MAX, NicPort};
use hv_abi::message::NicSpec;

use super::nics::{self, Networks};
use super::{PropertyProblem, Reader, Result};

/// The port of HTTP (RFC 9110 §4.2.1).
const HTTP_PORT: u16 = 80;
/// The properties that say something of a network only.
const DEPENDENT: [&str; 4] = ["address", "gateway", "http-port", "mac-address"];

/// Where the service partition is in a network, and what it serves there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NetworkSpec {
    /// Number of the network.
    pub network: u8,
    /// The card's address.
    pub mac: [u8; 6],
    /// The partition's address.
    pub address: Ipv4Addr,
    /// Bits of it that are the network's, 1 to 30.
    pub prefix: u8,
    /// Who forwards to other networks.
    pub gateway: Option<Ipv4Addr>,
    /// The TCP port of the page.
    pub port: u16,
}

impl NetworkSpec {
    /// The card as `sos_network` takes it.
    pub const fn card(&self) -> NicPort {
        NicPort {
            network: self.network,
            nic: 0,
            isolated: false,
            any_source: false,
            mac: self.mac,
            mtu: MTU_MAX,
            kbit_per_s: 0,
            packets_per_s: 0,
        }
    }
}

/// What the partition's node says of it.
pub(super) fn parse(reader: &mut Reader<'_>, networks: &Networks) -> Result<Option<NetworkSpec>> {
    let Some(name) = reader.optional_string("network")? else {
        for name in DEPENDENT {
            if reader.take(name)?.is_some() {
                return Err(reader.problem(name, PropertyProblem::WithoutNetwork));
            }
        }
        return Ok(None);
    };
    let network = networks.number(&name).ok_or_else(|| reader.problem("network", PropertyProblem::NotNetwork))?;
    let host = reader.required("address")?;
    let (address, prefix) =
        host_address(reader.string(&host)?).ok_or_else(|| reader.problem("address", PropertyProblem::NotHost))?;
    let gateway = reader.optional_string("gateway")?.map(|text| {
        let found = text.parse().ok().filter(|&gateway| gateway != address && is_host(gateway, prefix));
        let near = found.filter(|&gateway| network_of(gateway, prefix) == network_of(address, prefix));
        near.ok_or_else(|| reader.problem("gateway", PropertyProblem::NotGateway))
    });
    let gateway = gateway.transpose()?;
    let port = u16::try_from(reader.u32("http-port")?.unwrap_or(HTTP_PORT.into())).ok().filter(|&port| port != 0);
    let port = port.ok_or_else(|| reader.problem("http-port", PropertyProblem::NotPort))?;
    let mac = card_address(name, network, nics::mac_address(reader)?);
    if mac[0] & 1 != 0 || mac == [0; 6] {
        return Err(reader.problem("mac-address", PropertyProblem::NotStation));
    }
    Ok(Some(NetworkSpec { network, mac, address, prefix, gateway, port }))
}

/// A host's address and the length of its network's prefix, such as `10.0.2.100/24`.
fn host_address(text: &str) -> Option<(Ipv4Addr, u8)> {
    let (address, prefix) = text.split_once('/')?;
    let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
    let prefix: u8 = prefix.parse().ok().filter(|prefix| digits && (1..=30).contains(prefix))?;
    let address = address.parse().ok().filter(|&address| is_host(address, prefix))?;
    Some((address, prefix))
}

/// Whether the address is one host's: of class A to C and not of this host (RFC 1122 §3.2.1.3), and neither its
/// network's first address nor its broadcast.
fn is_host(address: Ipv4Addr, prefix: u8) -> bool {
    let unicast = matches!(address.octets()[0], 1..=126 | 128..=223);
    let host = address.to_bits() ^ network_of(address, prefix);
    unicast && host != 0 && host != u32::MAX >> prefix
}

/// The bits of the network of a prefix of 1 to 30.
fn network_of(address: Ipv4Addr, prefix: u8) -> u32 {
    address.to_bits() & !(u32::MAX >> prefix)
}

/// The card's address, made as a guest's is where the description gives none. No VM has this node's path as its name.
fn card_address(network: String, number: u8, mac: Option<[u8; 6]>) -> [u8; 6] {
    let card = NicSpec {
        name: "network".to_owned(),
        network,
        number,
        mac,
        mtu: MTU_MAX,
        isolated: false,
        any_source: false,
        kbit_per_s: 0,
        packets_per_s: 0,
    };
    card.address("/service-partition")
}

#[cfg(test)]
mod tests;
