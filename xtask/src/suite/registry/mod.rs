//! Every test under QEMU.

mod boards;
mod debuggers;
mod gadgets;
mod lifecycle;
mod mistakes;
mod neighbours;
mod networks;
mod operator;
mod payloads;
mod riscv;
mod sd_card;
mod storage;
mod streams;
mod systems;
pub mod workload;

use anyhow::Result;

use super::script::{Dialogue, Test};

/// What Polyvisor prints first; once per machine, whatever its VMs do.
const BANNER: &str = r"polyvisor: Polyvisor \d+\.\d+\.\d+ on ";
/// What Polyvisor prints last when it cannot start.
const STOPS: &str = r"polyvisor stops\.";
/// The monitor's greeting, where there are several VMs: whoever types before it is not heard.
const MONITOR: &str = r"VMs\. Type help for the commands; TAB completes them\.";
/// The last line of the Linux guest's `/init` before its shell.
const LINUX_READY: &str = r"guest ready: Linux [^\n]*";
const LINUX_PROMPT: &str = r"guest:~# ";
/// The built-in guest's prompt.
const HELLO_PROMPT: &str = r"guest> ";
/// U-Boot's prompt.
const U_BOOT_PROMPT: &str = r"=> ";

/// All tests, the quick ones first.
pub fn all() -> Vec<Test> {
    let mut tests = boards::tests();
    tests.extend(payloads::tests());
    tests.extend(debuggers::tests());
    tests.extend(mistakes::tests());
    tests.extend(lifecycle::tests());
    tests.extend(neighbours::tests());
    tests.extend(systems::tests());
    tests.extend(storage::tests());
    tests.extend(sd_card::tests());
    tests.extend(networks::tests());
    tests.extend(gadgets::tests());
    tests.extend(streams::tests());
    tests.extend(operator::tests());
    tests.extend(riscv::tests());
    tests.extend(workload::tests());
    tests
}

/// Does `work` at the shell of a VM among several.
pub fn at<T>(dialogue: &mut Dialogue, vm: &str, work: impl FnOnce(&mut Dialogue) -> Result<T>) -> Result<T> {
    dialogue.attach(vm)?;
    dialogue.expect(LINUX_PROMPT)?;
    // What the VM has shown before is shown again; behind it is the answer to what was never asked.
    let number = fastrand::u32(1..1 << 30);
    dialogue.line(&format!("echo here $(({number} * 2))"))?;
    dialogue.expect(&format!("here {}", number * 2))?;
    dialogue.expect(LINUX_PROMPT)?;
    let result = work(dialogue)?;
    dialogue.detach()?;
    Ok(result)
}

/// The SHA-256 of a file of the Linux guest's.
fn checksum(dialogue: &mut Dialogue, file: &str) -> Result<String> {
    dialogue.line(&format!("sha256sum {file}"))?;
    let sum = dialogue.expect(r"\b[0-9a-f]{64} ")?;
    dialogue.expect(LINUX_PROMPT)?;
    Ok(sum.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use regex::bytes::Regex;

    use super::{super::script::Step, *};

    #[test]
    fn every_test_has_a_name_of_its_own_and_proves_something() {
        let tests = all();
        let names: HashSet<_> = tests.iter().map(|test| test.name.as_str()).collect();
        assert_eq!(names.len(), tests.len());
        for test in &tests {
            assert!(!test.steps.is_empty() && test.proves.len() > 10, "{}", test.name);
            for step in &test.steps {
                if let Step::Expect(pattern, _) | Step::Count(pattern, _) = step {
                    assert!(Regex::new(pattern).is_ok(), "{pattern}");
                }
            }
            // The name is a file name too.
            assert!(
                test.name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)),
                "{}",
                test.name
            );
        }
    }
}
