//! Small packs with all that sampling looks at, and the statistics that draws are judged by.

use std::fs;
use std::sync::Arc;

use tempfile::TempDir;

use crate::bank::mip;
use crate::bank::test_banks::instance;
use crate::bank::write::{
    CutoutShardWriter, InstanceRow, SceneRow, SceneShardWriter, shard_file_name,
};
use crate::bank::{
    CUTOUT_CHANNELS, Cutout, CutoutBank, Kind, Manifest, SCENE_CHANNELS, ScenePack, ScenePixels,
    SizeStatistics,
};
use crate::geometry::Size;

/// A scene of grey `level` to be made.
#[derive(Clone, Default)]
pub(crate) struct TestScene {
    pub size: [u32; 2],
    pub level: u8,
    /// Category, annotation, crowd flag, box.
    pub instances: Vec<(i64, i64, u8, [u32; 4])>,
    pub not_exhaustive: Vec<i64>,
}

/// An opaque cutout of grey `level` without a margin, to be made.
#[derive(Clone)]
pub(crate) struct TestCutout {
    pub size: [u32; 2],
    pub level: u8,
    pub category: i64,
    pub image: i64,
    pub annotation: i64,
    pub origin: [i32; 2],
    pub source_size: [u16; 2],
}

impl TestCutout {
    /// One without a source.
    pub fn new(size: [u32; 2], category: i64) -> TestCutout {
        TestCutout {
            size,
            level: 128,
            category,
            image: -1,
            annotation: -1,
            origin: [0, 0],
            source_size: [100, 100],
        }
    }
}

/// Opened packs, and the folder that they lie in.
pub(crate) struct TestPacks {
    pub scenes: Arc<ScenePack>,
    pub bank: Arc<CutoutBank>,
    _folder: TempDir,
}

/// Writes and opens packs; a scene's image id is its index. `statistics` are category, mean and
/// deviation.
pub(crate) fn packs(
    scenes: &[TestScene],
    cutouts: &[TestCutout],
    statistics: &[(i64, f64, f64)],
) -> TestPacks {
    let folder = tempfile::tempdir().unwrap();
    let [scene_folder, bank_folder] = ["scenes", "bank"].map(|name| folder.path().join(name));
    fs::create_dir_all(&scene_folder).unwrap();
    fs::create_dir_all(&bank_folder).unwrap();
    let mut writer = SceneShardWriter::create(&scene_folder.join(shard_file_name(0))).unwrap();
    for (image, scene) in scenes.iter().enumerate() {
        push_scene(&mut writer, image as i64, scene);
    }
    let mut manifest = Manifest::new(Kind::Scenes, vec![writer.finish().unwrap()], Vec::new());
    manifest.statistics = statistics
        .iter()
        .map(|&(category_id, size_mean, size_std)| SizeStatistics {
            category_id,
            instances: 10,
            size_mean,
            size_std,
        })
        .collect();
    manifest.write(&scene_folder).unwrap();
    let mut writer = CutoutShardWriter::create(&bank_folder.join(shard_file_name(0))).unwrap();
    cutouts
        .iter()
        .for_each(|cutout| push_cutout(&mut writer, cutout));
    let manifest = Manifest::new(Kind::Cutouts, vec![writer.finish().unwrap()], Vec::new());
    manifest.write(&bank_folder).unwrap();
    TestPacks {
        scenes: Arc::new(ScenePack::open(&scene_folder).unwrap()),
        bank: Arc::new(CutoutBank::open(&bank_folder).unwrap()),
        _folder: folder,
    }
}

fn push_scene(writer: &mut SceneShardWriter, image: i64, scene: &TestScene) {
    let [width, height] = scene.size;
    let size = Size::new(width, height).unwrap();
    let mut chain = vec![scene.level; size.pixels() * SCENE_CHANNELS];
    mip::append_chain::<SCENE_CHANNELS>(&mut chain, size);
    let instances: Vec<InstanceRow> = scene
        .instances
        .iter()
        .map(|&(category, annotation, crowd, bounding_box)| InstanceRow {
            annotation,
            ..instance(category, bounding_box, crowd)
        })
        .collect();
    let row = SceneRow {
        size,
        image,
        pixels: ScenePixels::Raw(&chain),
        instances: &instances,
        file_name: "",
        negative_categories: &[],
        not_exhaustive_categories: &scene.not_exhaustive,
    };
    writer.push(&row).unwrap();
}

fn push_cutout(writer: &mut CutoutShardWriter, cutout: &TestCutout) {
    let [width, height] = cutout.size;
    let size = Size::new(width, height).unwrap();
    let grey = cutout.level;
    let mut chain = [grey, grey, grey, 255].repeat(size.pixels());
    mip::append_chain::<CUTOUT_CHANNELS>(&mut chain, size);
    let row = Cutout {
        size,
        chain: &chain,
        category: cutout.category,
        area: width * height,
        bounding_box: [0, 0, width as u16, height as u16],
        score: f32::NAN,
        image: cutout.image,
        annotation: cutout.annotation,
        origin: cutout.origin,
        source_size: cutout.source_size,
    };
    writer.push(&row).unwrap();
}

/// Whether counts agree with the shares that were expected: false in one run of 10,000 where they
/// do (Wilson and Hilferty's bound of chi-square). Nothing may come where nothing is expected.
#[track_caller]
pub(crate) fn assert_shares(counts: &[u64], shares: &[f64]) {
    assert_eq!(counts.len(), shares.len());
    let [all, sum] = [
        counts.iter().sum::<u64>() as f64,
        shares.iter().sum::<f64>(),
    ];
    let (mut chi_square, mut kinds) = (0.0, 0.0);
    for (&count, &share) in counts.iter().zip(shares) {
        if share == 0.0 {
            assert_eq!(count, 0, "{counts:?}, not {shares:?}");
            continue;
        }
        let expected = all * share / sum;
        assert!(expected >= 5.0, "too few draws: {counts:?} for {shares:?}");
        chi_square += (count as f64 - expected).powi(2) / expected;
        kinds += 1.0;
    }
    let freedom: f64 = kinds - 1.0;
    if freedom > 0.0 {
        let part = 2.0 / (9.0 * freedom);
        let limit = freedom * (1.0 - part + 3.719 * part.sqrt()).powi(3);
        assert!(
            chi_square < limit,
            "{counts:?}, not {shares:?}: {chi_square} > {limit}"
        );
    }
}

/// Whether values are uniform on 0..1: false in one run of 10,000 where they are (Kolmogorov and
/// Smirnov's statistic times √n is above 2.23 that seldom).
#[track_caller]
pub(crate) fn assert_uniform(mut values: Vec<f64>) {
    assert!(values.len() > 100, "too few draws: {}", values.len());
    values.sort_by(f64::total_cmp);
    let n = values.len() as f64;
    let distance = |(rank, value): (usize, &f64)| {
        (value - rank as f64 / n)
            .abs()
            .max(((rank + 1) as f64 / n - value).abs())
    };
    let statistic = n.sqrt() * values.iter().enumerate().map(distance).fold(0.0, f64::max);
    assert!(statistic < 2.23, "{statistic}");
}
