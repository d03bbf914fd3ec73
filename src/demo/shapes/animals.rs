//! Fish, starfish and butterflies.

use std::f32::consts::TAU;

use super::super::colour::{Brush, Colour, INK, Look, WHITE, hex};
use super::super::geometry::{Point, at, blended, capsule, disc, ellipse, mix, polygon, rise};
use super::super::texture::{scatter, split, to_whole};

pub fn fish(brush: &mut Brush, look: &Look) {
    fish_fins(brush, look);
    let point = brush.point;
    let [back, edge, belly] = look.colours;
    let trunk = ellipse(point, at(0.16, 0.0), at(0.72, 0.42));
    let root = capsule(point, [at(-0.2, 0.0), at(-0.62, 0.0)], [0.26, 0.09]);
    let body = blended(trunk, root, 0.2);
    brush.fill(body, |brush| {
        let skin = back.to(belly, rise(0.05, 0.42, point.y) * 0.85);
        let skin = skin.to(edge, rise(-0.15, -0.42, point.y) * 0.6);
        brush.lit(skin, body, 0.16)
    });
    let scaled = (scales(point) / 7.0).max(body + 0.03).max(point.x - 0.42);
    brush.detail(scaled, 0.32, edge * 0.8);
    if look.variant == 1 {
        for x in [0.3, -0.12, -0.46] {
            let curve = x + 0.2 * point.y * point.y;
            let band = (point.x - curve).abs() - 0.075;
            brush.detail((band - 0.03).max(body), 0.8, edge * 0.45);
            brush.detail(band.max(body), 0.95, belly.to(WHITE, 0.6));
        }
    }
    let gill = (disc(point, at(0.74, 0.02), 0.33).abs() - 0.014).max(point.x - 0.56);
    brush.detail(gill.max(body + 0.08), 0.6, edge * 0.7);
    let mouth = capsule(point, [at(0.74, 0.12), at(0.9, 0.07)], [0.012, 0.02]);
    brush.detail(mouth, 0.8, edge * 0.5);
    brush.shine(at(0.22, -0.24), 0.3, 0.35);
    let eye = at(0.63, -0.1);
    brush.detail(disc(point, eye, 0.105), 1.0, WHITE);
    brush.detail(disc(point, eye + at(0.015, 0.0), 0.065), 1.0, INK);
    brush.detail(disc(point, eye + at(-0.01, -0.03), 0.022), 1.0, WHITE);
}

fn fish_fins(brush: &mut Brush, look: &Look) {
    const TAIL: [Point; 5] = [
        at(-0.5, 0.0),
        at(-0.92, -0.44),
        at(-0.82, -0.12),
        at(-0.82, 0.12),
        at(-0.92, 0.44),
    ];
    let point = brush.point;
    let tail = polygon(point, &TAIL) - 0.045;
    let sweep = at(point.x + 0.35 * point.y, point.y);
    let upper = ellipse(sweep, at(-0.08, -0.36), at(0.38, 0.24));
    let lower = ellipse(
        at(point.x - 0.3 * point.y, point.y),
        at(-0.1, 0.4),
        at(0.2, 0.18),
    );
    let fins = tail.min(upper).min(lower);
    let edge = look.colours[1];
    brush.fill(fins, |brush| {
        let hub = point - at(0.35, 0.0);
        let ray = rise(0.12, 0.3, to_whole(hub.y.atan2(hub.x) * 9.0));
        let tip = rise(0.45, 1.0, point.length());
        brush.lit(
            edge.to(look.colours[0], tip * 0.5) * mix(0.84, 1.04, ray),
            fins,
            0.08,
        )
    });
}

/// Distance to the rims of overlapping scales, in sevenths of a unit.
fn scales(point: Point) -> f32 {
    let (row, down) = split(point.y * 9.0 + 40.0);
    let shift = if row & 1 == 0 { 0.5 } else { 0.0 };
    let (_, across) = split(point.x * 7.0 + shift);
    (at(across - 0.1, (down - 0.5) * 0.8).length() - 0.55).abs() - 0.05
}

pub fn starfish(brush: &mut Brush, look: &Look) {
    let point = brush.point;
    let [skin, dark, bump] = look.colours;
    // All five arms are the one that points up, seen from their own sectors.
    let sector = TAU / 5.0;
    let arm = (point.x.atan2(-point.y) / sector).round();
    let own = point.turned(-arm * sector);
    let lean = 0.1 * (brush.noise.cell(arm as i32, look.offset.x as i32) - 0.5);
    let own = at(own.x + lean * own.y * own.y * 2.0, own.y);
    let limb = capsule(own, [at(0.0, -0.1), at(0.0, -0.84)], [0.29, 0.1]);
    let body = blended(limb, disc(point, at(0.0, 0.0), 0.4), 0.24);
    brush.fill(body, |brush| {
        let ridge = rise(0.26, 0.0, own.x.abs());
        let mottled = skin.to(dark, rise(0.4, 0.8, brush.grain(4.0, 3)) * 0.6);
        let mottled = mottled.to(dark, rise(-0.14, 0.0, body) * 0.5);
        brush.lit(mottled * mix(0.94, 1.12, ridge), body, 0.14)
    });
    let (speck, _) = scatter(brush.noise, point * 11.0 + look.offset, 0.26, 0.75);
    brush.detail((speck / 11.0).max(body + 0.05), 0.4, bump);
    let step = 0.135;
    let nearest = (own.y / step).round().clamp(-6.0, -1.0) * step;
    let knob = disc(own, at(0.0, nearest), mix(0.052, 0.026, nearest / -0.84));
    brush.detail(knob, 0.9, bump);
    brush.detail(disc(point, at(0.0, 0.0), 0.075), 0.9, bump);
    brush.shine(brush.light * 0.22, 0.4, 0.2);
}

pub fn butterfly(brush: &mut Brush, look: &Look) {
    let point = brush.point.folded();
    let [inner, outer, dark] = look.colours;
    let upper = ellipse(
        (point - at(0.5, -0.3)).turned(0.6),
        at(0.0, 0.0),
        at(0.5, 0.34),
    );
    let lower = ellipse(
        (point - at(0.4, 0.38)).turned(-0.75),
        at(0.0, 0.0),
        at(0.4, 0.29),
    );
    // The wings' roots leave no gap beside the body.
    let root = ellipse(point, at(0.1, 0.04), at(0.16, 0.26));
    let wings = blended(upper, lower, 0.05).min(root);
    brush.fill(wings, |brush| brush.lit(dark, wings, 0.05));
    let reach = rise(0.1, 0.85, point.length());
    let dust = mix(0.9, 1.08, brush.grain(7.0, 2));
    for wing in [upper, lower] {
        let panel = brush.lit(inner.to(outer, reach) * dust, wing, 0.2);
        brush.detail(wing + 0.085, 1.0, panel);
    }
    let hub = point - at(-0.05, 0.02);
    let fan = to_whole(hub.y.atan2(hub.x) * 2.4) / 2.4 * hub.length();
    brush.detail((fan - 0.013).max(0.2 - hub.length()), 0.85, dark);
    for (x, y, radius) in [(0.6, -0.38, 0.09), (0.46, 0.42, 0.085)] {
        let spot = disc(point, at(x, y), radius);
        brush.detail(spot, 1.0, dark);
        brush.detail(spot + radius * 0.45, 1.0, outer.to(WHITE, 0.5));
    }
    for (wing, step) in [(upper, 8.0), (lower, 8.0)] {
        let bead = (to_whole(hub.y.atan2(hub.x) * step) / step * hub.length()).hypot(wing + 0.043);
        brush.detail(bead - 0.02, 0.9, WHITE);
    }
    butterfly_body(brush, dark.to(hex(0x6B5A4A), 0.25));
}

fn butterfly_body(brush: &mut Brush, colour: Colour) {
    let point = brush.point.folded();
    let feeler = capsule(point, [at(0.02, -0.42), at(0.24, -0.86)], [0.02, 0.02]);
    let feeler = feeler.min(disc(point, at(0.25, -0.88), 0.042));
    brush.fill(feeler, |_| colour);
    let trunk = capsule(point, [at(0.0, -0.26), at(0.0, 0.5)], [0.085, 0.045]);
    let body = blended(trunk, disc(point, at(0.0, -0.4), 0.085), 0.04);
    brush.fill(body, |brush| {
        let ring = rise(0.1, 0.3, to_whole(point.y * 8.0));
        brush.lit(colour * mix(1.35, 1.0, ring), body, 0.06)
    });
}
