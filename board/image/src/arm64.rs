//! An ELF file as an arm64 Linux `Image`, the form that QEMU, U-Boot and the Pi's firmware load EL2
//! in, and the service partition its guests.
//!
//! The 64-byte header (Linux, Documentation/arch/arm64/booting.rst) is the first thing in the ELF's
//! own text; only the size, which the linker cannot give to the assembler, is filled in here.

use crate::elf::Program;
use crate::error::Result;
use crate::file::Input;
use object::Endianness;
use object::elf::{FileHeader64, SHF_ALLOC};
use object::read::elf::{FileHeader as _, Rela as _, SectionHeader as _};

const HEADER_SIZE: usize = 64;
const TEXT_OFFSET: usize = 0x08;
const IMAGE_SIZE: usize = 0x10;
const FLAGS: usize = 0x18;
const MAGIC: usize = 0x38;
/// Loaders round addresses to pages, so the next thing in memory starts on one.
const PAGE: usize = 4096;

/// The image file of `input`.
pub(crate) fn image(input: &Input) -> Result<Vec<u8>> {
    let program = Program::parse(input)?;
    if program.base != 0 {
        let problem = format!("linked at {:#x}, a relocatable image starts at 0", program.base);
        return Err(input.elf_error(problem));
    }
    program.check_write_xor_execute(input)?;
    check_relocations(input)?;
    let mut image = program.flatten();
    check_header(input, &image)?;
    let size = program.memory_size().next_multiple_of(PAGE) as u64;
    image[IMAGE_SIZE..IMAGE_SIZE + 8].copy_from_slice(&size.to_le_bytes());
    Ok(image)
}

fn check_header(input: &Input, image: &[u8]) -> Result<()> {
    let fail = |problem: &str| Err(input.elf_error(format!("arm64 Image header: {problem}")));
    let Some(header) = image.first_chunk::<HEADER_SIZE>() else {
        return fail("the image is shorter than one");
    };
    if header[MAGIC..MAGIC + 4] != *b"ARM\x64" {
        return fail("no magic ARM\\x64 at 0x38");
    }
    if header[TEXT_OFFSET..TEXT_OFFSET + 8] != [0; 8] {
        return fail("text_offset at 0x8 is not 0");
    }
    if header[FLAGS] & 1 != 0 {
        return fail("flags at 0x18 say big-endian");
    }
    Ok(())
}

/// The entry code applies packed relative relocations (SHT_RELR); any other would be left undone in silence.
fn check_relocations(input: &Input) -> Result<()> {
    let data = input.bytes.as_slice();
    let header = FileHeader64::<Endianness>::parse(data).map_err(|error| input.elf_error(error.to_string()))?;
    let endian = Endianness::Little;
    let sections = header.section_headers(endian, data).map_err(|error| input.elf_error(error.to_string()))?;
    for section in sections.iter().filter(|section| section.sh_flags(endian).contains(SHF_ALLOC)) {
        let Ok(Some((relocations, _))) = section.rela(endian, data) else {
            continue;
        };
        if let Some(relocation) = relocations.first() {
            let (kind, at) = (relocation.r_type(endian, false), relocation.r_offset(endian));
            let problem =
                format!("relocation of type {kind:?} at {at:#x}, only packed relative ones are applied at boot");
            return Err(input.elf_error(problem));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
