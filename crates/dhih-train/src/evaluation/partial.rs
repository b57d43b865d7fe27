//! An evaluation in parts of the queries, on several machines or one after the other. A part is a file of sums. Joined, the parts give the
//! figures of the whole evaluation to the last digit. `sums.rs` has the sums.

use std::path::{Path, PathBuf};

use dhih_index::{CodeSet, Labels, Shard, to_hex};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::sums::Sums;
use super::{Empty, EvaluationConfig, Metrics, QUERIES_AT_ONCE, Work};
use crate::error::{Error, Result};
use crate::files;

/// The version of the file format. The second one has means over the orders of ties, and items without a label are relevant to no query.
const VERSION: u32 = 2;

/// One part of an evaluation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Partial {
    version: u32,
    /// The number of the part, and the number of all parts.
    shard: [usize; 2],
    /// SHA-256, in hex, of everything that the figures depend on.
    inputs: String,
    /// The sums of each chunk of its queries, in order: floating-point numbers as the integers of their 64 bits, so that no digit is lost.
    sums: Vec<Vec<u64>>,
}

/// Evaluates one part of the queries and writes it into `folder`, which is made if it is absent. An existing file of the same part of the same
/// evaluation is kept. Returns the file.
///
/// # Errors
/// As [`evaluate`](super::evaluate), and when the file cannot be written.
pub fn evaluate_part(
    (database, queries): (&CodeSet, &CodeSet),
    config: &EvaluationConfig,
    (shard, folder): (Shard, &Path),
) -> Result<PathBuf> {
    let work = Work::new(database, queries, config)?;
    let path = folder.join(shard.file_name("json"));
    let inputs = inputs(&work);
    if read(&path).is_ok_and(|part| part.shard() == Some(shard) && part.inputs == inputs) {
        return Ok(path);
    }
    let bits = |sums: &Sums| sums.values().into_iter().map(f64::to_bits).collect();
    let sums = work.sums(shard).iter().map(bits).collect();
    let part = Partial { version: VERSION, shard: [shard.number(), shard.count()], inputs, sums };
    let text = serde_json::to_vec(&part).map_err(|error| wrong(&path, error.to_string()))?;
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    files::write(&path, &text)?;
    Ok(path)
}

/// Joins the parts in `folder` to the metrics that [`evaluate`](super::evaluate) computes.
///
/// # Errors
/// As `evaluate`, and [`Error::Part`] where a part is missing, damaged, or of other codes, labels or settings.
pub fn merge_parts(
    (database, queries): (&CodeSet, &CodeSet),
    config: &EvaluationConfig,
    folder: &Path,
) -> Result<Metrics> {
    let work = Work::new(database, queries, config)?;
    let inputs = inputs(&work);
    let chunks = work.alike.len().div_ceil(QUERIES_AT_ONCE);
    let sizes = (database.codes.bits(), work.ranks.len());
    let mut all = Vec::new();
    for shard in shards(folder)? {
        let path = folder.join(shard.file_name("json"));
        let part = read(&path)?;
        if part.shard() != Some(shard) {
            let [number, count] = part.shard;
            return Err(wrong(
                &path,
                format!("it is part {number}/{count}: give it its name back"),
            ));
        }
        if part.inputs != inputs {
            let reason = "it is of other codes, labels or settings: give those of the parts, or run it again";
            return Err(wrong(&path, reason));
        }
        let damaged = || wrong(&path, "its sums are not as many as they must be: run it again");
        if part.sums.len() != shard.range(chunks).len() {
            return Err(damaged());
        }
        for sums in part.sums {
            let values: Vec<f64> = sums.into_iter().map(f64::from_bits).collect();
            all.push(Sums::of_values(&values, &work.config, sizes).ok_or_else(damaged)?);
        }
    }
    Ok(work.metrics(&all))
}

impl Partial {
    fn shard(&self) -> Option<Shard> {
        Shard::new(self.shard[0], self.shard[1]).ok()
    }
}

fn read(path: &Path) -> Result<Partial> {
    let text = std::fs::read(path).map_err(Error::io(path))?;
    let part: Partial = serde_json::from_slice(&text)
        .map_err(|error| wrong(path, format!("{error}: run it again")))?;
    match part.version {
        VERSION => Ok(part),
        other => Err(wrong(path, format!("version {other}, this program knows {VERSION}"))),
    }
}

/// The parts whose files are in `folder`, all of one evaluation.
fn shards(folder: &Path) -> Result<Vec<Shard>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
        let name = entry.map_err(Error::io(folder))?.file_name();
        let name = name.to_string_lossy();
        found.extend(Shard::of_file_name(&name).filter(|shard| shard.file_name("json") == name));
    }
    found.sort();
    let count = match found.first() {
        Some(first) => first.count(),
        None => return Err(wrong(folder, "it has none, `part-00001-of-...json`: run them")),
    };
    if found.iter().any(|shard| shard.count() != count) {
        let reason = "it has parts of different numbers of parts: leave those of one";
        return Err(wrong(folder, reason));
    }
    // Each number occurs once, because they are names of files.
    let numbers = found.iter().map(|shard| shard.number()).chain([count + 1]);
    match numbers.zip(1..).find(|(number, expected)| number != expected) {
        Some((_, number)) => {
            Err(wrong(folder, format!("part {number}/{count} is missing: run it")))
        }
        None => Ok(found),
    }
}

fn wrong(path: &Path, reason: impl Into<String>) -> Error {
    Error::Part { path: path.to_owned(), reason: reason.into() }
}

/// SHA-256 of codes, labels and settings, in hex.
fn inputs(work: &Work<'_>) -> String {
    let mut hash = Sha256::new();
    let numbers = |hash: &mut Sha256, numbers: &[usize]| {
        hash.update((numbers.len() as u64).to_le_bytes());
        numbers.iter().for_each(|number| hash.update((*number as u64).to_le_bytes()));
    };
    for set in [work.database, work.queries] {
        numbers(&mut hash, &[set.codes.bits() as usize, set.codes.len()]);
        hash.update(set.codes.as_bytes());
        match &set.labels {
            Some(Labels::Single(labels)) => {
                hash.update(b"single");
                labels.iter().for_each(|label| hash.update(label.to_le_bytes()));
            }
            Some(Labels::MultiHot { classes, values }) => {
                hash.update(b"multi");
                numbers(&mut hash, &[*classes]);
                hash.update(values);
            }
            // Evaluation refuses labels of other kinds.
            Some(_) | None => {}
        }
        // Labels are compared by the names of their classes.
        numbers(&mut hash, &[set.classes.len()]);
        set.classes.iter().for_each(|name| hash.update(format!("{} {name}\n", name.len())));
    }
    let EvaluationConfig { map_at, precision_at, empty } = &work.config;
    numbers(&mut hash, map_at);
    numbers(&mut hash, precision_at);
    numbers(&mut hash, &[usize::from(*empty == Empty::Omit), QUERIES_AT_ONCE]);
    to_hex(&hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::super::evaluate;
    use super::*;
    use dhih_index::Codes;
    use dhih_model::named_rng;
    use rand::Rng;

    /// Codes with labels, some of which repeat.
    fn set(count: usize, name: &str) -> CodeSet {
        let mut rng = named_rng(3, name);
        let bytes = (0..count).flat_map(|_| [rng.random_range(0..9u8), rng.random()]).collect();
        let mut set = CodeSet::new(Codes::new(16, bytes).unwrap());
        set.labels = Some(Labels::Single((0..count).map(|_| rng.random_range(0..5)).collect()));
        set
    }

    #[test]
    fn parts_joined_are_the_whole_to_the_last_digit() {
        let (database, queries) = (set(700, "database"), set(400, "queries"));
        let sets = (&database, &queries);
        for empty in [Empty::Zero, Empty::Omit] {
            let config = EvaluationConfig { empty, ..EvaluationConfig::default() };
            let expected = evaluate(&database, &queries, &config).unwrap();
            // From one part to more parts than there are chunks.
            for count in [1, 2, 3, 7, 40] {
                let dir = tempfile::tempdir().unwrap();
                for number in (1..=count).rev() {
                    let shard = Shard::new(number, count).unwrap();
                    evaluate_part(sets, &config, (shard, dir.path())).unwrap();
                }
                assert_eq!(
                    merge_parts(sets, &config, dir.path()).unwrap(),
                    expected,
                    "{count} parts"
                );
            }
        }
    }

    #[test]
    fn a_part_that_is_there_is_left_alone_and_another_is_written_anew() {
        let (database, queries) = (set(50, "database"), set(20, "queries"));
        let dir = tempfile::tempdir().unwrap();
        let config = EvaluationConfig::default();
        let part = || evaluate_part((&database, &queries), &config, (Shard::WHOLE, dir.path()));
        let path = part().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        // A trailing space shows whether the file is written again.
        std::fs::write(&path, format!("{text} ")).unwrap();
        part().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{text} "));
        std::fs::write(&path, &text[..100]).unwrap();
        part().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        let other = (&database, &set(20, "others"));
        evaluate_part(other, &config, (Shard::WHOLE, dir.path())).unwrap();
        assert_ne!(std::fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn parts_that_do_not_belong_together_are_refused() {
        let (database, queries) = (set(300, "database"), set(200, "queries"));
        let (sets, config) = ((&database, &queries), EvaluationConfig::default());
        let dir = tempfile::tempdir().unwrap();
        let shard = |number, count| Shard::new(number, count).unwrap();
        let run = |part| evaluate_part(sets, &config, (part, dir.path())).unwrap();
        let refused = |sets, config: &EvaluationConfig, expected: &str| {
            let error = merge_parts(sets, config, dir.path()).unwrap_err().to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        };
        refused(sets, &config, "run them");
        let first = run(shard(1, 2));
        refused(sets, &config, "part 2/2 is missing");
        let second = run(shard(2, 2));
        assert!(merge_parts(sets, &config, dir.path()).is_ok());
        let others = set(200, "others");
        refused((&database, &others), &config, "other codes, labels or settings");
        let relabelled = CodeSet { labels: database.labels.clone(), ..set(300, "others") };
        refused((&relabelled, &queries), &config, "other codes, labels or settings");
        let other = EvaluationConfig { map_at: vec![7], ..config.clone() };
        refused(sets, &other, "other codes, labels or settings");
        let other = EvaluationConfig { empty: Empty::Omit, ..config.clone() };
        refused(sets, &other, "other codes, labels or settings");

        let text = std::fs::read_to_string(&first).unwrap();
        std::fs::copy(&second, &first).unwrap();
        refused(sets, &config, "it is part 2/2");
        let put = |text: &str| std::fs::write(&first, text).unwrap();
        put(&text[..text.len() / 2]);
        refused(sets, &config, "run it again");
        put(&text.replacen("\"version\":2", "\"version\":3", 1));
        refused(sets, &config, "version 3");
        let part: Partial = serde_json::from_str(&text).unwrap();
        let changes: [fn(&mut Partial); 4] = [
            |part| part.sums.truncate(part.sums.len() - 1),
            |part| part.sums[0].truncate(5),
            |part| part.sums[0].push(0),
            |part| part.sums[0].clear(),
        ];
        for change in changes {
            let mut changed = part.clone();
            change(&mut changed);
            put(&serde_json::to_string(&changed).unwrap());
            refused(sets, &config, "as many as they must be");
        }
        put(&text);
        run(shard(1, 3));
        refused(sets, &config, "different numbers of parts");
    }
}
