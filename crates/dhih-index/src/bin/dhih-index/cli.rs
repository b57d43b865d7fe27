//! The commands and flags of the command line, and their help. What the commands do: `cmd/`.

mod pairs;
mod rescoring;
mod residence;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use dhih_index::{CodesFormat, Shard};
use dhih_manual::{Manual, parse_threads};

use crate::values::{bytes, positive};
pub(crate) use pairs::PairsArgs;
pub(crate) use rescoring::{RescoringArgs, StoredAs};
pub(crate) use residence::ResidenceArgs;

/// Exact Hamming search over binary codes.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// Number of threads that compute [default: one for each core]
    #[arg(long, global = true, env = "DHIH_THREADS", value_name = "N", value_parser = parse_threads)]
    pub(crate) threads: Option<NonZeroUsize>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The definition of the command line, as this build has it.
pub(crate) fn command() -> clap::Command {
    let command = Cli::command();
    if cfg!(feature = "parquet") {
        return command;
    }
    dhih_manual::Absent { words: &[".parquet", "Parquet"] }.mark(command)
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build an index of a codes file, and replace the index that is there
    #[command(after_help = "Examples:\n  dhih-index build                        \
        the last run's codes, into runs/latest/index\n  \
        dhih-index build --codes codes.npy --bits 64 --out idx\n  \
        dhih-index build --codes parts --shard 3/16 --out shards\n  \
        dhih-index build --codes codes.safetensors --vectors v.npy --as int8 --out idx\n  \
        dhih-index build --codes codes.npy --bits 64 --out idx --memory 2GiB\n  \
        dhih-index build --codes hashes.hex --bits 256 --out idx --for-radius 31")]
    Build(BuildArgs),
    /// Find the nearest codes, or all codes within a radius
    #[command(after_help = "Examples:\n  \
        dhih-index search --queries runs/latest/queries.safetensors -k 10\n  \
        dhih-index search --index idx --code 00ff00ff00ff00ff --radius 8 --json\n  \
        dhih-index search --index idx --queries q.safetensors --query-vectors q.npy -k 10 --rescore 100")]
    Search(SearchArgs),
    /// Find all pairs of items within a radius, or groups of them
    #[command(
        after_help = "Examples:\n  dhih-index pairs --index idx --radius 3 --out pairs.parquet\n  \
        dhih-index pairs --index idx --radius 31 --group stars --out groups.csv\n  \
        dhih-index pairs --index training --against test --radius 3 --out leaks.jsonl\n\n\
        A pair is a row `first`, `second`, `distance`, by ascending ids; with --against, `first` is of INDEX. A group is a row \
        for each of its items: `group`, `id`, `kept`, `distance` to the kept item, `diameter` of the group."
    )]
    Pairs(PairsArgs),
    /// Add the codes of a file
    #[command(after_help = "Example:\n  dhih-index add --index idx --codes more.safetensors")]
    Add(AddArgs),
    /// Add the codes of a file, or replace the items that have the same ids
    #[command(after_help = "Example:\n  dhih-index upsert --index idx --codes more.safetensors")]
    Upsert(AddArgs),
    /// Remove items
    #[command(after_help = "Examples:\n  dhih-index remove --index idx --ids 17,42\n  \
        dhih-index remove --index idx --ids-file ids.txt")]
    Remove(RemoveArgs),
    /// Do the merging that is due: turn a long log into a segment, merge small segments, rewrite those with many removed items
    #[command(after_help = "Example:\n  dhih-index merge --index idx --memory 2GiB")]
    Merge(MergeArgs),
    /// Merge the log and all segments into one segment, without the removed items
    #[command(after_help = "Example:\n  dhih-index compact --index idx")]
    Compact(IndexArgs),
    /// Write all items to a codes file
    #[command(
        after_help = "Examples:\n  dhih-index export --index idx --out codes.safetensors\n  \
        dhih-index export --index idx --format parquet --out codes.parquet"
    )]
    Export(ExportArgs),
    /// Copy the index as it is now, while it may be changed: a backup that is an index of its own
    #[command(after_help = "Example:\n  dhih-index checkpoint --index idx --out backup")]
    Checkpoint(CheckpointArgs),
    /// Repair a damaged index: leave out what is damaged in the log, rebuild damaged tables, and say what is lost
    #[command(after_help = "Examples:\n  dhih-index salvage --index idx --dry-run\n  \
        dhih-index salvage --index idx")]
    Salvage(SalvageArgs),
    /// Measure searches: as planned, by scanning, and in batches
    #[command(after_help = "Example:\n  dhih-index bench --index idx --queries q.npy -k 10")]
    Bench(BenchArgs),
    /// Show what an index holds
    #[command(after_help = "Example:\n  dhih-index inspect --index runs/latest/index")]
    Inspect(IndexArgs),
    /// Check every byte of an index
    #[command(after_help = "Example:\n  dhih-index verify --index runs/latest/index")]
    Verify(IndexArgs),
    #[command(flatten)]
    Manual(Manual),
}

#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// Codes file (.safetensors, .npy, .parquet, or .hex and .txt: a code a line in hexadecimal), or a folder of files part-* [default:
    /// runs/latest/codes.safetensors]
    #[arg(long, env = "DHIH_CODES", value_name = "PATH")]
    pub(crate) codes: Option<PathBuf>,
    /// Length of a code in bits; needed where the file does not record it: .npy, and Parquet of other programs
    #[arg(long, env = "DHIH_BUILD_BITS", value_name = "K")]
    pub(crate) bits: Option<u32>,
    /// Index directory [default: `index` beside the codes file]
    #[arg(long, env = "DHIH_BUILD_OUT", value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Index only part I of N of the codes, I from 1 to N, in a directory of its own within OUT
    #[arg(long, env = "DHIH_BUILD_SHARD", value_name = "I/N")]
    pub(crate) shard: Option<Shard>,
    /// Keep the vectors that the codes were made of, to rescore with: an .npy array of floats, or a .parquet file with a column of lists of them, a row for each code
    #[arg(long, env = "DHIH_VECTORS", value_name = "FILE", conflicts_with = "shard")]
    pub(crate) vectors: Option<PathBuf>,
    /// Keep the numbers of vectors in this way [default: as the file has them]
    #[arg(
        id = "as",
        long = "as",
        env = "DHIH_BUILD_AS",
        value_name = "TYPE",
        value_enum,
        requires = "vectors"
    )]
    pub(crate) stored_as: Option<StoredAs>,
    /// Build for searches of all codes within R bits: with as many tables as make these cheapest
    #[arg(long, env = "DHIH_FOR_RADIUS", value_name = "R", conflicts_with_all = ["for_k", "substrings"])]
    pub(crate) for_radius: Option<u32>,
    /// Build for searches of the K nearest: with as many tables as make these cheapest
    #[arg(long, env = "DHIH_FOR_K", value_name = "K", value_parser = positive, conflicts_with = "substrings")]
    pub(crate) for_k: Option<usize>,
    /// Number of substrings, each with a table [default: chosen from the codes]
    #[arg(long, env = "DHIH_SUBSTRINGS", value_name = "M")]
    pub(crate) substrings: Option<u32>,
    /// Memory that the build may take, as in 2GiB, 500MB or plain bytes; what does not fit is sorted on disk, in OUT [default:
    /// three quarters of what the machine has available]
    #[arg(long, env = "DHIH_MEMORY", value_name = "SIZE", value_parser = bytes)]
    pub(crate) memory: Option<u64>,
    /// Print what was built as one JSON object
    #[arg(long, env = "DHIH_JSON", value_parser = FalseyValueParser::new())]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    /// Index directory
    #[arg(long, env = "DHIH_INDEX", value_name = "DIR", default_value = "runs/latest/index")]
    pub(crate) index: PathBuf,
    #[command(flatten)]
    pub(crate) query: QueryArgs,
    #[command(flatten)]
    pub(crate) bound: SearchBoundArgs,
    #[command(flatten)]
    pub(crate) rescoring: RescoringArgs,
    /// Stop each search after so many microseconds, and say how far its answer is certain
    #[arg(long, env = "DHIH_BUDGET_US", value_name = "N", conflicts_with = "radius")]
    pub(crate) budget_us: Option<u64>,
    /// Write the hits to a safetensors file instead of printing a table
    #[arg(long, env = "DHIH_SEARCH_OUT", value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Search only items of this class, by name or number; repeatable
    #[arg(long, env = "DHIH_LABEL", value_name = "L", allow_negative_numbers = true)]
    pub(crate) label: Vec<String>,
    /// Search only these items
    #[arg(long, env = "DHIH_SEARCH_IDS", value_name = "IDS", value_delimiter = ',')]
    pub(crate) ids: Vec<u64>,
    /// Print on stderr what each search did, and why: buckets, candidates, codes scanned, and the costs that were compared
    #[arg(long, env = "DHIH_EXPLAIN", value_parser = FalseyValueParser::new(),
        conflicts_with_all = ["label", "ids", "rescore", "budget_us"])]
    pub(crate) explain: bool,
    #[command(flatten)]
    pub(crate) residence: ResidenceArgs,
    /// Print one JSON object for each query
    #[arg(long, env = "DHIH_JSON", value_parser = FalseyValueParser::new())]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    pub(crate) on: IndexArgs,
    /// A codes file of queries (.safetensors, .npy, .parquet or .hex) [default: `queries.safetensors` beside the index]
    #[arg(long, env = "DHIH_QUERIES", value_name = "FILE")]
    pub(crate) queries: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) bound: SearchBoundArgs,
    #[command(flatten)]
    pub(crate) residence: ResidenceArgs,
    /// Number of times that all queries are searched
    #[arg(long, env = "DHIH_ROUNDS", value_name = "N", default_value_t = 3, value_parser = positive)]
    pub(crate) rounds: usize,
}

/// The queries: one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct QueryArgs {
    /// One query in hexadecimal, first byte first
    #[arg(long, env = "DHIH_CODE", value_name = "HEX")]
    pub(crate) code: Option<String>,
    /// A codes file of queries (.safetensors, .npy, .parquet or .hex)
    #[arg(long, env = "DHIH_QUERIES", value_name = "FILE")]
    pub(crate) queries: Option<PathBuf>,
}

/// How far a search goes: one of these.
#[derive(Debug, Clone, Copy, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct SearchBoundArgs {
    /// Find the N nearest
    #[arg(short, env = "DHIH_K", value_name = "N", value_parser = positive)]
    k: Option<usize>,
    /// Find all within R bits
    #[arg(long, env = "DHIH_RADIUS", value_name = "R")]
    radius: Option<u32>,
}

/// How far a search goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SearchBound {
    Nearest { k: usize },
    Within { radius: u32 },
}

impl SearchBoundArgs {
    pub(crate) fn bound(self) -> SearchBound {
        match self.k {
            Some(k) => SearchBound::Nearest { k },
            // The group demands one of the two flags.
            None => SearchBound::Within { radius: self.radius.unwrap_or(0) },
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    #[command(flatten)]
    pub(crate) on: IndexArgs,
    /// Codes file (.safetensors, .npy, .parquet or .hex); items without ids are numbered after the greatest id of the index
    #[arg(long, env = "DHIH_CODES", value_name = "FILE")]
    pub(crate) codes: PathBuf,
    /// The vectors of the codes, where the index keeps vectors: an .npy array of floats, or a .parquet file with a column of lists of them, a row for each code
    #[arg(long, env = "DHIH_VECTORS", value_name = "FILE")]
    pub(crate) vectors: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    #[command(flatten)]
    pub(crate) on: IndexArgs,
    /// Ids, separated by commas
    #[arg(
        long,
        env = "DHIH_REMOVE_IDS",
        value_name = "IDS",
        value_delimiter = ',',
        required_unless_present = "ids_file",
        conflicts_with = "ids_file"
    )]
    pub(crate) ids: Vec<u64>,
    /// A text file of ids, separated by commas, blanks or line ends
    #[arg(long, env = "DHIH_REMOVE_IDS_FILE", value_name = "FILE")]
    pub(crate) ids_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    #[command(flatten)]
    pub(crate) on: IndexArgs,
    /// Memory that a merge may take, as in 2GiB, 500MB or plain bytes; what does not fit is sorted on disk [default: 1GiB]
    #[arg(long, env = "DHIH_MEMORY", value_name = "SIZE", value_parser = bytes)]
    pub(crate) memory: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct CheckpointArgs {
    #[command(flatten)]
    pub(crate) on: IndexArgs,
    /// Directory of the checkpoint, which must not hold an index
    #[arg(long, env = "DHIH_CHECKPOINT_OUT", value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Copy the segments also where hard links are possible
    #[arg(long, env = "DHIH_COPY", value_parser = FalseyValueParser::new())]
    pub(crate) copy: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SalvageArgs {
    #[command(flatten)]
    pub(crate) on: IndexArgs,
    /// Tell what would be saved and lost, and change nothing
    #[arg(long, env = "DHIH_DRY_RUN", value_parser = FalseyValueParser::new())]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(crate) on: IndexArgs,
    /// Codes file to write
    #[arg(long, env = "DHIH_INDEX_EXPORT_OUT", value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Format of the file; npy and hex hold the codes alone [default: the one that OUT's extension names, else safetensors]
    #[arg(long, env = "DHIH_FORMAT", value_enum)]
    pub(crate) format: Option<Format>,
    /// Write the vectors, too, to an .npy file, a row for each code
    #[arg(long, env = "DHIH_VECTORS", value_name = "FILE")]
    pub(crate) vectors: Option<PathBuf>,
}

/// The formats of codes files.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Format {
    Safetensors,
    #[cfg_attr(not(feature = "parquet"), value(hide = true))]
    Parquet,
    Npy,
    Hex,
}

impl From<Format> for CodesFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Safetensors => Self::Safetensors,
            Format::Parquet => Self::Parquet,
            Format::Npy => Self::Npy,
            Format::Hex => Self::Hex,
        }
    }
}

/// The index, and how the answer is printed.
#[derive(Debug, Args)]
pub(crate) struct IndexArgs {
    /// Index directory
    #[arg(long, env = "DHIH_INDEX", value_name = "DIR", default_value = "runs/latest/index")]
    pub(crate) index: PathBuf,
    /// Print one JSON object
    #[arg(long, env = "DHIH_JSON", value_parser = FalseyValueParser::new())]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_has_an_environment_twin_and_every_command_an_example() {
        Cli::command().debug_assert();
        for command in Cli::command().get_subcommands() {
            assert!(command.get_after_help().is_some(), "{}", command.get_name());
            for arg in command.get_arguments() {
                let flag = arg.get_id().as_str();
                // Twins of flags that mean different things in different commands have the command in their name.
                let twin = arg.get_env().and_then(|env| env.to_str()).unwrap_or_default();
                let name = twin.strip_prefix("DHIH_").unwrap_or_default();
                let flag = flag.to_uppercase();
                assert!(name == flag || name.ends_with(&format!("_{flag}")), "{flag}: {twin}");
            }
        }
    }
}
