//! From which sites pages may show what the service answers, such as pictures, without reading it: `Cross-Origin-Resource-Policy`.

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
    /// The header's value.
    pub(crate) fn value(self) -> &'static str {
        match self {
            Self::SameOrigin => "same-origin",
            Self::SameSite => "same-site",
            Self::CrossOrigin => "cross-origin",
        }
    }
}
