//! Small data sets to look at, and what a page holds.

// Two test binaries include this module, and neither uses all of it.
#![allow(dead_code)]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use image::{Rgb, RgbImage};
use serde_json::{Value, json};

/// A category name that would run a script if it ever became markup.
pub const HOSTILE: &str = "</script><img src=x onerror=\"document.title='broken'\">&amp;'";

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The JSON of the page's element of that id.
pub fn element(page: &str, id: &str) -> Value {
    let start = format!("<script type=\"application/json\" id=\"{id}\">");
    let (_, rest) = page.split_once(&start).unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

/// A temporary folder in which the binary runs.
pub struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn view(&self, input: &[&str], flags: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_pastebank"))
            .arg("view")
            .args(input)
            .args(flags)
            .current_dir(self.0.path())
            .output()
            .unwrap()
    }

    #[track_caller]
    pub fn succeeds(&self, command: &[&str], flags: &[&str]) {
        let output = Command::new(env!("CARGO_BIN_EXE_pastebank"))
            .args(command)
            .args(flags)
            .current_dir(self.0.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    }

    fn image(&self, name: &str, [width, height]: [u32; 2]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let slope = |x, y| Rgb([(2 * x) as u8, (3 * y) as u8, 90]);
        RgbImage::from_fn(width, height, slope).save(path).unwrap();
    }

    /// Two pictures of 80 x 60 and 60 x 80 pixels with five instances that can be drawn, two
    /// pictures that cannot be had, and annotations that are wrong.
    pub fn with_data_set() -> Folder {
        let folder = Folder::new();
        folder.image("images/a.png", [80, 60]);
        folder.image("images/b.png", [60, 80]);
        fs::write(folder.path("images/broken.png"), "no picture").unwrap();
        let image = |id: i64, name: &str, [width, height]: [u32; 2]| json!({"id": id, "file_name": name, "width": width, "height": height});
        let annotation = |id: i64, image: i64, category: i64, crowd: u8, segmentation: Value| json!({"id": id, "image_id": image, "category_id": category, "iscrowd": crowd, "segmentation": segmentation});
        // Column 20 from the top: 40 pixels, then all of column 21 down to its last.
        let run_lengths = json!({"size": [60, 80], "counts": [1200, 100, 3500]});
        let parts = json!([rectangle([10, 10, 30, 30]), rectangle([50, 10, 60, 30])]);
        let data = json!({
            "images": [image(1, "a.png", [80, 60]), image(2, "b.png", [60, 80]),
                image(3, "gone.png", [9, 9]), image(4, "broken.png", [9, 9])],
            "annotations": [
                annotation(1, 1, 1, 0, parts),
                annotation(2, 1, 2, 1, run_lengths),
                annotation(3, 1, 1, 0, json!([rectangle([40, 35, 60, 55]), [1, 2]])),
                annotation(4, 2, 2, 0, json!([rectangle([5, 5, 15, 15])])),
                annotation(5, 2, 2, 0, json!([rectangle([5, 30, 15, 40])])),
                annotation(6, 2, 1, 0, json!({"size": [1, 1], "counts": "0"})),
                annotation(7, 3, 1, 0, json!([rectangle([1, 1, 5, 5])]))],
            "categories": [{"id": 1, "name": "cup"}, {"id": 2, "name": "fork"}]});
        fs::write(folder.path("instances.json"), data.to_string()).unwrap();
        folder
    }

    /// A composed folder of two pictures: one with an instance of the scene, a pasted one and one
    /// that is pasted and ignored, and one with nothing.
    pub fn with_composed() -> Folder {
        let folder = Folder::new();
        folder.image("composed/images/000000.png", [80, 60]);
        folder.image("composed/images/000001.png", [80, 60]);
        let image = |id: i64| json!({"id": id, "file_name": format!("{id:06}.png"), "width": 80, "height": 60});
        let annotation = |id: i64, category: i64, place: [i64; 4], source: Value| json!({"id": id, "image_id": 0, "category_id": category, "iscrowd": 0, "segmentation": [rectangle(place)], "source": source});
        let cutout = |row: i64, layer: i64| json!({"cutout": row, "image": 5, "annotation": 50, "layer": layer});
        let mut ignored = annotation(3, 2, [0, 0, 10, 10], cutout(4, 1));
        ignored["ignore"] = json!(1);
        let data = json!({
            "images": [image(0), image(1)],
            "annotations": [
                annotation(1, 1, [5, 5, 25, 25], json!({"annotation": 77})),
                annotation(2, 2, [40, 30, 55, 50], cutout(3, 0)),
                ignored],
            "categories": [{"id": 1, "name": "cup"}, {"id": 2, "name": HOSTILE}]});
        fs::write(folder.path("composed/instances.json"), data.to_string()).unwrap();
        folder
    }

    /// A folder in which the demo has made its packs.
    pub fn with_packs() -> Folder {
        let folder = Folder::new();
        let small = ["--canvas", "64x64", "--batches", "1", "--batch-size", "1"];
        folder.succeeds(&["demo"], &small);
        folder
    }
}

/// The outline of a rectangle left, top, right, bottom.
fn rectangle([left, top, right, bottom]: [i64; 4]) -> Value {
    json!([left, top, right, top, right, bottom, left, bottom])
}
