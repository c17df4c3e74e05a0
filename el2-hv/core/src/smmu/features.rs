//! What an SMMUv3's identification registers say (IHI0070 §6.3.1 to §6.3.6).

use core::fmt;

/// Smallest IDR5.OAS with the 40 bits that the tables of [`crate::stage2`] have, and the largest that they can use (48 bits).
const OAS_40: u8 = 2;
const OAS_48: u8 = 5;

/// What EL2 uses of an SMMU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Features {
    /// Bits of a stream identifier (IDR1.SIDSIZE).
    pub stream_bits: u8,
    /// It can have stream tables of two levels (IDR0.ST_LEVEL).
    pub two_levels: bool,
    /// Its accesses to tables and queues are coherent with the CPUs' caches (IDR0.COHACC).
    pub coherent: bool,
    /// Size of physical addresses, encoded as STE.S2PS is.
    pub output_size: u8,
    /// Binary logarithms of the most commands and events that its queues have.
    pub queue_bits: (u8, u8),
    /// VMIDs have 16 bits and not 8.
    pub wide_vmids: bool,
}

/// What an SMMU does not have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Lack {
    /// IDR0.S2P.
    #[error("stage 2")]
    Stage2,
    /// IDR0.TTF.
    #[error("tables of AArch64")]
    Aarch64,
    /// IDR0.TTENDIAN.
    #[error("little-endian tables")]
    LittleEndian,
    /// IDR5.GRAN4K.
    #[error("the granule of 4 KiB")]
    Granule,
    /// IDR5.OAS.
    #[error("physical addresses of 40 bits")]
    OutputSize,
    /// IDR1.TABLES_PRESET, IDR1.QUEUES_PRESET.
    #[error("tables and queues in RAM of EL2's choice")]
    Placement,
}

impl Features {
    /// From IDR0, IDR1 and IDR5.
    ///
    /// # Errors
    /// It lacks something without which EL2 cannot use it.
    pub const fn of(idr0: u32, idr1: u32, idr5: u32) -> Result<Self, Lack> {
        if idr0 & 1 == 0 {
            return Err(Lack::Stage2);
        }
        // TTF: bit 1 of the two is AArch64. TTENDIAN: 0b11 is big-endian only.
        if idr0 >> 3 & 1 == 0 {
            return Err(Lack::Aarch64);
        }
        if idr0 >> 21 & 3 == 3 {
            return Err(Lack::LittleEndian);
        }
        if idr5 >> 4 & 1 == 0 {
            return Err(Lack::Granule);
        }
        let oas = idr5 as u8 & 7;
        if oas < OAS_40 {
            return Err(Lack::OutputSize);
        }
        if idr1 >> 29 & 3 != 0 {
            return Err(Lack::Placement);
        }
        Ok(Self {
            stream_bits: idr1 as u8 & 0x3f,
            two_levels: idr0 >> 27 & 3 == 1,
            coherent: idr0 >> 4 & 1 == 1,
            output_size: if oas > OAS_48 { OAS_48 } else { oas },
            queue_bits: ((idr1 >> 21) as u8 & 0x1f, (idr1 >> 16) as u8 & 0x1f),
            wide_vmids: idr0 >> 18 & 1 == 1,
        })
    }

    /// Bits of a physical address.
    pub const fn output_bits(&self) -> u8 {
        match self.output_size {
            0 => 32,
            1 => 36,
            2 => 40,
            3 => 42,
            4 => 44,
            _ => 48,
        }
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let coherent = if self.coherent { "coherent" } else { "not coherent" };
        let vmids = if self.wide_vmids { 16 } else { 8 };
        write!(
            f,
            "stage 2, {} bits of stream, {} of address, {vmids} of VMID, ",
            self.stream_bits,
            self.output_bits()
        )?;
        f.write_str(coherent)
    }
}
