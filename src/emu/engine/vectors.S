// The EL1 vector table (DDI 0487 D1.3.1). The engine runs on SP_EL0 and takes exceptions on SP_EL1.

// From the engine itself.
.macro engine_vector kind
    .balign 0x80
    sub     sp, sp, #{frame}
    stp     x0, x1, [sp]
    mov     x1, #\kind
    b       engine_exception_entry
.endm

// From an exception handler, whose stack may be what is wrong: it is started afresh. TPIDR_EL0 has no other use.
.macro handler_vector kind
    .balign 0x80
    msr     tpidr_el0, x0
    mrs     x0, tpidr_el1
    mov     sp, x0
    mrs     x0, tpidr_el0
    sub     sp, sp, #{frame}
    stp     x0, x1, [sp]
    mov     x1, #\kind
    b       engine_exception_entry
.endm

.section .text.vectors, "ax"
.balign 0x800
.global engine_vectors
engine_vectors:
    engine_vector 0                     // current EL with SP_EL0: synchronous
    engine_vector 1                     // IRQ
    engine_vector 2                     // FIQ
    engine_vector 3                     // SError
    handler_vector 4                    // current EL with SP_EL1
    handler_vector 5
    handler_vector 6
    handler_vector 7
    engine_vector 8                     // lower EL: nothing runs there
    engine_vector 8
    engine_vector 8
    engine_vector 8
    engine_vector 8
    engine_vector 8
    engine_vector 8
    engine_vector 8

// SP: a `Frame` (exception.rs) with x0, x1 stored; x1 = which vector.
engine_exception_entry:
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    mrs     x2, elr_el1
    stp     x30, x2, [sp, #240]
    mrs     x2, spsr_el1
    mrs     x3, sp_el0
    stp     x2, x3, [sp, #256]
    mov     x0, sp
    bl      {exception}
    ldp     x30, x2, [sp, #240]
    msr     elr_el1, x2
    ldr     x2, [sp, #256]
    msr     spsr_el1, x2
    // The handler has kept x19 to x29.
    ldp     x0, x1, [sp]
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldr     x18, [sp, #144]
    add     sp, sp, #{frame}
    eret
