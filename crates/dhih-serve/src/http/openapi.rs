//! The OpenAPI 3.1 description of the API at `/openapi.json`, and Swagger UI at `/docs`.

use axum::Router;
use utoipa::{
    Modify, OpenApi,
    openapi::{
        ContentBuilder, Ref, ResponseBuilder, ServerBuilder,
        path::Operation,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::http::Collections;
use crate::http::routes::{
    adding, collections, encode, export, info, items, listing, metadata, replication, samples,
    search, session, snapshots,
};
use crate::operation::path_prefix::PathPrefix;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "dhih-serve",
        description = "Image search by binary codes. Every answer that is not a success is {\"error\":{\"code\",\"message\"}}. Paths under /v1 are those of the collection `default`; the other collections have them under /v1/collections/{collection} in place of /v1.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    servers((url = "/", description = "this service")),
    paths(
        search::search, search::batch, encode::encode, encode::batch, items::item, items::image, items::pairs, items::delete, adding::add, adding::add_batch,
        listing::list, listing::count, export::export, listing::delete, metadata::fields, metadata::declare, metadata::put,
        samples::samples, samples::sample, samples::image,
        collections::list, collections::one, collections::make, collections::remove,
        session::begin, session::session, session::end,
        info::info, info::healthz, info::readyz, info::metrics_text, info::reload,
        snapshots::make, snapshots::list, snapshots::compact,
        replication::changes, replication::snapshot, replication::file, replication::epoch, replication::promote,
    ),
    modifiers(&Keys, &Refusals),
    security((), ("bearer" = []), ("key" = []), ("session" = [])),
)]
struct Description;

/// Adds the two ways of sending a key to the description.
struct Keys;

impl Modify for Keys {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let components = api.components.get_or_insert_default();
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let header = ApiKey::Header(ApiKeyValue::new("x-api-key"));
        components.add_security_scheme("key", SecurityScheme::ApiKey(header));
        let names = "The cookie of `POST /v1/session`. Over TLS its name is `__Host-dhih-session`, and below a path prefix `__Secure-dhih-session`.";
        let cookie = ApiKey::Cookie(ApiKeyValue::with_description("dhih-session", names));
        components.add_security_scheme("session", SecurityScheme::ApiKey(cookie));
    }
}

/// Adds the error answers of the layers, which all paths but the probes have in common.
struct Refusals;

const PROBES: [&str; 2] = ["/healthz", "/readyz"];
/// The paths that take another method than GET and change no items and no files.
const UNCHANGING: [&str; 5] =
    ["/v1/search", "/v1/search/batch", "/v1/encode", "/v1/encode/batch", "/v1/session"];
/// The paths that every key may use, whatever its role and its collections are.
const OF_ALL_KEYS: [&str; 2] = ["/v1/session", "/v1/collections"];

const TIMEOUT: (&str, &str) = ("408", "The request took too long, to arrive or to be answered");
const CHANGE_TIMEOUT: (&str, &str) = ("504", "It took too long, and may be made all the same");

impl Modify for Refusals {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        for (path, item) in &mut api.paths.paths {
            let path = path.as_str();
            if PROBES.contains(&path) {
                continue;
            }
            if let Some(get) = &mut item.get {
                add_refusals(get, path, TIMEOUT);
            }
            let is_change = !UNCHANGING.contains(&path);
            let timeout = if is_change { CHANGE_TIMEOUT } else { TIMEOUT };
            let others = [&mut item.post, &mut item.put, &mut item.delete];
            others.into_iter().flatten().for_each(|other| add_refusals(other, path, timeout));
        }
    }
}

/// Adds the refusals that an operation does not describe itself.
fn add_refusals(operation: &mut Operation, path: &str, timeout: (&str, &str)) {
    let forbidden = ("403", "The key is for other collections, or its role does not allow this");
    let forbidden = Some(forbidden).filter(|_| !OF_ALL_KEYS.contains(&path));
    let of_all = [
        ("400", "The request has no `host` header, or several"),
        ("421", "The service does not go by the name in `host`"),
        ("429", "This client sends too many requests: see Retry-After"),
        ("503", "Too many requests are under way: see Retry-After"),
        timeout,
    ];
    for (status, description) in of_all.into_iter().chain(forbidden) {
        let answer = ContentBuilder::new();
        let answer = answer.schema(Some(Ref::from_schema_name("ErrorAnswer"))).build();
        let refusal = ResponseBuilder::new().description(description);
        let refusal = refusal.content("application/json", answer).build();
        let known = &mut operation.responses.responses;
        known.entry(status.to_owned()).or_insert_with(|| refusal.into());
    }
}

pub(crate) fn routes(prefix: &PathPrefix) -> Router<Collections> {
    let mut api = Description::openapi();
    if !prefix.is_root() {
        let own = ServerBuilder::new().url(prefix.as_str()).description(Some("this service"));
        api.servers = Some(vec![own.build()]);
    }
    // The page fetches the description below the prefix; the route itself is registered without it.
    let config = Config::new([format!("{prefix}/openapi.json")]);
    let config = config.validator_url("none").persist_authorization(false);
    let ui = SwaggerUi::new("/docs").url("/openapi.json", api).config(config);
    Router::from(ui)
}
