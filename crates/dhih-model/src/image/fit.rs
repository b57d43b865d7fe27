//! How a picture becomes the pixels that a network takes: what part of it, and by which interpolation. Networks that were trained by others
//! expect what they were trained with; what other libraries call it is said at each variant.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An interpolation and a frame, as text: `linear`, `bicubic`, either with the part of the sides that is taken of the middle behind it
/// (`bicubic 0.875`), or with `whole`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fit {
    /// How values between pixels are made.
    pub interpolation: Interpolation,
    /// What part of the picture is taken.
    pub frame: Frame,
}

/// An interpolation that averages over areas where pictures become smaller, as Pillow and torchvision (`antialias=True`) have it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Interpolation {
    /// A triangle: `BILINEAR` of Pillow.
    #[default]
    Linear,
    /// Cubic convolution with a = -0.5 (Keys, 1981): `BICUBIC` of Pillow.
    Bicubic,
}

/// The part of a picture that a network sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Frame {
    /// The largest centred part of the network's proportions. It is cut out first and scaled then, so that nothing outside of it counts.
    #[default]
    Middle,
    /// As [`Self::Middle`], of sides that are so many thousandths of the largest: the picture is scaled until its sides are that much larger
    /// than those of the network, and the middle is cut out. `Resize(256)` and `CenterCrop(224)` of torchvision are 875.
    Scaled(u16),
    /// All of it, squeezed into the network's proportions.
    Whole,
}

impl Fit {
    /// A smaller side of 256 pixels of which 224 are taken, by linear interpolation: most networks of torchvision.
    pub(crate) const LINEAR_256: Self = Self::scaled(Interpolation::Linear, 875);
    /// The same by bicubic interpolation: DINOv2.
    pub(crate) const BICUBIC_256: Self = Self::scaled(Interpolation::Bicubic, 875);
    /// The largest middle part, by bicubic interpolation: CLIP.
    pub(crate) const BICUBIC: Self = Self::scaled(Interpolation::Bicubic, 1000);
    /// The whole picture, by bicubic interpolation: SigLIP.
    pub(crate) const BICUBIC_WHOLE: Self =
        Self { interpolation: Interpolation::Bicubic, frame: Frame::Whole };

    pub(crate) const fn scaled(interpolation: Interpolation, thousandths: u16) -> Self {
        Self { interpolation, frame: Frame::Scaled(thousandths) }
    }

    /// Whether it is that of files that do not say.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a picture that has the network's sides already is what the network sees.
    pub(super) fn keeps_pixels(self) -> bool {
        !matches!(self.frame, Frame::Scaled(thousandths) if thousandths < 1000)
    }
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.interpolation {
            Interpolation::Linear => "linear",
            Interpolation::Bicubic => "bicubic",
        };
        match self.frame {
            Frame::Whole => write!(f, "{name} whole"),
            Frame::Middle => write!(f, "{name} middle"),
            Frame::Scaled(1000) => f.write_str(name),
            Frame::Scaled(thousandths) => write!(f, "{name} {}", f64::from(thousandths) / 1e3),
        }
    }
}

impl FromStr for Fit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, frame) = text.split_once(' ').unwrap_or((text, "1"));
        let interpolation = match name {
            "linear" => Interpolation::Linear,
            "bicubic" => Interpolation::Bicubic,
            _ => return Err(format!("{text:?} is no interpolation; there are linear and bicubic")),
        };
        let frame = match frame.trim() {
            "whole" => Frame::Whole,
            "middle" => Frame::Middle,
            part => match part.parse::<f64>() {
                Ok(part) if (0.1..=1.0).contains(&part) => {
                    Frame::Scaled((part * 1000.0).round() as u16)
                }
                _ => {
                    let expected = "middle, whole, or a part of the sides, 0.1 to 1";
                    return Err(format!("{text:?} ends in {part:?}, expected {expected}"));
                }
            },
        };
        Ok(Self { interpolation, frame })
    }
}

impl TryFrom<String> for Fit {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Fit> for String {
    fn from(fit: Fit) -> Self {
        fit.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fit_is_read_as_it_is_shown() {
        for text in ["linear", "linear middle", "bicubic whole", "bicubic 0.875", "bicubic"] {
            assert_eq!(text.parse::<Fit>().unwrap().to_string(), text);
        }
        assert_eq!("linear middle".parse::<Fit>().unwrap(), Fit::default());
        assert_eq!("bicubic 0.875".parse::<Fit>().unwrap(), Fit::BICUBIC_256);
        for text in ["cubic", "", "bicubic 0", "bicubic 1.1", "bicubic NaN", "bicubic half"] {
            assert!(text.parse::<Fit>().is_err(), "{text}");
        }
    }
}
