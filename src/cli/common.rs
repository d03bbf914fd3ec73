//! What the subcommands share: output, progress, interruption, folders, small parsers.

use std::fmt::Display;
use std::fs;
use std::io::{IsTerminal, Write};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;

use crate::bank::write::is_temporary;
use crate::bank::{Category, CutoutBank, ScenePack};
use crate::compose::SampleView;
use crate::compose::batch::words_of;
use crate::resume::Progress;
use crate::view::{Mask, Overlay, tint};

/// The user asked for something that makes no sense: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Usage(pub String);

/// The user pressed Ctrl-C: exit code 130.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Interrupted(pub String);

/// An error and its causes in one line, none said twice.
pub(super) fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C and SIGTERM are noted, and a second one ends the process at once.
pub(super) fn catch_interrupts() -> Result<()> {
    ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        // The handler runs on a thread of its own, so it may write.
        let _ = writeln!(std::io::stderr(), "\nstopping after what is in hand …");
    })
    .context("cannot listen for Ctrl-C")
}

/// Whether to go on.
pub(super) fn goes_on() -> bool {
    !INTERRUPTED.load(Ordering::SeqCst)
}

/// A bar that counts things, with rate and remaining time.
pub(super) fn progress_bar(total: u64, what: &'static str) -> ProgressBar {
    let template = "{msg} {wide_bar} {human_pos}/{human_len} {per_sec} {eta} left";
    bar(total, what, template)
}

/// Runs what an earlier run may have begun, with a bar that starts where this run does.
pub(super) fn resumable<T>(
    what: &'static str,
    run: impl FnOnce(&mut dyn FnMut(Progress) -> bool) -> T,
) -> T {
    let bar = progress_bar(0, what);
    let result = run(&mut |progress: Progress| {
        if bar.length() != Some(progress.total as u64) {
            bar.set_length(progress.total as u64);
            // What an earlier run finished does not count for the rate.
            bar.set_position(progress.first as u64);
            bar.reset_eta();
        }
        bar.set_position(progress.done as u64);
        goes_on()
    });
    bar.finish_and_clear();
    result
}

/// A bar that counts bytes.
pub(super) fn byte_bar(total: u64, what: &'static str) -> ProgressBar {
    let template = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta} left";
    bar(total, what, template)
}

/// Silent where standard error is no terminal.
fn bar(total: u64, what: &'static str, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template);
    let bar = ProgressBar::new(total).with_message(what);
    match style {
        Ok(style) if std::io::stderr().is_terminal() => bar.with_style(style),
        _ => ProgressBar::hidden(),
    }
}

/// Prints a line; an error, such as a closed pipe, is the caller's.
pub(super) fn say(text: impl Display) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

/// Makes an output folder, and refuses one that holds anything, unless `force` is given.
pub(super) fn output_folder(folder: &Path, force: bool) -> Result<()> {
    fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let entries = fs::read_dir(folder)
        .with_context(|| format!("cannot read the folder {}", folder.display()))?;
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !force && !is_temporary(&name) {
            return Err(anyhow::anyhow!(
                "{} is not empty: it holds {name:?}; choose another folder or give --force",
                folder.display()
            ));
        }
    }
    Ok(())
}

/// WIDTHxHEIGHT, both 1..=8192, or one number for a square.
pub(super) fn parse_canvas(text: &str) -> Result<[u32; 2], String> {
    let expected = "WIDTHxHEIGHT with sides of 1..=8192 was expected, such as 1024x1024";
    let side = |text: &str| text.parse::<u32>().map_err(|_| expected.to_owned());
    let (width, height) = match text.split_once(['x', 'X', '×']) {
        Some((width, height)) => (side(width)?, side(height)?),
        None => (side(text)?, side(text)?),
    };
    match crate::geometry::Size::canvas(width, height) {
        Some(_) => Ok([width, height]),
        None => Err(expected.to_owned()),
    }
}

fn parse_threads(text: &str) -> Result<NonZero<usize>, String> {
    text.parse()
        .ok()
        .filter(|&threads| threads <= crate::MOST_THREADS)
        .ok_or_else(|| "a number in 1..=1024 was expected".to_owned())
}

/// A number that is neither infinite nor NaN.
pub(super) fn parse_finite(text: &str) -> Result<f32, String> {
    text.parse()
        .ok()
        .filter(|number: &f32| number.is_finite())
        .ok_or_else(|| "a finite number was expected".to_owned())
}

/// A number of bytes, perhaps with k, M, G or T (powers of 1024).
pub(super) fn parse_bytes(text: &str) -> Result<u64, String> {
    let expected = "a number of bytes was expected, such as 256M";
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let shift = match &text[digits.len()..].to_ascii_lowercase()[..] {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(expected.to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| expected.to_owned())?;
    number
        .checked_mul(1 << shift)
        .filter(|&bytes| bytes > 0)
        .ok_or_else(|| expected.to_owned())
}

/// `--threads`: all the machine has unless given.
#[derive(clap::Args, Clone, Copy)]
pub(super) struct Threads {
    /// Worker threads, at most 1024 [default: all the machine has].
    #[arg(long, value_name = "N", value_parser = parse_threads)]
    pub threads: Option<NonZero<usize>>,
}

/// The packs that a plan refers to.
#[derive(clap::Args, Clone)]
pub(super) struct Packs {
    /// Folder of a scene pack; several follow one another.
    #[arg(long, value_name = "DIR", required = true)]
    pub scenes: Vec<PathBuf>,
    /// Folder of a bank; several follow one another, and are drawn from by their weights (1 unless
    /// given).
    #[arg(long, value_name = "DIR[=WEIGHT]", required = true, value_parser = parse_bank)]
    pub bank: Vec<BankFlag>,
    /// Folder of a scene pack of whole synthetic scenes, which follow the others; a recipe mixes them
    /// in as often as its synthetic.probability says. May be given several times.
    #[arg(long, value_name = "DIR")]
    pub synthetic: Vec<PathBuf>,
}

/// A bank and how much of the layers is drawn from it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct BankFlag {
    pub folder: PathBuf,
    pub weight: f64,
}

pub(super) fn parse_bank(text: &str) -> Result<BankFlag, String> {
    // A folder's own name may hold an equals sign.
    let weighted = text.rsplit_once('=').and_then(|(folder, weight)| {
        let weight: f64 = weight.parse().ok()?;
        Some((folder, weight))
    });
    let (folder, weight) = weighted.unwrap_or((text, 1.0));
    if !(weight >= 0.0 && weight.is_finite()) {
        return Err("a finite weight of at least 0 was expected behind the `=`".to_owned());
    }
    Ok(BankFlag {
        folder: folder.into(),
        weight,
    })
}

impl Packs {
    /// All scenes as one pack, the synthetic ones last, and all cutouts as one bank.
    pub fn open(&self) -> Result<(ScenePack, CutoutBank)> {
        if self.bank.iter().all(|bank| bank.weight == 0.0) {
            let problem = "--bank: all weights are 0; one above 0 was expected";
            return Err(Usage(problem.to_owned()).into());
        }
        let scenes = self.scenes.iter().chain(&self.synthetic);
        let scenes = scenes.map(|folder| ScenePack::open(folder));
        let banks = self.bank.iter().map(|bank| CutoutBank::open(&bank.folder));
        Ok((
            ScenePack::join(scenes.collect::<Result<_, _>>()?)?,
            CutoutBank::join(banks.collect::<Result<_, _>>()?)?,
        ))
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum CategoryFile {
    List(Vec<Category>),
    Object { categories: Vec<Category> },
}

/// The categories of a COCO file, a manifest or a plain list.
pub(super) fn category_file(path: &Path) -> Result<Vec<Category>> {
    let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let file = serde_json::from_slice(&text)
        .with_context(|| format!("{}: no list of categories with id and name", path.display()))?;
    Ok(match file {
        CategoryFile::List(categories) | CategoryFile::Object { categories } => categories,
    })
}

/// The instances of a composed sample, ready to be drawn over its image.
pub(super) fn overlays<'a>(
    view: &SampleView<'a>,
    canvas_width: u32,
    labels: &'a [String],
) -> Vec<Overlay<'a>> {
    let overlay = |(index, label): (usize, &'a String)| Overlay {
        mask: Mask {
            bits: view.mask(index).unwrap_or_default(),
            stride_words: words_of(canvas_width as usize),
        },
        box_xyxy: view.boxes[index].map(|edge| edge as u32),
        label,
        tint: tint(index),
    };
    labels.iter().enumerate().map(overlay).collect()
}

/// Bytes for people.
pub(super) fn bytes(count: u64) -> String {
    indicatif::HumanBytes(count).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canvases_and_bytes_are_parsed_or_refused() {
        assert_eq!(parse_canvas("640x480"), Ok([640, 480]));
        assert_eq!(parse_canvas("512"), Ok([512, 512]));
        for wrong in ["0x5", "8193x1", "axb", "", "5x", "-3x4", "1e3"] {
            assert!(parse_canvas(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_bytes("256M"), Ok(256 << 20));
        assert_eq!(parse_bytes("12"), Ok(12));
        for wrong in ["", "M", "0", "5X", "99999999999T"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn banks_have_weights() {
        let bank = |folder: &str, weight| BankFlag {
            folder: folder.into(),
            weight,
        };
        assert_eq!(parse_bank("a/b"), Ok(bank("a/b", 1.0)));
        assert_eq!(parse_bank("a=0.25"), Ok(bank("a", 0.25)));
        assert_eq!(parse_bank("t=3/b"), Ok(bank("t=3/b", 1.0)));
        for wrong in ["a=-1", "a=NaN", "a=inf"] {
            assert!(parse_bank(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_folder_with_something_in_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("new/deep");
        assert!(output_folder(&inner, false).is_ok());
        fs::write(inner.join("a.txt"), "").unwrap();
        let error = output_folder(&inner, false).unwrap_err().to_string();
        assert!(
            error.contains("a.txt") && error.contains("--force"),
            "{error}"
        );
        assert!(output_folder(&inner, true).is_ok());
    }
}
