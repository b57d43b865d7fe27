//! Named protocols: which images train, which are searched, and which ask. Seeded, written out with a checksum, and printed
//! with every figure.

use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::dataset::{Dataset, DatasetName};
use crate::error::{Error, Result, by_name};

/// A protocol's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// Demo: 100 images a class ask; the others train and are searched.
    #[serde(rename = "demo")]
    Demo,
    /// Fashion-MNIST: the official test part asks; the official training part trains and is searched.
    #[serde(rename = "fashion-mnist-full")]
    FashionMnistFull,
    /// CIFAR-10: the official test part asks; the official training part trains and is searched.
    #[serde(rename = "cifar10-full")]
    Cifar10Full,
    /// CIFAR-10: 500 images a class train, 100 a class of the others ask, all but those are searched.
    #[serde(rename = "cifar10-5k")]
    Cifar10FiveK,
    /// CIFAR-10: the official training part trains, the official test part asks and is searched.
    #[serde(rename = "cifar10-test")]
    Cifar10Test,
    /// A folder: a tenth of each class, at least one image, asks; the others train and are searched.
    #[serde(rename = "folder")]
    Folder,
}

/// Rows of a dataset by their part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// The protocol.
    pub protocol: Protocol,
    /// Seed of the drawing; unused where the parts are official.
    pub seed: u64,
    /// Rows that train.
    pub train: Vec<usize>,
    /// Rows that are searched.
    pub database: Vec<usize>,
    /// Rows that ask.
    pub queries: Vec<usize>,
    /// Rows that watch training: neither trained on nor asked for, though searched where the protocol says so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub validation: Vec<usize>,
}

impl Protocol {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 6] = [
        Self::Demo,
        Self::FashionMnistFull,
        Self::Cifar10Full,
        Self::Cifar10FiveK,
        Self::Cifar10Test,
        Self::Folder,
    ];

    /// The name used in flags and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Demo => "demo",
            Self::FashionMnistFull => "fashion-mnist-full",
            Self::Cifar10Full => "cifar10-full",
            Self::Cifar10FiveK => "cifar10-5k",
            Self::Cifar10Test => "cifar10-test",
            Self::Folder => "folder",
        }
    }

    /// One line on its parts.
    pub fn description(self) -> &'static str {
        match self {
            Self::Demo => "100 queries a class held out; the others train and are the database",
            Self::FashionMnistFull => "train 60,000 = database, queries 10,000 (official parts)",
            Self::Cifar10Full => "train 50,000 = database, queries 10,000 (official parts)",
            Self::Cifar10FiveK => {
                "train 500 a class, queries 100 a class, database the other 59,000"
            }
            Self::Cifar10Test => "train 50,000, database 10,000 = queries (official parts)",
            Self::Folder => {
                "a tenth of each class held out as queries; the others train = database"
            }
        }
    }

    /// The dataset it is defined on.
    pub fn dataset(self) -> DatasetName {
        match self {
            Self::Demo => DatasetName::Demo,
            Self::FashionMnistFull => DatasetName::FashionMnist,
            Self::Cifar10Full | Self::Cifar10FiveK | Self::Cifar10Test => DatasetName::Cifar10,
            Self::Folder => DatasetName::Folder,
        }
    }

    /// The one used where none is named.
    pub fn default_for(dataset: DatasetName) -> Self {
        match dataset {
            DatasetName::Demo => Self::Demo,
            DatasetName::FashionMnist => Self::FashionMnistFull,
            DatasetName::Cifar10 => Self::Cifar10Full,
            DatasetName::Folder => Self::Folder,
        }
    }

    /// The protocol of that name.
    ///
    /// # Errors
    /// [`Error::Unknown`] with the most similar name.
    pub fn parse(name: &str) -> Result<Self> {
        by_name("protocol", name, Self::ALL.into_iter().map(|known| (known.name(), known)))
    }

    /// Draws the parts.
    ///
    /// # Errors
    /// When the protocol belongs to another dataset, or a class has too few images for it.
    pub fn split(self, dataset: &Dataset, seed: u64) -> Result<Split> {
        if self.dataset() != dataset.name {
            return Err(Error::Config {
                name: "protocol",
                got: format!("{} with dataset {}", self.name(), dataset.name.name()),
                expected: Self::default_for(dataset.name).name().to_owned(),
            });
        }
        let official = dataset.official_train.unwrap_or(dataset.len());
        let (first, second) =
            ((0..official).collect::<Vec<_>>(), (official..dataset.len()).collect::<Vec<_>>());
        let split = |train: Vec<usize>, database: Vec<usize>, queries: Vec<usize>| Split {
            protocol: self,
            seed,
            train,
            database,
            queries,
            validation: Vec::new(),
        };
        match self {
            Self::FashionMnistFull | Self::Cifar10Full => Ok(split(first.clone(), first, second)),
            Self::Cifar10Test => Ok(split(first, second.clone(), second)),
            Self::Demo => {
                let [queries] = draw(dataset, seed, |_| [100])?;
                let rest = without(dataset, &queries);
                Ok(split(rest.clone(), rest, queries))
            }
            Self::Folder => {
                let [queries] = draw(dataset, seed, |count| [(count / 10).max(1)])?;
                let rest = without(dataset, &queries);
                Ok(split(rest.clone(), rest, queries))
            }
            Self::Cifar10FiveK => {
                let [queries, train] = draw(dataset, seed, |_| [100, 500])?;
                Ok(split(train, without(dataset, &queries), queries))
            }
        }
    }
}

/// Draws disjoint parts of the wanted numbers of images from each class; each part in ascending order. At least one image a
/// class is left.
fn draw<const N: usize>(
    dataset: &Dataset,
    seed: u64,
    wanted: impl Fn(usize) -> [usize; N],
) -> Result<[Vec<usize>; N]> {
    let mut rng = dhih_model::named_rng(seed, "split");
    let mut parts = [const { Vec::new() }; N];
    for (label, class) in dataset.classes.iter().enumerate() {
        let of_class = |i: &usize| dataset.labels[*i] as usize == label;
        let mut rows: Vec<usize> = (0..dataset.len()).filter(of_class).collect();
        rows.shuffle(&mut rng);
        let wanted = wanted(rows.len());
        let needed = wanted.iter().sum::<usize>() + 1;
        if rows.len() < needed {
            return Err(Error::Config {
                name: "dataset",
                got: format!("{} images of class {class:?}", rows.len()),
                expected: format!("at least {needed}: some are held out as queries"),
            });
        }
        for (part, count) in parts.iter_mut().zip(wanted) {
            part.extend(rows.drain(..count));
        }
    }
    parts.iter_mut().for_each(|part| part.sort_unstable());
    Ok(parts)
}

/// All rows but those of `part`, which is sorted.
fn without(dataset: &Dataset, part: &[usize]) -> Vec<usize> {
    (0..dataset.len()).filter(|i| part.binary_search(i).is_err()).collect()
}

impl Split {
    /// Holds out a part `share` of the training rows of each class, to watch training by.
    ///
    /// # Errors
    /// When a class has too few of them for one image on either side.
    pub fn hold_out(mut self, dataset: &Dataset, share: f64) -> Result<Self> {
        let mut rng = dhih_model::named_rng(self.seed, "validation");
        let (mut train, mut validation) = (Vec::new(), Vec::new());
        for (label, class) in dataset.classes.iter().enumerate() {
            let of_class = |row: &&usize| dataset.labels[**row] as usize == label;
            let mut rows: Vec<usize> = self.train.iter().filter(of_class).copied().collect();
            let held_out = ((rows.len() as f64 * share).round() as usize).max(1);
            if held_out >= rows.len() {
                return Err(Error::Config {
                    name: "validation",
                    got: format!("{share} of {} images of class {class:?}", rows.len()),
                    expected: "a part that leaves images to train on".to_owned(),
                });
            }
            rows.shuffle(&mut rng);
            validation.extend(rows.drain(..held_out));
            train.extend(rows);
        }
        train.sort_unstable();
        validation.sort_unstable();
        (self.train, self.validation) = (train, validation);
        Ok(self)
    }

    /// SHA-256 over the rows of the parts, in hex.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        for part in [&self.train, &self.database, &self.queries] {
            hash.update((part.len() as u64).to_le_bytes());
            part.iter().for_each(|row| hash.update((*row as u64).to_le_bytes()));
        }
        if !self.validation.is_empty() {
            hash.update(b"validation");
            self.validation.iter().for_each(|row| hash.update((*row as u64).to_le_bytes()));
        }
        dhih_index::to_hex(&hash.finalize())
    }
}
