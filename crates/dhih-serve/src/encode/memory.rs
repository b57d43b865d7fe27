//! Limits the memory in which pictures are decoded. Each picture takes the amount that its header implies, and waits until it is available.

use std::sync::Arc;
use std::time::Duration;

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::EncodeError;

/// Bytes for all pictures that are being decoded: enough for one of the largest size and some of usual size.
const BYTES: u64 = 512 << 20;
/// Bytes of a permit. A permit per byte would exceed the range of `acquire_many`, which takes a `u32`.
const PERMIT: u64 = 1024;

/// The bytes available for decoding.
#[derive(Debug)]
pub(crate) struct DecodingMemory {
    permits: Arc<Semaphore>,
    most: u64,
}

impl DecodingMemory {
    /// Memory in which at least one picture of `largest` bytes can be decoded.
    pub(super) fn new(largest: u64) -> Self {
        let most = BYTES.max(largest).div_ceil(PERMIT).min(u32::MAX.into());
        Self { permits: Arc::new(Semaphore::new(most as usize)), most }
    }

    /// Takes `bytes` when they are available. Waiting is first come, first served, so that large pictures get their turn.
    pub(super) async fn take(
        &self,
        bytes: u64,
        patience: Duration,
    ) -> Result<OwnedSemaphorePermit, EncodeError> {
        let permits = bytes.div_ceil(PERMIT).min(self.most) as u32;
        let free = timeout(patience, self.permits.clone().acquire_many_owned(permits)).await;
        free.map_err(|_| EncodeError::Busy)?.map_err(EncodeError::failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_are_counted_and_given_back() {
        let memory = DecodingMemory::new(0);
        let rest = memory.take(BYTES - 4096, Duration::ZERO).await.unwrap();
        let small = memory.take(4096, Duration::ZERO).await.unwrap();
        assert!(matches!(memory.take(1, Duration::ZERO).await, Err(EncodeError::Busy)));
        drop(small);
        assert!(memory.take(4096, Duration::ZERO).await.is_ok());
        drop(rest);
        assert!(memory.take(BYTES, Duration::ZERO).await.is_ok());
        let larger = DecodingMemory::new(3 * BYTES);
        assert!(larger.take(3 * BYTES, Duration::ZERO).await.is_ok(), "the largest has its turn");
    }
}
