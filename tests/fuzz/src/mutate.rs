//! Damage, of the kinds that attackers and bugs do.

use rand::Rng;
use rand::rngs::SmallRng;

/// Most changes to one input.
const MOST_CHANGES: usize = 4;
/// Lengths and counts that break things.
const COUNTS: [u32; 8] = [0, 1, 0x7f, 0xff, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
/// The same as variable-length numbers, the last one too long.
const VARINTS: [&[u8]; 5] =
    [&[0], &[0x80, 0x01], &[0xff, 0xff, 0x03], &[0xff, 0xff, 0xff, 0xff, 0x0f], &[0xff; 6]];

/// Changes `bytes` in one to a few places.
pub fn mutate(bytes: &mut Vec<u8>, random: &mut SmallRng) {
    for _ in 0..random.random_range(1..=MOST_CHANGES) {
        if bytes.is_empty() {
            bytes.push(random.random());
            continue;
        }
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..9) {
            0 => bytes.truncate(at),
            1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.random_range(0..5)],
            2 | 3 => bytes[at] ^= 1 << random.random_range(0..8),
            4 => {
                let count = COUNTS[random.random_range(0..COUNTS.len())].to_be_bytes();
                overwrite(bytes, at, &count);
            }
            5 => overwrite(bytes, at, VARINTS[random.random_range(0..VARINTS.len())]),
            6 => bytes.insert(at, random.random()),
            7 => {
                bytes.remove(at);
            }
            _ => {
                let end = random.random_range(at..=bytes.len().min(at + 32));
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    let end = bytes.len().min(at + with.len());
    bytes[at..end].copy_from_slice(&with[..end - at]);
}
