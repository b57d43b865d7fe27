//! The names of a network's parameters, and what a name says about its parameter.

/// The prefix of the names of a backbone's parameters, which pretrained weights fill.
pub const BACKBONE: &str = "backbone.";

/// The last part but one of the names of codewords.
pub(crate) const CODEWORDS: &str = "codewords";

/// Whether a parameter's name is that of codewords, which are neither trained nor averaged. They may belong to the loss or to one of several.
pub fn is_codeword(name: &str) -> bool {
    name.rsplit_once('.')
        .is_some_and(|(path, _)| path.rsplit('.').next().is_some_and(|last| last == CODEWORDS))
}

/// Whether gradient descent leaves the parameter of this name as it is.
pub(super) fn is_fixed(name: &str) -> bool {
    is_running_statistic(name) || name.ends_with(".whiten.weight") || is_codeword(name)
}

/// Whether a name is that of a batch norm's mean or variance.
pub(crate) fn is_running_statistic(name: &str) -> bool {
    name.ends_with(".running_mean") || name.ends_with(".running_var")
}
