//! `pastebank view`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{ArgGroup, Args, ValueEnum};

use super::common::{
    BankFlag, Interrupted, Packs, Threads, Usage, bytes, catch_interrupts, category_file, goes_on,
    parse_bank, parse_canvas, progress_bar, say,
};
use super::recipe::{OrderFlag, RecipeFlags};
use super::sampling::Sampling;
use crate::bank::{CutoutBank, ScenePack};
use crate::plan::Plan;
use crate::sampler::Sampler;
use crate::view::gallery::Source;
use crate::view::sources::{DataSetPictures, DrawnSample, RenderedPictures, SamplePictures};
use crate::view::{Grid, Style, ViewError, write_page, write_sheets};

/// Look at a data set, a composed folder, a plan or a recipe: PNG sheets or one HTML file.
///
/// The pictures come with masks, boxes and names. The HTML file needs no network: it can be filtered
/// by category and by source and shows counts, sizes and where instances lie.
#[derive(Args)]
#[command(group = ArgGroup::new("input").required(true).args(["annotations", "composed", "scenes"]))]
pub(super) struct View {
    /// COCO or LVIS instances JSON of a data set to look at.
    #[arg(long, value_name = "FILE", requires = "images")]
    annotations: Option<PathBuf>,
    /// Folder of its images.
    #[arg(long, value_name = "DIR", requires = "annotations")]
    images: Option<PathBuf>,
    /// Folder that `compose` or `render` wrote.
    #[arg(long, value_name = "DIR")]
    composed: Option<PathBuf>,
    /// JSON that names the categories of a rendered folder (a COCO file, a manifest, or a list).
    #[arg(long, value_name = "FILE", requires = "composed")]
    category_names: Option<PathBuf>,
    /// Folder of a scene pack that a plan refers to or a recipe draws from; may be given several
    /// times.
    #[arg(long, value_name = "DIR", requires = "bank")]
    scenes: Vec<PathBuf>,
    /// Folder of a bank; may be given several times, with weights for a recipe.
    #[arg(long, value_name = "DIR[=WEIGHT]", requires = "scenes", value_parser = parse_bank)]
    bank: Vec<BankFlag>,
    /// Folder of a scene pack of whole synthetic scenes, for a recipe.
    #[arg(long, value_name = "DIR", requires = "scenes")]
    synthetic: Vec<PathBuf>,
    /// The plan; without one a recipe is drawn.
    #[arg(long, value_name = "FILE", requires = "scenes")]
    plan: Option<PathBuf>,
    #[command(flatten)]
    draw: DrawFlags,
    /// The first picture or sample to look at.
    #[arg(long, value_name = "N", default_value_t = 0)]
    first: u64,
    /// Most pictures [default: 48 on sheets, 200 in HTML].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    count: Option<u64>,
    /// Only pictures with these categories, by name or id, and only these instances.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    categories: Vec<String>,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    threads: Threads,
}

/// What to draw where there is no plan.
#[derive(Args)]
struct DrawFlags {
    /// Size of the drawn samples.
    #[arg(long, value_name = "WxH", value_parser = parse_canvas, default_value = "1024x1024", conflicts_with_all = ["plan", "annotations", "composed"])]
    canvas: [u32; 2],
    /// Equal seeds draw equal samples.
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with_all = ["plan", "annotations", "composed"])]
    seed: u64,
    #[command(flatten)]
    recipe: RecipeFlags,
    #[command(flatten)]
    order: OrderFlag,
}

/// What is written.
#[derive(Args)]
struct OutputFlags {
    /// File to write: NAME.png or NAME.html; sheets that one file does not hold are NAME-1.png …
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// What to write, whatever the file's ending.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Tiles in a row [default: 4 on sheets, as many as fit in HTML].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    columns: Option<u32>,
    /// Longer side of a picture in pixels [default: 400 on sheets, 640 in HTML].
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(32..=4096))]
    tile: Option<u32>,
    /// Most pictures of a sheet.
    #[arg(long, value_name = "N", default_value_t = 48, value_parser = clap::value_parser!(u32).range(1..=1000))]
    per_sheet: u32,
    /// Draw no masks (in HTML: until they are switched on).
    #[arg(long)]
    no_masks: bool,
    /// Draw no boxes.
    #[arg(long)]
    no_boxes: bool,
    /// Draw no names.
    #[arg(long)]
    no_names: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Format {
    Png,
    Html,
}

impl View {
    pub fn run(self) -> Result<()> {
        let format = self.output.format()?;
        catch_interrupts()?;
        if let (Some(annotations), Some(images)) = (&self.annotations, &self.images) {
            if !images.is_dir() {
                return Err(Usage(format!("--images: {} is no folder", images.display())).into());
            }
            let mut pictures = DataSetPictures::open(annotations, images, self.first)?;
            return self.show(&mut pictures, format);
        }
        if let Some(folder) = &self.composed {
            return self.show_folder(folder, format);
        }
        if let Some(plan) = &self.plan {
            let (scenes, bank) = self.packs().open()?;
            let mut pictures = self.plan_pictures(plan, &scenes, &bank)?;
            return self.show(&mut pictures, format);
        }
        let sampler = self.sampling().sampler()?;
        self.show(&mut self.recipe_pictures(&sampler), format)
    }

    fn packs(&self) -> Packs {
        Packs {
            scenes: self.scenes.clone(),
            bank: self.bank.clone(),
        }
    }

    fn sampling(&self) -> Sampling {
        Sampling {
            packs: self.packs(),
            synthetic: self.synthetic.clone(),
            canvas: self.draw.canvas,
            seed: self.draw.seed,
            recipe: self.draw.recipe.clone(),
            order: self.draw.order,
        }
    }

    fn show_folder(&self, folder: &Path, format: Format) -> Result<()> {
        if DataSetPictures::is_composed(folder) {
            let mut pictures = DataSetPictures::open_composed(folder, self.first)?;
            return self.show(&mut pictures, format);
        }
        let names = match &self.category_names {
            Some(path) => category_file(path)?,
            None => Vec::new(),
        };
        let names = names
            .into_iter()
            .map(|category| (category.id, category.name));
        let mut pictures = RenderedPictures::open(folder, names.collect(), self.first)
            .with_context(|| format!("{} is no composed folder", folder.display()))?;
        self.show(&mut pictures, format)
    }

    fn plan_pictures<'a>(
        &self,
        path: &Path,
        scenes: &'a ScenePack,
        bank: &'a CutoutBank,
    ) -> Result<SamplePictures<'a>> {
        let text =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let plan = Plan::from_json(&text).with_context(|| path.display().to_string())?;
        let title = path.display().to_string();
        let threads = self.threads.threads;
        SamplePictures::of_plan(&title, plan, (scenes, bank), self.first, threads)
            .with_context(|| path.display().to_string())
    }

    /// Samples are drawn as they are looked at.
    fn recipe_pictures<'a>(&self, sampler: &'a Sampler) -> SamplePictures<'a> {
        let title = format!("{}, seed {}", self.draw.recipe.recipe, self.draw.seed);
        let draw = |number| {
            let sample = sampler.sample(number);
            Some(DrawnSample {
                plan: sample.plan,
                ignored: sample.ignored,
            })
        };
        SamplePictures::drawn(
            &title,
            sampler.plan(0..0),
            (&sampler.ground().scenes, &sampler.ground().bank),
            self.first,
            self.threads.threads,
            draw,
        )
    }

    /// Writes what the source has and says what came of it. A source without pictures is no failure:
    /// the sheet or page says so.
    fn show(&self, source: &mut dyn Source, format: Format) -> Result<()> {
        source.choose(chosen_categories(source.names(), &self.categories)?);
        let most = match format {
            Format::Png => 48,
            Format::Html => 200,
        };
        let count = self.count.unwrap_or(most);
        let left = source.total().map(|total| total.saturating_sub(self.first));
        let bar = progress_bar(count.min(left.unwrap_or(count)), "drawing");
        let mut progress = |done| {
            bar.set_position(done);
            goes_on()
        };
        let output = &self.output;
        let written = match format {
            Format::Png => output.write_png(source, count, &mut progress),
            Format::Html => output.write_html(source, count, &mut progress),
        };
        bar.finish_and_clear();
        if !source.problems().is_empty() {
            eprint!("problems in the data:\n{}", source.problems());
        }
        let lines = written.map_err(|error| match error {
            ViewError::Stopped { .. } => Interrupted(error.to_string()).into(),
            error => anyhow::Error::from(error),
        })?;
        lines.iter().try_for_each(say)
    }
}

impl OutputFlags {
    /// By the flag, or else by the file's ending.
    fn format(&self) -> Result<Format> {
        let ending = self
            .out
            .extension()
            .unwrap_or_default()
            .to_ascii_lowercase();
        match (self.format, ending.to_str()) {
            (Some(format), _) => Ok(format),
            (None, Some("png")) => Ok(Format::Png),
            (None, Some("html" | "htm")) => Ok(Format::Html),
            _ => {
                let problem = format!(
                    "--out: {} ends in neither .png nor .html; give --format",
                    self.out.display()
                );
                Err(Usage(problem).into())
            }
        }
    }

    fn style(&self) -> Style {
        Style {
            masks: !self.no_masks,
            boxes: !self.no_boxes,
            names: !self.no_names,
        }
    }

    fn write_png(
        &self,
        source: &mut dyn Source,
        count: u64,
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Vec<String>, ViewError> {
        let grid = Grid {
            columns: self.columns.unwrap_or(4),
            tile: self.tile.unwrap_or(400),
            per_sheet: self.per_sheet,
        };
        let written = write_sheets(source, count, &grid, self.style(), &self.out, progress)?;
        let line = |path: &PathBuf| format!("contact sheet in {}", path.display());
        Ok(written.iter().map(line).collect())
    }

    fn write_html(
        &self,
        source: &mut dyn Source,
        count: u64,
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Vec<String>, ViewError> {
        let (tile, style) = (self.tile.unwrap_or(640), self.style());
        let counted = write_page(
            source,
            count,
            tile,
            self.columns,
            style,
            &self.out,
            progress,
        )?;
        let length = std::fs::metadata(&self.out).map_or(0, |file| file.len());
        Ok(vec![format!(
            "{} pictures with {} instances, {} of them pasted, in {} ({})",
            counted.pictures,
            counted.instances,
            counted.pasted,
            self.out.display(),
            bytes(length)
        )])
    }
}

/// The ids of categories that were given by name or id.
fn chosen_categories(names: &BTreeMap<i64, String>, given: &[String]) -> Result<BTreeSet<i64>> {
    let find = |wanted: &String| {
        let by_name = names.iter().find(|(_, name)| *name == wanted);
        let by_name = by_name.map(|(&id, _)| id);
        // Without any names, as in a rendered folder, an id is all there is.
        let by_id = || {
            let id = wanted.parse().ok()?;
            (names.is_empty() || names.contains_key(&id)).then_some(id)
        };
        by_name.or_else(by_id).ok_or_else(|| {
            let known = names.len();
            Usage(format!(
                "--categories: no category of name or id {wanted:?} among the {known} there are"
            ))
        })
    };
    Ok(given.iter().map(find).collect::<Result<_, _>>()?)
}
