//! Datasets, training and evaluation of hashing networks.
