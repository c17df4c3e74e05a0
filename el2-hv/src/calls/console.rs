//! Who may watch whose console.

use hv_abi::call::{Grants, PORTS_MAX};
use hv_abi::console::ConsoleRight;
use hv_abi::{Status, VmHandle};
use hv_core::requests::Asker;
use hv_core::watch::Target;

use super::named;
use crate::watch;

/// A ring's or port's number.
fn number(port: u64) -> Result<u16, Status> {
    u16::try_from(port).ok().filter(|_| port <= PORTS_MAX).ok_or(Status::InvalidArgument)
}

/// `console_attach` of a VM's console to `[VM, port]`.
pub fn attach(handle: u64, [watching, port]: [u64; 2], right: u64) -> Result<(), Status> {
    let asker = Asker { vm: VmHandle(watching), port: number(port)? };
    let right = ConsoleRight::from_register(right).ok_or(Status::InvalidArgument)?;
    let (_, vm) = named(handle)?;
    let (_, watching) = named(asker.vm.0)?;
    if handle == asker.vm.0 || asker.port > u16::from(watching.port_count()) {
        return Err(Status::InvalidArgument);
    }
    if !vm.phase().is_alive() || !watching.phase().is_alive() {
        return Err(Status::WrongState);
    }
    let needed = match right {
        ConsoleRight::Read => Grants::CONSOLES,
        ConsoleRight::ReadAndType => Grants::CONSOLES.union(Grants::MANAGE),
    };
    if !watching.grants().contains(needed) {
        return Err(Status::Denied);
    }
    watch::attach(asker, Target { vm: VmHandle(handle), label: vm.label() }, right)
}
