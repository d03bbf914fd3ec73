//! Contact sheets: pictures in a grid of equal tiles, with captions below and a title above.

use std::path::Path;

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

use super::text::Typeface;
use super::{GROUND, MOST_PIXELS, ViewError, WELL, save_png};

/// Colour of the title and of the first caption line.
const INK: Rgb<u8> = Rgb([232, 234, 237]);
/// Colour of further caption lines.
const FAINT_INK: Rgb<u8> = Rgb([168, 174, 182]);
/// Pixels between the edge of the sheet and all it shows.
const MARGIN: u32 = 16;
/// Pixels between neighbouring tiles.
const GAP: u32 = 8;
/// Pixels between the title and the first tiles.
const TITLE_GAP: u32 = 8;
/// Pixels between a tile and its first caption line.
const CAPTION_GAP: u32 = 5;
/// Pixels between caption lines.
const LEADING: u32 = 2;
/// Most caption lines below a tile.
const MOST_CAPTIONS: usize = 3;
/// A narrow sheet is widened to this for the sake of a long title.
const TITLE_WIDTH: u32 = 640;
/// Largest factor by which a small picture is enlarged.
const MOST_ENLARGED: f64 = 4.0;

/// A contact sheet: tiles of one size in a grid, captions below each, a title line on top.
#[derive(Debug, Clone)]
pub struct Sheet {
    title: String,
    columns: u32,
    tile: (u32, u32),
    cells: Vec<Cell>,
}

/// One picture, already scaled for its tile, and the lines below it.
#[derive(Debug, Clone)]
struct Cell {
    picture: RgbImage,
    captions: Vec<String>,
}

/// Where things lie on a sheet.
struct Layout {
    width: u32,
    height: u32,
    /// Top of the first row of tiles.
    first_top: u32,
    /// From the top of one row to the top of the next.
    pitch: u32,
    columns: u32,
}

impl Sheet {
    /// An empty sheet. Its columns and the sides of its tiles count as one where zero is given.
    pub fn new(title: &str, columns: u32, tile: (u32, u32)) -> Sheet {
        Sheet {
            title: title.to_owned(),
            columns: columns.max(1),
            tile: (tile.0.max(1), tile.1.max(1)),
            cells: Vec::new(),
        }
    }

    /// Replaces the title line, for what is known only when all pictures are there.
    pub fn set_title(&mut self, title: &str) {
        self.title = title.to_owned();
    }

    /// Appends a picture, scaled into a tile, with up to three caption lines. Lines too wide for
    /// the tile are cut; an empty picture leaves its tile blank.
    pub fn add(&mut self, image: &RgbImage, captions: &[String]) {
        let captions = captions.iter().take(MOST_CAPTIONS).cloned().collect();
        self.cells.push(Cell {
            picture: RgbImage::new(0, 0),
            captions,
        });
        // A sheet that can no longer be rendered needs no more pixels in memory.
        if self.layout().is_ok()
            && let Some(cell) = self.cells.last_mut()
        {
            cell.picture = scaled(image, self.tile);
        }
    }

    /// How many pictures were added.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether no picture was added.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Draws the sheet. One that is too large becomes an image without pixels, which
    /// [`Sheet::try_render`] reports instead.
    pub fn render(&self) -> RgbImage {
        self.try_render().unwrap_or_default()
    }

    /// Draws the sheet, or says that it is too large.
    pub fn try_render(&self) -> Result<RgbImage, ViewError> {
        let layout = self.layout()?;
        let mut canvas = RgbImage::from_pixel(layout.width, layout.height, GROUND);
        let typeface = Typeface::title();
        let title = typeface.cut(&self.title, layout.width - 2 * MARGIN);
        let corner = (i64::from(MARGIN), i64::from(MARGIN));
        typeface.draw(&mut canvas, corner, &title, INK);
        for (cell, index) in self.cells.iter().zip(0..) {
            let (column, row): (u32, u32) = (index % layout.columns, index / layout.columns);
            let left = MARGIN + column * (self.tile.0 + GAP);
            let top = layout.first_top + row * layout.pitch;
            self.draw_cell(&mut canvas, cell, left, top);
        }
        Ok(canvas)
    }

    /// Writes the sheet as PNG under a temporary name in the same folder, then renames it.
    pub fn save(&self, path: &Path) -> Result<(), ViewError> {
        save_png(&self.try_render()?, path)
    }

    /// Draws one tile and its captions.
    fn draw_cell(&self, canvas: &mut RgbImage, cell: &Cell, left: u32, top: u32) {
        let tile = centred(&cell.picture, self.tile);
        imageops::replace(canvas, &tile, left.into(), top.into());
        let typeface = Typeface::caption(self.tile.0);
        let mut baseline = top + self.tile.1 + CAPTION_GAP;
        for (number, caption) in cell.captions.iter().enumerate() {
            let ink = if number == 0 { INK } else { FAINT_INK };
            let line = typeface.cut(caption, self.tile.0);
            typeface.draw(canvas, (left.into(), baseline.into()), &line, ink);
            baseline += typeface.height() + LEADING;
        }
    }

    /// Places the title and the grid, in numbers too wide to overflow.
    fn layout(&self) -> Result<Layout, ViewError> {
        let wide = |value: u32| u64::from(value);
        let cells = self.cells.len() as u64;
        let columns = wide(self.columns).min(cells).max(1);
        let rows = cells.div_ceil(columns);
        let title = Typeface::title();
        let grid_width = columns.saturating_mul(wide(self.tile.0) + wide(GAP)) - wide(GAP);
        let title_width = wide(title.width(&title.cut(&self.title, TITLE_WIDTH)));
        let width = grid_width.max(title_width).saturating_add(2 * wide(MARGIN));
        let first_top = match self.title.trim() {
            "" => MARGIN,
            _ => MARGIN + title.height() + TITLE_GAP,
        };
        let pitch = wide(self.tile.1) + self.captions_height() + wide(GAP);
        let grid_height = rows.saturating_mul(pitch).saturating_sub(wide(GAP));
        let height = grid_height.saturating_add(wide(first_top) + wide(MARGIN));
        let too_large = || ViewError::TooLarge { width, height };
        if width.saturating_mul(height) > MOST_PIXELS {
            return Err(too_large());
        }
        let narrow = |value: u64| u32::try_from(value).map_err(|_| too_large());
        Ok(Layout {
            width: narrow(width)?,
            height: narrow(height)?,
            first_top,
            pitch: narrow(pitch)?,
            columns: narrow(columns)?,
        })
    }

    /// Height that captions take below every tile.
    fn captions_height(&self) -> u64 {
        let lines = self.cells.iter().map(|cell| cell.captions.len()).max();
        match lines.unwrap_or(0) as u64 {
            0 => 0,
            lines => {
                let line = Typeface::caption(self.tile.0).height() + LEADING;
                u64::from(CAPTION_GAP) * 2 + lines * u64::from(line)
            }
        }
    }
}

/// The size at which a picture is shown in a tile: its proportions are kept, every side of a
/// picture that has pixels keeps at least one.
pub(super) fn fit((width, height): (u32, u32), tile: (u32, u32)) -> (u32, u32) {
    if width == 0 || height == 0 || tile.0 == 0 || tile.1 == 0 {
        return (0, 0);
    }
    let across = f64::from(tile.0) / f64::from(width);
    let down = f64::from(tile.1) / f64::from(height);
    let scale = across.min(down).min(MOST_ENLARGED);
    let side = |length: u32, most: u32| {
        let scaled = (f64::from(length) * scale).round() as u32;
        scaled.clamp(1, most)
    };
    (side(width, tile.0), side(height, tile.1))
}

/// The picture at the size at which it is shown in a tile.
pub(super) fn scaled(image: &RgbImage, tile: (u32, u32)) -> RgbImage {
    let (width, height) = fit(image.dimensions(), tile);
    if width == 0 {
        return RgbImage::new(0, 0);
    }
    // A small cutout is enlarged to show its pixels; blurring would hide what is to be judged.
    let filter = if width / 2 >= image.width() {
        FilterType::Nearest
    } else {
        FilterType::CatmullRom
    };
    imageops::resize(image, width, height, filter)
}

/// The picture in the middle of a tile of that size.
pub(super) fn centred(picture: &RgbImage, tile: (u32, u32)) -> RgbImage {
    let mut canvas = RgbImage::from_pixel(tile.0, tile.1, WELL);
    let left = tile.0.saturating_sub(picture.width()) / 2;
    let top = tile.1.saturating_sub(picture.height()) / 2;
    imageops::replace(&mut canvas, picture, left.into(), top.into());
    canvas
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_fit_their_tile_in_proportion() {
        assert_eq!(fit((640, 480), (200, 200)), (200, 150));
        assert_eq!(fit((480, 640), (200, 100)), (75, 100));
        assert_eq!(fit((10, 20), (200, 200)), (40, 80));
        assert_eq!(fit((100_000, 1), (200, 200)), (200, 1));
        assert_eq!(fit((1, u32::MAX), (200, 200)), (1, 200));
        assert_eq!(fit((0, 5), (200, 200)), (0, 0));
        assert_eq!(fit((5, 5), (0, 200)), (0, 0));
    }

    #[test]
    fn a_picture_lies_in_the_middle_of_its_tile() {
        let picture = RgbImage::from_pixel(2, 2, INK);
        let tile = centred(&picture, (6, 4));
        assert_eq!(tile.get_pixel(2, 1), &INK);
        assert_eq!(tile.get_pixel(3, 2), &INK);
        assert_eq!(tile.pixels().filter(|pixel| **pixel == INK).count(), 4);
    }

    #[test]
    fn sheets_grow_by_rows() {
        let mut sheet = Sheet::new("", 2, (30, 20));
        for _ in 0..3 {
            sheet.add(&RgbImage::new(60, 40), &[]);
        }
        let size = sheet.render().dimensions();
        assert_eq!(size, (2 * 30 + GAP + 2 * MARGIN, 2 * 20 + GAP + 2 * MARGIN));
        assert_eq!((sheet.len(), sheet.is_empty()), (3, false));
    }

    #[test]
    fn odd_sheets_are_rendered() {
        let long = "title ".repeat(10_000);
        for (title, columns, tile) in [("", 0, (0, 0)), (&long, u32::MAX, (1, 1))] {
            let mut sheet = Sheet::new(title, columns, tile);
            assert!(sheet.is_empty() && sheet.render().width() > 0);
            sheet.add(&RgbImage::new(0, 0), &vec![long.clone(); 5]);
            sheet.add(&RgbImage::new(1, 900), &[String::new()]);
            assert!(sheet.render().width() <= TITLE_WIDTH + 2 * MARGIN);
        }
    }

    #[test]
    fn absurd_sheets_are_errors() {
        let mut sheet = Sheet::new("title", u32::MAX, (u32::MAX, u32::MAX));
        sheet.add(&RgbImage::new(300, 300), &[]);
        sheet.add(&RgbImage::new(300, 300), &[]);
        assert!(matches!(
            sheet.try_render(),
            Err(ViewError::TooLarge { .. })
        ));
        assert_eq!(sheet.render().dimensions(), (0, 0));
        assert!(sheet.save(Path::new("absurd.png")).is_err());
    }
}
