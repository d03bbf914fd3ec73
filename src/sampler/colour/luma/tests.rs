use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::bank::manifest::{Kind, Manifest};
use crate::bank::test_banks::{category, row, write_bank};
use crate::bank::write::{SceneRow, SceneShardWriter, shard_file_name};
use crate::bank::{CUTOUT_CHANNELS, CutoutBank, ScenePack};
use crate::compose::rules;
use crate::plan::ColorMatrix;

/// Level 0 of a scene: RGB interleaved.
struct Picture {
    size: Size,
    pixels: Vec<u8>,
}

impl Picture {
    fn new(width: u32, height: u32, mut colour: impl FnMut(f64, f64) -> [f64; 3]) -> Picture {
        let mut pixels = Vec::new();
        for y in 0..height {
            for x in 0..width {
                pixels.extend(colour(f64::from(x), f64::from(y)).map(|v| v.round() as u8));
            }
        }
        let size = Size::new(width, height).unwrap();
        Picture { size, pixels }
    }

    /// Red from 0 to 255 to the right, green from 0 to 255 downwards.
    fn gradient(width: u32, height: u32) -> Picture {
        let [right, down] = [width, height].map(|side| 255.0 / f64::from(side - 1));
        Picture::new(width, height, |x, y| [right * x, down * y, 128.0])
    }

    fn chain(&self) -> Vec<u8> {
        let mut chain = self.pixels.clone();
        mip::append_chain::<SCENE_CHANNELS>(&mut chain, self.size);
        chain
    }

    fn jpeg(&self) -> Vec<u8> {
        let mut file = Vec::new();
        let (width, height) = (self.size.width(), self.size.height());
        JpegEncoder::new_with_quality(&mut file, 95)
            .encode(&self.pixels, width, height, image::ExtendedColorType::Rgb8)
            .unwrap();
        file
    }

    /// What the composed canvas shows in `rect`, pixel by pixel from level 0.
    fn luma(&self, plan: &ScenePlan, rect: Rect) -> Option<Luma> {
        let sides = [self.size.width(), self.size.height()];
        let flat: &[i32; 12] = plan.color.0.as_flattened().try_into().unwrap();
        let mut lumas = Vec::new();
        for (x, y) in (rect.y0..rect.y1).flat_map(|y| (rect.x0..rect.x1).map(move |x| (x, y))) {
            let doubled = [
                rules::doubled_distance(x, plan.offset[0], plan.resized[0], plan.flip),
                rules::doubled_distance(y, plan.offset[1], plan.resized[1], false),
            ];
            if [0, 1]
                .iter()
                .all(|&axis| rules::is_inside(doubled[axis], plan.resized[axis]))
            {
                let [x, y] = [0, 1].map(|axis| {
                    let step = rules::step(sides[axis], plan.resized[axis]);
                    rules::nearest(doubled[axis], step, sides[axis]) as usize
                });
                let texel = self.pixels.as_chunks().0[y * sides[0] as usize + x];
                let [red, green, blue] = rules::apply_colour(flat, texel).map(f64::from);
                lumas.push((0.299 * red + 0.587 * green + 0.114 * blue, 1.0));
            }
        }
        weighted(&lumas)
    }
}

/// Mean and deviation of values and their weights, in two passes.
fn weighted(values: &[(f64, f64)]) -> Option<Luma> {
    let total: f64 = values.iter().map(|(_, weight)| weight).sum();
    let mean = values
        .iter()
        .map(|(value, weight)| value * weight)
        .sum::<f64>()
        / total;
    let square = |(value, weight): &(f64, f64)| weight * (value - mean).powi(2);
    let variance = values.iter().map(square).sum::<f64>() / total;
    (total > 0.0).then_some(Luma {
        mean,
        deviation: variance.sqrt(),
    })
}

fn write_pack(folder: &Path, scenes: &[(Size, ScenePixels<'_>)]) -> ScenePack {
    let mut writer = SceneShardWriter::create(&folder.join(shard_file_name(0))).unwrap();
    for &(size, pixels) in scenes {
        let scene = SceneRow {
            size,
            image: 1,
            pixels,
            instances: &[],
            file_name: "a.jpg",
            negative_categories: &[],
            not_exhaustive_categories: &[],
        };
        writer.push(&scene).unwrap();
    }
    let shards = vec![writer.finish().unwrap()];
    let manifest = Manifest::new(Kind::Scenes, shards, vec![category(1, "a")]);
    manifest.write(folder).unwrap();
    ScenePack::open(folder).unwrap()
}

/// The small level of one raw scene.
fn read(picture: &Picture) -> SceneMip {
    let folder = tempfile::tempdir().unwrap();
    let chain = picture.chain();
    let pack = write_pack(folder.path(), &[(picture.size, ScenePixels::Raw(&chain))]);
    let mut small = SceneMip::default();
    assert!(small.read(&pack.get(0).unwrap()));
    assert!(small.texels.len() <= 64 * 64 * 3);
    small
}

fn placed(resized: [u32; 2], offset: [i32; 2], flip: bool) -> ScenePlan {
    ScenePlan {
        index: 0,
        resized,
        offset,
        flip,
        color: ColorMatrix::default(),
    }
}

fn rect([x0, x1]: [i32; 2], [y0, y1]: [i32; 2]) -> Rect {
    Rect { x0, y0, x1, y1 }
}

/// How far mean and deviation at the small level may be from the exact ones on a gradient.
///
/// Let T be the change of luma over a texel along an axis, and n the texels under the rectangle.
/// Whole texels have their exact means. At both ends a fraction f of a texel counts with the mean
/// of all of it, off by T·(1−f)/2: in the mean that is T·f·(1−f)/2n ≤ T/8n an end, and never more
/// than T/2. The deviation loses the variance in the texels: for an n-texel ramp T·n/√12 becomes
/// T·√(n²−1)/√12, which is T/(√12·n) less at most. A grey level is for the rounding of rule 2 and
/// for reading level 0 at the nearest texel.
fn tolerance(picture: &Picture, plan: &ScenePlan, rect: Rect) -> f64 {
    let texel = f64::from(1u32 << small_level(picture.size));
    let sides = [picture.size.width(), picture.size.height()];
    let axis = |axis: usize, weight: f64, from: i32, to: i32| {
        let (side, resized) = (f64::from(sides[axis]), f64::from(plan.resized[axis]));
        let [from, to] = [from, to]
            .map(|edge| f64::from(edge - plan.offset[axis]).clamp(0.0, resized) * side / resized);
        let change = weight * 255.0 / side * texel;
        change * (0.3 * texel / (to - from)).min(0.5)
    };
    1.0 + axis(0, 0.299, rect.x0, rect.x1) + axis(1, 0.587, rect.y0, rect.y1)
}

#[test]
fn a_scenes_luma_is_that_of_its_pixels_on_the_canvas() {
    let mut draw = ChaCha8Rng::seed_from_u64(21);
    let mut missed = 0;
    for [width, height] in [[300, 200], [131, 257], [64, 40], [1025, 33], [500, 500]] {
        let picture = Picture::gradient(width, height);
        let small = read(&picture);
        for _ in 0..200 {
            // Larger than the canvas of 400x300 and cropped, or smaller and padded.
            let plan = placed(
                [draw.random_range(30..900), draw.random_range(30..900)],
                [draw.random_range(-400..200), draw.random_range(-400..150)],
                draw.random(),
            );
            let [x, y] = [draw.random_range(0..390), draw.random_range(0..290)];
            let [w, h] = [draw.random_range(1..200), draw.random_range(1..200)];
            let rect = rect([x, (x + w).min(400)], [y, (y + h).min(300)]);
            let (found, expected) = (small.luma(&plan, rect), picture.luma(&plan, rect));
            assert_eq!(found.is_some(), expected.is_some(), "{plan:?} {rect:?}");
            let Some((found, expected)) = found.zip(expected) else {
                missed += 1;
                continue;
            };
            let most = tolerance(&picture, &plan, rect);
            let what = format!("{plan:?} {rect:?}: {found:?}, not {expected:?} ± {most}");
            assert!((found.mean - expected.mean).abs() < most, "{what}");
            assert!(
                (found.deviation - expected.deviation).abs() < most,
                "{what}"
            );
        }
    }
    assert!((50..950).contains(&missed), "{missed}");
}

#[test]
fn flip_offset_and_crop_show_what_they_should() {
    let picture = Picture::new(
        256,
        128,
        |x, _| if x < 128.0 { [40.0; 3] } else { [200.0; 3] },
    );
    let small = read(&picture);
    let left = rect([10, 50], [10, 40]);
    let mean = |plan: &ScenePlan, rect| small.luma(plan, rect).map(|luma| luma.mean);
    let near = |found: Option<f64>, expected: f64| (found.unwrap() - expected).abs() < 1e-9;
    assert!(near(mean(&placed([256, 128], [0, 0], false), left), 40.0));
    assert!(near(mean(&placed([256, 128], [0, 0], true), left), 200.0));
    // Cropped by 150 pixels; by 120, which leaves columns 125 to 145: 0.15·40 + 0.85·200.
    assert!(near(
        mean(&placed([256, 128], [-150, 0], false), left),
        200.0
    ));
    assert!(near(
        mean(&placed([512, 256], [-240, 0], false), left),
        176.0
    ));
    // Padded: 10 columns of the scene, and none.
    assert!(near(mean(&placed([256, 128], [40, 0], false), left), 40.0));
    assert_eq!(mean(&placed([256, 128], [50, 0], false), left), None);
    assert_eq!(mean(&placed([256, 128], [0, -118], false), left), None);
    assert_eq!(
        mean(&placed([256, 128], [0, 0], false), rect([9, 8], [9, 8])),
        None
    );
    assert_eq!(mean(&placed([0, 0], [0, 0], true), left), None);
    // One pixel takes one texel, whose grey has no deviation.
    let one = small.luma(&placed([256, 128], [0, 0], false), rect([7, 8], [7, 8]));
    assert_eq!(one.map(|luma| luma.deviation), Some(0.0));
}

#[test]
fn the_scenes_own_colour_matrix_counts() {
    let picture = Picture::gradient(300, 200);
    let small = read(&picture);
    let mut plan = placed([300, 200], [0, 0], false);
    plan.color = Affine::grey(1.7, -60.0).to_matrix();
    let rect = rect([20, 260], [30, 190]);
    let (found, expected) = (
        small.luma(&plan, rect).unwrap(),
        picture.luma(&plan, rect).unwrap(),
    );
    let plain = small
        .luma(&placed([300, 200], [0, 0], false), rect)
        .unwrap();
    assert!(
        (found.mean - expected.mean).abs() < 1.5,
        "{found:?} {expected:?}"
    );
    assert!(
        (found.deviation - expected.deviation).abs() < 1.5,
        "{found:?} {expected:?}"
    );
    assert!((found.mean - plain.mean).abs() > 5.0);
}

#[test]
fn a_jpeg_scene_is_decoded_and_a_broken_one_said() {
    let picture = Picture::gradient(301, 203);
    let (chain, file) = (picture.chain(), picture.jpeg());
    let folder = tempfile::tempdir().unwrap();
    let pack = write_pack(
        folder.path(),
        &[
            (picture.size, ScenePixels::Raw(&chain)),
            (picture.size, ScenePixels::Jpeg(&file)),
            (picture.size, ScenePixels::Jpeg(&file[..40])),
        ],
    );
    let (plan, rect) = (placed([301, 203], [0, 0], true), rect([40, 90], [10, 150]));
    let mut small = SceneMip::default();
    assert_eq!(small.luma(&plan, rect), None);
    let mut measured = |scene| {
        small
            .read(&pack.get(scene).unwrap())
            .then(|| small.luma(&plan, rect))
    };
    let (raw, jpeg) = (
        measured(0).flatten().unwrap(),
        measured(1).flatten().unwrap(),
    );
    // A JPEG of quality 95 is a few grey levels off a pixel, and hardly in the mean.
    assert!((raw.mean - jpeg.mean).abs() < 1.0, "{raw:?} {jpeg:?}");
    assert!(
        (raw.deviation - jpeg.deviation).abs() < 1.0,
        "{raw:?} {jpeg:?}"
    );
    assert_eq!(measured(2), None);
    assert_eq!(measured(0), Some(Some(raw)));
    assert!(!small.read(&pack.get(2).unwrap()));
    assert_eq!(small.luma(&plan, rect), None);
}

#[test]
fn a_row_is_read_once_until_it_is_forgotten() {
    let [dark, bright] = [30.0, 220.0].map(|grey| Picture::new(64, 64, move |_, _| [grey; 3]));
    let folder = tempfile::tempdir().unwrap();
    let (file, chain) = (dark.jpeg(), bright.chain());
    let scenes = [
        (dark.size, ScenePixels::Jpeg(&file)),
        (bright.size, ScenePixels::Raw(&chain)),
        (dark.size, ScenePixels::Jpeg(&file[..40])),
    ];
    let pack = write_pack(folder.path(), &scenes);
    let (plan, rect) = (placed([64, 64], [0, 0], false), rect([0, 64], [0, 64]));
    let mut small = SceneMip::default();
    let mut mean = |row, scene, forgets: bool| {
        if forgets {
            small.forget();
            assert_eq!(small.luma(&plan, rect), None);
        }
        let can_measure = small.read_row(row, &pack.get(scene).unwrap());
        can_measure.then(|| small.luma(&plan, rect).unwrap().mean.round())
    };
    assert_eq!(mean(5, 0, false), Some(30.0));
    // Had it been read again, the other scene would show.
    assert_eq!(mean(5, 1, false), Some(30.0));
    assert_eq!(mean(6, 1, false), Some(220.0));
    assert_eq!(mean(6, 0, true), Some(30.0));
    // One that cannot be decoded is not tried again.
    assert_eq!(mean(7, 2, false), None);
    assert_eq!(mean(7, 0, false), None);
    assert_eq!(mean(7, 0, true), Some(30.0));
}

#[test]
fn reading_reuses_its_memory() {
    let picture = Picture::gradient(300, 200);
    let chain = picture.chain();
    let folder = tempfile::tempdir().unwrap();
    let pack = write_pack(
        folder.path(),
        &[(picture.size, ScenePixels::Raw(&chain)); 3],
    );
    let mut small = SceneMip::default();
    let mut places = (0..3).map(|scene| {
        assert!(small.read(&pack.get(scene).unwrap()));
        (small.texels.as_ptr(), small.texels.len())
    });
    let first = places.next().unwrap();
    assert_eq!(first.1, 38 * 25 * 3);
    assert!(places.all(|place| place == first));
}

/// A cutout of these texels.
fn cutout(size: Size, chain: &[u8]) -> Cutout<'_> {
    Cutout {
        size,
        chain,
        category: 1,
        area: 0,
        bounding_box: [0; 4],
        score: f32::NAN,
        image: -1,
        annotation: -1,
        origin: [0; 2],
        source_size: [1, 1],
    }
}

#[test]
fn a_cutouts_texels_count_by_their_alpha() {
    let size = Size::new(2, 1).unwrap();
    let mut chain = vec![10, 10, 10, 255, 200, 200, 200, 85, 0, 0, 0, 0];
    let luma = Luma::of_cutout(&cutout(size, &chain)).unwrap();
    // Weights of 3/4 and 1/4: 7.5 + 50, and 190·√(3/16).
    assert!((luma.mean - 57.5).abs() < 1e-9, "{luma:?}");
    assert!(
        (luma.deviation - 190.0 * 0.1875f64.sqrt()).abs() < 1e-9,
        "{luma:?}"
    );
    [chain[3], chain[7]] = [0, 0];
    assert_eq!(Luma::of_cutout(&cutout(size, &chain)), None);
    chain.truncate(5);
    assert_eq!(Luma::of_cutout(&cutout(size, &chain)), None);
    let flat = [[77, 33, 190, 9]; 64 * 3].concat();
    let luma = Luma::of_cutout(&cutout(Size::new(64, 2).unwrap(), &flat)).unwrap();
    assert_eq!(luma.deviation, 0.0);
    assert_eq!(luma.mean, 0.299 * 77.0 + 0.587 * 33.0 + 0.114 * 190.0);
}

/// Alpha-weighted luma of level 0, each texel through `matrix` by rule 6.
fn exact(cutout: &Cutout<'_>, matrix: &ColorMatrix) -> Luma {
    let flat: &[i32; 12] = matrix.0.as_flattened().try_into().unwrap();
    let texels = cutout.chain.as_chunks().0;
    let lumas = texels[..cutout.size.pixels()]
        .iter()
        .map(|&[red, green, blue, alpha]| {
            let shown = rules::apply_colour(flat, [red, green, blue]);
            assert!(
                !shown.iter().any(|channel| [0, 255].contains(channel)),
                "clipped"
            );
            (luma(shown.map(f64::from)), f64::from(alpha))
        });
    weighted(&lumas.collect::<Vec<_>>()).unwrap()
}

#[test]
fn a_small_level_has_the_mean_of_the_whole_cutout_and_less_deviation() {
    let folder = tempfile::tempdir().unwrap();
    write_bank(
        folder.path(),
        &[category(1, "a")],
        &[vec![row(64, 1, 3), row(150, 1, 4), row(301, 1, 5)]],
    );
    let bank = CutoutBank::open(folder.path()).unwrap();
    for index in 0..bank.len() {
        let cutout = bank.get(index).unwrap();
        let small = Luma::of_cutout(&cutout).unwrap();
        let texels = cutout.chain.as_chunks().0[..cutout.size.pixels()].iter();
        let lumas = texels.map(|&[red, green, blue, alpha]| {
            (luma([red, green, blue].map(f64::from)), f64::from(alpha))
        });
        let whole = weighted(&lumas.collect::<Vec<_>>()).unwrap();
        assert!((small.mean - whole.mean).abs() < 1.0, "{small:?} {whole:?}");
        if index == 0 {
            assert!((small.deviation - whole.deviation).abs() < 1e-9);
        } else {
            assert!(small.deviation < whole.deviation, "{small:?} {whole:?}");
        }
    }
}

/// A textured disc in a larger square, colours around `mean`, that goes on beyond its edge.
fn disc(side: u32, mean: f64, contrast: f64, draw: &mut ChaCha8Rng) -> Vec<u8> {
    let (tint, phase) = (draw.random_range(-20.0..20.0), draw.random_range(0.0..6.0));
    let mut chain = Vec::new();
    for y in 0..side {
        for x in 0..side {
            let [x, y] = [x, y].map(|v| f64::from(v) / f64::from(side) - 0.5);
            let wave = contrast * ((9.0 * x + phase).sin() + (7.0 * y).cos());
            let noise = draw.random_range(-4.0..4.0);
            let colour = [mean + tint, mean, mean - tint];
            chain.extend(colour.map(|v| (v + wave + noise).round() as u8));
            chain.push(if x.hypot(y) < 0.4 { 255 } else { 0 });
        }
    }
    mip::append_chain::<CUTOUT_CHANNELS>(&mut chain, Size::new(side, side).unwrap());
    chain
}

#[test]
fn matching_gives_a_cutout_the_luma_of_the_scene_under_it() {
    let mut draw = ChaCha8Rng::seed_from_u64(8);
    for _ in 0..40 {
        let [base, slope] = [draw.random_range(90.0..150.0), draw.random_range(-0.1..0.1)];
        let picture = Picture::new(320, 240, |x, y| {
            let value = base + slope * (x - 160.0) + 12.0 * (y / 11.0).sin();
            [value + 15.0, value, value - 25.0]
        });
        let (small, flip) = (read(&picture), draw.random());
        let plan = placed([480, 360], [draw.random_range(-100..0), -30], flip);
        let [x, y] = [draw.random_range(0..200), draw.random_range(0..100)];
        let under = rect([x, x + 150], [y, y + 120]);
        let side = draw.random_range(40..400);
        let mean = draw.random_range(100.0..150.0);
        let contrast = draw.random_range(5.0..15.0);
        let chain = disc(side, mean, contrast, &mut draw);
        let cutout = cutout(Size::new(side, side).unwrap(), &chain);
        let layer = Luma::of_cutout(&cutout).unwrap();
        let scene = small.luma(&plan, under).unwrap();
        let matched = exact(&cutout, &matching(layer, scene, 1.0).to_matrix());
        let expected = picture.luma(&plan, under).unwrap();
        assert!(
            (matched.mean - expected.mean).abs() < 1.5,
            "{matched:?} {expected:?}"
        );
        // The deviation of level 0 has what the small level averages away of ±4 levels of noise.
        let before = exact(&cutout, &ColorMatrix::default());
        let ratio = (scene.deviation / layer.deviation).clamp(0.5, 2.0);
        let gain = matched.deviation / before.deviation;
        assert!((gain - ratio).abs() < 0.05 * ratio, "{gain}, not {ratio}");
    }
}

#[test]
fn strength_interpolates_and_deviations_of_0_leave_the_contrast() {
    let luma = |mean, deviation| Luma { mean, deviation };
    let (layer, scene) = (luma(100.0, 10.0), luma(140.0, 14.4));
    assert_eq!(
        matching(layer, scene, 0.0).to_matrix(),
        ColorMatrix::default()
    );
    let grey = |affine: Affine, value: f64| affine.apply([value; 3])[1];
    for (strength, mean, gain) in [(1.0, 140.0, 1.44), (0.5, 120.0, 1.2)] {
        let half = matching(layer, scene, strength);
        assert!((grey(half, 100.0) - mean).abs() < 1e-9);
        assert!((grey(half, 110.0) - grey(half, 100.0) - 10.0 * gain).abs() < 1e-9);
    }
    for (layer, scene, gain) in [
        (10.0, 90.0, 2.0),
        (90.0, 10.0, 0.5),
        (0.0, 9.0, 1.0),
        (9.0, 0.0, 1.0),
    ] {
        let affine = matching(luma(50.0, layer), luma(80.0, scene), 1.0);
        assert!((grey(affine, 51.0) - 80.0 - gain).abs() < 1e-9);
        // No cast: every channel alike.
        assert_eq!(affine.apply([7.0; 3]), [grey(affine, 7.0); 3]);
    }
}
