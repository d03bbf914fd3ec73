//! Draws a planned scene.

use super::canvas::{Canvas, Figure};
use super::colour::{Brush, Colour, Look, hex};
use super::geometry::{at, mix, rise};
use super::layout::{Bar, Material, Placement, Scene};
use super::shapes::CATEGORIES;
use super::texture::{Noise, split, to_whole, wood};

/// The owner of the pixels that show any figure of the swarm.
pub const SWARM: u16 = 1;

/// The owner of the pixels that show the first figure; those of the others follow.
pub const FIRST_FIGURE: u16 = 2;

const BAR: u16 = u16::MAX;

/// Draws the ground, the swarm, the figures and the bar, each over those before.
pub fn render(scene: &Scene, noise: &Noise) -> Canvas {
    let (width, height) = (scene.width as f32, scene.height as f32);
    let zoom = 1.0 / scene.unit();
    let mut canvas = Canvas::new(scene.width, scene.height, |point| {
        let aside = at(point.x / width - 0.4, point.y / height - 0.35);
        scene.ground.colour(noise, point * zoom) * (1.04 - 0.3 * aside.dot(aside))
    });
    let shadow = scene.ground.kind.shadow();
    for member in &scene.swarm {
        draw(&mut canvas, noise, member, SWARM, shadow);
    }
    for (place, figure) in (FIRST_FIGURE..).zip(&scene.figures) {
        draw(&mut canvas, noise, figure, place, shadow);
    }
    if let Some(bar) = &scene.bar {
        draw_bar(&mut canvas, noise, bar, shadow);
    }
    canvas
}

fn draw(canvas: &mut Canvas, noise: &Noise, placement: &Placement, owner: u16, shadow: f32) {
    let figure = Figure {
        pose: placement.pose,
        look: placement.look,
        paint: &CATEGORIES[placement.category].paint,
        reach: 1.25,
        owner,
        shadow,
    };
    canvas.draw(&figure, noise);
}

fn draw_bar(canvas: &mut Canvas, noise: &Noise, bar: &Bar, shadow: f32) {
    let paint = |brush: &mut Brush, look: &Look| paint_bar(brush, look, bar.material);
    let figure = Figure {
        pose: bar.pose,
        look: bar.look,
        paint: &paint,
        // The bar ends outside the image.
        reach: (canvas.width + canvas.height) as f32 / bar.pose.scale,
        owner: BAR,
        shadow,
    };
    canvas.draw(&figure, noise);
}

/// Paints a bar along the x axis that reaches from -1 to 1 across.
fn paint_bar(brush: &mut Brush, look: &Look, material: Material) {
    let point = brush.point;
    let distance = match material {
        Material::Wood => point.y.abs() - 1.0,
        Material::Bamboo => point.y.abs() - 0.9 - 0.1 * rise(0.06, 0.0, to_whole(point.x / 9.0)),
        Material::Rope => point.y.abs() - 0.85 - 0.15 * (point.x * 2.6 + point.y).cos().abs(),
    };
    brush.fill(distance, |brush| {
        let across = point.y.clamp(-1.0, 1.0);
        let facing = across * brush.light.y.signum();
        let round = 1.1 - 0.4 * (across * across) + 0.14 * facing;
        bar_colour(brush, look, material) * round
    });
}

fn bar_colour(brush: &Brush, look: &Look, material: Material) -> Colour {
    let point = brush.point;
    let [light, dark, pale] = look.colours;
    match material {
        Material::Wood => {
            let along = point.x * 0.12 + look.offset.x;
            let tone = wood(brush.noise, along, point.y * 0.8 + look.offset.y);
            dark.to(light, tone).to(pale, 0.12)
        }
        Material::Bamboo => {
            let (piece, along) = split(point.x / 9.0);
            let own = brush.noise.cell(piece, look.offset.x as i32);
            let fibre = brush
                .noise
                .value(point.x * 0.3, point.y * 7.0 + look.offset.y);
            let green = hex(0x9DAF52).to(hex(0xC9B765), 0.5 * own + 0.4 * fibre);
            let joint = rise(0.05, 0.015, along.min(1.0 - along));
            green * mix(1.0, 0.62, joint)
        }
        Material::Rope => {
            let (_, strand) = split((point.x * 2.6 + point.y) / std::f32::consts::PI);
            let fibre = brush
                .noise
                .value(point.x * 5.0, point.y * 5.0 + point.x * 5.0);
            let groove = rise(0.0, 0.25, strand.min(1.0 - strand));
            hex(0x8A6A42).to(pale, groove) * mix(0.86, 1.05, fibre)
        }
    }
}
