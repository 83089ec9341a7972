// memcpy and memset, which the compiler calls for all values of more than 32 bytes: it may not use the vector registers.
// Those of the compiler's own library go word by word. Here all is loaded first and the ends may overlap, so that there
// are few branches. Memory is Normal, so nothing need be aligned.

    .macro routine name
    .section .text.\name, "ax"
    .global \name
    .type \name, %function
    .p2align 4
\name:
    .endm

// x0 = memcpy(x0: to, x1: from, x2: bytes).
routine memcpy
    add     x4, x1, x2              // behind the source
    add     x5, x0, x2              // behind the destination
    cmp     x2, #16
    b.lo    .Lcopy_15
    cmp     x2, #32
    b.hi    .Lcopy_33
    ldp     x6, x7, [x1]
    ldp     x8, x9, [x4, #-16]
    stp     x6, x7, [x0]
    stp     x8, x9, [x5, #-16]
    ret

.Lcopy_33:
    cmp     x2, #64
    b.hi    .Lcopy_65
    ldp     x6, x7, [x1]
    ldp     x8, x9, [x1, #16]
    ldp     x10, x11, [x4, #-32]
    ldp     x12, x13, [x4, #-16]
    stp     x6, x7, [x0]
    stp     x8, x9, [x0, #16]
    stp     x10, x11, [x5, #-32]
    stp     x12, x13, [x5, #-16]
    ret

.Lcopy_65:
    mov     x3, x0
    sub     x2, x2, #32             // the last 32 bytes come at the end
1:  ldp     x6, x7, [x1]
    ldp     x8, x9, [x1, #16]
    add     x1, x1, #32
    stp     x6, x7, [x3]
    stp     x8, x9, [x3, #16]
    add     x3, x3, #32
    subs    x2, x2, #32
    b.hi    1b
    ldp     x6, x7, [x4, #-32]
    ldp     x8, x9, [x4, #-16]
    stp     x6, x7, [x5, #-32]
    stp     x8, x9, [x5, #-16]
    ret

.Lcopy_15:
    tbz     x2, #3, 2f
    ldr     x6, [x1]
    ldr     x7, [x4, #-8]
    str     x6, [x0]
    str     x7, [x5, #-8]
    ret
2:  tbz     x2, #2, 3f
    ldr     w6, [x1]
    ldr     w7, [x4, #-4]
    str     w6, [x0]
    str     w7, [x5, #-4]
    ret
3:  tbz     x2, #1, 4f
    ldrh    w6, [x1]
    ldrb    w7, [x4, #-1]
    strh    w6, [x0]
    strb    w7, [x5, #-1]
    ret
4:  cbz     x2, 5f
    ldrb    w6, [x1]
    strb    w6, [x0]
5:  ret
    .size memcpy, . - memcpy

// x0 = memset(x0: to, w1: byte, x2: bytes).
routine memset
    add     x5, x0, x2              // behind the destination
    and     x6, x1, #0xff
    orr     x6, x6, x6, lsl #8
    orr     x6, x6, x6, lsl #16
    orr     x6, x6, x6, lsl #32
    cmp     x2, #16
    b.lo    .Lset_15
    cmp     x2, #32
    b.hi    .Lset_33
    stp     x6, x6, [x0]
    stp     x6, x6, [x5, #-16]
    ret

.Lset_33:
    mov     x3, x0
    sub     x2, x2, #32             // the last 32 bytes come at the end
1:  stp     x6, x6, [x3]
    stp     x6, x6, [x3, #16]
    add     x3, x3, #32
    subs    x2, x2, #32
    b.hi    1b
    stp     x6, x6, [x5, #-32]
    stp     x6, x6, [x5, #-16]
    ret

.Lset_15:
    tbz     x2, #3, 2f
    str     x6, [x0]
    str     x6, [x5, #-8]
    ret
2:  tbz     x2, #2, 3f
    str     w6, [x0]
    str     w6, [x5, #-4]
    ret
3:  cbz     x2, 4f
    strb    w6, [x0]
    tbz     x2, #1, 4f
    strh    w6, [x5, #-2]
4:  ret
    .size memset, . - memset
