//! Checks whether decoded images and labels are those of a published set, whatever files they came from: a Parquet file of PNGs, one of lossless
//! WebPs, and the authors' own files contain the same set. The compared records are those of the authors: the label of an image in one byte,
//! then its pixels, one plane for each channel. `provenance.rs` checks whether the files of a set are those that `fetch-data` fetched.
//!
//! The MD5 sums of CIFAR-10 are those of the files of the binary version, `data_batch_1.bin` to `test_batch.bin`, as several public projects
//! list them. Those of Fashion-MNIST cover the records of its four files, whose own checksums are in `data/manifest.toml`. MD5 distinguishes
//! versions of a set; it does not protect against forgery.

use std::fmt;

use md5::{Digest, Md5};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::DatasetName;
use super::raw::Raw;
use crate::intake::pixels::Pixels;

/// How many images of a part of a published set are verified. It is displayed as `10 of 12 test images verified`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartVerification {
    /// The part: `training` or `test`.
    pub part: String,
    /// The number of its images.
    pub images: usize,
    /// The number of images that are the published ones, pixels and label.
    pub verified: usize,
    /// The number of images without a known digest, which may or may not be the published ones.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unknown: usize,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl fmt::Display for PartVerification {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { part, images, verified, unknown } = self;
        if verified == images {
            return write!(f, "{part} part verified");
        }
        write!(f, "{verified} of {images} {part} images verified")?;
        match unknown {
            0 => Ok(()),
            unknown => write!(f, ", {unknown} not in the table"),
        }
    }
}

/// The known digests of a part.
struct Known {
    part: &'static str,
    /// The number of its images.
    images: usize,
    /// MD5 sums in hex, of runs of records of equal length that make up the part.
    md5: &'static [&'static str],
    /// For each image the first bytes of the SHA-256 of its record; [`ABSENT`] where it is not known. These are for copies in which some images
    /// are not the published ones, so that no sum of the whole agrees.
    each: &'static [[u8; 4]],
}

/// Marks an image whose digest is not known.
const ABSENT: [u8; 4] = [0; 4];

/// The images of CIFAR-10's test part, except 20 images whose published pixels were not available when the table was made.
const CIFAR10_TEST: &[[u8; 4]] = include_bytes!("cifar10-test.digests").as_chunks().0;

const CIFAR10: [Known; 2] = [
    Known {
        part: "training",
        images: 50_000,
        md5: &[
            "5dd7e06a14cb22eb9f671a540d1b7c25",
            "5ea93a67294ea407fff1d09f752e9692",
            "942cd6a4bcdd0dd3c604fbe906cb4421",
            "ae636b3ba5c66a11e91e8cb52e771fcb",
            "53f37980c15c3d472c316c40844f3f0d",
        ],
        each: &[],
    },
    Known {
        part: "test",
        images: 10_000,
        md5: &["803d5f7f4d78ea53de84dbe85f74fb6d"],
        each: CIFAR10_TEST,
    },
];

const FASHION_MNIST: [Known; 2] = [
    Known {
        part: "training",
        images: 60_000,
        md5: &["5028673ac1669f86eab43f371142b7d8"],
        each: &[],
    },
    Known { part: "test", images: 10_000, md5: &["d33bea608143aa5cdc7bfd8471b359cf"], each: &[] },
];

/// Compares the images of a set with those that are known to be published, part by part; `None` for sets without known digests.
pub(super) fn verify(name: DatasetName, raw: &Raw) -> Option<Vec<PartVerification>> {
    let known = match name {
        DatasetName::Cifar10 => &CIFAR10,
        DatasetName::FashionMnist => &FASHION_MNIST,
        _ => return None,
    };
    let Pixels::Memory(pixels) = &raw.pixels else { return None };
    let train = raw.official_train.unwrap_or(raw.labels.len());
    let images = Images { pixels, bytes: raw.shape.len(), channels: raw.shape.channels, raw };
    let parts = [0..train, train..raw.labels.len()];
    Some(known.iter().zip(parts).map(|(known, rows)| known.verify(&images, rows)).collect())
}

/// Images of one shape with one label each.
struct Images<'a> {
    /// The pixels, `[n, height, width, channels]`.
    pixels: &'a [u8],
    /// The number of bytes of an image.
    bytes: usize,
    channels: usize,
    raw: &'a Raw,
}

impl Images<'_> {
    /// The record of an image: its label in one byte, then its pixels, one plane for each channel.
    fn record(&self, row: usize) -> Vec<u8> {
        let image = &self.pixels[row * self.bytes..][..self.bytes];
        let planes =
            (0..self.channels).flat_map(|channel| image[channel..].iter().step_by(self.channels));
        let label = self.raw.labels.of(row).iter().map(|label| *label as u8);
        label.chain(planes.copied()).collect()
    }
}

impl Known {
    /// Compares the images `rows` with this part.
    fn verify(&self, images: &Images<'_>, rows: std::ops::Range<usize>) -> PartVerification {
        let run = self.images / self.md5.len();
        let rows: Vec<usize> = rows.collect();
        let runs: Vec<&[usize]> = rows.chunks(run).collect();
        let is_published = |(rows, expected): (&&[usize], &&str)| {
            let mut digest = Md5::new();
            rows.iter().for_each(|row| digest.update(images.record(*row)));
            dhih_index::to_hex(&digest.finalize()) == *expected
        };
        let in_runs = runs.par_iter().zip(self.md5);
        let mut verified = in_runs.filter(|pair| is_published((pair.0, pair.1))).count() * run;
        let mut unknown = 0;
        if verified < rows.len() && !self.each.is_empty() {
            let of_row = |(row, known): (&usize, &[u8; 4])| {
                *known != ABSENT && Sha256::digest(images.record(*row)).starts_with(known)
            };
            let in_table = rows.par_iter().zip(self.each);
            verified = in_table.filter(|pair| of_row((pair.0, pair.1))).count();
            unknown = rows.iter().zip(self.each).filter(|(_, known)| **known == ABSENT).count();
        }
        PartVerification { part: self.part.to_owned(), images: rows.len(), verified, unknown }
    }
}

#[cfg(test)]
mod tests;
