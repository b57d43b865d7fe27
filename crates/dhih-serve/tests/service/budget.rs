//! Searches with a time budget: their claims of completeness are true wherever they had to stop.

use dhih_index::{Index, VectorType};
use dhih_serve::Access;
use serde_json::{Value, json as value};

use crate::common::{get, json, send};
use crate::vectors::{Coded, DIMS, ids, vectors};

/// Checks the claims of an answer: an exact answer is that of the index, and of the `k` nearest items all within `certain_within` are hits.
fn assert_certificate_holds(answer: &Value, index: &Index, code: &[u8], k: usize) {
    let nearest = index.knn(code, k).unwrap();
    let found = ids(answer);
    if answer["exact"] == true {
        assert!(nearest.iter().map(|hit| hit.id).eq(found));
    } else if let Some(within) = answer["certain_within"].as_u64() {
        let certain = nearest.iter().filter(|hit| u64::from(hit.distance) <= within);
        certain.for_each(|hit| assert!(found.contains(&hit.id), "{hit:?} {answer}"));
    }
}

#[tokio::test]
async fn a_search_with_a_budget_says_how_far_it_came() {
    let coded = Coded::new(Some(VectorType::F32));
    let app = coded.app(Access::ReadOnly);
    let index = Index::open(coded.index()).unwrap();
    for query in vectors(20, 4).chunks_exact(DIMS) {
        let code = coded.code(query);
        let by_code = value!({ "code": dhih_index::to_hex(&code) }).to_string();
        let by_vector = value!({ "vector": query }).to_string();
        // With a generous budget, the answer is the same as without one, and says that it is exact.
        let whole = send(&app, json("/v1/search?k=12", &by_code)).await.ok();
        let timed = send(&app, json("/v1/search?k=12&budget_us=10000000", &by_code)).await.ok();
        assert_eq!((&timed["hits"], &timed["exact"]), (&whole["hits"], &true.into()));
        assert_eq!(whole.get("exact"), None);
        let path = "/v1/search?k=7&radius=5&label=1&label=2&codes=true";
        let whole = send(&app, json(path, &by_code)).await.ok();
        let timed = send(&app, json(&format!("{path}&budget_us=10000000"), &by_code)).await.ok();
        assert_eq!(timed["hits"], whole["hits"]);
        let rescored = send(&app, json("/v1/search?k=5&rescore=60", &by_vector)).await.ok();
        let path = "/v1/search?k=5&rescore=60&budget_us=10000000";
        let timed = send(&app, json(path, &by_vector)).await.ok();
        assert_eq!((&timed["hits"], &timed["exact"]), (&rescored["hits"], &rescored["exact"]));
        // With a tiny budget, the claims of the answer are true wherever the search had to stop.
        for budget in [1, 5, 30] {
            let path = format!("/v1/search?k=50&budget_us={budget}");
            let answer = send(&app, json(&path, &by_code)).await.ok();
            assert!(answer.get("certain_within").is_some());
            assert_certificate_holds(&answer, &index, &code, 50);
        }
        let body = value!({ "queries": [{ "vector": query }, { "id": 3 }] }).to_string();
        let answer = send(&app, json("/v1/search/batch?k=50&budget_us=20", &body)).await.ok();
        assert_certificate_holds(&answer["answers"][0], &index, &code, 50);
        assert_certificate_holds(&answer["answers"][1], &index, index.code(3).unwrap(), 50);
    }
    for (path, part) in [
        ("/v1/search?rerank=true&budget_us=9", "leave `budget_us` out"),
        ("/v1/search?budget_us=0", "give 1 to 10000000"),
        ("/v1/search/batch?budget_us=x", "whole number"),
    ] {
        let answer = send(&app, json(path, r#"{"id":3}"#)).await;
        answer.refused(400, "invalid_parameter", part);
    }
    let pairs = send(&app, get("/v1/items/3/pairs?radius=3&budget_us=9")).await;
    pairs.refused(400, "invalid_parameter", "pairs are all within a distance");
}
