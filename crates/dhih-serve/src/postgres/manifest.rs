//! `Manifest`: describes a generation by its bits, model, substrings, and the rows and checksum of each shard. It is stored at the
//! coordinator, and on every shard beside the table, so that a host can be checked to hold the generation.

use dhih_index::{MAX_BITS, Substring};
use serde::{Deserialize, Serialize};

use super::{Error, checksum::Sum, facets::Facets};

/// The description of a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) generation: i32,
    pub(super) bits: u32,
    pub(super) model_sha256: Option<String>,
    pub(super) substrings: Vec<Substring>,
    /// The labels and metadata that items can have; `None` if the codes were loaded alone.
    pub(super) facets: Option<Facets>,
    /// The rows and checksums in the order of the shards.
    pub(super) shards: Vec<Sum>,
}

/// A manifest in JSON. Checksums are hexadecimal, because many JSON parsers lose precision in 64-bit numbers.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    bits: u32,
    model_sha256: Option<String>,
    substrings: Vec<Vec<u16>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    facets: Option<Facets>,
    shards: Vec<WrittenShard>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenShard {
    rows: u64,
    checksum: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    described: Option<String>,
}

impl Manifest {
    /// The sum over all shards.
    pub(super) fn total(&self) -> Sum {
        self.shards.iter().fold(Sum::default(), |total, shard| total.and(*shard))
    }

    /// Serialises the manifest.
    pub(super) fn to_json(&self) -> Result<String, Error> {
        let written = Written {
            bits: self.bits,
            model_sha256: self.model_sha256.clone(),
            substrings: self.substrings.iter().map(|s| s.positions().to_vec()).collect(),
            facets: self.facets.clone(),
            shards: self
                .shards
                .iter()
                .map(|sum| WrittenShard {
                    rows: sum.rows,
                    checksum: format!("{:016x}", sum.checksum),
                    described: self.facets.is_some().then(|| format!("{:016x}", sum.described)),
                })
                .collect(),
        };
        serde_json::to_string(&written).map_err(|error| wrong(self.generation, error))
    }

    /// Parses a manifest and checks all values, which later code relies on.
    pub(super) fn parse(generation: i32, json: &str) -> Result<Self, Error> {
        let written: Written = serde_json::from_str(json).map_err(|e| wrong(generation, e))?;
        let Written { bits, model_sha256, substrings, facets, shards } = written;
        if !(1..=MAX_BITS).contains(&bits) {
            return Err(wrong(generation, format!("{bits} bits; there are 1 to {MAX_BITS}")));
        }
        let mut taken: Vec<u16> = substrings.concat();
        let count = taken.len();
        taken.sort_unstable();
        taken.dedup();
        let read = substrings.into_iter().map(|positions| Substring::new(positions, bits));
        let substrings = read.collect::<Option<Vec<_>>>().filter(|s| !s.is_empty());
        let substrings = substrings.filter(|_| taken.len() == count);
        let substrings = substrings.ok_or_else(|| wrong(generation, "its substrings are none"))?;
        let sum = |shard: WrittenShard| {
            let number = |text: &str| u64::from_str_radix(text, 16).ok();
            let described = shard.described.as_deref().map_or(Some(0), number)?;
            Some(Sum { rows: shard.rows, checksum: number(&shard.checksum)?, described })
        };
        let shards = shards.into_iter().map(sum).collect::<Option<Vec<_>>>();
        let shards = shards.filter(|shards| !shards.is_empty());
        let shards = shards.ok_or_else(|| wrong(generation, "its shards are none"))?;
        Ok(Self { generation, bits, model_sha256, substrings, facets, shards })
    }
}

fn wrong(generation: i32, reason: impl ToString) -> Error {
    Error::Manifest { generation, reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::items::LabelShape;
    use crate::items::metadata::{FieldCounts, FieldType};

    #[test]
    fn what_is_written_is_read_and_what_is_damaged_refused() {
        let part = |positions: [u16; 3]| Substring::new(positions.to_vec(), 12).unwrap();
        let sum = |rows, checksum, described| Sum { rows, checksum, described };
        let manifest = Manifest {
            generation: 3,
            bits: 12,
            model_sha256: Some("ab".into()),
            substrings: vec![part([0, 5, 2]), part([1, 11, 3])],
            facets: None,
            shards: vec![sum(5, u64::MAX, 0), sum(2, 2, 0)],
        };
        let json = manifest.to_json().unwrap();
        assert_eq!(Manifest::parse(3, &json).unwrap(), manifest);
        assert_eq!(manifest.total(), sum(7, 1, 0));
        assert!(!json.contains("facets") && !json.contains("described"), "{json}");
        let field = FieldCounts {
            name: "year".into(),
            of: FieldType::Number,
            items: 3,
            distinct: 2,
            values: vec![(7.0.into(), 2)],
        };
        let facets = Facets {
            labels: LabelShape::MultiHot(2),
            classes: vec!["a".into(), "b".into()],
            fields: vec![field],
        };
        let shards = vec![sum(5, 1, 9), sum(2, 2, u64::MAX)];
        let described = Manifest { facets: Some(facets), shards, ..manifest.clone() };
        assert_eq!(Manifest::parse(3, &described.to_json().unwrap()).unwrap(), described);
        for (from, to, part) in [
            ("\"bits\":12", "\"bits\":0", "0 bits"),
            ("\"bits\":12", "\"bits\":4097", "4097 bits"),
            ("\"bits\":12", "\"bits\":11", "substrings"),
            ("[0,5,2]", "[0,5,1]", "substrings"),
            ("[0,5,2]", "[]", "substrings"),
            ("[[0,5,2],[1,11,3]]", "[]", "substrings"),
            ("\"checksum\":\"0000000000000002\"", "\"checksum\":\"g\"", "shards"),
            ("\"bits\":12,", "\"bits\":12,\"more\":1,", "more"),
            ("{", "", "line 1"),
        ] {
            let damaged = json.replacen(from, to, 1);
            assert_ne!(damaged, json);
            let error = Manifest::parse(3, &damaged).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("generation 3"), "{error}");
        }
        let empty = Manifest { shards: Vec::new(), ..manifest };
        assert!(Manifest::parse(3, &empty.to_json().unwrap()).is_err());
    }
}
