//! Groups against the definitions of their linkages, taken literally.

use std::collections::BTreeSet;

use super::*;
use crate::test_numbers::Numbers;

/// Codes of 8 bits and the pairs within a radius.
struct Case {
    codes: Vec<u8>,
    radius: u32,
}

impl Case {
    fn draw(numbers: &mut Numbers) -> Self {
        let count = numbers.place(14);
        let mask = [0xff, 0x3f, 0x0f][numbers.place(3)];
        let codes = (0..count).map(|_| numbers.next() as u8 & mask).collect();
        Self { codes, radius: numbers.below(4) as u32 }
    }

    fn distance(&self, a: usize, b: usize) -> u32 {
        (self.codes[a] ^ self.codes[b]).count_ones()
    }

    fn pairs(&self) -> Vec<Pair> {
        let all = (0..self.codes.len()).flat_map(|a| (0..a).map(move |b| (b, a)));
        let near = all.filter(|&(a, b)| self.distance(a, b) <= self.radius);
        near.map(|(a, b)| Pair::new(a as u64, b as u64, self.distance(a, b))).collect()
    }

    /// The groups as sets of items, by the definition of the linkage.
    fn expected(&self, linkage: Linkage) -> Vec<Vec<usize>> {
        let mut groups = match linkage {
            Linkage::Stars => self.stars(),
            Linkage::Components => {
                self.agglomerate(|distances| distances.min().unwrap_or(u32::MAX))
            }
            Linkage::Complete => self.agglomerate(|distances| distances.max().unwrap_or(u32::MAX)),
        };
        groups.retain(|group| group.len() > 1);
        groups.sort();
        groups
    }

    fn stars(&self) -> Vec<Vec<usize>> {
        let mut free: BTreeSet<usize> = (0..self.codes.len()).collect();
        let mut groups = Vec::new();
        while let Some(centre) = free.pop_first() {
            let near = free.iter().copied().filter(|&b| self.distance(centre, b) <= self.radius);
            let group: Vec<usize> = [centre].into_iter().chain(near).collect();
            group.iter().for_each(|item| {
                free.remove(item);
            });
            groups.push(group);
        }
        groups
    }

    /// Joins the two nearest clusters as long as they are within the radius.
    fn agglomerate(
        &self,
        linkage: impl Fn(&mut dyn Iterator<Item = u32>) -> u32,
    ) -> Vec<Vec<usize>> {
        let mut clusters: Vec<Vec<usize>> = (0..self.codes.len()).map(|item| vec![item]).collect();
        loop {
            let mut best = None;
            for b in 1..clusters.len() {
                for a in 0..b {
                    let (left, right) = (&clusters[a], &clusters[b]);
                    let mut distances =
                        left.iter().flat_map(|&i| right.iter().map(move |&j| self.distance(i, j)));
                    let key = (linkage(&mut distances), left[0], right[0], a, b);
                    if key.0 <= self.radius && best.is_none_or(|best| key < best) {
                        best = Some(key);
                    }
                }
            }
            let Some((.., a, b)) = best else { return clusters };
            let joined = clusters.remove(b);
            clusters[a].extend(joined);
            clusters[a].sort_unstable();
            clusters.sort();
        }
    }
}

#[test]
fn groups_are_those_of_the_definitions() {
    let numbers = &mut Numbers(11);
    for case in 0..4000 {
        let case = (case, Case::draw(numbers)).1;
        let set = CodeSet::new(Codes::new(8, case.codes.clone()).unwrap());
        for linkage in [Linkage::Stars, Linkage::Components, Linkage::Complete] {
            let distance = |a: u64, b: u64| case.distance(a as usize, b as usize);
            let groups = group_pairs(linkage, case.pairs(), distance);
            // Equal codes are taken together first, which changes nothing.
            let options = PairOptions::within(case.radius);
            assert_eq!(groups, set.groups(linkage, &options).unwrap());
            let members = |group: &Group| {
                let others = group.others.iter().map(|hit| hit.id as usize);
                [group.kept as usize].into_iter().chain(others).collect::<Vec<_>>()
            };
            let found: Vec<Vec<usize>> = groups.iter().map(members).collect();
            assert_eq!(
                found,
                case.expected(linkage),
                "{linkage:?} {:?} {}",
                case.codes,
                case.radius
            );
            for group in groups {
                let members = members(&group);
                let all = members.iter().flat_map(|a| members.iter().map(move |b| (*a, *b)));
                assert_eq!(Some(group.diameter), all.map(|(a, b)| case.distance(a, b)).max());
                assert!(
                    group
                        .others
                        .iter()
                        .all(|hit| { hit.distance == case.distance(members[0], hit.id as usize) })
                );
                assert!(linkage == Linkage::Components || group.diameter <= 2 * case.radius);
                assert!(linkage != Linkage::Complete || group.diameter <= case.radius);
            }
        }
    }
}

#[test]
fn many_equal_codes_take_no_time_and_complete_linkage_knows_its_memory() {
    let count = 300_000_u64;
    let set = CodeSet::new(Codes::new(8, vec![9; count as usize]).unwrap());
    for linkage in [Linkage::Stars, Linkage::Components, Linkage::Complete] {
        let groups = set.groups(linkage, &PairOptions::within(2).with_memory(1 << 20)).unwrap();
        assert_eq!((groups.len(), groups[0].kept, groups[0].diameter), (1, 0, 0));
        assert_eq!(groups[0].others.len() as u64, count - 1);
    }
    let all: Vec<u8> = (0..=255).collect();
    let set = CodeSet::new(Codes::new(8, all).unwrap());
    let options = PairOptions::within(8).with_memory(1 << 20);
    let error = set.groups(Linkage::Complete, &options).unwrap_err();
    assert!(matches!(error, Error::PairMemory { memory: 1_048_576 }), "{error}");
    assert_eq!(set.groups(Linkage::Components, &options).unwrap()[0].diameter, 8);
}
