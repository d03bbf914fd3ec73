//! What the pictures of a gallery hold, counted: categories before and after pasting, sizes of
//! instances, and where on the canvas they lie.

use std::collections::BTreeMap;

use super::gallery::{Origin, Picture};

/// Cells of a [`Coverage`] along each side.
pub const COVERAGE_SIDE: usize = 64;

/// Counts over pictures, added one by one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statistics {
    /// Pictures, those that could not be had included.
    pub pictures: u64,
    /// Pictures that could not be had.
    pub missing: u64,
    /// Pictures of which nobody knows what their scenes hold where nothing is pasted.
    pub before_unknown: u64,
    /// Instances of all origins.
    pub instances: u64,
    /// Instances that a layer pasted.
    pub pasted: u64,
    /// Instances whose label is dropped.
    pub ignored: u64,
    /// Instances that are crowds.
    pub crowds: u64,
    /// Instances by category.
    pub categories: BTreeMap<i64, CategoryCount>,
    /// Sizes of the instances that are no crowds and were not pasted.
    pub own_sizes: SizeHistogram,
    /// Sizes of those that were pasted.
    pub pasted_sizes: SizeHistogram,
    /// Where instances lie that were not pasted, crowds left out.
    pub own_coverage: Coverage,
    /// Where those lie that were pasted.
    pub pasted_coverage: Coverage,
}

/// How often a category is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CategoryCount {
    /// Instances of the scenes themselves, where nothing is pasted, as far as that is known.
    pub before: u64,
    /// Instances of the pictures.
    pub after: u64,
    /// Those of them that were pasted.
    pub pasted: u64,
}

/// Instances counted by the square root of their area, in bins half an octave wide: bin k holds
/// 2^(k/2) up to 2^((k+1)/2) pixels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SizeHistogram {
    bins: BTreeMap<u32, u64>,
}

impl SizeHistogram {
    /// Counts an instance of that many pixels; one without any is not counted.
    pub fn add(&mut self, area: u64) {
        // The bin of sqrt(area) is the logarithm of the area itself: no rounding comes in.
        if let Some(bin) = area.checked_ilog2() {
            *self.bins.entry(bin).or_default() += 1;
        }
    }

    /// The bins that hold something, with their counts.
    pub fn bins(&self) -> impl Iterator<Item = (u32, u64)> {
        self.bins.iter().map(|(&bin, &count)| (bin, count))
    }
}

/// How much of each cell of the canvas is covered, on average over pictures: 64 x 64 cells, row
/// after row.
#[derive(Clone, Debug, PartialEq)]
pub struct Coverage {
    sums: Vec<f64>,
    pictures: u64,
}

impl Default for Coverage {
    fn default() -> Coverage {
        Coverage {
            sums: vec![0.0; COVERAGE_SIDE * COVERAGE_SIDE],
            pictures: 0,
        }
    }
}

impl Coverage {
    /// Counts one picture of which `plane` says per pixel, row after row, whether it is covered.
    /// A picture of another shape is stretched over the cells.
    fn add(&mut self, plane: &[bool], [width, height]: [usize; 2]) {
        if width == 0 || height == 0 {
            return;
        }
        self.pictures += 1;
        for row in 0..COVERAGE_SIDE {
            for column in 0..COVERAGE_SIDE {
                let (columns, rows) = (cell(column, width), cell(row, height));
                let covered: usize = rows
                    .clone()
                    .map(|y| &plane[y * width..][columns.clone()])
                    .map(|pixels| pixels.iter().filter(|&&covered| covered).count())
                    .sum();
                let share = covered as f64 / (rows.len() * columns.len()) as f64;
                self.sums[row * COVERAGE_SIDE + column] += share;
            }
        }
    }

    /// The cells' mean coverage, 0..=1; all 0 where no picture was counted.
    pub fn cells(&self) -> impl Iterator<Item = f64> {
        let pictures = self.pictures.max(1) as f64;
        self.sums.iter().map(move |sum| sum / pictures)
    }
}

/// The pixels that a cell stands for; never none.
fn cell(number: usize, side: usize) -> std::ops::Range<usize> {
    let start = number * side / COVERAGE_SIDE;
    let end = ((number + 1) * side / COVERAGE_SIDE).max(start + 1);
    start..end
}

impl Statistics {
    /// Counts one picture.
    pub fn add(&mut self, picture: &Picture) {
        self.pictures += 1;
        if picture.problem.is_some() {
            self.missing += 1;
            return;
        }
        self.before_unknown += u64::from(picture.before.is_none());
        for &category in picture.before.iter().flatten() {
            self.categories.entry(category).or_default().before += 1;
        }
        for instance in &picture.instances {
            let is_pasted = instance.origin == Origin::Pasted;
            self.instances += 1;
            self.pasted += u64::from(is_pasted);
            self.ignored += u64::from(instance.ignored);
            self.crowds += u64::from(instance.crowd);
            let count = self.categories.entry(instance.category).or_default();
            count.after += 1;
            count.pasted += u64::from(is_pasted);
            match is_pasted {
                true => self.pasted_sizes.add(instance.area),
                false if instance.crowd => {}
                false => self.own_sizes.add(instance.area),
            }
        }
        self.add_coverage(picture);
    }

    fn add_coverage(&mut self, picture: &Picture) {
        let (width, height) = picture.image.dimensions();
        let size = [width as usize, height as usize];
        for (is_pasted, coverage) in [
            (false, &mut self.own_coverage),
            (true, &mut self.pasted_coverage),
        ] {
            let mut plane = vec![false; size[0] * size[1]];
            let chosen = picture.instances.iter().filter(|instance| {
                (instance.origin == Origin::Pasted) == is_pasted && !instance.crowd
            });
            for instance in chosen.filter(|i| (i.mask.width(), i.mask.height()) == (width, height))
            {
                instance.mask.for_each_run(|x, rows| {
                    for y in rows {
                        plane[y as usize * size[0] + x as usize] = true;
                    }
                });
            }
            coverage.add(&plane, size);
        }
    }
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::*;
    use crate::view::gallery::Reduction;
    use crate::view::gallery::tests::block;

    fn picture(size: [u32; 2], instances: &[(i64, Origin, [u32; 4])]) -> Picture {
        let reduction = Reduction::new(size, size[0].max(size[1]));
        let mut picture = Picture::missing("a", "");
        picture.problem = None;
        picture.size = size;
        picture.image = RgbImage::new(size[0], size[1]);
        for &(category, origin, place) in instances {
            let mask = block(size, place);
            let instance = reduction.instance(category, origin, &mask, 0).unwrap();
            picture.instances.push(instance);
        }
        picture
    }

    #[test]
    fn sizes_fall_into_bins_of_half_an_octave() {
        let mut histogram = SizeHistogram::default();
        // sqrt: 1, 1.41, 1.73, 2, 31.98, 32
        for area in [0, 1, 2, 3, 4, 1023, 1024] {
            histogram.add(area);
        }
        let bins: Vec<(u32, u64)> = histogram.bins().collect();
        assert_eq!(bins, [(0, 1), (1, 2), (2, 1), (9, 1), (10, 1)]);
    }

    #[test]
    fn coverage_is_the_mean_share_of_each_cell() {
        let mut statistics = Statistics::default();
        // Cells of 2 x 1 pixels: the left half of the first cell, and the whole last row.
        let pasted = [
            (1, Origin::Pasted, [0, 0, 1, 1]),
            (1, Origin::Pasted, [0, 63, 128, 64]),
            (1, Origin::Scene, [2, 0, 4, 1]),
        ];
        statistics.add(&picture([128, 64], &pasted));
        statistics.add(&picture([128, 64], &pasted[1..2]));
        let cells: Vec<f64> = statistics.pasted_coverage.cells().collect();
        assert_eq!(cells.len(), 4096);
        assert_eq!(cells[0], 0.25);
        assert!(cells[1..63 * 64].iter().all(|&share| share == 0.0));
        assert!(cells[63 * 64..].iter().all(|&share| share == 1.0));
        let own: Vec<f64> = statistics.own_coverage.cells().collect();
        assert_eq!(own[1], 0.5);
        assert_eq!(own.iter().sum::<f64>(), 0.5);
    }

    #[test]
    fn a_picture_smaller_than_the_cells_is_stretched() {
        let mut statistics = Statistics::default();
        statistics.add(&picture([2, 1], &[(1, Origin::Pasted, [0, 0, 1, 1])]));
        let cells: Vec<f64> = statistics.pasted_coverage.cells().collect();
        for (index, &share) in cells.iter().enumerate() {
            assert_eq!(share, f64::from(u8::from(index % 64 < 32)), "{index}");
        }
        assert!(Coverage::default().cells().all(|share| share == 0.0));
    }

    #[test]
    fn categories_are_counted_before_and_after() {
        let mut statistics = Statistics::default();
        let place = [0, 0, 3, 3];
        let mut first = picture(
            [8, 8],
            &[
                (5, Origin::Scene, place),
                (6, Origin::Pasted, place),
                (5, Origin::Pasted, place),
            ],
        );
        first.before = Some(vec![5, 5]);
        first.instances[1].ignored = true;
        statistics.add(&first);
        let mut second = picture([8, 8], &[(7, Origin::Unknown, place)]);
        second.instances[0].crowd = true;
        second.before = Some(vec![7]);
        statistics.add(&second);
        statistics.add(&Picture::missing("gone", "no such file"));
        let counts: Vec<(i64, [u64; 3])> = statistics
            .categories
            .iter()
            .map(|(&id, count)| (id, [count.before, count.after, count.pasted]))
            .collect();
        assert_eq!(counts, [(5, [2, 2, 1]), (6, [0, 1, 1]), (7, [1, 1, 0])]);
        assert_eq!((statistics.pictures, statistics.missing), (3, 1));
        assert_eq!(statistics.before_unknown, 0);
        second.before = None;
        statistics.add(&second);
        assert_eq!(statistics.before_unknown, 1);
        assert_eq!(statistics.categories[&7].before, 1);
        let mut statistics = Statistics::default();
        statistics.add(&first);
        second.before = Some(vec![7]);
        statistics.add(&second);
        assert_eq!((statistics.instances, statistics.pasted), (4, 2));
        assert_eq!((statistics.ignored, statistics.crowds), (1, 1));
        // The crowd has no size.
        assert_eq!(statistics.own_sizes.bins().collect::<Vec<_>>(), [(3, 1)]);
        assert_eq!(statistics.pasted_sizes.bins().collect::<Vec<_>>(), [(3, 2)]);
    }
}
