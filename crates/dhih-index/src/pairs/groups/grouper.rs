//! Decides which nodes belong together, from pairs in the order of (first, second). Stars and components need one number for each node and
//! store no pairs; complete linkage (`complete.rs`) needs all pairs.

use crate::pairs::groups::Linkage;
use crate::pairs::groups::complete::{Edge, complete};

/// No group yet.
const NONE: u32 = u32::MAX;

/// Receives pairs, and then returns the groups of nodes.
pub(super) struct Grouper {
    linkage: Linkage,
    /// The centre of a node's star or `NONE`, or for other linkages a node nearer to the least node of its component.
    labels: Vec<u32>,
    /// All pairs, where the linkage needs them.
    edges: Vec<Edge>,
    most_edges: usize,
}

impl Grouper {
    /// A grouper of `nodes` nodes. With complete linkage it takes at most `most_edges` pairs.
    pub(super) fn new(linkage: Linkage, nodes: usize, most_edges: usize) -> Self {
        let labels = match linkage {
            Linkage::Stars => vec![NONE; nodes],
            Linkage::Components | Linkage::Complete => (0..nodes as u32).collect(),
        };
        Self { linkage, labels, edges: Vec::new(), most_edges }
    }

    /// Takes a pair of nodes, the first being the lesser one. False where there is no room for it.
    pub(super) fn push(&mut self, first: u32, second: u32, distance: u32) -> bool {
        match self.linkage {
            Linkage::Stars => self.push_star(first as usize, second as usize),
            Linkage::Components => self.connect(first, second),
            Linkage::Complete => {
                if self.edges.len() >= self.most_edges {
                    return false;
                }
                self.connect(first, second);
                self.edges.push(Edge { first, second, distance });
            }
        }
        true
    }

    /// All pairs with `first` as the second node came before this one, so it is known whether `first` is a centre.
    fn push_star(&mut self, first: usize, second: usize) {
        let labels = &mut self.labels;
        if labels[first] == NONE {
            labels[first] = first as u32;
        }
        if labels[first] == first as u32 && labels[second] == NONE {
            labels[second] = first as u32;
        }
    }

    fn connect(&mut self, first: u32, second: u32) {
        let (a, b) = (self.root(first), self.root(second));
        self.labels[a.max(b) as usize] = a.min(b);
    }

    /// Finds the least node of a component, and halves the path to it on the way.
    fn root(&mut self, mut node: u32) -> u32 {
        loop {
            let next = self.labels[node as usize];
            if next == node {
                return node;
            }
            let beyond = self.labels[next as usize];
            self.labels[node as usize] = beyond;
            node = beyond;
        }
    }

    /// The least node of each node's group.
    pub(super) fn finish(mut self) -> Vec<u32> {
        if self.linkage == Linkage::Stars {
            let own =
                |(node, label): (usize, &u32)| if *label == NONE { node as u32 } else { *label };
            return self.labels.iter().enumerate().map(own).collect();
        }
        let roots: Vec<u32> = (0..self.labels.len() as u32).map(|node| self.root(node)).collect();
        match self.linkage {
            Linkage::Complete => complete(roots, self.edges),
            _ => roots,
        }
    }
}
