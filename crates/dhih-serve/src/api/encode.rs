//! Requests and answers of the routes that encode images, texts and vectors.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Base64Image, ErrorAnswer, MAX_BATCH, SearchBody, Vector, bounded};

/// Query string of `POST /v1/encode` and `POST /v1/encode/batch`.
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EncodeParams {
    /// Adds the real values behind the code to the answer.
    #[serde(default)]
    #[param(required = false)]
    pub values: bool,
}

/// JSON body of `POST /v1/encode`, and each input of `POST /v1/encode/batch`: exactly one of the fields.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EncodeBody {
    /// An image in base64: a JPEG, PNG, WebP, GIF, BMP or TIFF.
    pub image: Option<Base64Image>,
    /// A text of 1 to 4,096 bytes, for a run with a text tower.
    #[schema(example = "a red car")]
    pub text: Option<String>,
    /// A vector, for a service with a codec.
    pub vector: Option<Vector>,
}

impl From<EncodeBody> for SearchBody {
    fn from(EncodeBody { image, text, vector }: EncodeBody) -> Self {
        Self { image, text, vector, ..Self::default() }
    }
}

/// JSON body of `POST /v1/encode/batch`.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EncodeBatchBody {
    /// Up to [`MAX_BATCH`] inputs. Of a longer list, one more input is kept, by which it is refused.
    #[schema(min_items = 1, max_items = 32)]
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_BATCH>")]
    pub inputs: Vec<EncodeBody>,
}

/// Answer of `POST /v1/encode/batch`: one for each input, in order.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct EncodeBatchAnswer {
    /// The answers.
    pub answers: Vec<OneEncoded>,
}

/// The answer for one input of a batch.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(untagged)]
pub enum OneEncoded {
    /// The code of the input.
    Encoded(EncodeAnswer),
    /// The error, where the input cannot be encoded.
    Refused(ErrorAnswer),
}

/// Answer of `POST /v1/encode`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct EncodeAnswer {
    /// Bits of the code.
    pub bits: u32,
    /// The code in hexadecimal.
    pub code: String,
    /// The real values whose signs are the bits, when asked for: a bit is 1 where its value is not negative.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<f32>>,
    /// Milliseconds that encoding took.
    pub took_ms: f64,
}
