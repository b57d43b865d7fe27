//! Draws disjoint parts of a dataset from a seed, class by class. `mod.rs` has the parts of each protocol, `split.rs` has splits.

use rand::seq::SliceRandom;

use crate::dataset::Dataset;
use crate::error::{Error, Result};

/// The settings of a drawing.
pub(super) struct Drawing<'a, F> {
    pub(super) dataset: &'a Dataset,
    /// The same seed draws the same rows.
    pub(super) seed: u64,
    /// The rows to draw from, in ascending order.
    pub(super) rows: &'a [usize],
    /// The classes to draw for, in ascending order.
    pub(super) classes: &'a [u32],
    /// How many images each part gets of a class, given how many images of the class are left that were not drawn for an earlier class.
    pub(super) counts: F,
    /// Whether a class with too few images contributes to no part; otherwise it is an error.
    pub(super) skip_small_classes: bool,
}

impl<F> Drawing<'_, F> {
    /// Draws disjoint parts, each in ascending order. At least one image of each class is left. An image of several classes is drawn for the
    /// first class that wants it.
    ///
    /// # Errors
    /// When a class has too few images, unless such classes are skipped, and when all classes have too few.
    pub(super) fn draw<const N: usize>(self) -> Result<[Vec<usize>; N]>
    where
        F: Fn(usize) -> [usize; N],
    {
        let mut rng = dhih_model::named_rng(self.seed, "split");
        let mut parts = [const { Vec::new() }; N];
        let mut is_drawn = vec![false; self.dataset.len()];
        let mut too_small = None;
        for (label, rows) in self.classes.iter().zip(self.rows_of_classes()) {
            let mut rows: Vec<usize> = rows.into_iter().filter(|row| !is_drawn[*row]).collect();
            rows.shuffle(&mut rng);
            let counts = (self.counts)(rows.len());
            let needed = counts.iter().sum::<usize>() + 1;
            if rows.len() < needed {
                let error = self.too_few(*label, rows.len(), needed);
                if self.skip_small_classes {
                    too_small.get_or_insert(error);
                    continue;
                }
                return Err(error);
            }
            for (part, count) in parts.iter_mut().zip(counts) {
                let drawn: Vec<usize> = rows.drain(..count).collect();
                drawn.iter().for_each(|row| is_drawn[*row] = true);
                part.extend(drawn);
            }
        }
        if let (Some(error), true) = (too_small, parts.iter().all(Vec::is_empty)) {
            return Err(error);
        }
        parts.iter_mut().for_each(|part| part.sort_unstable());
        Ok(parts)
    }

    /// The rows of each class, found in one pass over the rows.
    fn rows_of_classes(&self) -> Vec<Vec<usize>> {
        let mut number = vec![None; self.dataset.classes.len()];
        for (i, class) in self.classes.iter().enumerate() {
            number[*class as usize] = Some(i);
        }
        let mut rows = vec![Vec::new(); self.classes.len()];
        for row in self.rows {
            let numbers = self.dataset.labels.of(*row).iter();
            numbers.filter_map(|class| number[*class as usize]).for_each(|i| rows[i].push(*row));
        }
        rows
    }

    fn too_few(&self, label: u32, found: usize, needed: usize) -> Error {
        let class = &self.dataset.classes[label as usize];
        Error::Config {
            name: "dataset",
            got: format!("{found} images of class {class:?}"),
            expected: format!("at least {needed}: some are held out as queries"),
        }
    }
}
