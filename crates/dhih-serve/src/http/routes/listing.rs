//! `/v1/items`: lists items page by page, and counts or deletes the items that a class or a filter selects.

use std::sync::Arc;

use axum::{Json, extract::State, http::Uri};
use dhih_index::Index;

use crate::api::{ChoiceParams, Count, Deleted, ErrorAnswer, ItemList, ListParams};
use crate::http::list_params::{Listed, choice, listed};
use crate::http::params::Bounds;
use crate::http::routes::items::change;
use crate::http::routes::search::scope;
use crate::http::{ApiError, AppState};
use crate::items::ChangeError;
use crate::search::{Scope, SearchError};

/// Lists items page by page, ordered by id. A page is a snapshot, and the next page is a snapshot of a later moment.
#[utoipa::path(
    get, operation_id = "list_items", path = "/v1/items", tag = "items", params(ListParams),
    responses(
        (status = 200, body = ItemList, description = "A page"),
        (status = 400, body = ErrorAnswer, description = "A parameter is wrong"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
        (status = 403, body = ErrorAnswer, description = "The service searches a store, whose items are not listed"),
        (status = 503, body = ErrorAnswer, description = "Too many requests: see Retry-After"),
    )
)]
pub(crate) async fn list(
    State(state): State<Arc<AppState>>,
    uri: Uri,
) -> Result<Json<ItemList>, ApiError> {
    let run = state.run();
    let Listed { first, limit, external_id, labels, filter } = listed(&uri, Bounds::of(&run))?;
    run.items()?;
    let scope = scope(&run, &labels, filter.as_deref())?;
    let looking = run.clone();
    let list = state.shared().search(&run, move |_| {
        let view = looking.view();
        let Some(index) = view.index() else { return Err(ChangeError::Elsewhere.into()) };
        // One item more shows whether this is the last page.
        let most = limit + 1;
        let mut ids = match &scope {
            Some(scope) => scope.selection(index).ids_from(first, most),
            None => index.ids_from(first, most),
        };
        if let Some(external_id) = external_id {
            let known = looking.items()?.find(index, &external_id).map_err(SearchError::from)?;
            ids =
                known.into_iter().filter(|id| *id >= first && is_in(&scope, index, *id)).collect();
        }
        let next = (ids.len() > limit).then(|| ids[limit - 1]);
        ids.truncate(limit);
        Ok(ItemList { items: view.items(&ids)?, next })
    });
    list.await.map(Json)
}

fn is_in(scope: &Option<Scope>, index: &Index, id: u64) -> bool {
    scope.as_ref().is_none_or(|scope| scope.selection(index).ids_from(id, 1) == [id])
}

/// Counts all items, or those that a class or a filter selects.
#[utoipa::path(
    get, operation_id = "count_items", path = "/v1/items/count", tag = "items", params(ChoiceParams),
    responses(
        (status = 200, body = Count, description = "How many"),
        (status = 400, body = ErrorAnswer, description = "A parameter is wrong"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
        (status = 503, body = ErrorAnswer, description = "Too many requests: see Retry-After"),
    )
)]
pub(crate) async fn count(
    State(state): State<Arc<AppState>>,
    uri: Uri,
) -> Result<Json<Count>, ApiError> {
    let run = state.run();
    let ChoiceParams { label, filter } = choice(&uri, Bounds::of(&run))?;
    let scope = scope(&run, &label, filter.as_deref())?;
    let looking = run.clone();
    let count = state.shared().search(&run, move |_| {
        let view = looking.view();
        let count = match (&scope, view.index()) {
            (Some(scope), Some(index)) => scope.selection(index).len(),
            (None, _) => looking.len(),
            (Some(_), None) => {
                let message =
                    "a store counts only all of its items: leave `label` and `filter` out";
                return Err(ApiError::BadRequest("invalid_parameter", message.into()));
            }
        };
        Ok(Count { count })
    });
    count.await.map(Json)
}

/// Deletes the items that a class or a filter selects: all of them or, after a failure, none. After the answer, the deletion survives a
/// crash.
#[utoipa::path(
    delete, operation_id = "delete_items", path = "/v1/items", tag = "items", params(ChoiceParams),
    responses(
        (status = 200, body = Deleted, description = "How many are gone"),
        (status = 400, body = ErrorAnswer, description = "A parameter is wrong, or neither `label` nor `filter` is given"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
        (status = 403, body = ErrorAnswer, description = "This service only searches, the key may not do this, or another site's page asks"),
        (status = 503, body = ErrorAnswer, description = "Too many requests, another index is being opened, or nothing can be written: see Retry-After"),
        (status = 504, body = ErrorAnswer, description = "It took too long, and may be made all the same"),
        (status = 507, body = ErrorAnswer, description = "The disk is full"),
    )
)]
pub(crate) async fn delete(
    State(state): State<Arc<AppState>>,
    uri: Uri,
) -> Result<Json<Deleted>, ApiError> {
    let run = state.run();
    if !run.items()?.is_changeable() {
        return Err(ApiError::ReadOnly);
    }
    let ChoiceParams { label, filter } = choice(&uri, Bounds::of(&run))?;
    let Some(scope) = scope(&run, &label, filter.as_deref())? else {
        let message = "say which items are to be deleted: give `label` or `filter`";
        return Err(ApiError::BadRequest("missing_filter", message.into()));
    };
    let before = run.clone();
    let deleted = change(&state, move |run| {
        // Names of classes and fields were resolved in the items of this run; a reload in between may have changed them.
        if !Arc::ptr_eq(run.items()?, before.items()?) {
            return Err(ApiError::Reloading);
        }
        Ok(run.items()?.remove_all(|index| Ok(scope.selection(index).ids_from(0, usize::MAX)))?)
    });
    let deleted = deleted.await?;
    metrics::counter!("dhih_deleted_total").increment(deleted as u64);
    Ok(Json(Deleted { deleted }))
}
