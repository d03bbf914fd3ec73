//! What is looked at in every row.

use std::collections::HashSet;
use std::path::Path;

use super::report::{Problem, ProblemList, problem_of};
use crate::bank::BankError;
use crate::bank::cutouts::{CUTOUT_CHANNELS, Cutout};
use crate::bank::mip;
use crate::bank::scenes::{SCENE_CHANNELS, Scene, SceneInstance, ScenePixels};
use crate::compose::jpeg;
use crate::geometry::{Rect, Size};

/// Least alpha of a texel that counts (rule 8).
const OPAQUE: u8 = 128;

/// Where the problems of one row go.
pub(super) struct RowProblems<'a> {
    shard: &'a Path,
    row: usize,
    categories: &'a HashSet<i64>,
    problems: &'a mut ProblemList,
}

impl<'a> RowProblems<'a> {
    pub fn new(
        shard: &'a Path,
        row: usize,
        categories: &'a HashSet<i64>,
        problems: &'a mut ProblemList,
    ) -> RowProblems<'a> {
        RowProblems {
            shard,
            row,
            categories,
            problems,
        }
    }

    fn error(&mut self, column: &'static str, problem: String) {
        let problem = Problem::error(self.shard, Some(self.row), Some(column), problem);
        self.problems.add(problem);
    }

    fn warning(&mut self, column: &'static str, problem: String) {
        let problem = Problem::error(self.shard, Some(self.row), Some(column), problem);
        self.problems.add(Problem {
            warning: true,
            ..problem
        });
    }

    /// What reading where a cutout is from said. Nothing that composes needs it, so it is a warning.
    pub fn provenance(&mut self, error: Option<BankError>) {
        if let Some(error) = error {
            self.problems.add(Problem {
                row: Some(self.row as u64),
                warning: true,
                ..problem_of(error, self.shard)
            });
        }
    }

    fn changed(&mut self) {
        let problem = "the row no longer fits: the file was changed while it was read";
        self.error("offset", problem.to_owned());
    }
}

pub(super) fn check_cutout(cutout: Option<Cutout<'_>>, found: &mut RowProblems<'_>) {
    let Some(cutout) = cutout else {
        return found.changed();
    };
    if !found.categories.contains(&cutout.category) {
        found.error("category", unknown_category(cutout.category));
    }
    if cutout.score.is_infinite() {
        found.error("score", infinite_score(cutout.score));
    }
    if let Some((_, level0)) = cutout.level(0) {
        let (area, tight) = opaque_texels(level0, cutout.size);
        if area != u64::from(cutout.area) {
            let problem = format!("{}; {area} texels have alpha ≥ {OPAQUE}", cutout.area);
            found.error("area", problem);
        }
        if cutout.bounding_box.map(i64::from) != tight {
            let stored = cutout.bounding_box;
            let problem = format!("{stored:?}; the tight box of alpha ≥ {OPAQUE} is {tight:?}");
            found.error("box", problem);
        }
    }
    if let Some(problem) = chain_problem::<CUTOUT_CHANNELS>(cutout.chain, cutout.size) {
        found.error("pixels", problem);
    }
}

pub(super) fn check_scene(scene: Option<Scene<'_>>, found: &mut RowProblems<'_>) {
    let Some(scene) = scene else {
        return found.changed();
    };
    let problem = match scene.pixels {
        ScenePixels::Raw(chain) => chain_problem::<SCENE_CHANNELS>(chain, scene.size),
        ScenePixels::Jpeg(file) => jpeg::decode(file, scene.size).err(),
    };
    if let Some(problem) = problem {
        found.error("pixels", problem);
    }
    for (index, instance) in scene.instances().enumerate() {
        check_instance(index, &instance, found);
    }
}

/// `index` counts the row's own instances.
fn check_instance(index: usize, instance: &SceneInstance<'_>, found: &mut RowProblems<'_>) {
    let name = format!("instance {index} (annotation {})", instance.annotation);
    if !found.categories.contains(&instance.category) {
        let problem = unknown_category(instance.category);
        found.error("instance_category", format!("{name}: {problem}"));
    }
    if instance.score.is_infinite() {
        let problem = infinite_score(instance.score);
        found.error("instance_score", format!("{name}: {problem}"));
    }
    let loose = loose_edges(instance);
    if loose.is_empty() {
        return;
    }
    let stored = instance.bounding_box;
    if is_empty(instance) {
        let problem = format!("{name}: no bit is set in the mask of box {stored:?}");
        found.error("mask_bits", problem);
    } else {
        let problem = format!(
            "{name}: the box {stored:?} is not tight: no bit is set in its {}",
            loose.join(", ")
        );
        found.warning("instance_box", problem);
    }
}

fn unknown_category(id: i64) -> String {
    format!("{id}; the manifest's `categories` do not have this id")
}

fn infinite_score(score: f32) -> String {
    format!("{score}; a finite number, or NaN for none, was expected")
}

/// How many texels count, and their tight box as x, y, width, height; zeros where there are none.
fn opaque_texels(level0: &[u8], size: Size) -> (u64, [i64; 4]) {
    let mut area = 0;
    let mut tight = Rect::NOTHING;
    let stride = size.width() as usize * CUTOUT_CHANNELS;
    for (y, row) in level0.chunks_exact(stride).enumerate() {
        let texels = || row.chunks_exact(CUTOUT_CHANNELS);
        let counts = |texel: &[u8]| texel[CUTOUT_CHANNELS - 1] >= OPAQUE;
        let first = texels().position(counts);
        let last = texels().rposition(counts);
        if let (Some(first), Some(last)) = (first, last) {
            tight.include(y as i32, first as i32, last as i32 + 1);
            area += texels().filter(|texel| counts(texel)).count() as u64;
        }
    }
    (area, tight.or_zero().xywh())
}

/// The first texel of a stored chain that is not the mean of those above it (rule 2). Each level
/// is made from the stored one above it: if all agree, then all follow from level 0.
fn chain_problem<const CHANNELS: usize>(chain: &[u8], size: Size) -> Option<String> {
    for level in 1.. {
        let (above_size, above) = mip::level_range(size, level - 1, CHANNELS)?;
        let (level_size, range) = mip::level_range(size, level, CHANNELS)?;
        let stored = chain.get(range)?;
        let made = mip::make_level::<CHANNELS>(chain.get(above)?.to_vec(), above_size, 1);
        if made == stored {
            continue;
        }
        let texels = made
            .chunks_exact(CHANNELS)
            .zip(stored.chunks_exact(CHANNELS));
        let (index, (made, stored)) = texels
            .enumerate()
            .find(|(_, (made, stored))| made != stored)?;
        let width = level_size.width() as usize;
        return Some(format!(
            "mip level {level}, texel ({}, {}): {stored:?}; level {} makes {made:?}",
            index % width,
            index / width,
            level - 1
        ));
    }
    None
}

/// The outermost rows and columns of an instance's box in which no bit is set.
fn loose_edges(instance: &SceneInstance<'_>) -> Vec<&'static str> {
    let [_, _, width, height] = instance.bounding_box;
    let row_has = |y: u32| (0..width).any(|x| instance.has(x, y));
    let column_has = |x: u32| (0..height).any(|y| instance.has(x, y));
    let edges = [
        ("first row", height > 0 && row_has(0)),
        ("last row", height > 0 && row_has(height - 1)),
        ("first column", width > 0 && column_has(0)),
        ("last column", width > 0 && column_has(width - 1)),
    ];
    let loose = edges.into_iter().filter(|&(_, has)| !has);
    loose.map(|(name, _)| name).collect()
}

fn is_empty(instance: &SceneInstance<'_>) -> bool {
    let [_, _, width, height] = instance.bounding_box;
    !(0..height).any(|y| (0..width).any(|x| instance.has(x, y)))
}
