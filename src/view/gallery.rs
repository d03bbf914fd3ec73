//! What there is to look at, whatever it comes from: pictures with their instances, in a form that
//! the writers of sheets and of HTML both take.
//!
//! Pictures are handed over one by one and reduced to the size at which they will be looked at, so
//! that at most a few photographs are in memory at a time. A data set's annotations are there all
//! the while: a small record each, and for folders of composed and rendered pictures what else is
//! shown of them; outlines stay on disk but for those of rendered folders.

use std::collections::{BTreeMap, BTreeSet};

use image::RgbImage;
use image::imageops::{self, FilterType};

use super::placement::Placement;
use super::stencil::Stencil;
use super::{Mask, tint};
use crate::annotations::problems::Problems;
use crate::annotations::rle::Rle;

/// Where an instance comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// It is annotated, and nothing says more: a plain data set.
    Unknown,
    /// The scene below had it.
    Scene,
    /// A layer pasted it.
    Pasted,
}

impl Origin {
    /// The name that pages and their addresses use.
    pub fn name(self) -> &'static str {
        match self {
            Origin::Unknown => "annotated",
            Origin::Scene => "scene",
            Origin::Pasted => "pasted",
        }
    }
}

/// One instance of a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// Category id.
    pub category: i64,
    /// Where it comes from.
    pub origin: Origin,
    /// Whether its label is dropped: it is there but counts for nothing.
    pub ignored: bool,
    /// COCO's crowd flag.
    pub crowd: bool,
    /// Visible pixels at the picture's true size.
    pub area: u64,
    /// Left, top, right, bottom in pixels of the true size, half open.
    pub box_xyxy: [u32; 4],
    /// The visible mask at the size of [`Picture::image`].
    pub mask: Rle,
    /// Colour of all that is drawn for it.
    pub tint: [u8; 3],
}

/// One picture with its instances.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// What it is called: a file's name, or which sample of which scene it is.
    pub title: String,
    /// True width and height in pixels.
    pub size: [u32; 2],
    /// The picture without any overlay, perhaps reduced; without pixels where there is none.
    pub image: RgbImage,
    /// What is drawn over it, bottom to top.
    pub instances: Vec<Instance>,
    /// The categories of what the scene holds where nothing is pasted, one entry an instance;
    /// `None` where nobody knows.
    pub before: Option<Vec<i64>>,
    /// Why there is no picture, if there is none.
    pub problem: Option<String>,
}

impl Picture {
    /// A picture that could not be had: its name and the reason.
    pub fn missing(title: impl Into<String>, problem: impl Into<String>) -> Picture {
        Picture {
            title: title.into(),
            size: [0, 0],
            image: RgbImage::new(0, 0),
            instances: Vec::new(),
            before: None,
            problem: Some(problem.into()),
        }
    }

    /// Leaves only instances of these categories; none given leaves all. Tints stay as they are.
    pub fn keep_categories(&mut self, wanted: &BTreeSet<i64>) {
        if !wanted.is_empty() {
            self.instances
                .retain(|instance| wanted.contains(&instance.category));
            if let Some(before) = &mut self.before {
                before.retain(|category| wanted.contains(category));
            }
        }
    }
}

/// Pictures from somewhere, one after another.
pub trait Source {
    /// What is looked at, for the heading.
    fn title(&self) -> String;

    /// Category names by id.
    fn names(&self) -> &BTreeMap<i64, String>;

    /// How many pictures there are; `None` where they never end.
    fn total(&self) -> Option<u64>;

    /// From now on only pictures with instances of these categories come, and only with those.
    fn choose(&mut self, categories: BTreeSet<i64>);

    /// The next picture, its longer side at most `longest` pixels; `None` at the end. What cannot
    /// be had is a picture with a [`Picture::problem`].
    fn next(&mut self, longest: u32) -> Option<Picture>;

    /// What was wrong so far.
    fn problems(&self) -> &Problems;
}

/// From a picture's true size to the size at which it is looked at: reduced, never enlarged.
pub(super) struct Reduction {
    placement: Placement,
}

impl Reduction {
    /// For a picture of that size (no side 0) whose longer side is to have at most that many
    /// pixels.
    pub fn new(size: [u32; 2], longest: u32) -> Reduction {
        let [width, height] = size;
        let longer = u64::from(width.max(height).max(1));
        let side = |side: u32| {
            let scaled = (u64::from(side) * u64::from(longest) + longer / 2) / longer;
            // At most `longest`, which has 32 bits.
            (scaled as u32).max(1)
        };
        let drawn = if longer > u64::from(longest) {
            (side(width), side(height))
        } else {
            (width, height)
        };
        Reduction {
            placement: Placement {
                source: (width, height),
                drawn,
                left: 0,
                top: 0,
            },
        }
    }

    /// The picture at its new size.
    pub fn image(&self, image: RgbImage) -> RgbImage {
        let (width, height) = self.placement.drawn;
        if image.dimensions() == (width, height) {
            return image;
        }
        // Halving is cheap and exact; the filter then has few pixels to read.
        let mut image = image;
        while image.width() >= 4 * width && image.height() >= 4 * height {
            image = imageops::thumbnail(&image, image.width() / 2, image.height() / 2);
        }
        imageops::resize(&image, width, height, FilterType::Triangle)
    }

    /// A mask of the picture at its new size: pixels of which at least half is set, or those that
    /// are touched at all by a mask too thin for that.
    /// `None` where no pixel is set.
    fn mask(&self, mask: &Rle) -> Option<Rle> {
        if self.placement.source == self.placement.drawn {
            return Some(mask.clone());
        }
        let bits = bits_of(mask);
        Stencil::sample(&bits.mask(), &self.placement)?.run_lengths(self.placement.drawn)
    }

    /// An instance from its mask at true size; `None` where it has no pixel or its mask is of
    /// another size. `number` chooses the tint.
    pub fn instance(
        &self,
        category: i64,
        origin: Origin,
        mask: &Rle,
        number: usize,
    ) -> Option<Instance> {
        if (mask.width(), mask.height()) != self.placement.source {
            return None;
        }
        let [left, top, width, height] = mask.bounding_box()?;
        Some(Instance {
            category,
            origin,
            ignored: false,
            crowd: false,
            area: mask.area(),
            box_xyxy: [left, top, left + width, top + height],
            mask: self.mask(mask)?,
            tint: tint(number),
        })
    }
}

/// A mask as rows of bits.
pub(super) struct Bits {
    words: Vec<u32>,
    stride_words: usize,
}

impl Bits {
    /// The same, borrowed for drawing.
    pub fn mask(&self) -> Mask<'_> {
        Mask {
            bits: &self.words,
            stride_words: self.stride_words,
        }
    }
}

/// Run lengths as rows of bits.
pub(super) fn bits_of(mask: &Rle) -> Bits {
    let stride_words = (mask.width() as usize).div_ceil(32);
    let mut words = vec![0; stride_words * mask.height() as usize];
    mask.for_each_run(|x, rows| {
        for y in rows {
            words[y as usize * stride_words + x as usize / 32] |= 1 << (x % 32);
        }
    });
    Bits {
        words,
        stride_words,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A mask of `size` whose pixels in the box (left, top, right, bottom) are set.
    pub fn block(size: [u32; 2], [left, top, right, bottom]: [u32; 4]) -> Rle {
        let [width, height] = size;
        let stride = width.div_ceil(32) as usize;
        let mut bits = vec![0u32; stride * height as usize];
        for y in top..bottom {
            for x in left..right {
                bits[y as usize * stride + x as usize / 32] |= 1 << (x % 32);
            }
        }
        Rle::from_box_bits(width, height, [0, 0, width, height], stride, &bits).unwrap()
    }

    #[test]
    fn run_lengths_become_the_same_bits() {
        let mask = block([70, 5], [31, 1, 66, 4]);
        let bits = bits_of(&mask);
        for y in 0..5 {
            for x in 0..70 {
                let inside = (31..66).contains(&x) && (1..4).contains(&y);
                assert_eq!(bits.mask().get(x, y), inside, "{x} {y}");
            }
        }
    }

    #[test]
    fn large_pictures_are_reduced_in_proportion_and_small_ones_stay() {
        let drawn = |size, longest| Reduction::new(size, longest).placement.drawn;
        assert_eq!(drawn([1000, 500], 200), (200, 100));
        assert_eq!(drawn([3, 1000], 100), (1, 100));
        assert_eq!(drawn([60, 50], 100), (60, 50));
        assert_eq!(drawn([8192, 8192], 640), (640, 640));
        let image = RgbImage::from_pixel(1600, 800, image::Rgb([9, 8, 7]));
        let reduced = Reduction::new([1600, 800], 100).image(image);
        assert_eq!(reduced.dimensions(), (100, 50));
        assert!(reduced.pixels().all(|pixel| pixel.0 == [9, 8, 7]));
    }

    #[test]
    fn an_instance_keeps_its_true_box_and_area_and_a_reduced_mask() {
        let reduction = Reduction::new([80, 40], 20);
        let mask = block([80, 40], [8, 4, 48, 24]);
        let instance = reduction.instance(7, Origin::Pasted, &mask, 3).unwrap();
        assert_eq!(instance.area, 800);
        assert_eq!(instance.box_xyxy, [8, 4, 48, 24]);
        assert_eq!(instance.mask, block([20, 10], [2, 1, 12, 6]));
        assert_eq!(instance.tint, tint(3));
        let dot = block([80, 40], [9, 9, 10, 10]);
        let dot = reduction.instance(7, Origin::Scene, &dot, 0).unwrap();
        assert_eq!((dot.area, dot.mask.area()), (1, 1));
        let nothing = block([80, 40], [0; 4]);
        assert!(reduction.instance(7, Origin::Scene, &nothing, 0).is_none());
        let other = block([79, 40], [0, 0, 9, 9]);
        assert!(reduction.instance(7, Origin::Scene, &other, 0).is_none());
    }

    #[test]
    fn chosen_categories_leave_the_others_out() {
        let reduction = Reduction::new([8, 8], 8);
        let mask = block([8, 8], [1, 1, 4, 4]);
        let mut picture = Picture::missing("one", "");
        picture.instances = (0..4)
            .map(|id| reduction.instance(id, Origin::Unknown, &mask, 0).unwrap())
            .collect();
        picture.before = Some(vec![0, 1, 1]);
        let whole = picture.clone();
        picture.keep_categories(&BTreeSet::new());
        assert_eq!(picture, whole);
        picture.keep_categories(&BTreeSet::from([1, 3, 9]));
        let left: Vec<i64> = picture.instances.iter().map(|i| i.category).collect();
        assert_eq!((left, picture.before), (vec![1, 3], Some(vec![1, 1])));
    }
}
