//! The service partition's image file, as `hv_abi::sos_image` lays it out.

use crate::elf::{Access, Program, Segment};
use crate::error::Result;
use crate::file::Input;
use hv_abi::ABI_VERSION;
use hv_abi::guest_map::RAM_BASE;
use hv_abi::sos_image::{HEADER_PAGE, MAGIC, SosHeader, SosLayout, crc32};
use zerocopy::IntoBytes as _;
use zerocopy::little_endian::{U32, U64};

/// EL2 maps and copies whole pages.
const PAGE: usize = 4096;
/// Where the first segment may start: the header has the page below.
const FIRST: u64 = RAM_BASE + HEADER_PAGE as u64;

/// The image file of `input`.
pub(crate) fn image(input: &Input) -> Result<Vec<u8>> {
    let program = Program::parse(input)?;
    if !(FIRST..FIRST + PAGE as u64).contains(&program.base) {
        let problem = format!("linked at {:#x}, the partition's text starts at {FIRST:#x}", program.base);
        return Err(input.elf_error(problem));
    }
    program.check_write_xor_execute(input)?;
    let front = (program.base - RAM_BASE) as usize;
    let read_only = front + read_only_end(input, &program, front)?;
    let mut image = vec![0; front];
    image.extend(program.flatten());
    let stored = image.len().max(read_only).next_multiple_of(PAGE);
    image.resize(stored, 0);
    let bss = (front + program.memory_size()).saturating_sub(stored);
    let header = SosHeader {
        magic: U64::new(MAGIC),
        abi: U32::new(ABI_VERSION),
        crc32: U32::new(crc32(&image[HEADER_PAGE..])),
        entry: U64::new(program.base + program.entry as u64),
        read_only: U64::new(read_only as u64),
        writable: U64::new((stored - read_only) as u64),
        bss: U64::new(bss as u64),
    };
    image[..size_of::<SosHeader>()].copy_from_slice(header.as_bytes());
    match SosLayout::check(&image) {
        Ok(_) => Ok(image),
        Err(error) => Err(input.elf_error(error.to_string())),
    }
}

/// Where the writable part starts, from the program's base: everything below is never written.
fn read_only_end(input: &Input, program: &Program<'_>, front: usize) -> Result<usize> {
    let writable = |segment: &&Segment<'_>| segment.access == Access::Write;
    let fail = |problem: &str| Err(input.elf_error(problem));
    let Some(first) = program.segments.iter().find(writable) else {
        return Ok((front + program.memory_size()).next_multiple_of(PAGE) - front);
    };
    if program.segments.iter().any(|segment| !writable(&segment) && segment.offset > first.offset) {
        return fail("a read-only segment lies above a writable one");
    }
    if !(front + first.offset).is_multiple_of(PAGE) {
        return fail("the writable segment does not start on a page");
    }
    Ok(first.offset)
}

#[cfg(test)]
mod tests;
