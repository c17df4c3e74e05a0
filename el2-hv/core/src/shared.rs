//! Memory that VMs share: who has it, and who leaves it last.
//!
//! A region is there while one VM has it. Its frames belong to [`crate::frames::Owner::Shared`]; the VM that leaves it last
//! becomes their owner, so that they are scrubbed and returned with its own.

use hv_abi::guest_map::SHARED_USERS;
use hv_abi::handle::Label;

use crate::addr::{Pa, PaRange, VmId};

/// A VM that has a region, and as which of its own it has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct User {
    /// The VM.
    pub vm: VmId,
    /// Which of its regions this is to it.
    pub slot: u8,
}

/// A VM may not have the region under that number: another has it, or the VM has one already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taken;

/// A region.
#[derive(Debug)]
pub struct Region {
    name: Option<Label>,
    range: PaRange,
    users: [Option<User>; SHARED_USERS],
}

impl Region {
    /// None: all zero.
    pub const NONE: Self = Self { name: None, range: PaRange { start: Pa(0), size: 0 }, users: [None; SHARED_USERS] };

    /// Its name; `None` where there is no region.
    pub const fn name(&self) -> Option<Label> {
        self.name
    }

    /// Its frames.
    pub const fn range(&self) -> PaRange {
        self.range
    }

    /// A region comes into being, with frames of zeroes and nobody who has it.
    pub const fn begin(&mut self, name: Label, range: PaRange) {
        *self = Self { name: Some(name), range, users: [None; SHARED_USERS] };
    }

    /// Gives it to a VM under a number.
    ///
    /// # Errors
    /// [`Taken`].
    pub fn join(&mut self, number: usize, user: User) -> Result<(), Taken> {
        let has = self.users.iter().flatten().any(|other| other.vm == user.vm);
        let place = self.users.get_mut(number).filter(|place| !has && place.is_none()).ok_or(Taken)?;
        *place = Some(user);
        Ok(())
    }

    /// Takes it from a VM. Nobody has it any more: the region is gone, and what is to become of its frames the caller's.
    pub fn leave(&mut self, vm: VmId) -> Option<PaRange> {
        for user in self.users.iter_mut().filter(|user| user.is_some_and(|user| user.vm == vm)) {
            *user = None;
        }
        let gone = self.name.is_some() && self.users == [None; SHARED_USERS];
        gone.then(|| core::mem::replace(self, Self::NONE).range)
    }

    /// Who has it under a number.
    pub fn user(&self, number: usize) -> Option<User> {
        self.users.get(number).copied().flatten()
    }

    /// Under which number a VM has it.
    pub fn number_of(&self, vm: VmId) -> Option<usize> {
        self.users.iter().position(|user| user.is_some_and(|user| user.vm == vm))
    }

    /// The numbers under which VMs have it, a bit each.
    pub fn present(&self) -> u32 {
        (0..SHARED_USERS).filter(|number| self.users[*number].is_some()).fold(0, |bits, number| bits | 1 << number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: PaRange = PaRange { start: Pa(0x4000_0000), size: 0x1_0000 };

    fn user(vm: u8) -> User {
        User { vm: VmId(vm), slot: vm % 4 }
    }

    fn region() -> Region {
        let mut region = Region::NONE;
        region.begin(Label::new("link").unwrap(), RANGE);
        region
    }

    #[test]
    fn a_number_and_a_vm_are_there_once() {
        let mut region = region();
        assert_eq!(region.join(1, user(5)), Ok(()));
        assert_eq!(region.join(1, user(6)), Err(Taken));
        assert_eq!(region.join(0, user(5)), Err(Taken));
        assert_eq!(region.join(SHARED_USERS, user(6)), Err(Taken));
        assert_eq!(region.join(3, user(6)), Ok(()));
        assert_eq!((region.present(), region.number_of(VmId(6))), (0b1010, Some(3)));
        assert_eq!((region.user(1), region.user(0), region.user(99)), (Some(user(5)), None, None));
    }

    #[test]
    fn its_frames_are_his_who_leaves_last_and_its_name_is_free_again() {
        let mut region = region();
        region.join(0, user(1)).unwrap();
        region.join(1, user(2)).unwrap();
        assert_eq!(region.leave(VmId(3)), None, "who never had it");
        assert_eq!(region.leave(VmId(1)), None);
        assert_eq!((region.present(), region.user(0)), (0b10, None));
        assert_eq!(region.leave(VmId(2)), Some(RANGE));
        assert_eq!((region.name(), region.present()), (None, 0));
        assert_eq!(region.leave(VmId(2)), None, "once");
    }

    #[test]
    fn one_that_nobody_came_to_have_goes_with_who_tried() {
        assert_eq!(region().leave(VmId(1)), Some(RANGE));
    }
}
