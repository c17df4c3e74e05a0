//! Exceptions that EL2 makes a guest take.

use dormouse_tests::{Board, Description, Guest, System, seconds};

#[test]
fn what_el2_injects_is_what_the_cpu_takes_by_itself() {
    let system = System::new(&Description::with("entry", Guest::bare("entry", "")));
    // ARMv8.0, SSBS and DIT, everything, and everything with memory tags.
    for (cpu, more) in [("cortex-a72", ""), ("neoverse-v1", ""), ("max", ""), ("max", "mte=on")] {
        let mut board = Board { cpu: cpu.into(), ..Board::default().cpus(1) };
        if !more.is_empty() {
            board.more.extend(["-M".into(), more.into()]);
        }
        let mut run = board.boot(&system);
        let line = run.expect_line("ENTRY ", seconds(60));
        assert_eq!(line, "ENTRY compared 336 wrong 0", "{cpu} {more}");
    }
}
