//! The names of the datasets, and what is known of each without reading it. Each dataset has a file that reads it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{csv_list, folder, parquet};
use crate::error::{Result, by_name};

/// Which dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DatasetName {
    /// The embedded set: rendered, nothing to download.
    Demo,
    /// Fashion-MNIST (Xiao, Rasul, Vollgraf 2017), four gzipped IDX files.
    FashionMnist,
    /// CIFAR-10 (Krizhevsky 2009), as the hub's Parquet files or the binary version.
    Cifar10,
    /// CIFAR-100 (Krizhevsky 2009) with its 100 fine classes.
    Cifar100,
    /// CIFAR-100 with its 20 coarse classes.
    Cifar100Coarse,
    /// SVHN's cropped digits (Netzer et al. 2011), as published or as the hub's Parquet files.
    Svhn,
    /// NUS-WIDE (Chua et al. 2009) with its 21 most frequent concepts, as image lists.
    #[serde(rename = "nus-wide-21")]
    NusWide21,
    /// NUS-WIDE with all 81 concepts, as image lists.
    #[serde(rename = "nus-wide-81")]
    NusWide81,
    /// A year of Pascal VOC (Everingham et al. 2010), whose pictures have several of 20 classes.
    PascalVoc,
    /// The user's own images, one sub-folder for each class.
    Folder,
    /// The user's own images, listed with one or several labels each.
    Csv,
    /// Parquet files in the hub's image schema.
    Parquet,
    /// WebDataset shards.
    #[serde(rename = "webdataset")]
    WebDataset,
}

impl DatasetName {
    /// All datasets, in the order in which they are listed.
    pub const ALL: [Self; 13] = [
        Self::Demo,
        Self::FashionMnist,
        Self::Cifar10,
        Self::Cifar100,
        Self::Cifar100Coarse,
        Self::Svhn,
        Self::NusWide21,
        Self::NusWide81,
        Self::PascalVoc,
        Self::Folder,
        Self::Csv,
        Self::Parquet,
        Self::WebDataset,
    ];

    /// The name used in flags and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Demo => "demo",
            Self::FashionMnist => "fashion-mnist",
            Self::Cifar10 => "cifar10",
            Self::Cifar100 => "cifar100",
            Self::Cifar100Coarse => "cifar100-coarse",
            Self::Svhn => "svhn",
            Self::NusWide21 => "nus-wide-21",
            Self::NusWide81 => "nus-wide-81",
            Self::PascalVoc => "pascal-voc",
            Self::Folder => "folder",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
            Self::WebDataset => "webdataset",
        }
    }

    /// The sub-folder of `data` with its files. Sets that differ only in their labels share one.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Cifar100Coarse => Self::Cifar100.name(),
            other => other.name(),
        }
    }

    /// One line about its content.
    pub fn description(self) -> &'static str {
        match self {
            Self::Demo => {
                "10,000 rendered 32 x 32 images of 10 shapes; embedded, nothing to download"
            }
            Self::FashionMnist => "70,000 grey 28 x 28 images of 10 kinds of clothing",
            Self::Cifar10 => "60,000 colour 32 x 32 photographs of 10 kinds of objects",
            Self::Cifar100 => "60,000 colour 32 x 32 photographs of 100 kinds of objects",
            Self::Cifar100Coarse => "CIFAR-100 with its 20 coarse classes",
            Self::Svhn => "99,289 colour 32 x 32 photographs of house numbers' digits",
            Self::NusWide21 => "195,834 photographs with any of 21 concepts, as image lists",
            Self::NusWide81 => "photographs with any of 81 concepts, as image lists",
            Self::PascalVoc => {
                "photographs with any of 20 classes, a year of Pascal VOC as unpacked"
            }
            Self::Csv => "your own images, listed in labels.csv with one or several labels each",
            Self::Parquet => "Parquet files in the hub's image schema",
            Self::WebDataset => "tar shards of pictures and class numbers",
            Self::Folder => "your own images, one sub-folder a class",
        }
    }

    /// The dataset of this name.
    ///
    /// # Errors
    /// [`Error::Unknown`](crate::Error::Unknown) with the most similar name.
    pub fn parse(name: &str) -> Result<Self> {
        by_name("dataset", name, Self::ALL.into_iter().map(|known| (known.name(), known)))
    }

    /// Whether its images have any size and are brought to that of the network when they are read.
    pub fn is_of_pictures(self) -> bool {
        !matches!(
            self,
            Self::Demo
                | Self::FashionMnist
                | Self::Cifar10
                | Self::Cifar100
                | Self::Cifar100Coarse
                | Self::Svhn
        )
    }

    /// Whether the user's set in the folder `dir` says which of its images are the test part. Only names of files, or the head of a list, are
    /// read; if the folder cannot be read, the answer is no.
    pub fn publishes_parts(self, dir: &Path) -> bool {
        match self {
            Self::Folder => folder::publishes_parts(dir),
            Self::Csv => csv_list::has_parts(dir),
            Self::Parquet => parquet::has_test_part(dir),
            _ => false,
        }
    }
}
