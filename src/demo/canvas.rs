//! The image in the making: its colours, and which figure each pixel shows.

use super::colour::{Brush, Colour, INK, Look};
use super::geometry::{Point, at};
use super::texture::Noise;

/// The owner of pixels that show the ground.
pub const GROUND: u16 = 0;

/// A figure's place in the image.
#[derive(Debug, Clone, Copy)]
pub struct Pose {
    pub centre: Point,
    /// The length of a figure's unit, in pixels.
    pub scale: f32,
    /// How far the figure is turned, in radians.
    pub angle: f32,
    /// Whether the figure looks the other way.
    pub mirrored: bool,
}

impl Pose {
    /// Turns a vector of the image into one of the figure, leaving its length alone.
    fn direction(&self, vector: Point) -> Point {
        let turned = vector.turned(-self.angle);
        if self.mirrored {
            at(-turned.x, turned.y)
        } else {
            turned
        }
    }
}

/// One figure to draw.
pub struct Figure<'a> {
    pub pose: Pose,
    pub look: Look,
    pub paint: &'a dyn Fn(&mut Brush, &Look),
    /// How far the figure reaches from its centre, in units of the pose.
    pub reach: f32,
    /// Marks the pixels that show the figure.
    pub owner: u16,
    /// How dark the figure's shadow is.
    pub shadow: f32,
}

/// The direction toward the light, in the image.
const LIGHT: Point = at(-0.6, -0.8);

/// The part of the image that one figure and its shadow can touch.
#[derive(Clone, Copy)]
struct Window {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

/// The image in the making.
pub struct Canvas {
    pub width: usize,
    pub height: usize,
    pub colours: Vec<Colour>,
    pub owners: Vec<u16>,
}

impl Canvas {
    /// A canvas whose pixels take the colour of the ground at their centres.
    pub fn new(width: usize, height: usize, ground: impl Fn(Point) -> Colour) -> Self {
        let colours = (0..width * height)
            .map(|index| {
                ground(at(
                    (index % width) as f32 + 0.5,
                    (index / width) as f32 + 0.5,
                ))
            })
            .collect();
        Self {
            width,
            height,
            colours,
            owners: vec![GROUND; width * height],
        }
    }

    /// Draws a figure and its shadow over what is there.
    pub fn draw(&mut self, figure: &Figure, noise: &Noise) {
        let softness = 1.5 + figure.pose.scale.min(110.0) * 0.05;
        let window = self.window(figure, softness);
        let (colours, coverage) = figure_pixels(figure, window, noise);
        let fall = LIGHT * (-softness * 1.3);
        let shadow = blurred(&coverage, window, softness as usize);
        for row in 0..window.height {
            for column in 0..window.width {
                let index = row * window.width + column;
                let dark = shadow_at(&shadow, window, column, row, fall) * figure.shadow;
                let place = (window.top + row) * self.width + window.left + column;
                let below = self.colours[place].to(INK * 0.4, dark);
                self.colours[place] = below.to(colours[index], coverage[index]);
                if coverage[index] >= 0.5 {
                    self.owners[place] = figure.owner;
                }
            }
        }
    }

    fn window(&self, figure: &Figure, softness: f32) -> Window {
        let reach = figure.reach * figure.pose.scale + softness * 4.0;
        let centre = figure.pose.centre;
        let low = |middle: f32, end: usize| ((middle - reach).max(0.0) as usize).min(end);
        let high = |middle: f32, end: usize| ((middle + reach).max(0.0) as usize + 1).min(end);
        let (left, top) = (low(centre.x, self.width), low(centre.y, self.height));
        Window {
            left,
            top,
            width: high(centre.x, self.width) - left,
            height: high(centre.y, self.height) - top,
        }
    }

    /// The pixels as bytes, red, green and blue in turn.
    pub fn bytes(&self) -> Vec<u8> {
        self.colours
            .iter()
            .flat_map(|colour| colour.bytes())
            .collect()
    }
}

/// The figure's colours and coverage in its window.
fn figure_pixels(figure: &Figure, window: Window, noise: &Noise) -> (Vec<Colour>, Vec<f32>) {
    let pose = &figure.pose;
    let light = pose.direction(LIGHT);
    (0..window.width * window.height)
        .map(|index| {
            let column = (window.left + index % window.width) as f32 + 0.5;
            let row = (window.top + index / window.width) as f32 + 0.5;
            let point = pose.direction(at(column, row) - pose.centre) * (1.0 / pose.scale);
            let mut brush = Brush {
                point,
                pixel: 1.0 / pose.scale,
                light,
                offset: figure.look.offset,
                noise,
                colour: INK,
                coverage: 0.0,
            };
            if point.length() < figure.reach {
                (figure.paint)(&mut brush, &figure.look);
            }
            (brush.colour, brush.coverage)
        })
        .unzip()
}

/// The blurred coverage where light that passes over `(column, row)` comes from.
fn shadow_at(shadow: &[f32], window: Window, column: usize, row: usize, fall: Point) -> f32 {
    let source_column = column as isize - fall.x as isize;
    let source_row = row as isize - fall.y as isize;
    // At the image's edge the shadow goes on as it is at the edge of the window.
    let source_column = source_column.clamp(0, window.width as isize - 1) as usize;
    let source_row = source_row.clamp(0, window.height as isize - 1) as usize;
    shadow[source_row * window.width + source_column]
}

/// The coverage averaged twice along rows and columns, which comes close to a bell curve.
fn blurred(coverage: &[f32], window: Window, radius: usize) -> Vec<f32> {
    let mut values = coverage.to_vec();
    let mut line = Vec::new();
    for _ in 0..2 {
        for row in 0..window.height {
            let start = row * window.width;
            average(&mut values[start..], 1, window.width, radius, &mut line);
        }
        for column in 0..window.width {
            average(
                &mut values[column..],
                window.width,
                window.height,
                radius,
                &mut line,
            );
        }
    }
    values
}

/// Replaces every `step`th value by the mean of those at most `radius` places away.
fn average(values: &mut [f32], step: usize, count: usize, radius: usize, line: &mut Vec<f32>) {
    line.clear();
    line.extend(values.iter().step_by(step).take(count));
    let mut sum: f32 = line.iter().take(radius).sum();
    for place in 0..count {
        if let Some(entering) = line.get(place + radius) {
            sum += entering;
        }
        if let Some(leaving) = place.checked_sub(radius + 1) {
            sum -= line[leaving];
        }
        values[place * step] = sum / (2 * radius + 1) as f32;
    }
}
