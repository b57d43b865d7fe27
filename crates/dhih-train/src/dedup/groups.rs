//! Groups pictures that are near each other, and decides which picture of a group is kept. Pictures get ids in the order of preference for
//! keeping, so that the item with the least id, which a group keeps, is the right one for any rule.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::path::PathBuf;

use dhih_index::{CodeSet, Codes, Group, Linkage, Pair, PairOptions, group_pairs, hamming};

use crate::dedup::hashes::Picture;
use crate::error::Result;

/// Which picture of a group is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The first one by its path.
    First,
    /// The one with the most pixels; among those, the one with the longest file.
    Largest,
    /// The one whose file was changed first.
    Earliest,
}

/// What counts as a duplicate.
#[derive(Debug, Clone, Copy)]
pub struct DedupConfig {
    /// The length of a code in bits.
    pub bits: u32,
    /// Pictures whose codes differ in at most this number of bits are duplicates.
    pub radius: u32,
    /// When duplicates form one group.
    pub linkage: Linkage,
    /// Which picture of a group is kept.
    pub keep: Keep,
    /// Whether pictures have a code for each symmetry.
    pub symmetries: bool,
}

/// A picture of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// The number of the picture in the list that was given.
    pub picture: usize,
    /// The distance between its code and that of the kept picture; with symmetries, the least distance.
    pub distance: u32,
}

/// Pictures that are duplicates of each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DuplicateGroup {
    /// The number of the kept picture: among the pictures themselves, or among those that they were compared with.
    pub kept: usize,
    /// The other pictures, in the order of preference for keeping.
    pub others: Vec<Member>,
    /// The greatest distance between two pictures of the group. Where pictures were compared with others, it is the greatest distance to the
    /// kept one.
    pub diameter: u32,
}

/// The groups of duplicates.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Duplicates {
    /// The groups, in the order of the files of their kept pictures.
    pub groups: Vec<DuplicateGroup>,
    /// The numbers of the pictures that are not kept, ascending.
    pub doomed: Vec<usize>,
}

/// Groups pictures by their codes. With `against`, each group consists of one of those pictures, which are all kept, and the pictures that are
/// near it; this finds the training pictures that are in a test set. The linkage does not matter then.
///
/// # Errors
/// When codes have another length.
pub fn find(
    pictures: &[Picture],
    against: Option<&[Picture]>,
    config: &DedupConfig,
) -> Result<Duplicates> {
    let mut duplicates = match against {
        Some(kept) => leaks(pictures, kept, config)?,
        None => groups(pictures, config)?,
    };
    duplicates.groups.sort_by_key(|group| group.kept);
    let others = duplicates.groups.iter().flat_map(|group| &group.others);
    duplicates.doomed = others.map(|member| member.picture).collect();
    duplicates.doomed.sort_unstable();
    duplicates.doomed.dedup();
    Ok(duplicates)
}

/// Removes from `pictures` those whose files are also among `kept`, by whatever paths: of overlapping folders, a picture would otherwise be the
/// duplicate of itself.
pub fn retain_others(pictures: &mut Vec<Picture>, kept: &[Picture]) {
    let place = |picture: &Picture| picture.path.canonicalize().ok();
    let kept: HashSet<PathBuf> = kept.iter().filter_map(place).collect();
    pictures.retain(|picture| place(picture).is_none_or(|place| !kept.contains(&place)));
}

/// The pictures in the order of preference for keeping.
fn order(pictures: &[Picture], keep: Keep) -> Vec<usize> {
    let mut order: Vec<usize> = (0..pictures.len()).collect();
    match keep {
        Keep::First => order.sort_by_key(|&at| &pictures[at].path),
        Keep::Largest => order.sort_by_key(|&at| {
            let Picture { width, height, bytes, path, .. } = &pictures[at];
            (Reverse((u64::from(*width) * u64::from(*height), *bytes)), path)
        }),
        // Files without a time come last.
        Keep::Earliest => order.sort_by_key(|&at| {
            (pictures[at].modified.is_none(), pictures[at].modified, &pictures[at].path)
        }),
    }
    order
}

/// The first code of each picture, or all of its codes.
fn codes<'a>(pictures: impl Iterator<Item = &'a Picture>, bits: u32, all: bool) -> Result<CodeSet> {
    let width = bits.div_ceil(8) as usize;
    let of = |picture: &'a Picture| if all { &picture.codes[..] } else { &picture.codes[..width] };
    let bytes: Vec<u8> = pictures.flat_map(of).copied().collect();
    Ok(CodeSet::new(Codes::new(bits, bytes)?))
}

/// The number of codes of a picture: one, or one for each symmetry.
fn codes_each(config: &DedupConfig) -> u64 {
    if config.symmetries { 8 } else { 1 }
}

fn groups(pictures: &[Picture], config: &DedupConfig) -> Result<Duplicates> {
    let order = order(pictures, config.keep);
    let ordered = || order.iter().map(|&at| &pictures[at]);
    let (set, options) =
        (codes(ordered(), config.bits, false)?, PairOptions::within(config.radius));
    let found = if config.symmetries {
        let mut pairs = symmetric_pairs(&set, &codes(ordered(), config.bits, true)?, config)?;
        pairs.retain(|pair| pair.first < pair.second);
        let distance = |a: u64, b: u64| {
            least_distance(&pictures[order[a as usize]], &pictures[order[b as usize]], config.bits)
        };
        group_pairs(config.linkage, pairs, distance)
    } else {
        set.groups(config.linkage, &options)?
    };
    let group = |group: Group| {
        let member = |hit: &dhih_index::Hit| Member {
            picture: order[hit.id as usize],
            distance: hit.distance,
        };
        DuplicateGroup {
            kept: order[group.kept as usize],
            others: group.others.iter().map(member).collect(),
            diameter: group.diameter,
        }
    };
    Ok(Duplicates { groups: found.into_iter().map(group).collect(), doomed: Vec::new() })
}

/// The least distance between one picture and the symmetries of another.
fn least_distance(a: &Picture, b: &Picture, bits: u32) -> u32 {
    let width = bits.div_ceil(8) as usize;
    let all = b.codes.chunks_exact(width);
    all.map(|code| hamming::distance(&a.codes[..width], code)).min().unwrap_or(u32::MAX)
}

/// The pairs of a picture of `left` and one of `right`, which has a code for each symmetry. The nearest symmetry counts.
fn symmetric_pairs(left: &CodeSet, right: &CodeSet, config: &DedupConfig) -> Result<Vec<Pair>> {
    let each = codes_each(config);
    let mut pairs: Vec<Pair> = Vec::new();
    left.pairs_with(right, &PairOptions::within(config.radius), |found| {
        for pair in found {
            let (first, second) = (pair.first, pair.second / each);
            match pairs.last_mut() {
                // The symmetries of a picture follow each other.
                Some(last) if (last.first, last.second) == (first, second) => {
                    last.distance = last.distance.min(pair.distance);
                }
                _ => pairs.push(Pair::new(first, second, pair.distance)),
            }
        }
        Ok::<(), dhih_index::Error>(())
    })?;
    Ok(pairs)
}

fn leaks(pictures: &[Picture], kept: &[Picture], config: &DedupConfig) -> Result<Duplicates> {
    let left = codes(kept.iter(), config.bits, false)?;
    let right = codes(pictures.iter(), config.bits, config.symmetries)?;
    let pairs = symmetric_pairs(&left, &right, config)?;
    let group = |pairs: &[Pair]| {
        let member =
            |pair: &Pair| Member { picture: pair.second as usize, distance: pair.distance };
        let diameter = pairs.iter().map(|pair| pair.distance).max().unwrap_or(0);
        let kept = pairs.first().map_or(0, |pair| pair.first as usize);
        DuplicateGroup { kept, others: pairs.iter().map(member).collect(), diameter }
    };
    let groups = pairs.chunk_by(|a, b| a.first == b.first).map(group).collect();
    Ok(Duplicates { groups, doomed: Vec::new() })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    /// Pictures with codes of 8 bits. The fourth has a symmetry that is near the first picture.
    fn pictures() -> Vec<Picture> {
        let picture = |number: u64, code: u8, side: u32| Picture {
            path: format!("{number}.png").into(),
            width: side,
            height: side,
            bytes: 100,
            modified: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(100 - number)),
            quality: None,
            codes: [code].into_iter().chain([0xaa; 7]).collect(),
        };
        let mut all =
            vec![picture(0, 0, 10), picture(1, 1, 30), picture(2, 3, 20), picture(3, 0xf0, 9)];
        all[3].codes[5] = 0;
        all[0].codes[5] = 0xf0;
        all
    }

    fn config(linkage: Linkage, keep: Keep) -> DedupConfig {
        DedupConfig { bits: 8, radius: 1, linkage, keep, symmetries: false }
    }

    /// The kept picture, the others with their distances, and the diameter.
    type Shown = (usize, Vec<(usize, u32)>, u32);

    fn shown(duplicates: &Duplicates) -> Vec<Shown> {
        let members = |group: &DuplicateGroup| {
            group.others.iter().map(|member| (member.picture, member.distance)).collect()
        };
        duplicates.groups.iter().map(|group| (group.kept, members(group), group.diameter)).collect()
    }

    #[test]
    fn rules_choose_the_kept_picture() {
        for (keep, expected) in [
            (Keep::First, (0, vec![(1, 1), (2, 2)], 2)),
            (Keep::Largest, (1, vec![(2, 1), (0, 1)], 2)),
            (Keep::Earliest, (2, vec![(1, 1), (0, 2)], 2)),
        ] {
            let found = find(&pictures(), None, &config(Linkage::Components, keep)).unwrap();
            assert_eq!(shown(&found), [expected], "{keep:?}");
        }
        let stars = find(&pictures(), None, &config(Linkage::Stars, Keep::First)).unwrap();
        assert_eq!((shown(&stars), stars.doomed), (vec![(0, vec![(1, 1)], 1)], vec![1]));
    }

    #[test]
    fn a_turned_picture_is_found_by_its_symmetries_alone() {
        let symmetric = DedupConfig { symmetries: true, ..config(Linkage::Stars, Keep::First) };
        let found = find(&pictures(), None, &symmetric).unwrap();
        // Picture 1 is as far from picture 3 as from the nearest symmetry of picture 3.
        assert_eq!(shown(&found), [(0, vec![(1, 1), (3, 0)], 1)]);
    }

    #[test]
    fn leaks_are_told_for_each_kept_picture_and_listed_once() {
        let (train, test) = (pictures(), [pictures().remove(2), pictures().remove(1)]);
        let found = find(&train, Some(&test), &config(Linkage::Stars, Keep::First)).unwrap();
        let expected = [(0, vec![(1, 1), (2, 0)], 1), (1, vec![(0, 1), (1, 0), (2, 1)], 1)];
        assert_eq!(shown(&found), expected);
        assert_eq!(found.doomed, [0, 1, 2]);
    }
}
