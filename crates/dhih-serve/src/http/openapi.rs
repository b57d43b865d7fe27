//! The description of the API: OpenAPI 3.1 at `/openapi.json`, and Swagger UI over it at `/docs`.

use std::sync::Arc;

use axum::Router;
use utoipa::{
    Modify, OpenApi,
    openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::http::AppState;
use crate::http::routes::{info, items, samples, search};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "dhih-serve",
        description = "Image search by binary codes. Every answer that is not a success is {\"error\":{\"code\",\"message\"}}.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    servers((url = "/", description = "this service")),
    paths(
        search::search, search::batch, items::item, items::image, items::add, items::delete,
        samples::samples, samples::sample, samples::image,
        info::info, info::healthz, info::readyz, info::metrics_text, info::reload,
    ),
    modifiers(&Keys),
    security((), ("bearer" = []), ("key" = [])),
)]
struct Description;

/// The ways in which a key may come.
struct Keys;

impl Modify for Keys {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let components = api.components.get_or_insert_default();
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let header = ApiKey::Header(ApiKeyValue::new("x-api-key"));
        components.add_security_scheme("key", SecurityScheme::ApiKey(header));
    }
}

pub(crate) fn routes() -> Router<Arc<AppState>> {
    let config = Config::default().validator_url("none").persist_authorization(false);
    let ui = SwaggerUi::new("/docs").url("/openapi.json", Description::openapi()).config(config);
    Router::from(ui)
}
