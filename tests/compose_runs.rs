//! Runs that compose data sets: threads, interruptions, refused folders, broken scenes.
#![cfg(all(feature = "dataset", feature = "pack"))]

mod common;

use std::fs;
use std::num::NonZero;
use std::sync::Arc;

use common::composed::{
    CANVAS, Packs, SEED, assert_equal_folders, contents, open, packing, recipe,
};
use pastebank::dataset::{
    Annotations, DatasetError, DatasetOptions, DatasetReport, ImageFormat, Style, write,
};
use pastebank::pack::pack;
use pastebank::sampler::{Sampler, Weights};
use serde_json::json;

/// Stops a run after so many samples of the whole.
fn stop_after(packs: &Packs, options: &DatasetOptions, samples: usize) {
    let result = write(&packs.sampler(), options, |progress| {
        progress.done < samples
    });
    assert!(
        matches!(result, Err(DatasetError::Stopped { samples: done }) if done == samples),
        "{result:?}"
    );
    assert!(!options.folder.join("instances.json").exists());
}

#[test]
fn all_bytes_are_equal_for_any_threads_and_interruptions() {
    let packs = Packs::new();
    for (name, annotations, format) in [
        ("rle", Annotations::Rle, ImageFormat::Jpeg { quality: 80 }),
        ("polygons", Annotations::Polygons, ImageFormat::Png),
    ] {
        let with = |out: &str, threads: usize| DatasetOptions {
            threads: NonZero::new(threads),
            annotations,
            format,
            ..packs.options(&format!("{name}-{out}"), 40)
        };
        let one = with("one", 1);
        let expected = packs.write(&one);
        for threads in [2, 5] {
            let many = with(&threads.to_string(), threads);
            assert_eq!(packs.write(&many), expected);
            assert_equal_folders(&one.folder, &many.folder);
        }
        let stopped = with("stopped", 3);
        for samples in [1, 2, 9, 10, 26, 39] {
            stop_after(&packs, &stopped, samples);
            // What a killed writer leaves is cleaned up by the next run.
            fs::write(
                stopped.folder.join("images/.000000000039.jpg.1.tmp"),
                "half",
            )
            .unwrap();
        }
        let mut first = None;
        let report = write(&packs.sampler(), &stopped, |progress| {
            first.get_or_insert(progress.first);
            true
        });
        assert_eq!(first, Some(39));
        assert_eq!(report.unwrap(), expected);
        assert_equal_folders(&one.folder, &stopped.folder);
    }
}

#[test]
fn a_damaged_half_is_taken_up_where_it_is_whole() {
    let packs = Packs::new();
    let whole = packs.options("whole", 25);
    packs.write(&whole);
    let options = packs.options("half", 25);
    let journal = options.folder.join("compose-journal.jsonl");
    let continues_at = |expected: usize| {
        let mut first = None;
        let result = write(&packs.sampler(), &options, |progress| {
            first.get_or_insert(progress.first);
            progress.done < 20
        });
        assert!(matches!(result, Err(DatasetError::Stopped { .. })));
        assert_eq!(first, Some(expected));
    };
    stop_after(&packs, &options, 18);
    // The last line was cut off, as by a kill in mid-write.
    let text = fs::read(&journal).unwrap();
    fs::write(&journal, &text[..text.len() - 5]).unwrap();
    continues_at(17);
    // An image is gone; another is shorter than it was.
    fs::remove_file(options.folder.join("images/000000000012.jpg")).unwrap();
    continues_at(12);
    let path = options.folder.join("images/000000000007.jpg");
    let image = fs::read(&path).unwrap();
    fs::write(&path, &image[..image.len() / 2]).unwrap();
    continues_at(7);
    packs.write(&options);
    assert_equal_folders(&whole.folder, &options.folder);
    // A run that ended just before it removed the journal.
    fs::write(&journal, &text).unwrap();
    assert!(packs.write(&options).was_finished);
    assert_equal_folders(&whole.folder, &options.folder);
}

fn refused(packs: &Packs, options: &DatasetOptions) -> String {
    let result = write(&packs.sampler(), options, |_| true);
    let error = result.unwrap_err();
    assert!(matches!(error, DatasetError::Occupied { .. }), "{error}");
    assert!(error.to_string().contains("--force"), "{error}");
    error.to_string()
}

#[test]
fn other_folders_and_other_settings_are_refused() {
    let packs = Packs::new();
    let mut options = packs.options("out", 12);
    stop_after(&packs, &options, 5);
    let is_refused = |options: &DatasetOptions| {
        options_with_a_difference(options)
            .into_iter()
            .for_each(|(other, text)| {
                let error = refused(&packs, &other);
                assert!(error.contains(text), "{error}");
            });
        let mut layers = recipe();
        layers.bank.count = [0, 3];
        let sampler = packs.sampler_of(layers, SEED);
        let error = write(&sampler, options, |_| true).unwrap_err().to_string();
        assert!(
            error.contains("`recipe.bank.count` was [0,20], now it is [0,3]"),
            "{error}"
        );
        let sampler = packs.sampler_of(recipe(), 6);
        let error = write(&sampler, options, |_| true).unwrap_err().to_string();
        assert!(error.contains("`seed` was 5, now it is 6"), "{error}");
    };
    is_refused(&options);
    let report = packs.write(&options);
    let before = contents(&options.folder);
    is_refused(&options);
    let again = packs.write(&options);
    assert!(again.was_finished);
    assert_eq!(
        again,
        DatasetReport {
            was_finished: true,
            ..report
        }
    );
    assert_eq!(contents(&options.folder), before);
    // Our own files are replaced, others stay.
    let mine = options.folder.join("images/notes.txt");
    fs::write(&mine, "mine").unwrap();
    options.force = true;
    options.count = 3;
    packs.write(&options);
    assert_eq!(fs::read(&mine).unwrap(), b"mine");
    assert_eq!(contents(&options.folder).len(), 3 + 2);
}

#[test]
fn a_finished_data_set_without_its_images_is_not_taken_for_finished() {
    let packs = Packs::new();
    let mut options = packs.options("out", 12);
    packs.write(&options);
    let image = options.folder.join("images/000000000007.jpg");
    let bytes = fs::read(&image).unwrap();
    fs::write(&image, &bytes[1..]).unwrap();
    let error = refused(&packs, &options);
    assert!(
        error.contains("of its 12 images some were changed"),
        "{error}"
    );
    for number in [7, 9] {
        let name = format!("images/{number:012}.jpg");
        fs::remove_file(options.folder.join(name)).unwrap();
    }
    let error = refused(&packs, &options);
    let part = "of its 12 images 2 are missing, the first images/000000000007.jpg";
    assert!(error.contains(part), "{error}");
    options.force = true;
    assert!(!packs.write(&options).was_finished);
    assert_eq!(fs::read(&image).unwrap(), bytes);
}

#[test]
fn other_weights_are_other_settings() {
    let packs = Packs::new();
    let options = packs.options("out", 12);
    let weighted = |first: f64, cutout: f32| {
        let mut cutouts = vec![1.0; packs.bank.len()];
        cutouts[3] = cutout;
        let mut sampler = packs.sampler();
        let weights = Weights {
            categories: [(1, first)].into(),
            cutouts: Some(cutouts.into()),
        };
        sampler.set_weights(weights).unwrap();
        sampler
    };
    let stopped = write(&weighted(0.3, 2.0), &options, |progress| progress.done < 5);
    assert!(matches!(stopped, Err(DatasetError::Stopped { .. })));
    for (sampler, text) in [
        (
            packs.sampler(),
            "`weights.categories.1` was 0.3, now it is not set",
        ),
        (
            weighted(0.7, 2.0),
            "`weights.categories.1` was 0.3, now it is 0.7",
        ),
        (weighted(0.3, 2.5), "`weights.cutouts_xxh3` was "),
    ] {
        let error = write(&sampler, &options, |_| true).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
    let report = write(&weighted(0.3, 2.0), &options, |_| true).unwrap();
    assert_eq!(report.images, 12);
}

fn options_with_a_difference(options: &DatasetOptions) -> Vec<(DatasetOptions, &'static str)> {
    let with = |change: fn(&mut DatasetOptions)| {
        let mut options = options.clone();
        change(&mut options);
        options
    };
    vec![
        (with(|o| o.count = 13), "`count` was 12, now it is 13"),
        (
            with(|o| o.format = ImageFormat::Png),
            "`format` was \"jpeg\", now it is \"png\"",
        ),
        (
            with(|o| o.format = ImageFormat::Jpeg { quality: 50 }),
            "`quality` was 90, now it is 50",
        ),
        (
            with(|o| o.annotations = Annotations::Polygons),
            "`annotations` was \"rle\", now it is \"polygons\"",
        ),
        (
            with(|o| o.style = Style::Lvis),
            "`style` was \"coco\", now it is \"lvis\"",
        ),
    ]
}

#[test]
fn other_packs_and_strangers_are_refused() {
    let packs = Packs::new();
    let options = packs.options("out", 12);
    stop_after(&packs, &options, 5);
    let other = Packs::changed(|folder| {
        let path = folder.join("bank/manifest.json");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("a test", "another")).unwrap();
    });
    let error = refused(&other, &options);
    assert!(error.contains("`bank_xxh3` was "), "{error}");
    for stranger in ["thesis.doc", "instances.json", "images/000000000000.jpg"] {
        let options = packs.options(&format!("strange-{}", stranger.len()), 12);
        let path = options.folder.join(stranger);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "{\"info\": {\"description\": \"mine\"}}").unwrap();
        let before = contents(&options.folder);
        // Not even by force: these may be somebody's originals.
        for force in [false, true] {
            let options = DatasetOptions {
                force,
                ..options.clone()
            };
            let error = refused(&packs, &options);
            assert!(error.contains(stranger), "{error}");
            assert_eq!(contents(&options.folder), before);
        }
    }
}

#[test]
fn useless_options_are_refused_before_anything_is_written() {
    let packs = Packs::new();
    let options = packs.options("out", 0);
    let with = |change: fn(&mut DatasetOptions)| {
        let mut options = packs.options("out", 4);
        change(&mut options);
        options
    };
    for (options, text) in [
        (options, "--count: 0"),
        (
            with(|o| o.format = ImageFormat::Jpeg { quality: 0 }),
            "--quality: 0",
        ),
        (
            with(|o| o.format = ImageFormat::Jpeg { quality: 101 }),
            "--quality: 101",
        ),
        (with(|o| o.max_replaced = f64::NAN), "--max-replaced: NaN"),
        (with(|o| o.max_replaced = 1.5), "--max-replaced: 1.5"),
    ] {
        let error = write(&packs.sampler(), &options, |_| true).unwrap_err();
        assert!(error.to_string().starts_with(text), "{error}");
        assert!(!options.folder.exists());
    }
}

/// Packs in which the JPEG scenes of the given shards cannot be decoded.
fn broken_packs(shards: &[usize]) -> Packs {
    Packs::changed(|folder| {
        for shard in shards {
            let path = folder.join(format!("scenes/part-{shard}.safetensors"));
            let mut bytes = fs::read(&path).unwrap();
            let starts: Vec<usize> = (0..bytes.len() - 10)
                .filter(|&at| bytes[at..].starts_with(&[0xff, 0xd8, 0xff, 0xe0]))
                .collect();
            assert!(!starts.is_empty());
            starts.iter().for_each(|&at| bytes[at + 1] = 0);
            fs::write(&path, bytes).unwrap();
        }
    })
}

#[test]
fn scenes_that_cannot_be_decoded_are_replaced_and_counted() {
    // Two of twenty scenes: one sample in ten.
    let packs = broken_packs(&[1]);
    let mut options = packs.options("out", 60);
    options.max_replaced = 0.5;
    let report = packs.write(&options);
    assert_eq!(report.replaced, 6);
    // A scene drawn in place of one may itself be broken.
    assert!(report.replaced_scenes.len() >= 6);
    for replaced in &report.replaced_scenes {
        assert!([14, 19].contains(&replaced.scene), "{replaced:?}");
        assert!(replaced.problem.contains("JPEG"), "{replaced:?}");
    }
    let mut one = packs.options("one", 60);
    (one.max_replaced, one.threads) = (0.5, NonZero::new(1));
    for samples in [13, 31] {
        stop_after(&packs, &one, samples);
    }
    assert_eq!(packs.write(&one), report);
    assert_equal_folders(&options.folder, &one.folder);
    // With the usual limit of 1 % the run ends, and goes on with another one.
    let mut strict = packs.options("strict", 60);
    let error = write(&packs.sampler(), &strict, |_| true).unwrap_err();
    let text = error.to_string();
    assert!(
        matches!(error, DatasetError::TooManyReplaced { replaced: 1, .. }),
        "{text}"
    );
    for part in ["1 of 60", "0.01", "--max-replaced", "scene 1"] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    // Running again gets no further, though what ended it is in the journal.
    let again = write(&packs.sampler(), &strict, |_| true).unwrap_err();
    assert_eq!(again.to_string(), text);
    assert!(!strict.folder.join("instances.json").exists());
    strict.max_replaced = 0.2;
    packs.write(&strict);
    assert_equal_folders(&options.folder, &strict.folder);
}

#[test]
fn a_pack_of_broken_scenes_ends_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let picture = image::RgbImage::from_pixel(20, 20, image::Rgb([9, 9, 9]));
    fs::create_dir(folder.path().join("images")).unwrap();
    picture.save(folder.path().join("images/a.jpg")).unwrap();
    let data = json!({"images": [{"id": 1, "file_name": "a.jpg"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0,
            "segmentation": [[2, 2, 9, 2, 9, 9, 2, 9]]}],
        "categories": [{"id": 1, "name": "thing"}]});
    let mut options = packing(folder.path(), &data);
    options.encoding = pastebank::pack::Encoding::Jpeg;
    pack(&options, |_| true).unwrap();
    let shard = options.scenes.as_ref().unwrap().join("00000.safetensors");
    let mut bytes = fs::read(&shard).unwrap();
    let start = (0..bytes.len()).find(|&at| bytes[at..].starts_with(&[0xff, 0xd8]));
    bytes[start.unwrap()] = 0;
    fs::write(&shard, bytes).unwrap();
    let (scenes, bank) = open(&options);
    let recipe = Arc::new(recipe());
    let sampler = Sampler::new(scenes.clone(), bank.clone(), recipe, CANVAS, SEED).unwrap();
    let out = DatasetOptions::new(&folder.path().join("out"), 3);
    let error = write(&sampler, &out, |_| true).unwrap_err();
    assert!(
        matches!(
            error,
            DatasetError::Undecodable {
                sample: 0,
                draws: 17,
                scene: 0,
                ..
            }
        ),
        "{error}"
    );
}

/// A process that is killed or interrupted at some moment, and the same command again.
#[cfg(all(unix, feature = "cli"))]
#[test]
fn killed_and_interrupted_processes_go_on_where_they_were() {
    use std::process::{Command, Stdio};
    let packs = Packs::new();
    let here = packs.folder.path();
    let command = |out: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pastebank"));
        let flags = "compose --scenes scenes --bank bank --count 60 --canvas 300x200 --threads 2 \
            --format png --annotations polygons --out";
        command.args(flags.split_whitespace()).arg(out);
        command
            .current_dir(here)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    };
    assert!(command("whole").status().unwrap().success());
    let mut unfinished = 0;
    for (number, signal) in ["-KILL", "-INT", "-KILL", "-TERM", "-KILL"]
        .into_iter()
        .enumerate()
    {
        let out = format!("out{number}");
        let mut process = command(&out).spawn().unwrap();
        // Not before it has begun, and by then some way into the images.
        let begun = here
            .join(&out)
            .join(format!("images/{:012}.png", 8 * number));
        while !begun.exists() && process.try_wait().unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let id = process.id().to_string();
        Command::new("kill").args([signal, &id]).status().unwrap();
        let status = process.wait().unwrap();
        if !status.success() {
            unfinished += 1;
            assert!([None, Some(130)].contains(&status.code()), "{status}");
            assert!(!here.join(&out).join("instances.json").exists());
            assert!(here.join(&out).join("compose-journal.jsonl").exists());
        }
        assert!(command(&out).status().unwrap().success());
        assert_equal_folders(&here.join("whole"), &here.join(&out));
    }
    assert!(
        unfinished > 0,
        "every process was done before its signal came"
    );
}
