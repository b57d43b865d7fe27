//! Lists whose length is bounded while they are parsed: elements beyond the bound are skipped, so that a long list takes no memory.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};

use crate::json_object::JsonObject;

/// Reads a list of objects and keeps up to `MOST + 1` of them. The additional element shows the caller that the list is too long.
pub(super) fn list<'de, D, T, const MOST: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct List<T, const MOST: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for List<T, MOST> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
            let objects = sequence::<_, JsonObject<T>, MOST>(list)?;
            Ok(objects.into_iter().map(|JsonObject(element)| element).collect())
        }
    }

    deserializer.deserialize_seq(List::<T, MOST>(PhantomData))
}

/// Reads the elements of a list and keeps as many as [`list`].
pub(super) fn sequence<'de, A, T, const MOST: usize>(mut list: A) -> Result<Vec<T>, A::Error>
where
    A: SeqAccess<'de>,
    T: Deserialize<'de>,
{
    let mut kept = Vec::new();
    while kept.len() <= MOST {
        let Some(element) = list.next_element()? else { return Ok(kept) };
        kept.push(element);
    }
    while list.next_element::<IgnoredAny>()?.is_some() {}
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use crate::api::{BatchBody, MAX_BATCH};

    #[test]
    fn one_query_more_than_a_batch_may_have_is_kept() {
        let kept = |count: usize| {
            let body = format!("{{\"queries\":[{}]}}", vec!["{}"; count].join(","));
            serde_json::from_str::<BatchBody>(&body).map(|body| body.queries.len())
        };
        assert_eq!((kept(0).unwrap(), kept(MAX_BATCH).unwrap()), (0, MAX_BATCH));
        let most = [MAX_BATCH + 1, 10 * MAX_BATCH, 100_000].map(|count| kept(count).unwrap());
        assert_eq!(most, [MAX_BATCH + 1; 3]);
        assert!(serde_json::from_str::<BatchBody>("{\"queries\":[{}").is_err());
        assert!(serde_json::from_str::<BatchBody>("{}").is_err());
        assert!(serde_json::from_str::<BatchBody>("{\"queries\":[[\"00\"]]}").is_err());
    }
}
