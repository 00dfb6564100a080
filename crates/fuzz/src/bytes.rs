//! Faults in bytes.

use crate::Random;

/// Where arithmetic ends: limits of types, and sizes that nobody has.
const NUMBERS: [u64; 16] = [
    0,
    1,
    2,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 32,
    1 << 40,
    1 << 62,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
];

/// A copy with one to eight faults: bytes changed, inserted, removed, repeated or cut off.
pub fn mutate_bytes(random: &mut Random, seed: &[u8]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..1 + random.below(8) {
        let at = random.below(bytes.len());
        let end = at + random.below((bytes.len() - at).min(64) + 1);
        match random.below(8) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 if !bytes.is_empty() => bytes[at] = random.next_u64() as u8,
            2 => bytes.insert(at, random.next_u64() as u8),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let part = bytes[at..end].to_vec();
                let to = random.below(bytes.len() + 1);
                let repeats = 1 + random.below(4);
                bytes.splice(to..to, part.repeat(repeats));
            }
            5 if random.one_in(4) => bytes.truncate(at),
            _ => put_number(random, &mut bytes, at),
        }
    }
    bytes
}

/// A copy with one to four numbers of 4 or 8 bytes changed within the first `head` bytes, where a binary
/// format has its lengths and counts.
pub fn mutate_lengths(random: &mut Random, seed: &[u8], head: usize) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..1 + random.below(4) {
        let at = random.below(head.min(bytes.len()));
        put_number(random, &mut bytes, at);
    }
    bytes
}

fn put_number(random: &mut Random, bytes: &mut [u8], at: usize) {
    let number = match random.below(3) {
        0 => *random.pick(&NUMBERS),
        1 => random.pick(&NUMBERS).wrapping_sub(random.below(9) as u64),
        _ => random.next_u64() >> random.below(64),
    };
    let width = *random.pick(&[1, 2, 4, 8, 8]);
    let end = bytes.len().min(at + width);
    if at < end {
        bytes[at..end].copy_from_slice(&number.to_le_bytes()[..end - at]);
    }
}
