use safetensors::Dtype;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::bank::test_banks::{Row, add_tensor, add_texts, category, row, write_bank};
use crate::bank::{Category, SizeStatistics, verify};

fn folders<const N: usize>() -> [TempDir; N] {
    [(); N].map(|()| tempfile::tempdir().unwrap())
}

fn bank(folder: &TempDir, categories: &[(i64, &str)], shards: &[Vec<Row>]) -> Manifest {
    let categories: Vec<Category> = categories
        .iter()
        .map(|(id, name)| category(*id, name))
        .collect();
    write_bank(folder.path(), &categories, shards)
}

fn merge_all(sources: &[&TempDir], output: &TempDir) -> Result<MergeReport, MergeError> {
    let sources: Vec<PathBuf> = sources.iter().map(|s| s.path().to_owned()).collect();
    merge(&sources, output.path(), &|_| true)
}

fn files(folder: &TempDir) -> usize {
    fs::read_dir(folder.path()).unwrap().count()
}

/// All cutouts of a bank by the names of their categories.
fn sides_and_names(folder: &TempDir) -> Vec<(u32, String)> {
    let bank = CutoutBank::open(folder.path()).unwrap();
    let names = bank.manifest().names();
    (0..bank.len())
        .filter_map(|index| bank.get(index))
        .map(|cutout| (cutout.size.width(), names[&cutout.category].to_owned()))
        .collect()
}

#[test]
fn shards_are_linked_where_no_id_changes_and_rewritten_where_one_does() {
    let [a, b, output] = folders();
    bank(
        &a,
        &[(1, "cat"), (2, "dog")],
        &[vec![row(4, 1, 1)], vec![row(5, 2, 2)]],
    );
    let second = [
        vec![row(6, 7, 3)],
        vec![row(7, 1, 4), row(8, 2, 5), row(9, 7, 6)],
    ];
    // Here 1 is the dog and 2 the cat; 7 is new, and a shard of nothing else stays as it is.
    bank(&b, &[(1, "dog"), (7, "emu"), (2, "cat")], &second);
    let report = merge_all(&[&a, &b], &output).unwrap();
    assert_eq!((report.linked, report.copied, report.rewritten), (3, 0, 1));
    assert_eq!((report.rows, report.categories), (6, 3));
    let renumbered: Vec<_> = report
        .renumbered
        .iter()
        .map(|r| (&*r.name, r.from, r.to))
        .collect();
    assert_eq!(renumbered, [("dog", 1, 2), ("cat", 2, 1)]);

    let rows = sides_and_names(&output);
    let expected = [
        (4, "cat"),
        (5, "dog"),
        (6, "emu"),
        (7, "dog"),
        (8, "cat"),
        (9, "emu"),
    ];
    assert_eq!(rows, expected.map(|(side, name)| (side, name.to_owned())));
    // The links are whole without the sources.
    drop((a, b));
    assert!(verify(output.path(), None, &|_| true).unwrap().is_sound());
}

#[cfg(unix)]
#[test]
fn linked_shards_are_the_same_file_even_through_a_symbolic_link() {
    use std::os::unix::fs::MetadataExt;
    let [a, elsewhere, output] = folders();
    bank(&a, &[(1, "cat")], &[vec![row(4, 1, 1)]]);
    let real = elsewhere.path().join("shard");
    let listed = a.path().join("00000.safetensors");
    fs::rename(&listed, &real).unwrap();
    std::os::unix::fs::symlink(&real, &listed).unwrap();
    assert_eq!(merge_all(&[&a], &output).unwrap().linked, 1);
    let linked = fs::symlink_metadata(output.path().join("00000.safetensors")).unwrap();
    assert_eq!(linked.ino(), fs::metadata(&real).unwrap().ino());
}

#[test]
fn copies_are_whole_and_stop_without_a_trace() {
    let [a, output] = folders();
    bank(&a, &[(1, "cat")], &[vec![row(40, 1, 1)]]);
    let source = a.path().join("00000.safetensors");
    let target = output.path().join("00000.safetensors");
    let progress = |callback| Progress {
        done: Cell::new(0),
        callback,
    };
    let stopped = copy(&source, &target, &progress(&|_| false));
    assert!(matches!(stopped, Err(BankError::Stopped)));
    assert_eq!(files(&output), 0);
    copy(&source, &target, &progress(&|_| true)).unwrap();
    assert_eq!(fs::read(&source).unwrap(), fs::read(&target).unwrap());
    assert_eq!(files(&output), 1);
}

#[test]
fn a_new_name_under_a_taken_id_is_refused_by_name() {
    let [a, b, output] = folders();
    bank(&a, &[(1, "cat")], &[vec![row(4, 1, 1)]]);
    bank(&b, &[(1, "car")], &[vec![row(4, 1, 1)]]);
    let error = merge_all(&[&a, &b], &output).unwrap_err().to_string();
    let [first, second] = [&a, &b].map(|folder| folder.path().display().to_string());
    assert_eq!(
        error,
        format!(
            "category id 1 is \"cat\" in the bank {first} and \"car\" in the bank {second}: pack \
             one of them with other ids"
        )
    );
    bank(&b, &[(2, "cat"), (2, "dog")], &[]);
    let error = merge_all(&[&a, &b], &output).unwrap_err();
    assert!(
        matches!(error, MergeError::CategoryConflict { id: 2, .. }),
        "{error}"
    );
    assert_eq!(files(&output), 0);
}

#[test]
fn rows_of_unknown_categories_and_columns_that_would_be_lost_are_refused() {
    let [a, b, output] = folders();
    bank(&a, &[(1, "cat")], &[vec![row(4, 1, 1), row(4, 8, 1)]]);
    let error = merge_all(&[&a], &output).unwrap_err().to_string();
    assert!(
        error.contains("row 1, column `category`: 8; the manifest's"),
        "{error}"
    );
    bank(&a, &[(1, "cat")], &[vec![row(4, 1, 1)]]);
    bank(&b, &[(2, "cat")], &[vec![row(4, 2, 1)]]);
    // Neither a value a row nor a list.
    let column = (Dtype::U8, &[5][..]);
    add_tensor(b.path(), "embedding", column, &[0; 5], Kind::Cutouts);
    let error = merge_all(&[&a, &b], &output).unwrap_err().to_string();
    assert!(error.ends_with("would be lost: embedding"), "{error}");
    assert_eq!(files(&output), 0);
    // Linked, the column stays.
    let report = merge_all(&[&b, &b], &output).unwrap();
    assert_eq!((report.linked, report.rows), (2, 2));
}

#[test]
fn further_columns_stay_where_ids_change() {
    let [a, b, output] = folders();
    bank(&a, &[(1, "cat")], &[vec![row(4, 1, 1)]]);
    bank(&b, &[(2, "cat")], &[vec![row(4, 2, 1), row(5, 2, 1)]]);
    let column = (Dtype::I16, &[2][..]);
    add_tensor(b.path(), "votes", column, &[1, 0, 2, 0], Kind::Cutouts);
    add_texts(b.path(), "prompt", &["a cat", "zwei Kätzchen"]);
    let report = merge_all(&[&a, &b], &output).unwrap();
    assert_eq!((report.rewritten, report.rows), (1, 3));
    let merged = CutoutBank::open(output.path()).unwrap();
    assert_eq!(merged.category_ids().collect::<Vec<_>>(), [1, 1, 1]);
    let further = merged.shards()[1].further_columns().unwrap();
    assert_eq!(further.cells(0).unwrap(), [&b"a cat"[..], &[1, 0]]);
    assert_eq!(
        further.cells(1).unwrap(),
        ["zwei Kätzchen".as_bytes(), &[2, 0]]
    );
}

#[test]
fn keys_and_statistics_are_pooled() {
    let [a, b, output] = folders();
    let sizes: [&[f64]; 2] = [&[0.1, 0.2, 0.6], &[0.3, 0.9]];
    for (folder, (id, sizes)) in [&a, &b].into_iter().zip([1, 4].into_iter().zip(sizes)) {
        let mut manifest = bank(folder, &[(id, "cat")], &[]);
        manifest.statistics = vec![statistics(id, sizes)];
        let other = &mut manifest.categories[0].other;
        other.insert("supercategory".into(), json!(format!("of {id}")));
        other.insert(format!("only {id}"), json!(true));
        manifest.other.insert("licence".into(), json!("CC0"));
        manifest.other.insert("info".into(), json!(id));
        manifest.other.insert("packed".into(), json!({}));
        manifest.write(folder.path()).unwrap();
    }
    let report = merge_all(&[&a, &b], &output).unwrap();
    assert_eq!(report.dropped_keys, ["info", "packed"]);
    let merged = Manifest::read(output.path(), Kind::Cutouts).unwrap();
    assert_eq!(
        merged.other.into_iter().collect::<Vec<_>>(),
        [("licence".into(), json!("CC0"))]
    );
    let kept = json!({"supercategory": "of 1", "only 1": true, "only 4": true});
    assert_eq!(Value::Object(merged.categories[0].other.clone()), kept);
    let [found] = merged.statistics[..] else {
        panic!("{:?}", merged.statistics)
    };
    let expected = statistics(1, &sizes.concat());
    assert_eq!((found.category_id, found.instances), (1, 5));
    assert!((found.size_mean - expected.size_mean).abs() < 1e-15);
    assert!((found.size_std - expected.size_std).abs() < 1e-15);
}

fn statistics(category_id: i64, sizes: &[f64]) -> SizeStatistics {
    let mean = sizes.iter().sum::<f64>() / sizes.len() as f64;
    let squares = sizes.iter().map(|size| (size - mean).powi(2));
    SizeStatistics {
        category_id,
        instances: sizes.len() as u64,
        size_mean: mean,
        size_std: (squares.sum::<f64>() / sizes.len() as f64).sqrt(),
    }
}

#[test]
fn a_stopped_merge_leaves_an_empty_folder_and_a_whole_one_counts_all_bytes() {
    let [a, b, output] = folders();
    let first = bank(
        &a,
        &[(1, "cat")],
        &[vec![row(40, 1, 1)], vec![row(40, 1, 1)]],
    );
    let second = bank(&b, &[(2, "cat")], &[vec![row(50, 2, 1), row(60, 2, 1)]]);
    let sources = [&a, &b].map(|folder| folder.path().to_owned());
    let most = Cell::new(0);
    let stop = |bytes| bytes <= first.bytes();
    let error = merge(&sources, output.path(), &stop).unwrap_err();
    assert!(
        matches!(error, MergeError::Bank(BankError::Stopped)),
        "{error}"
    );
    assert_eq!(files(&output), 0);
    let report = merge(&sources, output.path(), &|bytes| {
        assert!(bytes >= most.replace(bytes));
        true
    });
    assert_eq!(report.unwrap().rewritten, 1);
    assert_eq!(most.get(), first.bytes() + second.bytes());
}
