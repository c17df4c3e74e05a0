//! Files that the build leaves, and those that tests make of them.

use object::{Object, ObjectSymbol};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The file `name` of `make image`.
pub fn built(name: &str) -> PathBuf {
    let directory = root().join(std::env::var_os("DORMOUSE_BUILD").unwrap_or_else(|| "build".into()));
    present(directory.join(name))
}

/// Debian's kernel.
pub fn kernel() -> PathBuf {
    present(root().join(".cache/debian/vmlinuz"))
}

/// A module of Debian's kernel, by its path under `drivers` without its ending.
pub fn module(name: &str) -> PathBuf {
    let entries = |directory: PathBuf| {
        let found = std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        found.filter_map(|entry| Some(entry.ok()?.path()))
    };
    // The package as it was unpacked, and in it one release.
    let packages = entries(root().join(".cache/debian")).map(|package| package.join("lib/modules"));
    let mut releases = packages.filter(|modules| modules.is_dir()).flat_map(entries);
    let release = releases.next().expect("modules of Debian's kernel: run `make image`");
    present(release.join(format!("kernel/drivers/{name}.ko")))
}

/// Cargo's target directory.
fn target() -> PathBuf {
    root().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

fn present(path: PathBuf) -> PathBuf {
    assert!(path.exists(), "{} is missing: run `make image rtos`", path.display());
    path
}

/// Runs `dormouse-image` with `arguments`.
pub fn image_tool(arguments: &[&str]) {
    let tool = present(target().join("release/dormouse-image"));
    run(Command::new(tool).args(arguments));
}

/// Runs a command to its end.
///
/// # Panics
/// Where it fails, with what it printed.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Flattens the bare-metal guest `name` into `directory`.
pub fn guest(name: &str, directory: &Path) -> PathBuf {
    let elf = present(target().join("aarch64-unknown-none/release").join(name));
    let image = directory.join(format!("{name}.img"));
    image_tool(&["guest", text(&elf), text(&image)]);
    image
}

/// The program `name` for a Linux guest.
pub fn program(name: &str) -> PathBuf {
    present(target().join("aarch64-unknown-linux-musl/release").join(name))
}

/// Makes the demo's initrd anew in `directory`, with more files: where the guest finds each, and where it is here. A
/// file that takes the place of one of the demo's moves that to its name with `real-` before it.
pub fn initrd(directory: &Path, files: &[(&str, &Path)]) -> PathBuf {
    let root = root();
    let demo = std::fs::read_to_string(root.join("guest-virtio/hvctl/initramfs.list")).expect("initramfs.list");
    let mut list = String::new();
    for line in demo.lines() {
        let mut words: Vec<String> = line.split_whitespace().map(String::from).collect();
        if words.first().is_some_and(|kind| kind == "file") {
            words[3] = text(&root.join(&words[3])).to_owned();
            if files.iter().any(|(name, _)| *name == words[1]) {
                words[1] = words[1].replacen('/', "/real-", 1);
            }
        }
        list += &format!("{}\n", words.join(" "));
    }
    for (name, file) in files {
        list += &format!("file {name} 755 {}\n", text(file));
    }
    let (manifest, out) = (directory.join("initramfs.list"), directory.join("initrd"));
    std::fs::write(&manifest, list).expect("manifest");
    image_tool(&["initramfs", text(&manifest), text(&out)]);
    out
}

/// The service partition with fault injection, which no shipped file contains.
pub fn faulty_partition() -> PathBuf {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE.get_or_init(|| build_partition("fault-injection")).clone()
}

/// The service partition that makes random calls at the beginning of each life.
pub fn random_partition() -> PathBuf {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE.get_or_init(|| build_partition("random-calls")).clone()
}

fn build_partition(feature: &str) -> PathBuf {
    let elf = build_with("sos-partition", "aarch64-unknown-none", feature).join("sos");
    let image = target().join(feature).join("sos.img");
    image_tool(&["sos", text(&present(elf)), text(&image)]);
    image
}

/// The checked build of EL2: its image, and the file with its symbols.
pub fn checked_image() -> (PathBuf, PathBuf) {
    static IMAGE: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    let build = || {
        let elf = present(build_with("dormouse", "aarch64-unknown-none-softfloat", "checked").join("dormouse"));
        let image = target().join("checked/dormouse.img");
        image_tool(&["el2", text(&elf), text(&image)]);
        (image, elf)
    };
    IMAGE.get_or_init(build).clone()
}

/// The build of EL2 that says how long a CPU stays there.
pub fn measuring_image() -> PathBuf {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let elf = present(build_with("dormouse", "aarch64-unknown-none-softfloat", "stays").join("dormouse"));
        let image = target().join("stays/dormouse.img");
        image_tool(&["el2", text(&elf), text(&image)]);
        image
    };
    IMAGE.get_or_init(build).clone()
}

/// Builds `package` with `feature`, in a directory of its own; where its programs are.
fn build_with(package: &str, platform: &str, feature: &str) -> PathBuf {
    let target = target().join(feature);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    run(Command::new(cargo)
        .current_dir(root())
        .args(["build", "--release", "-p", package, "--features", feature])
        .args(["--target", platform, "--target-dir"])
        .arg(&target));
    target.join(platform).join("release")
}

/// Where QEMU puts an arm64 Image whose text_offset is 0 (hw/arm/boot.c).
pub const LOAD_ADDRESS: u64 = 0x4020_0000;

/// The address of a symbol of EL2's image, where QEMU has put it.
pub fn symbol(elf: &Path, name: &str) -> u64 {
    let file = std::fs::read(elf).expect("EL2's image with symbols");
    let file = object::File::parse(file.as_slice()).expect("an ELF file");
    let found = file.symbols().find(|symbol| symbol.name() == Ok(name));
    LOAD_ADDRESS + found.unwrap_or_else(|| panic!("no symbol {name}")).address()
}

/// A path as text; ours are.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("path in UTF-8")
}
