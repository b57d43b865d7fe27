//! From the bytes of pictures to real-valued codes: decoded on a worker, encoded in a batch with those of other requests.

use std::sync::Arc;

use axum::body::Bytes;
use dhih_model::image::{Limits, Picture, decode, pixels};

use crate::encode::{Place, Values};
use crate::http::{ApiError, AppState};
use crate::run::Run;

/// The codes of pictures, in order; one that cannot be decoded leaves the others be. `keep` makes of a decoded picture what is
/// needed of it beside its code.
pub(crate) async fn encode<T: Send + 'static>(
    state: &AppState,
    run: &Arc<Run>,
    images: Vec<Bytes>,
    keep: impl Fn(&Picture) -> T + Send + 'static,
) -> Result<Vec<Result<(Values, T), ApiError>>, ApiError> {
    let place: Place = state.queue().enter(images.len())?;
    let (limits, of) = (state.limits().image.clone(), run.clone());
    // One after the other: the largest counts.
    let largest = images.iter().map(|bytes| pixels(bytes)).max().unwrap_or(0);
    let memory = state.decoding(largest.min(limits.max_pixels)).await?;
    let decoded = state.work(move || {
        let _memory = memory;
        let one = |bytes: Bytes| {
            let picture = picture(&bytes, &limits)?;
            Ok((of.fit(&picture), keep(&picture)))
        };
        Ok(images.into_iter().map(one).collect::<Vec<Result<_, ApiError>>>())
    });
    let (mut inputs, mut kept) = (Vec::new(), Vec::new());
    for one in decoded.await? {
        kept.push(one.map(|(fitted, kept)| {
            inputs.push(fitted);
            kept
        }));
    }
    let mut codes = state.queue().encode(run, inputs).await?.into_iter();
    drop(place);
    let mut with_code = |kept| {
        let code = codes.next().ok_or_else(|| ApiError::internal("an image got no code"))?;
        Ok((code, kept))
    };
    Ok(kept.into_iter().map(|one| one.and_then(&mut with_code)).collect())
}

fn picture(bytes: &[u8], limits: &Limits) -> Result<Picture, ApiError> {
    use dhih_model::Error::{NotAnImage, UnusableImage};
    let started = std::time::Instant::now();
    let decoded = decode(bytes, limits).map_err(|error| match error {
        NotAnImage { .. } => ApiError::UnsupportedMediaType("not_an_image", error.to_string()),
        UnusableImage { .. } => ApiError::UnusableImage(error.to_string()),
        other => ApiError::internal(other),
    });
    metrics::histogram!("dhih_decode_seconds").record(started.elapsed().as_secs_f64());
    decoded
}
