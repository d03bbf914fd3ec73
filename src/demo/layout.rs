//! What an image shows and where: all that is left to chance.

use std::f32::consts::{FRAC_PI_2, TAU};

use rand::{Rng, RngExt};

use super::canvas::Pose;
use super::colour::{Look, hex};
use super::geometry::{Point, at, mix};
use super::ground::{Ground, GroundLook};
use super::shapes::CATEGORIES;

/// How many figures the images show besides a swarm; after these the counts repeat.
const FIGURE_COUNTS: [u32; 8] = [7, 4, 2, 8, 5, 6, 3, 9];

/// One image in so many shows a swarm.
const SWARM_PERIOD: u32 = 6;

/// One image in so many shows a bar.
const BAR_PERIOD: u32 = 4;

/// How much more frequent the first category is than the last one.
const TAIL: f32 = 10.0;

/// A figure of a category at its place.
#[derive(Debug, Clone, Copy)]
pub struct Placement {
    /// The category's index in [`CATEGORIES`].
    pub category: usize,
    pub pose: Pose,
    pub look: Look,
}

/// What a bar in front of the figures is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Material {
    Wood,
    Bamboo,
    Rope,
}

/// A bar that runs through the whole image in front of the figures.
#[derive(Debug, Clone, Copy)]
pub struct Bar {
    pub pose: Pose,
    pub look: Look,
    pub material: Material,
}

/// The plan of one image.
pub struct Scene {
    pub width: usize,
    pub height: usize,
    pub ground: GroundLook,
    /// Small figures of one category that share one annotation; empty in most images.
    pub swarm: Vec<Placement>,
    /// The other figures, the farthest first.
    pub figures: Vec<Placement>,
    pub bar: Option<Bar>,
}

impl Scene {
    /// How long the lengths made for a shorter side of 480 pixels are in this image.
    pub fn unit(&self) -> f32 {
        self.width.min(self.height) as f32 / 480.0
    }

    /// Plans the image with the given number. `start` shifts the sequence of categories.
    pub fn plan(random: &mut impl Rng, number: u32, size: [u32; 2], start: f32) -> Self {
        let (width, height) = varied_size(random, size);
        let mut scene = Self {
            width,
            height,
            ground: GroundLook {
                kind: Ground::Grass,
                mood: random.random(),
                upright: random.random(),
            },
            swarm: Vec::new(),
            figures: Vec::new(),
            bar: None,
        };
        let first = figures_before(number);
        let categories: Vec<usize> = (first..first + figure_count(number))
            .map(|place| category_of(start, place))
            .collect();
        scene.ground.kind = ground_of(random, number, &categories);
        if number.is_multiple_of(SWARM_PERIOD) {
            scene.gather_swarm(random);
        }
        scene.place_figures(random, &categories);
        if number.is_multiple_of(BAR_PERIOD) {
            scene.bar = scene.bar_before_largest(random);
        }
        scene
    }

    fn place_figures(&mut self, random: &mut impl Rng, categories: &[usize]) {
        // The fewer figures there are, the larger they are, so that no image looks empty.
        let fullness = categories.len() as f32 / 9.0;
        let (least, most) = (mix(120.0, 24.0, fullness), mix(250.0, 200.0, fullness));
        let mut sized: Vec<(usize, f32)> = categories
            .iter()
            .map(|&category| {
                let size = mix(least, most, random.random());
                (category, size.clamp(CATEGORIES[category].least_size, 220.0))
            })
            .collect();
        // Large figures lie below small ones, which they would hide.
        sized.sort_by(|first, second| second.1.total_cmp(&first.1));
        for (category, size) in sized {
            let scale = size * self.unit() * 0.5;
            let centre = self.free_centre(random, scale);
            self.figures
                .push(placement(random, category, centre, scale));
        }
    }

    /// The best of a few random places: away from the others, though often touching them.
    fn free_centre(&self, random: &mut impl Rng, scale: f32) -> Point {
        let mut best = (f32::MAX, at(0.0, 0.0));
        for _ in 0..5 {
            let centre = self.any_centre(random, scale * 0.75);
            let crowding = |other: &Placement, needed: f32| {
                let room = needed * (other.pose.scale + scale);
                let apart = (other.pose.centre - centre).length();
                (1.0 - apart / room).max(0.0)
            };
            let figures = self.figures.iter().map(|other| crowding(other, 0.75));
            let swarm = self.swarm.iter().map(|other| crowding(other, 1.0) * 0.15);
            let cost = figures.chain(swarm).sum::<f32>();
            if cost < best.0 {
                best = (cost, centre);
            }
        }
        best.1
    }

    fn any_centre(&self, random: &mut impl Rng, margin: f32) -> Point {
        let (width, height) = (self.width as f32, self.height as f32);
        at(
            mix(margin, width - margin, random.random()),
            mix(margin, height - margin, random.random()),
        )
    }

    fn gather_swarm(&mut self, random: &mut impl Rng) {
        let category = swarm_of(self.ground.kind);
        let unit = self.unit();
        let middle = self.any_centre(random, 110.0 * unit);
        let heading = random.random_range(-0.5..0.5);
        let mirrored = random.random();
        for _ in 0..random.random_range(18..34) {
            let angle = random.random_range(0.0..TAU);
            let reach = random.random::<f32>().sqrt() * 115.0 * unit;
            let centre = middle + at(angle.cos(), angle.sin() * 0.62) * reach;
            let scale = random.random_range(9.0..14.0) * unit;
            let mut member = placement(random, category, centre, scale);
            if CATEGORIES[category].ground == Ground::Water {
                // Fish swim together in one direction.
                member.pose.angle = heading + random.random_range(-0.2..0.2);
                member.pose.mirrored = mirrored;
            }
            self.swarm.push(member);
        }
    }

    fn bar_before_largest(&self, random: &mut impl Rng) -> Option<Bar> {
        let target = self.figures.first()?;
        let upright = random.random_bool(0.6);
        let tilt = random.random_range(-0.12..0.12);
        let material = match random.random_range(0..3) {
            0 => Material::Wood,
            1 => Material::Bamboo,
            _ => Material::Rope,
        };
        let slim = if material == Material::Rope { 0.7 } else { 1.0 };
        let thickness = random.random_range(0.09..0.13) * slim * target.pose.scale;
        Some(Bar {
            pose: Pose {
                centre: target.pose.centre,
                scale: thickness.max(3.0 * self.unit()),
                angle: tilt + if upright { FRAC_PI_2 } else { 0.0 },
                mirrored: false,
            },
            look: look(random, [0xA0703F, 0x6E4826, 0xD9BE8A]),
            material,
        })
    }
}

fn placement(random: &mut impl Rng, category: usize, centre: Point, scale: f32) -> Placement {
    let kind = &CATEGORIES[category];
    let palette = kind.palettes[random.random_range(0..kind.palettes.len())];
    Placement {
        category,
        pose: Pose {
            centre,
            scale,
            angle: random.random_range(-kind.turn..kind.turn),
            mirrored: random.random(),
        },
        look: look(random, palette),
    }
}

fn look(random: &mut impl Rng, palette: [u32; 3]) -> Look {
    Look {
        colours: palette.map(hex),
        variant: random.random_range(0..3),
        offset: at(
            random.random_range(0.0..200.0),
            random.random_range(0.0..200.0),
        ),
    }
}

/// Some images stand upright and some are smaller, as in a collection of photographs.
fn varied_size(random: &mut impl Rng, [width, height]: [u32; 2]) -> (usize, usize) {
    let (width, height) = (width as usize, height as usize);
    match random.random_range(0..9) {
        0 | 1 => (height, width),
        2 => (width * 4 / 5, height * 4 / 5),
        3 => (width, height * 8 / 9),
        4 => (width * 3 / 4, height),
        _ => (width, height),
    }
}

fn figure_count(number: u32) -> u32 {
    FIGURE_COUNTS[number as usize % FIGURE_COUNTS.len()]
}

/// How many figures all images before this one show.
fn figures_before(number: u32) -> u32 {
    let round = FIGURE_COUNTS.len() as u32;
    let rounds = number / round * FIGURE_COUNTS.iter().sum::<u32>();
    rounds + (0..number % round).map(figure_count).sum::<u32>()
}

/// The category at a place of the sequence, with falling frequencies.
///
/// The multiples of the golden ratio fill the interval from 0 to 1 evenly, so that the counts
/// come close to their shares in small data sets too, though each image is drawn on its own.
fn category_of(start: f32, place: u32) -> usize {
    const GOLDEN: f64 = 0.618_033_988_749_894_8;
    let share = (f64::from(start) + f64::from(place) * GOLDEN).fract() as f32;
    let last = CATEGORIES.len() - 1;
    let weight = |rank: usize| TAIL.powf(-(rank as f32) / last as f32);
    let total: f32 = (0..=last).map(weight).sum();
    let mut rest = share * total;
    for rank in 0..last {
        rest -= weight(rank);
        if rest < 0.0 {
            return rank;
        }
    }
    last
}

/// Mostly the ground where one of the figures belongs.
fn ground_of(random: &mut impl Rng, number: u32, categories: &[usize]) -> Ground {
    let chosen = random.random_range(0..categories.len().max(1));
    match categories.get(chosen) {
        Some(&category) if random.random_bool(0.4) => CATEGORIES[category].ground,
        _ => Ground::ALL[number as usize % Ground::ALL.len()],
    }
}

/// The index of the category that swarms on a ground.
fn swarm_of(ground: Ground) -> usize {
    let name = match ground {
        Ground::Water => "fish",
        Ground::Sand => "starfish",
        Ground::Grass | Ground::Night => "butterfly",
        Ground::Planks | Ground::Tiles | Ground::Cloth => "leaf",
    };
    CATEGORIES
        .iter()
        .position(|category| category.name == name)
        .unwrap_or(0)
}
