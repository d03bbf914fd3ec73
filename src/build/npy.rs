//! Tables of numbers in NumPy's format.
//!
//! candle's own reader sets aside the memory that a file claims to need; this one looks at the
//! file's length first.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use candle_core::{DType, Device, Tensor};
use half::f16;
use regex::Regex;

/// What a table's header says, such as
/// `{'descr': '<f4', 'fortran_order': False, 'shape': (80, 512), }`.
static HEADER: LazyLock<Regex> = LazyLock::new(|| {
    let descr = r"'descr':\s*'(?<descr>[^']*)'";
    let order = r"'fortran_order':\s*(?<order>\w+)";
    let shape = r"'shape':\s*\((?<shape>[^)]*)\)";
    Regex::new(&format!(
        r"^\{{\s*{descr},\s*{order},\s*{shape},?\s*\}}\s*$"
    ))
    .expect("a pattern")
});

/// Bytes before the header in versions 1 and 2.
const BEFORE: [usize; 2] = [10, 12];

/// A table of 16-, 32- or 64-bit floats as [rows, columns] in 32 bits.
///
/// # Errors
/// What was found in the file, and what was expected.
pub fn read_table(file: &Path) -> Result<Tensor, String> {
    let bytes = fs::read(file).map_err(|source| source.to_string())?;
    let (header, data) = split(&bytes).ok_or("no NumPy file of version 1 or 2")?;
    let expected = "floats in little-endian order by rows were expected";
    let fields = HEADER.captures(header);
    let fields = fields.ok_or_else(|| format!("header {header:?}; {expected}"))?;
    if &fields["order"] != "False" {
        return Err(format!("an array by columns; {expected}"));
    }
    let sides: Option<Vec<usize>> = fields["shape"]
        .split(',')
        .map(str::trim)
        .filter(|side| !side.is_empty())
        .map(|side| side.parse().ok())
        .collect();
    let Some(&[rows, columns]) = sides.as_deref() else {
        let shape = &fields["shape"];
        return Err(format!("shape [{shape}]; [rows, columns] was expected"));
    };
    let values = match &fields["descr"] {
        "<f2" => values(data, |bytes| f16::from_le_bytes(bytes).to_f32()),
        "<f4" => values(data, f32::from_le_bytes),
        "<f8" => values(data, |bytes| f64::from_le_bytes(bytes) as f32),
        descr => return Err(format!("elements {descr:?}; {expected}")),
    };
    if rows.checked_mul(columns) != Some(values.len()) {
        let count = values.len();
        return Err(format!(
            "{count} numbers for a shape of [{rows}, {columns}]"
        ));
    }
    let table = Tensor::from_vec(values, (rows, columns), &Device::Cpu);
    let table = table.and_then(|table| table.to_dtype(DType::F32));
    table.map_err(|source| source.to_string())
}

/// The header and what comes after it.
fn split(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let rest = bytes.strip_prefix(b"\x93NUMPY")?;
    let (length, before) = match rest {
        [1, _, low, high, ..] => (u32::from(u16::from_le_bytes([*low, *high])), BEFORE[0]),
        [2, _, a, b, c, d, ..] => (u32::from_le_bytes([*a, *b, *c, *d]), BEFORE[1]),
        _ => return None,
    };
    let (header, data) = bytes.get(before..)?.split_at_checked(length as usize)?;
    Some((std::str::from_utf8(header).ok()?, data))
}

fn values<const SIZE: usize>(data: &[u8], read: impl Fn([u8; SIZE]) -> f32) -> Vec<f32> {
    // Bytes that are too few for a number are none.
    let (numbers, _) = data.as_chunks::<SIZE>();
    numbers.iter().map(|bytes| read(*bytes)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::PathBuf;

    use serde_json::Value;

    use super::*;

    fn written(bytes: &[u8]) -> Result<Tensor, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("table.npy");
        fs::write(&file, bytes).unwrap();
        read_table(&file)
    }

    fn npy(header: &str, data: &[u8]) -> Vec<u8> {
        let length = (header.len() as u16).to_le_bytes();
        [b"\x93NUMPY\x01\0", &length[..], header.as_bytes(), data].concat()
    }

    #[test]
    fn what_candle_writes_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("table.npy");
        let table = Tensor::new(&[[0.5f32, -2.0, 3.25], [4., 5., 6.]], &Device::Cpu).unwrap();
        for dtype in [DType::F16, DType::F32, DType::F64] {
            table.to_dtype(dtype).unwrap().write_npy(&file).unwrap();
            let read = read_table(&file).unwrap();
            assert_eq!(read.dtype(), DType::F32);
            assert_eq!(
                read.to_vec2::<f32>().unwrap(),
                table.to_vec2::<f32>().unwrap()
            );
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        let header = |descr: &str, order: &str, shape: &str| {
            format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}  \n")
        };
        let told = |bytes: &[u8]| written(bytes).unwrap_err();
        assert!(told(b"").contains("no NumPy file"));
        assert!(told(b"\x93NUMPY\x03\0\0\0\0\0").contains("version 1 or 2"));
        assert!(told(b"\x93NUMPY\x01\0\xff\xffshort").contains("no NumPy file"));
        assert!(told(&npy("none", &[])).contains("header \"none\""));
        let by_columns = npy(&header("<f4", "True", "(1, 1)"), &[0; 4]);
        assert!(told(&by_columns).contains("by columns"));
        let of_one_side = npy(&header("<f4", "False", "(3,)"), &[0; 12]);
        assert!(told(&of_one_side).contains("shape [3,]"));
        let of_integers = npy(&header("<i8", "False", "(1, 1)"), &[0; 8]);
        assert!(told(&of_integers).contains("\"<i8\""));
        let too_short = npy(&header("<f4", "False", "(2, 2)"), &[0; 15]);
        assert!(told(&too_short).contains("3 numbers for a shape of [2, 2]"));
        let side = usize::MAX;
        let too_large = npy(
            &header("<f4", "False", &format!("({side}, {side})")),
            &[0; 4],
        );
        assert!(told(&too_large).contains("1 numbers for a shape"));
        let one = header("<f4", "False", "(1, 1)");
        let version_2 = [
            b"\x93NUMPY\x02\0".as_slice(),
            &(one.len() as u32).to_le_bytes(),
            one.as_bytes(),
            &2.5f32.to_le_bytes(),
        ];
        let table = written(&version_2.concat()).unwrap();
        assert_eq!(table.to_vec2::<f32>().unwrap(), [[2.5]]);
    }

    /// Unit vectors by category name, in order of the categories' ids.
    fn named(file: &Path, mut categories: Vec<Value>) -> HashMap<String, Vec<f32>> {
        categories.sort_by_key(|category| category["id"].as_i64());
        let rows = read_table(file).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!((rows.len(), rows[0].len()), (categories.len(), 512));
        let unit = |row: Vec<f32>| {
            let norm = row.iter().map(|value| value * value).sum::<f32>().sqrt();
            row.iter().map(|value| value / norm).collect()
        };
        let name = |category: &Value| category["name"].as_str().unwrap().to_owned();
        categories
            .iter()
            .map(name)
            .zip(rows.into_iter().map(unit))
            .collect()
    }

    fn cosine(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    /// Real text embeddings of ViT-B/32: rows belong to the categories in order of their ids.
    #[test]
    fn published_text_embeddings_are_read_in_order_of_ids() {
        let Some(data) = std::env::var_os("PASTEBANK_TEST_DATA").map(PathBuf::from) else {
            eprintln!("skipped: PASTEBANK_TEST_DATA is not set");
            return;
        };
        let json = |file: &str| -> Value {
            serde_json::from_slice(&fs::read(data.join(file)).unwrap()).unwrap()
        };
        let coco = json("coco_cc/instances.json")["categories"]
            .as_array()
            .unwrap()
            .clone();
        let coco = named(&data.join("clip/coco_clip_a+cname.npy"), coco);
        let lvis = json("lvis/lvis_v1_train_cat_info.json")
            .as_array()
            .unwrap()
            .clone();
        let lvis = named(&data.join("clip/lvis_v1_clip_a+cname.npy"), lvis);
        let near = |a: &str, b: &str| cosine(&coco[a], &coco[b]);
        assert!(near("cat", "dog") > near("cat", "airplane"));
        assert!(near("bus", "truck") > near("bus", "banana"));
        assert!(near("fork", "knife") > near("fork", "zebra"));
        let shared: Vec<_> = coco
            .keys()
            .filter(|name| lvis.contains_key(*name))
            .collect();
        assert!(shared.len() >= 40, "{}", shared.len());
        for name in shared {
            let same = cosine(&coco[name], &lvis[name]);
            assert!(same > 0.999, "{name}: {same}");
        }
    }
}
