// Entering and leaving translated code (docs/jit.md). It runs on SP_EL0, which then is the address of the hart's words;
// x18 counts instructions, with "due" in bit 63; x28 is the jump table.

// The registers that translated code holds guest registers in, and the words of these.
.macro guest_registers op
    \op     x0, [sp, #8 * {w0}]
    \op     x1, [sp, #8 * {w1}]
    \op     x2, [sp, #8 * {w2}]
    \op     x3, [sp, #8 * {w3}]
    \op     x4, [sp, #8 * {w4}]
    \op     x5, [sp, #8 * {w5}]
    \op     x6, [sp, #8 * {w6}]
    \op     x7, [sp, #8 * {w7}]
    \op     x8, [sp, #8 * {w8}]
    \op     x9, [sp, #8 * {w9}]
    \op     x10, [sp, #8 * {w10}]
    \op     x11, [sp, #8 * {w11}]
    \op     x12, [sp, #8 * {w12}]
    \op     x13, [sp, #8 * {w13}]
    \op     x14, [sp, #8 * {w14}]
    \op     x15, [sp, #8 * {w15}]
    \op     x19, [sp, #8 * {w19}]
    \op     x20, [sp, #8 * {w20}]
    \op     x21, [sp, #8 * {w21}]
    \op     x22, [sp, #8 * {w22}]
    \op     x23, [sp, #8 * {w23}]
    \op     x24, [sp, #8 * {w24}]
    \op     x25, [sp, #8 * {w25}]
    \op     x26, [sp, #8 * {w26}]
    \op     x27, [sp, #8 * {w27}]
    \op     x29, [sp, #8 * {w29}]
.endm

// Keeps what a function must, and masks IRQs. x0: the hart's words. Afterwards SP is that, and x17 1 if the hart is due.
.macro enter_words
    stp     x29, x30, [sp, #-96]!
    stp     x27, x28, [sp, #16]
    stp     x25, x26, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x21, x22, [sp, #64]
    stp     x19, x20, [sp, #80]
    msr     daifset, #2
    mov     x17, sp
    str     x17, [x0, #8 * {stack}]
    mrs     x17, tpidr_el1
    ldrb    w17, [x17, #{due}]
    mov     sp, x0
.endm

.section .text.jit, "ax"

// x0: the hart's words; x1: where translated code is entered. Returns in x0 and x1 what `Outcome` says.
.global engine_jit_enter
engine_jit_enter:
    enter_words
    mov     x16, x1
    ldr     x18, [sp, #8 * {instret}]
    orr     x18, x18, x17, lsl #63
    ldr     x28, [sp, #8 * {table}]
    guest_registers ldr
// From here on an IRQ is noted in x18.
.global engine_jit_entering
engine_jit_entering:
    msr     daifclr, #2
    br      x16
.global engine_jit_entered
engine_jit_entered:

// x0: the hart's words, with the frame of a fault. Goes on where that was.
.global engine_jit_resume
engine_jit_resume:
    mrs     x2, daif
    enter_words
    ldr     x1, [sp, #8 * ({frame} + 32)]
    msr     elr_el1, x1
    ldr     x1, [sp, #8 * ({frame} + 31)]
    // PSTATE.M = EL1t; masks as they are now (SPSR_EL1 has them where DAIF does).
    orr     x1, x1, x2
    orr     x1, x1, #0x4
    msr     spsr_el1, x1
    // Within reach of a pair's offset.
    add     x30, sp, #8 * {frame}
    ldr     x18, [x30, #8 * 18]
    orr     x18, x18, x17, lsl #63
    ldp     x0, x1, [x30]
    ldp     x2, x3, [x30, #8 * 2]
    ldp     x4, x5, [x30, #8 * 4]
    ldp     x6, x7, [x30, #8 * 6]
    ldp     x8, x9, [x30, #8 * 8]
    ldp     x10, x11, [x30, #8 * 10]
    ldp     x12, x13, [x30, #8 * 12]
    ldp     x14, x15, [x30, #8 * 14]
    ldp     x16, x17, [x30, #8 * 16]
    ldr     x19, [x30, #8 * 19]
    ldr     x20, [x30, #8 * 20]
    ldr     x21, [x30, #8 * 21]
    ldr     x22, [x30, #8 * 22]
    ldr     x23, [x30, #8 * 23]
    ldr     x24, [x30, #8 * 24]
    ldr     x25, [x30, #8 * 25]
    ldr     x26, [x30, #8 * 26]
    ldr     x27, [x30, #8 * 27]
    ldr     x28, [x30, #8 * 28]
    ldr     x29, [x30, #8 * 29]
    ldr     x30, [x30, #8 * 30]
    eret

// Where translated code leaves: x30 tells by which exit, x16 the target if it is an indirect jump.
.global engine_jit_leave
engine_jit_leave:
    guest_registers str
    and     x18, x18, #0x7fffffffffffffff
    str     x18, [sp, #8 * {instret}]
    str     x16, [sp, #8 * {target}]
    mov     x0, x30
    mov     x1, #0
1:  ldr     x17, [sp, #8 * {stack}]
    mov     sp, x17
    ldp     x27, x28, [sp, #16]
    ldp     x25, x26, [sp, #32]
    ldp     x23, x24, [sp, #48]
    ldp     x21, x22, [sp, #64]
    ldp     x19, x20, [sp, #80]
    ldp     x29, x30, [sp], #96
    ret

// Where the handler of a fault lets translated code go on, when it has stored the frame.
.global engine_jit_faulted
engine_jit_faulted:
    mov     x0, #0
    mov     x1, #1
    b       1b

// x0: 34 words, v0 to v31, FPCR and FPSR. Of v29 to v31 the guest has nothing when it is entered.
.arch_extension fp
.arch_extension simd
.global engine_float_save
engine_float_save:
    stp     d0, d1, [x0]
    stp     d2, d3, [x0, #16]
    stp     d4, d5, [x0, #32]
    stp     d6, d7, [x0, #48]
    stp     d8, d9, [x0, #64]
    stp     d10, d11, [x0, #80]
    stp     d12, d13, [x0, #96]
    stp     d14, d15, [x0, #112]
    stp     d16, d17, [x0, #128]
    stp     d18, d19, [x0, #144]
    stp     d20, d21, [x0, #160]
    stp     d22, d23, [x0, #176]
    stp     d24, d25, [x0, #192]
    stp     d26, d27, [x0, #208]
    stp     d28, d29, [x0, #224]
    stp     d30, d31, [x0, #240]
    mrs     x1, fpsr
    str     x1, [x0, #264]
    ret
.global engine_float_load
engine_float_load:
    ldp     d0, d1, [x0]
    ldp     d2, d3, [x0, #16]
    ldp     d4, d5, [x0, #32]
    ldp     d6, d7, [x0, #48]
    ldp     d8, d9, [x0, #64]
    ldp     d10, d11, [x0, #80]
    ldp     d12, d13, [x0, #96]
    ldp     d14, d15, [x0, #112]
    ldp     d16, d17, [x0, #128]
    ldp     d18, d19, [x0, #144]
    ldp     d20, d21, [x0, #160]
    ldp     d22, d23, [x0, #176]
    ldp     d24, d25, [x0, #192]
    ldp     d26, d27, [x0, #208]
    ldr     d28, [x0, #224]
    ldr     x1, [x0, #256]
    msr     fpcr, x1
    msr     fpsr, xzr
    ret
