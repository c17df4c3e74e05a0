//! Who may watch whose console: any VM that manages another, if it has the grant `consoles`, which EL2 checks.

use hv_abi::console::ConsoleRight;
use hv_abi::message::{ConsoleAttach, Reply};
use hv_abi::{Status, VmHandle};

use super::Manager;
use crate::error::Error;
use crate::hypervisor::Hypervisor;
use crate::vm::find_vm;

impl Manager<'_> {
    /// Attaches a console to a port of the VM that asks. EL2 does the rest, so that this partition may sleep.
    pub fn attach_console<H: Hypervisor>(&mut self, el2: &mut H, asked: &ConsoleAttach, to: (VmHandle, u16)) -> Reply {
        match self.try_attach(el2, asked, to) {
            Ok(()) => Reply::Done,
            Err(error) => Reply::Error(error.failure()),
        }
    }

    fn try_attach<H: Hypervisor>(
        &mut self,
        el2: &mut H,
        asked: &ConsoleAttach,
        to: (VmHandle, u16),
    ) -> Result<(), Error> {
        let name = || asked.name.clone();
        let Some(vm) = find_vm(el2, &asked.name)? else {
            let known = self.find(el2, &asked.name)?;
            return Err(known.map_or_else(|| Error::NoSuchVm(name()), |_| Error::NotRunning(name())));
        };
        if vm.handle() == to.0 {
            return Err(Error::OwnConsole(name()));
        }
        let right = if asked.input { ConsoleRight::ReadAndType } else { ConsoleRight::Read };
        el2.console_attach(vm.handle(), to, right).map_err(|status| match status {
            Status::WrongState => Error::NotRunning(name()),
            Status::Denied => Error::ConsoleDenied(name()),
            Status::NoRoom => Error::Watched(name()),
            status => Error::Call { call: "console_attach", status },
        })
    }
}
