//! Rescored answers are what the definition says: the nearest by code, put in order by similarity. Bad queries are refused.

use super::*;
use crate::index::writer::IndexWriter;
use crate::test_numbers::Numbers;
use crate::{
    CodeSet, Filter, Flat, IndexBuilder, IndexConfig, Labels, OpenOptions, VectorSet, VectorType,
};

const DIMS: usize = 12;

/// Vectors in clusters, some of them zero.
fn vectors(numbers: &mut Numbers, count: usize) -> Vec<f32> {
    let mut number = || (numbers.next() % 2001) as f32 / 1000.0 - 1.0;
    let centres: Vec<Vec<f32>> = (0..4).map(|_| (0..DIMS).map(|_| number()).collect()).collect();
    (0..count)
        .flat_map(|item| {
            let zero = if item % 17 == 0 { 0.0 } else { 1.0 };
            let near = centres[item % 4].iter().map(|x| zero * (x + 0.3 * number()));
            near.collect::<Vec<f32>>()
        })
        .collect()
}

fn set(ids: std::ops::Range<u64>, vectors: &[f32]) -> CodeSet {
    CodeSet {
        labels: Some(Labels::Single(ids.clone().map(|id| (id % 3) as i64).collect())),
        ids: Some(ids.collect()),
        vectors: Some(VectorSet::from_f32(DIMS, vectors).unwrap()),
        ..CodeSet::new(Codes::from_real(DIMS as u32, vectors).unwrap())
    }
}

/// An index with two segments and a memtable.
fn index(dir: &std::path::Path, number: VectorType, numbers: &mut Numbers) -> Index {
    let mut some = |ids: std::ops::Range<u64>| {
        let vectors = vectors(numbers, (ids.end - ids.start) as usize);
        set(ids, &vectors)
    };
    let config = IndexConfig::default().with_vectors(number);
    IndexBuilder::new(config).build(&some(0..300), dir).unwrap();
    let mut writer = IndexWriter::open(dir).unwrap();
    writer.add(&some(1000..1100)).unwrap();
    writer.flush().unwrap();
    writer.add(&some(2000..2050)).unwrap();
    writer.remove(&[3, 40, 1001, 2002]).unwrap();
    writer.upsert(&some(50..60)).unwrap();
    let index = Index::open(dir).unwrap();
    index.verify().unwrap();
    index
}

/// The definition.
fn oracle(
    index: &Index,
    hits: Vec<crate::Hit>,
    vector: &[f32],
    rescore: &Rescore,
) -> Vec<RescoredHit> {
    let form = index.metadata.vectors.unwrap();
    let query = QueryVector::new(form, rescore.similarity, vector).unwrap();
    let mut all: Vec<RescoredHit> = hits
        .iter()
        .map(|hit| RescoredHit {
            similarity: query.similarity(index.stored_vector(hit.id).unwrap()),
            distance: hit.distance,
            id: hit.id,
        })
        .collect();
    all.sort_by(|a, b| b.similarity.partial_cmp(&a.similarity).unwrap().then(a.id.cmp(&b.id)));
    all.truncate(rescore.k);
    all
}

#[test]
fn candidates_are_put_in_order_by_similarity() {
    let numbers = &mut Numbers(5);
    for number in [VectorType::F32, VectorType::F16, VectorType::Int8] {
        let dir = tempfile::tempdir().unwrap();
        let index = index(dir.path(), number, numbers);
        let on_disk = OpenOptions::new().on_disk(true).open(dir.path()).unwrap();
        let all = index.to_code_set().unwrap();
        assert_eq!(all.vectors.as_ref().unwrap().number_type(), number);
        let flat = Flat::of(&all).unwrap();
        let queries = vectors(numbers, 40)[DIMS..].to_vec();
        let queries: Vec<&[f32]> =
            queries.chunks(DIMS).filter(|query| query.iter().any(|x| *x != 0.0)).collect();
        let codes = Codes::from_real(DIMS as u32, &queries.concat()).unwrap();
        for similarity in [Similarity::Cosine, Similarity::InnerProduct] {
            for (k, candidates) in [(1, 1), (5, 5), (10, 60), (30, 1000)] {
                let rescore = Rescore::new(k, candidates).with_similarity(similarity);
                let batch = index.knn_rescored_batch(&codes, &queries.concat(), &rescore).unwrap();
                for ((code, vector), answer) in codes.iter().zip(&queries).zip(batch) {
                    for index in [&index, &on_disk] {
                        assert_eq!(answer, index.knn_rescored(code, vector, &rescore).unwrap());
                    }
                    let hits = flat.knn(code, candidates).unwrap();
                    assert_eq!(answer.hits, oracle(&index, hits, vector, &rescore));
                    let expected = index.knn_certified(code, candidates, None).unwrap();
                    assert_eq!(answer.certificate, expected.certificate);
                }
                // Among some of the items.
                let selection = index.select(&Filter::default().labels([1]));
                let answer = selection.knn_rescored(&codes[0], queries[0], &rescore).unwrap();
                let hits = selection.knn(&codes[0], candidates).unwrap();
                assert_eq!(answer.hits, oracle(&index, hits, queries[0], &rescore));
            }
        }
        // With all items as candidates, and numbers as they were given, these are the most similar of all.
        let rescore = Rescore::new(5, index.len());
        let answer = index.knn_rescored(&codes[0], queries[0], &rescore).unwrap();
        assert_eq!(answer.certificate.certain_within, Some(DIMS as u32));
        let kept = all.vectors.unwrap();
        let cosine = |row: usize| {
            let vector = kept.get(row).unwrap();
            let sum = |a: &[f32], b: &[f32]| -> f64 {
                a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
            };
            let lengths = (sum(&vector, &vector) * sum(queries[0], queries[0])).sqrt();
            if lengths == 0.0 { 0.0 } else { sum(&vector, queries[0]) / lengths }
        };
        let mut cosines: Vec<f64> = (0..kept.len()).map(cosine).collect();
        cosines.sort_by(|a, b| b.total_cmp(a));
        for (hit, expected) in answer.hits.iter().zip(cosines) {
            let slack = if number == VectorType::Int8 { 0.01 } else { 1e-5 };
            assert!((f64::from(hit.similarity) - expected).abs() < slack, "{number}");
        }
    }
}

#[test]
fn what_cannot_be_answered_is_refused() {
    let (dir, numbers) = (tempfile::tempdir().unwrap(), &mut Numbers(6));
    let index = index(dir.path(), VectorType::F16, numbers);
    let (code, vector) = ([0, 0], [1.0_f32; DIMS]);
    let refused =
        |vector: &[f32], rescore: &Rescore| index.knn_rescored(&code, vector, rescore).unwrap_err();
    assert!(matches!(refused(&vector, &Rescore::new(0, 9)), Error::ZeroK));
    assert!(matches!(
        refused(&vector, &Rescore::new(9, 8)),
        Error::Vectors(VectorError::Candidates { .. })
    ));
    for wrong in [&[1.0; DIMS + 1][..], &[0.0; DIMS], &[f32::NAN; DIMS], &[]] {
        assert!(matches!(
            refused(wrong, &Rescore::new(1, 1)),
            Error::Vectors(VectorError::Query { .. })
        ));
    }
    let codes = Codes::new(DIMS as u32, vec![0; 4]).unwrap();
    let rescore = Rescore::new(1, 1);
    let batch = index.knn_rescored_batch(&codes, &[1.0; DIMS], &rescore);
    assert!(matches!(batch, Err(Error::Vectors(VectorError::Query { .. }))));
    let others = Codes::new(8, vec![0]).unwrap();
    let batch = index.knn_rescored_batch(&others, &vector, &rescore);
    assert!(matches!(batch, Err(Error::QueryBits { .. })));

    // Items without vectors, and with others, do not come in.
    let mut writer = IndexWriter::open(dir.path()).unwrap();
    let good = set(5000..5001, &vectors(numbers, 2)[DIMS..]);
    let bare = CodeSet { vectors: None, ..good.clone() };
    assert!(matches!(writer.add(&bare), Err(Error::Vectors(VectorError::Kind { .. }))));
    let short = Some(VectorSet::from_f32(3, &[0.0; 3]).unwrap());
    let short = CodeSet { vectors: short, ..good.clone() };
    assert!(matches!(writer.add(&short), Err(Error::Vectors(VectorError::Kind { .. }))));
    let far = Some(VectorSet::from_f32(DIMS, &[1e6; DIMS]).unwrap());
    let far = CodeSet { vectors: far, ..good.clone() };
    assert!(matches!(writer.add(&far), Err(Error::Vectors(VectorError::Unusable { row: 0, .. }))));
    let two = Some(VectorSet::from_f32(DIMS, &[1.0; 2 * DIMS]).unwrap());
    let two = CodeSet { vectors: two, ..good.clone() };
    assert!(matches!(writer.add(&two), Err(Error::Count { what: "vectors", .. })));
    assert_eq!(writer.snapshot().len(), index.len());

    // An index without vectors neither takes nor rescores them.
    let plain = tempfile::tempdir().unwrap();
    IndexBuilder::default().build(&bare, plain.path()).unwrap();
    let mut writer = IndexWriter::open(plain.path()).unwrap();
    let more = CodeSet { ids: None, ..good };
    assert!(matches!(writer.add(&more), Err(Error::Vectors(VectorError::Kind { .. }))));
    let found = writer.snapshot().knn_rescored(&code, &vector, &rescore);
    assert!(matches!(found, Err(Error::Vectors(VectorError::NotKept { .. }))));
}
