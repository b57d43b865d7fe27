//! The device that a network computes on where the user names none.

use candle_core::{Device, Result};

/// The first GPU, where this program was built for GPUs and one is present, else the CPU. The second value says why the GPU cannot be used,
/// where the program was built for GPUs and falls back to the CPU.
pub fn best() -> (Device, Option<candle_core::Error>) {
    if candle_core::utils::cuda_is_available() { or_cpu(gpu(0)) } else { (Device::Cpu, None) }
}

/// The GPU of that number. All threads share one stream, so that one thread may read what another has computed.
///
/// # Errors
/// When there is no such GPU, or this program was not built for GPUs.
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
