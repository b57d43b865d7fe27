//! `dhih-train dedup`: duplicates among the pictures of a folder, or pictures that two folders share, for a person to review.
//! `dhih_train::dedup` finds them.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};
use dhih_index::Linkage;
use dhih_model::Encoder;
use dhih_model::image::{FORMATS, PictureReader};
use dhih_model::walk::{self, LeftOut, Walk, text_of};
use dhih_train::dedup::{self, DedupConfig, Duplicates, Hasher, Keep, Picture, Review};
use dhih_train::output::check_outputs_together;
use dhih_train::{Progress, RunDir, device, files};
use serde_json::json;

use super::pictures::{LimitArgs, tell_left_out};

/// Flags of `dedup`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  dhih-train dedup photos --out review.html\n  \
    dhih-train dedup photos --hash dhash --radius 4 --symmetries --keep earliest --out review.html\n  \
    dhih-train dedup train --against test --out leaks.html\n  \
    dhih-train dedup photos --hash runs/latest --radius 2 --group complete --out review.html\n\n\
    Nothing is deleted. OUT is a page to look at; the list has a path a line, in which bytes that are no UTF-8 and control \
    characters are written \\xFF, and a backslash \\\\.")]
pub(crate) struct DedupArgs {
    /// Folder that is searched for images at any depth, by content; hidden names are left out
    #[arg(value_name = "FOLDER", env = "DHIH_FOLDER")]
    folder: PathBuf,
    /// What makes codes of pictures: pdq (256 bits), dhash (64 bits), or the directory of a run, whose network also finds pictures of similar
    /// content
    #[arg(long, env = "DHIH_HASH", value_name = "HASH", default_value = "pdq")]
    hash: PathBuf,
    /// Take pictures for duplicates whose codes differ in at most R bits [default: 31 for pdq, 5 for dhash]
    #[arg(long, env = "DHIH_RADIUS", value_name = "R")]
    radius: Option<u32>,
    /// When duplicates are one group
    #[arg(long, env = "DHIH_GROUP", value_name = "LINKAGE", value_enum, default_value = "stars")]
    group: GroupBy,
    /// Which picture of a group is kept
    #[arg(long, env = "DHIH_KEEP", value_name = "RULE", value_enum, default_value = "largest")]
    keep: KeepBy,
    /// Take a picture for a duplicate, too, where it is turned by quarters or mirrored; for pdq and dhash
    #[arg(long, env = "DHIH_SYMMETRIES", value_parser = FalseyValueParser::new())]
    symmetries: bool,
    /// Leave out pictures whose PDQ quality is lower than this, 0 to 100; PDQ's own programs leave out those below 50
    #[arg(long, env = "DHIH_MIN_QUALITY", value_name = "Q", default_value_t = 0,
        value_parser = clap::value_parser!(u32).range(0..=100))]
    min_quality: u32,
    /// Find the pictures of FOLDER that this folder has, too, such as training pictures in a test set; these are listed, and all of this
    /// folder are kept
    #[arg(long, env = "DHIH_DEDUP_AGAINST", value_name = "FOLDER", conflicts_with_all = ["group", "keep"])]
    against: Option<PathBuf>,
    /// Page to write, one file of HTML
    #[arg(long, env = "DHIH_DEDUP_OUT", value_name = "FILE")]
    out: PathBuf,
    /// List to write of the pictures that are not kept [default: OUT with the ending .delete.txt]
    #[arg(long, env = "DHIH_LIST", value_name = "FILE")]
    list: Option<PathBuf>,
    /// The most groups on the page, which grows by about 5 kB a picture; the list has all
    #[arg(long, env = "DHIH_SHOW", value_name = "N", default_value_t = 1000)]
    show: usize,
    /// Refuse, before anything is hashed, folders in which a file, folder or link cannot be used; without it they are passed over and listed
    #[arg(long, env = "DHIH_STRICT", value_parser = FalseyValueParser::new())]
    strict: bool,
    #[command(flatten)]
    limits: LimitArgs,
    /// Device of a run's network: auto, cpu or cuda:N
    #[arg(long, env = "DHIH_DEVICE", value_name = "DEVICE", default_value = "auto")]
    device: String,
    /// Print one JSON object on stdout, and nothing else there
    #[arg(long, env = "DHIH_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

impl DedupArgs {
    /// The list of the pictures that are not kept.
    fn list(&self) -> PathBuf {
        self.list.clone().unwrap_or_else(|| self.out.with_extension("delete.txt"))
    }
}

/// When duplicates are one group.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum GroupBy {
    /// The kept picture and those within the radius of it
    Stars,
    /// Pictures that a chain of duplicates connects; its ends may be unlike
    Components,
    /// Pictures that are all within the radius of each other
    Complete,
}

/// Which picture of a group is kept.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum KeepBy {
    /// The first one by its path
    First,
    /// The one with the most pixels; among those, the one with the longest file
    Largest,
    /// The one whose file was changed first
    Earliest,
}

/// The pictures of a folder.
struct Folder {
    pictures: Vec<Picture>,
    files: usize,
    /// The number of pictures whose quality is too low.
    low_quality: usize,
}

/// Finds duplicates and reports.
pub(crate) fn run(args: &DedupArgs) -> Result<()> {
    let start = Instant::now();
    let list = args.list();
    check_outputs_together(&[&args.out, &list], [])?;
    let hasher = hasher(args)?;
    let radius = match (&hasher, args.radius) {
        (_, Some(radius)) => radius,
        (Hasher::Pdq, None) => 31,
        (Hasher::Dhash, None) => 5,
        (Hasher::Network(_), None) => {
            bail!(
                "--hash {} needs --radius: what is near depends on the network",
                args.hash.display()
            )
        }
    };
    if radius >= hasher.bits() {
        let bits = hasher.bits();
        bail!("--radius is {radius}, expected less than {bits}, the length of a code in bits");
    }
    let reader = args.limits.reader();
    let mut left_out = LeftOut::default();
    let mut folder = |path: &Path| read_folder(path, &hasher, &reader, args, &mut left_out);
    let mut pictures = folder(&args.folder)?;
    let against = args.against.as_deref().map(&mut folder).transpose()?;
    if let Some(against) = &against {
        leave_out_kept(args, &mut pictures, against)?;
    }
    tell_left_out(&left_out);
    if args.strict {
        // Only now it is known which pictures are broken behind their first bytes.
        left_out.refuse_faults()?;
    }
    let config = DedupConfig {
        bits: hasher.bits(),
        radius,
        linkage: linkage(args.group),
        keep: keep(args.keep),
        symmetries: args.symmetries,
    };
    let others = against.as_ref().map(|folder| &folder.pictures[..]);
    let duplicates = dedup::find(&pictures.pictures, others, &config)?;
    let outcome = Outcome {
        args,
        radius,
        pictures: &pictures,
        against: against.as_ref(),
        duplicates: &duplicates,
    };
    outcome.write(&list, &reader)?;
    outcome.report(&list, &left_out, start.elapsed().as_secs_f64())
}

fn linkage(group: GroupBy) -> Linkage {
    match group {
        GroupBy::Stars => Linkage::Stars,
        GroupBy::Components => Linkage::Components,
        GroupBy::Complete => Linkage::Complete,
    }
}

fn keep(keep: KeepBy) -> Keep {
    match keep {
        KeepBy::First => Keep::First,
        KeepBy::Largest => Keep::Largest,
        KeepBy::Earliest => Keep::Earliest,
    }
}

fn hasher(args: &DedupArgs) -> Result<Hasher> {
    let hasher = match args.hash.to_str() {
        Some("pdq") => Hasher::Pdq,
        Some("dhash") => Hasher::Dhash,
        _ => {
            let device = device(&args.device, Progress::Shown)?;
            let model = args.hash.join(RunDir::MODEL);
            let about =
                || format!("--hash {} is neither pdq nor dhash nor a run", args.hash.display());
            Hasher::Network(Box::new(Encoder::load(&model, &device).with_context(about)?))
        }
    };
    let is_network = matches!(hasher, Hasher::Network(_));
    if args.symmetries && is_network {
        bail!("--symmetries is for pdq and dhash: a network sees turned pictures in its own way");
    }
    if args.min_quality > 0 && !matches!(hasher, Hasher::Pdq) {
        bail!("--min-quality is for pdq: other hashes tell no quality");
    }
    Ok(hasher)
}

/// Walks a folder and hashes its pictures.
fn read_folder(
    path: &Path,
    hasher: &Hasher,
    reader: &PictureReader,
    args: &DedupArgs,
    left_out: &mut LeftOut,
) -> Result<Folder> {
    let walk = Walk::pictures(path).with_context(|| format!("cannot read {}", path.display()))?;
    left_out.append(walk.left_out);
    if args.strict {
        left_out.refuse_faults_and(&walk.files)?;
    }
    let (list, out) = (args.list(), &*args.out);
    let outputs = [out, &*list];
    // Of many pictures, only those that may be an output are looked up on the disk.
    let has_its_name =
        |file: &&PathBuf| outputs.iter().any(|out| out.file_name() == file.file_name());
    check_outputs_together(&outputs, walk.files.iter().filter(has_its_name).map(|file| &**file))?;
    let files = walk.files.len();
    let mut pictures = dedup::hash_pictures(
        hasher,
        &walk.files,
        reader,
        args.symmetries,
        left_out,
        Progress::Shown,
    )?;
    if pictures.is_empty() {
        tell_left_out(left_out);
        bail!(
            "no usable picture among {files} files in {}; give a folder of {FORMATS} images",
            path.display()
        );
    }
    let all = pictures.len();
    pictures.retain(|picture| picture.quality.is_none_or(|quality| quality >= args.min_quality));
    Ok(Folder { low_quality: all - pictures.len(), pictures, files })
}

/// Leaves out pictures that are also in the other folder, where they are kept: of the same folder, or of one that has the other in it.
fn leave_out_kept(args: &DedupArgs, folder: &mut Folder, against: &Folder) -> Result<()> {
    let all = folder.pictures.len();
    dedup::retain_others(&mut folder.pictures, &against.pictures);
    let count = all - folder.pictures.len();
    let [name, other] = [&args.folder, args.against.as_ref().unwrap_or(&args.folder)];
    if folder.pictures.is_empty() {
        bail!(
            "{} has no picture that is not in {}, which is kept whole; leave out --against to find duplicates in one folder",
            name.display(),
            other.display()
        );
    }
    if count > 0 {
        let (name, other) = (name.display(), other.display());
        Progress::Shown.line(format!("{count} pictures of {name} are those of {other}, and kept"));
    }
    Ok(())
}

/// The result, and what it was computed from.
struct Outcome<'a> {
    args: &'a DedupArgs,
    radius: u32,
    pictures: &'a Folder,
    against: Option<&'a Folder>,
    duplicates: &'a Duplicates,
}

impl Outcome<'_> {
    fn low_quality(&self) -> usize {
        self.pictures.low_quality + self.against.map_or(0, |folder| folder.low_quality)
    }

    fn largest_diameter(&self) -> u32 {
        self.duplicates.groups.iter().map(|group| group.diameter).max().unwrap_or(0)
    }

    /// Writes the page and the list.
    fn write(&self, list: &Path, reader: &PictureReader) -> Result<()> {
        let args = self.args;
        let doomed = self.duplicates.doomed.iter().map(|&at| &self.pictures.pictures[at]);
        let text: String = doomed.map(|picture| text_of(picture.path.as_os_str()) + "\n").collect();
        let folder = text_of(args.folder.as_os_str());
        let mut facts = vec![
            ("folder", folder.clone()),
            ("pictures", self.pictures.pictures.len().to_string()),
            ("hash", text_of(args.hash.as_os_str())),
            ("radius", format!("{} bits", self.radius)),
        ];
        if args.symmetries {
            facts.push(("symmetries", "turned and mirrored pictures are found, too".to_owned()));
        }
        match (&args.against, self.against) {
            (Some(path), Some(against)) => {
                let text = text_of(path.as_os_str());
                facts.push(("against", format!("{text}, {} pictures", against.pictures.len())));
            }
            _ => facts.push(("groups by", name(args.group) + ", kept: " + &name(args.keep))),
        }
        if self.low_quality() > 0 {
            let (count, least) = (self.low_quality(), args.min_quality);
            facts.push(("not compared", format!("{count} pictures of quality below {least}")));
        }
        let (groups, doomed) = (self.duplicates.groups.len(), self.duplicates.doomed.len());
        facts.push(("found", format!("{groups} groups; {doomed} pictures are not kept")));
        facts.push(("largest diameter", self.largest_diameter().to_string()));
        let title = match self.against {
            Some(_) => format!("Pictures of {folder} that the other folder has, too"),
            None => format!("Duplicates in {folder}"),
        };
        let page = dedup::page(&Review {
            title: &title,
            facts: &facts,
            pictures: &self.pictures.pictures,
            kept: &self.against.unwrap_or(self.pictures).pictures,
            duplicates: self.duplicates,
            most_groups: args.show,
            reader,
        });
        Ok(files::write_together(&[(list, text.as_bytes()), (&args.out, page.as_bytes())])?)
    }

    fn report(&self, list: &Path, left_out: &LeftOut, seconds: f64) -> Result<()> {
        let Self { args, radius, duplicates, .. } = self;
        let (groups, doomed) = (duplicates.groups.len(), duplicates.doomed.len());
        let pictures = self.pictures.pictures.len();
        let largest =
            duplicates.groups.iter().map(|group| 1 + group.others.len()).max().unwrap_or(0);
        if args.json {
            let skipped = left_out.faults().iter().map(|walk::Entry { path, reason }| {
                json!({"file": text_of(path.as_os_str()), "reason": reason.to_string()})
            });
            return super::print_json(&json!({
                "folder": text_of(args.folder.as_os_str()),
                "files": self.pictures.files,
                "pictures": pictures,
                "against": self.against.map(|folder| folder.pictures.len()),
                "hash": text_of(args.hash.as_os_str()),
                "radius": radius,
                "groups": groups,
                "beside_kept": doomed,
                "largest_group": largest,
                "largest_diameter": self.largest_diameter(),
                "low_quality": self.low_quality(),
                "out": text_of(args.out.as_os_str()),
                "list": text_of(list.as_os_str()),
                "skipped": skipped.collect::<Vec<_>>(),
                "left_out": left_out,
            }));
        }
        if self.low_quality() > 0 {
            Progress::Shown.line(format!(
                "{} pictures of quality below {} were not compared",
                self.low_quality(),
                args.min_quality
            ));
        }
        if groups > args.show {
            Progress::Shown.line(format!(
                "the page shows {} of {groups} groups; --show shows more",
                args.show
            ));
        }
        super::print(&format!(
            "{groups} groups of copies within {radius} bits among {pictures} pictures; no two of a group differ in more than {} bits; \
             {seconds:.1} s\nlook at them in {}; {} lists {doomed} pictures for deletion\n",
            self.largest_diameter(),
            args.out.display(),
            list.display()
        ))
    }
}

/// The name of a value of a flag.
fn name(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
