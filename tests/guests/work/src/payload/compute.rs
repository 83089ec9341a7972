//! Work of which one can tell whether it was done right.

use guest_support::{rng::Rng, smp::MAX_CPUS};
use spin::Mutex;

/// Large enough to lie in many pages.
const NUMBERS: usize = 32 * 1024;

static BUFFERS: [Mutex<[u64; NUMBERS]>; MAX_CPUS] = [const { Mutex::new([0; NUMBERS]) }; MAX_CPUS];

/// Sorts the first `count` (at most all 32 Ki) numbers of CPU `index`'s buffer, which `seed` gives, and says
/// whether they are in order and still the same numbers.
pub fn sorts(index: usize, seed: u64, count: usize) -> bool {
    let Some(mut buffer) = BUFFERS.get(index).map(Mutex::lock) else { return false };
    let Some(numbers) = buffer.get_mut(..count) else { return false };
    let mut rng = Rng::new(seed);
    let mut wanted = (0, 0);
    for number in &mut *numbers {
        *number = rng.next_u64();
        wanted = digest(wanted, *number);
    }
    numbers.sort_unstable();
    numbers.is_sorted() && numbers.iter().fold((0, 0), |sum, &number| digest(sum, number)) == wanted
}

/// Sums that do not depend on the order.
fn digest((sum, squares): (u64, u64), number: u64) -> (u64, u64) {
    (sum.wrapping_add(number), squares.wrapping_add(number.wrapping_mul(number)))
}
