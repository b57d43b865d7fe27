//! Turns the item in a request, given as a picture, a code or a vector, into a `NewItem`. `adding.rs` and `lines.rs` add it.

use std::sync::Arc;

use crate::api::{AddParams, ItemBody};
use crate::http::form::{Form, too_many_labels};
use crate::http::upload::Upload;
use crate::http::{ApiError, AppState};
use crate::items::catalogue::Record;
use crate::items::metadata::{Attributes, Metadata, check_external_id};
use crate::items::thumbnail::thumbnail;
use crate::items::{ItemId, LabelShape, NewItem};
use crate::run::Run;

/// A new item with a picture that is not encoded yet.
pub(super) struct Pictured {
    image: Upload,
    labels: Vec<String>,
    id: Option<u64>,
    external_id: Option<String>,
    metadata: serde_json::Value,
}

impl Pictured {
    pub(super) fn of_form(form: Form) -> Result<Self, ApiError> {
        let Form { mut images, labels, id, external_id, metadata } = form;
        let metadata = metadata.map_or(Ok(serde_json::Value::Null), |text| {
            let wrong = |error| invalid_metadata(format!("`metadata` is no JSON: {error}"));
            serde_json::from_str(&text).map_err(wrong)
        })?;
        let image = images.pop().ok_or_else(|| ApiError::internal("a form has no image"))?;
        Ok(Self { image, labels, id, external_id, metadata })
    }

    pub(super) fn of_json(body: ItemBody, image: Upload) -> Result<Self, ApiError> {
        match body {
            ItemBody { code: None, vector: None, image: _, label, id, external_id, metadata } => {
                Ok(Self { image, labels: label.0, id, external_id, metadata })
            }
            _ => Err(ambiguous()),
        }
    }
}

/// Encodes the picture of a new item.
pub(super) async fn encoded(
    state: &Arc<AppState>,
    run: &Arc<Run>,
    params: AddParams,
    item: Pictured,
) -> Result<NewItem, ApiError> {
    run.encoder()?;
    let Pictured { mut image, labels, id, external_id, metadata } = item;
    if labels.len() > run.most_labels() {
        return Err(too_many_labels(run.most_labels()));
    }
    let labels = classes(run, &labels)?;
    let attributes = Some(attributes(external_id, metadata)?);
    let source = image.name.take();
    let coded = state.pictures().encode(run, vec![image], thumbnail).await?.pop();
    let (made, file) = coded.ok_or_else(|| ApiError::internal("no code"))??;
    let thumbnail = file.map_err(ApiError::internal)?;
    let code = dhih_index::to_hex(&run.pack(&made.values).map_err(ApiError::internal)?);
    let record = Record { code, labels, source, vector: made.features, ..Record::default() };
    Ok(NewItem { id: wanted_id(id, params), record, thumbnail, digest: None, attributes })
}

/// The item of a JSON body, which has a code or a vector and no picture.
pub(super) fn coded(run: &Run, params: AddParams, body: ItemBody) -> Result<NewItem, ApiError> {
    let ItemBody { code, vector, image, label, id, external_id, metadata } = body;
    if image.is_some() {
        let message = "an item with an `image` is added alone: send it to /v1/items";
        return Err(ApiError::BadRequest("invalid_parameter", message.into()));
    }
    if label.0.len() > run.most_labels() {
        return Err(too_many_labels(run.most_labels()));
    }
    let labels = classes(run, &label.0)?;
    let (code, vector) = match (code, vector) {
        (Some(code), None) => {
            let code = run.parse_code(&code);
            (code.map_err(|e| ApiError::BadRequest("invalid_code", e))?, None)
        }
        (None, Some(vector)) => {
            let values = run.coder().values_of(&vector.0)?;
            (run.pack(&values).map_err(ApiError::internal)?, Some(vector.0))
        }
        (None, None) => {
            let message = "the body names nothing to add: give `image`, `code` or `vector`";
            return Err(ApiError::BadRequest("missing_item", message.into()));
        }
        (Some(_), Some(_)) => return Err(ambiguous()),
    };
    let record = Record { code: dhih_index::to_hex(&code), labels, vector, ..Record::default() };
    let attributes = Some(attributes(external_id, metadata)?);
    let id = wanted_id(id, params);
    Ok(NewItem { id, record, thumbnail: Vec::new(), digest: None, attributes })
}

fn ambiguous() -> ApiError {
    let message = "the body has more than one of an image, a code and a vector: give one of them; the code of an image and of a vector is \
                   made here";
    ApiError::BadRequest("ambiguous_item", message.into())
}

fn wanted_id(id: Option<u64>, AddParams { upsert }: AddParams) -> ItemId {
    match (id, upsert) {
        (id, true) => ItemId::Upserted(id),
        (Some(id), false) => ItemId::Free(id),
        (None, false) => ItemId::Next,
    }
}

/// Checks the external id and the metadata of a new item.
fn attributes(
    external_id: Option<String>,
    metadata: serde_json::Value,
) -> Result<Attributes, ApiError> {
    if let Some(external_id) = &external_id {
        let checked = check_external_id(external_id);
        checked.map_err(|fault| ApiError::BadRequest("invalid_id", fault.to_string()))?;
    }
    let metadata = Metadata::new(metadata).map_err(|fault| invalid_metadata(fault.to_string()))?;
    Ok(Attributes { external_id, metadata, ..Attributes::default() })
}

fn invalid_metadata(message: String) -> ApiError {
    ApiError::BadRequest("invalid_metadata", message)
}

fn classes(run: &Run, labels: &[String]) -> Result<Vec<i64>, ApiError> {
    let wrong = |message: String| ApiError::BadRequest("unknown_label", message);
    let classes = run.classes(labels).map_err(wrong)?;
    match (run.shape(), classes.len()) {
        (LabelShape::None, 1..) => Err(wrong("items of this index have no labels".into())),
        (LabelShape::Single, 2..) => Err(wrong("an item of this index has one label".into())),
        _ => Ok(classes),
    }
}
