//! Which router answers a path: that of the service as a whole, or that of a collection, which knows its own paths without a name before them.
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

/// What the paths of named collections begin with.
const NAMED: &str = "/v1/collections/";

/// The routers.
#[derive(Debug, Clone)]
pub(super) struct Dispatch {
    pub(super) collections: Collections,
    pub(super) service: Router,
}

/// Has a request answered.
pub(super) async fn dispatch(State(dispatch): State<Dispatch>, mut request: Request) -> Response {
    let Dispatch { collections, mut service } = dispatch;
    match meant(request.uri().path()) {
        Meant::Service => (),
        Meant::Default => {
            if let Some(mut open) = collections.default_one() {
                return answer(&mut open.router, request).await;
            }
        }
        Meant::Named(name) => {
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

/// Whose a path is.
enum Meant {
    Service,
    Default,
    Named(CollectionName),
}

fn meant(path: &str) -> Meant {
    if let Some(rest) = path.strip_prefix(NAMED) {
        // Without anything behind the name it is about the collection.
        let name = rest.split_once('/').and_then(|(name, _)| name.parse().ok());
        return name.map_or(Meant::Service, Meant::Named);
    }
    match path.starts_with("/v1/") && path != "/v1/collections" && path != "/v1/session" {
        true => Meant::Default,
        false => Meant::Service,
    }
}

/// The target without the collection's name.
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
        let whose = |path: &str| match meant(path) {
            Meant::Service => "the service".to_owned(),
            Meant::Default => "default".to_owned(),
            Meant::Named(name) => name.to_string(),
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
