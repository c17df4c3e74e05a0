//! The binary itself: exit codes, one-line errors, and a question over a pseudo-terminal in the
//! place of a port.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

/// A directory in the place of the root of the file system.
struct Root(PathBuf);

impl Root {
    fn new(test: &str) -> Self {
        let root = std::env::temp_dir().join(format!("hvctl-cli-{test}-{}", std::process::id()));
        fs::create_dir_all(root.join("dev")).unwrap();
        Self(root)
    }

    fn add_port(&self, device: &str, target: &Path) {
        let directory = self.0.join("sys/class/virtio-ports").join(device);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("name"), "org.dormouse.mgmt.1\n").unwrap();
        std::os::unix::fs::symlink(target, self.0.join("dev").join(device)).unwrap();
    }

    fn hvctl(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hvctl"));
        command.arg("--root").arg(&self.0).args(line.split(' '));
        command
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// EL2's end of a pseudo-terminal that passes bytes unchanged, and the program's end.
fn pseudo_port() -> (File, File, PathBuf) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let theirs = rustix::fs::open(&*name, flags, Mode::empty()).unwrap();
    let mut settings = tcgetattr(theirs.as_fd()).unwrap();
    settings.make_raw();
    tcsetattr(theirs.as_fd(), OptionalActions::Now, &settings).unwrap();
    (File::from(ours), File::from(theirs), name.into())
}

fn assert_fails(output: &Output, code: i32, says: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.starts_with("hvctl: ") && stderr.lines().count() == 1, "{stderr}");
    assert!(stderr.contains(says), "{stderr}");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_wrong_line_is_exit_code_2() {
    let root = Root::new("usage");
    let output = root.hvctl("vm create rt").output().unwrap();
    assert_fails(&output, 2, "--from <GUEST>");
    let output = root.hvctl("vm frobnicate").output().unwrap();
    assert_fails(&output, 2, "frobnicate");
}

#[test]
fn a_missing_driver_is_exit_code_3_and_names_the_file() {
    let root = Root::new("driver");
    let output = root.hvctl("vm list").output().unwrap();
    assert_fails(&output, 3, "sys/class/virtio-ports; load the modules");
}

#[test]
fn silence_is_exit_code_4() {
    let root = Root::new("silence");
    let (_el2, _keep, path) = pseudo_port();
    root.add_port("vport0p1", &path);
    let output = root.hvctl("--timeout 0.2 hv info").output().unwrap();
    assert_fails(&output, 4, "no answer from the hypervisor within 0.2 s");
}

#[test]
fn help_and_version_are_exit_code_0() {
    let root = Root::new("help");
    let output = root.hvctl("--help").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("Exit codes:"));
    let output = root.hvctl("--version").output().unwrap();
    let version = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(version, format!("hvctl {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_list_of_vms_comes_over_a_port_as_one_json_document() {
    let root = Root::new("list");
    let (mut el2, _keep, path) = pseudo_port();
    root.add_port("vport0p1", &path);
    let mut hvctl = root.hvctl("vm list --json");
    let hvctl = hvctl.stdout(std::process::Stdio::piped()).spawn().unwrap();
    // A header of 24 bytes and postcard's number 0 for `VmList`.
    let mut asked = [0; 25];
    el2.read_exact(&mut asked).unwrap();
    assert_eq!((&asked[..8], asked[24]), (&b"DMf1\x01\x01\x01\x00"[..], 0));
    // `VmList` of one: name "a", running, 2 vCPUs, 128 bytes, no up time.
    let body = [1, 1, 1, b'a', 2, 2, 0x80, 1, 0];
    let mut reply = asked[..24].to_vec();
    reply[6] = 0;
    reply[12] = body.len() as u8;
    reply.extend(body);
    el2.write_all(&reply).unwrap();
    let output = hvctl.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "[{\"name\":\"a\",\"state\":\"running\",\"vcpus\":2,\"memory\":128,\"uptime_ns\":null}]\n"
    );
}
