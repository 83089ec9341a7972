//! What a translator may get wrong, in a Linux guest: `tests/tools/workload` finds it.

use polyvisor::vm::bundle::Jit;

use super::{
    super::script::{Subject, Test},
    LINUX_PROMPT,
};
use crate::bundle::jit_name;

/// What the VM is called.
pub const VM: &str = "box";
/// The tool, and how the manifest calls its file.
const TOOL: &str = "workload";
/// What it does in a test.
const TASKS: [&str; 7] =
    ["core 1", "float 1", "memory 1", "scale 4 1", "self-modifying 1", "atomics 1", "litmus"];

pub fn tests() -> Vec<Test> {
    [Jit::Off, Jit::On].into_iter().flat_map(|jit| [1, 4].map(|vcpus| workload(vcpus, jit).slow())).collect()
}

/// A riscv64 Debian with the tool, at its shell.
pub fn linux(name: &str, proves: &str, vcpus: u32, jit: Jit) -> Test {
    let jit = jit_name(jit);
    let manifest = format!(
        r#"
        [[vm]]
        name = "{VM}"
        guest = "linux-6.12-riscv64"
        append = "console=ttyS0 modules=virtio_(mmio|blk)"
        memory = "512M"
        vcpus = {vcpus}
        jit = "{jit}"

        [[vm.disk]]
        name = "tool"
        image = "{TOOL}"
    "#
    );
    Test::new(name, proves, Subject::Manifest(manifest))
        .tool(TOOL)
        .expect(LINUX_PROMPT)
        .talk(|dialogue| dialogue.shell("cat /dev/vda >/bin/workload; chmod +x /bin/workload").map(drop))
}

fn workload(vcpus: u32, jit: Jit) -> Test {
    let mode = jit_name(jit);
    let proves = "integers, floating point and memory give the results that they give elsewhere; code that is changed, moved \
                  and replaced is executed as it is then; nothing that several harts do at once is lost, and none sees what \
                  RVWMO forbids";
    let proves = format!("{proves} (riscv64 Debian, harts: {vcpus}, jit {mode})");
    linux(&format!("workload-{mode}-{vcpus}"), &proves, vcpus, jit)
        .talk(|dialogue| {
            TASKS.iter().try_for_each(|task| dialogue.shell(&format!("workload {task}")).map(drop))
        })
        .line("poweroff")
        .off()
}
