//! Real photographs become a bank, and the bank is pasted.

use std::fs;
use std::path::Path;

use pastebank::bank::CutoutBank;
use serde_json::Value;

use crate::{succeeds, test_data};

/// A list of the photographs that show one category alone, every `step`th of them.
fn list_of_photographs(photographs: &Path, step: usize) -> String {
    let text = fs::read_to_string(photographs.join("instances.json")).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    let rows = |key: &str| json[key].as_array().unwrap().clone();
    let mut list = "path,category,source,licence\n".to_owned();
    for image in rows("images").iter().step_by(step) {
        let mut categories: Vec<i64> = rows("annotations")
            .iter()
            .filter(|annotation| annotation["image_id"] == image["id"])
            .map(|annotation| annotation["category_id"].as_i64().unwrap())
            .collect();
        categories.dedup();
        if let [category] = categories[..] {
            let file = image["file_name"].as_str().unwrap();
            let path = photographs.join("images").join(file);
            list += &format!("{},{category},pixabay.com,Pixabay\n", path.display());
        }
    }
    list
}

#[test]
fn real_photographs_become_a_bank_and_are_pasted() {
    let Some(data) = test_data() else { return };
    let photographs = data.join("pixabay17");
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let list = list_of_photographs(&photographs, 4);
    let count = list.lines().count() - 1;
    assert!(count >= 4, "{list}");
    fs::write(here.join("photographs.csv"), list).unwrap();
    let weights = data.join("weights/u2netp_fp16_bnfolded.safetensors");
    let categories = photographs.join("instances.json");
    let config = format!(
        "state = \"state\"\nbank = \"bank\"\ncategories = {categories:?}\ndevice = \"cpu\"\n\
         [folder]\nlist = \"photographs.csv\"\n\
         [[segment]]\nmodel = \"u2netp\"\nweights = {weights:?}\nbatch = 2\n"
    );
    fs::write(here.join("build.toml"), config).unwrap();
    let text = succeeds(&["build", "all", "--config", "build.toml"], here);
    assert!(text.contains(&format!("masks: {count} done")), "{text}");
    let bank = CutoutBank::open(&here.join("bank")).unwrap();
    assert!(bank.len() * 3 >= count * 2, "{} of {count}", bank.len());
    for row in 0..bank.len() {
        let provenance = bank.provenance(row).unwrap().unwrap();
        assert_eq!(provenance.segmenter, "u2netp");
        assert_eq!(provenance.licence.as_deref(), Some("Pixabay"));
    }
    let annotations = categories.to_str().unwrap();
    let images = photographs.join("images");
    let pack = [
        "pack",
        "--annotations",
        annotations,
        "--images",
        images.to_str().unwrap(),
    ];
    succeeds(
        &[&pack[..], &["--scenes", "scenes", "--bank", "real"]].concat(),
        here,
    );
    let compose = [
        "compose", "--scenes", "scenes", "--bank", "bank", "--count", "4",
    ];
    let rest = [
        "--canvas",
        "512x512",
        "--out",
        "composed",
        "--sheet",
        "sheet.png",
    ];
    succeeds(&[&compose[..], &rest].concat(), here);
    assert!(here.join("sheet.png").is_file());
}
