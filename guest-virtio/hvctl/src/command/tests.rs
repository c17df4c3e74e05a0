use clap::Parser;
use hv_abi::message::{
    BalloonUse, CpuShare, Crash, CrashedVcpu, DiskSpec, DiskUse, Failure, FailureCode, ImageFormat, MissedPolicy,
    NicDrops, NicSpec, NicUse, Origin, Reservation, RestartPolicy, SharedMemory, VmDetail, VmPhase, VmSpec, VmSummary,
};

use super::*;
use crate::records::tests::{MEMORY, hv_bytes};
use crate::testing::{Asked, ERROR, FakeDevices, Script, el2, frame, pair};

/// Runs a command line against a peer; gives the outcome and what was asked.
fn run_line(line: &str, script: impl Script) -> (Result<Output, Error>, Vec<Asked>) {
    let (link, peer) = pair();
    let peer = el2(peer, script);
    let devices = FakeDevices::new(&["port"], [Ok(link)]);
    let line = format!("hvctl {line} --timeout 5");
    let outcome = run(&Cli::parse_from(line.split(' ')), &devices);
    (outcome, peer.join().unwrap())
}

/// What a command prints.
fn printed(outcome: Result<Output, Error>) -> String {
    String::from_utf8(outcome.unwrap().text).unwrap()
}

/// The text of a command whose question is answered with `body`, in frames of 100 bytes.
fn text(line: &str, body: Vec<u8>) -> String {
    let (outcome, _) = run_line(line, move |asked| split(asked, &body));
    printed(outcome)
}

fn split(asked: &Asked, body: &[u8]) -> Vec<Vec<u8>> {
    let parts: Vec<&[u8]> = body.chunks(100).collect();
    let last = parts.len() - 1;
    let flags = |i| if i == last { 0 } else { 2 };
    let frames = parts.iter().enumerate();
    frames.map(|(i, part)| frame(asked.party, flags(i), asked.id, part)).collect()
}

fn summary(name: &str, state: VmPhase, uptime_ns: Option<u64>) -> VmSummary {
    VmSummary { name: name.to_owned(), state, vcpus: 2, memory: 512 << 20, uptime_ns }
}

fn list() -> Reply {
    Reply::VmList(vec![
        summary("debian", VmPhase::Running, Some(63_000_000_000)),
        VmSummary { vcpus: 1, memory: 64 << 20, ..summary("rt-0", VmPhase::Defined, None) },
    ])
}

fn detail() -> Reply {
    Reply::Vm(Box::new(VmDetail {
        summary: summary("debian", VmPhase::Running, Some(1_500_000_000)),
        spec: VmSpec {
            name: "debian".to_owned(),
            memory: 512 << 20,
            vcpus: 2,
            image: "Image".to_owned(),
            format: ImageFormat::Linux,
            initrd: Some("initrd.gz".to_owned()),
            bootargs: "console=ttyAMA0 \u{1b}[2J".to_owned(),
            autostart: true,
            grants: vec!["manage".to_owned(), "info".to_owned()],
            ports: 2,
            watchdog: true,
            cpu: CpuShare {
                weight: 300,
                cap: None,
                affinity: vec![0, 2],
                reservation: Some(Reservation { budget_us: 2000, period_us: 10_000 }),
                pinned: false,
            },
            restart: RestartPolicy::OnFailure,
            restart_limit: 5,
            shared: [("link", 64 << 10, true), ("feed", 2 << 20, false)]
                .map(|(name, bytes, writable)| SharedMemory { name: name.into(), bytes, writable, number: 0 })
                .into(),
            disks: [("root", 0, 0, true, [0, 0]), ("data", 2048, 1 << 21, false, [500, 20_000])]
                .map(|(name, first, sectors, writable, [iops, kbytes_per_s])| DiskSpec {
                    name: name.into(),
                    drive: 1,
                    first,
                    sectors,
                    writable,
                    iops,
                    kbytes_per_s,
                    partition: (name == "root").then(|| "PARTLABEL=root".to_owned()),
                })
                .into(),
            nics: vec![NicSpec {
                name: "eth0".into(),
                network: "lan".into(),
                number: 0,
                mac: Some([2, 0, 0, 0, 0, 0x1f]),
                mtu: 1500,
                isolated: true,
                any_source: false,
                kbit_per_s: 1000,
                packets_per_s: 0,
            }],
            rng: true,
            guarantee: Some(128 << 20),
            memory_missed: MissedPolicy::Refuse,
        },
        origin: Origin::Description,
        last_end: None,
        restarts: 2,
        crash: None,
        disks: vec![DiskUse {
            name: "root".into(),
            reads: 12,
            read_bytes: 3 << 20,
            writes: 4,
            written_bytes: 512,
            flushes: 5,
            others: 6,
            failed: 7,
            waits: 8,
        }],
        nics: vec![NicUse {
            name: "eth0".into(),
            sent_frames: 21,
            sent_bytes: 2048,
            received_frames: 23,
            received_bytes: 24,
            dropped: NicDrops { spoofed: 31, storm: 32, nobody: 33, isolated: 34, no_room: 35 },
        }],
        links_down: vec!["eth0".into()],
        balloon: Some(BalloonUse {
            target: 256 << 20,
            actual: 300 << 20,
            taken: 40 << 20,
            left_ms: Some(9500),
            missed: false,
        }),
    }))
}

#[test]
fn the_list_is_a_table() {
    assert_eq!(
        text("vm list", encode(&list())),
        "\
NAME    STATE    VCPUS   MEMORY  UPTIME
debian  running      2  512 MiB  1m 03s
rt-0    defined      1   64 MiB       -
"
    );
}

#[test]
fn the_list_as_json_has_numbers() {
    assert_eq!(
        text("vm list --json", encode(&list())),
        concat!(
            r#"[{"name":"debian","state":"running","vcpus":2,"memory":536870912,"uptime_ns":63000000000},"#,
            r#"{"name":"rt-0","state":"defined","vcpus":1,"memory":67108864,"uptime_ns":null}]"#,
            "\n"
        )
    );
}

#[test]
fn a_vm_is_shown_in_full_and_without_control_characters() {
    assert_eq!(
        text("vm show debian", encode(&detail())),
        "\
name             debian
state            running
vcpus            2
memory           512 MiB
memory target    256 MiB (says it has 300 MiB, 40 MiB taken, 9.5 s left)
guaranteed       128 MiB
uptime           1.5 s
last end         -
from             system description
image            Image (Linux)
initrd           initrd.gz
bootargs         console=ttyAMA0 \\u{1b}[2J
autostart        yes
grants           manage, info
ports            2
watchdog         yes
cpu weight       300
cpu cap          -
cpu affinity     0,2
cpu reservation  2000 of each 10000 µs
cpu pinned       no
shared memory    link (64 KiB, read-write), feed (2 MiB, read-only)
disks            root (drive 1, PARTLABEL=root, read-write), data (drive 1, 1 GiB from 1 MiB on, read-only, at most 500 requests/s, at most 20000 kbyte/s)
network cards    eth0 (network lan, 02:00:00:00:00:1f, link down, isolated, at most 1000 kbit/s)
entropy device   yes
restart          on-failure, at most 5 in a row
restarts         2

DISK  READS  BYTES  WRITES  BYTES  FLUSHES  OTHERS  FAILED  WAITS
root     12  3 MiB       4  512 B        5       6       7      8

NETWORK CARD  SENT  BYTES  RECEIVED  BYTES  SPOOFED  STORM  NOBODY  ISOLATED  NO ROOM
eth0            21  2 KiB        23   24 B       31     32      33        34       35
"
    );
    let json: serde_json::Value = serde_json::from_str(&text("vm show debian --json", encode(&detail()))).unwrap();
    assert_eq!(json["summary"]["uptime_ns"], 1_500_000_000);
    assert_eq!(json["spec"]["memory"], 536_870_912);
    assert_eq!(json["spec"]["format"], "linux");
    assert_eq!(json["spec"]["watchdog"], true);
    assert_eq!(json["spec"]["cpu"]["affinity"], serde_json::json!([0, 2]));
    assert_eq!(json["spec"]["cpu"]["reservation"]["budget_us"], 2000);
    assert_eq!(json["origin"], "description");
    assert_eq!((&json["disks"][0]["read_bytes"], &json["disks"][0]["waits"]), (&(3 << 20).into(), &8.into()));
    assert_eq!((&json["nics"][0]["sent_frames"], &json["nics"][0]["dropped"]["no_room"]), (&21.into(), &35.into()));
    assert_eq!(json["last_end"], serde_json::Value::Null);
}

#[test]
fn requests_to_the_service_partition_say_whether_they_are_repeat_safe() {
    for (line, repeat_safe) in [
        ("vm list", 1),
        ("vm show a", 1),
        ("vm create a --from b", 0),
        ("vm start a", 0),
        ("vm stop a", 0),
        ("vm destroy a", 0),
        ("vm set a --weight 1", 1),
        ("vm set a --disk d --max-iops 1", 1),
        ("vm memory a 1M", 1),
    ] {
        let (_, asked) = run_line(line, |asked| split(asked, &encode(&Reply::Done)));
        assert_eq!((asked[0].party, asked[0].flags), (1, repeat_safe), "{line}");
    }
}

#[test]
fn what_was_done_is_said() {
    let done = || encode(&Reply::Done);
    assert_eq!(text("vm start a", done()), "a: started\n");
    assert_eq!(text("vm create a --from b", done()), "a: created\n");
    assert_eq!(text("vm set a --pin", done()), "a: set\n");
    assert_eq!(text("vm memory a 1M", done()), "a: asked\n");
    assert_eq!(text("vm stop a --json", done()), "{\"name\":\"a\",\"done\":\"stopped\"}\n");
    assert_eq!(text("debug fault crash --after-calls 2", done()), "fault\n");
}

#[test]
fn a_refusal_is_the_service_partitions_own_line() {
    let failure = Failure { code: FailureCode::NotFound, message: "vm start: no VM has the name `x`\n".to_owned() };
    let body = encode(&Reply::Error(failure));
    let (outcome, _) = run_line("vm start x", move |asked| split(asked, &body));
    let error = outcome.unwrap_err();
    assert_eq!(error.to_string(), "vm start: no VM has the name `x`\\n");
    assert_eq!(error.exit_code(), 1);
}

#[test]
fn a_reply_to_another_question_is_refused() {
    for (line, reply) in [("vm list", Reply::Done), ("vm show a", list()), ("vm start a", list())] {
        let body = encode(&reply);
        let (outcome, _) = run_line(line, move |asked| split(asked, &body));
        assert!(matches!(outcome, Err(Error::Reply(_))), "{line}");
    }
    let (outcome, _) = run_line("vm list", |asked| split(asked, &[0xff; 9]));
    assert!(matches!(outcome, Err(Error::Message(_))));
}

#[test]
fn a_failed_service_partition_is_reported() {
    let (outcome, _) = run_line("vm start a", |asked| vec![frame(0, ERROR, asked.id, &[3, 0, 0, 0])]);
    let error = outcome.unwrap_err();
    assert!(error.to_string().contains("may be done in part"), "{error}");
    assert_eq!(error.exit_code(), 1);
}

/// An account by the contract's layout.
fn sos_bytes() -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [0u32, 3, 1, 0] {
        bytes.extend(word.to_le_bytes());
    }
    for long in [0u64, 412_345, 250_000_000, 10_000_000_000] {
        bytes.extend(long.to_le_bytes());
    }
    bytes.extend(b"debian");
    bytes.resize(16 + 32 + 32, 0);
    bytes
}

/// The account, or counts of packets in the order of the contract: matched, dropped, answered, woken, limited.
fn account(asked: &Asked) -> Vec<Vec<u8>> {
    match asked.body[0] {
        1 => split(asked, &sos_bytes()),
        _ => split(asked, &[1u64, 2, 3, 4, 5].map(u64::to_le_bytes).concat()),
    }
}

#[test]
fn the_status_of_the_service_partition_is_asked_of_el2() {
    let (outcome, asked) = run_line("sos status", account);
    assert_eq!(
        printed(outcome),
        "\
state              off
times woken        3
woken last by      debian
wake to answer     412.3 µs
on                 2.500 % of 10.0 s
frames owned       0
requests open      0
failures           1
packets while off  1 matched, 3 answered, 4 woke it, 2 dropped, 5 above its limits
"
    );
    assert_eq!(asked.iter().map(|asked| asked.party).collect::<Vec<_>>(), [0, 0]);
    assert_eq!(asked[0].body, [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(asked[1].body, [10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(
        printed(run_line("sos status --json", account).0),
        concat!(
            r#"{"state":"off","lives":3,"failures":1,"woken_by":"debian","wake_to_answer_ns":412345,"#,
            r#""on_ns":250000000,"up_ns":10000000000,"on_percent":2.5,"frames":0,"requests":0,"#,
            r#""packets":{"matched":1,"answered":3,"woken":4,"dropped":2,"limited":5}}"#,
            "\n"
        )
    );
}

#[test]
fn information_has_a_memory_table_that_adds_up() {
    let (outcome, asked) = run_line("hv info", |asked| split(asked, &hv_bytes(MEMORY)));
    let output = outcome.unwrap();
    assert!(output.doubt.is_none());
    assert_eq!(
        String::from_utf8(output.text).unwrap(),
        "\
CPUs          4
counter       62.500 MHz
up            12.3 s
first guest   at count 1234567 (19753.0 µs)
image CRC-32  1c291ca3

MEMORY                                          SIZE       BYTES
guests' RAM                                  512 MiB   536870912
service partition                                0 B           0
EL2 image                                    256 KiB      262144
EL2 stacks                                   128 KiB      131072
EL2 tables                                     1 MiB     1048576
EL2 rings                                     64 KiB       65536
EL2 mailboxes                                  4 KiB        4096
boot archive                                  40 MiB    41943040
notes                                         64 KiB       65536
reserved by firmware                           1 MiB     1048576
free                                       469.5 MiB   492302336
  of which held for the service partition      8 MiB     8388608
total                                          1 GiB  1073741824
"
    );
    assert_eq!((asked[0].party, asked[0].body[0]), (0, 2));
}

#[test]
fn a_memory_table_that_does_not_add_up_is_shown_and_doubted() {
    let mut memory = MEMORY;
    memory[11] -= 4096;
    let (outcome, _) = run_line("hv info --json", move |asked| split(asked, &hv_bytes(memory)));
    let output = outcome.unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.text).unwrap();
    assert_eq!(json["memory"]["adds_up"], false);
    assert_eq!(json["memory"]["total"], 1u64 << 30);
    assert_eq!(json["image_crc"], "1c291ca3");
    assert_eq!(json["cpus"], 4);
    let doubt = output.doubt.unwrap();
    assert_eq!(doubt.exit_code(), 1);
    assert!(doubt.to_string().contains("1073737728 bytes"), "{doubt}");
}

/// A peer with a log ring that begins at `oldest`, in pieces of 7 bytes. It grows with each question.
fn log_peer(log: &'static [u8], oldest: usize) -> impl Script {
    let mut end = log.len() - 10;
    move |asked: &Asked| {
        assert_eq!((asked.party, asked.body[0], asked.body.len()), (0, 3, 16));
        let wanted = u64::from_le_bytes(asked.body[8..].try_into().unwrap()) as usize;
        let start = wanted.max(oldest).min(end);
        let mut body = (start as u64).to_le_bytes().to_vec();
        body.extend((end as u64).to_le_bytes());
        body.extend(&log[start..end.min(start + 7)]);
        end = log.len().min(end + 3);
        vec![frame(0, 0, asked.id, &body)]
    }
}

const LOG: &[u8] = "[0.000] Dormouse\n[0.001] größe 4\x1b\n[0.002] done\nlater\n1234".as_bytes();

#[test]
fn the_log_is_followed_to_where_it_ended_when_it_was_asked_for() {
    let (outcome, asked) = run_line("hv log", log_peer(LOG, 0));
    let text = printed(outcome);
    assert!(text.starts_with("[0.000] Dormouse\n[0.001] größe 4\\u{1b}\n[0.002] done\n"), "{text}");
    assert_eq!(asked.len(), (LOG.len() - 10).div_ceil(7), "a growing log still ends");
}

#[test]
fn a_log_whose_beginning_was_overwritten_says_so() {
    let (outcome, _) = run_line("hv log", log_peer(LOG, 17));
    let text = printed(outcome);
    assert!(text.starts_with("[17 bytes were overwritten]\n[0.001] "), "{text}");
    let (outcome, _) = run_line("hv log --json", log_peer(LOG, 17));
    let json: serde_json::Value = serde_json::from_str(&printed(outcome)).unwrap();
    assert_eq!(json["position"], 17);
    let end = json["end"].as_u64().unwrap();
    assert_eq!(json["text"].as_str().unwrap().len() as u64, end - 17);
}

#[test]
fn a_console_is_asked_for_by_name_and_its_bytes_are_kept_where_no_terminal_is() {
    let said: &[u8] = b"boot\r\n\x1b[2J\xff done";
    let console = |asked: &Asked| {
        assert_eq!((asked.party, asked.body[0], asked.body.len()), (0, 5, 48));
        assert_eq!(asked.body[16..24], *b"rt-0\0\0\0\0");
        let from = u64::from_le_bytes(asked.body[8..16].try_into().unwrap()) as usize;
        let mut body = (from as u64).to_le_bytes().to_vec();
        body.extend((said.len() as u64).to_le_bytes());
        body.extend(&said[from..said.len().min(from + 7)]);
        vec![frame(0, 0, asked.id, &body)]
    };
    let (outcome, _) = run_line("vm logs rt-0", console);
    assert_eq!(outcome.unwrap().text, said);
    let (outcome, _) = run_line("vm logs rt-0 --json", console);
    let json: serde_json::Value = serde_json::from_slice(&outcome.unwrap().text).unwrap();
    assert_eq!(json["text"], "boot\r\n\u{1b}[2J\u{fffd} done");
    let (outcome, _) = run_line("vm logs rt-0", |asked| vec![frame(0, ERROR, asked.id, &6u32.to_le_bytes())]);
    let error = outcome.unwrap_err();
    assert!(error.to_string().starts_with("the hypervisor has nothing of a VM of that name; "), "{error}");
}

#[test]
fn a_crash_is_shown_with_the_registers_that_are_known() {
    let Reply::Vm(mut detail) = detail() else { panic!() };
    let mut crash = Crash { slot: 3, generation: 7, reason: "crashed".to_owned(), vcpu: None };
    let mut shown = |crash: &Crash| {
        detail.crash = Some(crash.clone());
        text("vm show debian", encode(&Reply::Vm(detail.clone())))
    };
    let end = "\nLAST CRASH: crashed, life 7 of slot 3; no vCPU's registers are known\n";
    assert!(shown(&crash).ends_with(end), "{}", shown(&crash));
    crash.vcpu = Some(CrashedVcpu {
        vcpu: 1,
        pc: 0x4008_0200,
        pstate: 0x3c5,
        esr: 0x8200_0000,
        far: 4,
        elr_el1: 5,
        esr_el1: 6,
        far_el1: 7,
        sp_el1: 8,
        x: (0..31).collect(),
    });
    let text = shown(&crash);
    let lines: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("LAST CRASH")).collect();
    assert_eq!(lines[0], "LAST CRASH: crashed, life 7 of slot 3, vcpu 1");
    assert!(lines[1].starts_with("  pc      0x0000000040080200  pstate  0x00000000000003c5  esr_el2"), "{text}");
    assert_eq!(lines[10], "  x28     0x000000000000001c  x29     0x000000000000001d  x30     0x000000000000001e");
}

#[test]
fn an_empty_log_is_empty() {
    let (outcome, _) = run_line("hv log", |asked| vec![frame(0, 0, asked.id, &[0; 16])]);
    assert_eq!(printed(outcome), "");
}

#[cfg(not(target_arch = "aarch64"))]
#[test]
fn the_counter_needs_an_arm_cpu_and_no_port() {
    let devices = FakeDevices::new(&[], []);
    let outcome = run(&Cli::parse_from(["hvctl", "debug", "counter"]), &devices);
    assert!(matches!(outcome, Err(Error::NoCounter)));
}
