//! Colours and the brush that paints one point of a figure.

use std::ops::{Add, Mul};

use super::geometry::{Point, mix, rise};
use super::texture::Noise;

/// A colour with components from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Colour {
    pub red: f32,
    pub green: f32,
    pub blue: f32,
}

/// The colour with the code `0xRRGGBB`.
pub const fn hex(code: u32) -> Colour {
    Colour {
        red: ((code >> 16) & 255) as f32 / 255.0,
        green: ((code >> 8) & 255) as f32 / 255.0,
        blue: (code & 255) as f32 / 255.0,
    }
}

pub const WHITE: Colour = hex(0xFFFFFF);
pub const INK: Colour = hex(0x2B2A33);

impl Add for Colour {
    type Output = Colour;

    fn add(self, other: Colour) -> Colour {
        Colour {
            red: self.red + other.red,
            green: self.green + other.green,
            blue: self.blue + other.blue,
        }
    }
}

impl Mul<f32> for Colour {
    type Output = Colour;

    fn mul(self, factor: f32) -> Colour {
        Colour {
            red: self.red * factor,
            green: self.green * factor,
            blue: self.blue * factor,
        }
    }
}

impl Colour {
    /// The colour at `share` of the way to another one.
    pub fn to(self, other: Colour, share: f32) -> Colour {
        Colour {
            red: mix(self.red, other.red, share),
            green: mix(self.green, other.green, share),
            blue: mix(self.blue, other.blue, share),
        }
    }

    /// The components as bytes.
    pub fn bytes(self) -> [u8; 3] {
        // A cast from float to integer saturates, so that no component can wrap around.
        [self.red, self.green, self.blue].map(|part| (part * 255.0 + 0.5) as u8)
    }
}

/// What sets one figure apart from the others of its category.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// Three colours, whose roles differ between the categories.
    pub colours: [Colour; 3],
    /// Chooses between patterns: 0, 1 or 2.
    pub variant: u32,
    /// Where in the noise the figure takes its texture from.
    pub offset: Point,
}

/// Paints one pixel of a figure, layer over layer.
///
/// Figures are drawn in their own coordinates, in which they fill about the square from -1 to 1.
pub struct Brush<'a> {
    /// The pixel's centre in the figure's coordinates.
    pub point: Point,
    /// The side of a pixel in the figure's coordinates.
    pub pixel: f32,
    /// The direction toward the light.
    pub light: Point,
    /// Where the texture starts in the noise.
    pub offset: Point,
    pub noise: &'a Noise,
    /// The colour so far.
    pub colour: Colour,
    /// The covered share of the pixel so far.
    pub coverage: f32,
}

impl Brush<'_> {
    /// The share of the pixel inside a figure at this signed distance.
    fn share(&self, distance: f32) -> f32 {
        (0.5 - distance / self.pixel).clamp(0.0, 1.0)
    }

    /// Paints a figure over what is there.
    pub fn fill(&mut self, distance: f32, paint: impl FnOnce(&Self) -> Colour) {
        let share = self.share(distance);
        if share > 0.0 {
            let coverage = share + self.coverage * (1.0 - share);
            self.colour = self.colour.to(paint(self), share / coverage);
            self.coverage = coverage;
        }
    }

    /// Paints a figure only on what is covered already, with a strength up to 1.
    pub fn detail(&mut self, distance: f32, strength: f32, colour: Colour) {
        let share = self.share(distance) * strength;
        self.colour = self.colour.to(colour, share);
    }

    /// Lightens what is covered already in a soft spot.
    pub fn shine(&mut self, centre: Point, radius: f32, strength: f32) {
        let near = 1.0 - rise(0.0, radius, (self.point - centre).length());
        self.colour = self.colour.to(WHITE, near * strength);
    }

    /// A colour as the light falls on it: a gradient over the figure, a darker rim of the given
    /// width on the far side, and a fine grain.
    pub fn lit(&self, colour: Colour, distance: f32, rim: f32) -> Colour {
        let facing = self.point.dot(self.light).clamp(-1.0, 1.0);
        let edge = rise(-rim, 0.0, distance);
        let grain = self.grain(26.0, 1) - 0.5;
        colour * (1.02 + 0.14 * facing - edge * (0.2 - 0.2 * facing) + 0.07 * grain)
    }

    /// Noise from 0 to 1 with about `frequency` features per unit.
    pub fn grain(&self, frequency: f32, octaves: u32) -> f32 {
        let point = self.point * frequency + self.offset;
        self.noise.fractal(point.x, point.y, octaves)
    }
}
