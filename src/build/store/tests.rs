use std::collections::BTreeMap;
use std::fs;

use image::{Luma, Rgb};

use super::*;
use crate::bank::verify;
use crate::build::choose::Rule;
use crate::build::report::{Reported, SheetOptions, write_report};
use crate::build::rows::SourceKind;

const SIZE: [u32; 2] = [40, 32];
const CENTRE: [i32; 2] = [18, 15];
const RED: [u8; 3] = [200, 40, 30];

/// Pictures of a red disc on green ground. The mask has the disc with a soft edge and a hole, and a
/// speck in a corner. What is wrong with an image is the start of its key.
struct Discs;

/// The square of a pixel's distance from the disc's middle.
fn square(x: u32, y: u32) -> i32 {
    (x as i32 - CENTRE[0]).pow(2) + (y as i32 - CENTRE[1]).pow(2)
}

fn disc_mask(x: u32, y: u32) -> u8 {
    match square(x, y) {
        0..4 => 30,
        4..81 => 255,
        81..100 => 150,
        100..121 => 90,
        _ if x < 2 && y < 2 => 255,
        _ => 0,
    }
}

impl Material for Discs {
    fn picture(&self, row: &SourceRow) -> Result<RgbImage, MaterialError> {
        if row.key.starts_with("torn") {
            return Err("no image format that is known".into());
        }
        let [width, height] = row.size;
        Ok(RgbImage::from_fn(width, height, |x, y| {
            match square(x, y) {
                0..100 => Rgb(RED),
                // The ground differs from image to image.
                _ => Rgb([10, 180, row.key.len() as u8]),
            }
        }))
    }

    fn mask(&self, row: &MaskRow) -> Result<GrayImage, MaterialError> {
        let [width, height] = SIZE;
        Ok(match row.key.split('-').next() {
            Some("small") => GrayImage::new(width - 1, height),
            Some("faint") => GrayImage::from_pixel(width, height, Luma([127])),
            _ => GrayImage::from_fn(width, height, |x, y| Luma([disc_mask(x, y)])),
        })
    }

    fn embedding(&self, row: &MaskRow) -> Result<Vec<f32>, MaterialError> {
        // Twins have the direction of the key without their number.
        let angle = match row.key.strip_prefix("twin") {
            Some(_) => 0.0,
            None => row.key.bytes().map(f32::from).sum::<f32>(),
        };
        Ok(vec![
            angle.cos(),
            angle.sin(),
            f32::from(row.key.len() as u8),
        ])
    }
}

fn rows(keys: &[(&str, i64, f32)]) -> (Vec<SourceRow>, Vec<MaskRow>) {
    let rows = keys
        .iter()
        .enumerate()
        .map(|(index, &(key, category, clip))| {
            let source = SourceRow {
                key: key.to_owned(),
                category,
                kind: SourceKind::Generated,
                size: SIZE,
                xxh3: index as u64,
                look: 0,
                prompt: Some(format!("a photo of a single {key}")),
                seed: Some(u64::MAX - index as u64),
                path: None,
                source: None,
                licence: None,
            };
            let mask = MaskRow {
                key: key.to_owned(),
                segmenter: "u2netp".to_owned(),
                clip: Some(clip),
                similarity: None,
                area: 0.25,
            };
            (source, mask)
        });
    rows.unzip()
}

fn categories() -> Vec<Category> {
    let category = |(id, name): (i64, &str)| Category {
        id,
        name: name.to_owned(),
        other: Map::new(),
    };
    [(1, "cat"), (5, "red disc"), (9, "yak")]
        .map(category)
        .into()
}

/// Twelve good images of two categories, and one of every kind that falls.
fn all_rows() -> (Vec<SourceRow>, Vec<MaskRow>) {
    let mut keys: Vec<(String, i64, f32)> = (0..12)
        .map(|index| {
            (
                format!("{:02}", 11 - index),
                [5, 1][index % 2],
                22.0 + index as f32,
            )
        })
        .collect();
    for (key, clip) in [
        ("torn-1", 25.0),
        ("small-1", 25.0),
        ("faint-1", 25.0),
        ("low-1", 12.0),
        ("twin1", 24.0),
        ("twin2", 24.0),
    ] {
        keys.push((key.to_owned(), 5, clip));
    }
    let keys: Vec<(&str, i64, f32)> = keys.iter().map(|(k, c, s)| (k.as_str(), *c, *s)).collect();
    rows(&keys)
}

fn options(threads: usize) -> FilterOptions {
    FilterOptions {
        choose: ChooseOptions {
            near_duplicate: Some(0.999_999),
            ..ChooseOptions::default()
        },
        margin: 3,
        // A shard holds two or three cutouts.
        shard_bytes: 5000,
        threads: NonZero::new(threads),
        force: false,
    }
}

fn store(out: &Path, options: &FilterOptions) -> Result<FilterReport, FilterError> {
    let (sources, masks) = all_rows();
    let goes_on = &mut |_| true;
    filter_and_store(
        &sources,
        &masks,
        &Discs,
        &categories(),
        options,
        out,
        goes_on,
    )
}

/// All files of a folder.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}

#[test]
fn a_cutout_is_the_clean_object_with_where_it_is_from() {
    let out = tempfile::tempdir().unwrap();
    let report = store(out.path(), &options(2)).unwrap();
    assert_eq!((report.cutouts, report.was_finished), (13, false));
    assert!(verify(out.path(), None, &|_| true).unwrap().is_sound());
    let bank = CutoutBank::open(out.path()).unwrap();
    assert!(bank.manifest().shards.len() > 3);
    assert_eq!(bank.manifest().categories, categories());
    let (sources, masks) = all_rows();
    let keys = (0..bank.len()).map(|row| bank.provenance(row).unwrap().unwrap().key);
    let keys: Vec<String> = keys.collect();
    let expected = "00 02 04 06 08 10 01 03 05 07 09 11 twin1";
    assert_eq!(keys.join(" "), expected);
    for (row, key) in keys.iter().enumerate() {
        let index = sources
            .iter()
            .position(|source| source.key == *key)
            .unwrap();
        assert_eq!(report.choices[index].dropped, None);
        let expected = provenance(&sources[index], &masks[index]);
        assert_eq!(bank.provenance(row).unwrap(), Some(expected));
        let cutout = bank.get(row).unwrap();
        assert_eq!(Some(cutout.score), masks[index].clip);
        assert_eq!(cutout.category, sources[index].category);
        check_cutout(&cutout);
    }
}

/// The disc without the speck, its hole as faint as it was, its edge soft from 128 on, and no green anywhere.
fn check_cutout(cutout: &crate::bank::Cutout<'_>) {
    let (x0, y0) = (cutout.origin[0] as u32, cutout.origin[1] as u32);
    // The disc reaches 9 pixels to each side, and the margin is 3.
    assert_eq!([x0 as i32, y0 as i32], [CENTRE[0] - 12, CENTRE[1] - 12]);
    assert_eq!((cutout.size.width(), cutout.size.height()), (25, 25));
    assert_eq!(cutout.bounding_box, [3, 3, 19, 19]);
    let (_, texels) = cutout.level(0).unwrap();
    for (index, texel) in texels.as_chunks::<4>().0.iter().enumerate() {
        let (x, y) = (x0 + index as u32 % 25, y0 + index as u32 / 25);
        let alpha = match square(x, y) {
            0..4 => 30,
            4..81 => 255,
            81..100 => 150,
            _ => 0,
        };
        assert_eq!(*texel, [RED[0], RED[1], RED[2], alpha], "{x} {y}");
    }
}

#[test]
fn every_image_has_its_reason() {
    let out = tempfile::tempdir().unwrap();
    let first = store(out.path(), &options(2)).unwrap();
    let reason = |report: &FilterReport, key: &str| {
        let (sources, _) = all_rows();
        let index = sources.iter().position(|source| source.key == key).unwrap();
        report.choices[index].dropped.as_ref().unwrap().to_string()
    };
    let again = store(out.path(), &options(2)).unwrap();
    assert!(again.was_finished);
    assert_eq!(again.choices, first.choices);
    for report in [&first, &again] {
        for (key, expected) in [
            ("torn-1", "unreadable: no image format that is known"),
            (
                "small-1",
                "unreadable: a mask of 39x32 pixels; 40x32 were expected",
            ),
            ("faint-1", "empty"),
            ("low-1", "below bar: 12.00 < 21.00"),
            ("twin2", "near-duplicate of twin1, 1.000"),
        ] {
            assert_eq!(reason(report, key), expected);
        }
        let [cat, disc, yak] = &report.categories[..] else {
            panic!("{:?}", report.categories)
        };
        assert_eq!((cat.came, cat.kept, cat.best_clip), (6, 6, Some(33.0)));
        let dropped = [
            (Rule::BelowBar, 1),
            (Rule::NearDuplicate, 1),
            (Rule::Unreadable, 2),
            (Rule::Empty, 1),
        ];
        assert_eq!((disc.came, disc.kept), (12, 7));
        assert_eq!(disc.dropped, dropped.into());
        assert_eq!((yak.came, yak.kept, yak.best_clip), (0, 0, None));
    }
}

#[test]
fn banks_are_equal_for_any_threads_and_after_any_stop() {
    let whole = tempfile::tempdir().unwrap();
    store(whole.path(), &options(1)).unwrap();
    let expected = files(whole.path());
    let four = tempfile::tempdir().unwrap();
    store(four.path(), &options(4)).unwrap();
    assert_eq!(files(four.path()), expected);
    let (sources, masks) = all_rows();
    for stop in 1..=16 {
        let out = tempfile::tempdir().unwrap();
        let mut images = 0;
        let stopped = filter_and_store(
            &sources,
            &masks,
            &Discs,
            &categories(),
            &options(2),
            out.path(),
            &mut |_| {
                images += 1;
                images < stop
            },
        );
        assert!(matches!(
            stopped,
            Err(FilterError::Pack(PackError::Stopped))
        ));
        assert!(CutoutBank::open(out.path()).is_err());
        store(out.path(), &options(3)).unwrap();
        assert_eq!(files(out.path()), expected, "stopped at {stop}");
    }
}

#[test]
fn another_threshold_needs_another_folder_or_force() {
    let out = tempfile::tempdir().unwrap();
    store(out.path(), &options(2)).unwrap();
    let mut other = options(2);
    other.choose.most = Some(2);
    let error = store(out.path(), &other).unwrap_err().to_string();
    assert!(error.contains("`most` was null, now it is 2"), "{error}");
    other.force = true;
    let report = store(out.path(), &other).unwrap();
    assert_eq!((report.cutouts, report.was_finished), (4, false));
    assert_eq!(CutoutBank::open(out.path()).unwrap().len(), 4);
}

#[test]
fn nothing_to_keep_is_an_empty_bank() {
    let out = tempfile::tempdir().unwrap();
    let (sources, masks) = rows(&[("faint-1", 1, 25.0), ("torn-1", 1, 25.0)]);
    let report = filter_and_store(
        &sources,
        &masks,
        &Discs,
        &categories(),
        &options(2),
        out.path(),
        &mut |_| true,
    );
    assert_eq!(report.unwrap().cutouts, 0);
    assert!(CutoutBank::open(out.path()).unwrap().is_empty());
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("bank");
    let (sources, masks) = rows(&[("cat/1", 7, 25.0)]);
    let with = |categories: &[Category], options: &FilterOptions| {
        let go_on = &mut |_| true;
        let stored = filter_and_store(&sources, &masks, &Discs, categories, options, &out, go_on);
        stored.unwrap_err().to_string()
    };
    let error = with(&categories(), &options(1));
    assert_eq!(
        error,
        "cat/1: category 7; one of the 3 categories given was expected"
    );
    let seven = [Category {
        id: 7,
        ..categories().remove(0)
    }];
    let wide = FilterOptions {
        margin: 1025,
        ..options(1)
    };
    let error = with(&seven, &wide);
    assert_eq!(error, "margin: 1025 pixels; at most 1024 were expected");
    let mut high = options(1);
    high.choose.max_area = 7.0;
    assert_eq!(with(&seven, &high), "max_area: 7; 0..=1 was expected");
    assert!(!out.exists());
}

#[test]
fn the_report_shows_what_was_kept_and_why_the_others_fell() {
    let folder = tempfile::tempdir().unwrap();
    let [bank, shown] = ["bank", "report"].map(|name| folder.path().join(name));
    let report = store(&bank, &options(2)).unwrap();
    let (sources, masks) = all_rows();
    let of = Reported {
        sources: &sources,
        masks: &masks,
        material: &Discs,
        bank: &bank,
    };
    let sheets = SheetOptions {
        columns: 3,
        tile: 50,
        most: 5,
    };
    let mut seen = Vec::new();
    let progress = &mut |done, all| {
        seen.push((done, all));
        true
    };
    let written = write_report(&report, of, &sheets, &shown, progress).unwrap();
    assert_eq!(seen, [(0, 3), (1, 3), (2, 3)]);
    let mut names: Vec<String> = files(&shown).into_keys().collect();
    names.sort();
    let expected = "1-cat-kept.png 5-red_disc-dropped.png 5-red_disc-kept.png images.jsonl \
                    index.html report.json report.txt";
    assert_eq!(names.join(" "), expected);
    assert_eq!(written.len(), names.len());
    assert!(written.iter().all(|path| path.is_file()));
    let lines = fs::read_to_string(shown.join("images.jsonl")).unwrap();
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), sources.len());
    let low = lines.iter().find(|line| line["key"] == "low-1").unwrap();
    let reason = json!({"rule": "below_bar", "clip": 12.0, "bar": 21.0});
    assert_eq!((&low["dropped"], &low["kept"]), (&reason, &json!(false)));
    // Red of the disc, and no green of the ground; dropped ones show their ground.
    let count = |name: &str, is: fn([u8; 3]) -> bool| {
        let sheet = image::open(shown.join(name)).unwrap().to_rgb8();
        sheet.pixels().filter(|pixel| is(pixel.0)).count()
    };
    let is_red = |[r, g, b]: [u8; 3]| r > 180 && g < 60 && b < 60;
    let is_green = |[r, g, b]: [u8; 3]| r < 40 && g > 150 && b < 60;
    assert!(count("1-cat-kept.png", is_red) > 5 * 200);
    assert_eq!(count("1-cat-kept.png", is_green), 0);
    assert!(count("5-red_disc-dropped.png", is_green) > 3 * 500);
}
