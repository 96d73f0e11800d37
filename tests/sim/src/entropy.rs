//! The operating system's randomness, replaced by a seed's.
//!
//! `HashMap`'s order, tokio's choice among ready branches and raft's election time-outs are all drawn from libc's
//! `getrandom`. A symbol of that name in the executable comes before libc's, for this process alone. What the standard
//! library and tokio keep besides is counted per process, so that a run needs a fresh process: see `runner`.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

/// State of a splitmix64 sequence. Read by the C interface below, which has no owner to ask.
static STATE: AtomicU64 = AtomicU64::new(0);

/// Everything that is drawn from now on follows from `seed`.
pub(crate) fn seed(seed: u64) {
    STATE.store(seed, Ordering::Relaxed);
}

fn next() -> u64 {
    let mut word = STATE.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// As libc's: fills `length` bytes at `buffer`, whatever the flags say, and always succeeds.
///
/// # Safety
/// The caller owns the `length` bytes at `buffer`, as getrandom(2) demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    for at in 0..length {
        // SAFETY: `at` is below `length`, and the caller owns that many bytes.
        unsafe { buffer.add(at).write(next().to_le_bytes()[0]) };
    }
    isize::try_from(length).unwrap_or(isize::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::hash_map::RandomState;
    use std::hash::BuildHasher;

    use super::*;

    fn keys_of_a_fresh_thread() -> u64 {
        std::thread::scope(|scope| {
            scope.spawn(|| RandomState::new().hash_one(1)).join().expect("it does not panic")
        })
    }

    #[test]
    fn the_standard_library_draws_from_the_seed() {
        seed(5);
        let first = keys_of_a_fresh_thread();
        seed(5);
        assert_eq!(keys_of_a_fresh_thread(), first);
        seed(6);
        assert_ne!(keys_of_a_fresh_thread(), first);
    }
}
