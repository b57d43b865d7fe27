//! Multipart forms: the pictures and fields of a request. The size of each field is bounded while it arrives. Unknown fields are skipped,
//! but a field that has a meaning elsewhere is an error, because the client expects it to have an effect.

use std::sync::Arc;

use axum::{
    extract::{FromRequest, Multipart, Request, multipart::Field},
    http::header::CONTENT_TYPE,
};

use dhih_model::image::FORMATS;

use crate::http::ApiError;
use crate::http::body_memory::Held;
use crate::http::upload::{Upload, append, held};
use crate::items::metadata::EXTERNAL_ID;

/// The content of a form.
#[derive(Debug, Default)]
pub(crate) struct Form {
    pub(crate) images: Vec<Upload>,
    pub(crate) labels: Vec<String>,
    pub(crate) id: Option<u64>,
    pub(crate) external_id: Option<String>,
    /// A JSON object, not parsed yet.
    pub(crate) metadata: Option<String>,
}

/// The purpose of a form, which decides the fields that it may have.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// A search by images.
    Search {
        /// The most images that are allowed.
        images: usize,
    },
    /// A search by the mean of images.
    Mean {
        /// The most images that are allowed.
        images: usize,
    },
    /// A new item.
    NewItem {
        /// The most labels that are allowed.
        labels: usize,
    },
}

/// The longest file name that is kept, in characters.
const NAME: usize = 255;
/// The longest label, in bytes.
pub(crate) const LABEL: usize = 256;
/// The longest id, in bytes. An id may be surrounded by spaces.
const ID: usize = 64;
/// The longest metadata as sent, in bytes. They may contain spaces that are not stored.
const METADATA: usize = 64 << 10;

impl Form {
    /// Reads a form.
    pub(crate) async fn read(request: Request, purpose: Purpose) -> Result<Self, ApiError> {
        let held = held(&request);
        let mut parts = Multipart::from_request(request, &()).await?;
        let mut form = Self::default();
        while let Some(field) = parts.next_field().await? {
            match (field.name().unwrap_or_default(), purpose) {
                ("image", _) => {
                    form.images.push(form.image(field, purpose, held.clone()).await?);
                }
                ("label", Purpose::NewItem { labels }) => {
                    if form.labels.len() == labels {
                        return Err(too_many_labels(labels));
                    }
                    form.labels.push(text(field, LABEL, "unknown_label").await?);
                }
                ("id", Purpose::NewItem { .. }) => {
                    let text = text(field, ID, "invalid_id").await?;
                    let id = text.trim().parse().map_err(|_| {
                        ApiError::BadRequest(
                            "invalid_id",
                            format!("`id` is {text:?}; give a whole number, or leave it out"),
                        )
                    })?;
                    set_once(&mut form.id, "id", id)?;
                }
                ("external_id", Purpose::NewItem { .. }) => {
                    let text = text(field, EXTERNAL_ID, "invalid_id").await?;
                    set_once(&mut form.external_id, "external_id", text)?;
                }
                ("metadata", Purpose::NewItem { .. }) => {
                    let text = text(field, METADATA, "invalid_metadata").await?;
                    set_once(&mut form.metadata, "metadata", text)?;
                }
                (name, purpose) => check_useless(name, purpose)?,
            }
        }
        match form.images.is_empty() {
            true => Err(ApiError::BadRequest(
                "missing_image",
                format!("the form has no field `image`: send a {FORMATS} in it"),
            )),
            false => Ok(form),
        }
    }

    async fn image(
        &self,
        field: Field<'_>,
        purpose: Purpose,
        held: Option<Arc<Held>>,
    ) -> Result<Upload, ApiError> {
        let most = match purpose {
            Purpose::Search { images } | Purpose::Mean { images } => images,
            Purpose::NewItem { .. } => 1,
        };
        if self.images.len() == most {
            let message = match purpose {
                Purpose::Search { images: 1 } => {
                    "the form has more than one field `image`: send one image, search by their mean with `?mean=true`, or send all to /v1/search/batch".to_owned()
                }
                Purpose::Search { .. } => {
                    format!("the form has more than {most} images: send them in several requests")
                }
                Purpose::Mean { .. } => {
                    format!("the form has more than {most} images: leave some out")
                }
                Purpose::NewItem { .. } => {
                    "the form has more than one field `image`: send one image a request".to_owned()
                }
            };
            return Err(ApiError::BadRequest("ambiguous_query", message));
        }
        // Only the name is kept, without directories and control characters.
        let name = field.file_name().map(|name| {
            let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
            name.chars().filter(|c| !c.is_control()).take(NAME).collect::<String>()
        });
        let bytes = bytes(field, usize::MAX).await?.unwrap_or_default();
        let mut image = Upload::new(bytes, held)?;
        image.name = name.filter(|name| !name.is_empty());
        Ok(image)
    }
}

/// The refusal of an item with more than `most` labels.
pub(crate) fn too_many_labels(most: usize) -> ApiError {
    let message = format!("there are more than {most} labels; give at most {most}");
    ApiError::BadRequest("unknown_label", message)
}

/// Sets the value of a field. A field that is sent twice is refused, because one of its values would have no effect.
fn set_once<T>(value: &mut Option<T>, name: &str, new: T) -> Result<(), ApiError> {
    match value.replace(new) {
        None => Ok(()),
        Some(_) => {
            let message = format!("the form has more than one field `{name}`: give one");
            Err(ApiError::BadRequest("invalid_parameter", message))
        }
    }
}

/// Refuses a field that has a meaning elsewhere, but not in this form.
fn check_useless(name: &str, purpose: Purpose) -> Result<(), ApiError> {
    let refused = |code, message| Err(ApiError::BadRequest(code, message));
    match (name, purpose) {
        (
            "k" | "offset" | "radius" | "label" | "filter" | "codes" | "metadata" | "rerank"
            | "rescore" | "budget_us" | "mean" | "explain" | "values",
            Purpose::Search { .. } | Purpose::Mean { .. },
        )
        | ("upsert", Purpose::NewItem { .. }) => refused(
            "invalid_parameter",
            format!(
                "`{name}` is a field of the form, where it does not count: give it in the address, `?{name}=...`"
            ),
        ),
        (
            "id" | "sample" | "code" | "vector" | "text",
            Purpose::Search { .. } | Purpose::Mean { .. },
        ) => refused(
            "ambiguous_query",
            format!(
                "the form has `image` and `{name}`: search by an image, or send `{name}` as JSON"
            ),
        ),
        ("code" | "vector", Purpose::NewItem { .. }) => refused(
            "invalid_parameter",
            format!("a form brings an `image`: send `{name}` as JSON, to be added without one"),
        ),
        (
            "k" | "offset" | "radius" | "filter" | "codes" | "rerank" | "rescore" | "budget_us"
            | "mean" | "explain" | "values" | "sample" | "text",
            Purpose::NewItem { .. },
        ) => refused(
            "invalid_parameter",
            format!(
                "an item is not added with `{name}`: send `image`, `label`, `id`, `external_id` and `metadata`"
            ),
        ),
        _ => Ok(()),
    }
}

/// The bytes of a field; `None` where there are more than `most`.
async fn bytes(mut field: Field<'_>, most: usize) -> Result<Option<Vec<u8>>, ApiError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = field.chunk().await? {
        if chunk.len() > most - bytes.len() {
            return Ok(None);
        }
        append(&mut bytes, &chunk);
    }
    Ok(Some(bytes))
}

/// The text of a field with at most `most` bytes.
async fn text(field: Field<'_>, most: usize, code: &'static str) -> Result<String, ApiError> {
    let name = field.name().unwrap_or_default().to_owned();
    let wrong = |what: String| ApiError::BadRequest(code, format!("`{name}` {what}"));
    let bytes = bytes(field, most).await?;
    let bytes = bytes.ok_or_else(|| wrong(format!("is longer than {most} bytes")))?;
    String::from_utf8(bytes).map_err(|_| wrong("is no text in UTF-8".into()))
}

/// The media type of a request, in lower case and without parameters.
pub(crate) fn media_type(request: &Request) -> Option<String> {
    let content_type = request.headers().get(CONTENT_TYPE)?;
    let full = String::from_utf8_lossy(content_type.as_bytes());
    Some(full.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}
