//! Items as a whole: listing page by page, counting, deleting by class or filter, and adding as JSON Lines.

use axum::{Router, http::Method};
use dhih_index::{CodeSet, Codes, IndexBuilder, Labels, to_hex};
use dhih_serve::Access;
use serde_json::{Value, json as value};

use crate::common::{get, json, post, send, with_method};
use crate::metadata::{declare, filtered, open, put};

const ITEMS: u64 = 25;

fn build(dir: &std::path::Path) {
    let set = CodeSet {
        ids: Some((0..ITEMS).map(|id| 3 * id).collect()),
        labels: Some(Labels::Single((0..ITEMS as i64).map(|id| id % 2).collect())),
        classes: ["even", "odd"].map(String::from).to_vec(),
        ..CodeSet::new(Codes::new(32, (0..4 * ITEMS as u8).collect()).unwrap())
    };
    IndexBuilder::default().build(&set, dir).unwrap();
}

async fn list(app: &Router, path: &str) -> (Vec<u64>, Option<u64>) {
    let page = send(app, get(path)).await.ok();
    let ids = page["items"].as_array().unwrap().iter().map(|item| item["id"].as_u64().unwrap());
    (ids.collect(), page["next"].as_u64())
}

async fn count(app: &Router) -> u64 {
    send(app, get("/v1/items/count")).await.ok()["count"].as_u64().unwrap()
}

#[tokio::test]
async fn pages_go_through_all_items_once() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let app = open(dir.path(), Access::Writable);
    for (query, expected) in [
        ("", (0..ITEMS).map(|id| 3 * id).collect::<Vec<_>>()),
        ("&label=odd", (0..ITEMS).map(|id| 3 * id).filter(|id| id % 2 == 1).collect()),
        ("&label=odd&label=even", (0..ITEMS).map(|id| 3 * id).collect()),
    ] {
        for limit in [1, 7, 25, 26] {
            let (mut all, mut after) = (Vec::new(), None);
            loop {
                let from = after.map_or(String::new(), |after| format!("&after={after}"));
                let (ids, next) =
                    list(&app, &format!("/v1/items?limit={limit}{query}{from}")).await;
                assert!(ids.len() <= limit && !ids.is_empty());
                assert!(next.is_none() || next == ids.last().copied());
                all.extend(ids);
                after = next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(all, expected);
        }
    }
    assert_eq!(list(&app, "/v1/items?after=72").await, (vec![], None));
    let item = &send(&app, get("/v1/items?limit=1")).await.ok()["items"][0];
    assert_eq!(*item, send(&app, get("/v1/items/0")).await.ok());
    send(&app, get("/v1/items?limit=0")).await.refused(400, "invalid_parameter", "1 to 1000");
    send(&app, get("/v1/items?label=x")).await.refused(400, "unknown_label", "even");
}

#[tokio::test]
async fn what_a_filter_names_is_deleted_at_once() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let app = open(dir.path(), Access::Writable);
    declare(&app).await;
    for id in [0, 3, 30] {
        send(&app, put(&format!("/v1/items/{id}/metadata"), &value!({"camera": "north"})))
            .await
            .ok();
    }
    let nothing = send(&app, with_method(Method::DELETE, "/v1/items")).await;
    nothing.refused(400, "missing_filter", "`label` or `filter`");
    let wrong = send(&app, with_method(Method::DELETE, "/v1/items?limit=3")).await;
    wrong.refused(400, "invalid_parameter", "label and filter");
    let north = filtered(
        "/v1/items?label=even",
        &value!({"must": [{"field": "camera", "equals": "north"}]}),
    );
    for deleted in [2, 0] {
        let answer = send(&app, with_method(Method::DELETE, &north)).await.ok();
        assert_eq!(answer, value!({ "deleted": deleted }));
    }
    assert_eq!(
        (count(&app).await, list(&app, "/v1/items?limit=2").await.0),
        (ITEMS - 2, vec![3, 6])
    );
    let all = send(&app, with_method(Method::DELETE, "/v1/items?label=even&label=odd")).await.ok();
    assert_eq!(all["deleted"], ITEMS - 2);
    assert_eq!((count(&app).await, list(&app, "/v1/items").await.0), (0, vec![]));
    drop(app);
    assert_eq!(count(&open(dir.path(), Access::Writable)).await, 0, "nor after a restart");
}

async fn lines(app: &Router, path: &str, body: &str) -> Value {
    send(app, post(path, "application/x-ndjson", body.to_owned())).await.ok()
}

#[tokio::test]
async fn lines_that_can_be_added_are_and_the_others_say_why_not() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let app = open(dir.path(), Access::Writable);
    declare(&app).await;
    let code = |byte: u8| to_hex(&[byte; 4]);
    let body = [
        value!({"code": code(1), "label": "odd", "metadata": {"camera": "north"}, "external_id": "a"}).to_string(),
        String::new(),
        value!({"code": "zz"}).to_string(),
        value!({"code": code(2), "id": 3}).to_string(),
        "{\"code\":".into(),
        value!({"code": code(3), "id": 1000}).to_string(),
        value!({"code": code(4), "id": 1000}).to_string(),
        value!({"code": code(5), "external_id": "a"}).to_string(),
        value!({"code": code(6), "metadata": {"camera": 1}}).to_string(),
        value!({"code": code(7)}).to_string(),
    ]
    .join("\n");
    let made = lines(&app, "/v1/items/batch", &(body.clone() + "\n")).await;
    let ids = value!([73, null, null, null, null, 1000, null, null, null, 1001]);
    assert_eq!((&made["ids"], &made["added"], &made["replaced"]), (&ids, &3.into(), &0.into()));
    let failed = made["failed"].as_array().unwrap();
    let words: Vec<_> = failed
        .iter()
        .map(|failed| (failed["line"].as_u64().unwrap(), failed["error"]["code"].as_str().unwrap()))
        .collect();
    let expected = [
        (3, "invalid_code"),
        (4, "id_taken"),
        (5, "malformed_body"),
        (7, "id_taken"),
        (8, "external_id_taken"),
        (9, "invalid_metadata"),
    ];
    assert_eq!((words, &made["failures"]), (expected.to_vec(), &6.into()));
    assert_eq!(count(&app).await, ITEMS + 3);
    // When the lines are sent again with `upsert`, they replace the items that they name.
    let again = lines(&app, "/v1/items/batch?upsert=true", &body).await;
    let ids = value!([73, null, null, 3, null, 1000, 1000, 73, null, 1002]);
    assert_eq!((&again["ids"], &again["added"], &again["replaced"]), (&ids, &1.into(), &5.into()));
    assert_eq!(count(&app).await, ITEMS + 4);
    let item = send(&app, get("/v1/items/73")).await.ok();
    assert_eq!(
        (&item["code"], &item["external_id"], &item["metadata"]),
        (&code(5).into(), &"a".into(), &value!({}))
    );
    assert_eq!(
        send(&app, get("/v1/items/1000")).await.ok()["code"],
        code(4),
        "the last one counts"
    );
    assert_eq!(send(&app, get("/v1/items/3")).await.ok()["code"], code(2));
    drop(app);
    // The replacement of an item of the index survives a restart.
    let app = open(dir.path(), Access::Writable);
    assert_eq!(send(&app, get("/v1/items/3")).await.ok()["code"], code(2));
    assert_eq!(count(&app).await, ITEMS + 4);
    let nothing = lines(&app, "/v1/items/batch", "").await;
    assert_eq!(
        nothing,
        value!({"added": 0, "replaced": 0, "ids": [], "failed": [], "failures": 0})
    );
    let many = lines(&app, "/v1/items/batch", &"x\n".repeat(1500)).await;
    assert_eq!((&many["failures"], many["failed"].as_array().unwrap().len()), (&1500.into(), 1000));
    // The first faults are listed, whether a line is wrong in itself or names an id that is taken, and however many lines there are.
    let taken = value!({"code": code(8), "id": 1000}).to_string();
    let fresh = value!({"code": code(8)}).to_string();
    let mixed = format!("x\n{taken}\n{fresh}\n").repeat(3000);
    let mixed = lines(&app, "/v1/items/batch", &mixed).await;
    assert_eq!((&mixed["failures"], &mixed["added"]), (&6000.into(), &3000.into()));
    let listed = mixed["failed"].as_array().unwrap().iter();
    let listed: Vec<_> = listed.map(|failed| failed["line"].as_u64().unwrap()).collect();
    assert!(listed.iter().copied().eq((0..500).flat_map(|i| [3 * i + 1, 3 * i + 2])), "{listed:?}");
    let ids = mixed["ids"].as_array().unwrap();
    assert_eq!((ids.len(), ids[8998].is_null(), ids[8999].is_u64()), (9000, true, true));
    let other = send(&app, post("/v1/items", "application/x-ndjson", "{}")).await;
    other.refused(415, "unsupported_media_type", "/v1/items/batch");
    let other = send(&app, post("/v1/search", "application/x-ndjson", "{}")).await;
    other.refused(415, "unsupported_media_type", "lines of JSON");
}

#[tokio::test]
async fn an_upsert_takes_the_place_of_the_item_that_it_names() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let app = open(dir.path(), Access::Writable);
    let add = async |query: &str, body: Value| {
        send(&app, json(&format!("/v1/items{query}"), &body.to_string())).await
    };
    let code = |byte: u8| to_hex(&[byte; 4]);
    add("", value!({"code": code(1), "id": 3})).await.refused(409, "id_taken", "?upsert=true");
    let upserted = add("?upsert=true", value!({"code": code(1), "id": 3, "label": "even"})).await;
    assert_eq!((upserted.status.as_u16(), &upserted.json()["label"]), (201, &"even".into()));
    let first =
        add("?upsert=true", value!({"code": code(2), "external_id": "x", "metadata": {"a": 1}}))
            .await
            .json();
    let second = add("?upsert=true", value!({"code": code(3), "external_id": "x"})).await.json();
    assert_eq!(
        (&first["id"], &second["id"], &second["metadata"]),
        (&73.into(), &73.into(), &value!({}))
    );
    add("?upsert=true", value!({"code": code(3), "external_id": "x", "id": 3})).await.refused(
        409,
        "external_id_taken",
        "item 73",
    );
    add("?upsert=maybe", value!({"code": code(3)})).await.refused(400, "invalid_parameter", "");
    add("?upsert=true", value!({"code": code(3), "id": (u64::MAX)})).await.refused(
        400,
        "invalid_id",
        "",
    );
    assert_eq!(count(&app).await, ITEMS + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn additions_that_come_at_once_are_each_all_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let app = open(dir.path(), Access::Writable);
    declare(&app).await;
    // Each request has three items. In some requests the last item is refused, some replace an item of another request, and many claim the
    // same external id.
    let request = |number: u64| {
        let code = |at: u64| to_hex(&(10 * number + at).to_le_bytes()[..4]);
        let camera = if number % 5 == 4 { value!(7) } else { value!("north") };
        let items = value!({"items": [
            {"code": code(1), "id": 1000 + 10 * number},
            {"code": code(2), "external_id": format!("x{}", number % 10), "metadata": {"taken": number}},
            {"code": code(3), "id": 5000 + number % 20, "metadata": {"camera": camera}},
        ]});
        let upsert = if number.is_multiple_of(3) { "?upsert=true" } else { "" };
        json(&format!("/v1/items/batch{upsert}"), &items.to_string())
    };
    let mut answers = tokio::task::JoinSet::new();
    for number in 0..60 {
        let app = app.clone();
        let request = request(number);
        answers.spawn(async move { (number, send(&app, request).await) });
    }
    let answers = answers.join_all().await;
    let mut made = 0;
    for (number, answer) in &answers {
        let first = send(&app, get(&format!("/v1/items/{}", 1000 + 10 * number))).await.status;
        match answer.status.as_u16() {
            201 => {
                made += 1;
                assert_eq!(first, 200, "request {number} is lost");
                let body = answer.json();
                let ids: Vec<u64> = body["items"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|item| item["id"].as_u64().unwrap())
                    .collect();
                assert_eq!((ids[0], ids[2]), (1000 + 10 * number, 5000 + number % 20));
            }
            status => {
                assert!([400, 409].contains(&status), "{}", answer.json());
                assert_eq!(first, 404, "a part of request {number} is there");
            }
        }
    }
    assert!((16..48).contains(&made), "{made} requests were made");
    // Each external id belongs to one item, and no item is lost or duplicated.
    let (all, _) = list(&app, "/v1/items?limit=1000").await;
    let mut unique = all.clone();
    unique.dedup();
    assert_eq!((all.len() as u64, unique.len()), (count(&app).await, all.len()));
    for number in 0..10 {
        let (of, _) = list(&app, &format!("/v1/items?external_id=x{number}")).await;
        assert!(of.len() <= 1);
    }
    drop(app);
    assert_eq!(dhih_serve::check_index(dir.path()).unwrap().items, all.len());
}
