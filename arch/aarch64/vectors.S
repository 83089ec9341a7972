// The EL2 vector table (DDI 0487 D1.3.1). Exceptions from a guest lead back into `enter_guest`
// (world_switch.S); exceptions from EL2 itself are reported, save for the one instruction that is meant to
// fault (`probe_load`).

// sp' = sp + x0, so both can be recovered: tests bit 16 of SP without a scratch register. In a CPU area the
// stack is the upper half (src/arch/aarch64/percpu.rs), so a clear bit means that the stack has run into its
// guard page.
.macro el2_vector kind
    .balign 0x80
    add     sp, sp, x0
    sub     x0, sp, x0
    tbz     x0, #16, 1f
    sub     x0, sp, x0
    sub     sp, sp, x0
    sub     sp, sp, #272
    stp     x0, x1, [sp]
    mov     x0, #\kind
    b       el2_exception_entry
1:  bic     x0, x0, #0xffff             // the area's base; x0 itself is lost, the report says so
    add     x0, x0, #0x7, lsl #12       // top of the emergency stack
    mov     sp, x0
    sub     sp, sp, #272
    stp     xzr, x1, [sp]
    mov     x0, #(\kind + 16)
    b       el2_exception_entry
.endm

.macro guest_vector kind
    .balign 0x80
    stp     x0, x1, [sp, #-16]!
    mov     x1, #\kind
    b       guest_exit
.endm

.section .text.vectors, "ax"
.balign 0x800
.global exception_vectors
exception_vectors:
    el2_vector 0                        // current EL with SP_EL0: never used
    el2_vector 1
    el2_vector 2
    el2_vector 3
    el2_vector 4                        // current EL with SP_EL2
    el2_vector 5
    el2_vector 6
    el2_vector 7
    guest_vector 0                      // lower EL, AArch64: synchronous
    guest_vector 1                      // IRQ
    guest_vector 2                      // FIQ
    guest_vector 3                      // SError
    guest_vector 0                      // lower EL, AArch32
    guest_vector 1
    guest_vector 2
    guest_vector 3

// SP: a `TrapFrame` (src/arch/aarch64/exception.rs) with x0, x1 stored; x0 = which vector.
el2_exception_entry:
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
    mrs     x2, elr_el2
    stp     x30, x2, [sp, #240]
    mrs     x2, spsr_el2
    stp     x2, x0, [sp, #256]
    mov     x0, sp
    bl      el2_exception
    // It returns only from a probe: x0 = where to go on. Everything that the probe's caller needs is
    // callee-saved.
    msr     elr_el2, x0
    ldp     x29, x30, [sp, #232]
    add     sp, sp, #272
    eret

// x0 = address. Returns x0 = the word there and x1 = 0, or x1 = 1 where reading it aborts.
.global probe_load
.global probe_load_aborted
probe_load:
    ldr     w0, [x0]
    mov     x1, #0
    ret
probe_load_aborted:
    mov     x1, #1
    ret
