//! CRC-32 by the CPU's own instructions, where it has them (Arm ARM C6.2, CRC32X).

use core::arch::asm;

use crate::mrs;

/// CRC-32/ISO-HDLC of `bytes`, as `fallback` computes it on a CPU without the instructions.
pub fn crc32(bytes: &[u8], fallback: impl Fn(&[u8]) -> u32) -> u32 {
    // ID_AA64ISAR0_EL1.CRC32; optional in ARMv8.0.
    if mrs!("id_aa64isar0_el1") >> 16 & 0xf == 0 {
        return fallback(bytes);
    }
    let mut crc = u32::MAX;
    // SAFETY: reads `bytes.len()` bytes at `bytes`, 32 a round and then one by one; the CPU has the instructions.
    unsafe {
        asm!(
            ".arch_extension crc",
            "subs {n}, {n}, #32",
            "b.lo 3f",
            "2:",
            "ldp {a}, {b}, [{at}], #16",
            "ldp {c}, {d}, [{at}], #16",
            "crc32x {crc:w}, {crc:w}, {a}",
            "crc32x {crc:w}, {crc:w}, {b}",
            "crc32x {crc:w}, {crc:w}, {c}",
            "crc32x {crc:w}, {crc:w}, {d}",
            "subs {n}, {n}, #32",
            "b.hs 2b",
            "3:",
            "adds {n}, {n}, #32",
            "b.eq 5f",
            "4:",
            "ldrb {a:w}, [{at}], #1",
            "crc32b {crc:w}, {crc:w}, {a:w}",
            "subs {n}, {n}, #1",
            "b.ne 4b",
            "5:",
            crc = inout(reg) crc,
            at = inout(reg) bytes.as_ptr() => _,
            n = inout(reg) bytes.len() => _,
            a = out(reg) _,
            b = out(reg) _,
            c = out(reg) _,
            d = out(reg) _,
            options(readonly, nostack)
        );
    }
    !crc
}
