//! Named protocols: which images train, which are searched, and which ask. Seeded, written out with a checksum, and printed
//! with every figure.

use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::dataset::{Dataset, DatasetName, Lists};
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
    /// SVHN: the official test part asks; the official training part trains and is searched.
    #[serde(rename = "svhn-full")]
    SvhnFull,
    /// SVHN: 500 images a class train, 100 a class of the others ask, all but those are searched.
    #[serde(rename = "svhn-5k")]
    SvhnFiveK,
    /// NUS-WIDE with 21 concepts: the parts are those of the image lists.
    #[serde(rename = "nuswide-21")]
    NusWide21,
    /// NUS-WIDE with 81 concepts: the parts are those of the image lists.
    #[serde(rename = "nuswide-81")]
    NusWide81,
    /// The user's own images: a tenth of each class, at least one image, asks; the others train and are searched.
    #[serde(rename = "folder")]
    Folder,
    /// A set with a training and a test part: the test part asks; the training part trains and is searched.
    #[serde(rename = "official")]
    Official,
    /// Any set: seven tenths of the classes train. Of the other classes a tenth of each asks and the others are searched.
    #[serde(rename = "unseen-classes")]
    UnseenClasses,
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
    pub const ALL: [Self; 12] = [
        Self::Demo,
        Self::FashionMnistFull,
        Self::Cifar10Full,
        Self::Cifar10FiveK,
        Self::Cifar10Test,
        Self::SvhnFull,
        Self::SvhnFiveK,
        Self::NusWide21,
        Self::NusWide81,
        Self::Folder,
        Self::Official,
        Self::UnseenClasses,
    ];

    /// The name used in flags and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Demo => "demo",
            Self::FashionMnistFull => "fashion-mnist-full",
            Self::Cifar10Full => "cifar10-full",
            Self::Cifar10FiveK => "cifar10-5k",
            Self::Cifar10Test => "cifar10-test",
            Self::SvhnFull => "svhn-full",
            Self::SvhnFiveK => "svhn-5k",
            Self::NusWide21 => "nuswide-21",
            Self::NusWide81 => "nuswide-81",
            Self::Folder => "folder",
            Self::Official => "official",
            Self::UnseenClasses => "unseen-classes",
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
            Self::SvhnFull => "train 73,257 = database, queries 26,032 (official parts)",
            Self::SvhnFiveK => {
                "train 500 a class, queries 100 a class, database all but the queries"
            }
            Self::NusWide21 => {
                "train 10,500, queries 2,100, database all others (image lists); images that are missing are left out"
            }
            Self::NusWide81 => {
                "train, database and queries by image lists; images that are missing are left out"
            }
            Self::Folder => {
                "a tenth of each class held out as queries; the others train = database"
            }
            Self::Official => "train = database, queries the test part",
            Self::UnseenClasses => {
                "seven tenths of the classes train; of the others a tenth of each class asks, the rest is the database"
            }
        }
    }

    /// Whether it is defined on a dataset.
    pub fn is_for(self, dataset: DatasetName) -> bool {
        use DatasetName as Name;
        match self {
            Self::Demo => dataset == Name::Demo,
            Self::FashionMnistFull => dataset == Name::FashionMnist,
            Self::Cifar10Full | Self::Cifar10FiveK | Self::Cifar10Test => dataset == Name::Cifar10,
            Self::SvhnFull | Self::SvhnFiveK => dataset == Name::Svhn,
            Self::NusWide21 => dataset == Name::NusWide21,
            Self::NusWide81 => dataset == Name::NusWide81,
            Self::Folder => {
                matches!(dataset, Name::Folder | Name::Csv | Name::Parquet | Name::WebDataset)
            }
            Self::Official => dataset == Name::Parquet,
            Self::UnseenClasses => true,
        }
    }

    /// The one used where none is named.
    pub fn default_for(dataset: DatasetName) -> Self {
        match dataset {
            DatasetName::Demo => Self::Demo,
            DatasetName::FashionMnist => Self::FashionMnistFull,
            DatasetName::Cifar10 => Self::Cifar10Full,
            DatasetName::Svhn => Self::SvhnFull,
            DatasetName::NusWide21 => Self::NusWide21,
            DatasetName::NusWide81 => Self::NusWide81,
            DatasetName::Folder
            | DatasetName::Csv
            | DatasetName::Parquet
            | DatasetName::WebDataset => Self::Folder,
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
        if !self.is_for(dataset.name) {
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
        let all: Vec<usize> = (0..dataset.len()).collect();
        let classes: Vec<u32> = (0..dataset.classes.len() as u32).collect();
        match self {
            Self::FashionMnistFull | Self::Cifar10Full | Self::SvhnFull => {
                Ok(split(first.clone(), first, second))
            }
            Self::Official if second.is_empty() => Err(Error::Config {
                name: "protocol",
                got: "official, but the data has no test part".to_owned(),
                expected: Self::Folder.name().to_owned(),
            }),
            Self::Official => Ok(split(first.clone(), first, second)),
            Self::NusWide21 | Self::NusWide81 => match dataset.lists.clone() {
                Some(Lists { train, database, queries, .. }) => Ok(split(train, database, queries)),
                None => Ok(split(first.clone(), first, second)),
            },
            Self::UnseenClasses => {
                let (seen, unseen) = unseen(dataset, seed)?;
                let is_of = |row: &usize, classes: &[u32]| {
                    let labels = dataset.labels.of(*row);
                    !labels.is_empty() && labels.iter().all(|label| classes.contains(label))
                };
                let rows = |classes: &[u32]| -> Vec<usize> {
                    (0..dataset.len()).filter(|row| is_of(row, classes)).collect()
                };
                let (train, others) = (rows(&seen), rows(&unseen));
                let wanted = |count: usize| [(count / 10).max(1)];
                let [queries] = draw(dataset, (seed, &others, &unseen), wanted)?;
                let is_asked = |row: &usize| queries.binary_search(row).is_ok();
                let database = others.into_iter().filter(|row| !is_asked(row)).collect();
                Ok(split(train, database, queries))
            }
            Self::Cifar10Test => Ok(split(first, second.clone(), second)),
            Self::Demo => {
                let [queries] = draw(dataset, (seed, &all, &classes), |_| [100])?;
                let rest = without(dataset, &queries);
                Ok(split(rest.clone(), rest, queries))
            }
            Self::Folder => {
                let [queries] =
                    draw(dataset, (seed, &all, &classes), |count| [(count / 10).max(1)])?;
                let rest = without(dataset, &queries);
                Ok(split(rest.clone(), rest, queries))
            }
            Self::Cifar10FiveK | Self::SvhnFiveK => {
                let [queries, train] = draw(dataset, (seed, &all, &classes), |_| [100, 500])?;
                Ok(split(train, without(dataset, &queries), queries))
            }
        }
    }
}

/// The classes that train, and the others: three tenths, at least two, drawn.
fn unseen(dataset: &Dataset, seed: u64) -> Result<(Vec<u32>, Vec<u32>)> {
    let mut classes: Vec<u32> = (0..dataset.classes.len() as u32).collect();
    let count = (classes.len() * 3 / 10).max(2);
    if classes.len() < count + 2 {
        return Err(Error::Config {
            name: "protocol",
            got: format!("unseen-classes with {} classes", classes.len()),
            expected: "at least 4: two train and two are searched".to_owned(),
        });
    }
    classes.shuffle(&mut dhih_model::named_rng(seed, "unseen classes"));
    let mut unseen = classes.split_off(classes.len() - count);
    classes.sort_unstable();
    unseen.sort_unstable();
    Ok((classes, unseen))
}

/// Draws disjoint parts of the wanted numbers of images from each of `classes` among `rows`; each part in ascending order. At least
/// one image a class is left. An image of several classes is drawn for the first that wants it.
fn draw<const N: usize>(
    dataset: &Dataset,
    (seed, rows, classes): (u64, &[usize], &[u32]),
    wanted: impl Fn(usize) -> [usize; N],
) -> Result<[Vec<usize>; N]> {
    let mut rng = dhih_model::named_rng(seed, "split");
    let mut parts = [const { Vec::new() }; N];
    let mut is_drawn = vec![false; dataset.len()];
    for label in classes {
        let is_free = |i: &usize| dataset.labels.of(*i).contains(label) && !is_drawn[*i];
        let mut rows: Vec<usize> = rows.iter().copied().filter(is_free).collect();
        rows.shuffle(&mut rng);
        let wanted = wanted(rows.len());
        let needed = wanted.iter().sum::<usize>() + 1;
        if rows.len() < needed {
            let class = &dataset.classes[*label as usize];
            return Err(Error::Config {
                name: "dataset",
                got: format!("{} images of class {class:?}", rows.len()),
                expected: format!("at least {needed}: some are held out as queries"),
            });
        }
        for (part, count) in parts.iter_mut().zip(wanted) {
            let drawn: Vec<usize> = rows.drain(..count).collect();
            drawn.iter().for_each(|row| is_drawn[*row] = true);
            part.extend(drawn);
        }
    }
    parts.iter_mut().for_each(|part| part.sort_unstable());
    Ok(parts)
}

/// All rows but those of `part`, which is sorted.
fn without(dataset: &Dataset, part: &[usize]) -> Vec<usize> {
    (0..dataset.len()).filter(|i| part.binary_search(i).is_err()).collect()
}

/// Makes the drawing of validation images another one than that of queries.
const VALIDATION: u64 = 0x5641_4c49_4441_5445;

impl Split {
    /// Holds out a part `share` of the training rows of each class, to watch training by.
    ///
    /// # Errors
    /// When a class has too few of them for one image on either side.
    pub fn hold_out(mut self, dataset: &Dataset, share: f64) -> Result<Self> {
        let has =
            |label: &u32| self.train.iter().any(|row| dataset.labels.of(*row).contains(label));
        let classes: Vec<u32> = (0..dataset.classes.len() as u32).filter(has).collect();
        let wanted = |count: usize| [((count as f64 * share).round() as usize).max(1)];
        let seed = self.seed ^ VALIDATION;
        let [validation] = draw(dataset, (seed, &self.train, &classes), wanted)?;
        self.train.retain(|row| validation.binary_search(row).is_err());
        self.validation = validation;
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
