// Entry of the image: the arm64 Linux `Image` header, the drop to EL2, self-relocation, and the way into
// Rust. Boot protocol: Documentation/arch/arm64/booting.rst (x0 = devicetree, MMU off, caches of the image
// clean).

.section .text.boot, "ax"

.global _start
_start:
    b       primary_entry
    .long   0
    .quad   0                           // text_offset
    .quad   __image_size                // with .bss: the loader keeps it free
    .quad   0xa                         // flags: little endian, 4 KiB pages, anywhere in memory
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   0

primary_entry:
    msr     daifset, #0xf
    msr     spsel, #1
    mov     x19, x0                     // devicetree
    mrs     x21, CurrentEL
    lsr     x21, x21, #2                // the level of entry

    // Apply the relocations: the image is linked at 0, so the base is where it now lies.
    adrp    x20, __image_start
    adrp    x1, __rela_start
    add     x1, x1, :lo12:__rela_start
    adrp    x2, __rela_end
    add     x2, x2, :lo12:__rela_end
1:  cmp     x1, x2
    b.hs    2f
    ldp     x3, x4, [x1], #16           // r_offset, r_info
    ldr     x5, [x1], #8                // r_addend
    cmp     w4, #1027                   // R_AARCH64_RELATIVE
    b.ne    1b
    add     x5, x5, x20
    str     x5, [x20, x3]
    b       1b

    // The loader has cleaned the image, but not what lies behind it: no line of its own may be evicted over
    // our zeros.
2:  adrp    x0, __bss_start
    add     x0, x0, :lo12:__bss_start
    adrp    x1, __image_end
    bl      invalidate_dcache_range
    adrp    x1, __bss_start
    add     x1, x1, :lo12:__bss_start
    adrp    x2, __bss_end
    add     x2, x2, :lo12:__bss_end
3:  cmp     x1, x2
    b.hs    4f
    stp     xzr, xzr, [x1], #16
    b       3b

    // What was written above went past the caches; drop any line that would shadow it once they are on.
4:  dmb     sy                          // stores with the MMU off are not ordered with DC otherwise (DDI 0487 D7.5.9)
    mov     x0, x20
    adrp    x1, __image_end
    bl      invalidate_dcache_range

    adrp    x22, __boot_cpu_area
    add     x22, x22, #0x20, lsl #12    // CPU_AREA_SIZE: the stack grows down from the area's end
    mov     sp, x22
    mov     x29, xzr
    mov     x30, xzr
    cmp     x21, #3
    b.ne    5f
    mov     x0, x19
    bl      polyvisor_el3_main          // what only EL3 can set up
5:  bl      drop_to_el2
    mov     sp, x22
    mov     x0, x19
    mov     x1, x20
    mov     x2, x21
    bl      polyvisor_main
    b       park

// A secondary CPU, started by PSCI or released from a spin table. There is one at a time on its way up, so
// all it needs to know is in one mailbox (`SecondaryMailbox` in src/arch/aarch64/smp.rs).
.global secondary_entry
secondary_entry:
    msr     daifset, #0xf
    msr     spsel, #1
    bl      drop_to_el2
    adrp    x19, SECONDARY_MAILBOX
    add     x19, x19, :lo12:SECONDARY_MAILBOX
    ldr     x0, [x19]                   // top of stack
    mov     sp, x0
    add     x0, x19, #8                 // translation registers
    bl      enable_mmu
    mov     x29, xzr
    mov     x30, xzr
    bl      polyvisor_secondary_main
    b       park

park:
    wfe
    b       park

// Returns at EL2 when entered at EL3 or EL2, and at EL1 when entered there: Rust then says what is wrong.
drop_to_el2:
    mrs     x1, CurrentEL
    cmp     x1, #(3 << 2)
    b.ne    1f
    mov     x2, #0x5b1                  // SCR_EL3: NS, RES1, SMD (nobody is left at EL3 to answer an SMC), HCE, RW
    movk    x2, #0x0803, lsl #16        // APK, API, FGTEn: pointer authentication and fine-grained traps are not trapped
    movk    x2, #0x0040, lsl #32        // HXEn: nor is HCRX_EL2. Bits of features that the CPU lacks are RES0
    msr     scr_el3, x2
    msr     cptr_el3, xzr
    msr     mdcr_el3, xzr
    mrs     x2, id_aa64pfr0_el1
    ubfx    x2, x2, #24, #4             // GIC system registers
    cbz     x2, 3f
    mov     x2, #0xf                    // ICC_SRE_EL3: SRE, DFB, DIB, Enable
    msr     S3_6_C12_C12_5, x2
    isb
3:  mov     x2, #0x3c9                  // EL2h, DAIF masked
    msr     spsr_el3, x2
    adr     x2, 4f
    msr     elr_el3, x2
    eret
1:  cmp     x1, #(2 << 2)
    b.ne    2f
4:  mov     x2, #(1 << 31)              // HCR_EL2: RW; no trap and no E2H until a vCPU is loaded
    msr     hcr_el2, x2
    isb                                 // E2H decides what the registers below mean
    ldr     x2, =0x30c50830             // SCTLR_EL2: RES1 bits only: MMU, caches and alignment checks off
    msr     sctlr_el2, x2
    adrp    x2, exception_vectors
    add     x2, x2, :lo12:exception_vectors
    msr     vbar_el2, x2
    msr     cptr_el2, xzr
    isb
2:  ret

// x0 = &[MAIR, TCR, TTBR0, SCTLR] for EL2. Memory is mapped one to one, so execution goes on where it was.
.global enable_mmu
enable_mmu:
    ldp     x1, x2, [x0]
    ldp     x3, x4, [x0, #16]
    mrs     x5, sctlr_el2
    bic     x5, x5, #1                  // off first: the tables in use may differ in the size of what they map
    msr     sctlr_el2, x5
    isb
    msr     mair_el2, x1
    msr     tcr_el2, x2
    msr     ttbr0_el2, x3
    isb
    tlbi    alle2                       // stale entries must be gone before SCTLR_EL2.M is set (DDI 0487 D8.16)
    ic      iallu
    dsb     nsh
    isb
    msr     sctlr_el2, x4
    isb
    ret

// Invalidates the data cache by address to the point of coherency over [x0, x1). Clobbers x2, x3.
invalidate_dcache_range:
    mrs     x2, ctr_el0
    ubfx    x2, x2, #16, #4             // CTR_EL0.DminLine: log2 of words
    mov     x3, #4
    lsl     x2, x3, x2
    sub     x3, x2, #1
    bic     x0, x0, x3
1:  dc      ivac, x0
    add     x0, x0, x2
    cmp     x0, x1
    b.lo    1b
    dsb     sy
    ret
.ltorg
