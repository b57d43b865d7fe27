//! Maps items to shards by PostgreSQL's own hash partitioning of a `bigint`, so that the coordinator's partitioned table finds an item by
//! its id. The functions are those of PostgreSQL's `common/hashfn.h`, after Bob Jenkins' lookup3.

/// PostgreSQL's `HASH_PARTITION_SEED`.
const SEED: u64 = 0x7A5B_2236_7996_DCFD;

/// The partition of `id` among `modulus` of them: the remainder in `FOR VALUES WITH (MODULUS ..., REMAINDER ...)`.
///
/// # Panics
/// When `modulus` is 0.
pub fn remainder(id: i64, modulus: usize) -> usize {
    // For a key of one column, this is the first step of `hash_combine64`, from zero.
    let hash = hash_bigint(id).wrapping_add(0x49A0_F4DD_15E5_A8E3);
    (hash % modulus as u64) as usize
}

/// `hashint8extended`.
fn hash_bigint(id: i64) -> u64 {
    let (low, high) = (id as u32, (id >> 32) as u32);
    hash_word(low ^ if id >= 0 { high } else { !high })
}

/// `hash_bytes_uint32_extended` with the seed.
fn hash_word(word: u32) -> u64 {
    let start = 0x9E37_79B9_u32.wrapping_add(4).wrapping_add(3_923_095);
    let mut state =
        [start.wrapping_add((SEED >> 32) as u32), start.wrapping_add(SEED as u32), start];
    mix(&mut state);
    state[0] = state[0].wrapping_add(word);
    let [_, high, low] = finish(state);
    u64::from(high) << 32 | u64::from(low)
}

fn mix(state: &mut [u32; 3]) {
    for (at, rotation) in [4, 6, 8, 16, 19, 4].into_iter().enumerate() {
        let (a, b, c) = (at % 3, (at + 1) % 3, (at + 2) % 3);
        state[a] = state[a].wrapping_sub(state[c]) ^ state[c].rotate_left(rotation);
        state[c] = state[c].wrapping_add(state[b]);
    }
}

fn finish(mut state: [u32; 3]) -> [u32; 3] {
    for (at, rotation) in [14, 11, 25, 16, 4, 14, 24].into_iter().enumerate() {
        // The order is: c by b, a by c, b by a, and again.
        let (into, by) = ((at + 2) % 3, (at + 1) % 3);
        state[into] = (state[into] ^ state[by]).wrapping_sub(state[by].rotate_left(rotation));
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Items are distributed evenly. The tests in `tests/postgres/` compare the partition of each item with a server's.
    #[test]
    fn every_shard_gets_its_part() {
        for modulus in [1, 2, 3, 7] {
            let mut counts = vec![0_usize; modulus];
            (0..7000).for_each(|id| counts[remainder(id, modulus)] += 1);
            assert!(counts.iter().all(|count| count.abs_diff(7000 / modulus) < 300), "{counts:?}");
        }
    }
}
