//! Files that the build leaves, and those that tests make of them.

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

/// The service partition with fault injection, which no shipped file contains.
pub fn faulty_partition() -> PathBuf {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE.get_or_init(build_faulty_partition).clone()
}

fn build_faulty_partition() -> PathBuf {
    let target = target().join("fault-injection");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    run(Command::new(cargo)
        .current_dir(root())
        .args(["build", "--release", "-p", "sos-partition", "--features", "fault-injection"])
        .args(["--target", "aarch64-unknown-none", "--target-dir"])
        .arg(&target));
    let image = target.join("sos-fault.img");
    let elf = present(target.join("aarch64-unknown-none/release/sos"));
    image_tool(&["sos", text(&elf), text(&image)]);
    image
}

/// A path as text; ours are.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("path in UTF-8")
}
