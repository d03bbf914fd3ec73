//! Lettering: choice of font, cutting text to a width, drawing it on an RGB image.

use std::convert::Infallible;

use embedded_graphics::mono_font::iso_8859_1 as fonts;
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::text::{Baseline, Text};
use image::{Rgb, RgbImage};

/// Most characters of a text that are looked at; no line shows more.
const MOST_CHARACTERS: usize = 4096;
/// Stands for what was cut off; the fonts have no ellipsis.
const ELLIPSIS: &str = "...";

/// A font of fixed width, drawn with every dot as a square of so many pixels.
#[derive(Clone, Copy)]
pub(super) struct Typeface {
    font: &'static MonoFont<'static>,
    dot: u32,
}

impl Typeface {
    /// For the title of a sheet.
    pub(super) fn title() -> Typeface {
        Typeface {
            font: &fonts::FONT_9X18_BOLD,
            dot: 1,
        }
    }

    /// For captions below tiles of that width.
    pub(super) fn caption(tile_width: u32) -> Typeface {
        let font = match tile_width {
            0..160 => &fonts::FONT_5X8,
            160..300 => &fonts::FONT_6X12,
            300..600 => &fonts::FONT_7X14,
            _ => &fonts::FONT_9X18,
        };
        Typeface { font, dot: 1 }
    }

    /// For tags on a picture whose shorter side has that many pixels.
    pub(super) fn tag(shorter_side: u32) -> Typeface {
        let font = match shorter_side {
            0..160 => &fonts::FONT_5X8,
            160..320 => &fonts::FONT_6X10,
            320..640 => &fonts::FONT_7X13,
            640..1100 => &fonts::FONT_8X13_BOLD,
            _ => &fonts::FONT_10X20,
        };
        // Large photographs are looked at reduced, so that the letters have to grow with them.
        let dot = (shorter_side / 1400).max(1);
        Typeface { font, dot }
    }

    /// Height of a line in pixels.
    pub(super) fn height(&self) -> u32 {
        self.font.character_size.height.saturating_mul(self.dot)
    }

    /// Width of a text in pixels.
    pub(super) fn width(&self, text: &str) -> u32 {
        let characters = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
        characters.saturating_mul(self.advance())
    }

    /// Pixels from one character to the next.
    fn advance(&self) -> u32 {
        let dots = self.font.character_size.width + self.font.character_spacing;
        dots.saturating_mul(self.dot).max(1)
    }

    /// The text in the characters of the font, ending in dots where it is wider than so many
    /// pixels.
    pub(super) fn cut(&self, text: &str, width: u32) -> String {
        let text = to_latin(text);
        let columns = (width / self.advance()) as usize;
        if text.chars().count() <= columns {
            return text;
        }
        let Some(kept) = columns.checked_sub(ELLIPSIS.len()).filter(|&kept| kept > 0) else {
            // The dots alone would say less than the first letters.
            return text.chars().take(columns).collect();
        };
        let start: String = text.chars().take(kept).collect();
        format!("{}{ELLIPSIS}", start.trim_end())
    }

    /// Draws one line with its top left corner there; what falls outside the image is left out.
    pub(super) fn draw(
        &self,
        image: &mut RgbImage,
        (left, top): (i64, i64),
        text: &str,
        ink: Rgb<u8>,
    ) {
        let [red, green, blue] = ink.0;
        let text = to_latin(text);
        let style = MonoTextStyle::new(self.font, Rgb888::new(red, green, blue));
        let line = Text::with_baseline(&text, Point::zero(), style, Baseline::Top);
        let mut canvas = Canvas {
            image,
            left,
            top,
            dot: self.dot,
        };
        let Ok(_) = line.draw(&mut canvas);
    }
}

/// The text in the characters of ISO 8859-1 on a single line.
fn to_latin(text: &str) -> String {
    let mut latin = String::new();
    for character in text.trim().chars().take(MOST_CHARACTERS) {
        match character {
            ' '..='~' | '\u{a0}'..='\u{ff}' => latin.push(character),
            '…' => latin.push_str(ELLIPSIS),
            '\u{2010}'..='\u{2015}' | '−' => latin.push('-'),
            '‘' | '’' => latin.push('\''),
            '“' | '”' => latin.push('"'),
            _ if character.is_whitespace() => latin.push(' '),
            _ => latin.push('?'),
        }
    }
    latin
}

/// Lets the drawing library set dots on an RGB image.
struct Canvas<'a> {
    image: &'a mut RgbImage,
    left: i64,
    top: i64,
    dot: u32,
}

impl Canvas<'_> {
    /// Fills the square of one dot.
    fn set_dot(&mut self, point: Point, ink: Rgb<u8>) {
        let dot = i64::from(self.dot);
        for down in 0..dot {
            for across in 0..dot {
                let x = self.left + i64::from(point.x) * dot + across;
                let y = self.top + i64::from(point.y) * dot + down;
                if let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y))
                    && let Some(pixel) = self.image.get_pixel_mut_checked(x, y)
                {
                    *pixel = ink;
                }
            }
        }
    }
}

impl OriginDimensions for Canvas<'_> {
    fn size(&self) -> Size {
        Size::new(self.image.width(), self.image.height())
    }
}

impl DrawTarget for Canvas<'_> {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I>(&mut self, pixels: I) -> Result<(), Infallible>
    where
        I: IntoIterator<Item = Pixel<Rgb888>>,
    {
        for Pixel(point, colour) in pixels {
            self.set_dot(point, Rgb([colour.r(), colour.g(), colour.b()]));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_characters_become_question_marks_on_one_line() {
        assert_eq!(to_latin(" café\n猫 – “×2”… "), "café ? - \"×2\"...");
        assert_eq!(to_latin("\u{85}a\u{7f}\u{90}"), "a??");
        assert_eq!(to_latin(&"x".repeat(100_000)).len(), MOST_CHARACTERS);
    }

    #[test]
    fn cut_text_fits_the_width() {
        let typeface = Typeface::caption(200);
        assert_eq!(typeface.cut("abcdefgh", 48), "abcdefgh");
        assert_eq!(typeface.cut("abcdefgh", 47), "abcd...");
        assert_eq!(typeface.cut("abc efgh", 47), "abc...");
        assert_eq!(typeface.cut("abcdefgh", 18), "abc");
        assert_eq!(typeface.cut("abcdefgh", 0), "");
    }

    #[test]
    fn drawing_stays_within_the_image() {
        let mut image = RgbImage::new(20, 12);
        let typeface = Typeface::tag(3000);
        for corner in [(-7, -3), (15, 8), (5000, 0), (0, -5000)] {
            typeface.draw(&mut image, corner, "Wide ÿ text", Rgb([255; 3]));
        }
        assert!(image.pixels().any(|pixel| pixel.0 == [255; 3]));
        let mut empty = RgbImage::new(0, 0);
        typeface.draw(&mut empty, (0, 0), "text", Rgb([255; 3]));
    }
}
