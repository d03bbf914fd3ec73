//! Contact sheets of kept and of dropped images.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fs;
use std::path::Path;

use image::{GrayImage, RgbImage, RgbaImage};
use rayon::prelude::*;

use super::{CategoryReport, FilterReport, ReportError, Reported};
use crate::bank::{BankError, CutoutBank};
use crate::build::choose::score;
use crate::build::rows::MaskRow;
use crate::compose::rules::choose_level;
use crate::compose::rules::in_mask;
use crate::geometry::Size;
use crate::view::{Mask, Overlay, Sheet, Style, on_chequerboard, tile_in_style, tint};

/// Side of the chequerboard's squares on a tile, in pixels.
const SQUARE: u32 = 8;

/// How contact sheets are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SheetOptions {
    /// Tiles in a row.
    pub columns: u32,
    /// Side of a tile in pixels.
    pub tile: u32,
    /// Most tiles of a sheet; where there are more images, they are taken at equal distances. 0
    /// makes no sheets.
    pub most: usize,
}

impl Default for SheetOptions {
    fn default() -> SheetOptions {
        SheetOptions {
            columns: 6,
            tile: 240,
            most: 48,
        }
    }
}

/// The sheets of a report.
pub(super) struct Sheets<'a> {
    report: &'a FilterReport,
    of: Reported<'a>,
    options: SheetOptions,
    bank: &'a CutoutBank,
    /// The bank's rows by their images' keys.
    rows: HashMap<String, usize>,
    /// The images of each category: indices into the sources.
    images: HashMap<i64, Vec<usize>>,
}

impl<'a> Sheets<'a> {
    pub fn new(
        report: &'a FilterReport,
        of: Reported<'a>,
        bank: &'a CutoutBank,
        options: &SheetOptions,
    ) -> Result<Sheets<'a>, BankError> {
        let mut rows = HashMap::new();
        for row in 0..bank.len() {
            if let Some(provenance) = bank.provenance(row)? {
                rows.insert(provenance.key, row);
            }
        }
        let mut images: HashMap<i64, Vec<usize>> = HashMap::new();
        for (index, source) in of.sources.iter().enumerate() {
            images.entry(source.category).or_default().push(index);
        }
        Ok(Sheets {
            report,
            of,
            options: *options,
            bank,
            rows,
            images,
        })
    }

    /// Writes the sheets of a category: of what was kept, best first, and of what was dropped, rule
    /// after rule. Returns their names; a sheet without a picture is not written.
    pub fn write(
        &self,
        category: &CategoryReport,
        folder: &Path,
    ) -> Result<Vec<String>, ReportError> {
        let images = self.images.get(&category.id).map_or(&[][..], Vec::as_slice);
        let (mut kept, mut dropped): (Vec<usize>, Vec<usize>) = images
            .iter()
            .partition(|&&image| self.report.choices[image].dropped.is_none());
        kept.sort_by_key(|&image| self.place(image));
        dropped.sort_by_key(|&image| self.place(image));
        let mut names = Vec::new();
        for (what, images) in [("kept", kept), ("dropped", dropped)] {
            let name = format!("{}-{}-{what}.png", category.id, file_stem(&category.name));
            let path = folder.join(&name);
            let shown = spread(&images, self.options.most);
            if shown.is_empty() {
                // One of an earlier report would no longer be true.
                let _ = fs::remove_file(&path);
                continue;
            }
            let side = (self.options.tile, self.options.tile);
            let mut sheet = Sheet::new("", self.options.columns, side);
            let tiles: Vec<RgbImage> = shown.par_iter().map(|&image| self.tile(image)).collect();
            for (tile, &image) in tiles.iter().zip(&shown) {
                sheet.add(tile, &self.captions(image));
            }
            let all = images.len();
            sheet.set_title(&match shown.len() {
                some if some < all => format!("{}: {some} of {all} {what}", category.name),
                _ => format!("{}: {all} {what}", category.name),
            });
            sheet.save(&path)?;
            names.push(name);
        }
        Ok(names)
    }

    /// Rule, score from the top and key of an image, by which sheets are ordered.
    fn place(&self, image: usize) -> impl Ord {
        let rule = self.report.choices[image]
            .dropped
            .as_ref()
            .map(|reason| reason.rule());
        // Scores are 100 · cosine: thousandths tell them apart well enough for a sheet.
        let clip = self
            .mask(image)
            .and_then(score)
            .map(|clip| (clip * 1000.0) as i64);
        (rule, Reverse(clip), self.of.sources[image].key.clone())
    }

    fn mask(&self, image: usize) -> Option<&'a MaskRow> {
        self.of.masks.get(self.report.choices[image].mask?)
    }

    fn captions(&self, image: usize) -> Vec<String> {
        let mut captions = vec![self.of.sources[image].key.clone()];
        captions.extend(
            self.report.choices[image]
                .dropped
                .as_ref()
                .map(ToString::to_string),
        );
        captions.extend(self.mask(image).map(|mask| match score(mask) {
            Some(clip) => format!("{clip:.2} {}", mask.segmenter),
            None => mask.segmenter.clone(),
        }));
        captions
    }

    /// A kept image's cutout on a chequerboard, or a dropped one with its mask. Without pixels where
    /// there are none.
    fn tile(&self, image: usize) -> RgbImage {
        let tile = match self.report.choices[image].dropped {
            None => self.cutout(image),
            Some(_) => self.picture(image),
        };
        tile.unwrap_or_default()
    }

    fn cutout(&self, image: usize) -> Option<RgbImage> {
        let row = self.rows.get(&self.of.sources[image].key)?;
        let cutout = self.bank.get(*row)?;
        let side = self.options.tile.clamp(1, crate::geometry::MAX_SOURCE_SIDE);
        let level = choose_level(cutout.size, Size::new(side, side)?);
        let (size, texels) = cutout.level(level)?;
        let texels = RgbaImage::from_raw(size.width(), size.height(), texels.to_vec())?;
        Some(on_chequerboard(&texels, SQUARE))
    }

    fn picture(&self, image: usize) -> Option<RgbImage> {
        let picture = self.of.material.picture(&self.of.sources[image]).ok()?;
        let mask = self
            .mask(image)
            .and_then(|row| self.of.material.mask(row).ok());
        let mask = mask.filter(|mask| mask.dimensions() == picture.dimensions());
        let bits = mask.map(|mask| bits_of(&mask)).unwrap_or_default();
        let overlay = Overlay {
            mask: Mask {
                bits: &bits,
                stride_words: picture.width().div_ceil(32) as usize,
            },
            box_xyxy: [0, 0, picture.width(), picture.height()],
            label: "",
            tint: tint(0),
        };
        let style = Style {
            masks: true,
            boxes: false,
            names: false,
        };
        let side = (self.options.tile, self.options.tile);
        Some(tile_in_style(&picture, &[overlay], side, style))
    }
}

/// At most `most` of the images, at equal distances, the first and the last among them.
fn spread(images: &[usize], most: usize) -> Vec<usize> {
    if images.len() <= most {
        return images.to_vec();
    }
    let last = images.len() - 1;
    let steps = most.saturating_sub(1).max(1);
    (0..most).map(|step| images[step * last / steps]).collect()
}

/// The pixels of a mask that belong to the object, as rows of bits.
fn bits_of(mask: &GrayImage) -> Vec<u32> {
    let width = mask.width().max(1) as usize;
    let word = |values: &[u8]| {
        let bits = values.iter().enumerate();
        bits.fold(0, |word, (bit, &value)| {
            word | u32::from(in_mask(value)) << bit
        })
    };
    let rows = mask.as_raw().chunks_exact(width);
    rows.flat_map(|row| row.chunks(32).map(word)).collect()
}

/// A name as part of a file's: letters and digits of ASCII, at most 40.
fn file_stem(name: &str) -> String {
    let plain = |letter: char| match letter.is_ascii_alphanumeric() {
        true => letter,
        false => '_',
    };
    name.chars().take(40).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_images_are_spread_over_all() {
        let images: Vec<usize> = (100..110).collect();
        assert_eq!(spread(&images, 10), images);
        assert_eq!(spread(&images, 4), [100, 103, 106, 109]);
        assert_eq!(spread(&images, 1), [100]);
        assert!(spread(&images, 0).is_empty());
    }

    #[test]
    fn bits_follow_the_rows() {
        let mut mask = GrayImage::from_pixel(34, 2, image::Luma([127]));
        mask.put_pixel(1, 0, image::Luma([128]));
        mask.put_pixel(33, 1, image::Luma([255]));
        assert_eq!(bits_of(&mask), [2, 0, 0, 2]);
    }
}
