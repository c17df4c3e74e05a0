use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;

use super::*;
use crate::testing::{FakeDevices, busy, pair};

fn soon() -> Deadline {
    Deadline::new(Duration::from_millis(60))
}

/// A directory with the given ports under sys/class/virtio-ports, removed at its end.
struct Root(PathBuf);

impl Root {
    fn new(test: &str, ports: &[(&str, Option<&str>)]) -> Self {
        let root = std::env::temp_dir().join(format!("hvctl-{test}-{}", std::process::id()));
        fs::create_dir_all(root.join(SYSFS_PORTS)).unwrap();
        for (device, name) in ports {
            let directory = root.join(SYSFS_PORTS).join(device);
            fs::create_dir(&directory).unwrap();
            if let Some(name) = name {
                fs::write(directory.join("name"), name).unwrap();
            }
        }
        Self(root)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn ports_are_found_by_name_in_the_order_of_their_numbers() {
    let root = Root::new(
        "names",
        &[
            ("vport0p1", Some("org.dormouse.mgmt.10\n")),
            ("vport0p2", Some("org.dormouse.mgmt.2\n")),
            ("vport0p3", Some("org.qemu.guest_agent.0\n")),
            ("vport0p4", Some("org.dormouse.mgmt.x\n")),
            ("vport0p5", None),
            ("vport1p1", Some("org.dormouse.mgmt.1\n")),
        ],
    );
    let dev = root.0.join("dev");
    assert_eq!(System::new(&root.0).ports().unwrap(), ["vport1p1", "vport0p2", "vport0p1"].map(|name| dev.join(name)));
}

#[test]
fn a_missing_driver_and_a_missing_port_are_told_apart() {
    let root = Root::new("none", &[("vport0p3", Some("org.qemu.guest_agent.0\n"))]);
    let error = System::new(&root.0).ports().unwrap_err();
    assert!(matches!(error, Error::NoPort(_)), "{error}");
    assert_eq!(error.exit_code(), 3);
    let nowhere = root.0.join("nowhere");
    let error = acquire(&System::new(&nowhere), soon()).unwrap_err();
    assert!(error.to_string().contains("nowhere/sys/class/virtio-ports"), "says which file it looked for: {error}");
    assert_eq!(error.exit_code(), 3);
}

#[test]
fn a_port_that_appears_within_the_grace_is_taken() {
    let root = Root::new("late", &[]);
    let device = root.0.join("dev/vport0p1");
    let directory = root.0.join(SYSFS_PORTS).join("vport0p1");
    let late = std::thread::spawn(move || {
        sleep(Duration::from_millis(50));
        fs::create_dir_all(device.parent().unwrap()).unwrap();
        fs::write(&device, "").unwrap();
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("name"), "org.dormouse.mgmt.1\n").unwrap();
    });
    let deadline = Deadline::new(Duration::from_secs(5));
    assert!(acquire(&System::new(&root.0), deadline).is_ok());
    late.join().unwrap();
}

#[test]
fn a_missing_device_node_is_named() {
    let root = Root::new("node", &[("vport0p1", Some("org.dormouse.mgmt.1\n"))]);
    let error = acquire(&System::new(&root.0), soon()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("dev/vport0p1") && text.contains("devtmpfs"), "{text}");
    assert_eq!(error.exit_code(), 3);
}

#[test]
fn the_first_port_that_is_not_in_use_is_taken() {
    let (link, _peer) = pair();
    let devices = FakeDevices::new(&["a", "b", "c"], [Err(busy()), Ok(link)]);
    assert!(acquire(&devices, soon()).is_ok());
    assert_eq!(*devices.opened.borrow(), ["a", "b"].map(PathBuf::from));
}

#[test]
fn ports_in_use_are_tried_again_until_one_is_free() {
    let (link, _peer) = pair();
    let outcomes = [Err(busy()), Err(busy()), Err(busy()), Err(busy()), Ok(link)];
    let devices = FakeDevices::new(&["a", "b"], outcomes);
    assert!(acquire(&devices, Deadline::new(Duration::from_secs(5))).is_ok());
    assert_eq!(devices.opened.borrow().last().unwrap(), Path::new("a"));
}

#[test]
fn ports_in_use_until_the_end_give_busy_after_a_bounded_number_of_tries() {
    let devices = FakeDevices::new(&["a", "b"], []);
    let begin = Instant::now();
    let error = acquire(&devices, soon()).unwrap_err();
    assert!(matches!(error, Error::Busy { ports: 2, .. }), "{error}");
    assert_eq!(error.exit_code(), 5);
    assert!(begin.elapsed() >= Duration::from_millis(60));
    // Pauses of 1, 2, 4, ... ms: no more than seven rounds fit into 60 ms.
    assert!(devices.opened.borrow().len() <= 2 * 7 + 2);
}

#[test]
fn a_port_that_fails_does_not_hide_one_that_is_only_in_use() {
    let denied = || io::Error::from(ErrorKind::PermissionDenied);
    let devices = FakeDevices::new(&["a", "b"], [Err(denied()), Err(busy()), Err(denied())]);
    assert!(matches!(acquire(&devices, soon()), Err(Error::Busy { .. })));
    let devices = FakeDevices::new(&["a"], [Err(denied())]);
    let error = acquire(&devices, soon()).unwrap_err();
    assert!(error.to_string().contains("as root"), "{error}");
}

#[test]
fn what_lay_in_the_port_before_is_dropped() {
    let (link, mut peer) = pair();
    peer.write_all(&[7; 9000]).unwrap();
    link.settle(soon()).unwrap();
    peer.write_all(b"new").unwrap();
    let mut bytes = [0; 10];
    assert_eq!(link.read(&mut bytes, soon()).unwrap(), Some(3));
    assert_eq!(&bytes[..3], b"new");
}

#[test]
fn reading_ends_with_the_deadline_and_with_the_stream() {
    let (link, peer) = pair();
    let mut bytes = [0; 10];
    assert_eq!(link.read(&mut bytes, soon()).unwrap(), None);
    drop(peer);
    let end = link.read(&mut bytes, soon());
    assert!(matches!(end, Err(Error::Closed)), "{end:?}");
    let end = link.write(b"x", soon());
    assert!(matches!(end, Err(Error::Closed)), "{end:?}");
}

#[test]
fn a_port_that_takes_nothing_ends_with_the_deadline() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    while (&ours).write(&[0; 4096]).is_ok() {}
    let link = Link::new(OwnedFd::from(ours));
    assert!(!link.write(&[1; 240], soon()).unwrap());
    let error = link.settle(soon()).unwrap_err();
    assert_eq!(error.exit_code(), 4, "{error}");
}

#[test]
fn a_frame_is_one_write() {
    // On a datagram socket each write is one datagram.
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let link = Link::new(OwnedFd::from(ours));
    assert!(link.write(&[1; 240], soon()).unwrap());
    assert!(link.write(&[2; 24], soon()).unwrap());
    let mut bytes = [0; 4096];
    assert_eq!(theirs.recv(&mut bytes).unwrap(), 240);
    assert_eq!(theirs.recv(&mut bytes).unwrap(), 24);
}
