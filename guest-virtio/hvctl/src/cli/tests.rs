use clap::CommandFactory;
use clap::error::ErrorKind;

use hv_abi::message::{DeviceChanges, DeviceSet, DiskSet, MemorySet, NicSet, Reservation, VmCreate, VmSet};

use super::value::size;
use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("hvctl").chain(line.split(' ')))
}

fn request(line: &str) -> Request {
    match parse(line).unwrap().command {
        Command::Vm(command) => command.request().expect("a request to the service partition"),
        Command::Debug(DebugCommand::Fault { kind, after_calls }) => kind.request(after_calls),
        other => panic!("{other:?} is no request to the service partition"),
    }
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn each_command_means_its_request() {
    let name = || "rt-0".to_owned();
    for (line, expected) in [
        ("vm list", Request::VmList),
        ("vm show rt-0", Request::VmShow { name: name() }),
        ("vm start rt-0", Request::VmStart { name: name() }),
        ("vm stop rt-0", Request::VmStop { name: name() }),
        ("vm destroy rt-0", Request::VmDestroy { name: name() }),
        ("vm reboot rt-0", Request::VmReboot { name: name() }),
        ("vm pause rt-0", Request::VmPause { name: name() }),
        ("vm resume rt-0", Request::VmResume { name: name() }),
    ] {
        assert_eq!(request(line), expected);
    }
    let fault = Fault { kind: FaultKind::Spin, after_calls: 3 };
    assert_eq!(request("debug fault spin --after-calls 3"), Request::Fault(fault));
}

#[test]
fn create_passes_on_what_is_given_and_nothing_else() {
    let bare = VmCreate {
        name: "rt".to_owned(),
        from: "debian".to_owned(),
        memory: None,
        vcpus: None,
        bootargs: None,
        image: None,
        grants: None,
    };
    assert_eq!(request("vm create rt --from debian"), Request::VmCreate(bare.clone()));
    let full = VmCreate {
        memory: Some(64 << 20),
        vcpus: Some(2),
        bootargs: Some("-quiet".to_owned()),
        image: Some("rt.bin".to_owned()),
        grants: Some(vec!["info".to_owned(), "log".to_owned()]),
        ..bare.clone()
    };
    let line = "vm create rt --from debian --memory 64M --vcpus 2 --bootargs -quiet --image rt.bin";
    for grants in [" --grant info --grant log", " --grant info,log"] {
        assert_eq!(request(&format!("{line}{grants}")), Request::VmCreate(full.clone()));
    }
    let none = VmCreate { grants: Some(Vec::new()), ..bare };
    assert_eq!(request("vm create rt --from debian --grant none"), Request::VmCreate(none));
}

#[test]
fn set_passes_on_what_is_given_and_says_none_as_zero() {
    let bare = VmSet { name: "rt".to_owned(), ..VmSet::default() };
    let reservation = Some(Reservation { budget_us: 2000, period_us: 10_000 });
    for (line, expected) in [
        ("--weight 300", VmSet { weight: Some(300), ..bare.clone() }),
        ("--cap 250 --weight 1", VmSet { cap: Some(250), weight: Some(1), ..bare.clone() }),
        ("--cap none", VmSet { cap: Some(0), ..bare.clone() }),
        ("--affinity 0,2-4", VmSet { affinity: Some(vec![0, 2, 3, 4]), ..bare.clone() }),
        ("--affinity all", VmSet { affinity: Some(Vec::new()), ..bare.clone() }),
        ("--reserve 2000/10000", VmSet { reservation, ..bare.clone() }),
        (
            "--reserve none --pin",
            VmSet { reservation: Some(Reservation { budget_us: 0, period_us: 0 }), pinned: Some(true), ..bare.clone() },
        ),
        ("--no-pin", VmSet { pinned: Some(false), ..bare.clone() }),
    ] {
        assert_eq!(request(&format!("vm set rt {line}")), Request::VmSet(expected), "{line}");
    }
}

#[test]
fn set_of_a_device_passes_on_what_is_given_and_says_none_as_zero() {
    let device = |change| Request::VmDevice(DeviceSet { vm: "rt".to_owned(), change });
    let disk = || DiskSet { disk: "data".to_owned(), ..DiskSet::default() };
    let nic = || NicSet { nic: "0".to_owned(), ..NicSet::default() };
    for (line, change) in [
        ("--disk data --max-iops 100", DeviceChanges::Disk(DiskSet { iops: Some(100), ..disk() })),
        (
            "--disk data --max-kbytes-per-s none --sectors 4096",
            DeviceChanges::Disk(DiskSet { kbytes_per_s: Some(0), sectors: Some(4096), ..disk() }),
        ),
        (
            "--nic 0 --max-kbit-per-s 7 --max-packets-per-s none",
            DeviceChanges::Nic(NicSet { kbit_per_s: Some(7), packets_per_s: Some(0), ..nic() }),
        ),
        ("--nic 0 --link down", DeviceChanges::Nic(NicSet { link_up: Some(false), ..nic() })),
        ("--link up --nic 0", DeviceChanges::Nic(NicSet { link_up: Some(true), ..nic() })),
    ] {
        assert_eq!(request(&format!("vm set rt {line}")), device(change), "{line}");
    }
    for (line, within_s) in [("vm memory rt 192M", None), ("vm memory rt 192M --within 30", Some(30))] {
        assert_eq!(request(line), device(DeviceChanges::Memory(MemorySet { bytes: 192 << 20, within_s })));
    }
}

#[test]
fn top_looks_once_for_a_second_unless_told_otherwise() {
    let top = |line: &str| match parse(line).unwrap().command {
        Command::Top(top) => top,
        other => panic!("{other:?}"),
    };
    let plain = top("top");
    assert_eq!((plain.interval, plain.times, plain.vcpus), (Duration::from_secs(1), 1, false));
    let full = top("top --vcpus -n 3 -i 0.5");
    assert_eq!((full.interval, full.times, full.vcpus), (Duration::from_millis(500), 3, true));
}

#[test]
fn sizes_have_the_units_of_the_manual() {
    for (text, bytes) in
        [("1", 1), ("4096", 4096), ("2k", 2048), ("64M", 64 << 20), ("64MiB", 64 << 20), ("1G", 1 << 30)]
    {
        assert_eq!(size(text), Ok(bytes), "{text}");
    }
    for bad in ["", "M", "0", "-1", "1.5G", "64T", "64 M", "99999999999G", "ä"] {
        assert!(size(bad).is_err(), "{bad}");
    }
}

#[test]
fn time_outs_are_positive_and_bounded() {
    assert_eq!(timeout("0.5"), Ok(Duration::from_millis(500)));
    for bad in ["0", "-1", "nan", "inf", "1e9", "x"] {
        assert!(timeout(bad).is_err(), "{bad}");
    }
    assert_eq!(parse("vm list").unwrap().timeout, Duration::from_secs(30));
    assert!(parse("vm list --json --timeout 5").unwrap().json);
}

#[test]
fn wrong_lines_are_refused() {
    for line in [
        "vm",
        "vm lst",
        "vm show",
        "vm show Debian",
        "vm create rt",
        "vm create rt --from debian --vcpus 0",
        "vm create rt --from debian --vcpus 9",
        "vm create rt --from debian --memory 1X",
        "vm create rt --from debian --grant all",
        "hv log --follow",
        "vm set rt",
        "vm set rt --weight x",
        "vm set rt --weight 70000",
        "vm set rt --cap 0",
        "vm set rt --cap half",
        "vm set rt --affinity 3-1",
        "vm set rt --affinity 0,,1",
        "vm set rt --affinity 0-300",
        "vm set rt --reserve 2000",
        "vm set rt --reserve 0/1000",
        "vm set rt --pin --no-pin",
        "vm set rt --max-iops 1",
        "vm set rt --disk d",
        "vm set rt --disk d --max-iops 0",
        "vm set rt --disk d --link up",
        "vm set rt --disk d --nic n --max-iops 1",
        "vm set rt --disk d --max-iops 1 --weight 1",
        "vm set rt --disk d --sectors -1",
        "vm set rt --nic n --weight 1",
        "vm set rt --nic n --link up --max-iops 1",
        "vm set rt --nic n --link away",
        "vm memory rt",
        "vm memory rt 0",
        "vm memory rt 1M --within 0",
        "top -n 0",
        "top -i 0",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}

#[test]
fn hidden_commands_are_not_in_the_help_and_exit_codes_are() {
    let help = Cli::command().render_help().to_string();
    assert!(!help.contains("debug") && !help.contains("--root"), "{help}");
    assert!(help.contains("4  no answer in time"), "{help}");
}

#[test]
fn a_usage_error_is_one_line() {
    let error = parse("vm create rt").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MissingRequiredArgument);
    let line = one_line(&error.to_string());
    assert!(!line.contains('\n'), "{line}");
    assert!(line.contains("--from <GUEST>") && line.ends_with("see `hvctl --help`"), "{line}");
}
