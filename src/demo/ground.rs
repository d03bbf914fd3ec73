//! The grounds that the figures lie on.

use super::colour::{Colour, WHITE, hex};
use super::geometry::{Point, at, mix, rise};
use super::texture::{Noise, scatter, split, to_whole, wood};

/// A kind of ground.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    Grass,
    Sand,
    Planks,
    Water,
    Tiles,
    Cloth,
    Night,
}

impl Ground {
    pub const ALL: [Ground; 7] = [
        Ground::Grass,
        Ground::Sand,
        Ground::Planks,
        Ground::Water,
        Ground::Tiles,
        Ground::Cloth,
        Ground::Night,
    ];

    /// How dark a figure's shadow is: faint where there is little to cast it on.
    pub fn shadow(self) -> f32 {
        match self {
            Ground::Night => 0.25,
            Ground::Water => 0.3,
            _ => 0.45,
        }
    }
}

/// One ground with what sets it apart from the others of its kind.
#[derive(Debug, Clone, Copy)]
pub struct GroundLook {
    pub kind: Ground,
    /// From 0 to 1, chooses between two moods of colour.
    pub mood: f32,
    /// Whether the pattern runs down instead of across.
    pub upright: bool,
}

impl GroundLook {
    /// The colour at a point, in pixels of an image whose shorter side is 480.
    pub fn colour(&self, noise: &Noise, point: Point) -> Colour {
        let turned = if self.upright {
            at(point.y, point.x)
        } else {
            point
        };
        match self.kind {
            Ground::Grass => grass(noise, point, self.mood),
            Ground::Sand => sand(noise, turned, self.mood),
            Ground::Planks => planks(noise, turned, self.mood),
            Ground::Water => water(noise, point, self.mood),
            Ground::Tiles => tiles(noise, point, self.mood),
            Ground::Cloth => cloth(noise, point, self.mood),
            Ground::Night => night(noise, point, self.mood),
        }
    }
}

fn grass(noise: &Noise, point: Point, mood: f32) -> Colour {
    let Point { x, y } = point;
    let patch = noise.fractal(x / 110.0, y / 110.0, 2);
    let sway = noise.value(x / 34.0, y / 34.0) * 16.0;
    let blades = noise.value((x + sway) / 2.4, (y + sway * 0.4) / 15.0);
    let tufts = noise.value((x - sway) / 5.0, y / 24.0);
    let tone = 0.4 * patch + 0.36 * blades + 0.24 * tufts;
    let dark = hex(0x2F6B2C).to(hex(0x4E7A2A), mood);
    let light = hex(0x9CCB58).to(hex(0xC0CF62), mood);
    let colour = dark.to(light, rise(0.15, 0.9, tone));
    let (petals, chance) = scatter(noise, point * (1.0 / 46.0), 0.11, 0.16);
    if petals >= 0.02 {
        return colour;
    }
    let flower = if chance < 0.7 { WHITE } else { hex(0xF6B9D0) };
    let heart = hex(0xF3C13A);
    let bloom = heart.to(flower * 0.97, rise(-0.075, -0.055, petals));
    colour.to(bloom, rise(0.02, -0.01, petals))
}

fn sand(noise: &Noise, point: Point, mood: f32) -> Colour {
    let Point { x, y } = point;
    let dunes = noise.fractal(x / 150.0, y / 110.0, 2);
    let ripple = (y / 7.5 + dunes * 15.0 + x / 90.0).sin();
    let grain = noise.cell(x as i32, y as i32) - 0.5;
    let tone = 0.5 + 0.12 * ripple + 0.7 * (dunes - 0.5) + 0.22 * grain;
    let dark = hex(0xC79A5F).to(hex(0xB9A17E), mood);
    let light = hex(0xF3DDA9).to(hex(0xF1E4CB), mood);
    let colour = dark.to(light, tone);
    let (pebble, chance) = scatter(noise, point * (1.0 / 38.0), 0.09, 0.12);
    let stone = hex(0x8A7763).to(hex(0xEFE6DA), chance) * (1.0 - 2.0 * (pebble + 0.09));
    colour.to(stone, rise(0.015, -0.02, pebble))
}

fn planks(noise: &Noise, point: Point, mood: f32) -> Colour {
    let Point { x, y } = point;
    let (board, across) = split(y / 68.0);
    let shift = noise.cell(board, 7) * 400.0;
    let (piece, along) = split((x + shift) / 430.0);
    let own = noise.cell(board, piece + 40);
    let tone = wood(noise, x / 70.0 + own * 90.0, across * 2.2 + own * 50.0);
    let dark = hex(0x8A5A34).to(hex(0x8D8378), mood);
    let light = hex(0xC9935C).to(hex(0xC9C0B2), mood);
    let colour = dark.to(light, 0.25 + 0.55 * tone) * mix(0.86, 1.1, own);
    let seam = (across.min(1.0 - across) * 68.0).min(along.min(1.0 - along) * 430.0);
    let nail = at(
        (0.5 - (along - 0.5).abs()) * 430.0 - 9.0,
        (across - 0.5).abs() * 68.0 - 20.0,
    );
    let colour = colour * mix(0.55, 1.0, rise(2.2, 3.4, nail.length()));
    colour * mix(0.38, 1.0, rise(0.4, 2.6, seam)) * mix(0.94, 1.0, rise(2.0, 9.0, seam))
}

fn water(noise: &Noise, point: Point, mood: f32) -> Colour {
    let Point { x, y } = point;
    let depth = noise.fractal(x / 170.0, y / 130.0, 2);
    let warp = (noise.fractal(x / 46.0, y / 46.0, 2) - 0.5) * 46.0;
    let first = 1.0 - (2.0 * noise.value((x + warp) / 44.0, (y - warp) / 30.0) - 1.0).abs();
    let second = 1.0 - (2.0 * noise.value((x - warp) / 27.0, (y + warp) / 19.0) - 1.0).abs();
    let lines = rise(0.7, 1.0, first) * 0.6 + rise(0.8, 1.0, second) * 0.35;
    let deep = hex(0x17608F).to(hex(0x0F6E78), mood);
    let shallow = hex(0x4FB3D0).to(hex(0x62C7B8), mood);
    let colour = deep.to(shallow, rise(0.15, 0.85, depth));
    colour.to(hex(0xDDF6F7), lines * 0.45)
}

fn tiles(noise: &Noise, point: Point, mood: f32) -> Colour {
    const SIDE: f32 = 62.0;
    let (column, across) = split(point.x / SIDE);
    let (row, down) = split(point.y / SIDE);
    let edge = across.min(1.0 - across).min(down.min(1.0 - down)) * SIDE;
    let corner = (to_whole(point.x / SIDE) + to_whole(point.y / SIDE)) * SIDE;
    let own = noise.cell(column, row);
    let vein = noise.fractal(point.x / 60.0 + own * 40.0, point.y / 60.0 + own * 70.0, 3);
    let vein = rise(0.86, 1.0, 1.0 - (2.0 * vein - 1.0).abs());
    let pale = hex(0xEFE7DA).to(hex(0xE6EDEE), mood);
    let strong = hex(0xC98B6B).to(hex(0x7FA3B5), mood);
    let chosen = if (column + row) & 1 == 0 {
        pale
    } else {
        strong
    };
    let glazed = chosen.to(chosen * 0.84, vein * 0.7) * mix(0.95, 1.05, own);
    let bevel = rise(2.0, 7.0, across.min(down) * SIDE) - rise(2.0, 7.0, edge);
    let glazed = glazed * (0.94 + 0.06 * rise(2.0, 6.0, edge) - 0.08 * bevel);
    let inlay = hex(0x8C4B3A).to(hex(0x2F5D73), mood);
    let tile = inlay.to(glazed, rise(13.5, 15.0, corner));
    let grout = hex(0xB9AE9F).to(hex(0xAEB3B3), mood) * mix(0.9, 1.05, vein);
    // The inlays lie where four tiles meet, so that no joint runs through them.
    let joint = if corner < 14.2 {
        14.2 - corner
    } else {
        edge.min(corner - 14.2)
    };
    grout.to(tile, rise(0.8, 2.2, joint))
}

fn cloth(noise: &Noise, point: Point, mood: f32) -> Colour {
    const BAND: f32 = 27.0;
    let sag = (noise.fractal(point.x / 190.0, point.y / 190.0, 2) - 0.5) * 22.0;
    let (x, y) = (point.x + sag, point.y - sag * 0.6);
    let across = rise(
        -0.6,
        0.6,
        to_whole(x / BAND / 2.0) * BAND * 2.0 - BAND * 0.5,
    );
    let down = rise(
        -0.6,
        0.6,
        to_whole(y / BAND / 2.0) * BAND * 2.0 - BAND * 0.5,
    );
    let dye = hex(0xC8433F).to(hex(0x3E6FB0), if mood < 0.5 { 0.0 } else { 1.0 });
    let colour = hex(0xFBF6EC).to(dye, (across + down) * 0.42);
    let thread = (to_whole(x / 3.0) - to_whole(y / 3.0)) * 0.16;
    let fold = noise.fractal(point.x / 130.0 + 40.0, point.y / 130.0, 2) - 0.5;
    colour * (0.97 + thread * 0.6 + fold * 0.3)
}

fn night(noise: &Noise, point: Point, mood: f32) -> Colour {
    let Point { x, y } = point;
    let cloud = noise.fractal(x / 150.0, y / 120.0, 4);
    let haze = noise.fractal(x / 230.0 + 70.0, y / 190.0 + 30.0, 2);
    let top = hex(0x0B1030).to(hex(0x150B2E), mood);
    let base = top.to(hex(0x2C3F78), rise(0.0, 560.0, y) * 0.7);
    let glow = hex(0x7A4FA0).to(hex(0x2E8C9A), haze);
    let mut colour = base.to(glow, rise(0.48, 0.85, cloud) * 0.6);
    for (spacing, radius, share) in [(16.0, 0.075, 0.3), (58.0, 0.05, 0.45)] {
        let (star, chance) = scatter(noise, point * (1.0 / spacing), radius, share);
        let tint = hex(0xBFD4FF).to(hex(0xFFF0C9), chance);
        let bright = mix(0.35, 1.0, chance * chance);
        colour = colour.to(tint, rise(0.03, -0.05, star) * bright);
        colour = colour.to(tint, rise(0.12, 0.0, star) * bright * 0.18);
    }
    colour
}
