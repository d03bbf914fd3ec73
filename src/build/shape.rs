//! The geometry of a mask: its largest component, without holes.
//!
//! A pixel belongs to the object from 128 on, as everywhere in a bank. (X-Paste's `clean_pool.py`
//! takes those above 128.) Pixels touch over edges and corners, as they do for OpenCV's
//! `findContours`, which X-Paste and DiverGen use; the background, dually, touches over edges only.
//! The largest component is the one with the most pixels; of equal ones the one that comes first,
//! row after row. (X-Paste compares the areas that outlines enclose.) A hole is what the outside
//! cannot reach, islands in it included; it is the object's. As in X-Paste, the alpha in it stays what
//! the mask says: glass stays glass, and a wheel's spokes do not bring the street along.

use image::GrayImage;

use crate::compose::rules::in_mask;

/// The alpha of an object: a mask's values on its largest component and in that component's holes, and
/// 0 elsewhere. `None` if no pixel belongs to the object. Takes time in proportion to the
/// mask's pixels.
pub fn clean(mask: &GrayImage) -> Option<GrayImage> {
    let width = mask.width() as usize;
    let runs = runs_where(mask, in_mask);
    let roots = connect(&runs, Touch::Corners);
    let largest = largest(&runs, &roots)?;
    // 1 on the component, so that everything else is the ground that holes are looked for in.
    let mut component = GrayImage::new(mask.width(), mask.height());
    for (run, _) in runs
        .iter()
        .zip(&roots)
        .filter(|(_, root)| **root == largest)
    {
        run.of_mut(&mut component, width).fill(1);
    }
    let ground = runs_where(&component, |value| value == 0);
    let ground_roots = connect(&ground, Touch::Edges);
    let mut is_outside = vec![false; ground.len()];
    for (run, &root) in ground.iter().zip(&ground_roots) {
        is_outside[root] |= run.is_at_edge(mask);
    }
    let mut alpha = component;
    for (run, _) in runs
        .iter()
        .zip(&roots)
        .filter(|(_, root)| **root == largest)
    {
        run.of_mut(&mut alpha, width)
            .copy_from_slice(run.of(mask, width));
    }
    for (run, &root) in ground.iter().zip(&ground_roots) {
        if !is_outside[root] {
            run.of_mut(&mut alpha, width)
                .copy_from_slice(run.of(mask, width));
        }
    }
    Some(alpha)
}

/// Which pixels are neighbours.
#[derive(Clone, Copy, PartialEq)]
enum Touch {
    /// Those beside, above and below: 4 of them.
    Edges,
    /// Those at the corners too: 8 of them.
    Corners,
}

/// Pixels of one row from `start` up to `end`.
struct Run {
    row: u32,
    start: u32,
    end: u32,
}

impl Run {
    fn range(&self, width: usize) -> std::ops::Range<usize> {
        let first = self.row as usize * width;
        first + self.start as usize..first + self.end as usize
    }

    fn of<'a>(&self, image: &'a GrayImage, width: usize) -> &'a [u8] {
        &image.as_raw()[self.range(width)]
    }

    fn of_mut<'a>(&self, image: &'a mut GrayImage, width: usize) -> &'a mut [u8] {
        let range = self.range(width);
        &mut image.as_flat_samples_mut().samples[range]
    }

    fn is_at_edge(&self, image: &GrayImage) -> bool {
        self.start == 0
            || self.row == 0
            || self.end == image.width()
            || self.row + 1 == image.height()
    }

    /// Whether a run of the row above or below is a neighbour.
    fn touches(&self, other: &Run, touch: Touch) -> bool {
        let reach = u32::from(touch == Touch::Corners);
        self.start < other.end + reach && other.start < self.end + reach
    }
}

/// The runs of pixels whose values belong, row after row.
fn runs_where(image: &GrayImage, belongs: impl Fn(u8) -> bool) -> Vec<Run> {
    let mut runs = Vec::new();
    let width = image.width().max(1) as usize;
    for (row, values) in image.as_raw().chunks_exact(width).enumerate() {
        let mut start = None;
        for (x, &value) in values.iter().enumerate() {
            match (start, belongs(value)) {
                (None, true) => start = Some(x),
                (Some(first), false) => {
                    runs.push(run(row, first, x));
                    start = None;
                }
                _ => {}
            }
        }
        if let Some(first) = start {
            runs.push(run(row, first, width));
        }
    }
    runs
}

fn run(row: usize, start: usize, end: usize) -> Run {
    // An image's sides are 32 bits wide.
    Run {
        row: row as u32,
        start: start as u32,
        end: end as u32,
    }
}

/// For every run the first run of its component.
fn connect(runs: &[Run], touch: Touch) -> Vec<usize> {
    let mut parents: Vec<usize> = (0..runs.len()).collect();
    // The first run of the row above that may still touch one of this row.
    let mut above = 0;
    for (index, run) in runs.iter().enumerate() {
        let is_past = |other: &Run| {
            other.row + 1 < run.row || (other.row + 1 == run.row && ends_before(other, run))
        };
        while above < index && is_past(&runs[above]) {
            above += 1;
        }
        let touching = (above..index)
            .take_while(|&other| runs[other].row < run.row && runs[other].start <= run.end)
            .filter(|&other| run.touches(&runs[other], touch));
        for other in touching {
            join(&mut parents, other, index);
        }
    }
    for index in 0..parents.len() {
        // Parents come first, so theirs are roots already.
        parents[index] = parents[parents[index]];
    }
    parents
}

/// Whether a run of the row above ends too early to touch this run or any that follows it.
fn ends_before(above: &Run, run: &Run) -> bool {
    above.end < run.start
}

/// Makes two components one, named by the earlier of their first runs.
fn join(parents: &mut [usize], a: usize, b: usize) {
    let (a, b) = (root(parents, a), root(parents, b));
    parents[a.max(b)] = a.min(b);
}

fn root(parents: &mut [usize], mut index: usize) -> usize {
    while parents[index] != index {
        // Every look halves the way of the next one.
        parents[index] = parents[parents[index]];
        index = parents[index];
    }
    index
}

/// The root of the component with the most pixels, of equal ones the first.
fn largest(runs: &[Run], roots: &[usize]) -> Option<usize> {
    let mut pixels = vec![0u64; runs.len()];
    for (run, &root) in runs.iter().zip(roots) {
        pixels[root] += u64::from(run.end - run.start);
    }
    let by_size = |&root: &usize| (pixels[root], std::cmp::Reverse(root));
    (0..runs.len()).max_by_key(by_size)
}

#[cfg(test)]
mod tests;
