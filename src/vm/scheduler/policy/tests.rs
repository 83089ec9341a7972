//! What the policy promises, seen on the simulated machine.

use alloc::vec::Vec;

use super::sim::*;
use super::*;

#[test]
fn explore() {
    for seed in 0..400 {
        let mut random = Random(seed);
        let cpus = 1 + random.below(16) as usize;
        let mut machine = Machine::new(cpus, seed);
        let mut weights = Vec::new();
        for _ in 0..1 + random.below(60) {
            let weight = 10 + random.below(991) as u32;
            let n = 1 + random.below(8) as usize;
            machine.hogs(weight, n);
            weights.extend((0..n).map(|_| f64::from(weight) / n as f64));
        }
        machine.run(SECOND);
        machine.reset();
        let time = 4 * SECOND;
        machine.run(time);
        let ideal = ideal(cpus, &weights);
        let (mut worst, mut worst_rel) = (0.0_f64, 0.0_f64);
        let mut who = 0;
        for (i, (it, share)) in machine.vcpus.iter().zip(&ideal).enumerate() {
            let off = (it.got as f64 - share * time as f64).abs();
            worst = worst.max(off / MS as f64);
            if off / (share * time as f64) > worst_rel {
                worst_rel = off / (share * time as f64);
                who = i;
            }
        }
        if worst > 40.0 {
            for (i, it) in machine.vcpus.iter().enumerate() {
                let got = it.got as f64 / time as f64;
                if (got - ideal[i]).abs() * 4000.0 > 10.0 {
                    std::println!(
                        "   vcpu {i} rate {:.2} ideal {:.4} got {got:.4} wait {} migr {}",
                        100.0 / weights[i],
                        ideal[i],
                        it.wait / MS,
                        it.migrations
                    );
                }
            }
        }
        if worst > 7.0 {
            std::println!(
                "seed {seed}: {cpus} CPUs, {} vCPUs, worst {worst:.1} ms, {:.1} % ({:.4} of a CPU ideal, got {:.4}), migrations/s {}, ticks/s/cpu {}",
                weights.len(),
                worst_rel * 100.0,
                ideal[who],
                machine.vcpus[who].got as f64 / time as f64,
                machine.migrations() / 4,
                machine.ticks / 4 / cpus
            );
        }
    }
}
