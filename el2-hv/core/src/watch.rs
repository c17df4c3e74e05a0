//! Who watches whose console, and what they have asked for.
//!
//! A watcher is a ring or a port of a VM. It asks for what comes next; that is answered once, when there is something.
//! What it types is taken once, too, however often its frame is looked at before the answer finds room.

use hv_abi::VmHandle;
use hv_abi::console::ConsoleRight;
use hv_abi::handle::Label;
use hv_abi::record::EndReason;

use crate::requests::Asker;

/// Watchers at most: as many are looked at when a VM says something.
pub const WATCHERS_MAX: usize = 16;

/// Text that a watcher wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// Its number for the request.
    pub id: u32,
    /// From which position on.
    pub position: u64,
}

/// A console.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    /// The life of the VM.
    pub vm: VmHandle,
    /// Its name.
    pub label: Option<Label>,
}

/// A watcher and its console.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Watcher {
    /// Who watches.
    pub asker: Asker,
    /// Whom.
    pub target: Target,
    /// How the VM ended, once it has.
    pub end: EndReason,
    /// What is not answered yet.
    pub wanted: Option<Wanted>,
    right: ConsoleRight,
    /// Bytes of a frame that were taken and not confirmed.
    typed: Option<u32>,
}

impl Watcher {
    /// Nobody: all zero, for a static table.
    const NONE: Self = Self {
        asker: Asker { vm: VmHandle(0), port: 0 },
        target: Target { vm: VmHandle(0), label: None },
        end: EndReason::None,
        wanted: None,
        right: ConsoleRight::Read,
        typed: None,
    };

    /// Handles of VMs are not 0: generations count from 1.
    const fn is_there(&self) -> bool {
        self.asker.vm.0 != 0
    }
}

/// No watcher is left for another one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoRoom;

/// The asker watches nothing, or may not type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotAttached;

/// All watchers.
#[derive(Debug)]
pub struct Watchers {
    places: [Watcher; WATCHERS_MAX],
}

impl Watchers {
    /// Nobody.
    pub const NONE: Self = Self { places: [Watcher::NONE; WATCHERS_MAX] };

    /// Lets `asker` watch `target`, and nothing else from here on.
    ///
    /// # Errors
    /// [`NoRoom`]: it watches what it watched before.
    pub fn attach(&mut self, asker: Asker, target: Target, right: ConsoleRight) -> Result<(), NoRoom> {
        let own = self.places.iter().position(|watcher| watcher.asker == asker);
        let free = || self.places.iter().position(|watcher| !watcher.is_there());
        let place = own.or_else(free).and_then(|index| self.places.get_mut(index)).ok_or(NoRoom)?;
        *place = Watcher { asker, target, right, ..Watcher::NONE };
        Ok(())
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Watcher> {
        self.places.iter_mut().filter(|watcher| watcher.is_there())
    }

    fn get_mut(&mut self, asker: Asker) -> Result<&mut Watcher, NotAttached> {
        self.all().find(|watcher| watcher.asker == asker).ok_or(NotAttached)
    }

    /// `asker` wants text, and nothing that it wanted before.
    ///
    /// # Errors
    /// [`NotAttached`].
    pub fn want(&mut self, asker: Asker, wanted: Wanted) -> Result<(), NotAttached> {
        self.get_mut(asker)?.wanted = Some(wanted);
        Ok(())
    }

    /// Offers all watchers of a life, or of an asker's VM, that want something to `answer`; it says whether it could.
    pub fn serve(&mut self, whose: impl Fn(&Watcher) -> bool, mut answer: impl FnMut(&Watcher, Wanted) -> bool) {
        for watcher in self.all().filter(|watcher| whose(watcher)) {
            if let Some(wanted) = watcher.wanted
                && answer(watcher, wanted)
            {
                watcher.wanted = None;
            }
        }
    }

    /// `asker` types: how many bytes `take` takes, which is called once until [`Watchers::confirmed`].
    ///
    /// # Errors
    /// [`NotAttached`].
    pub fn type_in(&mut self, asker: Asker, take: impl FnOnce(&Watcher) -> u32) -> Result<u32, NotAttached> {
        let watcher = self.get_mut(asker)?;
        if watcher.right != ConsoleRight::ReadAndType {
            return Err(NotAttached);
        }
        let taken = watcher.typed.unwrap_or_else(|| take(watcher));
        watcher.typed = Some(taken);
        Ok(taken)
    }

    /// `asker` knows how many bytes were taken.
    pub fn confirmed(&mut self, asker: Asker) {
        if let Ok(watcher) = self.get_mut(asker) {
            watcher.typed = None;
        }
    }

    /// A VM's life is over: it watches no more, and who watches it is to be told.
    pub fn ended(&mut self, vm: VmHandle, end: EndReason) {
        self.forget(|watcher| watcher.asker.vm == vm);
        for watcher in self.all().filter(|watcher| watcher.target.vm == vm) {
            watcher.end = end;
        }
    }

    /// A port was closed, or opened anew.
    pub fn forget_port(&mut self, asker: Asker) {
        self.forget(|watcher| watcher.asker == asker);
    }

    fn forget(&mut self, whose: impl Fn(&Watcher) -> bool) {
        self.all().filter(|watcher| whose(watcher)).for_each(|watcher| *watcher = Watcher::NONE);
    }
}

#[cfg(test)]
mod tests;
