//! Complete linkage, component by component: nodes that no chain of pairs connects are never in one group.
//!
//! A cluster stores the clusters that it may be joined with: those whose nodes are all within the radius of all of its own. A joined
//! cluster may be joined with those that both of its parts could be joined with, at the greater of the two distances.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use rayon::prelude::*;

/// Two nodes within the radius.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Edge {
    pub(super) first: u32,
    pub(super) second: u32,
    pub(super) distance: u32,
}

/// The least node of each node's group. `labels` has that of its component.
pub(super) fn complete(mut labels: Vec<u32>, mut edges: Vec<Edge>) -> Vec<u32> {
    edges.par_sort_unstable_by_key(|edge| (labels[edge.first as usize], edge.first, edge.second));
    let of_component = |a: &Edge, b: &Edge| labels[a.first as usize] == labels[b.first as usize];
    let components: Vec<&[Edge]> = edges.chunk_by(of_component).collect();
    let joined: Vec<Vec<(u32, u32)>> =
        components.par_iter().map(|edges| join_clusters(edges)).collect();
    (0..).zip(&mut labels).for_each(|(node, label)| *label = node);
    for (into, joined) in joined.into_iter().flatten() {
        labels[joined as usize] = into;
    }
    // A cluster was joined into one with a smaller label. Labels are visited in ascending order, so that the smaller label is already
    // final.
    for node in 0..labels.len() {
        labels[node] = labels[labels[node] as usize];
    }
    labels
}

/// Joins the clusters of a component, which are named by their least nodes. Returns which cluster was joined into which.
fn join_clusters(edges: &[Edge]) -> Vec<(u32, u32)> {
    let mut near: HashMap<u32, HashMap<u32, u32>> = HashMap::new();
    let mut heap = BinaryHeap::with_capacity(edges.len());
    for &Edge { first, second, distance } in edges {
        near.entry(first).or_default().insert(second, distance);
        near.entry(second).or_default().insert(first, distance);
        heap.push(Reverse((distance, first, second)));
    }
    let mut joined = Vec::new();
    while let Some(Reverse((distance, a, b))) = heap.pop() {
        // The entry is stale if one of its two clusters was joined with another after it was pushed.
        if near.get(&a).and_then(|near| near.get(&b)) != Some(&distance) {
            continue;
        }
        joined.push((a, b));
        let (of_a, of_b) =
            (near.remove(&a).unwrap_or_default(), near.remove(&b).unwrap_or_default());
        for other in of_a.keys().chain(of_b.keys()) {
            if let Some(near) = near.get_mut(other) {
                near.remove(&a);
                near.remove(&b);
            }
        }
        let mut both = HashMap::new();
        for (other, distance) in of_a {
            let Some(distance) = of_b.get(&other).map(|of_b| distance.max(*of_b)) else { continue };
            both.insert(other, distance);
            if let Some(near) = near.get_mut(&other) {
                near.insert(a, distance);
            }
            heap.push(Reverse((distance, a.min(other), a.max(other))));
        }
        near.insert(a, both);
    }
    joined
}
