//! The cases of `bench life`: what happens to an index, and how fast its searches have to be afterwards. How they are measured:
//! `life.rs`.

/// What happens to an index, and how fast its searches have to be afterwards.
pub(super) struct Case {
    pub(super) name: &'static str,
    /// Items that the index is built of.
    pub(super) built: usize,
    pub(super) change: Change,
    pub(super) ratio: Ratio,
    /// The ratio should not exceed this.
    pub(super) goal: f64,
}

/// How an index is changed after its build.
#[derive(Clone, Copy)]
pub(super) enum Change {
    /// `added` items are added, then all items of the build are removed.
    ReplaceAll { added: usize },
    /// Nine of ten items are removed.
    RemoveMost,
    /// One item is given another code, `times` times in a row.
    UpdateOne { times: usize },
    /// `added` items are added, few enough to stay in the log.
    Add { added: usize },
}

/// Which ratio the goal of a case is for.
#[derive(Clone, Copy)]
pub(super) enum Ratio {
    /// The median of a search before `compact`, divided by that after it. Means would depend on what else the machine did.
    ToCompacted,
    /// The median of a search before `compact`, divided by the mean of a scan of the same codes without an index. The scan's median
    /// is not measured.
    ToFlatScan,
}

pub(super) const CASES: [Case; 4] = [
    Case {
        name: "replace-all",
        built: 3_000_000,
        change: Change::ReplaceAll { added: 1_200_000 },
        ratio: Ratio::ToCompacted,
        goal: 1.5,
    },
    Case {
        name: "remove-most",
        built: 3_000_000,
        change: Change::RemoveMost,
        ratio: Ratio::ToCompacted,
        goal: 1.5,
    },
    Case {
        name: "update-one",
        built: 1_000,
        change: Change::UpdateOne { times: 1_500 },
        ratio: Ratio::ToCompacted,
        goal: 2.0,
    },
    Case {
        name: "log-scan",
        built: 1_000,
        change: Change::Add { added: 60_000 },
        ratio: Ratio::ToFlatScan,
        goal: 1.0,
    },
];

impl Case {
    /// What happens to the index at a scale, in words.
    pub(super) fn life(&self, scale: f64) -> String {
        let built = scaled(self.built, scale);
        match self.change {
            Change::ReplaceAll { added } => {
                format!("{built} built, {} added, the first {built} removed", scaled(added, scale))
            }
            Change::RemoveMost => format!("{built} built, nine of ten removed"),
            Change::UpdateOne { times } => {
                format!("{built} built, one of them updated {} times", scaled(times, scale))
            }
            Change::Add { added } => format!("{built} built, {} added", scaled(added, scale)),
        }
    }
}

/// A number of items or updates at a scale; 20 at least, more than are searched for.
pub(super) fn scaled(count: usize, scale: f64) -> usize {
    ((count as f64 * scale).round() as usize).max(20)
}
