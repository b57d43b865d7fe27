//! A counting sort that all threads share: it sorts items by a value and keeps their order where values are equal. Items are first
//! distributed to partitions by the high bits of their values; then each partition is sorted by itself, in the cache. `groups.rs`
//! and the tables of `table/` are sorted this way.

use std::mem;
use std::ops::Range;

use rayon::prelude::*;

/// The number of partitions is at most two to this power. This many streams can be written in turn without waiting for memory.
const LOG_PARTITIONS: u32 = 10;
/// A piece of the input has at least this many items. One thread counts and distributes a piece.
const PIECE: usize = 1 << 14;
/// Pieces for each thread, so that a thread that starts late has fewer of them.
const PIECES: usize = 4;
/// One thread sorts up to this many partitions one after the other before others can take over.
pub(crate) const TOGETHER: usize = 4;

/// The values below some number, divided into partitions of `span` values each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Partitions {
    values: usize,
    shift: u32,
}

impl Partitions {
    /// Partitions of the values below `values`.
    pub(crate) fn of(values: usize) -> Self {
        let bits = usize::BITS - values.saturating_sub(1).leading_zeros();
        Self { values, shift: bits.saturating_sub(LOG_PARTITIONS) }
    }

    /// The number of values in a partition.
    pub(crate) fn span(self) -> usize {
        1 << self.shift
    }

    /// The place of a value in its partition.
    #[inline(always)]
    pub(crate) fn place(self, value: u32) -> usize {
        value as usize & (self.span() - 1)
    }

    /// The number of the partition that a value belongs to.
    #[inline(always)]
    fn partition(self, value: u32) -> usize {
        value as usize >> self.shift
    }

    fn count(self) -> usize {
        self.values.div_ceil(self.span())
    }
}

/// Fills `out` with the items of numbers 0 and up, partition by partition, in the order of their numbers within each. `value` gives
/// the value of a number, `item` its item. Returns where each partition starts, and the end.
pub(crate) fn distribute<T: Copy + Send>(
    partitions: Partitions,
    out: &mut [T],
    value: impl Fn(usize) -> u32 + Sync,
    item: impl Fn(usize) -> T + Sync,
) -> Vec<usize> {
    let count = out.len();
    let piece = count.div_ceil(PIECES * rayon::current_num_threads()).max(PIECE);
    let pieces: Vec<Range<usize>> =
        (0..count).step_by(piece).map(|start| start..count.min(start + piece)).collect();
    let counts = |numbers: &Range<usize>| {
        let mut counts = vec![0_usize; partitions.count()];
        numbers.clone().for_each(|number| counts[partitions.partition(value(number))] += 1);
        counts
    };
    let counts: Vec<Vec<usize>> = pieces.par_iter().map(counts).with_max_len(1).collect();
    // Each piece gets a stretch of its own in each partition, so that threads do not write to the same places.
    let with_room = |_| Vec::with_capacity(partitions.count());
    let mut stretches: Vec<_> = counts.iter().map(with_room).collect();
    let (mut rest, mut bounds) = (out, Vec::with_capacity(partitions.count() + 1));
    for partition in 0..partitions.count() {
        bounds.push(count - rest.len());
        for (stretches, counts) in stretches.iter_mut().zip(&counts) {
            let (own, others) = mem::take(&mut rest).split_at_mut(counts[partition]);
            stretches.push(own.iter_mut());
            rest = others;
        }
    }
    bounds.push(count);
    pieces.into_par_iter().zip(stretches).with_max_len(1).for_each(|(numbers, mut stretches)| {
        for number in numbers {
            if let Some(place) = stretches[partitions.partition(value(number))].next() {
                *place = item(number);
            }
        }
    });
    bounds
}

/// Sorts the items of numbers 0 and up into `out`: [`distribute`], and then a counting sort of each partition. `value` gives the value
/// of an item. Returns where the items of each value start, and the end.
pub(crate) fn sort<T: Copy + Send + Sync>(
    values: usize,
    out: &mut [T],
    item: impl Fn(usize) -> T + Sync,
    value: impl Fn(&T) -> u32 + Sync,
) -> Vec<u32> {
    let partitions = Partitions::of(values);
    let bounds = distribute(partitions, out, |number| value(&item(number)), &item);
    let mut starts = vec![0; values + 1];
    starts[values] = out.len() as u32;
    let of_partitions = starts[..values].par_chunks_mut(partitions.span());
    let items = cut(out, &bounds).into_par_iter().zip(&bounds);
    of_partitions.zip(items).with_max_len(TOGETHER).for_each_init(
        Vec::new,
        |scratch, (starts, (items, &first))| {
            renew(scratch, items.len());
            scratch.extend(items.iter().map(|item| (partitions.place(value(item)) as u32, *item)));
            count_and_place(starts, items, first, scratch);
        },
    );
    starts
}

/// Empties a buffer and makes room for exactly `count` items where it has less: a partition can hold all items there are, and growing
/// the buffer by doubling would need twice the memory that builds plan with.
pub(crate) fn renew<T>(buffer: &mut Vec<T>, count: usize) {
    buffer.clear();
    if buffer.capacity() < count {
        *buffer = Vec::new();
        buffer.reserve_exact(count);
    }
}

/// Sorts the items of one partition. `scratch` holds them with the places of their values in the partition; `first` is the number of
/// items in the partitions before it.
fn count_and_place<T: Copy>(
    starts: &mut [u32],
    items: &mut [T],
    first: usize,
    scratch: &[(u32, T)],
) {
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
    // Each entry has advanced to where the next value starts.
    starts.copy_within(..starts.len() - 1, 1);
    starts[0] = 0;
    starts.iter_mut().for_each(|start| *start += first as u32);
}

/// Cuts a slice at these bounds, from the first to the last.
pub(crate) fn cut<'a, T>(slice: &'a mut [T], bounds: &[usize]) -> Vec<&'a mut [T]> {
    let mut rest = slice;
    let piece = |pair: &[usize]| {
        let (own, others) = mem::take(&mut rest).split_at_mut(pair[1] - pair[0]);
        rest = others;
        own
    };
    bounds.windows(2).map(piece).collect()
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
            // Few values repeated many times, so that there is more than one piece.
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
