// Where every vCPU of a cell enters: EL1h, MMU and caches off, X0 = the hart's index. With the MMU off no memory is
// written, so that no write bypasses a dirty cache line.

.section .text.start, "ax"
.global _start
_start:
    mov     x19, x0
    ldr     x1, ={mair}
    msr     mair_el1, x1
    // TCR_EL1.IPS: what the CPU has, 48 bits at most.
    ldr     x1, ={tcr}
    mrs     x2, id_aa64mmfr0_el1
    and     x2, x2, #0xf
    mov     x3, #5
    cmp     x2, x3
    csel    x2, x2, x3, lo
    orr     x1, x1, x2, lsl #32
    msr     tcr_el1, x1
    adrp    x1, {boot_table}
    add     x1, x1, :lo12:{boot_table}
    msr     ttbr0_el1, x1
    adrp    x1, engine_vectors
    add     x1, x1, :lo12:engine_vectors
    msr     vbar_el1, x1
    tlbi    vmalle1
    dsb     nsh
    isb
    ldr     x1, ={sctlr}
    msr     sctlr_el1, x1
    isb

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
