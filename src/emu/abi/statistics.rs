//! What the engine counts of its compiler, for an operator to see.

use core::sync::atomic::AtomicU64;

/// Declares [`JitStatistics`] by its counters, in the order in which they lie in memory.
macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// Counters of a cell, of all its harts together. They grow as long as the cell runs, and may be a little behind. The
        /// engine keeps those of atomics in private memory and tells where
        /// ([`CellInfo::statistics`](crate::CellInfo::statistics)); EL2 reads them as numbers.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        #[repr(C)]
        pub struct JitStatistics<T = AtomicU64> {
            $($(#[doc = $doc])* pub $name: T,)*
        }

        impl JitStatistics<u64> {
            /// How many there are.
            pub const COUNT: usize = size_of::<Self>() / size_of::<u64>();

            /// The counters in the order of their declaration, which is that in memory.
            pub const fn new([$($name),*]: [u64; Self::COUNT]) -> Self {
                Self { $($name),* }
            }
        }
    };
}

counters! {
    /// Blocks (traces) that were translated.
    blocks,
    /// Instructions of the guest that were translated.
    instructions,
    /// Bytes of code that the cache holds now.
    code,
    /// Bytes of code that it can hold.
    capacity,
    /// Blocks that were given up because their code has changed.
    invalidated_blocks,
    /// Pages that were written while they had translated code.
    invalidated_pages,
    /// How often the cache was full and was emptied.
    recycles,
    /// Ways from one block to another that were made direct.
    links,
    /// How often translated code was entered.
    entries,
    /// How often it was left by a jump that is not linked yet.
    unlinked,
    /// By a jump to another page, whose target was not known.
    far_misses,
    /// By an indirect jump, whose target was not known.
    indirect_misses,
    /// Before an instruction that the interpreter must execute.
    interpret,
    /// Because somebody wanted attention.
    attention,
    /// By a fault that filled a shadow mapping, to go on at the same instruction.
    faults_filled,
    /// By a fault whose instruction the interpreter has executed.
    faults_interpreted,
    /// How often the interpreter went on.
    interpretations,
    /// Instructions that were interpreted.
    interpreted,
    /// Comparisons in lock-step.
    comparisons,
    /// Comparisons that found a difference.
    mismatches,
    /// Ticks of the counter that translating took.
    ticks,
    /// Blocks in the store of saved translations.
    stored,
    /// Blocks that were taken from there.
    recalled,
    /// How often a block was looked for there, and was only found made of other code.
    changed,
    /// Blocks that were recorded.
    recorded,
    /// Whether there was no room to record more.
    recording_full,
}

const _: () = assert!(size_of::<JitStatistics>() == size_of::<JitStatistics<u64>>());
