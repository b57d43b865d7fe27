//! The log of a run for TensorBoard: a file of events in TensorFlow's record format.

use std::io::Write;
use std::path::Path;
use std::time::SystemTime;

use prost::Message;

use crate::error::{Error, Result};
use crate::run::epoch_record::EpochRecord;

/// An event, with the fields that scalars need.
#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, tag = "2")]
    simple_value: f32,
}

/// Writes all epochs so far and replaces an existing file.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn begin(path: &Path, records: &[EpochRecord]) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    }
    let version = Some("brain.Event:2".to_owned());
    let mut bytes =
        record(&Event { wall_time: now(), step: 0, file_version: version, summary: None });
    records.iter().for_each(|epoch| bytes.extend(record(&event(epoch))));
    std::fs::write(path, bytes).map_err(Error::io(path))
}

/// Appends an epoch, for a TensorBoard that is running.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn append(path: &Path, epoch: &EpochRecord) -> Result<()> {
    let mut file = std::fs::OpenOptions::new().append(true).open(path).map_err(Error::io(path))?;
    file.write_all(&record(&event(epoch))).map_err(Error::io(path))
}

fn event(epoch: &EpochRecord) -> Event {
    let value = |tag: &str, value: f64| Value { tag: tag.to_owned(), simple_value: value as f32 };
    let mut values = vec![
        value("train/loss", epoch.loss),
        value("train/learning_rate", epoch.learning_rate),
        value("train/images_per_second", epoch.images_per_second),
    ];
    for (tag, figure) in [
        ("train/accuracy", epoch.accuracy),
        ("validation/accuracy", epoch.validation_accuracy),
        ("validation/map", epoch.validation_map),
    ] {
        values.extend(figure.map(|figure| value(tag, figure)));
    }
    let summary = Some(Summary { value: values });
    Event { wall_time: now(), step: epoch.epoch as i64, file_version: None, summary }
}

fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// A record: length, checksum of the length, event, checksum of the event.
fn record(event: &Event) -> Vec<u8> {
    let event = event.encode_to_vec();
    let length = (event.len() as u64).to_le_bytes();
    [&length[..], &masked_crc(&length), &event, &masked_crc(&event)].concat()
}

/// CRC-32C, rotated and shifted as TensorFlow does, so that it is useful for data that contain checksums.
fn masked_crc(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_come_back_and_checksums_are_those_of_the_format() {
        // The checksum of the length 24, as TensorFlow writes it.
        assert_eq!(masked_crc(&24u64.to_le_bytes()), [0xa3, 0x7f, 0x4b, 0x22]);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tb/events");
        let epoch = |epoch, validation_map| EpochRecord {
            epoch,
            loss: 0.5,
            accuracy: Some(0.9),
            learning_rate: 0.1,
            images_per_second: 100.0,
            seconds: 1.0,
            validation_map,
            validation_accuracy: None,
        };
        begin(&path, &[epoch(1, None)]).unwrap();
        append(&path, &epoch(2, Some(0.75))).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let (mut rest, mut events) = (&bytes[..], Vec::new());
        while let Some((length, after)) = rest.split_first_chunk::<8>() {
            let n = u64::from_le_bytes(*length) as usize;
            assert_eq!(after[..4], masked_crc(length));
            assert_eq!(after[4 + n..8 + n], masked_crc(&after[4..4 + n]));
            events.push(Event::decode(&after[4..4 + n]).unwrap());
            rest = &after[8 + n..];
        }
        assert_eq!(events.iter().map(|event| event.step).collect::<Vec<_>>(), [0, 1, 2]);
        let last = events[2].summary.as_ref().unwrap().value.last().unwrap();
        assert_eq!((last.tag.as_str(), last.simple_value), ("validation/map", 0.75));
    }
}
