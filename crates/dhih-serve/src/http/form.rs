//! Multipart forms: the pictures and fields of a request.

use axum::{
    body::Bytes,
    extract::{FromRequest, Multipart, Request, multipart::Field},
    http::header::CONTENT_TYPE,
};

use crate::http::ApiError;

/// What a form brought.
#[derive(Debug, Default)]
pub(crate) struct Form {
    /// Each with the name of its file.
    pub(crate) images: Vec<(Bytes, Option<String>)>,
    pub(crate) labels: Vec<String>,
    pub(crate) id: Option<u64>,
}

/// The longest name of a file that is kept.
const NAME: usize = 255;

impl Form {
    /// Reads a form of at most `most` images.
    pub(crate) async fn read(request: Request, most: usize) -> Result<Self, ApiError> {
        let mut parts = Multipart::from_request(request, &()).await?;
        let mut form = Self::default();
        while let Some(field) = parts.next_field().await? {
            match field.name() {
                Some("image") => form.image(field, most).await?,
                Some("label") => form.labels.push(field.text().await?),
                Some("id") => {
                    let text = field.text().await?;
                    let id = text.trim().parse().map_err(|_| {
                        ApiError::BadRequest(
                            "invalid_id",
                            format!("`id` is {text:?}; give a whole number, or leave it out"),
                        )
                    })?;
                    form.id = Some(id);
                }
                _ => {}
            }
        }
        match form.images.is_empty() {
            true => Err(ApiError::BadRequest(
                "missing_image",
                "the form has no field `image`: send a JPEG, PNG or WebP in it".into(),
            )),
            false => Ok(form),
        }
    }

    async fn image(&mut self, field: Field<'_>, most: usize) -> Result<(), ApiError> {
        if self.images.len() == most {
            let message = match most {
                1 => "the form has more than one field `image`: send one image, or all to /v1/search/batch"
                    .to_owned(),
                _ => format!("the form has more than {most} images: send them in several requests"),
            };
            return Err(ApiError::BadRequest("ambiguous_query", message));
        }
        // A name, not a path; of the characters that are written.
        let name = field.file_name().map(|name| {
            let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
            name.chars().filter(|c| !c.is_control()).take(NAME).collect::<String>()
        });
        let bytes = field.bytes().await?;
        if bytes.is_empty() {
            return Err(ApiError::BadRequest(
                "missing_image",
                "the field `image` is empty: send the bytes of a JPEG, PNG or WebP in it".into(),
            ));
        }
        self.images.push((bytes, name.filter(|name| !name.is_empty())));
        Ok(())
    }
}

/// The media type of a request, without its parameters and in small letters.
pub(crate) fn media_type(request: &Request) -> Option<String> {
    let content_type = request.headers().get(CONTENT_TYPE)?;
    let full = String::from_utf8_lossy(content_type.as_bytes());
    Some(full.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}
