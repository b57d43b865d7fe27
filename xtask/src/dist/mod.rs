//! `cargo xtask dist`: a release. It builds the programs, packs them with manual pages, completions and licences, writes the bill of
//! materials and the checksums, and then takes all that apart again and runs it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cargo::Binaries;
use crate::console::print;
use crate::failure::Failure;
use crate::step::Step;
use crate::workspace::Workspace;
use archive::{File, Files, sha256};

mod archive;
mod bill;
mod licences;
mod linkage;
mod parts;

const EXAMPLE: &str = "Examples:
  cargo xtask dist
  SOURCE_DATE_EPOCH=0 cargo xtask dist --out release

Files have the time of the last commit, or of SOURCE_DATE_EPOCH.";

/// The programs, each the binary of the package of its name.
const PROGRAMS: [&str; 3] = ["dhih-index", "dhih-serve", "dhih-train"];

/// Files of the repository that go into the archive, under their own names.
const DOCUMENTS: [&str; 7] = [
    "CHANGELOG.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "docs/deploy/alerts.yml",
    "docs/deploy/dhih-serve.service",
    "docs/deploy/grafana.json",
];

/// The list of checksums.
const SUMS: &str = "SHA256SUMS";

/// Shells, and what completions of a program are called there.
const SHELLS: [(&str, &str, &str); 3] = [("bash", "", ""), ("fish", "", ".fish"), ("zsh", "_", "")];

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// Folder for archive, bill of materials and checksums
    #[arg(long, env = "DHIH_OUT", value_name = "DIR", default_value = "dist")]
    out: PathBuf,
    /// Pack the programs in this folder, linked as this command links them, instead of building them
    #[arg(long, env = "DHIH_BIN_DIR", value_name = "DIR")]
    bin_dir: Option<PathBuf>,
}

/// A program of the release.
#[derive(Debug)]
struct Program {
    package: String,
    path: PathBuf,
    sha256: String,
}

/// Builds, packs and checks; the first step that fails ends it.
pub(crate) fn run(args: &Args, workspace: &Workspace) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let epoch = epoch(workspace)?;
    let (target, rust) = linkage::compiler(workspace)?;
    let programs = programs(args, &target, workspace)?;
    let parts = parts::parts(&PROGRAMS, &target, workspace)?;
    let runtimes = linkage::runtimes(&target, &rust, workspace)?;
    let top = format!("dhih-{version}-{target}");

    let mut files = documents(workspace)?;
    let licences = licences::licences(&parts, &runtimes)?.into_bytes();
    files
        .insert("LICENSES-THIRD-PARTY.txt".to_owned(), File { bytes: licences, executable: false });
    for program in &programs {
        files.insert(
            file_name(&program.package),
            File { bytes: read(&program.path)?, executable: true },
        );
        files.extend(manual(program, workspace)?);
    }
    let contents = bill::Contents {
        version,
        target: &target,
        epoch,
        programs: &programs,
        parts: &parts,
        runtimes: &runtimes,
    };
    let made = [
        (format!("{top}.cdx.json"), bill::bill(&contents).into_bytes()),
        (format!("{top}.tar.gz"), archive::packed(&files, &top, epoch)?),
    ];
    let out = workspace.root().join(&args.out);
    let cannot = || format!("cannot write to {}", out.display());
    fs::create_dir_all(&out).with_context(cannot)?;
    // Nothing has its name before it was checked.
    let staged = tempfile::tempdir_in(&out).with_context(cannot)?;
    let sums: String =
        made.iter().map(|(name, bytes)| format!("{}  {name}\n", sha256(bytes))).collect();
    let made = made.into_iter().chain([(SUMS.to_owned(), sums.into_bytes())]);
    let mut names = Vec::new();
    for (name, bytes) in made {
        fs::write(staged.path().join(&name), &bytes).with_context(cannot)?;
        names.push((name, bytes.len()));
    }
    check(staged.path(), &top, version)?;
    for (name, bytes) in names {
        let path = out.join(&name);
        fs::rename(staged.path().join(&name), &path).with_context(cannot)?;
        print(&format!("{:>8} KiB  {}", bytes.div_ceil(1024), workspace.show(&path)))?;
    }
    Ok(())
}

/// The time of all files: that of SOURCE_DATE_EPOCH, else of the last commit. Says so where the sources are not that commit's.
fn epoch(workspace: &Workspace) -> Result<u64> {
    if let Ok(given) = std::env::var("SOURCE_DATE_EPOCH") {
        let wrong = |_| {
            let message =
                format!("SOURCE_DATE_EPOCH={given}: give seconds since 1970, a whole number");
            Failure::usage(message).into()
        };
        return given.parse().map_err(wrong);
    }
    let git = |args: &[&str]| {
        Step::new("ask git", "git".as_ref(), workspace).args(args.iter().copied()).capture()
    };
    let told = git(&["log", "-1", "--format=%ct"])
        .context("no commit tells the time of the release: set SOURCE_DATE_EPOCH")?;
    if !git(&["status", "--porcelain"])?.is_empty() {
        eprintln!("note: there are changes that are not committed; a release is made of a commit");
    }
    told.trim().parse().with_context(|| format!("git printed {told:?} as a time"))
}

/// The programs: those in the folder given, else built for release and seen to be linked as they should.
fn programs(args: &Args, target: &str, workspace: &Workspace) -> Result<Vec<Program>> {
    let given = args
        .bin_dir
        .as_deref()
        .map(|folder| Binaries::in_directory(&workspace.root().join(folder), &PROGRAMS));
    let program = |package: &str| {
        let path = match &given {
            Some(binaries) => binaries.get(package)?.to_path_buf(),
            None => {
                let path = built(package, target, workspace)?;
                linkage::check(&path, target)?;
                path
            }
        };
        let sha256 = sha256(&read(&path)?);
        Ok(Program { package: package.to_owned(), path, sha256 })
    };
    PROGRAMS.into_iter().map(program).collect()
}

/// What the file of a program is called on this system.
fn file_name(program: &str) -> String {
    format!("{program}{}", std::env::consts::EXE_SUFFIX)
}

fn built(package: &str, target: &str, workspace: &Workspace) -> Result<PathBuf> {
    let step = Step::cargo("build", workspace)
        .args(["rustc", "--release", "--locked", "--message-format=json-render-diagnostics"])
        .args(["--package", package, "--bin", package])
        .args(linkage::flags(target).iter().copied());
    print(&format!("$ {}", step.command_line()))?;
    Ok(Binaries::of_messages(&step.capture()?).get(package)?.to_path_buf())
}

fn documents(workspace: &Workspace) -> Result<Files> {
    let document = |path: &str| {
        let bytes = read(&workspace.root().join(path))?;
        let name = path.rsplit('/').next().unwrap_or(path);
        Ok((name.to_owned(), File { bytes, executable: false }))
    };
    DOCUMENTS.into_iter().map(document).collect()
}

/// Manual pages and completions, as the program itself writes them.
fn manual(program: &Program, workspace: &Workspace) -> Result<Files> {
    let name = &program.package;
    let file = |bytes| File { bytes, executable: false };
    let mut files = Files::new();
    for (shell, before, after) in SHELLS {
        let step = Step::new("write completions", &program.path, workspace);
        let script = step.args(["completions", shell]).capture()?;
        if !script.contains(name) {
            bail!("`{name} completions {shell}` prints nothing of {name}");
        }
        files.insert(format!("completions/{shell}/{before}{name}{after}"), file(script.into()));
    }
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let pages = Step::new("write manual pages", &program.path, workspace);
    pages.args(["man".as_ref(), "--out".as_ref(), folder.path().as_os_str()]).capture()?;
    let entries = fs::read_dir(folder.path()).context("cannot list a temporary folder")?;
    for entry in entries {
        let path = entry.context("cannot list a temporary folder")?.path();
        let page = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.insert(format!("man/man1/{page}"), file(read(&path)?));
    }
    if !files.contains_key(&format!("man/man1/{name}.1")) {
        bail!("`{name} man --out DIR` writes no page {name}.1");
    }
    Ok(files)
}

/// Takes what lies in `made` apart: checksums, the archive, and each program's own word for its version.
fn check(made: &Path, top: &str, version: &str) -> Result<()> {
    archive::verify(&made.join(SUMS))?;
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    archive::unpack(&made.join(format!("{top}.tar.gz")), folder.path())?;
    for name in PROGRAMS {
        let path = folder.path().join(top).join(file_name(name));
        let output = Command::new(&path).arg("--version").env_clear().output();
        let output = output.with_context(|| format!("the packed {name} cannot start"))?;
        let told = String::from_utf8_lossy(&output.stdout);
        let expected = format!("{name} {version}");
        if !output.status.success() || told.trim() != expected {
            bail!("the packed {name} says {:?}, expected {expected:?}", told.trim());
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
