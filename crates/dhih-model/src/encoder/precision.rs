//! What the convolutions of an encoder are computed in.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// What convolutions are computed in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precision {
    /// Floating point; the number format of the encoder's other constructors.
    #[default]
    F32,
    /// Integers of 8 bits, with scales from a [`Calibration`](crate::Calibration).
    Int8,
}

impl Precision {
    /// What codes files say of it: its name, and nothing of floating point, of which older files say nothing.
    pub fn of_codes(self) -> Option<String> {
        (self != Self::F32).then(|| self.name().to_owned())
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Int8 => "int8",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "f32" => Ok(Self::F32),
            "int8" => Ok(Self::Int8),
            _ => {
                let (got, expected) = (name.to_owned(), "f32 or int8".to_owned());
                Err(Error::Config { name: "precision", got, expected })
            }
        }
    }
}
