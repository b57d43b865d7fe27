//! What can go wrong in this crate, each with the cause, the value or file, and what to do about
//! it. No error is made here; the modules that find a fault name it.

use std::io;
use std::path::{Path, PathBuf};

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// All errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to read or write a file.
    #[error("cannot {action} {}: {cause}", path.display())]
    Io {
        /// What was tried: "read", "write", ...
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's own error.
        cause: io::Error,
    },
    /// A code length outside 1..=1024.
    #[error("codes of {bits} bits are not supported: use 1 to 1024 bits")]
    Bits {
        /// The length asked for.
        bits: u32,
    },
    /// A byte buffer that is no whole number of codes.
    #[error("{bytes} bytes are no whole number of {bits}-bit codes of {width} bytes each")]
    CodeBytes {
        /// Length of a code in bits.
        bits: u32,
        /// Length of a code in bytes.
        width: usize,
        /// Length of the buffer.
        bytes: usize,
    },
    /// A code whose unused high bits of the last byte are not zero.
    #[error(
        "code {row} has bits set beyond bit {bits}: unused bits must be zero; \
         is the number of bits right?"
    )]
    Padding {
        /// Length of a code in bits.
        bits: u32,
        /// The first such code.
        row: usize,
    },
    /// A real value that has no sign.
    #[error(
        "value {bit} of item {row} is not a number: the network that made it has diverged; \
         train it anew"
    )]
    NotANumber {
        /// The item.
        row: usize,
        /// The place in the item's code.
        bit: usize,
    },
    /// Text that is no code in hexadecimal.
    #[error("{text:?} is no {bits}-bit code: give {digits} hexadecimal digits, first byte first")]
    Hex {
        /// The text (its first 64 characters).
        text: String,
        /// Length of a code in bits.
        bits: u32,
        /// Number of digits expected.
        digits: usize,
    },
    /// A codes file that is not as it should be.
    #[error("{} is no usable codes file: {reason}", path.display())]
    CodesFile {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A folder that is not one of part files.
    #[error("{} is no usable folder of codes: {reason}", folder.display())]
    PartFiles {
        /// The folder.
        folder: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// Part files that do not belong together.
    #[error(
        "{} and {} have different {what}, {expected} and {found}: \
         put the parts of different jobs into different folders",
        first.display(),
        file.display()
    )]
    PartsDiffer {
        /// "bits", "model", "ids", "labels" or "classes".
        what: &'static str,
        /// The first part file with items.
        first: Box<Path>,
        /// What it has.
        expected: Box<str>,
        /// The part file that differs.
        file: Box<Path>,
        /// What this one has.
        found: Box<str>,
    },
    /// Text that names no part of a job.
    #[error("{text:?} is no part of a job: give I/N, I from 1 to N, as in 1/4; N is at most 99999")]
    Shard {
        /// The text (its first 64 characters).
        text: String,
    },
    /// An `.npy` file read without saying how long its codes are.
    #[error("{} does not say how many bits its codes have: give it with --bits", path.display())]
    BitsNeeded {
        /// The file.
        path: PathBuf,
    },
    /// A codes file of another length than asked for.
    #[error(
        "{} holds {found}-bit codes, not {expected}-bit ones: \
         leave out --bits or name another file",
        path.display()
    )]
    BitsDiffer {
        /// The file.
        path: PathBuf,
        /// Bits asked for.
        expected: u32,
        /// Bits in the file.
        found: u32,
    },
    /// Ids or labels that do not match the codes in number.
    #[error("{found} {what} for {codes} codes: there must be one for each code")]
    Count {
        /// "ids" or "labels".
        what: &'static str,
        /// Number of codes.
        codes: usize,
        /// Number of ids or labels.
        found: usize,
    },
    /// Two items of one id.
    #[error("items {first} and {second} have the same id {id}: ids must be unique")]
    DuplicateId {
        /// The id.
        id: u64,
        /// The first item that has it.
        first: usize,
        /// Another item that has it.
        second: usize,
    },
    /// An item that is to be added under the id of another.
    #[error("id {id} is taken: remove it first, or give another")]
    IdTaken {
        /// The id.
        id: u64,
    },
    /// Items that are to be added with labels of another kind than the index's.
    #[error("the items have {found}, those of the index {expected}")]
    LabelKind {
        /// What the index has.
        expected: String,
        /// What the items have.
        found: String,
    },
    /// A label that names no class.
    #[error(
        "label {label} of item {row} is outside the {classes} classes: labels are 0..{classes}"
    )]
    Label {
        /// The item.
        row: usize,
        /// Its label.
        label: i64,
        /// Number of classes.
        classes: usize,
    },
    /// Multi-hot labels that are not zeros and ones of one column per class.
    #[error("multi-hot labels: {reason}")]
    MultiHot {
        /// What is wrong.
        reason: String,
    },
    /// More codes than one data file can hold.
    #[error("{codes} codes are too many for one index: it holds up to 4294967295")]
    TooMany {
        /// Number of codes.
        codes: usize,
    },
    /// A number of substrings that does not suit the code length.
    #[error(
        "{substrings} substrings do not suit {bits}-bit codes: use {} to {bits}",
        bits.div_ceil(32)
    )]
    Substrings {
        /// The number asked for.
        substrings: u32,
        /// Length of a code in bits.
        bits: u32,
    },
    /// No index where one was expected.
    #[error(
        "no index at {}: make one with `dhih-index build --out {}`",
        dir.display(),
        dir.display()
    )]
    NoIndex {
        /// The directory.
        dir: PathBuf,
    },
    /// An operation that its caller stopped through a progress callback.
    #[error("it was cancelled: nothing was changed")]
    Cancelled,
    /// A build that is to stay within too little memory.
    #[error("{memory} bytes of memory are too few for this build: give at least {least}")]
    Memory {
        /// Bytes given.
        memory: u64,
        /// Bytes needed at least.
        least: u64,
    },
    /// Another process is writing this index.
    #[error("{} is being written by another process: wait for it to end", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// A writer that an earlier failure of the disk left in doubt.
    #[error("{}: an earlier write failed at its end: open the index again to go on", dir.display())]
    WriterUnsure {
        /// The directory.
        dir: PathBuf,
    },
    /// An index file whose bytes contradict each other.
    #[error("{} is corrupt: {what}; build the index again with `dhih-index build`", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The contradiction.
        what: String,
    },
    /// An index file of a version this program does not know.
    #[error(
        "{} has format version {found}, this program reads version {supported}: \
         update it or build the index again",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Version of the file.
        found: u32,
        /// Version this program reads.
        supported: u32,
    },
    /// An index file that needs something that this program does not know.
    #[error(
        "{} was written by a newer version and needs features that this program does not know \
         (bits {unknown:#x}): update the program",
        path.display()
    )]
    Features {
        /// The file.
        path: PathBuf,
        /// The bits of the features that are not known.
        unknown: u32,
    },
    /// A search for no neighbours.
    #[error("k is 0: ask for at least one neighbour")]
    ZeroK,
    /// A query of another length than the index's codes.
    #[error(
        "the query has {found} bytes, codes of {bits} bits have {expected}: \
         encode it with the index's model"
    )]
    QueryBytes {
        /// Length of a code in bits.
        bits: u32,
        /// Bytes expected.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// A query with bits set beyond the length of the index's codes.
    #[error("the query has bits set beyond bit {bits}: unused bits must be zero")]
    QueryPadding {
        /// Length of a code in bits.
        bits: u32,
    },
    /// Queries of another code length than the index's.
    #[error(
        "the queries have {found} bits, the index {expected}: encode them with the index's model"
    )]
    QueryBits {
        /// Bits of the index.
        expected: u32,
        /// Bits of the queries.
        found: u32,
    },
    /// Queries encoded by another model than the index's codes.
    #[error(
        "the queries were encoded by model {found}, the index by model {expected}: \
         encode them with the index's model, or build the index from this model's codes"
    )]
    OtherModel {
        /// SHA-256 of the index's model.
        expected: String,
        /// SHA-256 of the queries' model.
        found: String,
    },
    /// `DHIH_ISA` names no instruction set of this machine.
    #[error("DHIH_ISA={name} is not available here: use one of {available}, or unset it")]
    Isa {
        /// The value.
        name: String,
        /// What this machine has.
        available: String,
    },
}

impl Error {
    /// Wraps a system error with what was tried on which file; for `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |cause| Self::Io { action, path, cause }
    }

    pub(crate) fn codes_file(path: &Path, reason: impl Into<String>) -> Self {
        Self::CodesFile { path: path.to_path_buf(), reason: reason.into() }
    }

    pub(crate) fn corrupt(path: &Path, what: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_path_buf(), what: what.into() }
    }
}
