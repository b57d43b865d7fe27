//! The distinct codes of a database, and the items of each. Learned codes repeat many times, and what holds for one item holds for all items
//! with the same code.

use dhih_index::Codes;
use rayon::prelude::*;

/// Items, grouped by their codes.
pub(super) struct Distinct {
    /// Each code once.
    pub(super) codes: Codes,
    /// Items by their code, in ascending order for each code.
    items: Vec<u32>,
    /// The start of each code's items, and the end of all items.
    starts: Vec<usize>,
}

impl Distinct {
    /// Groups the items of a database.
    pub(super) fn of(codes: &Codes) -> Self {
        const BEGIN: usize = 8;
        let begin = |item: u32| {
            let code = codes.get(item as usize);
            code.iter().take(BEGIN).fold(0u64, |word, byte| word << 8 | u64::from(*byte))
        };
        let rest = |item: u32| codes.get(item as usize).get(BEGIN..).unwrap_or_default();
        // The beginning of a code is stored beside its item, so that few comparisons read further.
        let mut keys: Vec<(u64, u32)> =
            (0..codes.len() as u32).into_par_iter().map(|item| (begin(item), item)).collect();
        if codes.bytes_per_code() <= BEGIN {
            keys.par_sort_unstable();
        } else {
            keys.par_sort_unstable_by(|a, b| {
                let rest = || rest(a.1).cmp(rest(b.1));
                a.0.cmp(&b.0).then_with(rest).then(a.1.cmp(&b.1))
            });
        }
        let same = |a: &(u64, u32), b: &(u64, u32)| a.0 == b.0 && rest(a.1) == rest(b.1);
        let (mut firsts, mut starts) = (Vec::new(), vec![0]);
        for group in keys.chunk_by(same) {
            firsts.push(group[0].1 as usize);
            starts.push(starts[starts.len() - 1] + group.len());
        }
        let items = keys.into_iter().map(|(_, item)| item).collect();
        Self { codes: codes.select(&firsts), items, starts }
    }

    /// Whether codes repeat so often that processing each code once is less work than processing each item.
    pub(super) fn pays(&self) -> bool {
        2 * self.codes.len() <= self.items.len()
    }

    /// The items of each code in ascending order, one code after the other.
    pub(super) fn groups(&self) -> impl Iterator<Item = &[u32]> {
        (0..self.codes.len()).map(|number| self.items(number))
    }

    /// The items of code `number`, ascending.
    pub(super) fn items(&self, number: usize) -> &[u32] {
        &self.items[self.starts[number]..self.starts[number + 1]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_codes_are_together_and_their_items_in_order() {
        for width in [1, 8, 9, 17] {
            // Codes that differ in the first byte, and codes that differ in the last.
            let code = |first: u8, last: u8| {
                let mut code = vec![7; width];
                code[0] = first;
                code[width - 1] = last;
                code
            };
            let rows = [(3, 3), (1, 1), (3, 3), (1, 2), (1, 1), (3, 3)].map(|(a, b)| code(a, b));
            let codes = Codes::new(8 * width as u32, rows.concat()).unwrap();
            let distinct = Distinct::of(&codes);
            assert_eq!(distinct.codes.len(), 3);
            for (number, items) in distinct.groups().enumerate() {
                assert_eq!(items, distinct.items(number));
                let same = |item: &u32| codes.get(*item as usize) == distinct.codes.get(number);
                let expected: Vec<u32> = (0..6).filter(same).collect();
                assert_eq!(items, expected);
            }
            assert!(distinct.pays());
        }
    }
}
