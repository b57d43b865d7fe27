//! Named protocols: which images train, which are searched (the database), and which are queries. A protocol turns a dataset and a seed into a
//! [`Split`], which is written out with a digest (`split.rs`). Parts that are not published are drawn (`draw.rs`).

mod draw;
mod split;

#[cfg(test)]
mod tests;

use std::path::Path;

use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use self::draw::Drawing;
pub use self::split::Split;
use crate::dataset::{Dataset, DatasetName, Lists};
use crate::error::{Error, Result, by_name};

/// A protocol's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// Demo: 100 images of each class are the queries; the others train and are searched.
    #[serde(rename = "demo")]
    Demo,
    /// Fashion-MNIST: the official test part holds the queries; the official training part trains and is searched.
    #[serde(rename = "fashion-mnist-full")]
    FashionMnistFull,
    /// CIFAR-10: the official test part holds the queries; the official training part trains and is searched.
    #[serde(rename = "cifar10-full")]
    Cifar10Full,
    /// CIFAR-10: 500 images of each class train, 100 of the others are queries, and all but the queries are searched.
    #[serde(rename = "cifar10-5k")]
    Cifar10FiveK,
    /// CIFAR-10: the official training part trains; the official test part holds the queries and is searched.
    #[serde(rename = "cifar10-test")]
    Cifar10Test,
    /// SVHN: the official test part holds the queries; the official training part trains and is searched.
    #[serde(rename = "svhn-full")]
    SvhnFull,
    /// SVHN: 500 images of each class train, 100 of the others are queries, and all but the queries are searched.
    #[serde(rename = "svhn-5k")]
    SvhnFiveK,
    /// NUS-WIDE with 21 concepts: the parts are those of the image lists.
    #[serde(rename = "nuswide-21")]
    NusWide21,
    /// NUS-WIDE with 81 concepts: the parts are those of the image lists.
    #[serde(rename = "nuswide-81")]
    NusWide81,
    /// The user's own images: a tenth of each class, at least one image, are queries; the others train and are searched. A class with a single
    /// image has no query. Published test and validation parts are not used.
    #[serde(rename = "folder")]
    Folder,
    /// A set with a training and a test part: the test part holds the queries; the training part trains, and is searched where no database is
    /// listed. A published validation part is neither trained on nor searched.
    #[serde(rename = "official")]
    Official,
    /// Any set: seven tenths of the classes train. Of each other class a tenth of the images are queries and the others are searched.
    #[serde(rename = "unseen-classes")]
    UnseenClasses,
}

impl Protocol {
    /// All protocols, in the order in which they are listed.
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

    /// One line about its parts.
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
                "train 10,500, queries 2,100, database all but the queries, training images included (image lists); missing images are left out"
            }
            Self::NusWide81 => {
                "train, database and queries by image lists; images that are missing are left out"
            }
            Self::Folder => {
                "a tenth of each class held out as queries; the others train = database; published test parts left out"
            }
            Self::Official => {
                "train = database, queries the test part (published parts of your set)"
            }
            Self::UnseenClasses => {
                "seven tenths of the classes train; of the others a tenth of each class are queries, the rest is the database"
            }
        }
    }

    /// Whether it is defined for a dataset.
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
            Self::Official => matches!(
                dataset,
                Name::Folder
                    | Name::Csv
                    | Name::Parquet
                    | Name::WebDataset
                    | Name::PascalVoc
                    | Name::Cifar100
                    | Name::Cifar100Coarse
            ),
            Self::UnseenClasses => true,
        }
    }

    /// The default protocol of a dataset, whatever its files.
    pub fn default_for(dataset: DatasetName) -> Self {
        match dataset {
            DatasetName::Demo => Self::Demo,
            DatasetName::FashionMnist => Self::FashionMnistFull,
            DatasetName::Cifar10 => Self::Cifar10Full,
            DatasetName::Svhn => Self::SvhnFull,
            DatasetName::NusWide21 => Self::NusWide21,
            DatasetName::NusWide81 => Self::NusWide81,
            DatasetName::Cifar100 | DatasetName::Cifar100Coarse | DatasetName::PascalVoc => {
                Self::Official
            }
            DatasetName::Folder
            | DatasetName::Csv
            | DatasetName::Parquet
            | DatasetName::WebDataset => Self::Folder,
        }
    }

    /// As [`Self::default_for`], for the set in the folder `dir`: `official` where the set publishes a test part. It looks only at the names of
    /// files, or at the head of a list.
    pub fn default_in(dataset: DatasetName, dir: &Path) -> Self {
        match dataset.publishes_parts(dir) {
            true => Self::Official,
            false => Self::default_for(dataset),
        }
    }

    /// Whether its parts are published with the data.
    pub(crate) fn has_published_parts(self) -> bool {
        matches!(self, Self::Official | Self::NusWide21 | Self::NusWide81)
    }

    /// The protocol of this name.
    ///
    /// # Errors
    /// [`Error::Unknown`] with the most similar name.
    pub fn parse(name: &str) -> Result<Self> {
        by_name("protocol", name, Self::ALL.into_iter().map(|known| (known.name(), known)))
    }

    /// The parts of a dataset. Those that are not published are drawn.
    ///
    /// # Errors
    /// When the protocol belongs to another dataset, a class has too few images for it, a part is empty, or published lists have queries among
    /// the images that train or are searched.
    pub fn split(self, dataset: &Dataset, seed: u64) -> Result<Split> {
        if !self.is_for(dataset.name) {
            return Err(Error::Config {
                name: "protocol",
                got: format!("{} with dataset {}", self.name(), dataset.name.name()),
                expected: Self::default_for(dataset.name).name().to_owned(),
            });
        }
        let rows = match self {
            Self::FashionMnistFull | Self::Cifar10Full | Self::SvhnFull => {
                let train = dataset.official_train_rows();
                Rows {
                    train: train.clone(),
                    database: train,
                    queries: dataset.official_test_rows(),
                }
            }
            Self::Cifar10Test => {
                let test = dataset.official_test_rows();
                let train = dataset.official_train_rows();
                Rows { train, database: test.clone(), queries: test }
            }
            Self::Official | Self::NusWide21 | Self::NusWide81 => self.published(dataset)?,
            Self::UnseenClasses => unseen_classes(dataset, seed)?,
            Self::Demo => rest_and_queries(dataset, seed, |_| 100, false)?,
            Self::Folder => rest_and_queries(dataset, seed, |count| (count / 10).max(1), true)?,
            Self::Cifar10FiveK | Self::SvhnFiveK => {
                let [queries, train] = Drawing {
                    dataset,
                    seed,
                    rows: &all_rows(dataset),
                    classes: &all_classes(dataset),
                    counts: |_| [100, 500],
                    skip_small_classes: false,
                }
                .draw()?;
                Rows { train, database: without(&all_rows(dataset), &queries), queries }
            }
        };
        let Rows { train, database, queries } = rows;
        Split { protocol: self, seed, train, database, queries, validation: Vec::new() }
            .check_parts()
    }

    /// The parts that the data publishes, by lists or by the order of its rows.
    fn published(self, dataset: &Dataset) -> Result<Rows> {
        let Some(Lists { train, database, queries, .. }) = dataset.lists.clone() else {
            let (train, queries) = (dataset.official_train_rows(), dataset.official_test_rows());
            if queries.is_empty() {
                return Err(Error::Config {
                    name: "protocol",
                    got: format!("{}, but the data has no test part", self.name()),
                    expected: Self::Folder.name().to_owned(),
                });
            }
            return Ok(Rows { train: train.clone(), database: train, queries });
        };
        for (part, rows) in [("train", &train), ("database", &database)] {
            let shared = queries.iter().filter(|row| rows.binary_search(row).is_ok()).count();
            if shared > 0 {
                return Err(Error::Config {
                    name: "protocol",
                    got: format!(
                        "{}, whose lists have {shared} queries that are in the part `{part}` as well",
                        self.name()
                    ),
                    expected: "queries that are neither trained on nor searched".to_owned(),
                });
            }
        }
        Ok(Rows { train, database, queries })
    }
}

/// The parts of a split.
struct Rows {
    train: Vec<usize>,
    database: Vec<usize>,
    queries: Vec<usize>,
}

fn all_rows(dataset: &Dataset) -> Vec<usize> {
    (0..dataset.len()).collect()
}

fn all_classes(dataset: &Dataset) -> Vec<u32> {
    (0..dataset.classes.len() as u32).collect()
}

/// Draws `count` queries of each class; the others train and are searched. Published test and validation parts are not used.
fn rest_and_queries(
    dataset: &Dataset,
    seed: u64,
    count: impl Fn(usize) -> usize,
    skip_small_classes: bool,
) -> Result<Rows> {
    let rows = dataset.official_train_rows();
    let [queries] = Drawing {
        dataset,
        seed,
        rows: &rows,
        classes: &all_classes(dataset),
        counts: |images| [count(images)],
        skip_small_classes,
    }
    .draw()?;
    let rest = without(&rows, &queries);
    Ok(Rows { train: rest.clone(), database: rest, queries })
}

/// All images of the training classes; of each of the others, queries and a database. Where a set of pictures publishes a test part, none of it
/// trains.
fn unseen_classes(dataset: &Dataset, seed: u64) -> Result<Rows> {
    let (seen, unseen) = unseen(dataset, seed)?;
    let rows_of = |rows: Vec<usize>, classes: &[u32]| -> Vec<usize> {
        let mut is_wanted = vec![false; dataset.classes.len()];
        classes.iter().for_each(|class| is_wanted[*class as usize] = true);
        let is_of = |row: &usize| {
            let labels = dataset.labels.of(*row);
            !labels.is_empty() && labels.iter().all(|label| is_wanted[*label as usize])
        };
        rows.into_iter().filter(is_of).collect()
    };
    let trainable = match dataset.name.is_of_pictures() {
        true => dataset.official_train_rows(),
        false => all_rows(dataset),
    };
    let train = rows_of(trainable, &seen);
    let others = rows_of(all_rows(dataset), &unseen);
    let [queries] = Drawing {
        dataset,
        seed,
        rows: &others,
        classes: &unseen,
        counts: |count: usize| [(count / 10).max(1)],
        skip_small_classes: true,
    }
    .draw()?;
    Ok(Rows { train, database: without(&others, &queries), queries })
}

/// The training classes, and the others: three tenths of all classes, at least two, drawn at random.
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

/// The rows that are not in `part`; both are in ascending order.
fn without(rows: &[usize], part: &[usize]) -> Vec<usize> {
    rows.iter().copied().filter(|row| part.binary_search(row).is_err()).collect()
}
