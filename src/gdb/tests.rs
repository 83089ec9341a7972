//! Sessions as a debugger holds them, against a VM that is made up.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;
use crate::arch::aarch64::breakpoint::IMMEDIATE;
use crate::vm::bundle::Arch;
use crate::vm::debug::{Access, Action, Point, Stop};
use crate::vm::vcpu::{FpuRegs, Regs};

/// The kernel's addresses start here, and are IPAs from [`RAM`] on.
const KERNEL: u64 = 0xffff_8000_0000_0000;
/// The same IPAs, as vCPU 0 has them at EL0. vCPU 1 has a page further on there: another process.
const USER: u64 = 0x40_0000;
const RAM: u64 = 0x4000_0000;
const SIZE: u64 = 0x4000;
const NOP: [u8; 4] = 0xd503_201fu32.to_le_bytes();
const BRK: [u8; 4] = (0xd420_0000 | (IMMEDIATE as u32) << 5).to_le_bytes();

/// A VM with three vCPUs, of which the last one is off.
struct Fake {
    regs: [Regs; 3],
    fpu: [FpuRegs; 3],
    memory: Vec<u8>,
    points: Vec<Point>,
    /// What the stub has asked for.
    calls: Vec<String>,
    can_run: bool,
}

impl Fake {
    fn new() -> Self {
        let regs = |vcpu: u64| Regs::Aarch64 {
            x: core::array::from_fn(|number| vcpu << 8 | number as u64),
            sp: KERNEL + 0x3000,
            pc: KERNEL + 0x1000 * vcpu,
            pstate: 0x3c5,
        };
        Self {
            regs: [regs(0), regs(1), regs(2)],
            fpu: [FpuRegs { control: 0xc, status: 0x5, ..FpuRegs::default() }; 3],
            memory: NOP.repeat(SIZE as usize / 4),
            points: Vec::new(),
            calls: Vec::new(),
            can_run: true,
        }
    }

    fn range(&self, ipa: u64, length: usize) -> Result<core::ops::Range<usize>, Refused> {
        assert!(ipa % 4096 + length as u64 <= 4096, "{length} bytes from {ipa:#x} on leave their page");
        let start = ipa.checked_sub(RAM).ok_or(Refused)? as usize;
        Some(start..start + length).filter(|range| range.end <= self.memory.len()).ok_or(Refused)
    }
}

impl Debuggee for Fake {
    fn name(&self) -> &str {
        "fake"
    }
    fn arch(&self) -> Arch {
        Arch::Aarch64
    }
    fn vcpus(&self) -> usize {
        3
    }
    fn is_on(&self, vcpu: usize) -> bool {
        self.can_run && vcpu < 2
    }
    fn halt(&mut self) {
        self.calls.push("halt".into());
    }
    fn resume(&mut self, actions: &[Action]) -> Result<(), Refused> {
        self.calls.push(format!("resume {actions:?}"));
        if self.can_run { Ok(()) } else { Err(Refused) }
    }
    fn detach(&mut self) {
        self.calls.push("detach".into());
    }
    fn reset(&mut self) -> Result<(), Refused> {
        self.memory.fill(0);
        self.calls.push("reset".into());
        Ok(())
    }
    fn kill(&mut self) {
        self.calls.push("kill".into());
    }
    fn regs(&self, vcpu: usize) -> Option<Regs> {
        self.regs.get(vcpu).cloned()
    }
    fn set_regs(&mut self, vcpu: usize, regs: &Regs) -> Result<(), Refused> {
        let Regs::Aarch64 { pstate, .. } = regs else { panic!() };
        if pstate & 0xf == 0b1001 {
            return Err(Refused);
        }
        *self.regs.get_mut(vcpu).ok_or(Refused)? = regs.clone();
        Ok(())
    }
    fn fpu_regs(&self, vcpu: usize) -> Option<FpuRegs> {
        self.fpu.get(vcpu).copied()
    }
    fn set_fpu_regs(&mut self, vcpu: usize, regs: &FpuRegs) -> Result<(), Refused> {
        *self.fpu.get_mut(vcpu).ok_or(Refused)? = *regs;
        Ok(())
    }
    fn system_registers(&self, _: usize) -> Vec<(&'static str, u64)> {
        vec![("SCTLR_EL1", 0x30d5_0800), ("VBAR_EL1", KERNEL)]
    }
    fn translate(&self, vcpu: usize, address: u64) -> Option<u64> {
        let offset = match address {
            KERNEL.. => address - KERNEL,
            USER.. => (address - USER) + if vcpu == 1 { 0x1000 } else { 0 },
            _ => return None,
        };
        (vcpu < 3 && offset < SIZE).then_some(RAM + offset)
    }
    fn read(&self, ipa: u64, buffer: &mut [u8]) -> Result<(), Refused> {
        buffer.copy_from_slice(&self.memory[self.range(ipa, buffer.len())?]);
        Ok(())
    }
    fn write(&mut self, ipa: u64, bytes: &[u8]) -> Result<(), Refused> {
        let range = self.range(ipa, bytes.len())?;
        self.memory[range].copy_from_slice(bytes);
        Ok(())
    }
    fn arm(&mut self, points: &[Point]) -> Result<(), Refused> {
        if points.len() > 2 {
            return Err(Refused);
        }
        self.points = points.to_vec();
        Ok(())
    }
}

/// A stub, and what it has sent.
struct Line {
    stub: Stub<Fake>,
    sent: Arc<Mutex<Vec<u8>>>,
}

impl Line {
    /// A line on which nothing has been said yet.
    fn quiet() -> Self {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let output = sent.clone();
        let send = Box::new(move |bytes: &[u8]| output.lock().unwrap().extend(bytes));
        Self { stub: Stub::new(Fake::new(), send), sent }
    }

    /// A line with a session on it.
    fn attached() -> Self {
        let mut line = Self::quiet();
        let reply = line.ask("qSupported:multiprocess+;swbreak+;hwbreak+;vContSupported+");
        assert!(reply.starts_with("PacketSize=1000;"), "{reply}");
        line
    }

    fn vm(&mut self) -> &mut Fake {
        self.stub.debuggee()
    }

    /// What the stub says to `bytes`: acknowledgements, and the data of packets, with spaces between.
    fn raw(&mut self, bytes: &[u8]) -> String {
        self.stub.input(bytes);
        self.take()
    }

    fn take(&mut self) -> String {
        let sent = core::mem::take(&mut *self.sent.lock().unwrap());
        let mut said = Vec::new();
        let mut reader = frame::Reader::new();
        let mut inside = false;
        for byte in sent {
            match reader.push(byte) {
                Some(frame::Event::Packet(packet)) => {
                    said.push(expand(&packet[1..packet.len() - 3]));
                    inside = false;
                }
                Some(frame::Event::Damaged) => panic!("a wrong checksum"),
                _ if byte == b'$' => inside = true,
                _ if !inside => said.push(char::from(byte).into()),
                _ => {}
            }
        }
        said.join(" ")
    }

    /// The reply to a packet. `""`: an empty one; it is acknowledged, too.
    fn ask(&mut self, data: &str) -> String {
        let reply = self.raw(&frame::packet(data));
        let reply = reply.strip_prefix("+ ").unwrap_or_else(|| panic!("no reply to {data}: {reply:?}"));
        self.stub.input(b"+");
        reply.into()
    }

    /// Lets the VM go on.
    fn go(&mut self, data: &str) {
        assert_eq!(self.raw(&frame::packet(data)), "+", "{data}");
    }

    /// What the stub says to `stop`.
    fn stop(&mut self, vcpu: usize, stop: Stop) -> String {
        self.stub.stopped(vcpu, stop);
        self.take()
    }
}

/// A packet's data with runs (`*` and a count) expanded.
fn expand(data: &[u8]) -> String {
    let mut expanded = String::new();
    let mut bytes = data.iter();
    while let Some(&byte) = bytes.next() {
        match (byte, expanded.chars().last()) {
            (b'*', Some(last)) => {
                let count = bytes.next().unwrap() - 29;
                expanded.extend(core::iter::repeat_n(last, count.into()));
            }
            _ => expanded.push(byte.into()),
        }
    }
    expanded
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_debugger_that_attaches_holds_the_vm_and_finds_its_threads() {
    let mut line = Line::quiet();
    assert_eq!(line.raw(b"+$?#3f"), "", "no session has begun");
    let mut line = Line::attached();
    assert_eq!(line.vm().calls, ["halt"]);
    assert_eq!(line.ask("?"), "T05thread:p01.01;");
    assert_eq!(line.ask("qfThreadInfo"), "mp01.01,p01.02", "vCPU 2 is off");
    assert_eq!(line.ask("qsThreadInfo"), "l");
    assert_eq!(line.ask("qThreadExtraInfo,p1.2"), hex(b"fake: vCPU 1"));
    assert_eq!(line.ask("vCont?"), "vCont;c;C;s;S");
    assert_eq!(line.ask("qAttached:1"), "1");
    let mut xml = String::new();
    loop {
        let reply = line.ask(&format!("qXfer:features:read:target.xml:{:x},ffb", xml.len()));
        match reply.split_at(1) {
            ("m", part) => xml.push_str(&part.replace("}\x03", "#").replace("}\x0a", "*")),
            _ => break,
        }
    }
    assert!(xml.ends_with(r#"regnum="69" group="system"/></feature></target>"#), "{xml}");
    assert_eq!(line.ask("qXfer:features:read:other.xml:0,ffb"), "E16");
}

#[test]
fn registers_are_those_of_the_selected_vcpu() {
    let mut line = Line::attached();
    line.ask("Hgp1.2");
    let file = line.ask("g");
    assert_eq!(file.len(), 2 * (33 * 8 + 4 + 32 * 16 + 8));
    assert_eq!(&file[16..32], &hex(&0x101u64.to_le_bytes()), "x1");
    assert_eq!(&file[file.len() - 16..], "050000000c000000", "fpsr, fpcr");
    assert_eq!(line.ask("p20"), hex(&(KERNEL + 0x1000).to_le_bytes()), "pc");
    assert_eq!(line.ask("p21"), "c5030000", "cpsr");
    assert_eq!(line.ask("p44"), hex(&0x30d5_0800u64.to_le_bytes()), "SCTLR_EL1");
    assert_eq!(line.ask("p46"), "E16");

    assert_eq!(line.ask("P0=8877665544332211"), "OK");
    assert_eq!(line.ask(&format!("P23={}", "ab".repeat(16))), "OK", "v1");
    assert_eq!(line.ask("P21=c9030000"), "E16", "EL2 is not a guest's");
    assert_eq!(line.ask("P44=0000000000000000"), "E16", "system registers are only shown");
    assert_eq!(line.ask("P0=11"), "E16");
    let Regs::Aarch64 { x, pstate, .. } = line.vm().regs[1].clone() else { panic!() };
    assert_eq!((x[0], x[1], pstate), (0x1122_3344_5566_7788, 0x101, 0x3c5));
    assert_eq!(line.vm().fpu[1].v[1], u128::from_le_bytes([0xab; 16]));

    let changed = file.replace(&hex(&0x102u64.to_le_bytes()), &hex(&7u64.to_le_bytes()));
    assert_eq!(line.ask(&format!("G{changed}")), "OK");
    let Regs::Aarch64 { x, .. } = line.vm().regs[1].clone() else { panic!() };
    assert_eq!((x[0], x[2]), (0x100, 7));
    assert_eq!(line.ask("G00"), "E16");
    line.ask("Hgp1.4");
    assert_eq!(line.ask("g"), "E79", "there is no vCPU 3");
}

#[test]
fn memory_is_seen_through_the_vcpus_own_translation() {
    let mut line = Line::attached();
    assert_eq!(line.ask(&format!("M{:x},4:01020304", USER + 0xffe)), "OK");
    assert_eq!(line.ask(&format!("m{:x},6", USER + 0xffe)), "01020304".to_owned() + &hex(&NOP[2..]));
    line.ask("Hgp1.2");
    assert_eq!(line.ask(&format!("m{:x},4", USER + 0xffe)), hex(&[NOP[2], NOP[3], NOP[0], NOP[1]]));
    assert_eq!(line.ask(&format!("m{:x},4", KERNEL + 0xffe)), "01020304");
    assert_eq!(line.ask(&format!("X{:x},2:ab", KERNEL)), "OK");
    assert_eq!(line.ask(&format!("m{KERNEL:x},2")), hex(b"ab"));

    assert_eq!(line.ask(&format!("m{:x},8", KERNEL + SIZE - 4)), hex(&NOP), "as far as there is memory");
    assert_eq!(line.ask(&format!("m{:x},4", KERNEL + SIZE)), "E0e");
    assert_eq!(line.ask("m0,4"), "E0e");
    assert_eq!(line.ask("mfffffffffffffffe,4"), "E0e");
    assert_eq!(line.ask(&format!("M{:x},8:0000000000000000", KERNEL + SIZE - 4)), "E0e");
    assert_eq!(line.vm().memory[SIZE as usize - 4..], NOP, "written as a whole or not at all");
}

#[test]
fn software_breakpoints_are_in_memory_and_not_in_what_the_debugger_reads() {
    let mut line = Line::attached();
    assert_eq!(line.ask(&format!("Z0,{:x},4", KERNEL + 0x1008)), "OK");
    assert_eq!(line.ask(&format!("Z0,{:x},4", KERNEL + 0x1008)), "OK", "a repeated packet changes nothing");
    assert_eq!(line.vm().memory[0x1008..0x100c], BRK);
    assert_eq!(line.ask(&format!("m{:x},8", KERNEL + 0x1004)), hex(&NOP.repeat(2)));
    assert_eq!(line.ask(&format!("m{:x},4", USER + 0x1008)), hex(&NOP), "nor by another address");
    assert_eq!(line.ask(&format!("M{:x},4:11223344", KERNEL + 0x1006)), "OK");
    assert_eq!(line.vm().memory[0x1006..0x100c], [0x11, 0x22, BRK[0], BRK[1], BRK[2], BRK[3]]);
    assert_eq!(line.ask(&format!("m{:x},6", KERNEL + 0x1006)), "11223344".to_owned() + &hex(&NOP[2..]));

    line.go("vCont;c");
    assert_eq!(line.stop(1, Stop::Breakpoint), "T05thread:p01.02;swbreak:;");
    // The process of vCPU 1 has the page elsewhere.
    assert_eq!(line.ask(&format!("Z0,{:x},4", USER + 0x10)), "OK");
    assert_eq!(line.vm().memory[0x1010..0x1014], BRK);
    assert_eq!(line.ask(&format!("Z0,{:x},4", USER + SIZE - 4)), "OK", "only vCPU 0 has that page");
    assert_eq!(line.vm().memory[SIZE as usize - 4..], BRK);

    assert_eq!(line.ask(&format!("z0,{:x},4", KERNEL + 0x1008)), "OK");
    assert_eq!(line.vm().memory[0x1006..0x100c], [0x11, 0x22, 0x33, 0x44, NOP[2], NOP[3]]);
    line.vm().memory[0x1010..0x1014].fill(0);
    assert_eq!(line.ask(&format!("z0,{:x},4", USER + 0x10)), "OK");
    assert_eq!(line.vm().memory[0x1010..0x1014], [0; 4], "the guest has put something else there");
    assert_eq!(line.ask("z0,1234,4"), "OK");

    assert_eq!(line.ask("Z0,1234,4"), "E0e", "not mapped");
    assert_eq!(line.ask(&format!("Z0,{:x},4", KERNEL + 2)), "E0e", "not where an instruction can be");
    assert_eq!(line.ask(&format!("Z0,{KERNEL:x},2")), "E16", "not an A64 instruction");
}

#[test]
fn one_breakpoint_by_two_addresses_is_gone_when_both_are() {
    let mut line = Line::attached();
    for address in [KERNEL, USER] {
        assert_eq!(line.ask(&format!("Z0,{address:x},4")), "OK");
    }
    assert_eq!(line.ask(&format!("z0,{KERNEL:x},4")), "OK");
    assert_eq!(line.vm().memory[..4], BRK);
    assert_eq!(line.ask(&format!("m{KERNEL:x},4")), hex(&NOP));
    assert_eq!(line.ask(&format!("z0,{USER:x},4")), "OK");
    assert_eq!(line.vm().memory[..4], NOP);
}

#[test]
fn hardware_points_are_bounded_and_their_hits_told() {
    let mut line = Line::attached();
    let data = KERNEL + 0x2000;
    assert_eq!(line.ask(&format!("Z1,{KERNEL:x},4")), "OK");
    assert_eq!(line.ask(&format!("Z4,{data:x},8")), "OK");
    let watch = Point::Watch { address: data, length: 8, access: Access::Any };
    assert_eq!(line.vm().points, [Point::Execution(KERNEL), watch]);
    assert_eq!(line.ask(&format!("Z2,{data:x},4")), "E16", "there are only two");
    assert_eq!(line.vm().points.len(), 2);

    line.go("vCont;c");
    assert_eq!(line.stop(0, Stop::Execution), "T05thread:p01.01;hwbreak:;");
    line.go("vCont;c");
    let hit = line.stop(1, Stop::Watch { address: data + 4 });
    assert_eq!(hit, format!("T05thread:p01.02;awatch:{:x};", data + 4));
    line.go("vCont;c");
    let hit = line.stop(1, Stop::Watch { address: data - 8 });
    assert_eq!(
        hit,
        format!("T05thread:p01.02;awatch:{data:x};"),
        "by a store of 16 bytes that begins before"
    );

    assert_eq!(line.ask(&format!("z4,{data:x},8")), "OK");
    assert_eq!(line.vm().points, [Point::Execution(KERNEL)]);
    assert_eq!(line.ask(&format!("Z2,{data:x},0")), "E16");
}

#[test]
fn vcpus_step_alone_or_among_others() {
    let mut line = Line::attached();
    line.vm().calls.clear();
    line.go("vCont;s:p1.2;c:p1.-1");
    assert_eq!(line.vm().calls, ["resume [Continue, Step, Continue]"]);
    assert_eq!(line.stop(1, Stop::Stepped), "T05thread:p01.02;");
    line.vm().calls.clear();
    line.go("vCont;s:p1.2");
    assert_eq!(line.vm().calls, ["resume [Stay, Step, Stay]"], "while it steps over a breakpoint");
    assert_eq!(line.stop(1, Stop::Stepped), "T05thread:p01.02;");
    assert_eq!(line.stop(0, Stop::Breakpoint), "", "already held; it comes to it again");
    line.vm().calls.clear();
    line.go("vCont;c:p1.-1");
    assert_eq!(line.vm().calls, ["resume [Continue, Continue, Continue]"]);
    assert_eq!(line.raw(b"$g#67"), "", "while the VM runs, only Ctrl-C is heard");
    assert_eq!(line.raw(b"\x03"), "T02thread:p01.02;");
    assert_eq!(line.raw(b"\x03"), "", "it is held");
}

#[test]
fn the_end_of_the_vm_is_told_when_somebody_listens() {
    let mut line = Line::attached();
    line.go("vCont;c");
    assert_eq!(line.stop(0, Stop::Off), "W00");
    line.vm().can_run = false;
    line.ask("qSupported");
    assert_eq!(line.ask("?"), "W00;");

    let mut line = Line::attached();
    line.vm().can_run = false;
    assert_eq!(line.stop(1, Stop::Crashed("SError".into())), "", "the VM is held");
    assert_eq!(line.raw(&frame::packet("vCont;c")), "+ T06thread:p01.02;");
    assert_eq!(line.raw(&frame::packet("vCont;c")), "+ T06thread:p01.02;", "and still cannot");
    assert!(line.ask("g").len() > 1000, "but it can be looked at");

    let mut line = Line::attached();
    line.go("vCont;c");
    let reply = line.stop(1, Stop::Crashed("SError".into()));
    let text = hex(b"vCPU 1 of fake has crashed: SError\n");
    assert_eq!(reply, format!("O{text} T06thread:p01.02;"));
}

#[test]
fn a_reset_leaves_no_breakpoints() {
    let mut line = Line::attached();
    assert_eq!(line.ask(&format!("Z0,{KERNEL:x},4")), "OK");
    line.go("vCont;c");
    line.vm().memory.fill(0);
    assert_eq!(line.stop(0, Stop::Reset), "T05thread:p01.01;");
    assert_eq!(line.ask(&format!("m{KERNEL:x},4")), "00000000");
    assert_eq!(line.ask(&format!("Z0,{KERNEL:x},4")), "OK");
    let reply = line.ask(&format!("qRcmd,{}", hex(b"reset")));
    assert_eq!(reply, format!("O{} OK", hex(b"fake is held before its first instruction\n")));
    assert_eq!(line.ask(&format!("m{KERNEL:x},4")), "00000000");
    assert_eq!(line.ask(&format!("z0,{KERNEL:x},4")), "OK");
    assert_eq!(line.vm().memory[..4], [0; 4]);
}

#[test]
fn monitor_commands_answer_in_words() {
    let mut line = Line::attached();
    let reply = line.ask(&format!("qRcmd,{}", hex(b"vcpus")));
    assert!(reply.contains(&hex(b"vCPU 1: pc 0xffff800000001000, EL1\nvCPU 2: off\n")), "{reply}");
    for command in ["help", "", "nonsense"] {
        let reply = line.ask(&format!("qRcmd,{}", hex(command.as_bytes())));
        assert!(reply.contains(&hex(b"help")), "{command}: {reply}");
    }
}

#[test]
fn whoever_goes_leaves_nothing_behind() {
    let prepared = || {
        let mut line = Line::attached();
        assert_eq!(line.ask(&format!("Z0,{KERNEL:x},4")), "OK");
        assert_eq!(line.ask(&format!("Z1,{KERNEL:x},4")), "OK");
        line.vm().calls.clear();
        line
    };
    let check = |line: &mut Line, calls: &[&str]| {
        assert_eq!(line.vm().memory[..4], NOP);
        assert_eq!(line.vm().points, []);
        assert_eq!(line.vm().calls, calls);
        assert_eq!(line.stop(0, Stop::Breakpoint), "", "nobody listens");
    };
    let mut line = prepared();
    assert_eq!(line.ask("D;1"), "OK");
    check(&mut line, &["detach"]);
    let mut line = prepared();
    assert_eq!(line.ask("vKill;1"), "OK");
    check(&mut line, &["kill"]);
    let mut line = prepared();
    assert_eq!(line.raw(b"$k#6b"), "+");
    check(&mut line, &["kill"]);
    let mut line = prepared();
    line.go("vCont;c");
    line.vm().calls.clear();
    line.stub.detach();
    check(&mut line, &["halt", "detach"]);
    line.stub.detach();
    check(&mut line, &["halt", "detach"]);

    // The line was pulled; another debugger comes.
    let mut line = prepared();
    line.go("vCont;c");
    line.ask("qSupported");
    assert_eq!(line.vm().memory[..4], NOP);
    assert_eq!(line.vm().points, []);
    assert_eq!(line.vm().calls.last().unwrap(), "halt");
    assert_eq!(line.ask("?"), "T05thread:01;", "one without the multiprocess extension");
}

#[test]
fn a_line_may_lose_and_damage_bytes() {
    let mut line = Line::attached();
    assert_eq!(line.raw(b"$?#00"), "-");
    let reply = "T05thread:p01.01;";
    assert_eq!(line.raw(b"$?#3f"), format!("+ {reply}"));
    assert_eq!(line.raw(b"-"), reply);
    assert_eq!(line.raw(b"-"), reply);
    assert_eq!(line.raw(b"+$mzz,4#00"), "-");
    for malformed in
        ["mzz,4", "m0", "M0,4:1", "Z0,0", "Z0,0,100000000000000000", "vCont;s", "H", "T", "m0,ffffffff"]
    {
        assert!(line.ask(malformed).starts_with('E'), "{malformed}");
        assert_eq!(line.ask(&format!("m{KERNEL:x},4")), hex(&NOP), "after {malformed}");
    }
    assert_eq!(line.ask("vMustReplyEmpty"), "");
}

proptest! {
    /// Whatever comes in, the stub goes on, and a debugger that attaches afterwards finds it working.
    #[test]
    fn nothing_on_the_line_is_fatal(
        packets in proptest::collection::vec(
            (
                proptest::sample::select(vec![
                    "", "?", "D", "g", "G", "H", "k", "m", "M", "qAttached", "qfThreadInfo", "qSupported", "T",
                    "vKill", "qXfer:features:read:target.xml:", "c", "s", "vCont;", "vCont;c", "vCont;s:1", "X",
                    "p", "P", "qRcmd,", "qThreadExtraInfo,", "z0,", "Z0,", "Z1,", "Z2,", "Z3,", "Z4,",
                    "mffff800000003f", "Xffff8000000000", "Z0,ffff80000000000",
                ]),
                "[0-9a-f,;:=p.}*-]{0,40}",
                proptest::sample::select(vec![0u8, 1, 2, 3]),
            ),
            0..40,
        )
    ) {
        let mut line = Line::attached();
        for (name, rest, event) in packets {
            line.stub.input(&frame::packet(&format!("{name}{rest}")));
            match event {
                1 => line.stub.stopped(1, Stop::Breakpoint),
                2 => line.stub.input(b"\x03"),
                3 => line.stub.input(rest.as_bytes()),
                _ => {}
            }
        }
        line.take();
        line.ask("qSupported:multiprocess+");
        let reply = line.ask("?");
        prop_assert!(reply.starts_with("T05thread:p01."), "{}", reply);
    }
}
