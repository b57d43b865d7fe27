//! The values at a given distance from the value of a substring: each is the `xor` of the value with a mask of that many ones. `mod.rs` has
//! the buckets of these values.

/// All numbers below `2^bits` with `weight` ones, in ascending order (Gosper's method).
#[derive(Debug, Clone)]
pub(crate) struct Masks {
    next: u64,
    end: u64,
}

impl Masks {
    /// `bits` is at most 32.
    pub(crate) fn new(bits: u32, weight: u32) -> Self {
        let end = 1 << bits;
        Self { next: if weight > bits { end } else { (1 << weight) - 1 }, end }
    }
}

impl Iterator for Masks {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        let mask = self.next;
        if mask >= self.end {
            return None;
        }
        // The highest one of the lowest block of ones moves up by one place; the other ones of the block move to the bottom.
        let low = mask & mask.wrapping_neg();
        let moved = mask + low;
        self.next = if mask == 0 {
            self.end
        } else {
            moved | (((mask ^ moved) >> low.trailing_zeros()) >> 2)
        };
        Some(mask as u32)
    }
}

/// The number of [`Masks`]: of ways to choose `weight` of `bits` bits. Also for more bits than [`Masks`] can have.
#[inline]
pub(crate) fn count(bits: u32, weight: u32) -> f64 {
    if weight > bits {
        return 0.0;
    }
    // The numbers for the lengths of substrings are computed once, because searches need them all the time.
    static KNOWN: [[f64; 33]; 33] = binomials();
    let known = KNOWN.get(bits as usize).and_then(|row| row.get(weight as usize));
    known.copied().unwrap_or_else(|| {
        (0..weight).fold(1.0, |count, i| count * f64::from(bits - i) / f64::from(i + 1))
    })
}

/// Pascal's triangle.
const fn binomials() -> [[f64; 33]; 33] {
    let (mut rows, mut bits) = ([[0.0; 33]; 33], 0);
    while bits < 33 {
        rows[bits][0] = 1.0;
        let mut weight = 1;
        while weight <= bits {
            rows[bits][weight] = rows[bits - 1][weight - 1] + rows[bits - 1][weight];
            weight += 1;
        }
        bits += 1;
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_the_numbers_of_that_weight() {
        for bits in 1..=12 {
            for weight in 0..=bits + 1 {
                let masks: Vec<u32> = Masks::new(bits, weight).collect();
                let expected: Vec<u32> =
                    (0..1 << bits).filter(|n: &u32| n.count_ones() == weight).collect();
                assert_eq!(masks, expected);
                assert_eq!(count(bits, weight), expected.len() as f64);
            }
        }
    }

    #[test]
    fn masks_of_32_bits_end() {
        assert_eq!(Masks::new(32, 32).collect::<Vec<_>>(), [u32::MAX]);
        assert_eq!(Masks::new(32, 1).last(), Some(1 << 31));
        assert_eq!(Masks::new(32, 2).count() as f64, count(32, 2));
        assert_eq!((count(32, 16), count(32, 0), count(3, 4)), (601_080_390.0, 1.0, 0.0));
    }
}
