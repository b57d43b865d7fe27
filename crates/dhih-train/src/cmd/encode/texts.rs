//! Texts of `encode`: those of `--text`, or the lines of the file of `--texts`.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use candle_core::Device;
use dhih_index::{CodeSet, Codes};
use dhih_model::text::TextEncoder;
use dhih_model::walk::LeftOut;
use dhih_train::{Progress, RunDir, files};

use super::{EncodeArgs, Report};
use crate::cmd;

/// The number of texts that are encoded at once, which bounds the memory for their vectors.
const PART: usize = 1024;

/// The name of a file that stands for stdin.
const STDIN: &str = "-";

/// Encodes texts and reports. In the list beside the codes, each text takes the place of a file name.
pub(super) fn run(args: &EncodeArgs, out: &Path, device: &Device) -> Result<()> {
    let texts = match &args.texts {
        Some(file) => lines(file)?,
        None => args.text.clone(),
    };
    let encoder = text_encoder(&args.run, device)?;
    let name = |row: usize| match &args.texts {
        Some(file) => format!("line {} of {}", row + 1, shown(file)),
        None => format!("{:?}", texts[row]),
    };
    let mut too_long = Vec::new();
    for (row, text) in texts.iter().enumerate() {
        let left_out = encoder.left_out(text);
        if left_out.with_context(|| format!("cannot encode {}", name(row)))? > 0 {
            too_long.push(row);
        }
    }
    if let Some(first) = too_long.first() {
        let (count, all, first) = (too_long.len(), texts.len(), name(*first));
        Progress::Shown.line(format!(
            "NOTE: texts that are longer than the text tower reads, of {all}: {count}; their ends do not count; the first is {first}"
        ));
    }
    let mut values = Vec::with_capacity(texts.len() * encoder.bits());
    for part in texts.chunks(PART) {
        values.extend(encoder.encode(part)?);
    }
    let bits = encoder.bits() as u32;
    let mut set = CodeSet::new(Codes::from_real(bits, &values)?);
    set.model_sha256 = Some(encoder.model_sha256().to_owned());
    if let Some(path) = &args.values {
        files::write_values(path, values, encoder.bits())?;
    }
    files::write_codes(&set, out, texts.iter().map(Path::new))?;
    let encoded = texts.len();
    if args.json {
        let left_out = &LeftOut::default();
        return cmd::print_json(&Report { out, encoded, skipped: Vec::new(), left_out });
    }
    cmd::print(&format!("{encoded} codes of {bits} bits in {}\n", out.display()))
}

/// The encoder of texts of a run.
pub(in crate::cmd) fn text_encoder(run: &Path, device: &Device) -> Result<TextEncoder> {
    let file = run.join(RunDir::TEXT);
    std::fs::metadata(run).with_context(|| format!("cannot read {}", run.display()))?;
    if !file.exists() {
        bail!(
            "{} has no text tower; `dhih-train photos` with an encoder that has one, such as clip-vit-b32, makes a run with one",
            run.display()
        );
    }
    Ok(TextEncoder::load(&file, device)?)
}

/// The name of a file of texts in messages.
fn shown(file: &Path) -> String {
    if file == Path::new(STDIN) { "stdin".to_owned() } else { file.display().to_string() }
}

/// The lines of a UTF-8 file, or of stdin for `-`. Every line is a text, so that the number of a code is that of its line.
fn lines(file: &Path) -> Result<Vec<String>> {
    let mut bytes = Vec::new();
    let read = match file == Path::new(STDIN) {
        true => std::io::stdin().read_to_end(&mut bytes),
        false => std::fs::File::open(file).and_then(|mut file| file.read_to_end(&mut bytes)),
    };
    read.with_context(|| format!("cannot read {}", shown(file)))?;
    // Editors of Windows begin a file with a byte order mark.
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    if bytes.is_empty() {
        bail!("{} is empty; give one text a line", shown(file));
    }
    let line = |(row, line): (usize, &[u8])| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let text = std::str::from_utf8(line).map(str::to_owned);
        text.with_context(|| format!("line {} of {} is not UTF-8", row + 1, shown(file)))
    };
    bytes.split(|byte| *byte == b'\n').enumerate().map(line).collect()
}
