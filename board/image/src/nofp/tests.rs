use super::*;
use crate::testing::message;

/// As GNU objdump 2.40 prints, tabs included.
const GNU: &str = "
build/hyp.elf:     file format elf64-littleaarch64

Disassembly of section .text:

0000000000000000 <_start>:
       0:\tfa405a4d \tccmp\tx18, #0x0, #0xd, pl  // pl = nfrst
       4:\t14000033 \tb\td0 <_start+0xd0>
       8:\t3707fffe \ttbnz\tw30, #0, b1 <_start+0xb1>
       c:\td503201f \tnop
      10:\td53be04d \tmrs\tx13, cntfrq_el0
      14:\td65f03c0 \tret
      18:\t00000000 \t.word\t0x00000000
\t...

00000000000000d0 <fp_save>:
      d0:\tad000400 \tstp\tq0, q1, [x0]
      d4:\td53b4401 \tmrs\tx1, fpcr
      d8:\td65f03c0 \tret
";

/// As LLVM's, before and from version 18 on.
const LLVM: &str = "
0000000000000040 <memcpy>:
      40: fd 7b bf a9  \tstp\tx29, x30, [sp, #-16]!
      44: 14000033     \tb\t0xd0 <memcpy+0x90>
";

fn allowed() -> Vec<String> {
    vec!["fp_save".into()]
}

fn with(instruction: &str) -> String {
    format!("{GNU}\n0000000000000100 <victim>:\n     100:\t00000000 \t{instruction}\n")
}

#[test]
fn clean_code_passes_and_the_allowed_function_may_use_them() {
    assert_eq!(check(GNU, &allowed()).unwrap(), 9, "data is not counted");
    assert_eq!(check(LLVM, &[]).unwrap(), 2);
}

#[test]
fn each_kind_of_register_is_seen_outside_of_the_allowed_function() {
    for instruction in [
        "movi\tv0.2d, #0x0",
        "ldp\tq0, q1, [x1]",
        "str\td8, [sp, #-16]!",
        "fmov\ts31, w0",
        "ldr\th7, [x0]",
        "ldr\tb0, [x0]",
        "ld1\t{v0.16b-v3.16b}, [x0]",
        "mov\tx0, v1.d[1]",
        "ldr\td0, 40 <literal>",
        "ldr\tz3, [x0]",
        "mrs\tx0, fpsr",
        "msr\tfpcr, x0",
        "sha256h\tq0, q1, v2.4s",
    ] {
        let error = message(check(&with(instruction), &allowed()));
        assert!(
            error.starts_with("1 instructions use FP/SIMD registers outside of fp_save; the first:\n  victim: 100:"),
            "{error}"
        );
        assert!(error.contains(instruction), "{error}");
    }
}

#[test]
fn names_and_numbers_that_look_like_registers_are_none() {
    for instruction in [
        "mrs\tx13, s3_0_c0_c7_4",
        "bl\td0 <s1>",
        "cbz\tx0, b0 <q1+0xd0>",
        "mov\tx0, #0xd1",
        "mrs\tx0, dbgbvr0_el1",
        "msr\tcptr_el2, x0",
        "ldr\tx1, [x2, x3, lsl #3]  // s0 v1",
        "add\tx0, x0, #0x10, lsl #12",
        "dc\tcvac, x0",
        "dsb\tish",
        "ldr\tx0, [x1, d32]",
    ] {
        assert!(check(&with(instruction), &allowed()).is_ok(), "{instruction}");
    }
}

#[test]
fn an_allowed_function_that_is_not_there_is_an_error() {
    assert_eq!(message(check(LLVM, &allowed())), "no function `fp_save` is in the disassembly");
}

#[test]
fn input_without_instructions_is_an_error() {
    assert!(message(check("", &[])).starts_with("the disassembly has no instruction"));
    assert!(message(check("0000 <a>:\n hello: world\n", &[])).starts_with("the disassembly has no"));
}

#[test]
fn a_flood_is_shown_in_part() {
    let mut text = String::from("0000000000000100 <victim>:\n");
    (0..100).for_each(|_| text.push_str("     100:\t1e604020 \tfmov\td0, d1\n"));
    let error = message(check(&text, &[]));
    assert!(error.starts_with("100 instructions"));
    assert_eq!(error.lines().count(), 21);
}
