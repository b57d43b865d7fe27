//! Encodes the pictures of a request: measures them by their headers, decodes them on a blocking thread, and encodes them in a batch with
//! those of other requests.

use std::sync::Arc;

use dhih_model::image::{Header, Limits, Picture, decode_for};
use dhih_model::{Encoded, InputShape};

use super::memory::DecodingMemory;
use super::queue::EncodeQueue;
use super::{EncodeError, QueueConfig};
use crate::blocking::BlockingPool;
use crate::operation::steps::step;
use crate::run::Run;

/// Encodes pictures.
#[derive(Debug)]
pub(crate) struct PictureEncoder {
    queue: EncodeQueue,
    memory: DecodingMemory,
    threads: BlockingPool,
    limits: Limits,
}

impl PictureEncoder {
    /// Starts `workers` threads for encoding. Pictures within `limits` are decoded on `threads`.
    ///
    /// # Errors
    /// When the system cannot create a thread.
    pub(crate) fn start(
        config: QueueConfig,
        workers: usize,
        threads: BlockingPool,
        limits: Limits,
    ) -> std::io::Result<Self> {
        let memory = DecodingMemory::new(limits.max_bytes);
        Ok(Self { queue: EncodeQueue::start(config, workers)?, memory, threads, limits })
    }

    /// The codes of pictures, in order. A picture that cannot be decoded does not affect the others. `keep` extracts from a decoded picture
    /// whatever else is needed, such as a thumbnail. This is the step `encode` of a request.
    pub(crate) async fn encode<B, T>(
        &self,
        run: &Arc<Run>,
        files: Vec<B>,
        keep: impl Fn(&Picture) -> T + Send + 'static,
    ) -> Result<Vec<Result<(Encoded, T), EncodeError>>, EncodeError>
    where
        B: AsRef<[u8]> + Send + 'static,
        T: Send + 'static,
    {
        step("encode", self.decoded_and_encoded(run, files, keep)).await
    }

    async fn decoded_and_encoded<B, T>(
        &self,
        run: &Arc<Run>,
        files: Vec<B>,
        keep: impl Fn(&Picture) -> T + Send + 'static,
    ) -> Result<Vec<Result<(Encoded, T), EncodeError>>, EncodeError>
    where
        B: AsRef<[u8]> + Send + 'static,
        T: Send + 'static,
    {
        let input = run.encoder().map_err(EncodeError::Lacking)?.input();
        let place = self.queue.enter(files.len())?;
        // The pictures are decoded one after the other, so the largest determines the memory.
        let bytes = files.iter().map(|file| self.bytes(file.as_ref(), input)).max().unwrap_or(0);
        let memory = self.memory.take(bytes, self.threads.patience()).await?;
        let limits = self.limits.clone();
        let decoded = self.threads.run(move |cancellation| {
            let _memory = memory;
            let one = |file: B| {
                if cancellation.is_cancelled() {
                    return Err(EncodeError::Abandoned);
                }
                let picture = picture(file.as_ref(), &limits, input)?;
                Ok((picture.fit(input), keep(&picture)))
            };
            // The place in the queue stays with the images, even if the caller has gone.
            (files.into_iter().map(one).collect::<Vec<Result<_, EncodeError>>>(), place)
        });
        let (decoded, place) = decoded.await?;
        let (mut inputs, mut kept) = (Vec::new(), Vec::new());
        for one in decoded {
            kept.push(one.map(|(fitted, kept)| {
                inputs.push(fitted);
                kept
            }));
        }
        let mut codes = self.queue.encode(run, place, inputs).await?.into_iter();
        let mut with_code = |kept| {
            let code = codes.next().ok_or_else(|| EncodeError::failed("an image got no code"))?;
            Ok((code, kept))
        };
        Ok(kept.into_iter().map(|one| one.and_then(&mut with_code)).collect())
    }

    /// Memory for decoding a picture and fitting it to the network, in bytes; 0 if the picture will be refused.
    fn bytes(&self, file: &[u8], input: InputShape) -> u64 {
        let header = Header::read(file).ok().filter(|header| self.limits.check(header).is_ok());
        header.map_or(0, |header| {
            let longest = u64::from(header.width().max(header.height()));
            let fitting = 3 * header.pixels() + 12 * longest * input.height as u64;
            header.decoding_bytes().max(fitting)
        })
    }

    /// The number of images that are being decoded or encoded, or wait for it.
    pub(crate) fn depth(&self) -> usize {
        self.queue.depth()
    }
}

fn picture(file: &[u8], limits: &Limits, input: InputShape) -> Result<Picture, EncodeError> {
    use dhih_model::Error::{NotAnImage, UnusableImage};
    let started = std::time::Instant::now();
    let decoded = decode_for(file, limits, input).map_err(|error| match error {
        NotAnImage { .. } => EncodeError::NotAnImage(error.to_string()),
        UnusableImage { .. } => EncodeError::Unusable(error.to_string()),
        other => EncodeError::failed(other),
    });
    metrics::histogram!("dhih_decode_seconds").record(started.elapsed().as_secs_f64());
    decoded
}
