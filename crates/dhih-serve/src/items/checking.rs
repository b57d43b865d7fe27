//! `dhih-serve check`: checks whether an index is undamaged and agrees with its catalogue. Changes nothing.

use std::collections::HashSet;
use std::path::Path;

use dhih_index::Index;
use serde::Serialize;

use super::ItemShape;
use super::agreement::{Comparison, Difference, is_current};
use super::catalogue::{Catalogue, Record};
use crate::{Error, Result};

/// The result of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// The number of items in the index. All its bytes were read.
    pub items: usize,
    /// Bytes of its segments.
    pub bytes: u64,
    /// The number of items in the catalogue; absent where there is none.
    pub catalogued: Option<usize>,
    /// Items of the catalogue that the index lacks, has with a former code, or has as they were before the last change. The service adds
    /// them when it starts.
    pub outdated: Vec<u64>,
    /// Items of the index that were deleted in the catalogue. The service removes them when it starts.
    pub removed: Vec<u64>,
    /// Items of the catalogue whose ids the index has given to other items. The service gives them new ids when it starts.
    pub displaced: Vec<u64>,
    /// Items whose metadata or external id belongs to an item with another code. These are kept, but not used.
    pub foreign_metadata: Vec<u64>,
    /// Items with other labels or another vector than in the catalogue, as after the index was built anew with other labels. The service
    /// uses those of the index.
    pub differing: Vec<u64>,
}

impl Checked {
    /// Whether index and catalogue have the same items, compared by id and code.
    pub fn agree(&self) -> bool {
        [&self.outdated, &self.removed, &self.displaced].iter().all(|list| list.is_empty())
    }
}

/// Checks an index directory, and changes no file of it. No service may have it open.
///
/// # Errors
/// When a file is damaged, or open in another process.
pub fn check_index(dir: &Path) -> Result<Checked> {
    let failed = |error| Error::index(dir, error);
    let index = Index::open(dir).map_err(failed)?;
    let verified = index.verify().map_err(failed)?;
    let mut checked =
        Checked { items: verified.codes, bytes: verified.bytes, ..Checked::default() };
    if !Catalogue::is_in(dir) {
        return Ok(checked);
    }
    let catalogue = &Catalogue::open_unchanged(dir)?;
    catalogue.verify()?;
    let (index, shape) = (&index, &ItemShape::of(&index));
    let Difference { outdated, removed, displaced } =
        Comparison { index, catalogue, shape }.of_all()?;
    let ids = |items: Vec<(u64, _)>| items.into_iter().map(|(id, _)| id).collect();
    checked.catalogued = Some(catalogue.len());
    (checked.outdated, checked.displaced) = (ids(outdated), ids(displaced));
    checked.removed = removed;
    checked.foreign_metadata = catalogue.foreign_attributes(is_current(index))?;
    let outdated: HashSet<u64> = checked.outdated.iter().copied().collect();
    let differs = |id: u64, record: &Record| {
        is_current(index)(id, &record.code) && !shape.is_kept(index, id, record)
    };
    let compare = |differing: &mut Vec<u64>, id, record: Record| {
        if differs(id, &record) && !outdated.contains(&id) {
            differing.push(id);
        }
    };
    checked.differing = catalogue.scan(compare, |_, _, _| {})?;
    Ok(checked)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use dhih_index::{CodeSet, Codes, IndexBuilder, IndexWriter};

    use super::*;
    use crate::items::catalogue::{Change, Entry, FILE};

    fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
        let files = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
        let content = |path| std::fs::read(path).unwrap();
        files.map(|it| (it.file_name().into_string().unwrap(), content(it.path()))).collect()
    }

    /// The bugs: the checksums of the catalogue were not looked at, and where its library gave up, the program ended with a panic.
    #[test]
    fn a_damaged_catalogue_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let set = CodeSet::new(Codes::new(8, vec![1, 2]).unwrap());
        IndexBuilder::default().build(&set, dir.path()).unwrap();
        let catalogue = Catalogue::open(dir.path()).unwrap();
        let entry = |id| {
            let record = Record { code: "07".into(), ..Record::default() };
            let (thumbnail, digest, replaced, attributes) = (vec![1; 3000], None, None, None);
            Entry { id, record, thumbnail, digest, replaced, attributes }
        };
        let added: Vec<Entry> = (7..40).map(entry).collect();
        catalogue.commit(&Change { added: &added, ..Change::default() }).unwrap();
        drop(catalogue);
        assert!(check_index(dir.path()).is_ok());
        let file = dir.path().join(FILE);
        let whole = std::fs::read(&file).unwrap();
        let is_refused = |bytes: &[u8]| {
            std::fs::write(&file, bytes).unwrap();
            let refused = |checked: Result<(), Error>| match checked {
                Ok(()) => false,
                Err(Error::Catalogue { .. }) => true,
                Err(other) => panic!("{other:?}"),
            };
            // The service may start where it does not read the damaged page.
            refused(Catalogue::open_unchanged(dir.path()).map(drop));
            refused(check_index(dir.path()).map(drop))
        };
        let thumbnail = whole.windows(3000).position(|bytes| bytes == [1; 3000]).unwrap();
        let mut damaged = whole.clone();
        damaged[thumbnail + 1500] ^= 0xff;
        assert!(is_refused(&damaged), "a damaged thumbnail");
        assert!(is_refused(&whole[..whole.len() - 10]), "a file that was cut off");
    }

    /// The bug: the catalogue was opened for writing, which creates tables and removes the file of an interrupted compaction.
    #[test]
    fn no_file_is_changed() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("index");
        let set = CodeSet::new(Codes::new(8, vec![1, 2]).unwrap());
        IndexBuilder::default().build(&set, &at).unwrap();
        drop(IndexWriter::open(&at).unwrap());
        let catalogue = Catalogue::open(&at).unwrap();
        let record = Record { code: "07".into(), ..Record::default() };
        let (thumbnail, digest, replaced, attributes) = (vec![1], None, None, None);
        let entry = Entry { id: 7, record, thumbnail, digest, replaced, attributes };
        catalogue.commit(&Change { added: &[entry], ..Change::default() }).unwrap();
        assert!(matches!(check_index(&at), Err(Error::Locked { .. })));
        // A copy of an open file has to be repaired, as after a crash.
        std::fs::copy(at.join(FILE), dir.path().join(FILE)).unwrap();
        drop(catalogue);
        std::fs::copy(dir.path().join(FILE), at.join(FILE)).unwrap();
        std::fs::write(at.join("catalogue.redb.new"), "an interrupted compaction").unwrap();
        let before = files(&at);
        let checked = check_index(&at).unwrap();
        assert_eq!((checked.catalogued, checked.outdated), (Some(1), vec![7]));
        assert!(files(&at) == before);
        // Neither is an empty file made a catalogue.
        std::fs::write(at.join(FILE), "").unwrap();
        assert_eq!(check_index(&at).unwrap().catalogued, Some(0));
        assert_eq!(std::fs::metadata(at.join(FILE)).unwrap().len(), 0);
    }
}
