//! Drawing agrees with its definition and with the digests of existing runs. Published parts are kept apart. Long-tailed sets, and sets that are
//! too small for a step, are handled.

use rand::seq::SliceRandom;

use super::Protocol;
use super::draw::Drawing;
use crate::dataset::{ClassLabels, Dataset, DatasetName, Lists};
use crate::settings::table::TrainOptions;

fn demo(images: usize) -> Dataset {
    let options = TrainOptions { demo_images: Some(images), ..TrainOptions::default() };
    let config = options.resolve().unwrap().dataset_config();
    Dataset::load(DatasetName::Demo, &config).unwrap()
}

/// A user's own set with these labels, whose pixels do not matter.
fn labelled(labels: Vec<Vec<u32>>) -> Dataset {
    let classes = labels.iter().flatten().max().map_or(0, |highest| *highest + 1);
    let mut dataset = demo(10);
    dataset.name = DatasetName::Csv;
    dataset.classes = (0..classes).map(|class| class.to_string()).collect();
    dataset.labels = ClassLabels::Multiple(labels);
    dataset
}

/// 60 images of five classes, with 1 to 4 labels each.
fn five_tags() -> Dataset {
    let has = |image: u32, class: u32| image.is_multiple_of(class + 2) || class == image % 5;
    labelled((0..60).map(|i| (0..5).filter(|class| has(i, *class)).collect()).collect())
}

/// The definition: for each class in turn, all free rows are shuffled, and the first of them are drawn.
fn drawn_by_definition(dataset: &Dataset, seed: u64, count: fn(usize) -> usize) -> Vec<usize> {
    let mut rng = dhih_model::named_rng(seed, "split");
    let mut drawn = Vec::new();
    for class in 0..dataset.classes.len() as u32 {
        let is_free =
            |row: &usize| dataset.labels.of(*row).contains(&class) && !drawn.contains(row);
        let mut rows: Vec<usize> = (0..dataset.len()).filter(is_free).collect();
        rows.shuffle(&mut rng);
        let count = count(rows.len());
        if rows.len() > count {
            drawn.extend(&rows[..count]);
        }
    }
    drawn.sort_unstable();
    drawn
}

#[test]
fn drawing_is_what_its_definition_says() {
    for seed in 0..20 {
        for dataset in [five_tags(), demo(90)] {
            let count = |images: usize| (images / 4).max(1);
            let [drawn] = Drawing {
                dataset: &dataset,
                seed,
                rows: &(0..dataset.len()).collect::<Vec<_>>(),
                classes: &(0..dataset.classes.len() as u32).collect::<Vec<_>>(),
                counts: |images| [count(images)],
                skip_small_classes: true,
            }
            .draw()
            .unwrap();
            assert_eq!(drawn, drawn_by_definition(&dataset, seed, count));
        }
    }
}

/// The digests are those of runs from before classes were gathered in one pass. Another split would make their figures incomparable.
#[test]
fn splits_of_existing_runs_stay_as_they_are() {
    let digest = |protocol: Protocol, dataset: &Dataset, seed, validation| {
        let split = protocol.split(dataset, seed).unwrap();
        split.hold_out(dataset, validation).unwrap().sha256()
    };
    assert_eq!(
        digest(Protocol::Demo, &demo(1300), 3, 0.1),
        "74a9d60b89313ab21a165f475c88c280c70a576c716bdc4c7edcdc75f7cd7905"
    );
    assert_eq!(
        digest(Protocol::UnseenClasses, &demo(500), 3, 0.2),
        "acbba2c09e2433449926322a7030736915e268416fbe9a071d186c787db86d82"
    );
    assert_eq!(
        digest(Protocol::Folder, &five_tags(), 1, 0.2),
        "14f15d938bae08d76a3093f6f1d70fb07976587578a2fd9681eba4cb0d8fc3aa"
    );
}

/// Users' sets have classes with one image, and images that were already drawn for another of their classes. Either once made the whole set
/// unusable.
#[test]
fn a_long_tail_gives_no_queries_and_no_error() {
    let mut labels = vec![vec![0]; 30];
    labels.extend([vec![1], vec![2, 0], vec![2, 0]]);
    let dataset = labelled(labels);
    let split = Protocol::Folder.split(&dataset, 0).unwrap();
    assert!(split.train.contains(&30), "the only image of class 1 trains");
    assert_eq!(split.train.len() + split.queries.len(), 33);
    let split = split.hold_out(&dataset, 0.1).unwrap();
    assert!(!split.validation.contains(&30) && !split.validation.is_empty());
    let lonely = labelled((0..5).map(|class| vec![class]).collect());
    let error = Protocol::Folder.split(&lonely, 0).unwrap_err().to_string();
    assert!(error.contains("at least 2"), "{error}");
}

#[test]
fn published_test_and_validation_parts_never_train() {
    let with_parts = |classes: u32| {
        let mut dataset = labelled((0..48).map(|i| vec![i % classes]).collect());
        dataset.name = DatasetName::Parquet;
        (dataset.official_train, dataset.official_validation) = (Some(30), 6);
        dataset
    };
    let dataset = with_parts(3);
    let rows = |range: std::ops::Range<usize>| range.collect::<Vec<_>>();
    let official = Protocol::Official.split(&dataset, 0).unwrap();
    assert_eq!((&official.train, &official.queries), (&rows(0..30), &rows(30..42)));
    assert!(official.validation.is_empty(), "nobody asked for it");
    let watched = official.hold_out(&dataset, 0.1).unwrap();
    assert_eq!((watched.train, watched.validation), (rows(0..30), rows(42..48)));
    let folder = Protocol::Folder.split(&dataset, 0).unwrap();
    let all = [folder.train, folder.database, folder.queries].concat();
    assert!(all.iter().all(|row| *row < 30), "{all:?}");
    let unseen = Protocol::UnseenClasses.split(&with_parts(6), 0).unwrap();
    assert!(unseen.train.iter().all(|row| *row < 30), "{:?}", unseen.train);
}

#[test]
fn lists_are_the_parts_and_their_queries_are_apart() {
    let lists = |queries: &[usize]| Lists {
        train: vec![0, 1, 2],
        database: vec![0, 1, 2, 3],
        queries: queries.to_vec(),
        validation: vec![7],
    };
    let with = |queries: &[usize]| {
        let mut dataset = labelled((0..10).map(|i| vec![i % 2]).collect());
        dataset.lists = Some(lists(queries));
        dataset
    };
    let split = Protocol::Official.split(&with(&[4, 5]), 0).unwrap();
    assert_eq!((split.train, split.database.len(), split.queries), (vec![0, 1, 2], 4, vec![4, 5]));
    for (queries, part) in [(&[2, 5][..], "`train`"), (&[3, 5], "`database`"), (&[], "`queries`")] {
        let error = Protocol::Official.split(&with(queries), 0).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}
