//! What can be wrong with a property, in words that go behind its name.

/// What is wrong with a property.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PropertyProblem {
    /// No binding knows it.
    #[error("unknown")]
    Unknown,
    /// It must be there.
    #[error("is missing")]
    Missing,
    /// It is there twice.
    #[error("is there twice")]
    Twice,
    /// It must be one 32-bit cell.
    #[error("must be one 32-bit cell")]
    NotU32,
    /// It must be a list of 32-bit cells.
    #[error("must be a list of 32-bit cells")]
    NotCells,
    /// It must be two 32-bit cells.
    #[error("must be two 32-bit cells, budget and period in microseconds")]
    NotTwoCells,
    /// It must be one 64-bit number.
    #[error("must be one /bits/ 64 number")]
    NotU64,
    /// It must be a string.
    #[error("must be one string")]
    NotString,
    /// It must be a list of strings.
    #[error("must be a list of strings")]
    NotStrings,
    /// It must be an address.
    #[error("must be six bytes, such as [02 00 00 00 00 01]")]
    NotAddress,
    /// It must be the address of one station.
    #[error("must be one station's address")]
    NotStation,
    /// It must be a network of the description.
    #[error("must be the name of a node in /networks")]
    NotNetwork,
    /// It must be an IPv4 address and how many of its bits are the network's.
    #[error("must be a host's address and the length of its network's prefix, such as \"10.0.2.100/24\"")]
    NotHost,
    /// It must be an IPv4 address beside the partition's own.
    #[error("must be another host's address in the same network, such as \"10.0.2.2\"")]
    NotGateway,
    /// It must be a TCP port.
    #[error("must be one 32-bit cell, 1 to 65535")]
    NotPort,
    /// Without a network it says nothing.
    #[error("only together with \"network\"")]
    WithoutNetwork,
    /// It takes no value.
    #[error("takes no value")]
    NotFlag,
    /// It must have another value.
    #[error("must be {0:?}")]
    NotConstant(&'static str),
    /// It must be one of two values.
    #[error("must be \"linux\" or \"raw\"")]
    NotFormat,
    /// It must be one of three values.
    #[error("must be \"never\", \"on-failure\" or \"always\"")]
    NotRestart,
    /// It must be one of three values.
    #[error("must be \"refuse\", \"pause\" or \"kill\"")]
    NotMissed,
    /// Only raw images have it.
    #[error("only for image-format \"raw\"")]
    NotForLinux,
}
