//! Images are made from names, and whatever is made anew is looked at anew.

use std::fs;
use std::path::Path;
use std::process::Command;

use image::{Rgba, RgbaImage};
use pastebank::build::state::StageReader;

use crate::studio::{CLIP, studio, tiny_diffusion};
use crate::succeeds;

/// Prompt, seed and PNG of every image that was made, by key.
fn made(state: &Path) -> Vec<(String, String, u64, Vec<u8>)> {
    type Row = pastebank::build::rows::SourceRow;
    let reader = StageReader::<Row>::open(state, "generate")
        .unwrap()
        .unwrap();
    let image = |key: &String| {
        let row = reader.items[key].0.row.clone().unwrap();
        let png = reader.blob(key).unwrap().unwrap();
        assert_eq!(
            <[u32; 2]>::from(
                image::load_from_memory(&png)
                    .unwrap()
                    .to_rgb8()
                    .dimensions()
            ),
            row.size
        );
        (key.clone(), row.prompt.unwrap(), row.seed.unwrap(), png)
    };
    reader.items.keys().map(image).collect()
}

#[test]
fn images_are_made_from_names_and_can_be_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    tiny_diffusion(&here.join("sd"));
    fs::write(here.join("names.txt"), "tea_pot\ncat\n").unwrap();
    let flags = |state: &'static str| {
        let command = [
            "build",
            "generate",
            "--state",
            state,
            "--categories",
            "names.txt",
        ];
        let model = [
            "--model",
            "sd1.5",
            "--weights",
            "sd",
            "--steps",
            "2",
            "--count",
            "3",
        ];
        [&command[..], &model[..]].concat()
    };
    let text = succeeds(&flags("whole"), here);
    assert!(text.contains("images: 6 done"), "{text}");
    let whole = made(&here.join("whole"));
    assert_eq!(whole.len(), 6);
    assert!(whole.iter().all(|(key, prompt, ..)| {
        let name = if key.contains("/1/") {
            "tea pot"
        } else {
            "cat"
        };
        *prompt == format!("a photo of a single {name}")
    }));
    for (index, (key, _, seed, png)) in whole.iter().enumerate() {
        let later = &whole[index + 1..];
        assert!(
            later
                .iter()
                .all(|other| other.2 != *seed && other.3 != *png),
            "{key}"
        );
    }
    // In parts, in other batches, and one category alone.
    for part in ["0/2", "1/2"] {
        succeeds(&[&flags("parts")[..], &["--shard", part]].concat(), here);
    }
    assert_eq!(made(&here.join("parts")), whole);
    succeeds(&[&flags("cats")[..], &["--only", "cat"]].concat(), here);
    assert_eq!(made(&here.join("cats")), whole[3..]);
    // More of them later: those that are there stay.
    let mut more = flags("cats");
    *more.last_mut().unwrap() = "4";
    let text = succeeds(&more, here);
    assert!(
        text.contains("images: 8 done (3 by earlier runs)"),
        "{text}"
    );
    // They have no transparency of their own, which is told for each.
    let masks = ["build", "segment", "--state", "whole", "--model", "alpha"];
    let text = succeeds(&masks, here);
    assert!(text.contains("6 failed"), "{text}");
}

#[test]
fn whatever_is_made_anew_is_segmented_and_scored_anew() {
    let folder = studio();
    let here = folder.path();
    tiny_diffusion(&here.join("sd"));
    fs::write(here.join("names.txt"), "apple\npear\n").unwrap();
    let generate = [
        "build",
        "generate",
        "--state",
        "s",
        "--categories",
        "names.txt",
        "--model",
        "sd1.5",
        "--weights",
        "sd",
        "--steps",
        "1",
        "--count",
        "2",
        "--seed",
    ];
    succeeds(&[&generate[..], &["1"]].concat(), here);
    // What is found beside what is made: both are images of one state.
    succeeds(
        &["build", "folder", "--state", "s", "--input", "images"],
        here,
    );
    let segment = ["build", "segment", "--state", "s", "--model", "alpha"];
    let text = succeeds(&segment, here);
    assert!(text.contains("6 done, 4 failed"), "{text}");
    let score = [&["build", "score", "--state", "s"][..], &CLIP].concat();
    let text = succeeds(&score, here);
    assert!(text.contains("scores: 6 done"), "{text}");
    succeeds(
        &[
            "build",
            "filter",
            "--state",
            "s",
            "--out",
            "one",
            "--min-clip",
            "-100",
        ],
        here,
    );

    succeeds(&[&generate[..], &["2", "--restart"]].concat(), here);
    let filter = ["build", "filter", "--state", "s", "--out", "two"];
    let output = Command::new(env!("CARGO_BIN_EXE_pastebank"))
        .args(filter)
        .current_dir(here)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains("has not seen generate/1/000000 yet"),
        "{error}"
    );
    // The four new images are new to the segmenter; the six others are not.
    let text = succeeds(&segment, here);
    assert!(
        text.contains("6 done, 4 failed (6 by earlier runs)"),
        "{text}"
    );
    // A picture that was replaced is another picture.
    let other = RgbaImage::from_pixel(40, 40, Rgba([200, 10, 10, 255]));
    other.save(here.join("images/apple/0.png")).unwrap();
    let text = succeeds(
        &[
            "build",
            "folder",
            "--state",
            "s",
            "--input",
            "images",
            "--restart",
        ],
        here,
    );
    assert!(text.contains("images: 6 done"), "{text}");
    assert!(succeeds(&segment, here).contains("(9 by earlier runs)"));
    assert!(succeeds(&score, here).contains("(5 by earlier runs)"));
    succeeds(&filter, here);
}
