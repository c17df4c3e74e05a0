//! `dormouse-image`: turns what the linker and the kernel packages give into what the board loads.
//!
//! Flat images of EL2 and of the service partition, the boot archive, guests' initramfs, and the
//! check that EL2's code keeps off the FP registers. It decides nothing about addresses: those come
//! from the ELF files and from `hv-abi`.

mod archive;
mod arm64;
mod elf;
mod error;
mod file;
mod initramfs;
mod newc;
mod nofp;
mod sos;
#[cfg(test)]
mod testing;

use clap::{Parser, Subcommand};
use error::Result;
use file::Input;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Makes Dormouse's images and archives.
#[derive(Parser)]
#[command(name = "dormouse-image")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Flatten EL2's ELF file into an arm64 Linux Image
    El2 {
        /// Position-independent ELF file, linked at 0
        elf: PathBuf,
        /// Image to write
        out: PathBuf,
    },
    /// Flatten the service partition's ELF file and put its header in front
    Sos {
        /// ELF file of the service partition
        elf: PathBuf,
        /// Image to write
        out: PathBuf,
    },
    /// Flatten a bare-metal guest's ELF file into an arm64 Linux Image
    Guest {
        /// Position-independent ELF file, linked at 0
        elf: PathBuf,
        /// Image to write
        out: PathBuf,
    },
    /// Make a boot archive (cpio newc) whose members' data start on pages
    Archive {
        /// Archive to write
        out: PathBuf,
        /// Members in their order
        #[arg(required = true, value_name = "NAME=FILE", value_parser = named_file)]
        members: Vec<(String, PathBuf)>,
    },
    /// Make a Linux initramfs (cpio newc) from a manifest
    Initramfs {
        /// Entries, one a line: dir PATH MODE, file PATH MODE SOURCE, symlink PATH TARGET,
        /// nod PATH MODE c|b MAJOR MINOR
        manifest: PathBuf,
        /// Archive to write
        out: PathBuf,
    },
    /// Check a disassembly (`objdump -d`, on standard input) for FP/SIMD registers
    Nofp {
        /// Function that may use them, and must exist; may be repeated
        #[arg(long, value_name = "FUNCTION")]
        allow: Vec<String>,
    },
}

fn named_file(argument: &str) -> std::result::Result<(String, PathBuf), String> {
    match argument.split_once('=') {
        Some((name, file)) => Ok((name.into(), file.into())),
        None => Err("expected NAME=FILE".into()),
    }
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("dormouse-image: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<String> {
    match command {
        Command::El2 { elf, out } => write(&out, "EL2 image", &arm64::image(&Input::read(&elf)?)?),
        Command::Sos { elf, out } => write(&out, "service partition image", &sos::image(&Input::read(&elf)?)?),
        Command::Guest { elf, out } => write(&out, "guest image", &arm64::image(&Input::read(&elf)?)?),
        Command::Archive { out, members } => {
            let members = members
                .into_iter()
                .map(|(name, path)| Ok((name, Input::read(&path)?.bytes)))
                .collect::<Result<Vec<_>>>()?;
            write(&out, "boot archive", &archive::build(&members)?)
        }
        Command::Initramfs { manifest, out } => write(&out, "initramfs", &initramfs::build(&Input::read(&manifest)?)?),
        Command::Nofp { allow } => {
            let count = nofp::check(&standard_input()?, &allow)?;
            Ok(format!("{count} instructions, FP/SIMD registers only in: {}", allow.join(" ")))
        }
    }
}

fn write(out: &Path, what: &str, bytes: &[u8]) -> Result<String> {
    file::write(out, bytes)?;
    Ok(format!("{what} {} bytes, crc32 {:08x}, {}", bytes.len(), hv_abi::sos_image::crc32(bytes), out.display()))
}

fn standard_input() -> Result<String> {
    let mut bytes = Vec::new();
    match std::io::stdin().read_to_end(&mut bytes) {
        Ok(_) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(source) => Err(error::Error::Read { path: "standard input".into(), source }),
    }
}
