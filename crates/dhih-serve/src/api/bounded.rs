//! Lists that are bounded while they are read: what is beyond the bound is skipped, not kept.

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};

use super::{MAX_BATCH, SearchBody};

pub(super) fn queries<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<SearchBody>, D::Error> {
    struct Queries;

    impl<'de> Visitor<'de> for Queries {
        type Value = Vec<SearchBody>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of queries")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut queries = Vec::new();
            while queries.len() <= MAX_BATCH {
                let Some(query) = list.next_element()? else { return Ok(queries) };
                queries.push(query);
            }
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(queries)
        }
    }

    deserializer.deserialize_seq(Queries)
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
    }
}
