//! The prospects of a segment: how far searches may go before scanning all codes is cheaper, and their estimated costs.

use serde::Serialize;

use crate::search::plan::Plan;
use crate::search::probing::{Probing, TableProgress};

/// The estimated costs of searches of an index, for a query like the items, in microseconds of one core of the machine on which costs were
/// measured. Only comparisons between them are meaningful.
///
/// ```
/// use dhih_index::{CodeSet, Codes, Index, IndexBuilder};
///
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path().join("index");
/// let set = CodeSet::new(Codes::new(8, vec![0b0000, 0b0001, 0b0111])?);
/// IndexBuilder::default().build(&set, &dir)?;
///
/// let prospects = Index::open(&dir)?.info().prospects.ok_or("no tables")?;
/// // Three codes are best scanned.
/// assert_eq!(prospects.radius, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Prospects {
    /// The greatest radius within which searches cost less than a scan; `None` where not even those for equal codes do.
    pub radius: Option<u32>,
    /// The cost of a search within this radius.
    pub radius_us: f64,
    /// The mean distance of the tenth neighbour.
    pub neighbour: f64,
    /// The cost of a search for the ten nearest, which is at most that of a scan.
    pub nearest_us: f64,
    /// The cost of a scan.
    pub scan_us: f64,
}

impl Plan<'_> {
    /// The cost of finding all codes within a distance of a typical query by tables. `lengths` are those of the substrings, in bits.
    pub(crate) fn typical(&self, lengths: impl Iterator<Item = u32>, to: u32) -> f64 {
        let own = self.profile.map_or(0, |profile| profile.bucket_codes[0] as u32);
        let table = |(bits, table)| TableProgress::new(self, table, bits, own);
        let tables: Vec<TableProgress> = lengths.zip(0..).map(table).collect();
        if tables.is_empty() {
            return f64::INFINITY;
        }
        let probing = Probing { tables: &tables, to, near_share: 0.0 };
        self.probe(probing, &mut Vec::new()).min(self.look_up(0, to))
    }

    /// The prospects of the segment, independent of the machine; `None` if it has no tables or no profile. `lengths` are those of its
    /// substrings, in bits.
    pub(crate) fn prospects(
        &self,
        lengths: impl ExactSizeIterator<Item = u32> + Clone,
    ) -> Option<Prospects> {
        let plan = Plan { costs: self.costs.as_measured(), ..*self };
        let profile = plan.profile.filter(|_| lengths.len() > 0)?;
        let cost = |to: u32| plan.typical(lengths.clone(), to);
        // Costs grow with the radius.
        let (mut radius, mut beyond) = (0, plan.bits + 1);
        while radius < beyond {
            let middle = radius.midpoint(beyond);
            match cost(middle) < plan.scan() {
                true => radius = middle + 1,
                false => beyond = middle,
            }
        }
        let radius = radius.checked_sub(1);
        let microseconds = |cost: f64| (cost / 1e3 * 64.0).round() / 64.0;
        Some(Prospects {
            radius,
            radius_us: microseconds(radius.map_or(plan.scan(), cost)),
            neighbour: profile.distances[1],
            nearest_us: microseconds(cost(profile.expected(10.0)).min(plan.scan())),
            scan_us: microseconds(plan.scan()),
        })
    }
}
