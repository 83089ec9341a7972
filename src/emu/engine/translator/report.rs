//! What an operator asks of translated code.

use alloc::string::String;

use polyvisor_cell_abi::CellInfo;
use polyvisor_emu::jit::report::answer;
use polyvisor_emu::memory::Ram;
use polyvisor_emu::riscv::Riscv;
use spin::mutex::SpinMutex;

use super::JIT;
use crate::{address::physical_address, cpu::Relax};

/// The last answer, which EL2 may be about to read.
static ANSWER: SpinMutex<String, Relax> = SpinMutex::new(String::new());

/// Answers the question that EL2 asks of a guest whose RAM is `ram`.
pub fn report(cell: &CellInfo, ram: Ram) {
    let (number, question) = cell.report.question();
    let mut last = ANSWER.lock();
    *last = match (JIT.get(), question) {
        (Some(jit), Some(question)) => answer::<Riscv, _, _, _>(jit, ram, question),
        (None, _) => String::from("nothing is translated"),
        (_, None) => String::from("this engine does not know the question"),
    };
    cell.report.answer(number, physical_address(last.as_ptr() as u64), last.len() as u32);
}
