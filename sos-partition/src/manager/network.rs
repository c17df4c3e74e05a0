//! The partition's place in a network: its card, and what becomes of packets for it while it is off.

use hv_abi::Status;

use super::Manager;
use crate::description::NetworkSpec;
use crate::error::Error;
use crate::hypervisor::Hypervisor;
use crate::wake_rules;

impl Manager<'_> {
    /// Has EL2 make the card, and leaves rules for packets. Both outlive this life; a life that begins a second time at
    /// power-on finds its card, and sets the rules all the same, because the first may have failed in between.
    pub(super) fn join_network<H: Hypervisor>(&mut self, hypervisor: &mut H) {
        match self.try_join_network(hypervisor) {
            Ok(Some(network)) => log::info!("http://{}:{}/", network.address, network.port),
            Ok(None) => {}
            Err(error) => log::error!("network: {error}"),
        }
    }

    fn try_join_network<H: Hypervisor>(&mut self, hypervisor: &mut H) -> Result<Option<NetworkSpec>, Error> {
        let Some(network) = self.network()? else {
            return Ok(None);
        };
        match hypervisor.sos_network(network.card()) {
            Ok(()) | Err(Status::Exists) => {}
            Err(status) => return Err(Error::Call { call: "sos_network", status }),
        }
        let rules = hypervisor.sos_wake_rules(&wake_rules::rules(&network));
        rules.map_err(|status| Error::Call { call: "sos_wake_rules", status })?;
        Ok(Some(network))
    }

    /// The partition's place in a network, by the description.
    ///
    /// # Errors
    /// What is wrong with the description.
    pub fn network(&mut self) -> Result<Option<NetworkSpec>, Error> {
        Ok(self.description()?.network)
    }
}
