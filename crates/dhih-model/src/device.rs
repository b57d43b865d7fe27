//! Where a network computes, where the user does not say.

use candle_core::{Device, Result};

/// The first GPU, where this program was built for one and one is there, and otherwise the CPU; and why the GPU of a program that was built
/// for one cannot be used.
pub fn best() -> (Device, Option<candle_core::Error>) {
    if candle_core::utils::cuda_is_available() { or_cpu(gpu(0)) } else { (Device::Cpu, None) }
}

/// The GPU of that number. All threads share one stream of work: what one thread has computed, another may read.
///
/// # Errors
/// Where there is none, or this program was not built for one.
pub fn gpu(number: usize) -> Result<Device> {
    Device::new_cuda_with_stream(number)
}

fn or_cpu(gpu: Result<Device>) -> (Device, Option<candle_core::Error>) {
    match gpu {
        Ok(device) => (device, None),
        Err(error) => (Device::Cpu, Some(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_gpu_the_cpu_is_taken_and_the_reason_is_told() {
        let (device, reason) = or_cpu(Err(candle_core::Error::Msg("no driver".to_owned())));
        assert!(device.is_cpu());
        assert!(reason.unwrap().to_string().contains("no driver"));
        let (device, reason) = or_cpu(Ok(Device::Cpu));
        assert!(device.is_cpu() && reason.is_none());
        if !candle_core::utils::cuda_is_available() {
            assert!(best().0.is_cpu() && gpu(0).is_err());
        }
    }
}
