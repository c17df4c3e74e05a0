//! What a hypercall answers in x0.

/// The answer of a hypercall, in x0. Zero is success, negative values are errors; -1 is what SMCCC
/// gives for an unknown function (DEN0028 §5.2), so a guest without a grant cannot tell a call
/// that it may not make from one that does not exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i64)]
pub enum Status {
    /// Done; results are in x1 to x3.
    Success = 0,
    /// No such function, or not for this caller.
    NotSupported = -1,
    /// An argument is out of its documented range.
    InvalidArgument = -2,
    /// The handle names no VM, or an earlier life of its slot.
    NoSuchVm = -3,
    /// The VM's state does not allow the call.
    WrongState = -4,
    /// No memory, or no free slot, for it.
    NoMemory = -5,
    /// An address is outside the memory that the caller, or the VM, has.
    BadAddress = -6,
    /// The thing exists already: a label, a memory range that overlaps.
    Exists = -7,
    /// Compare-and-set found another version, or somebody else needs what is asked for.
    Conflict = -8,
    /// The description's ceiling, or what belongs to others, forbids it.
    Denied = -9,
    /// Not finished: call again with the same arguments. EL2 let others run in between.
    Again = -10,
    /// The receiver has no room; the frame was taken back from the ring. Send it again after the next mailbox interrupt.
    NoRoom = -11,
}

impl Status {
    /// Every status, in the order of its value.
    pub const ALL: [Self; 12] = [
        Self::Success,
        Self::NotSupported,
        Self::InvalidArgument,
        Self::NoSuchVm,
        Self::WrongState,
        Self::NoMemory,
        Self::BadAddress,
        Self::Exists,
        Self::Conflict,
        Self::Denied,
        Self::Again,
        Self::NoRoom,
    ];

    /// The value for x0.
    pub const fn to_register(self) -> u64 {
        self as i64 as u64
    }

    /// The status in x0; an unknown value reads as [`Status::NotSupported`].
    pub fn from_register(register: u64) -> Self {
        Self::ALL.into_iter().find(|status| status.to_register() == register).unwrap_or(Self::NotSupported)
    }

    /// The status as a result.
    pub const fn ok(self) -> Result<(), Self> {
        match self {
            Self::Success => Ok(()),
            error => Err(error),
        }
    }
}

impl core::fmt::Display for Status {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Success => "success",
            Self::NotSupported => "not supported",
            Self::InvalidArgument => "invalid argument",
            Self::NoSuchVm => "no such VM",
            Self::WrongState => "wrong state",
            Self::NoMemory => "no memory",
            Self::BadAddress => "bad address",
            Self::Exists => "exists already",
            Self::Conflict => "changed meanwhile",
            Self::Denied => "denied by the description",
            Self::Again => "not finished",
            Self::NoRoom => "receiver has no room",
        })
    }
}

impl core::error::Error for Status {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_dense_and_go_round_through_the_register() {
        for (i, status) in Status::ALL.into_iter().enumerate() {
            assert_eq!(status as i64, -(i as i64));
            assert_eq!(Status::from_register(status.to_register()), status);
        }
        assert_eq!(Status::from_register(u64::MAX), Status::NotSupported);
        assert_eq!(Status::from_register(1), Status::NotSupported);
    }
}
