//! Leaves, apples and mushrooms.

use super::super::colour::{Brush, Look, WHITE, hex};
use super::super::geometry::{at, blended, capsule, disc, ellipse, lens, mix, rise, rounded_box};
use super::super::texture::{scatter, to_whole};

const BARK: u32 = 0x6B4628;

pub fn leaf(brush: &mut Brush, look: &Look) {
    let point = brush.point;
    // Bending the plane bends blade, veins and stalk alike.
    let bent = at(point.x - 0.2 * point.y * point.y + 0.07, point.y + 0.14);
    let width = [0.44, 0.52, 0.36][look.variant as usize % 3];
    let ripple = if look.variant == 1 {
        0.022 * (bent.y * 21.0).sin()
    } else {
        0.0
    };
    let blade = lens(bent, 0.84, width) + ripple;
    let stalk = capsule(bent, [at(0.0, 0.6), at(0.0, 1.1)], [0.028, 0.045]);
    let [fresh, deep, vein] = look.colours;
    brush.fill(stalk, |brush| {
        brush.lit(deep.to(hex(BARK), 0.4), stalk, 0.05)
    });
    brush.fill(blade, |brush| {
        let mottled = fresh.to(deep, rise(0.35, 0.8, brush.grain(3.0, 3)) * 0.8);
        let half = if bent.x > 0.0 { 0.9 } else { 1.06 };
        brush.lit(mottled * half, blade, 0.2)
    });
    let inner = blade + 0.03;
    let slope = bent.y * 4.6 + bent.x.abs() * 3.6;
    let side = to_whole(slope) / 5.8 - mix(0.014, 0.003, bent.x.abs() * 2.0);
    brush.detail(side.max(inner), 0.55, vein);
    let rib = capsule(bent, [at(0.0, 0.84), at(0.0, -0.76)], [0.034, 0.006]);
    brush.detail(rib.max(blade), 0.85, vein);
}

pub fn apple(brush: &mut Brush, look: &Look) {
    let point = brush.point;
    let [skin, blush, green] = look.colours;
    let cheeks = disc(point.folded(), at(0.29, 0.1), 0.58);
    let body = blended(cheeks, ellipse(point, at(0.0, 0.36), at(0.6, 0.5)), 0.12);
    brush.fill(body, |brush| {
        let across = point.x / (0.35 + (1.1 - point.y * point.y).max(0.05).sqrt());
        let start = look.offset;
        let streaks = brush
            .noise
            .fractal(across * 13.0 + start.x, point.y * 1.3 + start.y, 2);
        let side = 0.5 - 0.5 * point.dot(brush.light);
        let ripe = skin.to(blush, rise(0.45, 0.8, streaks * 0.8 + side * 0.25) * 0.75);
        brush.lit(ripe, body, 0.4)
    });
    let (speck, _) = scatter(brush.noise, point * 9.0 + look.offset, 0.12, 0.5);
    brush.detail((speck / 9.0).max(body + 0.05), 0.4, hex(0xFFF0C8));
    let hollow = ellipse(point, at(0.0, -0.36), at(0.27, 0.11));
    brush.detail(hollow, 0.55, skin * 0.5);
    brush.shine(at(-0.36, -0.14), 0.34, 0.5);
    let bend = at(point.x - 0.25 * (point.y + 0.4) * (point.y + 0.4), point.y);
    let stalk = capsule(bend, [at(0.0, -0.34), at(0.0, -0.88)], [0.04, 0.06]);
    brush.fill(stalk, |brush| brush.lit(hex(BARK), stalk, 0.06));
    let turned = (point - at(0.36, -0.78)).turned(-1.15);
    let blade = lens(turned, 0.34, 0.15);
    brush.fill(blade, |brush| {
        let half = if turned.x > 0.0 { 0.88 } else { 1.08 };
        brush.lit(green * half, blade, 0.1)
    });
    let rib = capsule(turned, [at(0.0, -0.28), at(0.0, 0.3)], [0.006, 0.016]);
    brush.detail(rib, 0.6, green.to(WHITE, 0.5));
}

pub fn mushroom(brush: &mut Brush, look: &Look) {
    mushroom_stem(brush, look);
    let point = brush.point;
    let [skin, _, spot] = look.colours;
    let height = [0.98, 0.8, 1.1][look.variant as usize % 3];
    let dome = ellipse(point, at(0.0, 0.14), at(0.9, height));
    let brim = point.y - 0.16 + 0.08 * point.x * point.x;
    // A negative blend rounds the corner where dome and brim meet.
    let cap = -blended(-dome, -brim, 0.14);
    brush.fill(cap, |brush| {
        let mottled = skin * mix(0.88, 1.1, brush.grain(4.0, 3));
        let shaded = mottled * mix(1.05, 0.82, rise(-0.5, 0.2, point.y));
        brush.lit(shaded, cap, 0.3)
    });
    let spots = [
        (0.05, -0.46, 0.17),
        (-0.45, -0.26, 0.14),
        (0.5, -0.2, 0.15),
        (-0.12, -0.06, 0.1),
        (-0.7, 0.03, 0.08),
        (0.24, 0.03, 0.07),
        (0.76, 0.06, 0.06),
    ];
    for (x, y, radius) in spots {
        // Spots look narrower toward the sides of the dome.
        let radii = at(radius * (1.0 - 0.45 * x * x), radius * 0.85);
        let wobble = 0.03 * (brush.grain(5.0, 1) - 0.5);
        let distance = ellipse(point, at(x, y), radii) + wobble;
        brush.detail(
            distance.max(cap),
            0.95,
            spot * (1.0 - 0.12 * rise(-0.06, 0.0, distance)),
        );
    }
    brush.shine(at(-0.34, -0.5), 0.4, 0.32);
}

fn mushroom_stem(brush: &mut Brush, look: &Look) {
    let point = brush.point;
    let cream = look.colours[1];
    let shaft = capsule(point, [at(0.0, 0.0), at(0.0, 0.72)], [0.2, 0.29]);
    let stem = shaft.max(rounded_box(point, at(0.0, 0.42), at(0.5, 0.5), 0.12));
    brush.fill(stem, |brush| {
        let start = look.offset;
        let fibre = brush
            .noise
            .value(point.x * 22.0 + start.x, point.y * 2.5 + start.y);
        let under = mix(0.68, 1.0, rise(0.2, 0.5, point.y));
        brush.lit(cream * (mix(0.88, 1.02, fibre) * under), stem, 0.2)
    });
    let gills = ellipse(point, at(0.0, 0.13), at(0.74, 0.16));
    brush.fill(gills, |brush| {
        let fan = point.x / (1.35 - point.y);
        let line = rise(0.1, 0.4, to_whole(fan * 22.0));
        brush.lit(cream * mix(0.62, 0.8, line), gills, 0.1)
    });
}
