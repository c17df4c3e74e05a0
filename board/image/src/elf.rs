//! The loadable part of an AArch64 ELF file, checked so that its users need not doubt any number.
//!
//! Knows nothing about what the image is for; reads program headers only (ELF-64, "Program Header").

use crate::error::Result;
use crate::file::Input;
use object::elf::{EM_AARCH64, FileHeader64, PF_W, PF_X, PT_LOAD, ProgramHeader64};
use object::read::elf::{FileHeader as _, ProgramHeader as _};
use object::{Endianness, elf};

/// The most that an image may take in memory. A linker script gone wrong asks for far more.
const MEMORY_MAX: u64 = 64 * 1024 * 1024;

/// What a segment may be used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    /// Code.
    Execute,
    /// Constants.
    Read,
    /// Variables.
    Write,
    /// Both code and variables.
    WriteExecute,
}

/// One PT_LOAD segment.
#[derive(Debug)]
pub(crate) struct Segment<'a> {
    /// Its place in the image, from [`Program::base`].
    pub(crate) offset: usize,
    /// The bytes that the file has for it.
    pub(crate) data: &'a [u8],
    /// Its size in memory, at least `data.len()`.
    pub(crate) memory_size: usize,
    /// Its permissions.
    pub(crate) access: Access,
}

impl Segment<'_> {
    /// Where it ends in memory, from [`Program::base`].
    pub(crate) fn end(&self) -> usize {
        self.offset + self.memory_size
    }
}

/// All loadable segments: in order, not overlapping, the first at offset 0.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    /// Lowest address.
    pub(crate) base: u64,
    /// Entry, from the base.
    pub(crate) entry: usize,
    /// In ascending order; never empty.
    pub(crate) segments: Vec<Segment<'a>>,
}

impl<'a> Program<'a> {
    /// Reads and checks `input`.
    pub(crate) fn parse(input: &'a Input) -> Result<Self> {
        let fail = |problem: String| input.elf_error(problem);
        let data = input.bytes.as_slice();
        let header =
            FileHeader64::<Endianness>::parse(data).map_err(|error| fail(format!("not a 64-bit ELF file: {error}")))?;
        let endian = header.endian().map_err(|error| fail(error.to_string()))?;
        if endian != Endianness::Little {
            return Err(fail("big-endian, little-endian is needed".into()));
        }
        let machine = header.e_machine(endian);
        if machine != EM_AARCH64 {
            return Err(fail(format!("built for machine {machine:?}, {EM_AARCH64:?} (AArch64) is needed")));
        }
        let headers =
            header.program_headers(endian, data).map_err(|error| fail(format!("program headers: {error}")))?;
        let mut loaded: Vec<_> =
            headers.iter().filter(|header| header.p_type(endian) == PT_LOAD && header.p_memsz(endian) != 0).collect();
        loaded.sort_by_key(|header| header.p_vaddr(endian));
        let base = match loaded.first() {
            Some(first) => first.p_vaddr(endian),
            None => return Err(fail("has no loadable segment".into())),
        };
        let mut program = Self { base, entry: 0, segments: Vec::new() };
        for header in loaded {
            let segment = program.segment(input, header)?;
            program.segments.push(segment);
        }
        let entry = header.e_entry(endian);
        let inside = entry.checked_sub(base).and_then(|offset| {
            let offset = usize::try_from(offset).ok()?;
            (offset < program.memory_size()).then_some(offset)
        });
        program.entry = inside.ok_or_else(|| fail(format!("entry {entry:#x} lies outside of the segments")))?;
        Ok(program)
    }

    fn segment(&self, input: &'a Input, header: &ProgramHeader64<Endianness>) -> Result<Segment<'a>> {
        let endian = Endianness::Little;
        let address = header.p_vaddr(endian);
        let fail = |problem: &str| input.elf_error(format!("segment at {address:#x}: {problem}"));
        let data =
            header.data(endian, input.bytes.as_slice()).map_err(|()| fail("its bytes lie outside of the file"))?;
        let offset = address.wrapping_sub(self.base);
        let memory_size = header.p_memsz(endian);
        if offset.checked_add(memory_size).is_none_or(|end| end > MEMORY_MAX) {
            return Err(fail("ends more than 64 MiB above the lowest one"));
        }
        if memory_size < data.len() as u64 {
            return Err(fail("is smaller in memory than in the file"));
        }
        if offset < self.memory_size() as u64 {
            return Err(fail("overlaps the one below"));
        }
        Ok(Segment {
            offset: offset as usize,
            data,
            memory_size: memory_size as usize,
            access: access(header.p_flags(endian)),
        })
    }

    /// Bytes from the base to the end of the last segment.
    pub(crate) fn memory_size(&self) -> usize {
        self.segments.last().map_or(0, Segment::end)
    }

    /// Refuses a program with memory that is both writable and executable.
    pub(crate) fn check_write_xor_execute(&self, input: &Input) -> Result<()> {
        let both = |segment: &&Segment<'_>| segment.access == Access::WriteExecute;
        match self.segments.iter().find(both) {
            Some(segment) => {
                let address = self.base + segment.offset as u64;
                let problem = format!("segment at {address:#x}: is both writable and executable");
                Err(input.elf_error(problem))
            }
            None => Ok(()),
        }
    }

    /// The segments' bytes laid out from the base, gaps zeroed, without what is zero at the end
    /// because no file bytes back it.
    pub(crate) fn flatten(&self) -> Vec<u8> {
        let mut image = Vec::new();
        for segment in self.segments.iter().filter(|segment| !segment.data.is_empty()) {
            image.resize(segment.offset, 0);
            image.extend_from_slice(segment.data);
        }
        image
    }
}

fn access(flags: elf::ProgramFlags) -> Access {
    match (flags.contains(PF_W), flags.contains(PF_X)) {
        (true, true) => Access::WriteExecute,
        (true, false) => Access::Write,
        (false, true) => Access::Execute,
        (false, false) => Access::Read,
    }
}
