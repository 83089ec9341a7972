//! The state machine: lines, routing, and who has to know.

use alloc::{vec, vec::Vec};

use super::{
    ConfigError, CpuInterface, GicVersion, IntId, MAX_LIST_REGISTERS, MAX_SPIS, MAX_VCPUS_V2, MAX_VCPUS_V3,
    VcpuSet, VgicConfig,
    bank::{Bank, Groups, Ones},
    lr::ListRegister,
};

/// `GICD_CTLR.EnableGrp0`.
pub(super) const ENABLE_GROUP0: u32 = 1 << 0;
/// `GICD_CTLR.EnableGrp1`.
pub(super) const ENABLE_GROUP1: u32 = 1 << 1;
/// `GICD_IROUTER<n>.Interrupt_Routing_Mode`: any participating PE.
pub(super) const ROUTE_ANY: u64 = 1 << 31;
/// The defined bits of `GICD_IROUTER<n>`.
pub(super) const ROUTE_MASK: u64 = 0xff_80ff_ffff;
/// The SGIs of a word of private interrupts.
pub(super) const SGI_LANES: u32 = 0xffff;

/// The affinity fields of an `MPIDR_EL1` or an `IROUTER`, closed up as in `GICR_TYPER` bits 63:32.
pub(super) const fn affinity(mpidr: u64) -> u32 {
    (mpidr & 0x00ff_ffff) as u32 | ((mpidr >> 8) & 0xff00_0000) as u32
}

/// What belongs to one vCPU.
pub(super) struct Vcpu {
    /// Its affinity, as in `GICR_TYPER` bits 63:32.
    pub affinity: u32,
    /// Its SGIs and PPIs.
    pub private: Bank,
    /// GICv2: which vCPUs each SGI is pending from, apart from the one that is loaded.
    pub sgi_sources: [u8; 16],
    /// GICv2: which vCPU the loaded or active instance of each SGI is from.
    pub sgi_current: [u8; 16],
    /// Which private interrupts are linked to physical ones.
    pub links: u32,
    /// Private interrupts whose inputs are only known when the vCPU is folded.
    pub polled: u32,
    /// The physical INTIDs that they are linked to.
    pub physical: [u16; 32],
    /// Linked interrupts whose physical ones EL2 has to deactivate.
    pub release: u32,
    /// `GICR_WAKER.ProcessorSleep`.
    pub asleep: bool,
    /// The SPIs that are this vCPU's to deliver or to keep: a word for each bank.
    pub spis: Vec<u32>,
    /// Which words of `spis` are not zero.
    pub spi_words: u32,
    /// What was put into the list registers.
    pub lists: [ListRegister; MAX_LIST_REGISTERS],
    /// How many of `lists` that are.
    pub used: usize,
    /// How many interrupts the guest has acknowledged, as far as the list registers tell.
    pub taken: u64,
    /// How many active interrupts the last fill left outside.
    pub left_active: u32,
}

impl Vcpu {
    fn new(affinity: u32, spi_banks: usize, version: GicVersion) -> Self {
        Self {
            affinity,
            private: quiet_private(version, 0),
            sgi_sources: [0; 16],
            sgi_current: [0; 16],
            links: 0,
            polled: 0,
            physical: [0; 32],
            release: 0,
            asleep: true,
            spis: vec![0; spi_banks],
            spi_words: 0,
            lists: [ListRegister::EMPTY; MAX_LIST_REGISTERS],
            used: 0,
            taken: 0,
            left_active: 0,
        }
    }

    fn reset(&mut self, version: GicVersion) {
        // The wiring stays, and the physical interrupts of what is lost here have to be ended.
        self.release |= self.private.held() & self.links;
        self.private = quiet_private(version, self.private.line);
        self.sgi_sources = [0; 16];
        self.sgi_current = [0; 16];
        self.asleep = true;
        self.forget_lists();
    }

    /// Nothing is loaded and no SPI is assigned.
    pub fn forget_lists(&mut self) {
        self.spis.fill(0);
        self.spi_words = 0;
        self.used = 0;
        self.left_active = 0;
    }

    /// Gives or takes the SPI `bit` of `bank`.
    pub fn assign(&mut self, bank: usize, bit: u32, mine: bool) {
        if let Some(word) = self.spis.get_mut(bank) {
            *word = if mine { *word | bit } else { *word & !bit };
            let summary = 1 << bank;
            self.spi_words = if *word != 0 { self.spi_words | summary } else { self.spi_words & !summary };
        }
    }

    /// The physical interrupt that a private one is linked to.
    pub fn link(&self, intid: IntId) -> Option<u16> {
        if self.links & intid.bit() == 0 {
            return None;
        }
        self.physical.get(intid.lane()).copied()
    }

    /// Runs `change` on the private interrupts and notes which physical ones lose their virtual one by it.
    pub fn change_private(&mut self, change: impl FnOnce(&mut Bank)) {
        let before = self.private.held();
        change(&mut self.private);
        self.release |= self.links & before & !self.private.held();
    }
}

/// Private interrupts as after a reset, with their inputs as they are.
fn quiet_private(version: GicVersion, line: u32) -> Bank {
    // SGIs are always edge-triggered; a GICv2's are always enabled.
    let enabled = if version == GicVersion::V2 { SGI_LANES } else { 0 };
    Bank::new(enabled, SGI_LANES, line)
}

/// Thirty-two SPIs.
#[derive(Clone, Default)]
pub(super) struct SpiBank {
    pub bank: Bank,
    /// `GICD_IROUTER`, or of a GICv2 `GICD_ITARGETSR`.
    pub route: [u64; 32],
    /// Which vCPU that comes to.
    target: [Option<u8>; 32],
    /// Which vCPU has it among its `spis`.
    pub owner: [Option<u8>; 32],
}

impl SpiBank {
    /// These interrupts with these routes, to be resolved by [`Vgic::reroute_all`].
    pub fn new(bank: Bank, route: [u64; 32]) -> Self {
        Self { bank, route, ..Self::default() }
    }

    /// The vCPU to which the SPI at `lane` is to be delivered.
    pub fn target(&self, lane: usize) -> Option<usize> {
        self.target.get(lane).copied().flatten().map(usize::from)
    }
}

/// A virtual GIC. See the [module documentation](super) for the protocol.
pub struct Vgic {
    pub(super) version: GicVersion,
    pub(super) list_registers: usize,
    pub(super) priority_mask: u8,
    /// The enable bits of `GICD_CTLR`.
    pub(super) enables: u32,
    pub(super) groups: Groups,
    pub(super) vcpus: Vec<Vcpu>,
    /// Affinity and index of every vCPU, by affinity.
    by_affinity: Vec<(u32, u8)>,
    pub(super) spis: Vec<SpiBank>,
}

impl Vgic {
    /// A GIC in its reset state, all inputs low.
    ///
    /// # Errors
    /// What of `config` is out of its range.
    pub fn new(config: &VgicConfig) -> Result<Self, ConfigError> {
        let (limit, priority_bits) = match config.version {
            GicVersion::V2 => (MAX_VCPUS_V2, 4..=5),
            GicVersion::V3 => (MAX_VCPUS_V3, 5..=8),
        };
        let count = config.vcpus.len();
        if count == 0 || count > limit {
            return Err(ConfigError::Vcpus { found: count, limit });
        }
        if config.spis > MAX_SPIS || !config.spis.is_multiple_of(32) {
            return Err(ConfigError::Spis(config.spis));
        }
        if config.list_registers == 0 || config.list_registers > MAX_LIST_REGISTERS {
            return Err(ConfigError::ListRegisters(config.list_registers));
        }
        if !priority_bits.contains(&config.priority_bits) {
            return Err(ConfigError::PriorityBits(config.priority_bits));
        }
        let banks = config.spis as usize / 32;
        let vcpus: Vec<_> =
            config.vcpus.iter().map(|&mpidr| Vcpu::new(affinity(mpidr), banks, config.version)).collect();
        let mut by_affinity: Vec<_> = vcpus.iter().map(|vcpu| vcpu.affinity).zip(0..).collect();
        by_affinity.sort_unstable();
        if config.version == GicVersion::V3
            && let Some(&[(twice, _), _]) =
                by_affinity.array_windows().find(|&&[(one, _), (next, _)]| one == next)
        {
            return Err(ConfigError::Affinity(twice));
        }
        let mut vgic = Self {
            version: config.version,
            list_registers: config.list_registers,
            priority_mask: 0xff << (8 - config.priority_bits),
            enables: 0,
            groups: Groups::default(),
            vcpus,
            by_affinity,
            spis: vec![SpiBank::default(); banks],
        };
        vgic.reset();
        Ok(vgic)
    }

    /// Back to the state after power-on. Inputs keep their level and links stay; all vCPUs must be stopped
    /// and folded.
    pub fn reset(&mut self) {
        for vcpu in &mut self.vcpus {
            vcpu.reset(self.version);
        }
        // The targets of a uniprocessor GICv2 are fixed: its ITARGETSR reads as zero.
        let route = u64::from(self.version == GicVersion::V2 && self.vcpus.len() == 1);
        for spi in &mut self.spis {
            *spi = SpiBank::new(Bank::new(0, 0, spi.bank.line), [route; 32]);
        }
        self.enables = 0;
        self.groups = Groups::default();
        let _nothing_is_enabled = self.reroute_all();
    }

    /// How many vCPUs it serves.
    pub fn vcpu_count(&self) -> usize {
        self.vcpus.len()
    }

    /// Drives an input: of an SPI, or of the PPI of `vcpu` (which does not matter for an SPI). Inputs that do
    /// not exist are ignored.
    pub fn set_level(&mut self, vcpu: usize, intid: IntId, level: bool) -> VcpuSet {
        if let Some(bank) = intid.word().checked_sub(1) {
            let Some(spi) = self.spis.get_mut(bank) else { return VcpuSet::EMPTY };
            let changed = spi.bank.set_line(intid.bit(), level);
            return if changed { self.refresh(bank, intid.bit()) } else { VcpuSet::EMPTY };
        }
        let groups = self.groups;
        let Some(cpu) = self.vcpus.get_mut(vcpu) else { return VcpuSet::EMPTY };
        if !intid.is_sgi() && cpu.private.set_line(intid.bit(), level) {
            affected(vcpu, &cpu.private, intid.bit(), groups)
        } else {
            VcpuSet::EMPTY
        }
    }

    /// Ties a PPI of `vcpu` to a physical interrupt: deactivating the one deactivates the other. From then on
    /// its input is [`Vgic::inject_hardware`] instead of [`Vgic::set_level`].
    pub fn link_hardware(&mut self, vcpu: usize, ppi: IntId, physical: u16) {
        let Some(cpu) = self.vcpus.get_mut(vcpu) else { return };
        if ppi.is_private()
            && !ppi.is_sgi()
            && let Some(slot) = cpu.physical.get_mut(ppi.lane())
        {
            *slot = physical;
            cpu.links |= ppi.bit();
        }
    }

    /// Says that the input of a PPI of `vcpu` can fall without notice while the vCPU runs. While it is active it is then
    /// not loaded as pending again, however high its input is: the guest may be about to quiet it.
    pub fn poll_input(&mut self, vcpu: usize, ppi: IntId) {
        if let Some(cpu) = self.vcpus.get_mut(vcpu).filter(|_| ppi.is_private()) {
            cpu.polled |= ppi.bit();
        }
    }

    /// The physical interrupt behind a linked PPI was acknowledged by EL2, which dropped its priority but
    /// left it active.
    pub fn inject_hardware(&mut self, vcpu: usize, ppi: IntId) -> VcpuSet {
        let groups = self.groups;
        let Some(cpu) = self.vcpus.get_mut(vcpu) else { return VcpuSet::EMPTY };
        let bit = ppi.bit();
        if !ppi.is_private() || cpu.links & bit == 0 {
            return VcpuSet::EMPTY;
        }
        cpu.private.set_pending(bit);
        affected(vcpu, &cpu.private, bit, groups)
    }

    /// The source of a linked PPI went quiet: if the guest has not acknowledged the interrupt it is
    /// withdrawn, and the physical one is [released](super::Fill::release).
    pub fn retract_hardware(&mut self, vcpu: usize, ppi: IntId) -> VcpuSet {
        let Some(cpu) = self.vcpus.get_mut(vcpu) else { return VcpuSet::EMPTY };
        let bit = ppi.bit();
        if !ppi.is_private() || cpu.links & cpu.private.known_latch() & bit == 0 {
            return VcpuSet::EMPTY;
        }
        cpu.change_private(|private| private.clear_pending(bit));
        VcpuSet::of(vcpu)
    }

    /// The linked PPIs of `vcpu` (a bit for each INTID) whose physical interrupts have to be active while it
    /// runs: whoever moves a vCPU onto a physical CPU makes them so, and ends them when it leaves.
    pub fn holds_hardware(&self, vcpu: usize) -> u32 {
        self.vcpus.get(vcpu).map_or(0, |cpu| cpu.links & cpu.private.held())
    }

    /// The linked PPIs of `vcpu` (a bit for each INTID) whose physical interrupts may be active on the CPU where it is
    /// loaded, and must not be after it has left: those that it [holds](Self::holds_hardware), and those that the next
    /// fill would [release](super::Fill::release).
    pub fn leaves_hardware(&self, vcpu: usize) -> u32 {
        self.vcpus.get(vcpu).map_or(0, |cpu| cpu.links & cpu.private.held() | cpu.release)
    }

    /// `vcpu`, which is being loaded, has left no physical interrupt active anywhere, so there is none to release.
    pub fn forget_release(&mut self, vcpu: usize) {
        if let Some(cpu) = self.vcpus.get_mut(vcpu) {
            cpu.release = 0;
        }
    }

    /// How many interrupts the guest has acknowledged on `vcpu` since it was made. One that comes again while it is
    /// handled may be counted once.
    pub fn taken(&self, vcpu: usize) -> u64 {
        self.vcpus.get(vcpu).map_or(0, |cpu| cpu.taken)
    }

    /// Whether an interrupt is waiting that the CPU interface of `vcpu` would signal, and that therefore ends
    /// a WFI. The vCPU must be folded. `interface` is asked for only if it matters.
    #[inline]
    pub fn has_pending(&self, vcpu: usize, interface: impl FnOnce() -> CpuInterface) -> bool {
        let Some(cpu) = self.vcpus.get(vcpu) else { return false };
        let ready = cpu.private.deliverable(self.groups) & !cpu.private.active;
        (ready | cpu.spi_words) != 0 && self.signals(cpu, interface())
    }

    /// Whether `interface` signals any of the interrupts of `cpu`.
    fn signals(&self, cpu: &Vcpu, interface: CpuInterface) -> bool {
        let waiting = |bank: &Bank, mine: u32| {
            let interface_groups = (if interface.group1 { bank.group1 } else { 0 })
                | if interface.group0 { !bank.group1 } else { 0 };
            let ready = bank.deliverable(self.groups) & !bank.active & interface_groups & mine;
            Ones(ready).any(|lane| bank.priority(lane) < interface.threshold)
        };
        waiting(&cpu.private, u32::MAX)
            || Ones(cpu.spi_words).any(|bank| match (self.spis.get(bank), cpu.spis.get(bank)) {
                (Some(spi), Some(&mine)) => waiting(&spi.bank, mine),
                _ => false,
            })
    }

    /// Deactivates an interrupt: the guest's trapped write to `ICC_DIR_EL1` or `GICC_DIR` on `vcpu`, which
    /// must be folded. An SPI may be deactivated from another vCPU than the one that acknowledged it.
    pub fn deactivate(&mut self, vcpu: usize, intid: IntId) -> VcpuSet {
        self.change_bits(vcpu, intid.word(), intid.bit(), Bank::clear_active)
    }

    /// Runs `change` on the interrupts `bits` of a word, as seen from `vcpu`.
    pub(super) fn change_bits(
        &mut self,
        vcpu: usize,
        word: usize,
        bits: u32,
        change: impl FnOnce(&mut Bank, u32),
    ) -> VcpuSet {
        let groups = self.groups;
        let Some(bank) = word.checked_sub(1) else {
            let Some(cpu) = self.vcpus.get_mut(vcpu) else { return VcpuSet::EMPTY };
            cpu.change_private(|private| change(private, bits));
            // A physical interrupt is released by the next fill.
            let release = if cpu.release != 0 { VcpuSet::of(vcpu) } else { VcpuSet::EMPTY };
            return release | affected(vcpu, &cpu.private, bits, groups);
        };
        let Some(spi) = self.spis.get_mut(bank) else { return VcpuSet::EMPTY };
        change(&mut spi.bank, bits);
        self.refresh(bank, bits)
    }

    /// The bank that holds a word of interrupts as seen from `vcpu`.
    pub(super) fn bank(&self, vcpu: usize, word: usize) -> Option<&Bank> {
        match word.checked_sub(1) {
            None => self.vcpus.get(vcpu).map(|cpu| &cpu.private),
            Some(bank) => self.spis.get(bank).map(|spi| &spi.bank),
        }
    }

    /// `GICD_CTLR`'s enable bits.
    pub(super) fn set_enables(&mut self, enables: u32) -> VcpuSet {
        let enables = enables & (ENABLE_GROUP0 | ENABLE_GROUP1);
        if enables == self.enables {
            return VcpuSet::EMPTY;
        }
        self.enables = enables;
        let mask = |bit: u32| if enables & bit != 0 { u32::MAX } else { 0 };
        self.groups = Groups { group0: mask(ENABLE_GROUP0), group1: mask(ENABLE_GROUP1) };
        for bank in 0..self.spis.len() {
            let _all_are_told = self.refresh(bank, u32::MAX);
        }
        VcpuSet::first(self.vcpus.len())
    }

    /// Which vCPU has this affinity.
    pub(super) fn vcpu_at(&self, affinity: u32) -> Option<usize> {
        let at = self.by_affinity.binary_search_by_key(&affinity, |&(key, _)| key).ok()?;
        self.by_affinity.get(at).map(|&(_, vcpu)| usize::from(vcpu))
    }

    /// Sets where an SPI goes: `GICD_IROUTER`, or of a GICv2 `GICD_ITARGETSR`.
    pub(super) fn set_route(&mut self, intid: IntId, route: u64) -> VcpuSet {
        let Some(bank) = intid.word().checked_sub(1) else { return VcpuSet::EMPTY };
        let target = self.resolve(route);
        let Some(spi) = self.spis.get_mut(bank) else { return VcpuSet::EMPTY };
        let lane = intid.lane();
        if let (Some(route_slot), Some(target_slot)) = (spi.route.get_mut(lane), spi.target.get_mut(lane)) {
            *route_slot = route;
            *target_slot = target;
        }
        self.refresh(bank, intid.bit())
    }

    /// Where an SPI goes.
    pub(super) fn route(&self, intid: IntId) -> u64 {
        let bank = intid.word().checked_sub(1).and_then(|bank| self.spis.get(bank));
        bank.and_then(|spi| spi.route.get(intid.lane())).copied().unwrap_or_default()
    }

    /// Resolves every route anew: who takes part in 1-of-N delivery changed, or all routes did.
    pub(super) fn reroute_all(&mut self) -> VcpuSet {
        let mut kick = VcpuSet::EMPTY;
        for bank in 0..self.spis.len() {
            let Some(routes) = self.spis.get(bank).map(|spi| spi.route) else { continue };
            let targets = routes.map(|route| self.resolve(route));
            if let Some(spi) = self.spis.get_mut(bank) {
                spi.target = targets;
            }
            kick |= self.refresh(bank, u32::MAX);
        }
        kick
    }

    fn resolve(&self, route: u64) -> Option<u8> {
        let target = match self.version {
            GicVersion::V2 => (route != 0).then(|| route.trailing_zeros() as usize),
            GicVersion::V3 if route & ROUTE_ANY != 0 => {
                Some(self.vcpus.iter().position(|vcpu| !vcpu.asleep).unwrap_or(0))
            }
            GicVersion::V3 => self.vcpu_at(affinity(route)),
        };
        target.and_then(|vcpu| u8::try_from(vcpu).ok())
    }

    /// Works out anew whose each of these SPIs is, after anything that may change that: each belongs to
    /// the vCPU that has it loaded or active, else, if it can be delivered, to its target.
    pub(super) fn refresh(&mut self, bank: usize, bits: u32) -> VcpuSet {
        let Self { spis, vcpus, groups, .. } = self;
        let Some(SpiBank { bank: state, target, owner, .. }) = spis.get_mut(bank) else {
            return VcpuSet::EMPTY;
        };
        let kept = state.loaded() | state.active;
        let wanted = kept | state.deliverable(*groups);
        let mut kick = VcpuSet::EMPTY;
        for lane in Ones(bits) {
            let bit = 1 << lane;
            let (Some(owner), Some(&target)) = (owner.get_mut(lane), target.get(lane)) else { continue };
            let next = if kept & bit != 0 && owner.is_some() {
                *owner
            } else if wanted & bit != 0 {
                target
            } else {
                None
            };
            if *owner != next {
                for (vcpu, mine) in [(*owner, false), (next, true)] {
                    if let Some(cpu) = vcpu.and_then(|vcpu| vcpus.get_mut(usize::from(vcpu))) {
                        cpu.assign(bank, bit, mine);
                    }
                }
                *owner = next;
            }
            if let Some(vcpu) = next {
                kick |= VcpuSet::of(usize::from(vcpu));
            }
        }
        kick
    }
}

/// `vcpu`, if any of these private interrupts of its could make a difference to its list registers.
pub(super) fn affected(vcpu: usize, private: &Bank, bits: u32, groups: Groups) -> VcpuSet {
    let wanted = private.loaded() | private.active | private.deliverable(groups);
    if wanted & bits != 0 { VcpuSet::of(vcpu) } else { VcpuSet::EMPTY }
}
