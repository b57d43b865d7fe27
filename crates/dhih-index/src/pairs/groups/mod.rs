//! Groups of items that are near each other, made of pairs: which items belong together (`grouper.rs`, `complete.rs`), which of them is
//! kept, and how far apart the items of a group are. Finding the pairs is the rest of `pairs/`.

mod complete;
mod grouper;
#[cfg(test)]
mod tests;

use rayon::prelude::*;

use serde::Serialize;

use crate::codes::Codes;
use crate::codes::set::CodeSet;
use crate::error::{Error, Result};
use crate::hamming;
use crate::hits::Hit;
use crate::index::Index;
use crate::pairs::groups::grouper::Grouper;
use crate::pairs::source::{Block, MOST_ITEMS, Source};
use crate::pairs::{Pair, PairOptions};

/// The rule by which items near each other form a group.
///
/// ```
/// use dhih_index::{Linkage, Pair, group_pairs};
///
/// // A chain: each item is within radius 2 of the next.
/// let chain = || vec![Pair::new(1, 2, 2), Pair::new(2, 3, 2), Pair::new(3, 4, 2)];
/// let distance = |a: u64, b: u64| 2 * a.abs_diff(b) as u32;
/// let groups = |linkage| {
///     let groups = group_pairs(linkage, chain(), distance);
///     groups.iter().map(|group| (group.kept, group.others.len(), group.diameter)).collect::<Vec<_>>()
/// };
/// assert_eq!(groups(Linkage::Components), [(1, 3, 6)]);
/// assert_eq!(groups(Linkage::Stars), [(1, 1, 2), (3, 1, 2)]);
/// assert_eq!(groups(Linkage::Complete), [(1, 1, 2), (3, 1, 2)]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Linkage {
    /// Items in the order of their ids: one that is in no group yet is kept, and takes all items within the radius that are in no group
    /// yet. So each item that is not kept is within the radius of the one that is kept for it.
    Stars,
    /// Items that a chain of pairs connects (single linkage). The ends of a chain may be much farther apart than the radius, which
    /// [`Group::diameter`] tells.
    Components,
    /// Groups in which all items are within the radius of each other, by agglomerative complete linkage: the two groups that are nearest
    /// by their farthest items are joined, as long as these are within the radius; among equally near ones, those with the least ids.
    Complete,
}

/// Two items or more that belong together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Group {
    /// The item that is kept: the one with the least id.
    pub kept: u64,
    /// The other items by ascending id, with their distances to the kept one.
    pub others: Vec<Hit>,
    /// The distance of the two items of the group that are farthest apart.
    pub diameter: u32,
}

/// Groups items by pairs of them, each of which is given once. `distance` tells the distance of any two items. The groups are ordered by
/// the item that is kept.
///
/// ```
/// use dhih_index::{Linkage, Pair, group_pairs};
///
/// let codes = [0b0000_u8, 0b0011, 0b1111];
/// let pairs = vec![Pair::new(0, 1, 2), Pair::new(1, 2, 2)];
/// let groups = group_pairs(Linkage::Components, pairs, |a, b| {
///     (codes[a as usize] ^ codes[b as usize]).count_ones()
/// });
/// assert_eq!((groups.len(), groups[0].kept, groups[0].diameter), (1, 0, 4));
/// ```
///
/// # Panics
/// If the pairs are of more than 4,294,967,294 items.
pub fn group_pairs(
    linkage: Linkage,
    mut pairs: Vec<Pair>,
    distance: impl Fn(u64, u64) -> u32 + Sync,
) -> Vec<Group> {
    for pair in &mut pairs {
        if pair.first > pair.second {
            std::mem::swap(&mut pair.first, &mut pair.second);
        }
    }
    pairs.par_sort_unstable();
    let mut ids: Vec<u64> = pairs.iter().flat_map(|pair| [pair.first, pair.second]).collect();
    ids.par_sort_unstable();
    ids.dedup();
    assert!(ids.len() <= MOST_ITEMS, "{} items are too many for one grouping", ids.len());
    // Every id is in the list.
    let node = |id: u64| ids.binary_search(&id).unwrap_or_default() as u32;
    let mut grouper = Grouper::new(linkage, ids.len(), usize::MAX);
    for pair in &pairs {
        // Without a limit of memory, no pair is refused.
        let _ = grouper.push(node(pair.first), node(pair.second), pair.distance);
    }
    let labels = grouper.finish();
    let distance = |a: u32, b: u32| distance(ids[a as usize], ids[b as usize]);
    groups_of(&labels, &Nodes::single(&ids), &Distance(distance))
}

impl Index {
    /// Groups the items that are near each other. Items of equal codes are always in one group, and are taken together before anything is
    /// compared, so that many of them take neither time nor memory. Their codes are in memory.
    ///
    /// ```
    /// use dhih_index::{CodeSet, Codes, Index, IndexBuilder, Linkage, PairOptions};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let dir = dir.path().join("index");
    /// let set = CodeSet::new(Codes::new(8, vec![0b0000, 0b1111, 0b0001, 0b0000])?);
    /// IndexBuilder::default().build(&set, &dir)?;
    ///
    /// let groups = Index::open(&dir)?.groups(Linkage::Stars, &PairOptions::within(1))?;
    /// assert_eq!((groups.len(), groups[0].kept, groups[0].diameter), (1, 0, 1));
    /// assert_eq!(groups[0].others.iter().map(|hit| hit.id).collect::<Vec<_>>(), [2, 3]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As for [`pairs`](Self::pairs); for complete linkage also pairs that do not fit into the memory that is given.
    pub fn groups(&self, linkage: Linkage, options: &PairOptions) -> Result<Vec<Group>> {
        groups(&Source::of_index(self), linkage, options)
    }
}

impl CodeSet {
    /// Groups the items of a set, as [`Index::groups`] does.
    ///
    /// # Errors
    /// The same errors, and what [`check`](Self::check) refuses.
    pub fn groups(&self, linkage: Linkage, options: &PairOptions) -> Result<Vec<Group>> {
        groups(&Source::of_set(self)?, linkage, options)
    }
}

/// Bytes that complete linkage takes for a pair, about: the pair, and its entries in the tables of both items.
const BYTES_OF_PAIR: u64 = 100;

fn groups(source: &Source, linkage: Linkage, options: &PairOptions) -> Result<Vec<Group>> {
    let items = source.stream(0)?.take(usize::MAX)?;
    let nodes = Nodes::distinct(&items);
    let firsts = (0..nodes.len() as u32).map(|node| items.code(nodes.items(node)[0] as usize));
    let set = CodeSet::new(Codes::from_codes(source.bits(), firsts)?);
    let most_pairs = options.memory.map_or(u64::MAX, |memory| memory / BYTES_OF_PAIR);
    let most_pairs = usize::try_from(most_pairs).unwrap_or(usize::MAX);
    let mut grouper = Grouper::new(linkage, nodes.len(), most_pairs);
    set.pairs(options, |pairs| {
        for pair in pairs {
            if !grouper.push(pair.first as u32, pair.second as u32, pair.distance) {
                return Err(Error::PairMemory { memory: options.memory.unwrap_or(u64::MAX) });
            }
        }
        Ok(())
    })?;
    Ok(groups_of(&grouper.finish(), &nodes, &set.codes))
}

/// Items that are taken together, because their codes are equal.
struct Nodes<'a> {
    /// The items of all nodes one after the other, ascending within each node.
    items: Vec<u32>,
    /// Where those of each node start, and the end. Nodes ascend by their first items.
    starts: Vec<u32>,
    /// The id of each item; these ascend.
    ids: &'a [u64],
}

impl<'a> Nodes<'a> {
    /// A node for each item.
    fn single(ids: &'a [u64]) -> Self {
        let count = ids.len() as u32;
        Self { items: (0..count).collect(), starts: (0..=count).collect(), ids }
    }

    /// A node for each different code.
    fn distinct(block: &'a Block) -> Self {
        let mut sorted: Vec<u32> = (0..block.len() as u32).collect();
        let code = |item: u32| block.code(item as usize);
        sorted.par_sort_unstable_by(|&a, &b| code(a).cmp(code(b)).then(a.cmp(&b)));
        let mut nodes: Vec<&[u32]> = sorted.chunk_by(|&a, &b| code(a) == code(b)).collect();
        nodes.par_sort_unstable_by_key(|node| node[0]);
        let ends = nodes.iter().scan(0, |end, node| {
            *end += node.len() as u32;
            Some(*end)
        });
        let starts = std::iter::once(0).chain(ends).collect();
        Self { items: nodes.concat(), starts, ids: &block.ids }
    }

    fn len(&self) -> usize {
        self.starts.len() - 1
    }

    fn items(&self, node: u32) -> &[u32] {
        let node = node as usize;
        &self.items[self.starts[node] as usize..self.starts[node + 1] as usize]
    }
}

/// The groups of nodes: `labels` has the least node of each one's group.
fn groups_of(labels: &[u32], nodes: &Nodes, metric: &impl Metric) -> Vec<Group> {
    let mut order: Vec<u32> = (0..labels.len() as u32).collect();
    order.par_sort_unstable_by_key(|&node| (labels[node as usize], node));
    let groups: Vec<&[u32]> = order
        .chunk_by(|&a, &b| labels[a as usize] == labels[b as usize])
        .filter(|group| group.len() > 1 || nodes.items(group[0]).len() > 1)
        .collect();
    groups
        .par_iter()
        .map(|group| {
            let centre = group[0];
            let mut hits: Vec<Hit> = Vec::new();
            for &node in *group {
                let distance = if node == centre { 0 } else { metric.distance(centre, node) };
                let ids = nodes.items(node).iter().map(|&item| nodes.ids[item as usize]);
                hits.extend(ids.map(|id| Hit::new(distance, id)));
            }
            hits.sort_unstable_by_key(|hit| hit.id);
            let kept = hits.remove(0).id;
            Group { kept, others: hits, diameter: metric.diameter(group) }
        })
        .collect()
}

/// Distances of nodes.
trait Metric: Sync {
    fn distance(&self, a: u32, b: u32) -> u32;

    /// The greatest distance of two of these nodes.
    fn diameter(&self, nodes: &[u32]) -> u32 {
        let from = |at: usize| {
            let others = nodes[at + 1..].iter();
            others.map(|&other| self.distance(nodes[at], other)).max()
        };
        (0..nodes.len()).into_par_iter().filter_map(from).max().unwrap_or(0)
    }
}

/// A function as a metric.
struct Distance<F>(F);

impl<F: Fn(u32, u32) -> u32 + Sync> Metric for Distance<F> {
    fn distance(&self, a: u32, b: u32) -> u32 {
        (self.0)(a, b)
    }
}

impl Metric for Codes {
    fn distance(&self, a: u32, b: u32) -> u32 {
        hamming::distance(self.get(a as usize), self.get(b as usize))
    }

    fn diameter(&self, nodes: &[u32]) -> u32 {
        let rows: Vec<usize> = nodes.iter().map(|&node| node as usize).collect();
        let (codes, width) = (self.select(&rows), self.bytes_per_code());
        let from = |distances: &mut Vec<u32>, at: usize| {
            let others = &codes.as_bytes()[(at + 1) * width..];
            distances.resize(others.len() / width, 0);
            hamming::distances_into(codes.get(at), others, distances);
            distances.iter().copied().max().unwrap_or(0)
        };
        (0..codes.len()).into_par_iter().map_init(Vec::new, from).max().unwrap_or(0)
    }
}
