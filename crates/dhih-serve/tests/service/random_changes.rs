//! Random changes of a few items with a few codes, metadata and external ids, compared with a map after each of them. An item that lost its
//! metadata was once shown with them for some more changes, and a new item with those of a deleted one that had the same id and code.

use std::collections::BTreeMap;
use std::path::Path;

use axum::Router;
use axum::http::Method;
use dhih_index::{CodeSet, Codes, IndexBuilder};
use dhih_serve::Access;
use serde_json::{Value, json as value};

use crate::common::{get, json, post, send, with_method};
use crate::followers::Random;
use crate::metadata::{declare_as, filtered, open, put};

const CHANGES: usize = 400;
const IDS: u64 = 8;

/// The expected items: code, external id and metadata of each.
type Items = BTreeMap<u64, Item>;

#[derive(Clone)]
struct Item {
    code: String,
    external_id: Option<String>,
    metadata: Value,
}

impl Item {
    /// An item that repeats what others have, or had a moment ago.
    fn random(random: &mut Random) -> Self {
        let external_id = (random.below(3) == 0).then(|| format!("e{}", random.below(4)));
        let code = format!("{:02x}", random.below(3));
        Self { code, external_id, metadata: metadata(random) }
    }

    fn line(&self, id: u64) -> Value {
        value!({"id": id, "code": self.code, "external_id": self.external_id, "metadata": self.metadata})
    }
}

fn metadata(random: &mut Random) -> Value {
    match random.below(3) {
        0 => value!({}),
        _ => value!({ "n": random.below(3) }),
    }
}

fn build(dir: &Path) {
    let codes = Codes::new(8, (0..4).collect()).unwrap();
    IndexBuilder::default().build(&CodeSet::new(codes), dir).unwrap();
}

/// Puts an item in the place of the one that has its id, unless another item has its external id. Returns whether it did.
fn upsert(items: &mut Items, id: u64, item: &Item) -> bool {
    let is_other = |(other, it): (&u64, &Item)| *other != id && it.external_id == item.external_id;
    let is_taken = item.external_id.is_some() && items.iter().any(is_other);
    if !is_taken {
        items.insert(id, item.clone());
    }
    !is_taken
}

/// Makes a random change of the service and of the map.
async fn change(app: &Router, items: &mut Items, random: &mut Random) {
    let id = random.below(IDS);
    match random.below(6) {
        0 => {
            let status =
                send(app, with_method(Method::DELETE, &format!("/v1/items/{id}"))).await.status;
            assert_eq!(status == 204, items.remove(&id).is_some());
        }
        1 => {
            let metadata = metadata(random);
            let answer = send(app, put(&format!("/v1/items/{id}/metadata"), &metadata)).await;
            match items.get_mut(&id) {
                Some(item) => {
                    assert_eq!(answer.ok()["metadata"], metadata);
                    item.metadata = metadata;
                }
                None => answer.refused(404, "not_found", ""),
            }
        }
        2 => {
            let some: Vec<(u64, Item)> =
                (0..3).map(|_| (random.below(IDS), Item::random(random))).collect();
            let lines: Vec<String> =
                some.iter().map(|(id, item)| item.line(*id).to_string()).collect();
            let path = "/v1/items/batch?upsert=true";
            let answer = send(app, post(path, "application/x-ndjson", lines.join("\n"))).await.ok();
            for (at, (id, item)) in some.iter().enumerate() {
                assert_eq!(answer["ids"][at].is_u64(), upsert(items, *id, item), "{answer}");
            }
        }
        _ => {
            let item = Item::random(random);
            let body = item.line(id).to_string();
            let answer = send(app, json("/v1/items?upsert=true", &body)).await;
            match upsert(items, id, &item) {
                true => assert_eq!(answer.status, 201, "{body}"),
                false => answer.refused(409, "external_id_taken", "without another id"),
            }
        }
    }
}

/// Compares all items, and what two filters let through, with the map.
async fn compare(app: &Router, items: &Items) {
    let listed = send(app, get("/v1/items")).await.ok();
    let expected: Vec<Value> = items.iter().map(|(id, item)| item.line(*id)).collect();
    let of = |item: &Value| value!({"id": item["id"], "code": item["code"], "external_id": item["external_id"], "metadata": item["metadata"]});
    let listed: Vec<Value> = listed["items"].as_array().unwrap().iter().map(of).collect();
    assert_eq!(listed, expected);
    let is_one: fn(&Value) -> bool = |n| *n == 1;
    let is_missing: fn(&Value) -> bool = Value::is_null;
    for (filter, passes) in [
        (value!({"must": [{"field": "n", "equals": 1}]}), is_one),
        (value!({"must_not": [{"field": "n", "exists": true}]}), is_missing),
    ] {
        let path = filtered("/v1/search?k=100&metadata=true", &filter);
        let found = send(app, json(&path, "{\"code\":\"00\"}")).await.ok();
        let mut found: Vec<_> = found["hits"]
            .as_array()
            .unwrap()
            .iter()
            .map(|hit| hit["id"].as_u64().unwrap())
            .collect();
        found.sort_unstable();
        let passing = items.iter().filter(|(_, item)| passes(&item.metadata["n"]));
        assert_eq!(found, passing.map(|(id, _)| *id).collect::<Vec<_>>(), "{filter}");
    }
}

#[tokio::test]
async fn what_is_served_is_what_the_changes_have_made() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let plain =
        |id: u64| Item { code: format!("{id:02x}"), external_id: None, metadata: value!({}) };
    let mut items: Items = (0..4).map(|id| (id, plain(id))).collect();
    let mut random = Random(31);
    let mut app = open(dir.path(), Access::Writable);
    declare_as(&app, &value!({"n": "number"})).await;
    for number in 0..CHANGES {
        change(&app, &mut items, &mut random).await;
        compare(&app, &items).await;
        if number % 100 == 99 {
            drop(app);
            app = open(dir.path(), Access::Writable);
            compare(&app, &items).await;
        }
    }
}
