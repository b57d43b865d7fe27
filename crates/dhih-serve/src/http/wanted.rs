//! Reads the query or input of a request, from its body to a code: images, texts, vectors, codes, items or samples. `routes/search.rs` and
//! `routes/encode.rs` use the code.

use std::{sync::Arc, time::Instant};

use axum::extract::Request;
use dhih_model::Encoded;

use crate::api::{BatchBody, EncodeBatchBody, EncodeBody, MAX_BATCH, SearchBody};
use crate::http::body_memory::Held;
use crate::http::form::{Form, Purpose};
use crate::http::json::{Kind, json, kind, unsupported};
use crate::http::upload::{Upload, held};
use crate::http::{ApiError, AppState};
use crate::operation::steps::step;
use crate::run::Run;
use crate::run::coder::Lacking;
use crate::run::view::View;

/// A query or input, after images and texts were encoded.
pub(crate) enum Wanted {
    /// The output of the network for an image or a text, and the milliseconds that it took.
    Made(Encoded, f64),
    Vector(Vec<f32>),
    Code(String),
    Id(u64),
    Sample(usize),
}

/// A query or input as the body names it.
enum Named {
    /// An image, which must be decoded and encoded before the search.
    Image(Upload),
    /// A text, which the text tower encodes on a worker thread.
    Text(String),
    Ready(Wanted),
}

/// The code of a query or input.
pub(crate) struct Coded {
    pub(crate) code: Vec<u8>,
    /// The real values behind the code, where the code was computed here.
    pub(crate) values: Option<Vec<f32>>,
    /// Milliseconds that computing the code took.
    pub(crate) encode: f64,
}

/// The kinds of queries, for error messages.
const QUERY: &str = "give `image`, `code`, `id`, `sample`, `text` or `vector`";
/// The kinds of inputs to encode, for error messages.
const INPUT: &str = "give `image`, `text` or `vector`";

/// Reads queries and inputs, and encodes their images and texts.
pub(crate) struct Reader<'a> {
    pub(crate) state: &'a AppState,
    pub(crate) run: &'a Arc<Run>,
}

impl Reader<'_> {
    /// Reads the only query of a request.
    pub(crate) async fn query(&self, request: Request) -> Result<Wanted, ApiError> {
        match kind(&request)?.ok_or_else(nothing_to_search_by)? {
            Kind::Json => {
                let held = held(&request);
                let body: SearchBody = json(request).await?;
                self.made(one(body, QUERY, held)?).await
            }
            kind => self.picture(kind, request).await,
        }
    }

    /// Reads the only input to encode of a request.
    pub(crate) async fn original(&self, request: Request) -> Result<Wanted, ApiError> {
        match kind(&request)?.ok_or_else(nothing_to_encode)? {
            Kind::Json => {
                let held = held(&request);
                let body: EncodeBody = json(request).await?;
                self.made(one(body.into(), INPUT, held)?).await
            }
            kind => self.picture(kind, request).await,
        }
    }

    /// Reads the image of a form, or the one that is the whole body.
    async fn picture(&self, kind: Kind, request: Request) -> Result<Wanted, ApiError> {
        if matches!(kind, Kind::Json | Kind::Lines) {
            return Err(unsupported("lines of JSON are not taken here: "));
        }
        self.run.encoder()?;
        let images = match kind {
            Kind::Picture => vec![Upload::of_body(request).await?],
            _ => Form::read(request, Purpose::Search { images: 1 }).await?.images,
        };
        self.encoded(images).await?.pop().ok_or_else(no_code)?
    }

    /// Reads the images of a form as one query: their mean.
    pub(crate) async fn mean(&self, request: Request) -> Result<Wanted, ApiError> {
        if !matches!(kind(&request)?, Some(Kind::Form)) {
            let message = "`mean` is that of the images of a form: send them as fields `image` of multipart/form-data, or leave it out";
            return Err(ApiError::BadRequest("invalid_parameter", message.into()));
        }
        self.run.encoder()?;
        let form = Form::read(request, Purpose::Mean { images: MAX_BATCH }).await?;
        let numbered = self.encoded(form.images).await?.into_iter().enumerate();
        let named = |(number, made): (usize, Result<Wanted, ApiError>)| {
            made.map_err(|refused| refused.of_image(number))
        };
        mean(numbered.map(named).collect::<Result<Vec<Wanted>, ApiError>>()?)
    }

    /// Reads all queries of a batch, of which some may be refused.
    pub(crate) async fn queries(
        &self,
        request: Request,
    ) -> Result<Vec<Result<Wanted, ApiError>>, ApiError> {
        match kind(&request)?.ok_or_else(nothing_to_search_by)? {
            Kind::Json => {
                let held = held(&request);
                let BatchBody { queries } = json(request).await?;
                check_count(queries.len(), "queries")?;
                let named = queries.into_iter().map(|body| one(body, QUERY, held.clone()));
                self.all_made(named.collect()).await
            }
            kind => self.pictures(kind, request, "/v1/search").await,
        }
    }

    /// Reads all inputs of a batch, of which some may be refused.
    pub(crate) async fn originals(
        &self,
        request: Request,
    ) -> Result<Vec<Result<Wanted, ApiError>>, ApiError> {
        match kind(&request)?.ok_or_else(nothing_to_encode)? {
            Kind::Json => {
                let held = held(&request);
                let EncodeBatchBody { inputs } = json(request).await?;
                check_count(inputs.len(), "inputs")?;
                let named = inputs.into_iter().map(|body| one(body.into(), INPUT, held.clone()));
                self.all_made(named.collect()).await
            }
            kind => self.pictures(kind, request, "/v1/encode").await,
        }
    }

    /// Reads and encodes the images of a form. `alone` is the path that takes a single image.
    async fn pictures(
        &self,
        kind: Kind,
        request: Request,
        alone: &str,
    ) -> Result<Vec<Result<Wanted, ApiError>>, ApiError> {
        match kind {
            Kind::Form => {
                self.run.encoder()?;
                let form = Form::read(request, Purpose::Search { images: MAX_BATCH }).await?;
                self.encoded(form.images).await
            }
            Kind::Picture => {
                Err(unsupported(&format!("a picture alone is sent to {alone}; for several, ")))
            }
            Kind::Json | Kind::Lines => Err(unsupported("lines of JSON are not taken here: ")),
        }
    }

    /// Encodes the images and texts of a batch; the images are encoded together.
    async fn all_made(
        &self,
        named: Vec<Result<Named, ApiError>>,
    ) -> Result<Vec<Result<Wanted, ApiError>>, ApiError> {
        let (mut images, has_encoder) = (Vec::new(), self.run.encoder().is_ok());
        let mut others = Vec::with_capacity(named.len());
        for named in named {
            others.push(match named {
                Ok(Named::Image(image)) if has_encoder => {
                    images.push(image);
                    None
                }
                other => Some(other),
            });
        }
        let encoded = match images.is_empty() {
            true => Vec::new(),
            false => self.encoded(images).await?,
        };
        let (mut encoded, mut all) = (encoded.into_iter(), Vec::with_capacity(others.len()));
        for other in others {
            all.push(match other {
                None => encoded.next().unwrap_or_else(|| Err(no_code())),
                Some(Ok(named)) => self.made(named).await,
                Some(Err(refused)) => Err(refused),
            });
        }
        Ok(all)
    }

    /// Encodes an image or a text. Anything else is returned as it is.
    async fn made(&self, named: Named) -> Result<Wanted, ApiError> {
        match named {
            Named::Ready(wanted) => Ok(wanted),
            Named::Text(text) => self.read(text).await,
            Named::Image(image) => self.encoded(vec![image]).await?.pop().ok_or_else(no_code)?,
        }
    }

    /// Encodes a text by the text tower.
    async fn read(&self, text: String) -> Result<Wanted, ApiError> {
        self.run.coder().text()?;
        let (run, started) = (self.run.clone(), Instant::now());
        let made = self.state.shared().work(move || {
            let encoded = run.coder().text()?.encode_all(&[text]);
            encoded.map_err(|error| match error {
                error @ (dhih_model::Error::Text { .. } | dhih_model::Error::Vectors { .. }) => {
                    ApiError::UnusableText(error.to_string())
                }
                other => ApiError::internal(other),
            })
        });
        Ok(Wanted::Made(step("encode", made).await?, ms_since(started)))
    }

    /// Encodes images. An image that cannot be used does not affect the others.
    async fn encoded(
        &self,
        images: Vec<Upload>,
    ) -> Result<Vec<Result<Wanted, ApiError>>, ApiError> {
        let started = Instant::now();
        let codes = self.state.pictures().encode(self.run, images, |_| ()).await?;
        let ms = ms_since(started);
        let wanted = |code: Result<_, _>| Ok(code.map(|(made, ())| Wanted::Made(made, ms))?);
        Ok(codes.into_iter().map(wanted).collect())
    }
}

/// Checks the number of queries or inputs in a batch.
fn check_count(count: usize, things: &str) -> Result<(), ApiError> {
    if (1..=MAX_BATCH).contains(&count) {
        return Ok(());
    }
    let count = if count == 0 { "no".into() } else { format!("more than {MAX_BATCH}") };
    let message = format!("there are {count} {things}; give 1 to {MAX_BATCH}");
    Err(ApiError::BadRequest("invalid_parameter", message))
}

/// The only query or input that a body names. `names` lists the allowed kinds for the error message.
fn one(
    SearchBody { code, id, sample, vector, text, image }: SearchBody,
    names: &str,
    held: Option<Arc<Held>>,
) -> Result<Named, ApiError> {
    let image = image.map(|image| Upload::new(image.0, held)).transpose()?;
    let given = [
        image.map(Named::Image),
        code.map(|code| Named::Ready(Wanted::Code(code))),
        id.map(|id| Named::Ready(Wanted::Id(id))),
        sample.map(|sample| Named::Ready(Wanted::Sample(sample))),
        vector.map(|vector| Named::Ready(Wanted::Vector(vector.0))),
        text.map(Named::Text),
    ];
    let mut given = given.into_iter().flatten();
    let refused =
        |code, what| Err(ApiError::BadRequest(code, format!("the body names {what}: {names}")));
    match (given.next(), given.next()) {
        (Some(named), None) => Ok(named),
        (None, _) => refused("missing_query", "nothing to make a code of or to search by"),
        (Some(_), Some(_)) => refused("ambiguous_query", "more than one thing"),
    }
}

/// The mean of encoded images: of their real values and, where all have features, of their features.
fn mean(made: Vec<Wanted>) -> Result<Wanted, ApiError> {
    let (mut values, mut features, mut ms) = (Vec::new(), Some(Vec::new()), 0.0);
    for wanted in made {
        let Wanted::Made(encoded, took) = wanted else { return Err(no_code()) };
        // All images were encoded together, so each has the time of the whole batch.
        ms = took;
        values.push(encoded.values);
        features = features.zip(encoded.features).map(|(mut all, one)| {
            all.push(one);
            all
        });
    }
    let values = mean_of(&values).ok_or_else(no_code)?;
    Ok(Wanted::Made(Encoded { values, features: features.as_deref().and_then(mean_of) }, ms))
}

/// The mean of vectors of equal length; `None` if there are none.
fn mean_of(vectors: &[Vec<f32>]) -> Option<Vec<f32>> {
    let mut sums = vec![0.0; vectors.first()?.len()];
    for vector in vectors {
        sums.iter_mut().zip(vector).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    let count = vectors.len() as f64;
    Some(sums.into_iter().map(|sum| (sum / count) as f32).collect())
}

impl Wanted {
    /// The code to search a view by.
    ///
    /// # Errors
    /// When a vector or a code cannot be used, or an item or a sample does not exist.
    pub(crate) fn coded(&self, run: &Run, view: &View<'_>) -> Result<Coded, ApiError> {
        let given = |code: Vec<u8>| Coded { code, values: None, encode: 0.0 };
        let packed = |values: &[f32]| run.pack(values).map_err(ApiError::internal);
        match self {
            Self::Made(Encoded { values, .. }, ms) => {
                Ok(Coded { code: packed(values)?, values: Some(values.clone()), encode: *ms })
            }
            Self::Vector(vector) => {
                let started = Instant::now();
                let values = run.coder().values_of(vector)?;
                let code = packed(&values)?;
                Ok(Coded { code, values: Some(values), encode: ms_since(started) })
            }
            Self::Code(hex) => {
                let code = run.parse_code(hex);
                Ok(given(code.map_err(|e| ApiError::BadRequest("invalid_code", e))?))
            }
            Self::Id(id) => Ok(given(view.code(*id)?.ok_or_else(|| no_item(*id))?)),
            Self::Sample(_) if run.samples() == 0 => Err(Lacking::Samples.into()),
            Self::Sample(index) => {
                let code = run.sample_code(*index).ok_or_else(|| no_sample(*index))?;
                Ok(given(code.to_vec()))
            }
        }
    }
}

fn no_code() -> ApiError {
    ApiError::internal("an image got no code")
}

fn nothing_to_search_by() -> ApiError {
    ApiError::BadRequest(
        "missing_query",
        "there is nothing to search by: send an image as the multipart field `image`, or JSON {\"code\":\"hex\"}, {\"id\":n}, \
         {\"sample\":n}, {\"text\":\"...\"}, {\"vector\":[...]} or {\"image\":\"base64\"}; `search_by` of /v1/info lists what this \
         service takes"
            .into(),
    )
}

fn nothing_to_encode() -> ApiError {
    ApiError::BadRequest(
        "missing_query",
        "there is nothing to encode: send an image as the multipart field `image`, or JSON {\"image\":\"base64\"}, {\"text\":\"...\"} or \
         {\"vector\":[...]}; `search_by` of /v1/info lists what this service takes"
            .into(),
    )
}

pub(crate) fn ms_since(started: Instant) -> f64 {
    started.elapsed().as_secs_f64() * 1e3
}

/// The error 404 for an item.
pub(crate) fn no_item(id: u64) -> ApiError {
    ApiError::NotFound(format!("there is no item {id} in the index"))
}

/// The error 404 for a sample.
pub(crate) fn no_sample(index: usize) -> ApiError {
    ApiError::NotFound(format!("there is no sample {index}; /v1/samples lists them"))
}
