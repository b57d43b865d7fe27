//! Chooses the router for a path: that of the service, or that of a collection. A collection's router knows its paths without the
//! collection's name.
//!
//! ```text
//! /v1/collections/NAME/REST            -> the router of the collection NAME, as /v1/REST
//! /v1/collections..., /v1/session      -> the router of the service
//! /v1/REST                             -> the router of the collection `default`, if there is one
//! anything else                        -> the router of the service
//! ```

use axum::Router;
use axum::extract::{Request, State};
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use tower::Service;

use crate::collections::CollectionName;
use crate::http::collections::Collections;
use crate::http::target::{lead_outside, with_path_and_query};

/// The prefix of the paths of named collections.
const NAMED: &str = "/v1/collections/";

/// The routers to choose from.
#[derive(Debug, Clone)]
pub(super) struct Dispatch {
    pub(super) collections: Collections,
    pub(super) service: Router,
}

/// Sends a request to its router.
pub(super) async fn dispatch(State(dispatch): State<Dispatch>, mut request: Request) -> Response {
    let Dispatch { collections, mut service } = dispatch;
    match path_owner(request.uri().path()) {
        PathOwner::Service => (),
        PathOwner::Default => {
            if let Some(mut open) = collections.default_one() {
                return answer(&mut open.router, request).await;
            }
        }
        PathOwner::Named(name) => {
            let rest = own_path(request.uri(), &name);
            if let (Some(mut open), Some(uri)) = (collections.get(name.as_str()), rest) {
                *request.uri_mut() = uri;
                request.extensions_mut().insert(name.clone());
                let mut response = answer(&mut open.router, request).await;
                lead_outside(&mut response, "/v1/", &format!("{NAMED}{name}/"));
                return response;
            }
        }
    }
    answer(&mut service, request).await
}

async fn answer(router: &mut Router, request: Request) -> Response {
    router.call(request).await.into_response()
}

/// Which router answers a path.
enum PathOwner {
    Service,
    Default,
    Named(CollectionName),
}

fn path_owner(path: &str) -> PathOwner {
    if let Some(rest) = path.strip_prefix(NAMED) {
        // A path that ends with the name is about the collection as a whole, which the service answers.
        let name = rest.split_once('/').and_then(|(name, _)| name.parse().ok());
        return name.map_or(PathOwner::Service, PathOwner::Named);
    }
    match path.starts_with("/v1/") && path != "/v1/collections" && path != "/v1/session" {
        true => PathOwner::Default,
        false => PathOwner::Service,
    }
}

/// The request target without the name of the collection.
fn own_path(uri: &Uri, name: &CollectionName) -> Option<Uri> {
    let target = uri.path_and_query()?.as_str();
    let rest = target.strip_prefix(NAMED)?.strip_prefix(name.as_str())?;
    with_path_and_query(uri, &format!("/v1{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_of_the_service_or_of_a_collection() {
        let whose = |path: &str| match path_owner(path) {
            PathOwner::Service => "the service".to_owned(),
            PathOwner::Default => "default".to_owned(),
            PathOwner::Named(name) => name.to_string(),
        };
        for path in ["/", "/v1", "/healthz", "/v1/session", "/v1/collections", "/v1/collections/a"]
        {
            assert_eq!(whose(path), "the service", "{path}");
        }
        assert_eq!(whose("/v1/collections//search"), "the service", "no name is no collection");
        assert_eq!(whose("/v1/search"), "default");
        assert_eq!(whose("/v1/collections/a/search"), "a");
        assert_eq!(whose("/v1/collections/a/collections/b/search"), "a");
        let own =
            own_path(&"/v1/collections/a/items/3?x=/v1".parse().unwrap(), &"a".parse().unwrap());
        assert_eq!(own.unwrap(), "/v1/items/3?x=/v1");
    }
}
