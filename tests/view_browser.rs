//! The page of `pastebank view` in a real browser, headless: what it shows, not what it should.
//! Without a Chromium on PATH the tests say that they are skipped.
#![cfg(feature = "cli")]

mod galleries;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use galleries::{Folder, HOSTILE, element, stderr};
use serde_json::Value;

/// The browser's program, or `None`, said aloud.
fn browser() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = std::env::split_paths(&folders)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|path| path.is_file());
    if found.is_none() {
        use std::io::Write;
        // Written past the test harness, which hides what passing tests print.
        let text = "skipped: no chromium, chromium-browser or google-chrome on PATH\n";
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
    found
}

/// The document that the browser has made of a page.
struct Shown {
    document: String,
}

impl Shown {
    /// Loads the page anew, a few times at most, until cards that should be drawn are: on a busy
    /// machine a headless browser may end before it has made a first frame, and tells the page's
    /// observers of nothing then.
    fn of(browser: &Path, page: &Path, fragment: &str, window: &str) -> Shown {
        for _ in 0..5 {
            let shown = Shown::once(browser, page, fragment, window);
            if shown.data("rendered") != "0" || shown.data("shown") == "0" {
                return shown;
            }
        }
        panic!("no card was drawn in five loads of {}", page.display());
    }

    fn once(browser: &Path, page: &Path, fragment: &str, window: &str) -> Shown {
        let profile = tempfile::tempdir().unwrap();
        let address = format!("file://{}#{fragment}", page.display());
        let output = Command::new(browser)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
            .args(["--virtual-time-budget=10000", "--disable-dev-shm-usage"])
            .arg(format!("--window-size={window}"))
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(address)
            .output()
            .unwrap();
        let document = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(document.contains("<html"), "{}", stderr(&output));
        let shown = Shown { document };
        assert_eq!(shown.data("ready"), "1", "{}", shown.root());
        assert_eq!(shown.data("errors"), "0", "{}", shown.root());
        shown
    }

    /// The opening tag of the root, which carries what the script counted.
    fn root(&self) -> &str {
        let (_, rest) = self.document.split_once("<html").unwrap();
        rest.split_once('>').unwrap().0
    }

    /// A `data-` attribute of the root; empty where there is none.
    fn data(&self, name: &str) -> &str {
        let rest = self.root().split_once(&format!("data-{name}=\""));
        rest.and_then(|(_, rest)| rest.split_once('"'))
            .map_or("", |(value, _)| value)
    }

    fn number(&self, name: &str) -> usize {
        self.data(name).parse().unwrap()
    }

    /// What the browser has between the page's head and its data.
    fn body(&self) -> &str {
        let (_, body) = self.document.split_once("<body").unwrap();
        let data = "<script type=\"application/json\"";
        body.split_once(data).unwrap().0
    }

    /// How often a piece of markup is in the body.
    fn count(&self, markup: &str) -> usize {
        self.body().matches(markup).count()
    }

    /// Cards that are not hidden.
    fn visible_cards(&self) -> usize {
        let tags = self.body().split("<article").skip(1);
        let tags = tags.filter_map(|rest| rest.split_once('>'));
        tags.filter(|(tag, _)| !tag.contains("hidden")).count()
    }
}

/// Instances of a picture in the page's data that a filter leaves.
fn matching<'a>(index: &'a Value, keep: impl Fn(&Value) -> bool + 'a) -> Vec<usize> {
    let pictures = index["pictures"].as_array().unwrap().iter();
    pictures
        .map(|picture| picture["instances"].as_array().unwrap())
        .map(|instances| instances.iter().filter(|instance| keep(instance)).count())
        .collect()
}

#[test]
fn a_recipe_is_shown_filtered_and_counted_as_its_data_say() {
    let Some(browser) = browser() else {
        return;
    };
    let folder = Folder::with_packs();
    let packs = ["--scenes", "demo/scenes", "--bank", "demo/bank"];
    let flags = ["--canvas", "160x120", "--count", "40", "--out", "page.html"];
    let output = folder.view(&packs, &flags);
    assert!(output.status.success(), "{}", stderr(&output));
    let page = folder.path("page.html");
    let index = element(&folder.read("page.html"), "index");
    let ids: HashMap<&str, &Value> = index["categories"]
        .as_array()
        .unwrap()
        .iter()
        .map(|category| (category["name"].as_str().unwrap(), &category["id"]))
        .collect();
    let show = |fragment: &str| Shown::of(&browser, &page, fragment, "1400,900");

    let all = show("");
    let counts = matching(&index, |_| true);
    assert_eq!((all.number("cards"), all.number("shown")), (40, 40));
    assert_eq!(all.visible_cards(), 40);
    assert_eq!(all.number("instances"), counts.iter().sum::<usize>());
    // Pictures far below the window are not drawn.
    let rendered = all.number("rendered");
    assert!((3..40).contains(&rendered), "{rendered}");
    assert_eq!(
        (all.number("masks"), all.count("<img")),
        (rendered, rendered)
    );
    assert_eq!(
        all.number("boxes"),
        counts[..rendered].iter().sum::<usize>()
    );
    assert!(all.number("tags") > 0 && all.number("tags") <= all.number("boxes"));

    let is_pasted_mug = |i: &Value| i["origin"] == "pasted" && &i["category"] == ids["mug"];
    let counts = matching(&index, is_pasted_mug);
    let mugs = show("category=mug&source=pasted");
    let with_mugs = counts.iter().filter(|&&count| count > 0).count();
    assert!(with_mugs > 0 && with_mugs < 40);
    assert_eq!(mugs.number("shown"), with_mugs);
    assert_eq!(mugs.visible_cards(), with_mugs);
    assert_eq!(mugs.count("<article"), 40);
    assert_eq!(mugs.number("instances"), counts.iter().sum::<usize>());
    let pressed = "aria-pressed=\"true\"";
    // Three switches, the category and the source.
    assert_eq!(mugs.count(pressed), 5);

    let of_scene = show("source=scene&masks=0&names=0");
    let counts = matching(&index, |instance| instance["origin"] == "scene");
    assert_eq!(of_scene.number("instances"), counts.iter().sum::<usize>());
    assert_eq!((of_scene.number("masks"), of_scene.number("tags")), (0, 0));
    assert!(of_scene.number("boxes") > 0);

    let large = show("picture=7");
    let counts = matching(&index, |_| true);
    assert_eq!(large.data("large"), format!("7: {}", counts[7]));

    let narrow = Shown::of(&browser, &page, "", "400,800");
    assert_eq!(narrow.number("cards"), 40);
    assert!(narrow.number("rendered") < rendered);
}

#[test]
fn hostile_names_and_missing_pictures_are_shown_as_text() {
    let Some(browser) = browser() else {
        return;
    };
    let folder = Folder::with_composed();
    let output = folder.view(&["--composed", "composed"], &["--out", "page.html"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let page = folder.path("page.html");
    let shown = Shown::of(&browser, &page, "source=ignored", "1200,900");
    assert_eq!((shown.number("cards"), shown.number("shown")), (2, 1));
    assert_eq!((shown.number("instances"), shown.number("boxes")), (1, 1));
    // The picture is the one image: no name became an element.
    assert_eq!(shown.count("<img"), 1);
    assert!(!shown.document.contains("<title>broken"));
    let as_text = HOSTILE
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    assert!(shown.document.contains(&as_text), "the name is not shown");

    let folder = Folder::with_data_set();
    let data = ["--annotations", "instances.json", "--images", "images"];
    assert!(folder.view(&data, &["--out", "page.html"]).status.success());
    let shown = Shown::of(&browser, &folder.path("page.html"), "", "1200,900");
    assert_eq!((shown.number("cards"), shown.number("rendered")), (4, 4));
    assert_eq!((shown.number("instances"), shown.number("boxes")), (5, 5));
    assert_eq!(shown.count("class=\"problem\""), 2);
    assert_eq!(shown.count("<img"), 2);
}

#[test]
fn an_empty_gallery_says_so() {
    let Some(browser) = browser() else {
        return;
    };
    let folder = Folder::with_data_set();
    let empty = r#"{"images": [], "annotations": [], "categories": []}"#;
    std::fs::write(folder.path("empty.json"), empty).unwrap();
    let data = ["--annotations", "empty.json", "--images", "images"];
    assert!(folder.view(&data, &["--out", "page.html"]).status.success());
    let shown = Shown::of(
        &browser,
        &folder.path("page.html"),
        "category=cup",
        "1200,900",
    );
    assert_eq!(shown.number("cards"), 0);
    assert_eq!(shown.count("There are no pictures."), 1);
}
