//! The firmware image: EL2's bring-up, in the order in which it happens.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("polyvisor is firmware; run it with `cargo xtask run`");
}

#[cfg(target_os = "none")]
mod firmware {
    extern crate alloc;

    use alloc::boxed::Box;

    use polyvisor::arch::aarch64::{self, cpu, gic, irq, percpu, smp, stage1};
    use polyvisor::platform::board::{self, Board};
    use polyvisor::platform::{clock, crash, early, entropy, layout, log as console_log, power};
    use polyvisor::vm::start;

    /// Where arch/aarch64/boot.S arrives: relocated, on the boot CPU's stack, MMU and caches off.
    /// `entry_level` is the exception level at which the boot loader entered the image.
    #[unsafe(no_mangle)]
    extern "C" fn polyvisor_main(tree: u64, image: u64, entry_level: u64) -> ! {
        let board = bring_up(tree, image, entry_level);
        start::start_all(&board)
    }

    /// Brings the machine up until VMs can start. A frame of its own: what this takes of the stack, the VMs need later.
    #[inline(never)]
    fn bring_up(tree: u64, image: u64, entry_level: u64) -> Box<Board> {
        // Without the MMU there are no atomics: until `enable_early`, nothing locks, logs or allocates.
        // SAFETY: the boot protocol has x0 point to the devicetree.
        let board =
            unsafe { board::tree_at(tree) }.and_then(|tree| Board::read(tree).map(|board| (tree, board)));
        if let Err(reason) = early::check_cpu() {
            early::give_up(board.as_ref().ok().map(|(_, board)| board), &reason);
        }
        let (tree, mut board) = match board {
            Ok(found) => found,
            Err(error) => early::give_up(None, &error),
        };
        if entry_level == 3 {
            // Nobody is left at EL3 to answer.
            board.psci = None;
        }
        let tree = tree.as_ptr() as u64..tree.as_ptr() as u64 + tree.len() as u64;

        // SAFETY: the image contains the stack in use; boot.S has invalidated its stale cache lines.
        unsafe { stage1::enable_early(&layout::early(&board, image, tree)) };
        let index = board.cpus.iter().position(|cpu| cpu.affinity == cpu::affinity()).unwrap_or(0);
        // SAFETY: first and only call, on the boot CPU's stack.
        unsafe { percpu::prepare_boot(index, cpu::affinity()) };
        // SAFETY: boot.S has set SP to the top of that area.
        unsafe { percpu::install() };

        power::init(&board);
        // SAFETY: the board's description is the machine's, and nothing else uses its free memory.
        if let Err(error) = unsafe { layout::take_over(&board, image) } {
            early::give_up(Some(&board), &error);
        }
        console_log::start(board.bootargs);
        clock::init(&board);
        entropy::init(&board);
        start::announce(&board, image);
        crash::on_request(board.bootargs);

        irq::init(board.timer);
        if let Err(error) = gic::init(&board).and_then(|()| aarch64::init_cpu()) {
            early::give_up(Some(&board), &error);
        }
        percpu::this_cpu().publish();
        start_secondaries(&board);
        Box::new(board)
    }

    /// Starts every other CPU of the board, one after the other. A CPU that cannot be started is one CPU
    /// less.
    fn start_secondaries(board: &Board) {
        let own = percpu::this_cpu().index;
        for (index, cpu) in board.cpus.iter().enumerate() {
            if index == own {
                continue;
            }
            if let Err(error) = smp::start(board, index, cpu) {
                log::warn!("CPU {index} ({:#x}) stays off: {error}", cpu.affinity);
                if matches!(error, smp::StartError::Silent(_)) {
                    break;
                }
            }
        }
        log::info!("{} of {} CPUs run", percpu::all().count(), board.cpus.len());
    }
}
