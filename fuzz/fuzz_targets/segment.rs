//! A data file of any bytes: opening, searching, verifying. The header's checksum is made to hold, so that what lies behind it is
//! reached.
#![no_main]

use std::fs;
use std::path::Path;

use dhih_index::{Filter, Index, Strategy};
use libfuzzer_sys::fuzz_target;

#[path = "../support.rs"]
mod support;

fuzz_target!(|bytes: &[u8]| {
    let dir = support::folder();
    let (bytes, checksum) = support::sealed(bytes);
    fs::write(dir.join(format!("segment-{checksum:016x}.dhih")), &bytes).expect("a file");
    support::write_manifest_of_one(&dir, &bytes, checksum);
    use_all(&dir);
});

fn use_all(dir: &Path) {
    let Ok(index) = Index::open(dir) else { return };
    let query = vec![0; index.bits().div_ceil(8) as usize];
    for strategy in [Strategy::Auto, Strategy::Scan, Strategy::Probe] {
        let _ = (index.knn_by(strategy, &query, 3), index.within_by(strategy, &query, 2));
    }
    let _ = index.select(&Filter::default().labels([1])).knn(&query, 3);
    for id in index.ids().into_iter().take(9).chain([0, u64::MAX]) {
        let _ = (index.code(id), index.label(id));
    }
    let _ = (index.info(), index.verify());
}
