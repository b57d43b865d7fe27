//! The payload of a change in the journal: a version byte, the length of a JSON object, the object, and then the thumbnail and the vector
//! of each added item as bytes, which would be longer in JSON. Integers and floats are little-endian.

use serde::{Deserialize, Serialize};

use super::answers::Answered;
use super::change::{Change, Claim, Entry, Removal};
use super::record::Record;
use crate::items::metadata::{Attributes, Fields};

/// The version of the format that is written.
const VERSION: u8 = 1;

/// Why a payload cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PayloadError {
    #[error("it has version {0}, and this program knows version {VERSION}: update this program")]
    Version(u8),
    #[error("it is malformed: {0}")]
    Malformed(String),
}

/// A decoded payload.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ReadChange {
    pub(crate) added: Vec<Entry>,
    pub(crate) removed: Vec<Removal>,
    claimed: Vec<Claim>,
    attributes: Vec<(u64, Attributes)>,
    pub(crate) fields: Option<Fields>,
    answered: Vec<Answered>,
    forgotten: Vec<String>,
    /// Present only in the change that is logged on promotion.
    pub(super) fork: Option<Fork>,
}

/// The part of a change that is logged on promotion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fork {
    /// The epoch of the history from here on. Absent if an older program has logged the change.
    pub(super) epoch: Option<u64>,
}

/// The JSON object of a payload.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Head {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    added: Vec<Added>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    removed: Vec<Removal>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    claimed: Vec<Claim>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attributes: Vec<(u64, Attributes)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<Fields>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    answered: Vec<Answered>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    forgotten: Vec<String>,
    /// A random text, `-` and the new epoch, only in the change that is logged on promotion. The random text makes the new history differ
    /// from all others. Older programs write the random text alone, and read both as a random text.
    #[serde(skip_serializing_if = "Option::is_none")]
    fork: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Added {
    id: u64,
    /// The record without its vector, which follows the JSON object.
    record: Record,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replaced: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attributes: Option<Attributes>,
    /// The length of the thumbnail in bytes.
    thumbnail: usize,
    /// The number of floats in the vector; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vector: Option<usize>,
}

/// Encodes a change as a payload. Changes that move items or bind the catalogue to another index have no payload, because they begin a new
/// history.
pub(super) fn encode(change: &Change<'_>) -> serde_json::Result<Vec<u8>> {
    let mut blobs = Vec::new();
    let added = change.added.iter().map(|entry| {
        let Entry { id, record, thumbnail, digest, replaced, attributes } = entry;
        let mut record = record.clone();
        blobs.extend_from_slice(thumbnail);
        let vector = record.vector.take().map(|vector| {
            blobs.extend(vector.iter().flat_map(|number| number.to_le_bytes()));
            vector.len()
        });
        Added {
            id: *id,
            record,
            digest: digest.clone(),
            replaced: replaced.clone(),
            attributes: attributes.clone(),
            thumbnail: thumbnail.len(),
            vector,
        }
    });
    let head = Head {
        added: added.collect(),
        removed: change.removed.to_vec(),
        claimed: change.claimed.to_vec(),
        attributes: change.attributes.to_vec(),
        fields: change.fields.cloned(),
        answered: change.answered.to_vec(),
        forgotten: change.forgotten.to_vec(),
        fork: None,
    };
    framed(&head, &blobs)
}

/// The payload of a change that changes no item and begins the epoch `epoch`. The random `nonce`, which has no `-`, gives it a checksum that
/// no other history has.
pub(super) fn encode_fork(nonce: &str, epoch: u64) -> serde_json::Result<Vec<u8>> {
    framed(&Head { fork: Some(format!("{nonce}-{epoch}")), ..Head::default() }, &[])
}

fn parse_fork(text: &str) -> Result<Fork, PayloadError> {
    let epoch = text.split_once('-').map(|(_, epoch)| epoch.parse()).transpose();
    let epoch = epoch.map_err(|error| PayloadError::Malformed(format!("its epoch: {error}")))?;
    Ok(Fork { epoch })
}

fn framed(head: &Head, blobs: &[u8]) -> serde_json::Result<Vec<u8>> {
    let json = serde_json::to_vec(head)?;
    let len = (json.len() as u64).to_le_bytes();
    Ok([&[VERSION][..], &len, &json, blobs].concat())
}

impl ReadChange {
    /// Decodes the output of [`encode`].
    ///
    /// # Errors
    /// When the payload has another version or is malformed.
    pub(crate) fn decode(payload: &[u8]) -> Result<Self, PayloadError> {
        let short = || PayloadError::Malformed("it ends early".into());
        match payload.first() {
            Some(&VERSION) => {}
            Some(&version) => return Err(PayloadError::Version(version)),
            None => return Err(short()),
        }
        let (len, rest) = payload[1..].split_first_chunk::<8>().ok_or_else(short)?;
        let len = usize::try_from(u64::from_le_bytes(*len)).map_err(|_| short())?;
        let (json, mut blobs) = rest.split_at_checked(len).ok_or_else(short)?;
        let head: Head = serde_json::from_slice(json)
            .map_err(|error| PayloadError::Malformed(error.to_string()))?;
        let mut take = |bytes: usize| {
            let (blob, rest) = blobs.split_at_checked(bytes).ok_or_else(short)?;
            blobs = rest;
            Ok::<_, PayloadError>(blob)
        };
        let mut added = Vec::with_capacity(head.added.len());
        for Added { id, mut record, digest, replaced, attributes, thumbnail, vector } in head.added
        {
            let thumbnail = take(thumbnail)?.to_vec();
            if let Some(numbers) = vector {
                let bytes = take(numbers.checked_mul(4).ok_or_else(short)?)?;
                let numbers =
                    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
                record.vector = Some(numbers.collect());
            }
            added.push(Entry { id, record, thumbnail, digest, replaced, attributes });
        }
        if !blobs.is_empty() {
            return Err(PayloadError::Malformed(format!("{} bytes are left over", blobs.len())));
        }
        let Head { removed, claimed, attributes, fields, answered, forgotten, fork, .. } = head;
        let fork = fork.as_deref().map(parse_fork).transpose()?;
        Ok(Self { added, removed, claimed, attributes, fields, answered, forgotten, fork })
    }

    /// The ids of the items that the change adds, replaces or removes.
    pub(crate) fn ids(&self) -> impl Iterator<Item = u64> {
        let removed = self.removed.iter().map(|removal| removal.id);
        self.added.iter().map(|entry| entry.id).chain(removed)
    }

    /// The change, so that it can be applied to another catalogue.
    pub(super) fn change(&self) -> Change<'_> {
        let Self { added, removed, claimed, attributes, fields, answered, forgotten, .. } = self;
        let fields = fields.as_ref();
        let common = Change { added, removed, claimed, attributes, fields, ..Change::default() };
        Change { answered, forgotten, ..common }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> ReadChange {
        let record = Record {
            code: "0f".into(),
            labels: vec![3],
            vector: Some(vec![0.1, -1e-20]),
            ..Record::default()
        };
        let entry = |id, record| Entry {
            id,
            record,
            thumbnail: vec![0, 255, 7],
            digest: Some("d".into()),
            replaced: None,
            attributes: Some(Attributes { code: "0f".into(), ..Attributes::default() }),
        };
        ReadChange {
            added: vec![entry(4, record), entry(5, Record::default())],
            removed: vec![Removal { id: 9, code: "ff".into() }],
            claimed: vec![Claim { path: "a".into(), key: "b".into(), digest: "c".into() }],
            attributes: vec![(4, Attributes::default())],
            fields: Some(Fields::default()),
            answered: vec![Answered {
                key: "k".into(),
                request: "ab".into(),
                status: 201,
                body: "{}".into(),
                location: None,
                at_ms: 7,
            }],
            forgotten: vec!["f".into()],
            fork: None,
        }
    }

    #[test]
    fn a_change_is_the_same_after_it_was_written() {
        for change in [all(), ReadChange::default()] {
            assert_eq!(ReadChange::decode(&encode(&change.change()).unwrap()), Ok(change));
        }
        let fork = encode_fork("nonce", 7).unwrap();
        let forked = |epoch| ReadChange { fork: Some(Fork { epoch }), ..ReadChange::default() };
        assert_eq!(ReadChange::decode(&fork), Ok(forked(Some(7))));
        assert_ne!(fork, encode_fork("other", 7).unwrap());
    }

    #[test]
    fn a_promotion_of_an_older_program_has_no_epoch() {
        let of = |text: &str| {
            let head = Head { fork: Some(text.into()), ..Head::default() };
            ReadChange::decode(&framed(&head, &[]).unwrap())
        };
        assert_eq!(of("0f9a").unwrap().fork, Some(Fork { epoch: None }));
        assert!(matches!(of("0f9a-x"), Err(PayloadError::Malformed(_))));
    }

    #[test]
    fn what_is_no_change_is_refused() {
        let whole = encode(&all().change()).unwrap();
        for end in 0..whole.len() {
            assert!(ReadChange::decode(&whole[..end]).is_err(), "{end} bytes");
        }
        let longer = [&whole[..], &[0]].concat();
        assert!(matches!(ReadChange::decode(&longer), Err(PayloadError::Malformed(_))));
        let newer = [&[2][..], &whole[1..]].concat();
        assert_eq!(ReadChange::decode(&newer), Err(PayloadError::Version(2)));
        let huge = [&[1][..], &u64::MAX.to_le_bytes(), b"{}"].concat();
        assert!(matches!(ReadChange::decode(&huge), Err(PayloadError::Malformed(_))));
    }
}
