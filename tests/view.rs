//! `pastebank view` on all that it can look at: files, what is printed, what the page holds.
#![cfg(feature = "cli")]

mod galleries;

use std::fs;

use galleries::{Folder, HOSTILE, element, stderr, stdout};
use serde_json::{Value, json};

#[test]
fn a_data_set_becomes_a_page_and_a_sheet_and_its_problems_are_counted() {
    let folder = Folder::with_data_set();
    let data = ["--annotations", "instances.json", "--images", "images"];
    let output = folder.view(&data, &["--out", "page.html"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        stdout(&output).contains("4 pictures with 5 instances"),
        "{}",
        stdout(&output)
    );
    let problems = stderr(&output);
    for part in [
        "missing image files",
        "gone.png",
        "undecodable images",
        "broken.png",
        "malformed",
        "degenerate",
    ] {
        assert!(problems.contains(part), "no {part:?} in {problems}");
    }
    let index = element(&folder.read("page.html"), "index");
    assert_eq!(index["totals"]["pictures"], 4);
    assert_eq!(index["totals"]["missing"], 2);
    assert_eq!(index["totals"]["crowds"], 1);
    assert_eq!(index["coverage"]["side"], 64);
    let pictures = index["pictures"].as_array().unwrap();
    assert!(pictures[2]["problem"].as_str().unwrap().contains("missing"));
    let first = &pictures[0]["instances"];
    // A polygon of two parts, uncompressed run lengths of a crowd, a box.
    let areas: Vec<u64> = (0..3).map(|i| first[i]["area"].as_u64().unwrap()).collect();
    assert_eq!(areas, [600, 100, 400]);
    assert_eq!(first[0]["box"], json!([10, 10, 60, 30]));
    assert_eq!(first[1]["crowd"], true);
    assert_eq!(first[2]["origin"], "annotated");
    let output = folder.view(
        &data,
        &["--out", "sheet.png", "--tile", "100", "--columns", "2"],
    );
    assert!(output.status.success(), "{}", stderr(&output));
    let sheet = image::open(folder.path("sheet.png")).unwrap();
    // Two tiles, the gap between them and the margins; a long title widens it further.
    assert!(sheet.width() >= 2 * 100 + 8 + 2 * 16);
    assert!(sheet.height() > 2 * 100);
}

#[test]
fn categories_and_styles_choose_what_is_drawn() {
    let folder = Folder::with_data_set();
    let data = ["--annotations", "instances.json", "--images", "images"];
    let flags = ["--out", "cups.html", "--categories", "cup", "--no-boxes"];
    assert!(folder.view(&data, &flags).status.success());
    let index = element(&folder.read("cups.html"), "index");
    assert_eq!(index["categories"].as_array().unwrap().len(), 1);
    assert_eq!(index["categories"][0]["name"], "cup");
    assert_eq!(index["style"]["boxes"], false);
    let by_id = [
        "--out",
        "id.html",
        "--categories",
        "1,2",
        "--first",
        "1",
        "--count",
        "1",
    ];
    assert!(folder.view(&data, &by_id).status.success());
    let index = element(&folder.read("id.html"), "index");
    assert_eq!(index["pictures"].as_array().unwrap().len(), 1);
    assert_eq!(index["pictures"][0]["title"], "b.png");
    let plain = ["--no-masks", "--no-boxes", "--no-names", "--tile", "80"];
    let picture = |name: &str, style: &[&str]| {
        let flags = [&["--out", name, "--count", "1"], style].concat();
        assert!(folder.view(&data, &flags).status.success());
        image::open(folder.path(name)).unwrap().to_rgb8()
    };
    let (plain, drawn) = (
        picture("plain.png", &plain),
        picture("drawn.png", &plain[3..]),
    );
    assert_eq!(plain.dimensions(), drawn.dimensions());
    assert_ne!(plain, drawn);
    let unknown = ["--out", "x.html", "--categories", "unicorn"];
    let output = folder.view(&data, &unknown);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("unicorn"));
    assert!(!folder.path("x.html").exists());
}

#[test]
fn more_pictures_than_a_sheet_holds_make_numbered_sheets() {
    let folder = Folder::with_data_set();
    let data = ["--annotations", "instances.json", "--images", "images"];
    let flags = ["--out", "s.png", "--per-sheet", "3", "--tile", "64"];
    let output = folder.view(&data, &flags);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).contains("s-2.png"), "{}", stdout(&output));
    assert!(folder.path("s-1.png").exists() && folder.path("s-2.png").exists());
    assert!(!folder.path("s.png").exists() && !folder.path("s-3.png").exists());
}

#[test]
fn a_composed_folder_says_what_was_pasted_and_what_is_ignored() {
    let folder = Folder::with_composed();
    let output = folder.view(&["--composed", "composed"], &["--out", "page.html"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let page = folder.read("page.html");
    assert!(!page.contains("<img src=x"), "a name became an element");
    let index = element(&page, "index");
    let totals = &index["totals"];
    assert_eq!(
        (&totals["pasted"], &totals["ignored"]),
        (&json!(2), &json!(1))
    );
    let origins: Vec<&str> = index["pictures"][0]["instances"]
        .as_array()
        .unwrap()
        .iter()
        .map(|instance| instance["origin"].as_str().unwrap())
        .collect();
    assert_eq!(origins, ["scene", "pasted", "pasted"]);
    let expected = json!([
        {"id": 2, "name": HOSTILE, "before": null, "after": 2, "pasted": 2},
        {"id": 1, "name": "cup", "before": null, "after": 1, "pasted": 0}]);
    assert_eq!(index["categories"], expected);
    // Where every image tells what its scene held, so does the page: a paste hid a cup.
    let mut data: Value = serde_json::from_str(&folder.read("composed/instances.json")).unwrap();
    data["images"][0]["before"] = json!({"1": 2});
    data["images"][1]["before"] = json!({});
    fs::write(folder.path("composed/instances.json"), data.to_string()).unwrap();
    let output = folder.view(&["--composed", "composed"], &["--out", "told.html"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let told = element(&folder.read("told.html"), "index");
    // As many of both, so in the order of their ids.
    let expected = json!([
        {"id": 1, "name": "cup", "before": 2, "after": 1, "pasted": 0},
        {"id": 2, "name": HOSTILE, "before": 0, "after": 2, "pasted": 2}]);
    assert_eq!(told["categories"], expected);
    // 20 x 20, 15 x 20 and 10 x 10 pixels.
    assert_eq!(
        index["sizes"],
        json!({"own": [[8, 1]], "pasted": [[6, 1], [8, 1]]})
    );
}

#[test]
fn plans_recipes_and_what_render_wrote_agree() {
    let folder = Folder::with_packs();
    let packs = ["--scenes", "demo/scenes", "--bank", "demo/bank"];
    let drawn = ["--canvas", "200x150", "--seed", "7"];
    let index = |input: &[&str], flags: &[&str]| {
        let flags = [&["--out", "p.html"], flags].concat();
        let output = folder.view(input, &flags);
        assert!(output.status.success(), "{}", stderr(&output));
        element(&folder.read("p.html"), "index")
    };
    let recipe = index(&packs, &[&drawn[..], &["--count", "5"]].concat());
    folder.succeeds(
        &["plan", "--count", "5", "--out", "plan.json"],
        &[&packs[..], &drawn].concat(),
    );
    let planned = [&packs[..], &["--plan", "plan.json"]].concat();
    let plan = index(&planned, &[]);
    assert_eq!(recipe["pictures"], plan["pictures"]);
    assert_eq!(recipe["categories"], plan["categories"]);
    folder.succeeds(
        &["render", "--plan", "plan.json", "--out", "rendered"],
        &packs,
    );
    let named = [
        "--composed",
        "rendered",
        "--category-names",
        "demo/scenes/manifest.json",
    ];
    let rendered = index(&named, &[]);
    assert_eq!(rendered["totals"], plan["totals"]);
    assert_eq!(rendered["sizes"], plan["sizes"]);
    assert_eq!(rendered["categories"][0]["before"], Value::Null);
    // What `compose` wrote of the same samples tells as much as the plan itself.
    folder.succeeds(
        &[
            "compose", "--count", "5", "--out", "written", "--format", "png",
        ],
        &[&packs[..], &drawn].concat(),
    );
    let composed = index(&["--composed", "written"], &[]);
    assert_eq!(composed["totals"], plan["totals"]);
    assert_eq!(composed["categories"], plan["categories"]);
    assert_eq!(rendered["pictures"][4]["title"], "4.png");
    assert_eq!(
        rendered["pictures"][4]["instances"],
        plan["pictures"][4]["instances"]
    );
    // The scenes' own instances before pasting are those of the same samples without layers.
    let before = |index: &Value| -> u64 {
        let categories = index["categories"].as_array().unwrap();
        categories
            .iter()
            .map(|c| c["before"].as_u64().unwrap())
            .sum()
    };
    let mut bare: Value = serde_json::from_str(&folder.read("plan.json")).unwrap();
    for sample in bare["samples"].as_array_mut().unwrap() {
        sample["layers"] = json!([]);
    }
    fs::write(folder.path("bare.json"), bare.to_string()).unwrap();
    let bare = index(&[&packs[..], &["--plan", "bare.json"]].concat(), &[]);
    assert_eq!(bare["totals"]["pasted"], 0);
    assert_eq!(before(&plan), bare["totals"]["instances"].as_u64().unwrap());
    assert!(plan["totals"]["pasted"].as_u64().unwrap() > 0);
    // Later samples are the same however they are reached.
    let later = index(
        &packs,
        &[&drawn[..], &["--first", "3", "--count", "2"]].concat(),
    );
    assert_eq!(later["pictures"][0], plan["pictures"][3]);
    assert_eq!(
        index(&planned, &["--first", "3"])["pictures"],
        later["pictures"]
    );
}

#[test]
fn an_empty_data_set_is_no_failure() {
    let folder = Folder::with_data_set();
    let empty = json!({"images": [], "annotations": [], "categories": []});
    fs::write(folder.path("empty.json"), empty.to_string()).unwrap();
    let data = ["--annotations", "empty.json", "--images", "images"];
    for out in ["empty.html", "empty.png"] {
        let output = folder.view(&data, &["--out", out]);
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let index = element(&folder.read("empty.html"), "index");
    assert_eq!(index["pictures"], json!([]));
    assert!(image::open(folder.path("empty.png")).unwrap().width() > 100);
}

#[test]
fn wrong_usage_is_refused() {
    let folder = Folder::with_data_set();
    let data = ["--annotations", "instances.json", "--images", "images"];
    let refused = |input: &[&str], flags: &[&str], code: i32, part: &str| {
        let output = folder.view(input, flags);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(
            text.contains(part) && !text.contains("panicked"),
            "no {part:?} in {text}"
        );
    };
    refused(&[], &["--out", "a.html"], 2, "--annotations");
    refused(&data, &["--out", "a.gif"], 2, "--format");
    refused(&data, &[], 2, "--out");
    refused(&data, &["--out", "a.html", "--seed", "3"], 2, "--seed");
    refused(&data[..2], &["--out", "a.html"], 2, "--images");
    let both = [&data[..], &["--composed", "x"]].concat();
    refused(&both, &["--out", "a.html"], 2, "--composed");
    refused(
        &["--composed", "images"],
        &["--out", "a.html"],
        1,
        "annotations.json",
    );
    let no_folder = ["--annotations", "instances.json", "--images", "gone"];
    refused(&no_folder, &["--out", "a.html"], 2, "gone");
    refused(
        &data,
        &["--out", "no/such/folder/a.html"],
        1,
        "no/such/folder",
    );
    let huge = [
        "--out",
        "a.png",
        "--tile",
        "4096",
        "--columns",
        "100",
        "--per-sheet",
        "1000",
    ];
    refused(&data, &huge, 0, "");
    assert!(!folder.path("a.html").exists());
    // The format may be said whatever the ending.
    refused(&data, &["--out", "a.page", "--format", "html"], 0, "");
    assert!(folder.read("a.page").starts_with("<!doctype html>"));
}
