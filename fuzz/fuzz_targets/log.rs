//! A log of any bytes behind a good data file: reading, searching, writing on.
#![no_main]

use std::fs;

use dhih_index::{CodeSet, Codes, Index, IndexBuilder, IndexWriter};
use libfuzzer_sys::fuzz_target;

#[path = "../support.rs"]
mod support;

fuzz_target!(|bytes: &[u8]| {
    let dir = support::folder();
    let codes = Codes::new(12, vec![1, 2, 3, 4]).expect("codes");
    IndexBuilder::default().build(&CodeSet::new(codes), &dir).expect("an index");
    // A manifest that names a log.
    let mut writer = IndexWriter::open(&dir).expect("a writer");
    writer.remove(&[1]).expect("a change");
    drop(writer);
    let path = dir.join("log-1.dhih");
    let mut log = fs::read(&path).expect("a log");
    // The header is kept, so that records are reached; their checksums are chained on from it.
    log.truncate(32);
    log.extend(support::record(bytes, &log));
    log.extend_from_slice(bytes);
    fs::write(&path, &log).expect("a file");
    if let Ok(index) = Index::open(&dir) {
        let _ = (index.knn(&[0, 0], 3), index.ids(), index.verify());
    }
    if let Ok(mut writer) = IndexWriter::open(&dir) {
        writer.compact().expect("a sound index");
        Index::open(&dir).and_then(|index| index.verify()).expect("a sound index");
    }
});
