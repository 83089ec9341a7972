//! What the policy promises, seen on the simulated machine, which itself checks all the time that no CPU
//! idles while a vCPU waits that may use it.

use alloc::vec::Vec;

use super::sim::*;
use super::{CpuSet, Ticks};

const HOG: (Load, CpuSet) = (Load::Hog, CpuSet::ALL);

/// A sleeper that may run everywhere.
fn sleeper(run: Ticks, sleep: Ticks) -> (Load, CpuSet) {
    (Load::Bursts(run, sleep), CpuSet::ALL)
}

/// What vCPUs of these weights that never block get of `cpus` CPUs: in proportion to their weights, but
/// none more than one CPU.
fn ideal(cpus: usize, weights: &[f64]) -> Vec<f64> {
    let mut shares = vec![0.0; weights.len()];
    let mut open: Vec<usize> = (0..weights.len()).collect();
    let mut left = cpus as f64;
    loop {
        let total: f64 = open.iter().map(|&it| weights[it]).sum();
        let full = open.iter().copied().filter(|&it| weights[it] * left >= total).collect::<Vec<_>>();
        if full.is_empty() || open.is_empty() {
            open.iter().for_each(|&it| shares[it] = weights[it] * left / total);
            return shares;
        }
        full.iter().for_each(|&it| shares[it] = 1.0);
        left -= full.len() as f64;
        open.retain(|it| !full.contains(it));
    }
}

/// Lets the machine run for `time` and measures that.
fn measure(machine: &mut Machine, time: Ticks) -> Vec<f64> {
    machine.reset();
    machine.run(time);
    machine.vcpus.iter().map(|it| it.got as f64 / time as f64).collect()
}

/// That the shares are within 2 % of what they should be, or five slices, the grain in which time is dealt
/// out.
#[track_caller]
fn assert_shares(got: &[f64], expected: &[f64], time: Ticks) {
    let grain = 5.0 * PARAMS.longest_slice as f64 / time as f64;
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        let off = (got - expected).abs();
        assert!(off <= (expected * 0.02).max(grain), "vCPU {index} got {got:.4} instead of {expected:.4}");
    }
}

#[test]
fn shares_follow_weights() {
    for seed in 0..40 {
        let mut random = Random(seed);
        let cpus = 1 + random.below(16) as usize;
        let mut machine = Machine::new(cpus, seed);
        let mut weights = Vec::new();
        for _ in 0..1 + random.below(60) {
            let (weight, n) = (10 + random.below(991) as u32, 1 + random.below(8) as usize);
            machine.vm(weight, vec![HOG; n]);
            weights.extend(vec![f64::from(weight) / n as f64; n]);
        }
        machine.run(SECOND);
        let got = measure(&mut machine, 4 * SECOND);
        assert_shares(&got, &ideal(cpus, &weights), 4 * SECOND);
    }
}

#[test]
fn cpus_that_do_not_divide_are_shared() {
    for (cpus, vcpus) in [(2, 3), (3, 4), (4, 5), (4, 7), (8, 9), (16, 17), (16, 31)] {
        let mut machine = Machine::new(cpus, 0);
        machine.vm(100, vec![HOG; vcpus]);
        machine.run(SECOND);
        let got = measure(&mut machine, 2 * SECOND);
        assert_shares(&got, &vec![cpus as f64 / vcpus as f64; vcpus], 2 * SECOND);
    }
}

#[test]
fn load_that_fits_stays_where_it_is_and_takes_no_ticks() {
    for (per_cpu, weight) in [(1, 10), (1, 1000), (2, 10), (2, 1000), (7, 100)] {
        let mut machine = Machine::new(4, 0);
        for _ in 0..4 * per_cpu {
            machine.vm(weight, [HOG]);
        }
        machine.run(SECOND);
        measure(&mut machine, 5 * SECOND);
        assert_eq!(machine.migrations(), 0, "{per_cpu} vCPUs of weight {weight} on each CPU");
        assert!(per_cpu > 1 || machine.ticks == 0);
    }
}

#[test]
fn migrations_are_few() {
    let mut machine = Machine::new(4, 0);
    machine.vm(100, vec![HOG; 5]);
    machine.vm(100, vec![sleeper(100 * US, 2 * MS); 8]);
    machine.run(SECOND);
    measure(&mut machine, SECOND);
    assert!(machine.migrations() < 400, "{} migrations in a second", machine.migrations());
}

/// Without [`RunQueue::catch_up`](super::RunQueue::catch_up) the heavy one would be owed 7 CPU seconds.
#[test]
fn what_a_full_cpu_could_not_give_is_not_owed() {
    let mut machine = Machine::new(2, 0);
    let heavy = machine.vm(1000, [HOG]);
    for _ in 0..4 {
        machine.vm(100, [HOG]);
    }
    let got = measure(&mut machine, 10 * SECOND);
    assert_shares(&got, &[1.0, 0.25, 0.25, 0.25, 0.25], 10 * SECOND);
    machine.set_weight(heavy, 100);
    machine.run(300 * MS);
    let got = measure(&mut machine, SECOND);
    assert_shares(&got, &[0.4; 5], SECOND);
}

/// The same for those who may only use one CPU.
#[test]
fn what_a_crowded_cpu_could_not_give_is_forgotten() {
    let mut machine = Machine::new(2, 0);
    machine.vm(1000, vec![(Load::Hog, CpuSet::of(0)); 10]);
    for _ in 0..3 {
        machine.vm(10, [HOG]);
    }
    machine.run(100 * SECOND);
    (0..8).for_each(|vcpu| machine.kill(vcpu));
    machine.set_weight(0, 20);
    machine.run(6 * SECOND);
    let got = measure(&mut machine, 4 * SECOND);
    assert_shares(&got[8..], &[0.4; 5], 4 * SECOND);
}

#[test]
fn affinity_limits_are_shared_around() {
    /// How many CPUs, the vCPUs, their shares.
    type Case<'a> = (usize, &'a [(Load, CpuSet)], &'a [f64]);
    const THIRD: f64 = 1.0 / 3.0;
    fn only(cpu: usize) -> (Load, CpuSet) {
        (Load::Hog, CpuSet::of(cpu))
    }
    fn either(one: usize, other: usize) -> (Load, CpuSet) {
        (Load::Hog, CpuSet::from_bits(1 << one | 1 << other))
    }
    let cases: &[Case] = &[
        // A crowd on one CPU, and one that can evade it.
        (2, &[only(0), only(0), only(0), HOG], &[THIRD, THIRD, THIRD, 1.0]),
        (2, &[only(0), only(0), only(0), only(1), HOG], &[THIRD, THIRD, THIRD, 0.5, 0.5]),
        // The free ones level out what the bound ones leave.
        (2, &[only(0), HOG, HOG], &[2.0 * THIRD; 3]),
        (4, &[only(0), only(1), HOG, HOG, HOG, HOG], &[2.0 * THIRD; 6]),
        // A chain: everything reaches everything by way of others.
        (
            3,
            &[either(0, 1), either(0, 1), either(0, 1), either(1, 2)],
            &[2.0 * THIRD, 2.0 * THIRD, 2.0 * THIRD, 1.0],
        ),
        (3, &[only(0), either(0, 1), either(1, 2), either(1, 2)], &[0.75; 4]),
    ];
    for &(cpus, vcpus, shares) in cases {
        let mut machine = Machine::new(cpus, 0);
        for &vcpu in vcpus {
            machine.vm(100, [vcpu]);
        }
        machine.run(2 * SECOND);
        let got = measure(&mut machine, 4 * SECOND);
        assert_shares(&got, shares, 4 * SECOND);
    }
}

/// A heavy VM that blocks again and again for a moment keeps its share against light ones, whose every slice
/// is a long virtual time.
#[test]
fn short_sleep_costs_nothing() {
    for (weight, other) in [(100, 100), (100, 10), (1000, 10), (10, 1000)] {
        let mut machine = Machine::new(1, 0);
        machine.vm(weight, [sleeper(MS, 10 * US)]);
        machine.vm(other, [HOG]);
        machine.run(SECOND);
        let got = measure(&mut machine, 8 * SECOND);
        // It cannot have what passes while it sleeps: 10 of every 1010 us of its own time.
        let share = f64::from(weight) / f64::from(weight + other) / 1.01;
        assert!(got[0] > share * 0.98 - 0.0025, "{weight}:{other}: {:.4} instead of {share:.4}", got[0]);
    }
}

#[test]
fn dodging_the_end_of_a_slice_gains_nothing() {
    for (weight, dodgers, cpus) in [(100, 1, 1), (10, 1, 1), (1, 1, 1), (100, 4, 2), (10, 8, 4)] {
        let mut machine = Machine::new(cpus, 0);
        for _ in 0..dodgers {
            machine.vm(weight, [(Load::Dodger(US), CpuSet::ALL)]);
            machine.vm(100, [HOG]);
        }
        machine.run(SECOND);
        let got = measure(&mut machine, 8 * SECOND);
        let most = f64::from(weight) / f64::from(weight + 100) * cpus as f64 / f64::from(dodgers);
        for share in got.iter().step_by(2) {
            assert!(*share <= most * 1.02 + 0.0025, "weight {weight}: {share:.4} instead of {most:.4}");
        }
    }
}

/// A machine with random vCPUs that never block and some that mostly sleep, after ten seconds: the latency of
/// each of the latter, in parts of the bound of the module's documentation.
fn latencies(seed: u64, weight: fn(&mut Random) -> u32) -> Vec<f64> {
    let mut random = Random(seed);
    let cpus = 1 + random.below(8) as usize;
    let mut machine = Machine::new(cpus, seed);
    for _ in 0..1 + random.below(60) {
        machine.vm(weight(&mut random), [HOG]);
    }
    let hogs = machine.vcpus.len();
    let mut bursts = 0;
    for _ in 0..1 + random.below(6) {
        let run = 20 * US + random.below(200 * US);
        machine.vm(weight(&mut random), [sleeper(run, (1500 + random.below(3000)) * run)]);
        bursts += run;
    }
    machine.run(SECOND);
    measure(&mut machine, 10 * SECOND);
    let bound = (PARAMS.longest_slice + bursts) as f64;
    machine.vcpus[hogs..].iter().map(|it| it.latency as f64 / bound).collect()
}

#[test]
fn a_sleeper_runs_soon_after_it_wakes() {
    for seed in 0..40 {
        let worst = latencies(seed, |_| 100).into_iter().fold(0.0, f64::max);
        assert!(worst <= 1.0, "seed {seed}: {worst:.2} of the bound");
    }
    // Among very different weights one may wait for another that is owed much.
    let all: Vec<f64> = (0..40).flat_map(|seed| latencies(seed, |it| 100 + it.below(901) as u32)).collect();
    let late = all.iter().filter(|&&it| it > 1.0).count();
    let worst = all.iter().fold(0.0, |one: f64, &other| one.max(other));
    assert!(late * 20 <= all.len(), "{late} of {} late", all.len());
    assert!(worst <= 10.0, "{worst:.2} of the bound");
}

#[test]
fn a_sleeper_among_its_equals_runs_at_once() {
    let mut machine = Machine::new(2, 0);
    for _ in 0..10 {
        machine.vm(100, [HOG]);
    }
    machine.vm(100, [sleeper(50 * US, 97 * MS)]);
    machine.run(SECOND);
    measure(&mut machine, 10 * SECOND);
    assert_eq!(machine.vcpus[10].latency, 0);
}

/// They are never runnable at the same time, so that each has the whole weight when it runs.
#[test]
fn siblings_that_take_turns_get_one_share() {
    let cases = [(2, 10 * US, 1), (4, 10 * US, 1), (8, 10 * US, 1), (4, MS, 3), (4, 9 * MS, 3)];
    for (n, run, sleep) in cases {
        let mut machine = Machine::new(1, 0);
        machine.vm(100, vec![sleeper(run, sleep * run); n]);
        machine.vm(100, [HOG]);
        machine.run(SECOND);
        let got = measure(&mut machine, 4 * SECOND);
        assert!((got[n] - 0.5).abs() < 0.01, "{n} siblings leave {:.3}", got[n]);
    }
}

/// Whatever the others do, a vCPU that never blocks gets what would be its own if none of them ever did.
#[test]
fn nobody_starves() {
    for seed in 0..60 {
        let mut random = Random(seed);
        let cpus = 1 + random.below(8) as usize;
        let mut machine = Machine::new(cpus, seed);
        let mut weights = Vec::new();
        let mut hogs = Vec::new();
        for _ in 0..2 + random.below(20) {
            let weight = 50 + random.below(951) as u32;
            let n = 1 + random.below(4) as usize;
            let load = match random.below(6) {
                0 => Load::Dodger(random.below(MS)),
                1 => Load::Bursts(10 * US, 10 * US),
                2 => Load::Random(500 * US, 500 * US),
                3 => Load::Random(5 * MS, MS),
                _ => Load::Hog,
            };
            machine.vm(weight, vec![(load, CpuSet::ALL); n]);
            hogs.extend(vec![matches!(load, Load::Hog); n]);
            weights.extend(vec![f64::from(weight) / n as f64; n]);
        }
        machine.run(SECOND);
        let got = measure(&mut machine, 4 * SECOND);
        let least = ideal(cpus, &weights);
        for index in (0..got.len()).filter(|&index| hogs[index]) {
            let (got, least) = (got[index], least[index]);
            assert!(got >= least * 0.98 - 0.005, "seed {seed}, vCPU {index}: {got:.4} instead of {least:.4}");
        }
    }
}
