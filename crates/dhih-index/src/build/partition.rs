//! A counting sort that all threads share: items by a value, in their order where values are equal. First they are dealt out to
//! some parts by the high bits of their values, then each part is sorted in cache. What is sorted so: `groups.rs`, `table.rs`,
//! `whole.rs`.

use std::mem;
use std::ops::Range;

use rayon::prelude::*;

/// Partitions at most, as a power of two: so many places in memory can be written to in turn without waiting for each.
const LOG_PARTS: u32 = 10;
/// Items of a piece at least: a piece is counted and dealt out by one thread.
const PIECE: usize = 1 << 14;
/// Pieces a thread: a thread that is late has few.
const PIECES: usize = 4;
/// Partitions that one thread sorts without a chance for others to take some.
pub(crate) const TOGETHER: usize = 4;

/// Values below some number, dealt out to parts of `span` values each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Partitions {
    values: usize,
    shift: u32,
}

impl Partitions {
    /// Of values below `values`.
    pub(crate) fn of(values: usize) -> Self {
        let bits = usize::BITS - values.saturating_sub(1).leading_zeros();
        Self { values, shift: bits.saturating_sub(LOG_PARTS) }
    }

    /// Values a part.
    pub(crate) fn span(self) -> usize {
        1 << self.shift
    }

    /// The place of a value in its part.
    #[inline(always)]
    pub(crate) fn place(self, value: u32) -> usize {
        value as usize & (self.span() - 1)
    }

    #[inline(always)]
    fn part(self, value: u32) -> usize {
        value as usize >> self.shift
    }

    fn count(self) -> usize {
        self.values.div_ceil(self.span())
    }
}

/// Fills `out` with the items of number 0 and up, part by part, in their order within each. `value` gives the value of a number,
/// `item` its item. Returns where each part starts, and the end.
pub(crate) fn distribute<T: Copy + Send>(
    parts: Partitions,
    out: &mut [T],
    value: impl Fn(usize) -> u32 + Sync,
    item: impl Fn(usize) -> T + Sync,
) -> Vec<usize> {
    let count = out.len();
    let piece = count.div_ceil(PIECES * rayon::current_num_threads()).max(PIECE);
    let pieces: Vec<Range<usize>> =
        (0..count).step_by(piece).map(|start| start..count.min(start + piece)).collect();
    let counts = |numbers: &Range<usize>| {
        let mut counts = vec![0_usize; parts.count()];
        numbers.clone().for_each(|number| counts[parts.part(value(number))] += 1);
        counts
    };
    let counts: Vec<Vec<usize>> = pieces.par_iter().map(counts).with_max_len(1).collect();
    // Each piece gets its own stretch of each part.
    let mut places: Vec<_> = counts.iter().map(|_| Vec::with_capacity(parts.count())).collect();
    let (mut rest, mut bounds) = (out, Vec::with_capacity(parts.count() + 1));
    for part in 0..parts.count() {
        bounds.push(count - rest.len());
        for (places, counts) in places.iter_mut().zip(&counts) {
            let (own, others) = mem::take(&mut rest).split_at_mut(counts[part]);
            places.push(own.iter_mut());
            rest = others;
        }
    }
    bounds.push(count);
    pieces.into_par_iter().zip(places).with_max_len(1).for_each(|(numbers, mut places)| {
        for number in numbers {
            if let Some(place) = places[parts.part(value(number))].next() {
                *place = item(number);
            }
        }
    });
    bounds
}

/// As [`distribute`], and then sorts each part. `value` gives the value of an item. Returns where the items of each value start,
/// and the end.
pub(crate) fn sort<T: Copy + Send + Sync>(
    values: usize,
    out: &mut [T],
    item: impl Fn(usize) -> T + Sync,
    value: impl Fn(&T) -> u32 + Sync,
) -> Vec<u32> {
    let parts = Partitions::of(values);
    let bounds = distribute(parts, out, |number| value(&item(number)), &item);
    let mut starts = vec![0; values + 1];
    starts[values] = out.len() as u32;
    let of_parts = starts[..values].par_chunks_mut(parts.span());
    let items = cut(out, &bounds).into_par_iter().zip(&bounds);
    of_parts.zip(items).with_max_len(TOGETHER).for_each_init(
        Vec::new,
        |scratch, (starts, (items, &first))| {
            scratch.clear();
            scratch.extend(items.iter().map(|item| (parts.place(value(item)) as u32, *item)));
            order(starts, items, first, scratch);
        },
    );
    starts
}

/// Puts the items of a part, which come with the places of their values, in order. The first of them is number `first` of all.
fn order<T: Copy>(starts: &mut [u32], items: &mut [T], first: usize, scratch: &[(u32, T)]) {
    scratch.iter().for_each(|(place, _)| starts[*place as usize] += 1);
    let mut sum = 0;
    for start in &mut *starts {
        sum += mem::replace(start, sum);
    }
    for (place, item) in scratch {
        let place = &mut starts[*place as usize];
        items[*place as usize] = *item;
        *place += 1;
    }
    // Each is where the next starts now.
    starts.copy_within(..starts.len() - 1, 1);
    starts[0] = 0;
    starts.iter_mut().for_each(|start| *start += first as u32);
}

/// Cuts a slice at these bounds, from the first to the last.
pub(crate) fn cut<'a, T>(slice: &'a mut [T], bounds: &[usize]) -> Vec<&'a mut [T]> {
    let mut rest = slice;
    let part = |pair: &[usize]| {
        let (own, others) = mem::take(&mut rest).split_at_mut(pair[1] - pair[0]);
        rest = others;
        own
    };
    bounds.windows(2).map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sorted(values: usize, items: &[u32]) -> (Vec<u32>, Vec<[u32; 2]>) {
        let mut out = vec![[0; 2]; items.len()];
        let item = |at: usize| [items[at], at as u32];
        let starts = sort(values, &mut out, item, |item| item[0]);
        (starts, out)
    }

    proptest! {
        #[test]
        fn sorting_is_stable_and_knows_where_values_start(
            values in prop_oneof![1..40_usize, 1000..1100_usize, Just(1 << 16), 1..200_000_usize],
            seeds in prop::collection::vec(prop_oneof![Just(0), any::<u32>()], 0..300),
            times in 1..150_usize,
        ) {
            // Many of few: more than one piece.
            let items: Vec<u32> = seeds.iter().cycle().take(seeds.len() * times).zip(0..)
                .map(|(seed, at): (&u32, u32)| seed.wrapping_add(at / 7) % values as u32).collect();
            let (starts, out) = sorted(values, &items);
            let mut expected: Vec<[u32; 2]> = items.iter().copied().zip(0..).map(Into::into).collect();
            expected.sort();
            prop_assert_eq!(&out, &expected);
            for value in (0..values as u32).step_by(1 + values / 50).chain([values as u32]) {
                let start = expected.partition_point(|item| item[0] < value);
                prop_assert_eq!(starts[value as usize] as usize, start);
            }
            let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
            prop_assert_eq!(alone.install(|| sorted(values, &items)), (starts, out));
        }
    }
}
