//! What a consumer on the device gets: arrays, masks as bytes, DLPack tensors, and memory that stays
//! as it is for as long as somebody holds it.
//!
//! On the driver that stands for a GPU, device memory is the host's, so the arrays can be read.

#![cfg(feature = "cuda")]

mod common;

use std::ffi::c_void;
use std::sync::Arc;

use common::host_driver::kernels;
use common::loaders::{CANVAS, cache, host, options, packs, sampler};
use pastebank::compose::{Batch, ImageData, InstanceSource, MaskOutput, OutputSpec};
use pastebank::cuda::dlpack::DLManagedTensorVersioned;
use pastebank::cuda::driver::RawStream;
use pastebank::cuda::interop::{DeviceArray, Element};
use pastebank::cuda::{Cuda, CudaLoader};
use pastebank::loader::{LoadedBatch, Loader, LoaderOptions};

/// The values of an array whose memory is the host's.
fn values<T: Copy>(array: &DeviceArray) -> Vec<T> {
    assert_eq!(array.element().bytes(), size_of::<T>());
    if array.is_empty() {
        return Vec::new();
    }
    let first: *const T = std::ptr::with_exposed_provenance(array.pointer() as usize);
    // SAFETY: the driver's device memory is this process's, the array lies in it, aligned as CUDA's
    // allocations are, and its owner keeps it.
    unsafe { std::slice::from_raw_parts(first, array.len()) }.to_vec()
}

/// The first batch of both loaders, on the device and on the host.
fn first_batches(spec: OutputSpec) -> (Arc<LoadedBatch<Cuda>>, LoadedBatch) {
    let packs = packs(5);
    let options = LoaderOptions {
        output: spec,
        ..options(5, 2)
    };
    let (_, gpu) = host(3);
    let mut found = CudaLoader::on_gpu(gpu, sampler(&packs), options, cache(1 << 20)).unwrap();
    let mut expected = Loader::new(sampler(&packs), options).unwrap();
    let found = Arc::new(found.next().unwrap().unwrap());
    (found, expected.next().unwrap().unwrap())
}

/// All samples' values of one field, one after another.
fn column<T: Clone>(batch: &Batch, of: impl Fn(usize) -> Vec<T>) -> Vec<T> {
    (0..batch.len()).flat_map(of).collect()
}

#[test]
fn arrays_are_the_batchs() {
    if !kernels("arrays on the device") {
        return;
    }
    let (batch, host) = first_batches(OutputSpec::default());
    let stream = RawStream::LEGACY;
    batch.wait_on(stream).unwrap();
    let view = |sample| host.sample(sample).unwrap();
    let n = host.instance_count() as i64;
    assert!(n > 5, "{n} instances");
    let [width, height] = CANVAS.map(i64::from);

    let image = batch.image(batch.clone());
    assert_eq!(image.shape(), [5, 3, height, width]);
    let ImageData::U8(pixels) = host.image() else {
        unreachable!("the default element type")
    };
    assert_eq!(values::<u8>(&image), pixels);

    let boxes = batch.boxes(batch.clone()).unwrap();
    assert_eq!(boxes.shape(), [n, 4]);
    let expected = column(&host, |sample| view(sample).boxes.as_flattened().to_vec());
    assert_eq!(values::<f32>(&boxes), expected);
    let labels = batch.labels(batch.clone()).unwrap();
    let expected = column(&host, |sample| view(sample).labels.to_vec());
    assert_eq!(values::<i64>(&labels), expected);
    let areas = batch.areas(batch.clone()).unwrap();
    let expected = column(&host, |sample| view(sample).areas.to_vec());
    assert_eq!(values::<u32>(&areas), expected);
    let areas = batch.full_areas(batch.clone()).unwrap();
    let expected = column(&host, |sample| view(sample).full_areas.to_vec());
    assert_eq!(values::<u32>(&areas), expected);
    let crowds = batch.iscrowd(batch.clone()).unwrap();
    let expected = column(&host, |sample| view(sample).iscrowd.to_vec());
    assert_eq!(values::<u8>(&crowds), expected);
    let ignored = batch.ignored(batch.clone()).unwrap();
    let expected = column(&host, |sample| view(sample).ignored.to_vec());
    assert_eq!(values::<u8>(&ignored), expected);
    let layers = batch.layers(batch.clone()).unwrap();
    let number = |layer: &Option<u16>| layer.map_or(-1, i32::from);
    let expected = column(&host, |s| view(s).layers.iter().map(number).collect());
    assert_eq!(values::<i32>(&layers), expected);
    let sources = batch.source_ids(batch.clone()).unwrap();
    let pasted = batch.is_pasted(batch.clone()).unwrap();
    let source = |source: &InstanceSource| match *source {
        InstanceSource::Annotation(id) => (id, 0),
        InstanceSource::Cutout(index) => (index as i64, 1),
    };
    let expected = column(&host, |s| view(s).sources.iter().map(source).collect());
    let found = values::<i64>(&sources)
        .into_iter()
        .zip(values::<u8>(&pasted));
    assert!(found.eq(expected));

    let first = batch.first_instances().unwrap();
    assert_eq!(first.len(), 6);
    for sample in 0..5 {
        let range = batch.instances_of(sample).unwrap().unwrap();
        assert_eq!(range.len(), view(sample).labels.len());
    }
    assert_eq!(batch.instances_of(5).unwrap(), None);
}

/// The kernel builds fractions of integers; the host divides in double precision and rounds.
#[test]
fn fractions_are_rounded_as_on_the_host() {
    if !kernels("fractions on the device") {
        return;
    }
    let (batch, host) = first_batches(OutputSpec::default());
    let found = batch.visible_fractions(batch.clone()).unwrap();
    let expected = column(&host, |sample| {
        let fractions = host.sample(sample).unwrap().visible_fractions;
        fractions.iter().map(|f| f.to_bits()).collect()
    });
    let found: Vec<u32> = values::<f32>(&found).iter().map(|f| f.to_bits()).collect();
    assert_eq!(found, expected);
    // A kernel that only knew 1 would prove nothing.
    assert!(expected.iter().any(|&bits| bits != 1f32.to_bits()));
}

#[test]
fn masks_are_bits_or_bytes() {
    if !kernels("masks on the device") {
        return;
    }
    let (batch, host) = first_batches(OutputSpec::default());
    let [width, height] = CANVAS.map(i64::from);
    let n = host.instance_count() as i64;
    let bits = batch.mask_bits(batch.clone()).unwrap().unwrap();
    assert_eq!(bits.shape(), [n, height, 2]);
    let expected = column(&host, |s| host.sample(s).unwrap().mask_bits.to_vec());
    assert_eq!(values::<u32>(&bits), expected);
    let mut expected = Vec::new();
    (0..host.len()).for_each(|sample| host.masks_u8(sample, &mut expected));
    // Asked for twice, on two streams: made once.
    let streams = [RawStream::LEGACY, RawStream::PER_THREAD];
    for (stream, element) in streams.into_iter().zip([Element::Bool, Element::U8]) {
        let masks = batch.masks(stream, element, batch.clone());
        let masks = masks.unwrap().unwrap();
        assert_eq!(masks.shape(), [n, height, width]);
        assert_eq!(masks.element(), element);
        assert_eq!(values::<u8>(&masks), expected);
    }
    let none = OutputSpec {
        masks: MaskOutput::None,
        ..OutputSpec::default()
    };
    let (batch, _) = first_batches(none);
    assert!(batch.mask_bits(batch.clone()).unwrap().is_none());
    let masks = batch.masks(RawStream::LEGACY, Element::U8, batch.clone());
    assert!(masks.unwrap().is_none());
}

/// What a consumer of DLPack does: it reads the struct, works on its own stream, and calls the
/// deleter, from whichever thread.
#[test]
fn a_dlpack_tensor_keeps_its_batch() {
    if !kernels("DLPack tensors") {
        return;
    }
    let (batch, host) = first_batches(OutputSpec::default());
    // SAFETY: 0 is no stream, and the others are CUDA's own.
    let hand_over = |stream| unsafe { batch.hand_over(stream) };
    assert!(hand_over(Some(0)).is_err());
    hand_over(None).unwrap();
    hand_over(Some(2)).unwrap();
    let image = batch.image(batch.clone()).to_dlpack_versioned(0).into_raw();
    let held = Arc::downgrade(&batch);
    drop(batch);
    assert!(held.upgrade().is_some(), "the tensor holds it");
    // SAFETY: the struct was handed over just now and its deleter was not called.
    let tensor = unsafe { &image.as_ref().dl_tensor };
    assert_eq!(tensor.ndim, 4);
    // SAFETY: there are as many sides as dimensions.
    let shape = unsafe { std::slice::from_raw_parts(tensor.shape, 4) };
    let length = shape.iter().product::<i64>() as usize;
    let data: *const c_void = tensor.data;
    // SAFETY: the driver's device memory is this process's, and the tensor lies in it.
    let pixels = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), length) };
    assert_eq!(pixels, host.image_bytes());
    let address = image.as_ptr() as usize;
    let deleting = std::thread::spawn(move || {
        let image: *mut DLManagedTensorVersioned = std::ptr::with_exposed_provenance_mut(address);
        // SAFETY: nobody else has the struct, and its deleter is called once.
        unsafe { (*image).deleter.unwrap()(image) };
    });
    deleting.join().unwrap();
    assert!(held.upgrade().is_none(), "nothing holds it any more");
}
