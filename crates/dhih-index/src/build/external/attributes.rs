//! Writes the attributes of items (ids, labels and vectors) to disk in the order in which they arrive, and passes the codes on to be
//! sorted.

use crate::build::external::job::{Job, REPORT_EVERY};
use crate::build::external::numbers::{NumberWriter, Numbers};
use crate::build::rows::{Ascending, RowStream};
use crate::build::spill::{Spill, SpillWriter};
use crate::codes::items::Items;
use crate::error::Result;
use crate::progress::Stage;

/// Ids, labels and vectors in the order of the rows.
pub(super) struct Attributes {
    pub(super) ids: Numbers,
    pub(super) labels: Spill,
    pub(super) vectors: Spill,
}

/// Reads all items of a stream; `take` gets their codes, packed, in batches.
pub(super) fn read(
    job: &Job,
    rows: &mut dyn RowStream,
    mut take: impl FnMut(&[u8]) -> Result<()>,
) -> Result<Attributes> {
    let mut ids = NumberWriter::new(job.dir, size_of::<u64>());
    let mut labels = SpillWriter::create(job.dir)?;
    let mut vectors = SpillWriter::create(job.dir)?;
    let (mut batch, mut ascending) = (Items::default(), Ascending::default());
    let (mut reported, total) = (0, job.spec.rows as u64);
    while rows.next(&mut batch)? {
        ascending.check(&batch.ids)?;
        batch.ids.iter().try_for_each(|&id| ids.put(id))?;
        let [of_labels, of_vectors] = batch.take_attributes(job.spec.shape);
        labels.put(&of_labels)?;
        vectors.put(&of_vectors)?;
        take(&batch.codes)?;
        if ascending.count() >= reported + REPORT_EVERY {
            reported = ascending.count();
            job.reporter.report(Stage::SortRuns, reported as u64, total)?;
        }
    }
    ascending.check_count(job.spec.rows)?;
    Ok(Attributes { ids: ids.finish()?, labels: labels.finish()?, vectors: vectors.finish()? })
}
