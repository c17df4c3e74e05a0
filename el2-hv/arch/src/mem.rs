//! `memcpy` and `memset` of this image, which the compiler calls: sixty-four bytes a round. Those of compiler-builtins, which
//! take eight, would be half of what a request or a new VM costs. And a copy that adds up what it copies: no compiler makes
//! the carries' chain that a checksum is, and what is summed has to be what was copied.

use core::arch::global_asm;

// Accesses are to Normal memory, where any alignment is allowed (SCTLR_EL2.A is 0): Rust code runs with the MMU on.
// What is left after the rounds is in the low six bits of x2, which the last subtraction has not changed.
global_asm!(
    r#"
    .section .text.memcpy, "ax"
    .global memcpy
    .type memcpy, @function
    .global copy_bytes
copy_bytes:
memcpy:
    mov     x3, x0
    subs    x2, x2, #64
    b.lo    2f
1:  ldp     x4, x5, [x1]
    ldp     x6, x7, [x1, #16]
    ldp     x8, x9, [x1, #32]
    ldp     x10, x11, [x1, #48]
    add     x1, x1, #64
    stp     x4, x5, [x3]
    stp     x6, x7, [x3, #16]
    stp     x8, x9, [x3, #32]
    stp     x10, x11, [x3, #48]
    add     x3, x3, #64
    subs    x2, x2, #64
    b.hs    1b
2:  tbz     x2, #5, 3f
    ldp     x4, x5, [x1]
    ldp     x6, x7, [x1, #16]
    add     x1, x1, #32
    stp     x4, x5, [x3]
    stp     x6, x7, [x3, #16]
    add     x3, x3, #32
3:  tbz     x2, #4, 4f
    ldp     x4, x5, [x1], #16
    stp     x4, x5, [x3], #16
4:  tbz     x2, #3, 5f
    ldr     x4, [x1], #8
    str     x4, [x3], #8
5:  tbz     x2, #2, 6f
    ldr     w4, [x1], #4
    str     w4, [x3], #4
6:  tbz     x2, #1, 7f
    ldrh    w4, [x1], #2
    strh    w4, [x3], #2
7:  tbz     x2, #0, 8f
    ldrb    w4, [x1]
    strb    w4, [x3]
8:  ret
    .size memcpy, . - memcpy

    // As memcpy; x9 has the sum, in ones' complement: each carry out of it is added again (RFC 1071 §2 (A), (B)).
    .section .text.copy_and_sum_bytes, "ax"
    .global copy_and_sum_bytes
    .type copy_and_sum_bytes, @function
copy_and_sum_bytes:
    mov     x9, xzr
    subs    x2, x2, #64
    b.lo    2f
1:  ldp     x4, x5, [x1]
    ldp     x6, x7, [x1, #16]
    ldp     x8, x10, [x1, #32]
    ldp     x11, x12, [x1, #48]
    add     x1, x1, #64
    stp     x4, x5, [x0]
    stp     x6, x7, [x0, #16]
    stp     x8, x10, [x0, #32]
    stp     x11, x12, [x0, #48]
    add     x0, x0, #64
    adds    x9, x9, x4
    adcs    x9, x9, x5
    adcs    x9, x9, x6
    adcs    x9, x9, x7
    adcs    x9, x9, x8
    adcs    x9, x9, x10
    adcs    x9, x9, x11
    adcs    x9, x9, x12
    adc     x9, x9, xzr
    subs    x2, x2, #64
    b.hs    1b
2:  tbz     x2, #5, 3f
    ldp     x4, x5, [x1]
    ldp     x6, x7, [x1, #16]
    add     x1, x1, #32
    stp     x4, x5, [x0]
    stp     x6, x7, [x0, #16]
    add     x0, x0, #32
    adds    x9, x9, x4
    adcs    x9, x9, x5
    adcs    x9, x9, x6
    adcs    x9, x9, x7
    adc     x9, x9, xzr
3:  tbz     x2, #4, 4f
    ldp     x4, x5, [x1], #16
    stp     x4, x5, [x0], #16
    adds    x9, x9, x4
    adcs    x9, x9, x5
    adc     x9, x9, xzr
4:  tbz     x2, #3, 5f
    ldr     x4, [x1], #8
    str     x4, [x0], #8
    adds    x9, x9, x4
    adc     x9, x9, xzr
5:  tbz     x2, #2, 6f
    ldr     w4, [x1], #4
    str     w4, [x0], #4
    adds    x9, x9, x4
    adc     x9, x9, xzr
6:  tbz     x2, #1, 7f
    ldrh    w4, [x1], #2
    strh    w4, [x0], #2
    adds    x9, x9, x4
    adc     x9, x9, xzr
7:  tbz     x2, #0, 8f
    ldrb    w4, [x1]
    strb    w4, [x0]
    adds    x9, x9, x4
    adc     x9, x9, xzr
8:  mov     x0, x9
    ret
    .size copy_and_sum_bytes, . - copy_and_sum_bytes

    .section .text.memset, "ax"
    .global memset
    .type memset, @function
memset:
    and     x4, x1, #0xff
    mov     x5, #0x0101010101010101
    mul     x4, x4, x5
    mov     x3, x0
    subs    x2, x2, #64
    b.lo    2f
1:  stp     x4, x4, [x3]
    stp     x4, x4, [x3, #16]
    stp     x4, x4, [x3, #32]
    stp     x4, x4, [x3, #48]
    add     x3, x3, #64
    subs    x2, x2, #64
    b.hs    1b
2:  tbz     x2, #5, 3f
    stp     x4, x4, [x3]
    stp     x4, x4, [x3, #16]
    add     x3, x3, #32
3:  tbz     x2, #4, 4f
    stp     x4, x4, [x3], #16
4:  tbz     x2, #3, 5f
    str     x4, [x3], #8
5:  tbz     x2, #2, 6f
    str     w4, [x3], #4
6:  tbz     x2, #1, 7f
    strh    w4, [x3], #2
7:  tbz     x2, #0, 8f
    strb    w4, [x3]
8:  ret
    .size memset, . - memset
    "#
);

unsafe extern "C" {
    /// `memcpy` by a name of which the compiler assumes nothing: the ranges may overlap.
    fn copy_bytes(to: *mut u8, from: *const u8, size: usize) -> *mut u8;
    /// The same, and the sum of the words copied.
    fn copy_and_sum_bytes(to: *mut u8, from: *const u8, size: usize) -> u64;
}

/// Copies `size` bytes from `from` to `to`, without cleaning.
///
/// # Safety
/// Both ranges are mapped, and no Rust object lives in the one at `to`.
pub(crate) unsafe fn copy(to: u64, from: u64, size: u64) {
    // SAFETY: the caller's.
    unsafe { copy_bytes(to as *mut u8, from as *const u8, size as usize) };
}

/// Copies `size` bytes from `from` to `to`, without cleaning, and adds up what it has copied: 64-bit words as this machine has
/// them in ones' complement, zeroes behind the last byte.
///
/// # Safety
/// As [`copy`].
pub(crate) unsafe fn copy_and_sum(to: u64, from: u64, size: u64) -> u64 {
    // SAFETY: the caller's.
    unsafe { copy_and_sum_bytes(to as *mut u8, from as *const u8, size as usize) }
}
