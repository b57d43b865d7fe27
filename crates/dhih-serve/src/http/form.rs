//! Multipart forms: the pictures and fields of a request. Each field is bounded as it arrives; what a form has no use for is skipped, but
//! a field that means something elsewhere is an error, because who sent it expects that it counts.

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

/// What a form brought.
#[derive(Debug, Default)]
pub(crate) struct Form {
    pub(crate) images: Vec<Upload>,
    pub(crate) labels: Vec<String>,
    pub(crate) id: Option<u64>,
    pub(crate) external_id: Option<String>,
    /// JSON.
    pub(crate) metadata: Option<String>,
}

/// What a form is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// A search by so many images at most.
    Search {
        /// At most so many.
        images: usize,
    },
    /// A search by the mean of so many images at most.
    Mean {
        /// At most so many.
        images: usize,
    },
    /// A new item, of so many labels at most.
    NewItem {
        /// At most so many.
        labels: usize,
    },
}

/// The longest name of a file that is kept, in characters.
const NAME: usize = 255;
/// The longest label, in bytes.
pub(crate) const LABEL: usize = 256;
/// The longest id, in bytes: spaces around it are allowed.
const ID: usize = 64;
/// The longest metadata as it is sent, in bytes: spaces between its parts are allowed.
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
                    form.id = Some(id);
                }
                ("external_id", Purpose::NewItem { .. }) => {
                    form.external_id = Some(text(field, EXTERNAL_ID, "invalid_id").await?);
                }
                ("metadata", Purpose::NewItem { .. }) => {
                    form.metadata = Some(text(field, METADATA, "invalid_metadata").await?);
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
        // A name, not a path; of the characters that are written.
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

/// The refusal of more labels than that.
pub(crate) fn too_many_labels(most: usize) -> ApiError {
    let message = format!("there are more than {most} labels; give at most {most}");
    ApiError::BadRequest("unknown_label", message)
}

/// Refuses a field that means something, but not in this form.
fn check_useless(name: &str, purpose: Purpose) -> Result<(), ApiError> {
    let refused = |code, message| Err(ApiError::BadRequest(code, message));
    match (name, purpose) {
        (
            "k" | "offset" | "radius" | "label" | "filter" | "codes" | "metadata" | "rerank"
            | "rescore" | "budget_us" | "mean" | "explain" | "values",
            Purpose::Search { .. } | Purpose::Mean { .. },
        ) => refused(
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
            "k" | "radius" | "filter" | "codes" | "rerank" | "rescore" | "budget_us" | "sample",
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

/// The bytes of a field; `None` where they are more than `most`.
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

/// The text of a field, of at most so many bytes.
async fn text(field: Field<'_>, most: usize, code: &'static str) -> Result<String, ApiError> {
    let name = field.name().unwrap_or_default().to_owned();
    let wrong = |what: String| ApiError::BadRequest(code, format!("`{name}` {what}"));
    let bytes = bytes(field, most).await?;
    let bytes = bytes.ok_or_else(|| wrong(format!("is longer than {most} bytes")))?;
    String::from_utf8(bytes).map_err(|_| wrong("is no text in UTF-8".into()))
}

/// The media type of a request, without its parameters and in small letters.
pub(crate) fn media_type(request: &Request) -> Option<String> {
    let content_type = request.headers().get(CONTENT_TYPE)?;
    let full = String::from_utf8_lossy(content_type.as_bytes());
    Some(full.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}
