//! Manifests: of any bytes, or of version 3 with fields of the fuzzer's choice and a checksum that holds, beside data files and a WAL
//! of two indexes. Whatever is opened can be searched and compacted.
#![no_main]

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use dhih_index::{CodeSet, Codes, Index, IndexBuilder, IndexWriter};
use libfuzzer_sys::fuzz_target;
use support::{Input, Manifest, entry};

#[path = "../support.rs"]
mod support;

fuzz_target!(|bytes: &[u8]| {
    let files = FILES.get_or_init(Files::new);
    let dir = support::folder();
    for (name, bytes) in &files.all {
        fs::write(dir.join(name), bytes).expect("a file");
    }
    let text = match bytes.split_first() {
        Some((0, text)) => text.to_vec(),
        _ => files.manifest(&mut Input(bytes)).text().into_bytes(),
    };
    fs::write(dir.join("manifest.json"), text).expect("a file");
    use_all(&dir);
});

fn use_all(dir: &Path) {
    if let Ok(index) = Index::open(dir) {
        let query = vec![0; index.bits().div_ceil(8) as usize];
        let _ = (
            index.knn(&query, 3),
            index.within(&query, 2),
            index.ids(),
            index.info(),
            index.verify(),
        );
    }
    let Ok(mut writer) = IndexWriter::open(dir) else { return };
    if writer.compact().is_ok() {
        Index::open(dir).and_then(|index| index.verify()).expect("a sound index after compaction");
    }
}

static FILES: OnceLock<Files> = OnceLock::new();

/// The files of two indexes, which are in the folder of the manifest.
struct Files {
    /// Data files first, then WALs. Each has its name and its bytes.
    all: Vec<(String, Vec<u8>)>,
    segments: usize,
    id: String,
    generation: u64,
}

impl Files {
    fn new() -> Self {
        let (mut segments, mut wals, mut first) = (Vec::new(), Vec::new(), None);
        for bits in [12, 20] {
            let dir = support::folder();
            let codes = Codes::new(bits, vec![1; 4 * bits.div_ceil(8) as usize]).expect("codes");
            IndexBuilder::default().build(&CodeSet::new(codes), &dir).expect("an index");
            let mut writer = IndexWriter::open(&dir).expect("a writer");
            if bits == 20 {
                // A generation more, so that the names of the WALs differ.
                writer.compact().expect("a compacted index");
            }
            writer.remove(&[1]).expect("a change");
            for (prefix, files) in [("segment-", &mut segments), ("log-", &mut wals)] {
                let path = support::only_file(&dir, prefix);
                let name = path.file_name().expect("a name").to_string_lossy().into_owned();
                files.push((name, fs::read(path).expect("a file")));
            }
            first.get_or_insert_with(|| {
                fs::read_to_string(dir.join("manifest.json")).expect("a text")
            });
        }
        let manifest = first.expect("a manifest");
        let after = |name: &str| {
            let start = manifest.find(name).expect("a field") + name.len();
            let end = manifest[start..].find([',', '\n']).expect("an end");
            manifest[start..start + end].trim_matches(['"', ' ', ':']).to_owned()
        };
        Self {
            segments: segments.len(),
            all: segments.into_iter().chain(wals).collect(),
            id: after("\"id\""),
            generation: after("\"generation\"").parse().expect("a number"),
        }
    }

    /// A manifest whose fields are right or of the fuzzer's choice.
    fn manifest(&self, input: &mut Input) -> Manifest {
        // A set bit stands for a wrong field, so that many manifests are wrong in one alone.
        let wrong = input.byte();
        let is_wrong = |bit: u8| wrong & 1 << bit != 0;
        let count = if is_wrong(0) { input.below(4) } else { 1 };
        Manifest {
            id: if is_wrong(1) { text(input, "0123456789abcdefABCDEF-") } else { self.id.clone() },
            generation: if is_wrong(2) { input.number() } else { self.generation },
            features_required: if is_wrong(3) { input.number() } else { 0 },
            features_ignorable: if is_wrong(4) { input.number() } else { 0 },
            segments: (0..count).map(|_| self.segment(input, is_wrong(5))).collect(),
            wal: match input.below(4) {
                0 => None,
                1 if is_wrong(6) => Some(text(input, "log-0123456789.dhih/")),
                2 if is_wrong(6) => Some(self.all[input.below(self.all.len())].0.clone()),
                _ => Some(self.all[self.segments].0.clone()),
            },
        }
    }

    fn segment(&self, input: &mut Input, is_wrong: bool) -> String {
        let (file, bytes) = &self.all[if is_wrong { input.below(self.segments) } else { 0 }];
        let checksum = &file["segment-".len()..file.len() - ".dhih".len()];
        let entry = match is_wrong.then(|| input.below(4)) {
            Some(0) => entry(file, input.number(), checksum),
            Some(1) => {
                entry(&text(input, "segmnt-0123456789abcdef.dhi/"), bytes.len() as u64, checksum)
            }
            Some(2) => entry(file, bytes.len() as u64, &text(input, "0123456789abcdefg")),
            _ => entry(file, bytes.len() as u64, checksum),
        };
        if input.flag() {
            return entry;
        }
        let mut values = |count: usize| {
            // Multiples of 1/64, as the format has them, and whatever else is a number in JSON.
            let value = |_| match input.byte() {
                byte @ 0..=239 => format!("{:?}", f64::from(byte) / 64.0),
                byte => ["-1.5", "0.001", "1e300", "-0.0", "4294967296.0"][usize::from(byte) % 5]
                    .to_owned(),
            };
            (0..count).map(value).collect::<Vec<_>>().join(",")
        };
        let (distances, bucket_codes) = (values(4), values(3));
        let profile = format!(
            r#","profile":{{"distances":[{distances}],"bucket_codes":[{bucket_codes}]}}}}"#
        );
        format!("{}{profile}", &entry[..entry.len() - 1])
    }
}

/// A text of up to 40 of these letters.
fn text(input: &mut Input, letters: &str) -> String {
    let letters = letters.as_bytes();
    (0..input.below(41)).map(|_| char::from(letters[input.below(letters.len())])).collect()
}
