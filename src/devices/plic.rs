//! The SiFive platform-level interrupt controller (PLIC), as QEMU's riscv `virt` has it, after the RISC-V PLIC
//! specification 1.0.0: 95 sources, priorities 0 to 7, and for every hart one context for M-mode and one for S-mode.
//!
//! Where QEMU differs from the specification, so does this model, because guests that were only ever run on QEMU
//! depend on it:
//!
//! - A claim obeys the threshold, and not only the notification does.
//! - Any context may complete any source, enabled there or not.
//! - The enable bits of source 0 keep what is written.
//!
//! In one thing it follows the specification, and QEMU's devices get by without: an input that is still high when
//! its interrupt is completed makes it pending again. One that falls leaves it pending, with both.
//!
//! Locks: the model drives its [`Outputs`] with its own lock held; they may not call back. The order is device, then
//! PLIC, then whatever the outputs reach.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use alloc::{sync::Arc, vec, vec::Vec};

use serde::{Deserialize, Serialize};
use spin::Mutex;

use super::{
    bus::{Access, MmioDevice, Width},
    irq::IrqController,
};
use crate::persist::{Persist, RestoreError};

/// The size of the register block in bytes: room for [`MAX_HARTS`].
pub const SIZE: u64 = 0x60_0000;

/// The highest source, `riscv,ndev` in the devicetree. Source 0 does not exist.
pub const LAST_SOURCE: u32 = 95;

/// How many sources there are bits and priorities for.
const SOURCES: usize = LAST_SOURCE as usize + 1;

/// How many harts the register block has room for.
pub const MAX_HARTS: usize = 512;

/// Contexts of a hart: M-mode, then S-mode.
pub const CONTEXTS_PER_HART: usize = 2;

/// The highest priority, and the highest threshold. Further bits of either are not kept.
const MAX_PRIORITY: u8 = 7;

/// Where which registers begin (PLIC specification, chapter "Memory Map").
mod reg {
    pub const PENDING: u64 = 0x1000;
    pub const ENABLE: u64 = 0x2000;
    pub const ENABLE_STRIDE: u64 = 0x80;
    pub const CONTEXT: u64 = 0x20_0000;
    pub const CONTEXT_STRIDE: u64 = 0x1000;
    /// In a context.
    pub const THRESHOLD: u64 = 0;
    pub const CLAIM_COMPLETE: u64 = 4;
}

/// The word-sized register at an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Register {
    Priority { source: usize },
    Pending { word: u32 },
    Enable { context: usize, word: u32 },
    Threshold { context: usize },
    ClaimComplete { context: usize },
    Unknown,
}

impl Register {
    fn at(offset: u64) -> Self {
        if offset >= reg::CONTEXT {
            let (context, register) = divide(offset, reg::CONTEXT, reg::CONTEXT_STRIDE);
            match register {
                reg::THRESHOLD => Self::Threshold { context },
                reg::CLAIM_COMPLETE => Self::ClaimComplete { context },
                _ => Self::Unknown,
            }
        } else if offset >= reg::ENABLE {
            let (context, byte) = divide(offset, reg::ENABLE, reg::ENABLE_STRIDE);
            Self::Enable { context, word: (byte / 4) as u32 }
        } else if offset >= reg::PENDING {
            Self::Pending { word: ((offset & 0xfff) / 4) as u32 }
        } else {
            Self::Priority { source: (offset / 4) as usize }
        }
    }
}

/// In which block of `stride` bytes, from `base` on, `offset` is, and where in it.
fn divide(offset: u64, base: u64, stride: u64) -> (usize, u64) {
    let offset = offset.saturating_sub(base);
    (offset.checked_div(stride).unwrap_or(0) as usize, offset.checked_rem(stride).unwrap_or(0))
}

/// A set of sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Sources(u128);

impl Sources {
    /// All that there are bits for.
    const ALL: Self = Self((1 << SOURCES) - 1);

    /// Only `source`; empty where it does not exist.
    fn only(source: u32) -> Self {
        match source {
            1..=LAST_SOURCE => Self(1 << source),
            _ => Self::default(),
        }
    }

    fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }

    fn remove(&mut self, other: Self) {
        self.0 &= !other.0;
    }

    /// The members of both.
    fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The sources of a register, 32 to a word; zero beyond the last.
    fn word(self, word: u32) -> u32 {
        self.0.checked_shr(word.saturating_mul(32)).unwrap_or(0) as u32
    }

    fn set_word(&mut self, word: u32, value: u32) {
        let place = |bits: u32| u128::from(bits).checked_shl(word.saturating_mul(32)).unwrap_or(0);
        self.0 = (self.0 & !place(u32::MAX) | place(value)) & Self::ALL.0;
    }

    /// The members in ascending order.
    fn iter(self) -> impl Iterator<Item = u32> {
        let mut left = self.0;
        core::iter::from_fn(move || {
            let source = left.trailing_zeros();
            left &= left.wrapping_sub(1);
            (source < u128::BITS).then_some(source)
        })
    }

    /// The highest member.
    fn last(self) -> Option<u32> {
        self.0.checked_ilog2()
    }
}

/// One hart's interrupts of one mode.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Context {
    enabled: Sources,
    threshold: u8,
}

/// The whole of what is saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlicState {
    /// By source. That of source 0 is 0.
    priorities: Vec<u8>,
    /// The inputs that are high.
    levels: Sources,
    /// What the gateways have let through and nobody has claimed.
    pending: Sources,
    /// Claimed and not completed: their gateways are closed.
    claimed: Sources,
    contexts: Vec<Context>,
}

impl PlicState {
    fn reset(contexts: usize) -> Self {
        Self {
            priorities: vec![0; SOURCES],
            levels: Sources::default(),
            pending: Sources::default(),
            claimed: Sources::default(),
            contexts: vec![Context::default(); contexts],
        }
    }

    /// Lets the gateways do what inputs and claims call for.
    fn gate(&mut self) {
        self.pending.insert(self.levels);
        self.pending.remove(self.claimed);
    }

    fn priority(&self, source: u32) -> u8 {
        self.priorities.get(source as usize).copied().unwrap_or(0)
    }

    /// The source that this context is to serve next: of the highest priority above the threshold, the lowest.
    fn best(&self, context: &Context) -> Option<u32> {
        let mut best = None;
        let mut highest = context.threshold;
        for source in self.pending.and(context.enabled).iter() {
            let priority = self.priority(source);
            if priority > highest {
                (best, highest) = (Some(source), priority);
            }
        }
        best
    }

    fn claim(&mut self, context: usize) -> u32 {
        let Some(source) = self.contexts.get(context).and_then(|context| self.best(context)) else {
            return 0;
        };
        self.claimed.insert(Sources::only(source));
        self.gate();
        source
    }

    fn complete(&mut self, source: u32) {
        self.claimed.remove(Sources::only(source));
        self.gate();
    }

    fn read(&mut self, register: Register) -> u32 {
        match register {
            Register::Priority { source } => self.priorities.get(source).copied().unwrap_or(0).into(),
            Register::Pending { word } => self.pending.word(word),
            Register::Enable { context, word } => {
                self.contexts.get(context).map_or(0, |context| context.enabled.word(word))
            }
            Register::Threshold { context } => {
                self.contexts.get(context).map_or(0, |context| context.threshold.into())
            }
            Register::ClaimComplete { context } => self.claim(context),
            Register::Unknown => 0,
        }
    }

    fn write(&mut self, register: Register, value: u32) {
        let level = value as u8 & MAX_PRIORITY;
        match register {
            Register::Priority { source: 0 } | Register::Pending { .. } | Register::Unknown => {}
            Register::Priority { source } => {
                if let Some(priority) = self.priorities.get_mut(source) {
                    *priority = level;
                }
            }
            Register::Enable { context, word } => {
                if let Some(context) = self.contexts.get_mut(context) {
                    context.enabled.set_word(word, value);
                }
            }
            Register::Threshold { context } => {
                if let Some(context) = self.contexts.get_mut(context) {
                    context.threshold = level;
                }
            }
            Register::ClaimComplete { context } => {
                if context < self.contexts.len() {
                    self.complete(value);
                }
            }
        }
    }

    /// Whether every field holds what a running model with so many contexts could have put there.
    fn check(&self, contexts: usize) -> Result<(), RestoreError> {
        let exactly = |field, found: usize, limit: usize| {
            let error = RestoreError { field, found: found as u64, limit: limit as u64 };
            if found == limit { Ok(()) } else { Err(error) }
        };
        let bound = |field, found: u32, limit: u32| {
            let error = RestoreError { field, found: found.into(), limit: limit.into() };
            if found <= limit { Ok(()) } else { Err(error) }
        };
        let sources = |field, found: Sources| bound(field, found.last().unwrap_or(0), LAST_SOURCE);
        exactly("plic.priorities.len", self.priorities.len(), SOURCES)?;
        exactly("plic.contexts.len", self.contexts.len(), contexts)?;
        bound("plic.priorities.0", self.priority(0).into(), 0)?;
        for &priority in &self.priorities {
            bound("plic.priorities", priority.into(), MAX_PRIORITY.into())?;
        }
        sources("plic.levels", self.levels)?;
        sources("plic.pending", self.pending)?;
        sources("plic.claimed", self.claimed)?;
        for context in &self.contexts {
            sources("plic.contexts.enabled", context.enabled)?;
            bound("plic.contexts.threshold", context.threshold.into(), MAX_PRIORITY.into())?;
        }
        Ok(())
    }
}

/// The harts, as the PLIC reaches them.
pub trait Outputs: Send + Sync {
    /// There is now something for `context` to claim, or no longer. Context 2n is M-mode of hart n, 2n + 1 its
    /// S-mode. Called only on changes; before the first call, and after a reset, all are low.
    fn set(&self, context: usize, level: bool);
}

/// What the lock protects.
struct Inner {
    state: PlicState,
    /// The level that each output was last driven to.
    outputs: Vec<bool>,
}

/// A PLIC and the harts that it interrupts.
pub struct Plic {
    inner: Mutex<Inner>,
    outputs: Arc<dyn Outputs>,
}

impl Plic {
    /// A PLIC for this many harts, as it comes out of reset. Those above [`MAX_HARTS`] get no interrupts.
    pub fn new(harts: usize, outputs: Arc<dyn Outputs>) -> Self {
        let contexts = harts.min(MAX_HARTS).saturating_mul(CONTEXTS_PER_HART);
        let inner = Inner { state: PlicState::reset(contexts), outputs: vec![false; contexts] };
        Self { inner: Mutex::new(inner), outputs }
    }

    /// What the reset input does. The inputs are low until their devices drive them again.
    pub fn reset(&self) {
        self.with_state(|state| *state = PlicState::reset(state.contexts.len()));
    }

    /// Lets `access` change the state, and then drives the outputs that changed.
    fn with_state<T>(&self, access: impl FnOnce(&mut PlicState) -> T) -> T {
        let mut inner = self.inner.lock();
        let result = access(&mut inner.state);
        self.drive_outputs(&mut inner);
        result
    }

    fn drive_outputs(&self, Inner { state, outputs }: &mut Inner) {
        for (index, (context, output)) in state.contexts.iter().zip(outputs).enumerate() {
            let level = state.best(context).is_some();
            if *output != level {
                *output = level;
                self.outputs.set(index, level);
            }
        }
    }
}

impl IrqController for Plic {
    /// `pin` is the source. Pins that do not exist are not connected.
    fn set_level(&self, pin: u32, level: bool) {
        let source = Sources::only(pin);
        let mut inner = self.inner.lock();
        if inner.state.levels.contains(source) == level {
            return;
        }
        if level {
            inner.state.levels.insert(source);
        } else {
            inner.state.levels.remove(source);
        }
        inner.state.gate();
        self.drive_outputs(&mut inner);
    }
}

impl MmioDevice for Plic {
    /// Only aligned words are registers.
    fn read(&self, access: Access) -> u64 {
        if !is_register(access) {
            return 0;
        }
        // A claim changes the state.
        self.with_state(|state| state.read(Register::at(access.offset))).into()
    }

    fn write(&self, access: Access, value: u64) {
        if is_register(access) {
            self.with_state(|state| state.write(Register::at(access.offset), value as u32));
        }
    }
}

/// Whether the access has the width and the alignment of a register.
fn is_register(access: Access) -> bool {
    access.width == Width::Word && access.offset.is_multiple_of(4)
}

impl Persist for Plic {
    type State = PlicState;

    fn save(&self) -> PlicState {
        self.inner.lock().state.clone()
    }

    fn restore(&mut self, state: &PlicState) -> Result<(), RestoreError> {
        state.check(self.inner.get_mut().state.contexts.len())?;
        self.with_state(|current| {
            current.clone_from(state);
            // A damaged file must not leave a level without its interrupt.
            current.gate();
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicU64, Ordering};

    use proptest::prelude::*;

    use super::*;

    /// The outputs: bit n is context n's.
    #[derive(Default)]
    struct Harts(AtomicU64);

    impl Outputs for Harts {
        fn set(&self, context: usize, level: bool) {
            let before = self.0.fetch_xor(1 << context, Ordering::SeqCst);
            assert_eq!(before >> context & 1 != 0, !level, "only on changes");
        }
    }

    struct Bench {
        harts: Arc<Harts>,
        plic: Plic,
    }

    impl Bench {
        fn new(harts: usize) -> Self {
            let outputs = Arc::new(Harts::default());
            Self { plic: Plic::new(harts, outputs.clone()), harts: outputs }
        }

        fn read(&self, offset: u64) -> u32 {
            u32::try_from(self.plic.read(Access { offset, width: Width::Word, vcpu: 0 })).unwrap()
        }

        fn write(&self, offset: u64, value: u32) {
            self.plic.write(Access { offset, width: Width::Word, vcpu: 0 }, value.into());
        }

        fn outputs(&self) -> u64 {
            self.harts.0.load(Ordering::SeqCst)
        }
    }

    fn enable(context: u64, word: u64) -> u64 {
        0x2000 + 0x80 * context + 4 * word
    }

    fn threshold(context: u64) -> u64 {
        0x20_0000 + 0x1000 * context
    }

    fn claim(context: u64) -> u64 {
        threshold(context) + 4
    }

    /// The order in which Linux' irq-sifive-plic works, for the UART on hart 1 in S-mode.
    #[test]
    fn linux_takes_an_interrupt() {
        let bench = Bench::new(2);
        bench.write(threshold(3), 0);
        bench.write(4 * 10, 1);
        bench.write(enable(3, 0), 1 << 10);
        assert_eq!(bench.outputs(), 0);
        bench.plic.set_level(10, true);
        assert_eq!((bench.outputs(), bench.read(0x1000)), (0b1000, 1 << 10));
        assert_eq!(bench.read(claim(2)), 0, "not enabled there");
        assert_eq!(bench.read(claim(3)), 10);
        assert_eq!((bench.outputs(), bench.read(0x1000)), (0, 0));
        assert_eq!(bench.read(claim(3)), 0);
        bench.plic.set_level(10, false);
        bench.write(claim(3), 10);
        assert_eq!(bench.outputs(), 0);
    }

    #[test]
    fn an_input_that_stays_high_interrupts_again_and_one_that_fell_is_still_claimed() {
        let bench = Bench::new(1);
        bench.write(4, 1);
        bench.write(enable(1, 0), 1 << 1);
        bench.plic.set_level(1, true);
        assert_eq!(bench.read(claim(1)), 1);
        bench.write(claim(0), 1);
        assert_eq!(bench.outputs(), 0b10, "completed by a context that had it disabled");
        bench.plic.set_level(1, false);
        assert_eq!((bench.outputs(), bench.read(claim(1))), (0b10, 1));
    }

    #[test]
    fn the_highest_priority_is_first_then_the_lowest_number() {
        let bench = Bench::new(1);
        for (source, priority) in [(3, 2), (7, 9), (64, 5), (95, 5)] {
            bench.write(4 * u64::from(source), priority);
            bench.plic.set_level(source, true);
        }
        (0..3).for_each(|word| bench.write(enable(0, word), u32::MAX));
        assert_eq!(bench.read(4 * 7), 1, "9 modulo 8");
        assert_eq!([0x1000, 0x1004, 0x1008, 0x100c].map(|word| bench.read(word)), [0x88, 0, 0x8000_0001, 0]);
        bench.write(threshold(0), 1);
        assert_eq!([(); 4].map(|()| bench.read(claim(0))), [64, 95, 3, 0]);
        bench.write(threshold(0), 8);
        assert_eq!((bench.read(threshold(0)), bench.read(claim(0))), (0, 7));
    }

    #[test]
    fn what_is_no_register_does_nothing() {
        let bench = Bench::new(1);
        for offset in [0, 4 * 96, 0x1000, enable(0, 3), enable(2, 0), threshold(2), 0x20_0008, SIZE - 4] {
            bench.write(offset, u32::MAX);
            assert_eq!(bench.read(offset), 0, "{offset:#x}");
        }
        bench.write(4 * 9, 1);
        bench.write(enable(0, 0), 1 << 9);
        bench.plic.set_level(9, true);
        for (offset, width) in
            [(claim(0), Width::Double), (claim(0), Width::Byte), (claim(0) + 2, Width::Word)]
        {
            assert_eq!(bench.plic.read(Access { offset, width, vcpu: 0 }), 0);
            bench.plic.write(Access { offset, width, vcpu: 0 }, 9);
        }
        assert_eq!(bench.outputs(), 1, "nobody has claimed it");
        bench.plic.set_level(0, true);
        bench.plic.set_level(96, true);
        bench.plic.set_level(u32::MAX, true);
        assert_eq!(bench.read(claim(0)), 9);
        assert_eq!(bench.read(claim(0)), 0);
    }

    #[test]
    fn damaged_state_is_refused() {
        let mut bench = Bench::new(1);
        let good = bench.plic.save();
        let field = |bench: &mut Bench, state: &PlicState| bench.plic.restore(state).unwrap_err().field;
        let damaged = PlicState { claimed: Sources(1 << 96), ..good.clone() };
        assert_eq!(field(&mut bench, &damaged), "plic.claimed");
        let damaged = PlicState { priorities: vec![0; 95], ..good.clone() };
        assert_eq!(field(&mut bench, &damaged), "plic.priorities.len");
        let damaged = PlicState { priorities: vec![1; 96], ..good.clone() };
        assert_eq!(field(&mut bench, &damaged), "plic.priorities.0");
        let damaged = PlicState { contexts: vec![Context { threshold: 8, ..Context::default() }; 2], ..good };
        assert_eq!(field(&mut bench, &damaged), "plic.contexts.threshold");
        assert_eq!(field(&mut bench, &Bench::new(2).plic.save()), "plic.contexts.len");
    }

    /// The specification, source by source and bit by bit.
    #[derive(Clone)]
    struct Model {
        priority: [u32; 96],
        level: [bool; 96],
        pending: [bool; 96],
        claimed: [bool; 96],
        enabled: [[bool; 96]; 4],
        threshold: [u32; 4],
    }

    impl Model {
        fn new() -> Self {
            Self {
                priority: [0; 96],
                level: [false; 96],
                pending: [false; 96],
                claimed: [false; 96],
                enabled: [[false; 96]; 4],
                threshold: [0; 4],
            }
        }

        fn best(&self, context: usize) -> usize {
            let ready = |&source: &usize| {
                self.pending[source]
                    && self.enabled[context][source]
                    && self.priority[source] > self.threshold[context]
            };
            let order = |&source: &usize| (self.priority[source], usize::MAX - source);
            (1..96).filter(ready).max_by_key(order).unwrap_or(0)
        }

        fn set_level(&mut self, source: usize, level: bool) {
            self.level[source] = level;
            if level && !self.claimed[source] {
                self.pending[source] = true;
            }
        }

        fn claim(&mut self, context: usize) -> usize {
            let source = self.best(context);
            if source != 0 {
                self.pending[source] = false;
                self.claimed[source] = true;
            }
            source
        }

        fn complete(&mut self, source: usize) {
            if (1..96).contains(&source) && self.claimed[source] {
                self.claimed[source] = false;
                self.pending[source] = self.level[source];
            }
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Level(usize, bool),
        Priority(usize, u32),
        Enable(usize, usize, u32),
        Threshold(usize, u32),
        Claim(usize),
        Complete(usize, usize),
        /// Goes on with a new PLIC that is given the state of the old one.
        Move,
        Reset,
    }

    fn step() -> impl Strategy<Value = Step> {
        // Few sources, so that they meet.
        let source = prop_oneof![1_usize..5, 31_usize..34, 94_usize..96];
        prop_oneof![
            8 => (source.clone(), any::<bool>()).prop_map(|(source, level)| Step::Level(source, level)),
            8 => (source.clone(), 0_u32..12).prop_map(|(source, value)| Step::Priority(source, value)),
            8 => (0_usize..4, 0_usize..3, prop_oneof![Just(u32::MAX), any::<u32>()])
                .prop_map(|(context, word, bits)| Step::Enable(context, word, bits)),
            4 => (0_usize..4, 0_u32..10).prop_map(|(context, value)| Step::Threshold(context, value)),
            8 => (0_usize..4).prop_map(Step::Claim),
            8 => (0_usize..4, source).prop_map(|(context, source)| Step::Complete(context, source)),
            1 => (0_usize..4, prop_oneof![Just(0), Just(96), Just(1 << 31)])
                .prop_map(|(context, source)| Step::Complete(context, source)),
            1 => Just(Step::Move),
            1 => Just(Step::Reset),
        ]
    }

    proptest! {
        #[test]
        fn it_behaves_as_the_specification_says(steps in proptest::collection::vec(step(), 0..120)) {
            let (mut bench, mut model) = (Bench::new(2), Model::new());
            for step in steps {
                match step {
                    Step::Level(source, level) => {
                        bench.plic.set_level(source as u32, level);
                        model.set_level(source, level);
                    }
                    Step::Priority(source, value) => {
                        bench.write(4 * source as u64, value);
                        model.priority[source] = value % 8;
                        prop_assert_eq!(bench.read(4 * source as u64), value % 8);
                    }
                    Step::Enable(context, word, bits) => {
                        bench.write(enable(context as u64, word as u64), bits);
                        (0..32).for_each(|bit| model.enabled[context][32 * word + bit] = bits >> bit & 1 != 0);
                        prop_assert_eq!(bench.read(enable(context as u64, word as u64)), bits);
                    }
                    Step::Threshold(context, value) => {
                        bench.write(threshold(context as u64), value);
                        model.threshold[context] = value % 8;
                        prop_assert_eq!(bench.read(threshold(context as u64)), value % 8);
                    }
                    Step::Claim(context) => {
                        let source = model.claim(context);
                        prop_assert_eq!(bench.read(claim(context as u64)) as usize, source);
                    }
                    Step::Complete(context, source) => {
                        bench.write(claim(context as u64), source as u32);
                        model.complete(source);
                    }
                    Step::Move => {
                        let saved = postcard::to_allocvec(&bench.plic.save()).unwrap();
                        bench = Bench::new(2);
                        bench.plic.restore(&postcard::from_bytes(&saved).unwrap()).unwrap();
                    }
                    Step::Reset => {
                        bench.plic.reset();
                        model = Model::new();
                    }
                }
                let outputs = (0..4).fold(0, |bits, context| bits | u64::from(model.best(context) != 0) << context);
                prop_assert_eq!(bench.outputs(), outputs);
                for word in 0..3 {
                    let pending = (0..32).fold(0, |bits, bit| bits | u32::from(model.pending[32 * word + bit]) << bit);
                    prop_assert_eq!(bench.read(0x1000 + 4 * word as u64), pending);
                }
            }
        }
    }
}
