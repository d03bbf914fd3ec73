use std::fs;
use std::path::PathBuf;

use candle_core::{IndexOp, Module};

use super::*;

const GOLDENS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/");

fn golden(name: &str) -> PathBuf {
    Path::new(GOLDENS).join(name)
}

fn told(result: Result<Weights, WeightsError>) -> String {
    match result {
        Ok(_) => panic!("an error was expected"),
        Err(error) => error.to_string(),
    }
}

fn damaged(bytes: &[u8]) -> Result<Weights, WeightsError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.pth");
    fs::write(&path, bytes).unwrap();
    let weights = Weights::open("model", &path)?;
    for name in weights.names() {
        weights.tensor(name, &Compute::cpu())?;
    }
    Ok(weights)
}

#[test]
fn archives_hold_what_torch_put_into_them() {
    let archive = Weights::open("model", &golden("weights_plain.pth")).unwrap();
    let reference = candle_core::safetensors::load(golden("weights.safetensors"), &Device::Cpu);
    let reference = reference.unwrap();
    let safetensors = Weights::open("model", &golden("weights.safetensors")).unwrap();
    assert_eq!(archive.names().count(), 13);
    for (name, tensor) in &reference {
        let expected: Vec<f32> = tensor
            .to_dtype(DType::F32)
            .and_then(|tensor| tensor.flatten_all()?.to_vec1())
            .unwrap();
        for weights in [&archive, &safetensors] {
            assert_eq!(weights.shape(name), Some(tensor.dims()), "{name}");
            let found = weights.tensor(name, &Compute::cpu()).unwrap();
            assert_eq!(found.dims(), tensor.dims(), "{name}");
            let found: Vec<f32> = found.flatten_all().unwrap().to_vec1().unwrap();
            assert_eq!(found, expected, "{name}");
        }
    }
}

#[test]
fn the_network_is_found_among_training_state() {
    let weights = Weights::open("model", &golden("weights_training.pth")).unwrap();
    weights
        .check([("weight", [2, 1, 3, 3].as_slice()), ("bias", &[2])])
        .unwrap();
    assert_eq!(weights.names().count(), 2);
    let convolution = weights.build(&Compute::cpu(), |vb| {
        candle_nn::conv2d(1, 2, 3, Default::default(), vb)
    });
    let image = Tensor::ones((1, 1, 3, 3), DType::F32, &Device::Cpu).unwrap();
    let result = convolution.unwrap().forward(&image).unwrap();
    let result: Vec<f32> = result.flatten_all().unwrap().to_vec1().unwrap();
    assert_eq!(result, [5.5, 6.5]);
}

#[test]
fn what_cannot_be_read_is_refused_with_advice() {
    let open = |name| told(Weights::open("model", &golden(name)));
    assert!(open("weights_old.pth").contains("before version 1.6"));
    assert!(open("weights_old.pth").contains("torch.save(torch.load"));
    assert!(open("weights_program.pt").contains("TorchScript"));
    assert!(open("weights_object.pth").contains("state_dict()"));
    let gap = open("weights_gap.pth");
    assert!(
        gap.contains("\"gap\"") && gap.contains("contiguous"),
        "{gap}"
    );
    assert!(told(damaged(b"")).contains("empty"));
    assert!(
        told(damaged(b"version https://git-lfs.github.com/spec/v1\n")).contains("git lfs pull")
    );
    assert!(told(damaged(b"<!DOCTYPE html>")).contains("web page"));
    assert!(told(damaged(b"GGUF\x03\0\0\0\0\0\0\0")).contains("47, 47, 55, 46"));
    let absent = told(Weights::open("model", Path::new("/nowhere.pth")));
    assert!(absent.starts_with("model: /nowhere.pth: "), "{absent}");
}

#[test]
fn headers_that_lie_are_told() {
    let safetensors = |header: &str, data: &[u8]| {
        let size = (header.len() as u64).to_le_bytes();
        damaged(&[&size, header.as_bytes(), data].concat())
    };
    let table = |shape: &str, offsets: &str| {
        format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    assert!(safetensors(&table("[2]", "[0,8]"), &[0; 8]).is_ok());
    let short = told(safetensors(&table("[2]", "[0,8]"), &[0; 7]));
    assert!(
        short.contains("\"a\" ends at byte") && short.contains("cut short"),
        "{short}"
    );
    for shape in ["[3]", "[1]"] {
        let other = told(safetensors(&table(shape, "[0,8]"), &[0; 8]));
        assert!(other.contains("header cannot be read"), "{other}");
    }
    let most = usize::MAX;
    for (shape, offsets) in [
        ("[3]".to_owned(), "[0,8]".to_owned()),
        ("[2]".to_owned(), "[8,0]".to_owned()),
        (format!("[{most},{most}]"), "[0,8]".to_owned()),
        ("[2]".to_owned(), format!("[{most},{most}]")),
        ("[-1]".to_owned(), "[0,8]".to_owned()),
    ] {
        let problem = told(safetensors(&table(&shape, &offsets), &[0; 8]));
        assert!(problem.contains("damaged.pth: "), "{problem}");
    }
    // A header of 2^56 bytes, and one that is only longer than the file.
    let absurd = told(damaged(b"\xff\xff\xff\xff\xff\xff\xff\x00{}"));
    assert!(absurd.contains("72057594037927935 bytes"), "{absurd}");
    let longer = told(damaged(b"\x40\x00\x00\x00\x00\x00\x00\x00{}"));
    assert!(longer.contains("the file has 10"), "{longer}");
    assert!(told(safetensors("{]", &[])).contains("header cannot be read"));
}

#[test]
fn damaged_files_are_errors() {
    for name in [
        "weights_plain.pth",
        "weights_training.pth",
        "weights.safetensors",
    ] {
        let whole = fs::read(golden(name)).unwrap();
        for end in (0..whole.len()).step_by(97) {
            assert!(damaged(&whole[..end]).is_err(), "{name} to {end}");
        }
        // A changed byte is an error or another number; it is never a panic.
        let mut state = 0x9e37_79b9_u32;
        for _ in 0..1500 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let mut changed = whole.clone();
            let place = state as usize % changed.len();
            changed[place] = (state >> 24) as u8;
            drop(damaged(&changed));
        }
    }
}

/// An archive whose pickle is given.
fn archive(pickle: &[u8]) -> Vec<u8> {
    use std::io::Write;
    use zip::write::SimpleFileOptions;
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    writer.start_file("archive/data.pkl", options).unwrap();
    writer.write_all(pickle).unwrap();
    writer.start_file("archive/data/0", options).unwrap();
    writer.write_all(&[0; 16]).unwrap();
    writer.finish().unwrap().into_inner()
}

/// The pickle of {"a": a tensor} with these bytes for first element, shape and strides.
fn described(first: &[u8], shape: &[u8], stride: &[u8]) -> Vec<u8> {
    let storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ";
    let mut pickle = b"\x80\x02}X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n(".to_vec();
    pickle.extend(storage);
    for part in [first, shape, stride, b"\x89N".as_slice(), b"tRs."] {
        pickle.extend(part);
    }
    pickle
}

#[test]
fn malicious_archives_do_nothing() {
    let system = b"\x80\x02cposix\nsystem\nX\x10\x00\x00\x00touch /tmp/ownedX\x85R.";
    assert!(damaged(&archive(system)).is_err());
    let inside = b"\x80\x02}X\x01\x00\x00\x00acposix\nsystem\nX\x04\x00\x00\x00true\x85Rs.";
    let keys = told(damaged(&archive(inside)));
    assert!(keys.contains("holds no tensors"), "{keys}");
    let unknown = told(damaged(&archive(b"\x80\x02iposix\nsystem\n.")));
    assert!(unknown.contains("byte 2: instruction 0x69"), "{unknown}");

    let weights = damaged(&archive(&described(
        b"K\x00",
        b"K\x02K\x02\x86",
        b"K\x02K\x01\x86",
    )));
    assert_eq!(weights.unwrap().shape("a"), Some([2, 2].as_slice()));
    let huge = b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f";
    let huge_pair = [huge.as_slice(), huge, b"\x86"].concat();
    for pickle in [
        // From element 2 on there are two.
        described(b"K\x02", b"K\x02K\x02\x86", b"K\x02K\x01\x86"),
        described(huge, b"K\x02K\x02\x86", b"K\x02K\x01\x86"),
        described(b"K\x00", &huge_pair, b"K\x02K\x01\x86"),
        described(b"K\x00", &huge_pair, &huge_pair),
        described(b"K\x00", b"J\xff\xff\xff\xff\x85", b"K\x01\x85"),
        described(b"K\x00", b"K\x04\x85", b"K\x00\x85"),
        described(b"K\x00", b"K\x04\x85", b")"),
        described(b"N", b"K\x04\x85", b"K\x01\x85"),
    ] {
        let problem = told(damaged(&archive(&pickle)));
        assert!(problem.contains("tensor \"a\""), "{problem}");
    }
}

#[test]
fn pickles_are_stored_as_they_are_and_of_a_size() {
    let tensor = described(b"K\x00", b"K\x02K\x02\x86", b"K\x02K\x01\x86");
    let whole = archive(&tensor);
    assert!(damaged(&whole).is_ok());
    // The compression's number is in the entry itself, and in the table at the end.
    let mut compressed = whole.clone();
    let is_listed = |bytes: &[u8]| bytes == b"PK\x01\x02";
    let listed = whole.windows(4).position(is_listed).unwrap();
    for place in [8, listed + 10] {
        assert_eq!(compressed[place], 0);
        compressed[place] = 8;
    }
    let problem = told(damaged(&compressed));
    assert!(problem.contains("data.pkl is compressed"), "{problem}");
    let problem = told(damaged(&archive(&vec![0; (16 << 20) + 1])));
    assert!(
        problem.contains("has more than 16777216 bytes"),
        "{problem}"
    );
}

#[test]
fn tensors_are_told_by_name_and_shape() {
    let build = |make: fn(VarBuilder) -> candle_core::Result<Tensor>| {
        let weights = Weights::open("model", &golden("weights.safetensors")).unwrap();
        weights
            .build(&Compute::cpu(), |vb| make(vb))
            .unwrap_err()
            .to_string()
    };
    let shape = build(|vb| vb.get((3, 4), "plain"));
    let expected = "tensor \"plain\": has shape [3, 4, 5], where [3, 4] was expected";
    assert!(
        shape.starts_with("model: ") && shape.ends_with(expected),
        "{shape}"
    );
    let missing = build(|vb| vb.pp("encoder").get(7, "plain"));
    assert!(missing.contains("tensor \"encoder.plain\""), "{missing}");
    assert!(
        missing.contains("13 tensors; one of shape [7] was expected"),
        "{missing}"
    );
    let other = build(|vb| vb.get((3, 4, 5), "plain")?.matmul(&vb.get(24, "shared")?));
    assert!(other.contains("matmul"), "{other}");

    let weights = Weights::open("model", &golden("weights.safetensors")).unwrap();
    let prefixed = weights.rename(|name| (name != "half").then(|| format!("module.{name}")));
    assert_eq!(prefixed.shape("module.half"), None);
    let missing = prefixed
        .check([("plain", [3, 4, 5].as_slice())])
        .unwrap_err()
        .to_string();
    assert!(
        missing.contains("\"module.plain\", under a prefix"),
        "{missing}"
    );
    let back = prefixed.rename(|name| name.strip_prefix("module.").map(str::to_owned));
    back.check([("plain", [3, 4, 5].as_slice())]).unwrap();
}

#[test]
fn precision_is_the_one_asked_for() {
    let weights = Weights::open("model", &golden("weights.safetensors")).unwrap();
    for name in ["plain", "double", "half", "bfloat"] {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let compute = Compute {
                device: Device::Cpu,
                dtype,
            };
            let tensor = weights
                .build(&compute, |vb| vb.get((3, 4, 5), name))
                .unwrap();
            assert_eq!(tensor.dtype(), dtype);
            let first = tensor.i((0, 0, 0)).unwrap().to_dtype(DType::F32).unwrap();
            let whole = weights
                .tensor(name, &Compute::cpu())
                .unwrap()
                .i((0, 0, 0))
                .unwrap();
            let (first, whole) = (first.to_scalar::<f32>(), whole.to_scalar::<f32>());
            let (first, whole) = (first.unwrap(), whole.unwrap());
            assert!(
                (first - whole).abs() <= whole.abs() / 128.0,
                "{name}: {first}, {whole}"
            );
        }
    }
}
