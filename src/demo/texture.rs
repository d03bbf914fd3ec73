//! Noise and the patterns made of it.

use rand::{Rng, RngExt};

use super::geometry::{Point, at, mix};

const SIDE: usize = 256;

/// Value noise: random values on a lattice that repeats every 256 steps, smooth in between.
pub struct Noise {
    lattice: Vec<f32>,
}

impl Noise {
    /// Draws the lattice.
    pub fn new(random: &mut impl Rng) -> Self {
        let lattice = (0..SIDE * SIDE).map(|_| random.random::<f32>()).collect();
        Self { lattice }
    }

    /// The lattice value of a cell: an arbitrary number from 0 to 1 that stays with the cell.
    pub fn cell(&self, column: i32, row: i32) -> f32 {
        // Negative numbers wrap around too: the mask keeps the low bits of two's complement.
        let column = column as usize & (SIDE - 1);
        let row = row as usize & (SIDE - 1);
        self.lattice[row * SIDE + column]
    }

    /// Smooth noise from 0 to 1, with one feature per unit.
    pub fn value(&self, x: f32, y: f32) -> f32 {
        let (column, across) = split(x);
        let (row, down) = split(y);
        let across = across * across * (3.0 - 2.0 * across);
        let down = down * down * (3.0 - 2.0 * down);
        let upper = mix(self.cell(column, row), self.cell(column + 1, row), across);
        let lower = mix(
            self.cell(column, row + 1),
            self.cell(column + 1, row + 1),
            across,
        );
        mix(upper, lower, down)
    }

    /// A sum of noises from 0 to 1, each of twice the frequency and half the height.
    pub fn fractal(&self, x: f32, y: f32, octaves: u32) -> f32 {
        let mut point = at(x, y);
        let (mut height, mut sum, mut total) = (1.0, 0.0, 0.0);
        for _ in 0..octaves {
            sum += height * self.value(point.x, point.y);
            total += height;
            height *= 0.5;
            // The shift keeps the octaves' lattice points from falling together.
            point = point * 2.0 + at(17.3, 9.7);
        }
        sum / total
    }
}

/// The integer below a number, and the rest.
pub fn split(value: f32) -> (i32, f32) {
    let whole = value as i32;
    let below = if value < whole as f32 {
        whole - 1
    } else {
        whole
    };
    (below, value - below as f32)
}

/// How far a number is from the nearest whole number.
pub fn to_whole(value: f32) -> f32 {
    let (_, rest) = split(value);
    rest.min(1.0 - rest)
}

/// The tone of wood grain from 0 to 1, for a length along the fibre and one across.
pub fn wood(noise: &Noise, along: f32, across: f32) -> f32 {
    let drift = noise.fractal(along * 0.5, across * 1.1, 2);
    let (_, ring) = split(across * 1.4 + drift * 5.0);
    let rings = if ring < 0.8 {
        ring / 0.8
    } else {
        (1.0 - ring) / 0.2
    };
    let fibre = noise.value(along * 2.5, across * 26.0);
    0.6 * rings + 0.4 * fibre
}

/// Signed distance to dots scattered over the cells of the unit grid, and the dot's own random
/// number. A dot stays in its cell, so that only one cell has to be looked at.
pub fn scatter(noise: &Noise, point: Point, radius: f32, share: f32) -> (f32, f32) {
    let (column, across) = split(point.x);
    let (row, down) = split(point.y);
    let chance = noise.cell(column, row);
    if chance > share {
        return (1.0, chance);
    }
    let radius = radius * mix(0.6, 1.0, noise.cell(column + 91, row));
    let room = 1.0 - 2.0 * radius;
    let centre = at(
        radius + room * noise.cell(column, row + 57),
        radius + room * noise.cell(column + 33, row + 119),
    );
    let distance = (at(across, down) - centre).length() - radius;
    (distance, chance / share)
}
