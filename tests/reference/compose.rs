//! Part 1 of the specification: from a plan to pixels, masks and boxes.
//!
//! Integers are `i64` throughout. The only products that come near its end are those of rule 12,
//! and they stay under 2^62 for the sides that the specification allows.

use serde_json::{Value, json};

use super::pack::{Bank, Picture, Scene, SceneInstance, Scenes};
use super::{Instance, Sample};

/// The three rows [m0, m1, m2, b] of rule 6.
type ColorMatrix = [[i64; 4]; 3];

/// Where a source lies: `resized`, `offset`, `flip` and `angle` of a plan.
struct Placement {
    resized_width: i64,
    resized_height: i64,
    offset_x: i64,
    offset_y: i64,
    flip: bool,
    /// None if `angle` is absent or 0.
    rotation: Option<Rotation>,
}

/// C and S of rule 12.
struct Rotation {
    cosine: i64,
    sine: i64,
}

/// Where the centre of a canvas pixel falls in a source: Ix and Iy of rule 1 or of rule 12.
struct Point {
    x: i64,
    y: i64,
    inside: bool,
}

/// The two texels along one axis that rule 4 mixes, and the 256ths of the second one.
struct Neighbours {
    first: i64,
    second: i64,
    fraction: i64,
}

/// How the weight of rule 9 is made.
enum Blend {
    Hard,
    Soft,
    /// The weights w_j of a Gaussian or a box, from j = −r to j = r.
    Filter(Vec<i64>),
}

/// The conditions of rule 14.
struct Keep {
    min_area: i64,
    min_visible_permille: i64,
    max_box_shift: Option<i64>,
}

/// One layer of a sample, with the mip level that rule 3 chooses.
struct Layer {
    cutout: usize,
    category_id: i64,
    level: Picture,
    placement: Placement,
    blend: Blend,
    color: ColorMatrix,
}

/// One number for each pixel of a part of the canvas grid that may reach beyond the canvas.
struct Plane {
    left: i64,
    top: i64,
    width: i64,
    height: i64,
    values: Vec<i64>,
}

impl Plane {
    /// Asks for the value of every pixel of the canvas, with `margin_x` more columns on the left and
    /// on the right and `margin_y` more rows above and below.
    fn around_canvas(
        canvas: [i64; 2],
        margin_x: i64,
        margin_y: i64,
        value: impl Fn(i64, i64) -> i64,
    ) -> Plane {
        let mut values = Vec::new();
        for y in -margin_y..canvas[1] + margin_y {
            for x in -margin_x..canvas[0] + margin_x {
                values.push(value(x, y));
            }
        }
        Plane {
            left: -margin_x,
            top: -margin_y,
            width: canvas[0] + 2 * margin_x,
            height: canvas[1] + 2 * margin_y,
            values,
        }
    }

    /// The value of the canvas pixel (x, y).
    fn at(&self, x: i64, y: i64) -> i64 {
        let (column, row) = (x - self.left, y - self.top);
        assert!(0 <= column && column < self.width);
        assert!(0 <= row && row < self.height);
        self.values[(row * self.width + column) as usize]
    }
}

/// Composes every sample of a plan.
pub fn compose(plan: &Value, bank: &Bank, scenes: &Scenes) -> Vec<Sample> {
    let canvas = [integer(&plan["canvas"][0]), integer(&plan["canvas"][1])];
    let pad = read_pad(plan);
    let keep = read_keep(plan);
    list(&plan["samples"])
        .iter()
        .map(|sample| compose_sample(sample, canvas, pad, &keep, bank, scenes))
        .collect()
}

fn compose_sample(
    plan: &Value,
    canvas: [i64; 2],
    pad: [u8; 3],
    keep: &Keep,
    bank: &Bank,
    scenes: &Scenes,
) -> Sample {
    let scene = &scenes.scenes[integer(&plan["scene"]["index"]) as usize];
    let scene_placement = read_placement(&plan["scene"]);
    let scene_color = read_color(&plan["scene"]);
    let layers: Vec<Layer> = list(&plan["layers"])
        .iter()
        .map(|layer| read_layer(layer, bank))
        .collect();

    let mut rgb = scene_pixels(scene, &scene_placement, &scene_color, canvas, pad);
    for layer in &layers {
        blend_layer(&mut rgb, layer, canvas);
    }

    let covers: Vec<Vec<bool>> = scene
        .instances
        .iter()
        .map(|instance| scene_instance_cover(scene, instance, &scene_placement, canvas))
        .collect();
    let masks: Vec<Vec<bool>> = layers
        .iter()
        .map(|layer| layer_mask_on_canvas(layer, canvas))
        .collect();
    let top = top_layers(&masks, canvas);

    let mut instances = Vec::new();
    for (instance, cover) in scene.instances.iter().zip(&covers) {
        let visible = visible_mask(cover, &top, None);
        if is_kept(keep, cover, &visible, canvas) {
            instances.push(Instance {
                category_id: instance.category_id,
                iscrowd: instance.iscrowd,
                annotation: Some(instance.annotation),
                cutout: None,
                layer: None,
                box_xyxy: tight_box(&visible, canvas),
                area: count(&visible) as u64,
                full_area: count(cover) as u64,
                mask: visible,
            });
        }
    }
    for (index, (layer, mask)) in layers.iter().zip(&masks).enumerate() {
        let visible = visible_mask(mask, &top, Some(index));
        if is_kept(keep, mask, &visible, canvas) {
            instances.push(Instance {
                category_id: layer.category_id,
                iscrowd: 0,
                annotation: None,
                cutout: Some(layer.cutout),
                layer: Some(index),
                box_xyxy: tight_box(&visible, canvas),
                area: count(&visible) as u64,
                full_area: count(mask) as u64,
                mask: visible,
            });
        }
    }

    Sample {
        width: canvas[0] as usize,
        height: canvas[1] as usize,
        rgb,
        instances,
        image_id: scene.image_id,
    }
}

/// Rules 1 and 12: where a canvas pixel falls in a source.
fn locate(placement: &Placement, x: i64, y: i64) -> Point {
    match &placement.rotation {
        None => locate_upright(placement, x, y),
        Some(rotation) => locate_rotated(placement, rotation, x, y),
    }
}

/// Rule 1.
fn locate_upright(placement: &Placement, x: i64, y: i64) -> Point {
    let (width, height) = (placement.resized_width, placement.resized_height);
    let mut point_x = 2 * (x - placement.offset_x) + 1;
    let point_y = 2 * (y - placement.offset_y) + 1;
    if placement.flip {
        point_x = 2 * width - point_x;
    }
    Point {
        x: point_x,
        y: point_y,
        inside: 0 < point_x && point_x < 2 * width && 0 < point_y && point_y < 2 * height,
    }
}

/// Rule 12.
fn locate_rotated(placement: &Placement, rotation: &Rotation, x: i64, y: i64) -> Point {
    let (width, height) = (placement.resized_width, placement.resized_height);
    let dx = 2 * x + 1 - (2 * placement.offset_x + width);
    let dy = 2 * y + 1 - (2 * placement.offset_y + height);
    let mut point_x = rotation.cosine * dx - rotation.sine * dy + (width << 18);
    let point_y = rotation.sine * dx + rotation.cosine * dy + (height << 18);
    if placement.flip {
        point_x = (width << 19) - point_x;
    }
    Point {
        x: point_x,
        y: point_y,
        inside: 0 < point_x && point_x < width << 19 && 0 < point_y && point_y < height << 19,
    }
}

/// Rule 12: C and S of an angle in degrees; none if it is 0.
fn rotation_of(degrees: f64) -> Option<Rotation> {
    if degrees == 0.0 {
        return None;
    }
    let radians = degrees * std::f64::consts::PI / 180.0;
    Some(Rotation {
        cosine: (radians.cos() * 262_144.0 + 0.5).floor() as i64,
        sine: (radians.sin() * 262_144.0 + 0.5).floor() as i64,
    })
}

/// Rule 2: all levels of a picture, the picture itself first.
fn mip_chain(picture: &Picture) -> Vec<Picture> {
    let mut levels = vec![picture.clone()];
    loop {
        let last = &levels[levels.len() - 1];
        if last.width == 1 && last.height == 1 {
            return levels;
        }
        let next = next_level(last);
        levels.push(next);
    }
}

/// Rule 2: half the size, each texel the mean of four.
fn next_level(level: &Picture) -> Picture {
    let width = (level.width + 1) >> 1;
    let height = (level.height + 1) >> 1;
    let mut texels = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let left = 2 * x;
            let right = (2 * x + 1).min(level.width - 1);
            let upper = 2 * y;
            let lower = (2 * y + 1).min(level.height - 1);
            for channel in 0..level.channels {
                let value = |x: usize, y: usize| texel(level, x as i64, y as i64, channel);
                let sum = value(left, upper)
                    + value(right, upper)
                    + value(left, lower)
                    + value(right, lower);
                texels.push(((sum + 2) >> 2) as u8);
            }
        }
    }
    Picture {
        width,
        height,
        channels: level.channels,
        texels,
    }
}

/// Rule 3: the smallest level that is nowhere smaller than the resized source, else the source.
fn choose_level(picture: &Picture, placement: &Placement) -> Picture {
    let mut chosen = picture.clone();
    for level in mip_chain(picture) {
        if level.width as i64 >= placement.resized_width
            && level.height as i64 >= placement.resized_height
        {
            chosen = level;
        }
    }
    chosen
}

/// One channel of one texel.
fn texel(picture: &Picture, x: i64, y: i64, channel: usize) -> i64 {
    let index = (y as usize * picture.width + x as usize) * picture.channels + channel;
    i64::from(picture.texels[index])
}

/// Rule 4 along one axis: n = level size, m = resized size.
fn neighbours(n: i64, m: i64, i: i64) -> Neighbours {
    let i = i.clamp(0, 2 * m);
    let step = (n << 32) / m;
    let position = ((step * i) >> 1) - (1 << 31);
    neighbours_at(n, position)
}

/// Rule 4 along one axis, as rule 12 changes it.
fn neighbours_rotated(n: i64, m: i64, i: i64) -> Neighbours {
    let i = i.clamp(0, m << 19);
    let step = (n << 28) / m;
    let position = ((step * i) >> 15) - (1 << 31);
    neighbours_at(n, position)
}

/// Rule 4: from a position in 2^32ths of a texel to the texels and the fraction.
fn neighbours_at(n: i64, position: i64) -> Neighbours {
    let first = position >> 32;
    let second = first + 1;
    Neighbours {
        first: first.clamp(0, n - 1),
        second: second.clamp(0, n - 1),
        fraction: (position >> 24) & 255,
    }
}

/// Rule 4: the bilinear sample of one channel.
fn bilinear(level: &Picture, placement: &Placement, point: &Point, channel: usize) -> i64 {
    let along_axis = match placement.rotation {
        None => neighbours,
        Some(_) => neighbours_rotated,
    };
    let x = along_axis(level.width as i64, placement.resized_width, point.x);
    let y = along_axis(level.height as i64, placement.resized_height, point.y);
    let p00 = texel(level, x.first, y.first, channel);
    let p10 = texel(level, x.second, y.first, channel);
    let p01 = texel(level, x.first, y.second, channel);
    let p11 = texel(level, x.second, y.second, channel);
    let top = (256 - x.fraction) * p00 + x.fraction * p10;
    let bottom = (256 - x.fraction) * p01 + x.fraction * p11;
    ((256 - y.fraction) * top + y.fraction * bottom + 32768) >> 16
}

/// Rule 5 along one axis: n = size of level 0, m = resized size.
fn nearest(n: i64, m: i64, i: i64) -> i64 {
    let step = (n << 32) / m;
    ((step * i) >> 33).clamp(0, n - 1)
}

/// Rule 6.
fn apply_color(color: &ColorMatrix, rgb: [i64; 3]) -> [i64; 3] {
    color.map(|[m0, m1, m2, b]| {
        ((m0 * rgb[0] + m1 * rgb[1] + m2 * rgb[2] + b + 512) >> 10).clamp(0, 255)
    })
}

/// The bilinear sample of red, green and blue through a colour matrix: rules 7 and 10.
fn sample_color(
    level: &Picture,
    placement: &Placement,
    point: &Point,
    color: &ColorMatrix,
) -> [i64; 3] {
    let rgb = [0, 1, 2].map(|channel| bilinear(level, placement, point, channel));
    apply_color(color, rgb)
}

/// Rule 7: the picture under the layers.
fn scene_pixels(
    scene: &Scene,
    placement: &Placement,
    color: &ColorMatrix,
    canvas: [i64; 2],
    pad: [u8; 3],
) -> Vec<u8> {
    let level = choose_level(&scene.picture, placement);
    let mut rgb = Vec::new();
    for y in 0..canvas[1] {
        for x in 0..canvas[0] {
            let point = locate(placement, x, y);
            if point.inside {
                let sampled = sample_color(&level, placement, &point, color);
                rgb.extend(sampled.map(|value| value as u8));
            } else {
                rgb.extend(pad);
            }
        }
    }
    rgb
}

/// Rule 7: the canvas pixels that a scene instance covers.
fn scene_instance_cover(
    scene: &Scene,
    instance: &SceneInstance,
    placement: &Placement,
    canvas: [i64; 2],
) -> Vec<bool> {
    let mut cover = Vec::new();
    for y in 0..canvas[1] {
        for x in 0..canvas[0] {
            let point = locate(placement, x, y);
            cover.push(point.inside && mask_bit_at(scene, instance, placement, &point));
        }
    }
    cover
}

/// Rule 5: whether the nearest sample of a scene instance's mask is set.
fn mask_bit_at(
    scene: &Scene,
    instance: &SceneInstance,
    placement: &Placement,
    point: &Point,
) -> bool {
    let width = scene.picture.width as i64;
    let height = scene.picture.height as i64;
    let x = nearest(width, placement.resized_width, point.x);
    let y = nearest(height, placement.resized_height, point.y);
    mask_bit(instance, x, y)
}

/// Whether the mask of a scene instance has a pixel of the scene; it has none outside its box.
fn mask_bit(instance: &SceneInstance, x: i64, y: i64) -> bool {
    let [left, top, width, height] = instance.box_xywh;
    let (column, row) = (x - left, y - top);
    0 <= column
        && column < width
        && 0 <= row
        && row < height
        && instance.box_mask[(row * width + column) as usize]
}

/// Rule 8: c, the coverage of a layer at any pixel of the endless grid.
fn coverage(layer: &Layer, x: i64, y: i64) -> i64 {
    let alpha = 3;
    let point = locate(&layer.placement, x, y);
    if point.inside {
        bilinear(&layer.level, &layer.placement, &point, alpha)
    } else {
        0
    }
}

/// Rule 8: the mask of a layer at any pixel of the endless grid.
fn layer_mask(layer: &Layer, x: i64, y: i64) -> bool {
    coverage(layer, x, y) >= 128
}

/// Rule 8: the part of a layer's mask that lies on the canvas.
fn layer_mask_on_canvas(layer: &Layer, canvas: [i64; 2]) -> Vec<bool> {
    let mut mask = Vec::new();
    for y in 0..canvas[1] {
        for x in 0..canvas[0] {
            mask.push(layer_mask(layer, x, y));
        }
    }
    mask
}

/// Rule 9: the weight of a layer at every pixel of the canvas.
fn blend_weights(layer: &Layer, canvas: [i64; 2]) -> Plane {
    let zero_or_255 = |x, y| if layer_mask(layer, x, y) { 255 } else { 0 };
    match &layer.blend {
        Blend::Hard => Plane::around_canvas(canvas, 0, 0, zero_or_255),
        Blend::Soft => Plane::around_canvas(canvas, 0, 0, |x, y| coverage(layer, x, y)),
        Blend::Filter(weights) => {
            let radius = weights.len() as i64 / 2;
            let mask = Plane::around_canvas(canvas, radius, radius, zero_or_255);
            let along_x = Plane::around_canvas(canvas, 0, radius, |x, y| {
                filter(weights, |j| mask.at(x + j, y))
            });
            Plane::around_canvas(canvas, 0, 0, |x, y| {
                filter(weights, |j| along_x.at(x, y + j))
            })
        }
    }
}

/// Rule 9: one pass of a filter at one pixel; `value` gives v_j.
fn filter(weights: &[i64], value: impl Fn(i64) -> i64) -> i64 {
    let radius = weights.len() as i64 / 2;
    let mut sum = 0;
    for j in -radius..=radius {
        sum += weights[(j + radius) as usize] * value(j);
    }
    let filtered = (sum + 32768) >> 16;
    assert!((0..=255).contains(&filtered), "it is stored as 8 bits");
    filtered
}

/// Rule 9: the weights of a Gaussian.
fn gaussian_weights(sigma: f64) -> Vec<i64> {
    let radius = (3.0 * sigma).ceil() as i64;
    let heights: Vec<f64> = (-radius..=radius)
        .map(|j| (-((j * j) as f64) / (2.0 * sigma * sigma)).exp())
        .collect();
    let mut sum = 0.0;
    for height in &heights {
        sum += height;
    }
    let weights = heights
        .iter()
        .map(|height| (65536.0 * height / sum + 0.5).floor() as i64)
        .collect();
    with_sum_65536(weights)
}

/// Rule 9: the weights of a box.
fn box_weights(radius: i64) -> Vec<i64> {
    let length = 2 * radius + 1;
    let weight = (65536.0 / length as f64 + 0.5).floor() as i64;
    with_sum_65536(vec![weight; length as usize])
}

/// Rule 9: w_0, the weight in the middle, gets what is missing.
fn with_sum_65536(mut weights: Vec<i64>) -> Vec<i64> {
    let sum: i64 = weights.iter().sum();
    let middle = weights.len() / 2;
    weights[middle] += 65536 - sum;
    weights
}

/// Rules 9, 10 and 11: lays one layer over the picture so far.
fn blend_layer(rgb: &mut [u8], layer: &Layer, canvas: [i64; 2]) {
    let weights = blend_weights(layer, canvas);
    for y in 0..canvas[1] {
        for x in 0..canvas[0] {
            let weight = weights.at(x, y);
            let point = locate(&layer.placement, x, y);
            let foreground = sample_color(&layer.level, &layer.placement, &point, &layer.color);
            for (channel, value) in foreground.into_iter().enumerate() {
                let index = (y * canvas[0] + x) as usize * 3 + channel;
                let background = i64::from(rgb[index]);
                rgb[index] = blend_channel(value, background, weight) as u8;
            }
        }
    }
}

/// Rule 11.
fn blend_channel(foreground: i64, background: i64, weight: i64) -> i64 {
    let u = foreground * weight + background * (255 - weight) + 128;
    (u + (u >> 8)) >> 8
}

/// Rule 13: for each pixel the last layer whose mask has it.
fn top_layers(masks: &[Vec<bool>], canvas: [i64; 2]) -> Vec<Option<usize>> {
    (0..(canvas[0] * canvas[1]) as usize)
        .map(|pixel| (0..masks.len()).rev().find(|&layer| masks[layer][pixel]))
        .collect()
}

/// Rule 13: what is seen of a layer's mask, or of a scene instance's cover where `layer` is none.
fn visible_mask(mask: &[bool], top: &[Option<usize>], layer: Option<usize>) -> Vec<bool> {
    mask.iter()
        .zip(top)
        .map(|(&has_pixel, &top)| has_pixel && top == layer)
        .collect()
}

/// Rule 14: whether an instance stays; `full` is its mask on the canvas before occlusion.
fn is_kept(keep: &Keep, full: &[bool], visible: &[bool], canvas: [i64; 2]) -> bool {
    let full_area = count(full);
    let visible_area = count(visible);
    if visible_area == 0 {
        return false;
    }
    if 1000 * visible_area < keep.min_visible_permille * full_area {
        return false;
    }
    if visible_area < keep.min_area {
        let full_box = tight_box(full, canvas);
        let visible_box = tight_box(visible, canvas);
        return match keep.max_box_shift {
            None => false,
            Some(shift) => (0..4).all(|edge| (visible_box[edge] - full_box[edge]).abs() <= shift),
        };
    }
    true
}

/// Rule 14: the number of pixels of a mask.
fn count(mask: &[bool]) -> i64 {
    mask.iter().filter(|&&has_pixel| has_pixel).count() as i64
}

/// Rule 14: the tight box [x0, y0, x1, y1) of a mask that is not empty.
fn tight_box(mask: &[bool], canvas: [i64; 2]) -> [i64; 4] {
    let [mut x0, mut y0] = canvas;
    let [mut x1, mut y1] = [0, 0];
    for y in 0..canvas[1] {
        for x in 0..canvas[0] {
            if mask[(y * canvas[0] + x) as usize] {
                x0 = x0.min(x);
                y0 = y0.min(y);
                x1 = x1.max(x + 1);
                y1 = y1.max(y + 1);
            }
        }
    }
    [x0, y0, x1, y1]
}

/// `pad`, 114 in each channel if it is left out.
fn read_pad(plan: &Value) -> [u8; 3] {
    match plan.get("pad") {
        None => [114, 114, 114],
        Some(pad) => [0, 1, 2].map(|channel| u8::try_from(integer(&pad[channel])).unwrap()),
    }
}

/// `keep`, each of its members with its own default.
fn read_keep(plan: &Value) -> Keep {
    let nothing = json!({});
    let keep = plan.get("keep").unwrap_or(&nothing);
    Keep {
        min_area: keep.get("min_area").map_or(1, integer),
        min_visible_permille: keep.get("min_visible_permille").map_or(0, integer),
        max_box_shift: keep.get("max_box_shift").map(integer),
    }
}

/// The placement of a scene or of a layer; a scene has no `angle`.
fn read_placement(plan: &Value) -> Placement {
    let angle = plan
        .get("angle")
        .map_or(0.0, |angle| angle.as_f64().unwrap());
    Placement {
        resized_width: integer(&plan["resized"][0]),
        resized_height: integer(&plan["resized"][1]),
        offset_x: integer(&plan["offset"][0]),
        offset_y: integer(&plan["offset"][1]),
        flip: plan.get("flip").is_some_and(|flip| flip.as_bool().unwrap()),
        rotation: rotation_of(angle),
    }
}

/// `color`, 1024 on the diagonal if it is left out.
fn read_color(plan: &Value) -> ColorMatrix {
    match plan.get("color") {
        None => [[1024, 0, 0, 0], [0, 1024, 0, 0], [0, 0, 1024, 0]],
        Some(color) => [0, 1, 2].map(|row| [0, 1, 2, 3].map(|column| integer(&color[row][column]))),
    }
}

/// `blend`, hard if it is left out.
fn read_blend(plan: &Value) -> Blend {
    match plan.get("blend") {
        None => Blend::Hard,
        Some(blend) if blend == "hard" => Blend::Hard,
        Some(blend) if blend == "soft" => Blend::Soft,
        Some(blend) if blend.get("gaussian").is_some() => Blend::Filter(gaussian_weights(
            blend["gaussian"]["sigma"].as_f64().unwrap(),
        )),
        Some(blend) => Blend::Filter(box_weights(integer(&blend["box"]["radius"]))),
    }
}

fn read_layer(plan: &Value, bank: &Bank) -> Layer {
    let index = integer(&plan["cutout"]) as usize;
    let cutout = &bank.cutouts[index];
    let placement = read_placement(plan);
    Layer {
        cutout: index,
        category_id: cutout.category_id,
        level: choose_level(&cutout.picture, &placement),
        placement,
        blend: read_blend(plan),
        color: read_color(plan),
    }
}

fn integer(value: &Value) -> i64 {
    value.as_i64().unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}
