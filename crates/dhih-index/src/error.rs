//! Everything that can go wrong in this crate. A message names the fault, the file or the value, and says what to do about it. Only the
//! program knows commands and flags (`bin/dhih-index/hint.rs`). The cause of an error is its `source`, and the message does not repeat it
//! (`describe.rs`).

use std::io;
use std::path::{Path, PathBuf};

mod describe;
mod vectors;

pub use self::{describe::Cause, describe::Result, vectors::VectorError};

/// All errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to read or write a file.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried: "read", "write", ...
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        cause: io::Error,
    },
    /// A code length outside 1..=4096.
    #[error("codes of {bits} bits are not supported: use 1 to 4096 bits")]
    Bits {
        /// The length asked for.
        bits: u32,
    },
    /// A byte buffer whose length is not a multiple of the length of a code.
    #[error("{bytes} bytes are not a whole number of {bits}-bit codes of {width} bytes each")]
    CodeBytes {
        /// Length of a code in bits.
        bits: u32,
        /// Length of a code in bytes.
        width: usize,
        /// Length of the buffer.
        bytes: usize,
    },
    /// Real values that are not a whole number of codes.
    #[error("{values} values are no whole number of {bits}-bit codes: give a value for each bit")]
    CodeValues {
        /// Length of a code in bits.
        bits: u32,
        /// Number of values.
        values: usize,
    },
    /// A code in which unused high bits of the last byte are not zero.
    #[error("code {row} has bits set beyond bit {bits}: is the number of bits right?")]
    Padding {
        /// Length of a code in bits.
        bits: u32,
        /// The first such code.
        row: usize,
    },
    /// A real value that is NaN and therefore has no sign.
    #[error(
        "value {bit} of item {row} is not a number: the network that made it has diverged; train it again"
    )]
    NotANumber {
        /// The item.
        row: usize,
        /// The bit of the item's code for which the value stands.
        bit: usize,
    },
    /// Text that is not a code in hexadecimal.
    #[error("{text:?} is no {bits}-bit code: give {digits} hexadecimal digits, first byte first")]
    Hex {
        /// The text (its first 64 characters).
        text: String,
        /// Length of a code in bits.
        bits: u32,
        /// Number of digits expected.
        digits: usize,
    },
    /// A codes file whose content cannot be used.
    #[error("{} is not a usable codes file: {reason}", path.display())]
    CodesFile {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
        /// The error of the library that reads such files.
        #[source]
        cause: Option<Cause>,
    },
    /// A codes file of a format that was left out when this library was compiled.
    #[error("{} is a {format} file, which this build neither reads nor writes: build it with `--features {feature}`", path.display())]
    FormatDisabled {
        /// The file.
        path: PathBuf,
        /// The name of the format.
        format: &'static str,
        /// The Cargo feature that adds it.
        feature: &'static str,
    },
    /// A folder whose files are not the part files of one job.
    #[error("{} is not a usable folder of codes: {reason}", folder.display())]
    PartFiles {
        /// The folder.
        folder: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// Part files that do not belong together.
    #[error("{} and {} have different {what}, {expected} and {found}: put the part files of different jobs into different folders", first.display(), file.display())]
    PartsDiffer {
        /// "bits", "model", "precision", "ids", "labels" or "classes".
        what: &'static str,
        /// The first part file with items.
        first: Box<Path>,
        /// The value in the first file.
        expected: Box<str>,
        /// The part file that differs.
        file: Box<Path>,
        /// The value in the file that differs.
        found: Box<str>,
    },
    /// Text that does not name a part of a job.
    #[error(
        "{text:?} is no part of a job: give I/N with I from 1 to N, as in 1/4; N is at most 99999"
    )]
    Shard {
        /// The text (its first 64 characters).
        text: String,
    },
    /// A codes file that does not record the length of its codes, read without naming it.
    #[error("{} does not say how many bits its codes have: give the number of bits", path.display())]
    BitsNeeded {
        /// The file.
        path: PathBuf,
    },
    /// A codes file whose codes have another length than the caller named.
    #[error("{} holds {found}-bit codes, not {expected}-bit ones: leave out the number of bits, or name another file", path.display())]
    BitsDiffer {
        /// The file.
        path: PathBuf,
        /// The number of bits that the caller named.
        expected: u32,
        /// The number of bits of the codes in the file.
        found: u32,
    },
    /// A number of ids or labels that is not the number of codes.
    #[error("{found} {what} for {codes} codes: there must be one for each code")]
    Count {
        /// "ids", "labels" or "vectors".
        what: &'static str,
        /// Number of codes.
        codes: usize,
        /// Number of ids or labels.
        found: usize,
    },
    /// Two items with the same id.
    #[error("id {id} occurs more than once, in rows {first} and {second}: ids must be unique")]
    DuplicateId {
        /// The id.
        id: u64,
        /// The first row that has it, counted from 0.
        first: usize,
        /// The next row that has it.
        second: usize,
    },
    /// An id in two of the sets of a batch.
    #[error("id {id} is in two sets of one batch: leave it in one of them")]
    IdInTwoSets {
        /// The id.
        id: u64,
    },
    /// Items without ids cannot be numbered after the greatest id, because too few numbers are left.
    #[error(
        "{items} items without ids cannot be numbered after id {last}, the greatest there is: give them ids, or remove that item"
    )]
    IdsExhausted {
        /// The greatest id of the index.
        last: u64,
        /// Number of items without ids.
        items: usize,
    },
    /// An item that is to be added under the id of an item that is in the index.
    #[error("id {id} is taken: remove that item first, or give another id")]
    IdTaken {
        /// The id.
        id: u64,
    },
    /// Items that are to be added and whose labels are of another kind than those of the index.
    #[error("the items have {found}, those of the index {expected}")]
    LabelKind {
        /// What the index has.
        expected: String,
        /// What the items have.
        found: String,
    },
    /// A label that is not the number of a class.
    #[error("label {label} of item {row} is none of the {classes} classes: use 0..{classes}")]
    Label {
        /// The item.
        row: usize,
        /// Its label.
        label: i64,
        /// Number of classes.
        classes: usize,
    },
    /// Multi-hot labels that are not rows of zeros and ones with one column per class.
    #[error("multi-hot labels: {reason}")]
    MultiHot {
        /// What is wrong.
        reason: String,
    },
    /// Vectors that cannot be kept or compared.
    #[error(transparent)]
    Vectors(#[from] VectorError),
    /// More codes than one index can hold.
    #[error(
        "{codes} codes are too many for one index, which holds up to 4294967294: divide them among several indexes"
    )]
    TooMany {
        /// Number of codes.
        codes: usize,
    },
    /// A number of substrings that codes of this length cannot be cut into.
    #[error("{substrings} substrings do not suit {bits}-bit codes: use 1 to {bits}")]
    Substrings {
        /// The number that was asked for.
        substrings: u32,
        /// Length of a code in bits.
        bits: u32,
    },
    /// A directory that has no index.
    #[error("no index at {}: build one there first", dir.display())]
    NoIndex {
        /// The directory.
        dir: PathBuf,
    },
    /// An operation that its caller stopped through a progress callback.
    #[error("it was cancelled: nothing was changed")]
    Cancelled,
    /// A build, or a search for pairs, that is to stay within too little memory.
    #[error("{memory} bytes of memory are too few for this: give at least {least}")]
    Memory {
        /// Bytes given.
        memory: u64,
        /// Bytes needed at least.
        least: u64,
    },
    /// More pairs than fit into the memory that was given for groups by complete linkage.
    #[error("the pairs do not fit into {memory} bytes of memory: give more, or a smaller radius")]
    PairMemory {
        /// Bytes given.
        memory: u64,
    },
    /// Another process is writing this index.
    #[error("{} is being written by another process: wait for it to end", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// A writer that does not know what the disk holds, after a write failed at its very end.
    #[error("{}: a write could not be completed or undone ({cause}), so the last change may be there or not: open the index again to see, and to go on", dir.display())]
    Poisoned {
        /// The directory.
        dir: PathBuf,
        /// The system's error.
        cause: String,
    },
    /// A file of an index whose bytes are not those that were written.
    #[error("{} is corrupt: {what}: restore a checkpoint of the index, or build it again from its codes", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The contradiction that was found.
        what: String,
    },
    /// A write-ahead log that is damaged before its end.
    #[error("{} is damaged at byte {offset}: {what}; the {bytes} bytes from there on may hold acknowledged changes, so nothing was left out or cut off: restore a checkpoint, or salvage the index", path.display())]
    CorruptLog {
        /// The log.
        path: PathBuf,
        /// Where the damage begins in the file.
        offset: u64,
        /// Bytes from there to the end of the file.
        bytes: u64,
        /// What is wrong.
        what: String,
    },
    /// A file of another index than the manifest's.
    #[error("{} belongs to another index than the manifest beside it: restore both from one checkpoint", path.display())]
    OtherIndex {
        /// The file.
        path: PathBuf,
    },
    /// A directory for a checkpoint that holds an index already.
    #[error("{} holds an index already: name a new directory for the checkpoint", dir.display())]
    CheckpointExists {
        /// The directory.
        dir: PathBuf,
    },
    /// A batch that was to be committed together with others, whose commit failed.
    #[error(
        "{}: the change was not made, because the write-ahead log could not be written{}",
        dir.display(),
        if *poisoned { " or undone: open the index again to see" } else { "" }
    )]
    CommitFailed {
        /// The directory.
        dir: PathBuf,
        /// Whether the change may nevertheless be there.
        poisoned: bool,
    },
    /// Another process has replaced the index under a writer.
    #[error("{} was changed by another writer: nothing was published; open the index again to go on", dir.display())]
    Fenced {
        /// The directory.
        dir: PathBuf,
    },
    /// A file of an index in a format version that this program does not read.
    #[error(
        "{} has format version {found}, this program reads up to version {supported}: {}",
        path.display(),
        if found > supported { "update the program" } else { "read it with an older program, and export its items" }
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The version of the file.
        found: u32,
        /// The newest version that this program reads.
        supported: u32,
    },
    /// A file of an index that needs a feature of the format that this program does not know.
    #[error(
        "{} was written by a newer version and needs features that this program does not know \
         (bits {unknown:#x}): update the program",
        path.display()
    )]
    Features {
        /// The file.
        path: PathBuf,
        /// The feature bits that are not known.
        unknown: u32,
    },
    /// A k-NN search with k = 0.
    #[error("k is 0: ask for at least one neighbour")]
    ZeroK,
    /// A query whose length in bytes is not that of the codes of the index.
    #[error(
        "the query has {found} bytes, codes of {bits} bits have {expected}: encode it with the index's model"
    )]
    QueryBytes {
        /// Length of a code in bits.
        bits: u32,
        /// Bytes expected.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// A query that has bits set beyond the length of a code.
    #[error("the query has bits set beyond bit {bits}: unused bits must be zero")]
    QueryPadding {
        /// Length of a code in bits.
        bits: u32,
    },
    /// Queries whose length in bits is not that of the codes of the index.
    #[error("the queries have {found} bits, the index {expected}: encode them with its model")]
    QueryBits {
        /// Bits of the index.
        expected: u32,
        /// Bits of the queries.
        found: u32,
    },
    /// Queries that another model encoded than the codes of the index.
    #[error(
        "the queries were encoded by model {found}, the index by model {expected}: encode them with the index's model, or build the index from this model's codes"
    )]
    OtherModel {
        /// SHA-256 of the index's model.
        expected: String,
        /// SHA-256 of the queries' model.
        found: String,
    },
    /// Codes of another length or another model than those to which they are added or with which they are paired.
    #[error("codes of {found} do not go with codes of {expected}: encode all with one model")]
    UnlikeCodes {
        /// Of the codes that are there: "16 bits", or "model" and its SHA-256.
        expected: String,
        /// The same of the other codes.
        found: String,
    },
    /// `DHIH_ISA` names an instruction set that this machine does not have.
    #[error("DHIH_ISA={name} is not available here: use one of {available}, or unset it")]
    Isa {
        /// The value.
        name: String,
        /// What this machine has.
        available: String,
    },
}
