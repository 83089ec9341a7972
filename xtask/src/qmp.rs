//! QEMU's machine protocol: what a monitor can be asked by a program.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// The argument of `-qmp` by which QEMU listens at `socket`.
pub fn server(socket: &Path) -> String {
    format!("unix:{},server=on,wait=off", socket.display())
}

/// A connection.
pub struct Qmp(BufReader<UnixStream>);

impl Qmp {
    /// Connects with the QEMU that listens at `socket`.
    pub fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket)
            .with_context(|| format!("QEMU does not listen at {}", socket.display()))?;
        let mut qmp = Self(BufReader::new(stream));
        qmp.receive()?.get("QMP").context("QEMU does not greet")?;
        qmp.execute("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Has QEMU write `bytes` of the machine's physical memory, from `address` on, to `file`.
    pub fn save_memory(&mut self, address: u64, bytes: u64, file: &Path) -> Result<()> {
        let arguments = json!({ "val": address, "size": bytes, "filename": file });
        self.execute("pmemsave", &arguments)
    }

    fn execute(&mut self, command: &str, arguments: &Value) -> Result<()> {
        let request = json!({ "execute": command, "arguments": arguments });
        writeln!(self.0.get_mut(), "{request}").context("QEMU takes no commands any more")?;
        loop {
            let answer = self.receive()?;
            if let Some(error) = answer.get("error") {
                bail!("QEMU refuses {command}: {error}");
            }
            // What happens meanwhile is told, too.
            if answer.get("return").is_some() {
                return Ok(());
            }
        }
    }

    fn receive(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.0.read_line(&mut line).context("QEMU does not answer")?;
        serde_json::from_str(&line).with_context(|| format!("QEMU answers {line:?}"))
    }
}
