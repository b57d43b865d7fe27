//! How a picture is brought to the size of a network's input: which part of it is used, and by which interpolation. Pretrained networks expect
//! what they were trained with; each variant says what other libraries call it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An interpolation and a frame. As text they are `linear` or `bicubic`, followed by the part of the sides whose middle is used
/// (`bicubic 0.875`), by `middle`, or by `whole`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fit {
    /// How values between pixels are computed.
    pub interpolation: Interpolation,
    /// Which part of the picture is used.
    pub frame: Frame,
}

/// An interpolation with antialiasing: where a picture is scaled down it averages over areas, as Pillow does, and torchvision with
/// `antialias=True`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Interpolation {
    /// A triangle filter: `BILINEAR` of Pillow.
    #[default]
    Linear,
    /// Cubic convolution with a = -0.5 (Keys, 1981): `BICUBIC` of Pillow.
    Bicubic,
}

/// The part of a picture that a network sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Frame {
    /// The largest centred part that has the proportions of the input. It is cut out first and then scaled, so that pixels outside of it have no
    /// influence.
    #[default]
    Middle,
    /// The middle of the picture, with a side of so many thousandths: the picture is scaled until its sides are larger than those of the input
    /// by that ratio, and the middle is cut out. torchvision's `Resize(256)` followed by `CenterCrop(224)` is 875.
    Scaled(u16),
    /// The whole picture, stretched to the proportions of the input.
    Whole,
}

impl Fit {
    /// The shorter side becomes 256 pixels, of which the middle 224 are used, by linear interpolation: most networks of torchvision.
    pub(crate) const LINEAR_256: Self = Self::scaled(Interpolation::Linear, 875);
    /// The same by bicubic interpolation: DINOv2.
    pub(crate) const BICUBIC_256: Self = Self::scaled(Interpolation::Bicubic, 875);
    /// The largest middle part by bicubic interpolation: CLIP.
    pub(crate) const BICUBIC: Self = Self::scaled(Interpolation::Bicubic, 1000);
    /// The whole picture by bicubic interpolation: SigLIP.
    pub(crate) const BICUBIC_WHOLE: Self =
        Self { interpolation: Interpolation::Bicubic, frame: Frame::Whole };

    pub(crate) const fn scaled(interpolation: Interpolation, thousandths: u16) -> Self {
        Self { interpolation, frame: Frame::Scaled(thousandths) }
    }

    /// Whether it is what a missing value in a file means.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a picture that already has the size of the input is used without scaling.
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
