//! The device of a given name.

use candle_core::Device;
use dhih_model::device::{best, gpu};

use crate::error::{Error, Result};
use crate::progress::Progress;

/// The device `auto` (a GPU where the program was built for GPUs and one is present, else the CPU, with a message), `cpu`, or `cuda:N`.
///
/// # Errors
/// When the name is none of these, or there is no such GPU.
pub fn device(name: &str, progress: Progress) -> Result<Device> {
    let wrong = |expected: &str| Error::Config {
        name: "device",
        got: name.to_owned(),
        expected: expected.to_owned(),
    };
    match name.split_once(':').map_or((name, "0"), |(kind, number)| (kind, number)) {
        ("auto", "0") => {
            let (device, reason) = best();
            if let Some(reason) = reason {
                progress.line(format!(
                    "NOTE: no GPU can be used ({reason}): the network runs on the CPU"
                ));
            }
            Ok(device)
        }
        ("cpu", "0") => Ok(Device::Cpu),
        ("cuda", number) => {
            let number = number.parse().map_err(|_| wrong("auto, cpu or cuda:N"))?;
            if !candle_core::utils::cuda_is_available() {
                return Err(wrong("cpu: this program was built without the feature `cuda`"));
            }
            Ok(gpu(number)?)
        }
        _ => Err(wrong("auto, cpu or cuda:N")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert!(device("cpu", Progress::Silent).unwrap().is_cpu());
        for name in ["gpu", "cuda:x", "cpu:1", ""] {
            assert!(device(name, Progress::Silent).is_err(), "{name}");
        }
    }
}
