//! The JSON on the wire and nothing else: requests, answers, errors. The files in `api/` have one topic each; types that several of them
//! share are here.

mod bounded;
mod collections;
mod encode;
mod explanation;
mod image;
mod info;
mod items;
mod metadata;
mod replication;
mod search;
mod snapshots;
mod vector;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::collections::{Collection, CollectionList, NewCollection};
pub use self::encode::{
    EncodeAnswer, EncodeBatchAnswer, EncodeBatchBody, EncodeBody, EncodeParams, OneEncoded,
};
pub use self::explanation::{Action, Components, Costs, Explanation, Step};
pub use self::image::Base64Image;
pub use self::info::{
    Auth, Codec, Health, Index, Info, LastReload, Model, RequestLimits, Store, Vectors,
};
pub use self::items::{
    AddParams, ChoiceParams, Count, DEFAULT_LIMIT, Deleted, ExportFormat, ExportLine, ExportParams,
    Item, ItemBody, ItemForm, ItemList, ItemsBody, ItemsMade, LineRefused, LinesMade, ListParams,
    MAX_FAILURES, MAX_ITEMS, Pairs, PairsParams,
};
pub use self::metadata::{
    Field, FieldType, FieldsAnswer, FieldsBody, MAX_VALUES, MetadataBody, ValueCount,
};
pub use self::replication::{
    ChangesParams, FollowFile, FollowSnapshot, Promoted, Replication, Succeeded, Succession,
};
pub use self::search::{
    BatchAnswer, BatchBody, DEFAULT_K, Hit, ImageForm, MAX_BATCH, MAX_BUDGET_US, MAX_K, OneAnswer,
    Sample, Samples, SamplesParams, SearchAnswer, SearchBody, SearchParams, Took,
};
pub use self::snapshots::{CompactParams, Compaction, Snapshot, SnapshotList, SnapshotParams};
pub use self::vector::Vector;
use crate::operation::keys::Role;

/// The class of an item, or all the classes of a multi-label item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Label {
    /// A single label.
    One(Class),
    /// Several labels, or none.
    Many(Vec<Class>),
}

/// A class by name, or by number where the run has no class names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Class {
    /// The name of the class.
    Name(String),
    /// The number of the class.
    Number(i64),
}

/// JSON body of `POST /v1/session`: the key to open a session with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionBody {
    /// The key itself.
    pub key: String,
}

/// The caller of a request, and what they may do.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Session {
    /// The name of the key; null where no key was given and none is needed.
    pub name: Option<String>,
    /// What the key allows, or what anybody may do without a key.
    pub role: Role,
    /// The collections that the key is valid for; absent where it is valid for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collections: Option<Vec<String>>,
}

/// The answer to every request that fails.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ErrorAnswer {
    /// What went wrong.
    pub error: ErrorBody,
}

/// The content of an [`ErrorAnswer`].
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ErrorBody {
    /// A stable code for programs, such as `not_found`.
    pub code: &'static str,
    /// A sentence for people: the cause and what to do about it.
    pub message: String,
}
