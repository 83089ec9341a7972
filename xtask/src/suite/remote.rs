//! A client of gdb's remote protocol, as far as tests of Polyvisor's stub need one, with one thread in mind.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

/// How long an answer may take: a stop has to be reached first.
const PATIENCE: Duration = Duration::from_secs(30);
/// gdb's number of the program counter, of AArch64 as of RISC-V.
const PC: u8 = 32;
/// The thread that is the first vCPU.
const THREAD: &str = "p1.1";

/// A session with a stub.
pub struct Remote {
    line: TcpStream,
}

impl Remote {
    /// Begins a session on a TCP port of this machine, which holds the VM.
    pub fn connect(port: u16) -> Result<Self> {
        let line =
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("the debugger's line is closed")?;
        line.set_read_timeout(Some(PATIENCE))?;
        line.set_nodelay(true)?;
        let mut remote = Self { line };
        let features = remote.ask("qSupported:multiprocess+;swbreak+;hwbreak+;vContSupported+")?;
        ensure!(features.contains("PacketSize="), "the stub supports {features:?}");
        remote.order(&format!("Hg{THREAD}"))?;
        Ok(remote)
    }

    /// Sends a packet and returns the answer.
    pub fn ask(&mut self, packet: &str) -> Result<String> {
        self.send(packet)?;
        self.answer().with_context(|| format!("no answer to {packet:?}"))
    }

    /// Sends a packet whose answer is to be `OK`.
    pub fn order(&mut self, packet: &str) -> Result<()> {
        let answer = self.ask(packet)?;
        ensure!(answer == "OK", "{packet:?} was answered by {answer:?}");
        Ok(())
    }

    /// Gives an order to the stub itself, as gdb's `monitor` does.
    pub fn monitor(&mut self, command: &str) -> Result<()> {
        let digits: String = command.bytes().map(|byte| format!("{byte:02x}")).collect();
        let mut answer = self.ask(&format!("qRcmd,{digits}"))?;
        // What it has to say comes in packets of its own.
        while answer.len() > 2 && answer.starts_with('O') {
            answer = self.answer()?;
        }
        ensure!(answer == "OK", "{command:?} was answered by {answer:?}");
        Ok(())
    }

    /// The program counter.
    pub fn pc(&mut self) -> Result<u64> {
        let bytes = bytes(&self.ask(&format!("p{PC:x}"))?)?;
        let bytes = bytes.try_into().ok().context("the program counter has not 8 bytes")?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Memory at a virtual address.
    pub fn memory(&mut self, address: u64, length: usize) -> Result<Vec<u8>> {
        bytes(&self.ask(&format!("m{address:x},{length:x}"))?)
    }

    /// Has the vCPU execute one instruction, and returns where that has led.
    pub fn step(&mut self) -> Result<u64> {
        let stop = self.ask(&format!("vCont;s:{THREAD}"))?;
        ensure!(stop.starts_with("T05"), "a step ended by {stop:?}");
        self.pc()
    }

    /// Lets the vCPU run, and no other, until it stops, for the reason `why` in the protocol's words, and returns where.
    pub fn run_to(&mut self, why: &str) -> Result<u64> {
        let stop = self.ask(&format!("vCont;c:{THREAD}"))?;
        ensure!(stop.contains(why), "the vCPU stopped because of {stop:?}, not {why:?}");
        self.pc()
    }

    /// Lets the VM run.
    pub fn run(&mut self) -> Result<()> {
        self.send("vCont;c")
    }

    /// Holds the VM, which runs.
    pub fn interrupt(&mut self) -> Result<()> {
        self.line.write_all(b"\x03")?;
        let stop = self.answer()?;
        ensure!(stop.starts_with("T02"), "an interrupt ended in {stop:?}");
        Ok(())
    }

    /// Ends the session, and lets the VM go on.
    pub fn detach(mut self) -> Result<()> {
        self.order("D;1")
    }

    fn send(&mut self, packet: &str) -> Result<()> {
        let sum = packet.bytes().fold(0_u8, u8::wrapping_add);
        self.line.write_all(format!("${packet}#{sum:02x}").as_bytes())?;
        let acknowledgement = self.byte()?;
        ensure!(acknowledgement == b'+', "{packet:?} was not acknowledged, but {acknowledgement:#x}");
        Ok(())
    }

    fn answer(&mut self) -> Result<String> {
        let start = self.byte()?;
        ensure!(start == b'$', "a packet begins with {start:#x}");
        let (mut packet, mut sum) = (Vec::new(), 0_u8);
        loop {
            match self.byte()? {
                b'#' => break,
                byte => {
                    sum = sum.wrapping_add(byte);
                    packet.push(byte);
                }
            }
        }
        let found = [self.byte()?, self.byte()?];
        ensure!(found == *format!("{sum:02x}").as_bytes(), "a packet's checksum is wrong");
        self.line.write_all(b"+")?;
        Ok(expanded(&packet))
    }

    fn byte(&mut self) -> Result<u8> {
        let mut byte = [0];
        self.line.read_exact(&mut byte).context("the stub says nothing")?;
        let [byte] = byte;
        Ok(byte)
    }
}

/// The content of a packet without run-length encoding: behind `*` is the number of further characters like the last
/// one, plus 29.
fn expanded(packet: &[u8]) -> String {
    let mut text = String::new();
    let mut characters = packet.iter().map(|byte| char::from(*byte));
    while let Some(character) = characters.next() {
        match (character, text.chars().last()) {
            ('*', Some(last)) => {
                let count = characters.next().map_or(0, |count| u32::from(count).saturating_sub(29));
                text.extend((0..count).map(|_| last));
            }
            _ => text.push(character),
        }
    }
    text
}

/// The bytes that pairs of digits mean.
fn bytes(digits: &str) -> Result<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    let parsed: Option<Vec<u8>> =
        pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()).collect();
    match parsed {
        Some(bytes) => Ok(bytes),
        None => bail!("{digits:?} was to be bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_expanded() {
        assert_eq!(expanded(b"0* 1"), "00001");
        assert_eq!(expanded(b"a0*\"4b"), "a0000004b");
        assert_eq!(expanded(b"OK"), "OK");
    }

    #[test]
    fn errors_are_no_bytes() {
        assert_eq!(bytes("00ff1a").unwrap(), [0, 0xff, 0x1a]);
        assert!(bytes("E0x").is_err());
    }
}
