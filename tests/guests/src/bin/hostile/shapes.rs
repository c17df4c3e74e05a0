//! One instruction each, behind x0 and x2 (data) and x1 (address): what a load, a store, or maintenance can look like.

use core::arch::global_asm;
use test_guests::random::Random;

/// Bytes of an entry: the instruction and RET.
const ENTRY: u64 = 8;

global_asm!(
    r#"
    .text
    .balign 8
    .arch armv8-a+lse+lor
    .macro shape instruction:vararg
    \instruction
    ret
    .endm

hostile_plain:                  // loads and stores of 1, 2, 4 and 8 bytes
    shape   ldrb    w0, [x1]
    shape   strb    w0, [x1]
    shape   ldrh    w0, [x1]
    shape   strh    w0, [x1]
    shape   ldr     w0, [x1]
    shape   str     w0, [x1]
    shape   ldr     x0, [x1]
    shape   str     x0, [x1]

hostile_shapes:
    shape   ldp     w0, w2, [x1]
    shape   stp     w0, w2, [x1]
    shape   ldp     x0, x2, [x1]
    shape   stp     x0, x2, [x1]
    shape   ldp     x0, x2, [x1, #16]!
    shape   stp     x0, x2, [x1], #-16
    shape   ldpsw   x0, x2, [x1]
    shape   ldr     w0, [x1], #4
    shape   ldr     w0, [x1, #4]!
    shape   str     w0, [x1], #4
    shape   str     w0, [x1, #4]!
    shape   str     w1, [x1]
    shape   ldr     w1, [x1]
    shape   ldr     wzr, [x1]
    shape   str     xzr, [x1]
    shape   ldrsb   w0, [x1]
    shape   ldrsb   x0, [x1]
    shape   ldrsh   w0, [x1]
    shape   ldrsh   x0, [x1]
    shape   ldrsw   x0, [x1]
    shape   ldur    x0, [x1, #1]
    shape   stur    x0, [x1, #3]
    shape   ldtr    w0, [x1]
    shape   sttr    w0, [x1]
    shape   ldr     b0, [x1]
    shape   ldr     h0, [x1]
    shape   ldr     s0, [x1]
    shape   ldr     d0, [x1]
    shape   ldr     q0, [x1]
    shape   str     b0, [x1]
    shape   str     d0, [x1]
    shape   str     q0, [x1]
    shape   ldp     q0, q1, [x1]
    shape   stp     q0, q1, [x1]
    shape   ldnp    x0, x2, [x1]
    shape   ld1     {{v0.16b}}, [x1]
    shape   st1     {{v0.16b}}, [x1]
    shape   ld4     {{v0.16b, v1.16b, v2.16b, v3.16b}}, [x1]
    shape   st4     {{v0.16b, v1.16b, v2.16b, v3.16b}}, [x1]
    shape   ld1     {{v0.b}}[1], [x1], #1
    shape   ldxr    w0, [x1]
    shape   ldaxr   x0, [x1]
    shape   stxr    w3, w0, [x1]
    shape   stlxr   w3, x0, [x1]
    shape   ldxp    x0, x2, [x1]
    shape   stxp    w3, x0, x2, [x1]
    shape   ldar    w0, [x1]
    shape   stlr    w0, [x1]
    shape   ldadd   w0, w2, [x1]
    shape   swpal   x0, x2, [x1]
    shape   cas     w0, w2, [x1]
    shape   casp    x2, x3, x4, x5, [x1]
    shape   prfm    pldl1keep, [x1]
    shape   prfm    pstl1keep, [x1]
    shape   dc      zva, x1
    shape   dc      ivac, x1
    shape   dc      cvac, x1
    shape   dc      cvau, x1
    shape   dc      civac, x1
    shape   ic      ivau, x1
    shape   at      s1e1r, x1
    shape   at      s1e1w, x1
    shape   at      s1e0r, x1
    shape   ldr     x3, [x1, x2, lsl #3]
    shape   ldr     w0, [x1], #255
    shape   str     x0, [x1, #-256]!
    shape   strb    w0, [x1], #1
    shape   ldrh    w0, [x1, #2]!
    shape   stnp    x0, x2, [x1]
    shape   stp     q0, q1, [x1, #32]!
    shape   ldp     d0, d1, [x1], #16
    shape   ld2     {{v0.4s, v1.4s}}, [x1], #32
    shape   st1     {{v0.d}}[1], [x1]
    shape   ld1r    {{v0.8h}}, [x1]
    shape   ldxrb   w0, [x1]
    shape   ldaxrh  w0, [x1]
    shape   stxrb   w3, w0, [x1]
    shape   ldaxp   w0, w2, [x1]
    shape   ldlar   x0, [x1]
    shape   stllr   x0, [x1]
    shape   swpb    w0, w2, [x1]
    shape   ldeoral x0, x2, [x1]
    shape   stadd   w0, [x1]
    shape   casah   w0, w2, [x1]
    shape   prfm    plil1keep, [x1]
    shape   at      s1e0w, x1
    // Later extensions: undefined where the CPU, or the hypervisor, has them not.
    shape   .inst 0xb8bfc020      // ldapr w0, [x1]
    shape   .inst 0xd9400020      // ldapur x0, [x1]
    shape   .inst 0xd9000020      // stlur x0, [x1]
    shape   .inst 0xf83fd022      // ld64b x2, [x1]
    shape   .inst 0xf83f9022      // st64b x2, [x1]
    shape   .inst 0xf8200420      // ldraa x0, [x1]
    shape   .inst 0xd9200821      // stg x1, [x1]
    shape   .inst 0xd9600021      // ldg x1, [x1]
    shape   .inst 0x1902041f      // cpyfp
    shape   .inst 0xd50b7461      // dc gzva, x1
    shape   .inst 0xd50b7a3e      // dc cvap and its kin, with x30
    shape   .inst 0xd5087901      // at s1e1rp, x1
    shape   .inst 0xd5087921      // at s1e1wp, x1
    shape   .inst 0xa4004020      // SVE ld1b
hostile_branches:
    shape   br      x1
    shape   blr     x1
    shape   ret     x1
hostile_shapes_end:
    "#
);

unsafe extern "C" {
    static hostile_plain: u32;
    static hostile_shapes: u32;
    static hostile_branches: u32;
    static hostile_shapes_end: u32;
}

/// Addresses of a load and a store for each size.
pub(crate) fn plain() -> [(u64, u64); 4] {
    let start = &raw const hostile_plain as u64;
    core::array::from_fn(|i| {
        let load = start + i as u64 * 2 * ENTRY;
        (load, load + ENTRY)
    })
}

/// A store of a word.
pub(crate) fn store_word() -> u64 {
    plain()[2].1
}

/// Any shape that is no branch.
pub(crate) fn pick(random: &mut Random) -> u64 {
    let (start, end) = (&raw const hostile_shapes as u64, &raw const hostile_branches as u64);
    start + random.below((end - start) / ENTRY) * ENTRY
}

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = u64> {
    let (start, end) = (&raw const hostile_shapes as u64, &raw const hostile_shapes_end as u64);
    (start..end).step_by(ENTRY as usize)
}
