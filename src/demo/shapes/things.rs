//! Mugs, sandals, sailboats and planets.

use super::super::colour::{Brush, Colour, Look, WHITE, hex};
use super::super::geometry::{
    Point, at, blended, capsule, disc, ellipse, mix, polygon, rise, rounded_box,
};
use super::super::texture::{scatter, to_whole, wood};

pub fn mug(brush: &mut Brush, look: &Look) {
    let point = brush.point;
    let [glaze, paint, coffee] = look.colours;
    let handle = ellipse(point, at(0.42, 0.1), at(0.33, 0.34)).abs() - 0.085;
    brush.fill(handle, |brush| brush.lit(glaze * 0.94, handle, 0.1));
    let wall = rounded_box(point, at(-0.14, 0.16), at(0.56, 0.72), 0.16).max(-0.5 - point.y);
    let rim = ellipse(point, at(-0.14, -0.5), at(0.56, 0.16));
    let body = wall.min(rim);
    // The cylinder is brightest a little left of its middle.
    let round = ((point.x + 0.14) / 0.56).clamp(-1.0, 1.0);
    let curve = 1.08 - 0.3 * (round + 0.25) * (round + 0.25);
    brush.fill(body, |brush| {
        let fired = glaze * mix(0.97, 1.02, brush.grain(9.0, 2));
        brush.lit(fired * curve, body, 0.06)
    });
    let pattern = mug_pattern(brush, look, round);
    brush.detail(pattern.max(body + 0.004), 0.95, paint * curve);
    brush.detail(rim, 1.0, glaze * 1.06);
    let inside = ellipse(point, at(-0.14, -0.49), at(0.49, 0.12));
    brush.detail(inside, 1.0, glaze * 0.66);
    let drink = ellipse(point, at(-0.14, -0.46), at(0.45, 0.092)).max(inside);
    brush.detail(drink, 1.0, coffee * mix(0.9, 1.25, brush.grain(4.0, 2)));
    brush.detail((drink + 0.02).abs() - 0.012, 0.4, coffee.to(WHITE, 0.5));
    brush.shine(at(-0.44, 0.0), 0.2, 0.3);
}

fn mug_pattern(brush: &Brush, look: &Look, round: f32) -> f32 {
    // The pattern follows the wall: it narrows toward the sides and sags in the middle.
    let around = round.asin() * 0.56;
    let height = brush.point.y - 0.13 * (1.0 - round * round).sqrt();
    match look.variant {
        0 => [0.46, 0.3, -0.22]
            .iter()
            .map(|level| (height - level).abs() - 0.045)
            .fold(f32::MAX, f32::min),
        1 => {
            let cell = at(around, height - 0.1) * 5.0;
            let near = at(to_whole(cell.x), to_whole(cell.y)).length() / 5.0;
            (near - 0.055).max((height - 0.1).abs() - 0.3)
        }
        _ => {
            let tooth = to_whole(around * 4.0) * 0.4;
            let zigzag = ((height - 0.02 - tooth).abs() * 0.6) - 0.04;
            zigzag.min((height - 0.4).abs() - 0.03)
        }
    }
}

pub fn sandals(brush: &mut Brush, look: &Look) {
    for side in [-1.0, 1.0] {
        let turned = (brush.point - at(side * 0.45, 0.0)).turned(-side * 0.1);
        sandal(brush, look, at(turned.x * side, turned.y));
    }
}

fn sandal(brush: &mut Brush, look: &Look, point: Point) {
    let [rubber, straw, strap] = look.colours;
    let front = ellipse(point, at(0.0, -0.42), at(0.34, 0.48));
    let heel = ellipse(point, at(-0.02, 0.54), at(0.26, 0.36));
    let sole = blended(front, heel, 0.5);
    if sole > brush.pixel {
        return;
    }
    brush.fill(sole, |brush| brush.lit(rubber, sole, 0.06));
    let weave = (point.x * 44.0).sin() * (point.y * 44.0).sin();
    let lining = straw * (0.96 + 0.07 * weave + 0.12 * (brush.grain(5.0, 2) - 0.5));
    let lining = brush.lit(lining, sole + 0.06, 0.12);
    brush.detail(sole + 0.06, 1.0, lining);
    let stitch = (sole + 0.095).abs() - 0.009;
    let dash = 0.12 - to_whole(point.y * 9.0 + point.x * 3.0);
    brush.detail(stitch.max(dash * 0.1), 0.6, rubber * 0.7);
    let print =
        ellipse(point, at(0.0, -0.46), at(0.2, 0.26)).min(disc(point, at(-0.02, 0.56), 0.16));
    brush.detail(print, 0.1, hex(0x5A4630));
    let bow = at(point.x, point.y + 0.5 * point.x * point.x);
    let toe = at(-0.04, -0.56);
    let bands = capsule(bow, [toe, at(0.34, 0.06)], [0.05, 0.075]).min(capsule(
        bow,
        [toe, at(-0.34, 0.06)],
        [0.05, 0.075],
    ));
    brush.detail((bands - 0.035).max(sole), 0.3, hex(0x30241A));
    let shaded = brush.lit(strap * (1.0 - rise(-0.06, 0.0, bands) * 0.22), bands, 0.03);
    brush.detail(bands.max(sole), 1.0, shaded);
    brush.detail(disc(point, toe, 0.065), 1.0, strap * 0.8);
}

pub fn sailboat(brush: &mut Brush, look: &Look) {
    const MAIN: [Point; 4] = [at(0.1, -0.8), at(0.1, 0.24), at(0.74, 0.24), at(0.5, -0.24)];
    const JIB: [Point; 4] = [
        at(-0.06, -0.62),
        at(-0.06, 0.24),
        at(-0.64, 0.24),
        at(-0.42, -0.12),
    ];
    const FLAG: [Point; 3] = [at(0.03, -0.94), at(0.03, -0.78), at(-0.26, -0.86)];
    let point = brush.point;
    let [_, canvas, accent] = look.colours;
    let mast = capsule(point, [at(0.02, 0.5), at(0.02, -0.93)], [0.035, 0.025]);
    let boom = capsule(point, [at(0.02, 0.33), at(0.78, 0.33)], [0.024, 0.02]);
    let spars = mast.min(boom);
    brush.fill(spars, |brush| brush.lit(hex(0x7A5230), spars, 0.04));
    let flag = polygon(point, &FLAG) - 0.012;
    brush.fill(flag, |brush| brush.lit(accent, flag, 0.04));
    let main = polygon(point, &MAIN) - 0.02;
    let belly = mix(1.04, 0.86, rise(0.1, 0.75, point.x));
    brush.fill(main, |brush| {
        brush.lit(cloth(brush, canvas) * belly, main, 0.06)
    });
    let seam = to_whole((point.y + 0.12 * point.x) * 4.5) / 4.5 - 0.008;
    brush.detail(seam.max(main + 0.01), 0.3, canvas * 0.55);
    if look.variant != 2 {
        let emblem = disc(point, at(0.3, -0.12), 0.12);
        brush.detail(emblem.max(main), 0.9, accent);
    }
    let jib = polygon(point, &JIB) - 0.02;
    brush.fill(jib, |brush| {
        let stripe = to_whole(point.y * 3.2 - point.x * 0.9) - 0.25;
        let chosen = canvas.to(accent, rise(-0.02, 0.02, stripe));
        brush.lit(cloth(brush, chosen), jib, 0.06)
    });
    hull(brush, look);
}

fn cloth(brush: &Brush, colour: Colour) -> Colour {
    colour * mix(0.93, 1.03, brush.grain(6.0, 2))
}

fn hull(brush: &mut Brush, look: &Look) {
    const SIDE: [Point; 5] = [
        at(-0.86, 0.46),
        at(0.9, 0.42),
        at(0.68, 0.76),
        at(0.5, 0.86),
        at(-0.6, 0.86),
    ];
    let point = brush.point;
    let [paint, canvas, accent] = look.colours;
    let side = polygon(point, &SIDE) - 0.04;
    brush.fill(side, |brush| {
        let start = look.offset;
        let tone = wood(
            brush.noise,
            point.x * 1.2 + start.x,
            point.y * 5.0 + start.y,
        );
        let shade = mix(1.06, 0.74, rise(0.45, 0.9, point.y));
        brush.lit(paint * (mix(0.84, 1.08, tone) * shade), side, 0.08)
    });
    let plank = to_whole(point.y * 9.0) / 9.0 - 0.006;
    brush.detail(plank.max(side + 0.02), 0.4, paint * 0.45);
    let deck = (point.y - 0.455 + 0.022 * point.x).abs() - 0.036;
    brush.detail(deck.max(side), 0.95, canvas * 0.97);
    let keel = 0.79 - point.y;
    brush.detail(keel.max(side), 0.9, accent * 0.85);
}

pub fn planet(brush: &mut Brush, look: &Look) {
    let point = brush.point;
    let ring = planet_ring(point);
    let dust = ring_colour(brush, look);
    brush.fill(ring.max(point.y), |_| dust * 0.82);
    const RADIUS: f32 = 0.56;
    let ball = disc(point, at(0.0, 0.0), RADIUS);
    let [light, dark, pale] = look.colours;
    brush.fill(ball, |brush| {
        let swirl = brush.grain(2.2, 3) - 0.5;
        let level = (point.y + 0.12 * swirl + 0.08 * point.x * point.x) * 9.0;
        let bands = 0.5 + 0.5 * (level.sin() * 0.7 + (level * 2.3).sin() * 0.3);
        let face = dark.to(light, bands).to(pale, rise(0.62, 0.9, bands) * 0.6);
        let storm = ellipse(point, at(0.2, 0.24), at(0.13, 0.07));
        let face = face.to(pale, rise(0.03, -0.03, storm) * 0.8);
        let height = (1.0 - point.dot(point) / (RADIUS * RADIUS)).max(0.0).sqrt();
        let facing = point.dot(brush.light) / RADIUS * 0.75 + height * 0.6;
        face * mix(0.24, 1.12, rise(-0.55, 0.9, facing))
    });
    // The shadow of the ring's near half lies just below it on the ball.
    let cast = planet_ring(at(point.x, point.y - 0.06));
    brush.detail(cast.max(ball).max(-point.y), 0.35, dark * 0.4);
    brush.shine(brush.light * 0.3, 0.3, 0.28);
    brush.fill(ring.max(-point.y), |_| dust);
}

fn planet_ring(point: Point) -> f32 {
    let stretched = at(point.x, point.y / 0.27);
    let reach = stretched.length().max(1e-3);
    // Dividing by the gradient turns the level into a distance.
    let gradient = at(stretched.x / reach, stretched.y / reach / 0.27).length();
    ((reach - 0.86).abs() - 0.17) / gradient
}

fn ring_colour(brush: &Brush, look: &Look) -> Colour {
    let point = brush.point;
    let [light, dark, pale] = look.colours;
    let reach = at(point.x, point.y / 0.27).length();
    let groove = brush
        .noise
        .value(reach * 30.0 + look.offset.x, look.offset.y);
    let (stone, _) = scatter(brush.noise, at(point.x * 16.0, point.y * 40.0), 0.3, 0.3);
    let dust = dark.to(pale, 0.25 + 0.7 * groove).to(light, 0.2);
    dust * (1.0 - 0.12 * rise(0.1, -0.1, stone) + 0.1 * point.dot(brush.light))
}
