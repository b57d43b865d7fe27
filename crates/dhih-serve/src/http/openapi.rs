//! The OpenAPI 3.1 description of the API at `/openapi.json`, and Swagger UI at `/docs`.

use axum::Router;
use utoipa::{
    Modify, OpenApi,
    openapi::{
        ContentBuilder, Ref, ResponseBuilder, ServerBuilder,
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
        let cookie = ApiKey::Cookie(ApiKeyValue::new("dhih-session"));
        components.add_security_scheme("session", SecurityScheme::ApiKey(cookie));
    }
}

/// Adds the error answers that all paths but the probes have in common.
struct Refusals;

const PROBES: [&str; 2] = ["/healthz", "/readyz"];

impl Modify for Refusals {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        for (name, path) in &mut api.paths.paths {
            if PROBES.contains(&name.as_str()) {
                continue;
            }
            let methods = [&mut path.get, &mut path.post, &mut path.put, &mut path.delete];
            for operation in methods.into_iter().flatten() {
                for (status, description) in [
                    ("400", "The request has no `host` header, or several"),
                    ("421", "The service does not go by the name in `host`"),
                    ("429", "This client sends too many requests: see Retry-After"),
                ] {
                    let answer = ContentBuilder::new();
                    let answer = answer.schema(Some(Ref::from_schema_name("ErrorAnswer"))).build();
                    let refusal = ResponseBuilder::new().description(description);
                    let refusal = refusal.content("application/json", answer).build();
                    let known = &mut operation.responses.responses;
                    known.entry(status.to_owned()).or_insert_with(|| refusal.into());
                }
            }
        }
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
