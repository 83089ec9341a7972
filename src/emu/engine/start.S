// Where every vCPU of a cell enters: EL1h, MMU and caches off, X0 = the hart's index. With the MMU off no memory is
// written, so that no write bypasses a dirty cache line. The code is not where it is linked until it jumps into the hole:
// up to there, an address that ADRP gives is an intermediate physical one.

.section .text.start, "ax"
.global _start
_start:
    mov     x19, x0
    ldr     x1, ={mair}
    msr     mair_el1, x1
    // TCR_EL1: what the CPU has. AS: ASIDs of 16 bits; IPS: 48 bits at most.
    ldr     x1, ={tcr}
    mrs     x2, id_aa64mmfr0_el1
    ubfx    x3, x2, #4, #4
    cmp     x3, #2
    cset    x3, eq
    orr     x1, x1, x3, lsl #36
    and     x2, x2, #0xf
    mov     x3, #5
    cmp     x2, x3
    csel    x2, x2, x3, lo
    orr     x1, x1, x2, lsl #32
    msr     tcr_el1, x1
    // The first hart has a root of its own.
    adrp    x1, {boot_roots}
    add     x1, x1, :lo12:{boot_roots}
    add     x2, x1, #4096
    cmp     x19, #0
    csel    x1, x1, x2, eq
    msr     ttbr0_el1, x1
    adrp    x1, {no_root}
    add     x1, x1, :lo12:{no_root}
    msr     ttbr1_el1, x1
    ldr     x1, =engine_vectors
    msr     vbar_el1, x1
    // On all CPUs: before its VM was reset, the vCPU may have run on one that is to be its next.
    tlbi    vmalle1is
    dsb     ish
    isb
    ldr     x1, ={sctlr}
    ldr     x2, =engine_in_hole
    msr     sctlr_el1, x1
    isb
    br      x2

engine_in_hole:
    // The first hart brings .data to where it is linked; .bss is zero, as private memory is at start.
    cbnz    x19, 2f
    adrp    x0, __data_start
    add     x0, x0, :lo12:__data_start
    adrp    x1, __data_end
    add     x1, x1, :lo12:__data_end
    adrp    x2, __data_load
    add     x2, x2, :lo12:__data_load
1:  cmp     x0, x1
    b.hs    2f
    ldp     x3, x4, [x2], #16
    stp     x3, x4, [x0], #16
    b       1b

    // SP_EL1 is for exceptions, SP_EL0 for all else, so that a stack that has overflowed is no obstacle to saying so.
    // The hart's block begins where its exception stack does.
2:  adrp    x0, {areas}
    add     x0, x0, :lo12:{areas}
    ldr     x1, ={area_bytes}
    madd    x0, x19, x1, x0
    ldr     x1, ={block_offset}
    add     x1, x0, x1
    msr     tpidr_el1, x1
    mov     sp, x1
    ldr     x1, ={stack_top}
    add     x1, x0, x1
    msr     spsel, #0
    mov     sp, x1
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x19
    b       {main}
    .ltorg
