//! A loader on a GPU and one on the CPU, held against each other.

use std::num::NonZero;
use std::sync::Arc;

use pastebank::bank::{CutoutBank, ScenePack};
use pastebank::compose::Batch;
use pastebank::cuda::memory::Gpu;
use pastebank::cuda::{Cuda, CudaBatch, CudaLoader, CudaOptions};
use pastebank::loader::{LoadedBatch, Loader, LoaderOptions};
use pastebank::sampler::{RecipeSettings, Sampler};

use super::equal::difference;
use super::host_driver::{HostDriver, Order, Settings};
use super::packs::{write_bank, write_scenes};
use super::{ChaCha8Rng, SeedableRng};

pub const SCENES: usize = 23;
pub const CANVAS: [u32; 2] = [61, 47];

/// Packs in a folder of their own, which goes with them.
pub struct Packs {
    _folder: tempfile::TempDir,
    pub scenes: Arc<ScenePack>,
    pub bank: Arc<CutoutBank>,
}

pub fn open(folder: tempfile::TempDir) -> Packs {
    let path = |name: &str| folder.path().join(name);
    Packs {
        scenes: Arc::new(ScenePack::open(&path("scenes")).unwrap()),
        bank: Arc::new(CutoutBank::open(&path("bank")).unwrap()),
        _folder: folder,
    }
}

/// Scenes of which some are JPEG files, and small cutouts.
pub fn packs(seed: u64) -> Packs {
    let folder = tempfile::tempdir().unwrap();
    let mut draw = ChaCha8Rng::seed_from_u64(seed);
    write_scenes(&folder.path().join("scenes"), &mut draw, SCENES, 1);
    write_bank(&folder.path().join("bank"), &mut draw, 40, 2);
    open(folder)
}

pub fn sampler(packs: &Packs) -> Sampler {
    let recipe = Arc::new(RecipeSettings::xpaste());
    let (scenes, bank) = (packs.scenes.clone(), packs.bank.clone());
    Sampler::new(scenes, bank, recipe, CANVAS, 7).unwrap()
}

pub fn options(batch_size: usize, threads: usize) -> LoaderOptions {
    LoaderOptions {
        batch_size,
        epochs: Some(2),
        threads: NonZero::new(threads),
        ..LoaderOptions::default()
    }
}

pub fn cache(bytes: u64) -> CudaOptions {
    CudaOptions {
        cache_bytes: Some(bytes),
        ..CudaOptions::default()
    }
}

/// No cache, one that evicts all the time, one for a part, one for all, and the whole bank.
pub fn caches() -> [CudaOptions; 5] {
    let resident = CudaOptions {
        resident: true,
        ..CudaOptions::default()
    };
    [
        cache(0),
        cache(6 << 10),
        cache(48 << 10),
        cache(4 << 20),
        resident,
    ]
}

/// Fails at the first difference between a batch on the device and one on the host.
pub fn expect_equal(found: &CudaBatch, expected: &Batch, what: &str) {
    let mut batch = Batch::new(*expected.spec());
    found.download(&mut batch).unwrap();
    assert_eq!(difference(&batch, expected), None, "{what}");
}

pub fn expect_step(found: &LoadedBatch<Cuda>, expected: &LoadedBatch, what: &str) {
    assert_eq!(found.step(), expected.step(), "{what}");
    assert_eq!(found.epoch(), expected.epoch(), "{what}");
    assert!(found.indices().eq(expected.indices()), "{what}");
    assert_eq!(found.padding(), expected.padding(), "{what}");
    let what = format!("{what}: step {}", expected.step());
    expect_equal(found, expected, &what);
    match (found.twins(), expected.twins()) {
        (Some(found), Some(expected)) => expect_equal(found, expected, &format!("{what}, twins")),
        (None, None) => {}
        _ => panic!("{what}: twins on one side only"),
    }
}

/// Holds all that is left of both loaders against each other; returns how many batches.
pub fn expect_all(mut found: CudaLoader, mut expected: Loader, what: &str) -> usize {
    let mut compared = 0;
    for expected in expected.by_ref() {
        let expected = expected.unwrap();
        expect_step(&found.next().unwrap().unwrap(), &expected, what);
        compared += 1;
    }
    assert!(found.next().is_none(), "{what}");
    assert_eq!(found.state(), expected.state(), "{what}");
    compared
}

/// A device on the host, of its own.
pub fn host(seed: u64) -> (Arc<HostDriver>, Gpu) {
    let settings = Settings {
        order: Order::Shuffled(seed),
        ..Settings::default()
    };
    let driver = Arc::new(HostDriver::new(settings));
    let gpu = Gpu::new(driver.clone());
    (driver, gpu)
}
