//! The loader on a GPU that does as little as CUDA promises: work runs as late as it may, or in any
//! order that streams and events leave open, and nothing that the batches hold may show it.

#![cfg(feature = "cuda")]

mod common;

use std::sync::Arc;

use common::delayed_driver::{Call, DelayedDriver, Pace};
use common::equal::difference;
use common::hazards::{expect_order, find_hazard};
use common::host_driver::{Order, Settings, kernels};
use common::loaders::{
    Packs, cache, caches, expect_all, expect_equal, expect_step, options, packs, sampler,
};
use common::{ChaCha8Rng, RngExt, SeedableRng};
use pastebank::compose::Batch;
use pastebank::cuda::driver::{Driver, Kernel, RawEvent, RawStream};
use pastebank::cuda::interop::Element;
use pastebank::cuda::layout::BatchParameters;
use pastebank::cuda::memory::{Event, Gpu, PinnedMemory};
use pastebank::cuda::{Cuda, CudaLoader, CudaOptions};
use pastebank::loader::{LoadedBatch, Loader, LoaderError, LoaderOptions};
use pastebank::sampler::Weights;

/// Another order for each seed; more of them by `PASTEBANK_ORDERS`.
fn seeds() -> u64 {
    let more = std::env::var("PASTEBANK_ORDERS").ok();
    more.and_then(|text| text.parse().ok()).unwrap_or(24)
}

fn delayed(seed: u64) -> (Arc<DelayedDriver>, Gpu) {
    let settings = Settings {
        order: Order::Shuffled(seed),
        ..Settings::default()
    };
    let driver = Arc::new(DelayedDriver::new(settings, seed));
    let gpu = Gpu::new(driver.clone());
    (driver, gpu)
}

fn with_pace(seed: u64, pace: Pace) -> (Arc<DelayedDriver>, Gpu) {
    let settings = Settings::default();
    let driver = Arc::new(DelayedDriver::with_pace(settings, seed, pace));
    let gpu = Gpu::new(driver.clone());
    (driver, gpu)
}

fn any_options(draw: &mut ChaCha8Rng) -> (LoaderOptions, CudaOptions) {
    let options = LoaderOptions {
        prefetch: draw.random_range(1..5),
        twins: draw.random_range(0..4) == 0,
        ..options(draw.random_range(1..5), draw.random_range(1..4))
    };
    let cuda = CudaOptions {
        arena_bytes: [None, Some(1), Some(30_000)][draw.random_range(0..3)],
        ..caches()[draw.random_range(0..5)]
    };
    (options, cuda)
}

#[test]
fn no_order_of_the_device_shows_in_a_batch() {
    if !kernels("orders of the device") {
        return;
    }
    let packs = packs(20);
    let mut compared = 0;
    for seed in 0..seeds() {
        let mut draw = ChaCha8Rng::seed_from_u64(seed);
        let (options, cuda) = any_options(&mut draw);
        let (driver, gpu) = delayed(seed);
        let found = CudaLoader::on_gpu(gpu, sampler(&packs), options, cuda).unwrap();
        let expected = Loader::new(sampler(&packs), options).unwrap();
        let what = format!("seed {seed}, {cuda:?}, {options:?}");
        compared += expect_all(found, expected, &what);
        driver.assert_nothing_left();
        expect_order(&driver.log());
    }
    println!("{compared} batches equal over {} orders", seeds());
}

/// A training loop's step, as far as the driver sees it: a copy of all images on a stream of its
/// own, which nobody waits for yet.
struct Step {
    /// Of the batch and of its twins.
    images: Vec<PinnedMemory>,
    done: Event,
    expected: LoadedBatch,
}

impl Step {
    fn new(
        driver: &DelayedDriver,
        gpu: &Gpu,
        stream: RawStream,
        batch: &LoadedBatch<Cuda>,
        expected: LoadedBatch,
    ) -> Step {
        let done = gpu.event(false).unwrap();
        batch.wait_on(stream).unwrap();
        let copy = |(images, address): (&Batch, u64)| {
            let bytes = images.image_bytes().len();
            let image = gpu.pinned_memory("a step", bytes, false).unwrap();
            // SAFETY: the batch's images are there, in device memory of this driver, until what is on
            // the stream when the batch is dropped is done; `image` is kept until `done` is.
            let copied = unsafe { driver.copy_to_host(stream, image.pointer(), address, bytes) };
            copied.unwrap();
            image
        };
        let batches = std::iter::once(&*expected).chain(expected.twins());
        let addresses = image_addresses(driver, batch.step(), expected.twins().is_some());
        let images = batches.zip(addresses).map(copy).collect();
        done.record(stream).unwrap();
        Step {
            images,
            done,
            expected,
        }
    }

    fn expect_right(&self) {
        self.done.synchronize().unwrap();
        let expected = std::iter::once(&*self.expected).chain(self.expected.twins());
        for (number, (image, expected)) in self.images.iter().zip(expected).enumerate() {
            let pointer = image.pointer().as_ptr();
            // SAFETY: the copy that wrote these bytes is done.
            let found = unsafe { std::slice::from_raw_parts(pointer, image.bytes()) };
            let step = self.expected.step();
            let what = ["samples", "twins"][number];
            assert!(
                found == expected.image_bytes(),
                "the {what} of step {step} were overwritten"
            );
        }
    }
}

/// Where the images of a step are, and those of its twins; no batch was launched twice.
fn image_addresses(driver: &DelayedDriver, step: u64, twins: bool) -> Vec<u64> {
    let log = driver.log();
    let launches = log.iter().filter_map(|call| match call {
        Call::Launch {
            kernel: Kernel::Compose,
            parameters,
            ..
        } => Some(bytemuck::pod_read_unaligned::<BatchParameters>(parameters)),
        _ => None,
    });
    let batches = 1 + usize::from(twins);
    let launches = launches.skip(step as usize * batches).take(batches);
    launches.map(|parameters| parameters.image).collect()
}

#[test]
fn a_slot_waits_for_the_streams_that_read_it() {
    if !kernels("consumers") {
        return;
    }
    let packs = packs(21);
    for seed in 0..seeds() {
        let mut draw = ChaCha8Rng::seed_from_u64(seed);
        let (driver, gpu) = delayed(seed);
        let options = LoaderOptions {
            prefetch: draw.random_range(1..4),
            twins: seed % 2 == 1,
            ..options(3, 2)
        };
        let cuda = cache(20 << 10);
        let mut found = CudaLoader::on_gpu(gpu.clone(), sampler(&packs), options, cuda).unwrap();
        let expected = Loader::new(sampler(&packs), options).unwrap();
        let streams = [gpu.stream().unwrap(), gpu.stream().unwrap()];
        let mut steps = Vec::new();
        let mut held = Vec::new();
        for expected in expected {
            let expected = expected.unwrap();
            let batch = found.next().unwrap().unwrap();
            let stream = streams[draw.random_range(0..2)].raw();
            steps.push(Step::new(&driver, &gpu, stream, &batch, expected));
            if draw.random_range(0..4) == 0 {
                let masks = batch.masks(stream, Element::Bool, Arc::new(()));
                assert!(masks.unwrap().is_some());
            }
            if draw.random_range(0..3) == 0 {
                held.push(batch);
            }
            held.truncate(draw.random_range(0..3));
            if draw.random_range(0..6) == 0 {
                steps.iter().for_each(Step::expect_right);
                steps.clear();
            }
        }
        // Some are read after the loader, and their memory with it, has gone.
        drop((found, held));
        steps.iter().for_each(Step::expect_right);
        drop((steps, streams));
        driver.assert_nothing_left();
        expect_order(&driver.log());
    }
}

/// The checker of orders sees what it is there for: each wait that is left out, unless others stand in
/// for it, and each kernel that is moved to a stream that nobody waits for.
#[test]
fn an_order_that_is_missing_is_found() {
    if !kernels("missing orders") {
        return;
    }
    let packs = packs(27);
    let (driver, gpu) = with_pace(3, Pace::Late);
    let options = LoaderOptions {
        epochs: Some(6),
        ..options(3, 1)
    };
    let loader = CudaLoader::on_gpu(gpu.clone(), sampler(&packs), options, cache(20 << 10));
    let streams = [gpu.stream().unwrap(), gpu.stream().unwrap()];
    for (number, batch) in loader.unwrap().enumerate() {
        let (batch, stream) = (batch.unwrap(), streams[number % 2].raw());
        batch.wait_on(stream).unwrap();
        batch.masks(stream, Element::U8, Arc::new(())).unwrap();
    }
    drop(streams);
    drop(gpu);
    let log = driver.log();
    expect_order(&log);
    let mut found = String::new();
    for (number, call) in log.iter().enumerate() {
        if matches!(call, Call::Wait { .. }) {
            let mut without = log.clone();
            without.remove(number);
            found += &find_hazard(&without).err().unwrap_or_default();
            found.push('\n');
        }
    }
    for (kernel, missed) in [
        ("`store`", "`copy to the device`"),
        ("`visible`", "`copy to the device`"),
        ("`expand`", "`masks`"),
    ] {
        let words = format!("{kernel} on stream ");
        let hazard = |line: &str| line.starts_with(&words) && line.contains(missed);
        assert!(found.lines().any(hazard), "{kernel}, {missed}: {found}");
    }
    for (kernel, reader) in [(Kernel::Store, "`cover`"), (Kernel::Mip, "`compose`")] {
        let is_there =
            |call: &Call| matches!(call, Call::Launch { kernel: it, .. } if *it == kernel);
        assert!(log.iter().any(is_there), "no {kernel:?}");
        let hazard = find_hazard(&moved(&log, kernel)).unwrap_err();
        let words = format!("{reader} on stream ");
        assert!(hazard.starts_with(&words), "{hazard}");
        assert!(hazard.contains(kernel.name()), "{hazard}");
    }
}

/// The calls with those of one kernel on a stream of their own, which waits for what came before and
/// for which nobody waits.
fn moved(log: &[Call], kernel: Kernel) -> Vec<Call> {
    // SAFETY: the stream is not used, only named in a log.
    let other = unsafe { RawStream::from_handle(u64::MAX) };
    let event = RawEvent(u64::MAX);
    let mut moved = Vec::new();
    for call in log {
        let mut call = call.clone();
        if let Call::Launch {
            stream, kernel: it, ..
        } = &mut call
            && *it == kernel
        {
            let from = std::mem::replace(stream, other);
            moved.push(Call::Record {
                event,
                stream: from,
            });
            moved.push(Call::Wait {
                stream: other,
                event,
            });
        }
        moved.push(call);
    }
    moved
}

#[test]
fn what_is_dropped_early_is_freed_when_the_device_is_done() {
    if !kernels("early drops") {
        return;
    }
    let packs = packs(22);
    for seed in 0..seeds() {
        let mut draw = ChaCha8Rng::seed_from_u64(seed);
        let (options, cuda) = any_options(&mut draw);
        let (driver, gpu) = delayed(seed);
        let mut found = CudaLoader::on_gpu(gpu, sampler(&packs), options, cuda).unwrap();
        let mut expected = Loader::new(sampler(&packs), options).unwrap();
        let mut held = Vec::new();
        for _ in 0..draw.random_range(0..7) {
            let batch = found.next().unwrap().unwrap();
            held.push((batch, expected.next().unwrap().unwrap()));
            if draw.random_range(0..3) == 0 {
                held.swap_remove(draw.random_range(0..held.len()));
            }
        }
        drop(found);
        for (found, expected) in &held {
            expect_step(found, expected, &format!("seed {seed}"));
        }
        drop(held);
        driver.assert_nothing_left();
        expect_order(&driver.log());
    }
}

#[test]
fn weights_change_while_the_device_works_ahead() {
    if !kernels("weights in the middle") {
        return;
    }
    let packs = packs(23);
    for seed in 0..seeds() {
        let mut draw = ChaCha8Rng::seed_from_u64(seed);
        let (options, cuda) = any_options(&mut draw);
        let (driver, gpu) = delayed(seed);
        let mut found = CudaLoader::on_gpu(gpu, sampler(&packs), options, cuda).unwrap();
        let mut expected = Loader::new(sampler(&packs), options).unwrap();
        for _ in 0..draw.random_range(1..6) {
            for _ in 0..draw.random_range(0..3) {
                let (found, expected) = (found.next().unwrap(), expected.next().unwrap());
                expect_step(&found.unwrap(), &expected.unwrap(), &format!("seed {seed}"));
            }
            let weights = Weights {
                categories: (1..4).map(|id| (id, draw.random())).collect(),
                ..Weights::default()
            };
            let from = found.set_weights(weights.clone()).unwrap();
            assert_eq!(from, expected.set_weights(weights).unwrap());
        }
        expect_all(found, expected, &format!("seed {seed}"));
        driver.assert_nothing_left();
        expect_order(&driver.log());
    }
}

/// In the steady state the host waits for nothing, allocates nothing on the device, and each batch
/// takes one copy and the same few launches.
#[test]
fn the_steady_state_neither_waits_nor_allocates() {
    if !kernels("the steady state") {
        return;
    }
    let packs = packs(24);
    let (driver, gpu) = with_pace(1, Pace::Mixed);
    let options = LoaderOptions {
        epochs: Some(12),
        ..options(4, 2)
    };
    let cuda = CudaOptions {
        arena_bytes: Some(1 << 20),
        ..cache(1 << 20)
    };
    let mut loader = CudaLoader::on_gpu(gpu.clone(), sampler(&packs), options, cuda).unwrap();
    let stream = gpu.stream().unwrap();
    let mut waits = Vec::new();
    for round in 0..5 {
        let start = driver.log().len();
        for _ in 0..12 {
            let batch = loader.next().unwrap().unwrap();
            batch.wait_on(stream.raw()).unwrap();
            // The training loop lets the device finish; the loader must not have to.
            batch.instance_count().unwrap();
        }
        let log = driver.log();
        let count =
            |wanted: fn(&Call) -> bool| log[start..].iter().filter(|&call| wanted(call)).count();
        let allocations = count(|call| {
            matches!(
                call,
                Call::AllocateDevice { .. }
                    | Call::AllocatePinned { .. }
                    | Call::CreateEvent(_)
                    | Call::CreateStream(_)
            )
        });
        let copies = count(|call| matches!(call, Call::CopyToDevice { .. }));
        waits.push((
            allocations,
            count(|call| matches!(call, Call::Synchronize(_))),
        ));
        if round > 1 {
            assert!((11..=13).contains(&copies), "{copies} copies of 12 batches");
        }
    }
    println!("allocations and host waits in 12 batches each: {waits:?}");
    // Lists grow to the longest that they hold, and then no more.
    assert!(
        waits[2..].iter().any(|&(allocations, _)| allocations == 0),
        "{waits:?}"
    );
    // One each for `begin`, which finds its event done, and for the training loop's own question.
    assert!(
        waits[2..].iter().all(|&(_, waits)| waits <= 26),
        "{waits:?}"
    );
    drop((loader, stream));
    driver.assert_nothing_left();
}

/// Kernels that fail tell it at some later call, and no call works any more.
#[test]
fn a_kernel_that_fails_ends_the_run_at_a_named_batch() {
    if !kernels("failing kernels") {
        return;
    }
    let packs = packs(25);
    let options = LoaderOptions {
        epochs: Some(1),
        ..options(4, 2)
    };
    let expected: Vec<LoadedBatch> = Loader::new(sampler(&packs), options)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let mut told = 0;
    for work in 1..200 {
        let (driver, gpu) = delayed(work);
        driver.fail_running(work, 700);
        let cuda = [cache(20 << 10), caches()[4]][work as usize % 2];
        let error = run(&gpu, &packs, options, cuda, &expected);
        drop(gpu);
        driver.assert_nothing_left();
        let Some(error) = error else {
            assert!(
                driver.ran() < work + 60,
                "work {work} failed and nobody was told"
            );
            continue;
        };
        told += 1;
        let text = error.to_string();
        assert!(
            matches!(
                error,
                LoaderError::Batch { .. } | LoaderError::Target { .. }
            ),
            "{text}"
        );
        assert!(text.contains("failed while it ran"), "{text}");
    }
    assert!(told > 30, "only {told} failures were told");
}

fn run(
    gpu: &Gpu,
    packs: &Packs,
    options: LoaderOptions,
    cuda: CudaOptions,
    expected: &[LoadedBatch],
) -> Option<LoaderError> {
    let mut loader = match CudaLoader::on_gpu(gpu.clone(), sampler(packs), options, cuda) {
        Ok(loader) => loader,
        Err(error) => return Some(error),
    };
    let mut held = None;
    for expected in expected {
        let batch = match loader.next().unwrap() {
            Ok(batch) => batch,
            Err(error) => {
                assert!(loader.next().is_none());
                return Some(error);
            }
        };
        let mut found = Batch::new(*expected.spec());
        if batch.download(&mut found).is_ok() {
            assert_eq!(difference(&found, expected), None);
        }
        held = Some(batch);
    }
    drop(held);
    None
}

#[test]
fn twins_and_samples_are_launched_side_by_side() {
    if !kernels("twins") {
        return;
    }
    let packs = packs(26);
    for seed in 0..seeds() / 4 {
        let (driver, gpu) = delayed(seed);
        let options = LoaderOptions {
            twins: true,
            ..options(3, 2)
        };
        let found = CudaLoader::on_gpu(gpu, sampler(&packs), options, cache(9 << 10)).unwrap();
        let expected = Loader::new(sampler(&packs), options).unwrap();
        for (found, expected) in found.zip(expected) {
            let (found, expected) = (found.unwrap(), expected.unwrap());
            // The twins first: they must not depend on who is asked for.
            expect_equal(found.twins().unwrap(), expected.twins().unwrap(), "twins");
            expect_equal(&found, &expected, "samples");
        }
        driver.assert_nothing_left();
    }
}
