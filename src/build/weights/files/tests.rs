use std::fs;

use candle_core::{Device, Tensor};

use super::*;
use crate::build::device::Compute;

const COMMIT: &str = "7fd15f0689c79d79e38b1c2e2e2370a7bf2761ed";

fn save(path: &Path, name: &str, value: f32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let tensor = Tensor::new(&[value], &Device::Cpu).unwrap();
    let tensors = HashMap::from([(name.to_owned(), tensor)]);
    candle_core::safetensors::save(&tensors, path).unwrap();
}

fn value(weights: &Weights, name: &str) -> f32 {
    let tensor = weights.tensor(name, &Compute::cpu()).unwrap();
    tensor.to_vec1::<f32>().unwrap()[0]
}

#[test]
fn a_folder_and_a_single_file_serve() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("unet/model.safetensors");
    save(&path, "a", 1.0);
    fs::write(folder.path().join("unet/config.json"), "{}").unwrap();
    let files = ModelFiles::at("model", folder.path());
    let names = ["unet/other.bin", "unet/model.safetensors"];
    assert_eq!(files.find(&names).unwrap(), path);
    assert_eq!(value(&files.weights(&names).unwrap(), "a"), 1.0);
    assert_eq!(files.find_optional(&["none.json"]).unwrap(), None);

    let file = ModelFiles::open("model", path.to_str().unwrap()).unwrap();
    assert_eq!(file.find(&["any_name.pth"]).unwrap(), path);
    assert_eq!(
        file.find(&["config.json"]).unwrap(),
        path.with_file_name("config.json")
    );
    assert_eq!(file.find_optional(&["tokenizer.json"]).unwrap(), None);
}

#[test]
fn what_is_missing_is_told_with_the_way_to_get_it() {
    let folder = tempfile::tempdir().unwrap();
    let missing = |model, names: &[&str]| {
        let files = ModelFiles::at(model, folder.path());
        files.find(names).unwrap_err().to_string()
    };
    let clip = missing("clip-vit-b-32", &["model.safetensors", "pytorch_model.bin"]);
    assert!(
        clip.starts_with("clip-vit-b-32: model.safetensors or pytorch_model.bin"),
        "{clip}"
    );
    assert!(clip.contains(folder.path().to_str().unwrap()), "{clip}");
    let command = "`hf download openai/clip-vit-base-patch32 model.safetensors \
        --revision main --local-dir clip-vit-base-patch32`";
    assert!(clip.contains(command), "{clip}");
    let sam = missing("sam-vit-b", &["sam_vit_b_01ec64.pth"]);
    assert!(sam.contains("https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth"));
    assert!(missing("my own", &["x.pth"]).contains("owner/name@revision"));
    let Err(error) = ModelFiles::open("u2net", "no/such/folder") else {
        panic!("an error was expected");
    };
    let error = error.to_string();
    assert!(
        error.contains("no such path") && error.contains("U-2-Net"),
        "{error}"
    );
}

#[test]
fn split_weights_are_put_together() {
    let folder = tempfile::tempdir().unwrap();
    let unet = folder.path().join("unet");
    save(&unet.join("model-1.safetensors"), "a", 1.0);
    save(&unet.join("model-2.safetensors"), "b", 2.0);
    let table = unet.join("model.safetensors.index.json");
    let map =
        r#"{"metadata":{},"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}}"#;
    fs::write(&table, map).unwrap();
    let files = ModelFiles::at("sd1.5", folder.path());
    let weights = files.weights(&["unet/model.safetensors"]).unwrap();
    assert_eq!((value(&weights, "a"), value(&weights, "b")), (1.0, 2.0));

    let problem = || match files.weights(&["unet/model.safetensors"]) {
        Ok(_) => panic!("an error was expected"),
        Err(error) => error.to_string(),
    };
    save(&unet.join("model-2.safetensors"), "a", 2.0);
    assert!(problem().contains("tensor \"a\" is there twice"));
    fs::remove_file(unet.join("model-2.safetensors")).unwrap();
    assert!(problem().contains("model-2.safetensors was not found"));
    fs::write(&table, r#"{"weight_map":{"a":"../../secret.safetensors"}}"#).unwrap();
    assert!(problem().contains("not beside it"));
    fs::write(&table, r#"{"weight_map":{}}"#).unwrap();
    assert!(problem().contains("names no files"));
    fs::write(&table, "[]").unwrap();
    assert!(problem().contains("not a table of split weights"));
}

#[test]
fn the_cache_of_the_hub_serves_offline() {
    let home = tempfile::tempdir().unwrap();
    let repository = home.path().join("models--owner--name");
    save(
        &repository
            .join("snapshots")
            .join(COMMIT)
            .join("unet/model.safetensors"),
        "a",
        3.0,
    );
    fs::create_dir_all(repository.join("refs/pr")).unwrap();
    fs::write(repository.join("refs/main"), COMMIT).unwrap();
    fs::write(repository.join("refs/pr/1"), format!("{COMMIT}\n")).unwrap();
    fs::write(repository.join("refs/evil"), "../../..").unwrap();
    let open = |source: &str| {
        let settings = HubSettings {
            cache: Some(home.path().to_owned()),
            offline: true,
        };
        ModelFiles::open_with("model", source, settings).unwrap()
    };
    // By branch, by a branch with a slash, and by the commit, which has no entry in refs.
    for revision in ["", "@main", "@pr/1", &format!("@{COMMIT}")] {
        let files = open(&format!("owner/name{revision}"));
        let weights = files.weights(&["unet/x.bin", "unet/model.safetensors"]);
        assert_eq!(value(&weights.unwrap(), "a"), 3.0, "{revision}");
        assert_eq!(files.find_optional(&["config.json"]).unwrap(), None);
    }
    let told = |source: &str| open(source).find(&["config.json"]).unwrap_err().to_string();
    let missing = told("owner/name@pr/1");
    assert!(missing.contains("owner/name@pr/1 (offline)"), "{missing}");
    let command = "hf download owner/name config.json --revision pr/1";
    assert!(missing.contains(command), "{missing}");
    assert!(told("owner/name@evil").contains("offline"));
    assert!(told("owner/other").contains("offline"));
}

#[test]
fn split_halves_are_found_by_both_names_of_their_table() {
    for table in [
        "unet/m.fp16.safetensors.index.json",
        "unet/m.safetensors.index.fp16.json",
    ] {
        let home = tempfile::tempdir().unwrap();
        let snapshot = home.path().join("models--o--n/snapshots").join(COMMIT);
        save(&snapshot.join("unet/m-1.fp16.safetensors"), "a", 6.0);
        let map = r#"{"weight_map":{"a":"m-1.fp16.safetensors"}}"#;
        fs::write(snapshot.join(table), map).unwrap();
        let settings = HubSettings {
            cache: Some(home.path().to_owned()),
            offline: true,
        };
        let hub = ModelFiles::open_with("model", &format!("o/n@{COMMIT}"), settings).unwrap();
        for files in [hub, ModelFiles::at("model", &snapshot)] {
            let weights = files.weights(&["unet/m.fp16.safetensors"]).unwrap();
            assert_eq!(value(&weights, "a"), 6.0, "{table}");
        }
    }
}

#[test]
fn a_hub_that_cannot_be_asked_is_an_error_also_for_what_is_optional() {
    let settings = HubSettings {
        cache: None,
        offline: false,
    };
    let files = ModelFiles::open_with("model", "owner/name", settings).unwrap();
    let error = files.find_optional(&["config.json"]).unwrap_err();
    assert!(matches!(error, WeightsError::Download { .. }), "{error}");
    assert!(error.to_string().contains("config.json"), "{error}");
}

#[test]
fn split_weights_come_from_the_cache_too() {
    let home = tempfile::tempdir().unwrap();
    let snapshot = home.path().join("models--o--n/snapshots").join(COMMIT);
    save(&snapshot.join("unet/m-1.safetensors"), "a", 4.0);
    let map = r#"{"weight_map":{"a":"m-1.safetensors"}}"#;
    fs::write(snapshot.join("unet/m.safetensors.index.json"), map).unwrap();
    save(&snapshot.join("n-1.safetensors"), "a", 5.0);
    let map = r#"{"weight_map":{"a":"n-1.safetensors"}}"#;
    fs::write(snapshot.join("n.safetensors.index.json"), map).unwrap();
    let settings = HubSettings {
        cache: Some(home.path().to_owned()),
        offline: true,
    };
    let files = ModelFiles::open_with("model", &format!("o/n@{COMMIT}"), settings).unwrap();
    for (name, expected) in [("unet/m.safetensors", 4.0), ("n.safetensors", 5.0)] {
        assert_eq!(value(&files.weights(&[name]).unwrap(), "a"), expected);
    }
}
