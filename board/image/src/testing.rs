//! Independent models for the tests: a reader of newc archives and a writer of ELF files.

use crate::file::Input;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// An entry as a reader sees it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) mode: u32,
    pub(crate) name_size: usize,
    pub(crate) data_offset: usize,
    pub(crate) data: Vec<u8>,
}

/// Reads an archive by cpio(5), trailer excluded; panics on anything that the page does not allow.
pub(crate) fn read_newc(archive: &[u8]) -> Vec<Found> {
    let mut found = Vec::new();
    let mut at = 0;
    loop {
        assert_eq!(at % 4, 0);
        assert_eq!(&archive[at..at + 6], b"070701");
        let field = |index: usize| {
            let digits = &archive[at + 6 + index * 8..][..8];
            usize::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap()
        };
        let (mode, file_size, name_size) = (field(1) as u32, field(6), field(11));
        let name_field = &archive[at + 110..][..name_size];
        assert_eq!(name_field.last(), Some(&0), "a name field ends with a NUL");
        let name: Vec<u8> = name_field.iter().copied().take_while(|&byte| byte != 0).collect();
        let name = String::from_utf8(name).unwrap();
        let data_offset = round_4(at + 110 + name_size);
        let data = archive[data_offset..][..file_size].to_vec();
        at = round_4(data_offset + file_size);
        if name == "TRAILER!!!" {
            assert_eq!(at, archive.len());
            return found;
        }
        found.push(Found { name, mode, name_size, data_offset, data });
    }
}

fn round_4(value: usize) -> usize {
    value + value.wrapping_neg() % 4
}

/// What GNU cpio prints for `arguments` with `archive` on its standard input.
pub(crate) fn gnu_cpio(arguments: &[&str], archive: &[u8], directory: &Path) -> String {
    let mut child = Command::new("cpio")
        .args(arguments)
        .env("LC_ALL", "C")
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("these tests need cpio(1)");
    child.stdin.take().unwrap().write_all(archive).unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "cpio: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// An empty directory that is removed at the end.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("dormouse-image-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A PT_LOAD segment to be.
pub(crate) struct Load {
    pub(crate) address: u64,
    pub(crate) data: Vec<u8>,
    pub(crate) memory: u64,
    /// PF_X 1, PF_W 2, PF_R 4.
    pub(crate) flags: u32,
}

/// A segment whose size in memory is that in the file.
pub(crate) fn load(address: u64, data: &[u8], flags: u32) -> Load {
    Load { address, data: data.to_vec(), memory: data.len() as u64, flags }
}

/// A little-endian AArch64 ELF file of type DYN with these segments and, where there are any,
/// relocations (offset, type) in one allocated section.
pub(crate) fn elf(entry: u64, loads: &[Load], relocations: &[(u64, u32)]) -> Input {
    let headers_end = 64 + 56 * loads.len();
    let mut body = Vec::new();
    let mut headers = Vec::new();
    for load in loads {
        put(&mut headers, &[(1, 4), (u64::from(load.flags), 4)]);
        let offset = (headers_end + body.len()) as u64;
        put(&mut headers, &[(offset, 8), (load.address, 8), (load.address, 8)]);
        put(&mut headers, &[(load.data.len() as u64, 8), (load.memory, 8), (4096, 8)]);
        body.extend_from_slice(&load.data);
    }
    let rela_offset = headers_end + body.len();
    for &(offset, kind) in relocations {
        put(&mut body, &[(offset, 8), (u64::from(kind), 8), (0, 8)]);
    }
    let rela_size = 24 * relocations.len();
    let sections = if relocations.is_empty() { 0 } else { 2 };
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    put(&mut file, &[(3, 2), (183, 2), (1, 4), (entry, 8), (64, 8)]);
    let section_headers = if sections == 0 { 0 } else { rela_offset + rela_size };
    put(&mut file, &[(section_headers as u64, 8), (0, 4), (64, 2), (56, 2)]);
    put(&mut file, &[(loads.len() as u64, 2), (64, 2), (sections, 2), (0, 2)]);
    file.extend(headers);
    file.extend(body);
    if sections != 0 {
        file.extend([0; 64]);
        put(&mut file, &[(0, 4), (4, 4), (2, 8), (0, 8), (rela_offset as u64, 8)]);
        put(&mut file, &[(rela_size as u64, 8), (0, 4), (0, 4), (8, 8), (24, 8)]);
    }
    Input { path: "test.elf".into(), bytes: file }
}

fn put(out: &mut Vec<u8>, values: &[(u64, usize)]) {
    for &(value, size) in values {
        out.extend_from_slice(&value.to_le_bytes()[..size]);
    }
}

/// The message of an error.
pub(crate) fn message<T>(result: crate::error::Result<T>) -> String {
    match result {
        Ok(_) => panic!("an error was expected"),
        Err(error) => error.to_string(),
    }
}
