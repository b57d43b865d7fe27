//! The header `Cross-Origin-Resource-Policy`: which sites may embed answers, such as pictures, without reading them.

use clap::ValueEnum;

/// Who may embed answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ResourcePolicy {
    /// The service's own pages.
    #[default]
    SameOrigin,
    /// Pages of the same site, such as another name below the same domain.
    SameSite,
    /// Pages of any site.
    CrossOrigin,
}

impl ResourcePolicy {
    /// The value of the header.
    pub(crate) fn value(self) -> &'static str {
        match self {
            Self::SameOrigin => "same-origin",
            Self::SameSite => "same-site",
            Self::CrossOrigin => "cross-origin",
        }
    }
}
