//! `cargo xtask test-web`: the search page in a real browser. It makes a small run, serves it, and hands the address to
//! `xtask/web/test.mjs`, which knows what to click; what the page must do stands there.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Child;

use anyhow::{Context, Result, bail};

use crate::cargo::Binaries;
use crate::console::print;
use crate::step::Step;
use crate::text_tower;
use crate::workspace::{Workspace, absolute};

const EXAMPLE: &str = "Examples:
  cargo xtask test-web
  CHROMIUM=/usr/bin/google-chrome cargo xtask test-web --shots target/shots

Needs node 20 or newer, npm and Chromium; the first time npm downloads playwright-core.";

const BINARIES: [&str; 3] = ["dhih-train", "dhih-index", "dhih-serve"];

/// What drives the browser. The version is fixed, so that a check fails for the page's sake alone.
const DRIVER: &str = "playwright-core@1.65.1";

/// Code length of the run.
const BITS: usize = 48;

/// Keys of a service that asks for some.
const READ_KEY: &str = "web-test-read-key";
const ADMIN_KEY: &str = "web-test-admin-key";

/// Where npm installs it, relative to the root of the workspace.
const MODULES: &str = "target/web-test";

/// The TypeScript client, and where it is compiled, relative to the root of the workspace.
const CLIENT: &str = "clients/typescript";
const CLIENT_MADE: &str = "target/typescript-client";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// Also leave pictures of the page in this directory
    #[arg(long, env = "DHIH_SHOTS", value_name = "DIR")]
    shots: Option<PathBuf>,
    /// Use the binaries in this directory instead of building them
    #[arg(long, env = "DHIH_BIN_DIR", value_name = "DIR")]
    bin_dir: Option<PathBuf>,
}

/// Makes a run, serves it without keys and with them, indexes without a run, and both as collections, runs every check, and tries the TypeScript client; the first that fails ends it.
pub(crate) fn run(args: &Args, workspace: &Workspace) -> Result<()> {
    let chromium =
        env::var_os("CHROMIUM").map_or_else(|| PathBuf::from("/usr/bin/chromium"), PathBuf::from);
    require(&[Path::new("node"), Path::new("npm"), &chromium], workspace)?;
    let packages = ["-p", BINARIES[0], "-p", BINARIES[1], "-p", BINARIES[2]];
    let binaries = match &args.bin_dir {
        Some(directory) => Binaries::in_directory(&absolute(directory)?, &BINARIES),
        None => Binaries::build(workspace, &packages)?,
    };
    install(workspace)?;
    let target = workspace.root().join("target");
    let directory = tempfile::Builder::new().prefix("web-test-run-").tempdir_in(&target);
    let directory = directory.with_context(|| format!("cannot write to {}", target.display()))?;
    let collections = directory.path().join("collections");
    let run = make_run(&collections.join("photos"), &binaries, workspace)?;
    let test = |served: &Served, shots: &str, flags: &[&str]| {
        let step = Step::new("test the page", "node".as_ref(), workspace)
            .args(["xtask/web/test.mjs", &served.url, "--modules", MODULES])
            .args(flags.iter().copied());
        match &args.shots {
            Some(place) => show(&step.args([Path::new("--shots"), &absolute(place)?.join(shots)])),
            None => show(&step),
        }
    };
    {
        let open = Served::start(&[("--run", &run)], &binaries, &[], workspace)?;
        test(&open, "open", &["--stop-pid", &open.process.id().to_string()])?;
    }
    {
        let [codec, index] = make_vectors(directory.path(), &binaries, workspace)?;
        let what = [("--codec", &*codec), ("--index", &*index)];
        let vectors = Served::start(&what, &binaries, &[], workspace)?;
        test(&vectors, "vectors", &["--pictureless"])?;
        drop(vectors);
        // The run's own index has a catalogue by now, with pictures in it.
        let codes = collections.join("hashes");
        show(&indexing(&run.join("codes.safetensors"), &codes, &binaries, workspace)?)?;
        let codes = Served::start(&[("--index", &codes)], &binaries, &[], workspace)?;
        test(&codes, "codes", &["--pictureless"])?;
    }
    {
        let several = [("--collections", &*collections)];
        let several = Served::start(&several, &binaries, &[], workspace)?;
        test(&several, "collections", &["--collections"])?;
        test_client(&several.url, workspace)?;
    }
    // One service at a time may change an index. This one is below a path, as it is behind a proxy of several services.
    let keys =
        [("DHIH_READ_KEY", READ_KEY), ("DHIH_ADMIN_KEY", ADMIN_KEY), ("DHIH_PATH_PREFIX", "/dhih")];
    let guarded = Served::start(&[("--run", &run)], &binaries, &keys, workspace)?;
    test(&guarded, "keys", &["--read-key", READ_KEY, "--admin-key", ADMIN_KEY])
}

/// Generates the TypeScript client from the description of a service, compiles it, and tries it there, in Node.js and in a browser. Nothing is
/// written beside its sources.
fn test_client(url: &str, workspace: &Workspace) -> Result<()> {
    let (sources, made) = (workspace.root().join(CLIENT), workspace.root().join(CLIENT_MADE));
    for folder in ["src", "test"] {
        let to = made.join(folder);
        fs::create_dir_all(&to).with_context(|| format!("cannot make {}", to.display()))?;
        for file in fs::read_dir(sources.join(folder))? {
            let file = file?;
            fs::copy(file.path(), to.join(file.file_name()))?;
        }
    }
    for file in ["package.json", "tsconfig.json"] {
        fs::copy(sources.join(file), made.join(file))?;
    }
    let npm = |name: &'static str, arguments: &[&str]| {
        let step = Step::new(name, "npm".as_ref(), workspace).args(["--prefix", CLIENT_MADE]);
        show(&step.args(arguments.iter().copied()))
    };
    if !made.join("node_modules").is_dir() {
        npm("install", &["install", "--ignore-scripts", "--no-audit", "--no-fund"])?;
    }
    let description = made.join("openapi.json");
    let fetch = "fetch(process.argv[1] + 'openapi.json').then((a) => a.text()).then((text) => require('fs').writeFileSync(process.argv[2], text))";
    let fetch = Step::new("fetch the description", "node".as_ref(), workspace).args([
        Path::new("-e"),
        Path::new(fetch),
        Path::new(url),
        &description,
    ]);
    show(&fetch)?;
    npm("generate", &["run", "generate"])?;
    npm("build", &["run", "build"])?;
    npm("test", &["test", "--", url])?;
    let browser = Step::new("test the client in a browser", "node".as_ref(), workspace);
    show(&browser.args([
        "xtask/web/client.mjs",
        url,
        "--client",
        CLIENT_MADE,
        "--modules",
        MODULES,
    ]))
}

/// Names every program that is missing at once.
fn require(programs: &[&Path], workspace: &Workspace) -> Result<()> {
    let works = |program: &Path| {
        Step::new("find", program, workspace).args(["--version"]).capture().is_ok()
    };
    let missing = programs.iter().filter(|program| !works(program));
    let missing: Vec<String> = missing.map(|program| program.display().to_string()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "not found: {}. The page is tested with Node.js 20 or newer, its npm, and Chromium: install them (on Debian \
         `apt-get install nodejs npm chromium`); CHROMIUM names a browser that is elsewhere",
        missing.join(", ")
    )
}

fn install(workspace: &Workspace) -> Result<()> {
    let modules = workspace.root().join(MODULES);
    if modules.join("node_modules/playwright-core/package.json").is_file() {
        return Ok(());
    }
    fs::create_dir_all(&modules)
        .with_context(|| format!("cannot make {}", workspace.show(&modules)))?;
    let step = Step::new("install playwright-core", "npm".as_ref(), workspace);
    let quiet = ["--ignore-scripts", "--no-audit", "--no-fund"];
    show(&step.args(["install", "--prefix", MODULES, DRIVER]).args(quiet))
}

/// A run that learnt enough to tell shapes apart, with a text tower of no training, and its index.
fn make_run(run: &Path, binaries: &Binaries, workspace: &Workspace) -> Result<PathBuf> {
    let train = Step::new("train", binaries.get(BINARIES[0])?, workspace)
        .args(["train", "--dataset", "demo", "--demo-images", "2000", "--epochs", "3"])
        .args(["--bits".to_owned(), BITS.to_string()])
        .args([Path::new("--run-dir"), run]);
    show(&train)?;
    let model_sha256 = text_tower::sha256_of(&run.join("model.safetensors"))?;
    text_tower::write(run, &text_tower::Codes { bits: BITS, model_sha256 }, workspace)?;
    show(&indexing(&run.join("codes.safetensors"), &run.join("index"), binaries, workspace)?)?;
    Ok(run.to_path_buf())
}

fn indexing(codes: &Path, out: &Path, binaries: &Binaries, workspace: &Workspace) -> Result<Step> {
    Ok(Step::new("index", binaries.get(BINARIES[1])?, workspace)
        .args([Path::new("build"), Path::new("--codes"), codes])
        .args([Path::new("--out"), out]))
}

/// A codec, and an index of its codes that keeps their vectors.
fn make_vectors(
    directory: &Path,
    binaries: &Binaries,
    workspace: &Workspace,
) -> Result<[PathBuf; 2]> {
    let at = |name: &str| directory.join(name);
    let [vectors, codec, codes, index] =
        ["v.npy", "codec.safetensors", "codes.safetensors", "v.idx"].map(at);
    fs::write(&vectors, array(600, 24))
        .with_context(|| format!("cannot write {}", vectors.display()))?;
    let train = binaries.get(BINARIES[0])?;
    let fit = Step::new("codec", train, workspace)
        .args([Path::new("codec"), Path::new("--vectors"), &vectors])
        .args(["--bits", "24"])
        .args([Path::new("--out"), &codec]);
    show(&fit)?;
    let encode = Step::new("encode", train, workspace)
        .args([Path::new("encode"), Path::new("--codec"), &codec])
        .args([Path::new("--vectors"), &vectors, Path::new("--out"), &codes]);
    show(&encode)?;
    let build = indexing(&codes, &index, binaries, workspace)?;
    show(&build.args([Path::new("--vectors"), &vectors]))?;
    Ok([codec, index])
}

/// An array of waves, `[rows, columns]` of f32, as numpy writes it.
fn array(rows: u32, columns: u32) -> Vec<u8> {
    let header = format!(
        "{:<117}\n",
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}")
    );
    let wave = |i: u32| (f64::from(i) * 1.7 + f64::from(i * i % 97)).sin() as f32;
    let values = (0..rows * columns).flat_map(|i| wave(i).to_le_bytes());
    let length = (header.len() as u16).to_le_bytes();
    b"\x93NUMPY\x01\x00"
        .iter()
        .copied()
        .chain(length)
        .chain(header.into_bytes())
        .chain(values)
        .collect()
}

fn show(step: &Step) -> Result<()> {
    print(&format!("\n$ {}", step.command_line()))?;
    step.run()
}

/// A service that ends with this value, unless the test ended it already.
#[derive(Debug)]
struct Served {
    process: Child,
    url: String,
}

impl Served {
    /// Serves what these flags name.
    fn start(
        what: &[(&'static str, &Path)],
        binaries: &Binaries,
        keys: &[(&'static str, &str)],
        workspace: &Workspace,
    ) -> Result<Self> {
        let step = Step::new("serve", binaries.get(BINARIES[2])?, workspace)
            .args(what.iter().flat_map(|(flag, path)| [Path::new(flag), path]))
            .args(["--bind", "127.0.0.1:0", "--log-level", "warn"]);
        let step = keys.iter().fold(step, |step, (name, key)| step.env(name, *key));
        print(&format!("\n$ {}", step.command_line()))?;
        // Made before anything can fail, so that the process never outlives it.
        let mut served = Self { process: step.start()?, url: String::new() };
        let stdout = served.process.stdout.take().context("step `serve` has no stdout")?;
        served.url = address(BufReader::new(stdout))?;
        Ok(served)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The first line that is an address.
fn address(stdout: impl BufRead) -> Result<String> {
    for line in stdout.lines() {
        let line = line.context("cannot read what step `serve` prints")?;
        if line.starts_with("http://") {
            return Ok(line);
        }
    }
    bail!("step `serve` ended before it printed its address; its message is above")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_the_first_that_is_printed() {
        let printed = "loading\nhttp://127.0.0.1:7878/\nhttp://late/\n";
        assert_eq!(address(printed.as_bytes()).unwrap(), "http://127.0.0.1:7878/");
        let error = address("loading\n".as_bytes()).unwrap_err().to_string();
        assert!(error.contains("ended before it printed its address"), "{error}");
    }

    #[test]
    fn every_missing_program_is_named_with_the_cure() {
        let workspace = Workspace::find().unwrap();
        let programs = [Path::new("no/such/node"), Path::new("no/such/chromium")];
        let error = require(&programs, &workspace).unwrap_err().to_string();
        for part in ["no/such/node, no/such/chromium", "apt-get install", "CHROMIUM"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        let here = env::current_exe().unwrap();
        assert!(require(&[&here], &workspace).is_err(), "a program without --version");
    }
}
