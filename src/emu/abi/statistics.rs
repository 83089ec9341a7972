//! What the engine counts of its compiler, for an operator to see.

use core::sync::atomic::AtomicU64;

/// Counters of a cell, of all its harts together. They grow as long as the cell runs, and may be a little behind. The engine
/// keeps those of atomics in private memory and tells where ([`CellInfo::statistics`](crate::CellInfo::statistics)); EL2
/// reads them as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct JitStatistics<T = AtomicU64> {
    /// Blocks (traces) that were translated.
    pub blocks: T,
    /// Instructions of the guest that were translated.
    pub instructions: T,
    /// Bytes of code that the cache holds now.
    pub code: T,
    /// Bytes of code that it can hold.
    pub capacity: T,
    /// Blocks that were given up because their code has changed.
    pub invalidated_blocks: T,
    /// Pages that were written while they had translated code.
    pub invalidated_pages: T,
    /// How often the cache was full and was emptied.
    pub recycles: T,
    /// Ways from one block to another that were made direct.
    pub links: T,
    /// How often translated code was entered.
    pub entries: T,
    /// How often it was left by a jump that is not linked yet.
    pub unlinked: T,
    /// By a jump to another page, whose target was not known.
    pub far_misses: T,
    /// By an indirect jump, whose target was not known.
    pub indirect_misses: T,
    /// Before an instruction that the interpreter must execute.
    pub interpret: T,
    /// Because somebody wanted attention.
    pub attention: T,
    /// By a fault that filled a shadow mapping, to go on at the same instruction.
    pub faults_filled: T,
    /// By a fault whose instruction the interpreter has executed.
    pub faults_interpreted: T,
    /// How often the interpreter went on.
    pub interpretations: T,
    /// Instructions that were interpreted.
    pub interpreted: T,
    /// Comparisons in lock-step.
    pub comparisons: T,
    /// Comparisons that found a difference.
    pub mismatches: T,
    /// Ticks of the counter that translating took.
    pub ticks: T,
    /// Blocks in the store of saved translations.
    pub stored: T,
    /// Blocks that were taken from there.
    pub recalled: T,
    /// How often a block was looked for there, and was only found made of other code.
    pub changed: T,
    /// Blocks that were recorded.
    pub recorded: T,
    /// Whether there was no room to record more.
    pub recording_full: T,
}

impl JitStatistics<u64> {
    /// How many there are.
    pub const COUNT: usize = size_of::<Self>() / size_of::<u64>();

    /// The counters in the order of their declaration, which is that in memory.
    pub const fn new(values: [u64; Self::COUNT]) -> Self {
        let [
            blocks,
            instructions,
            code,
            capacity,
            invalidated_blocks,
            invalidated_pages,
            recycles,
            links,
            entries,
            unlinked,
            far_misses,
            indirect_misses,
            interpret,
            attention,
            faults_filled,
            faults_interpreted,
            interpretations,
            interpreted,
            comparisons,
            mismatches,
            ticks,
            stored,
            recalled,
            changed,
            recorded,
            recording_full,
        ] = values;
        Self {
            blocks,
            instructions,
            code,
            capacity,
            invalidated_blocks,
            invalidated_pages,
            recycles,
            links,
            entries,
            unlinked,
            far_misses,
            indirect_misses,
            interpret,
            attention,
            faults_filled,
            faults_interpreted,
            interpretations,
            interpreted,
            comparisons,
            mismatches,
            ticks,
            stored,
            recalled,
            changed,
            recorded,
            recording_full,
        }
    }
}

const _: () = assert!(size_of::<JitStatistics>() == size_of::<JitStatistics<u64>>());
