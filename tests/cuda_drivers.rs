//! The drivers that stand for a GPU in tests: that they find what they are there to find.
#![cfg(feature = "cuda")]

mod common;

use std::ptr::NonNull;

use common::delayed_driver::{Call, DelayedDriver, Pace};
use common::host_driver::{HostDriver, LAUNCH_FAILED, Order, Settings, kernels};
use pastebank::cuda::driver::{Driver, DriverError, Kernel, RawEvent, RawStream};
use pastebank::cuda::layout::ExpandParameters;

const BYTES: usize = 64;
const SEEDS: u64 = 60;

/// Writes pinned memory; nothing else may use it meanwhile.
fn fill(memory: NonNull<u8>, value: u8) {
    // SAFETY: all pinned memory of these tests has that many bytes.
    unsafe { memory.write_bytes(value, BYTES) };
}

fn read(memory: NonNull<u8>) -> [u8; BYTES] {
    // SAFETY: as in `fill`, and it was written by a copy or by `fill`.
    unsafe { memory.cast().read() }
}

fn upload(driver: &dyn Driver, stream: RawStream, to: u64, from: NonNull<u8>) {
    // SAFETY: memory of this test; what the test does with it meanwhile is what it is about, and the
    // drivers touch nothing but live allocations.
    unsafe { driver.copy_to_device(stream, to, from, BYTES) }.unwrap();
}

fn download(driver: &dyn Driver, stream: RawStream, to: NonNull<u8>, from: u64) {
    // SAFETY: as in `upload`.
    unsafe { driver.copy_to_host(stream, to, from, BYTES) }.unwrap();
}

/// Two streams, two events and memory on both sides.
struct Parts<'a> {
    driver: &'a dyn Driver,
    streams: [RawStream; 2],
    events: [RawEvent; 2],
    device: u64,
    input: NonNull<u8>,
    output: NonNull<u8>,
}

impl Parts<'_> {
    fn new(driver: &dyn Driver) -> Parts<'_> {
        Parts {
            driver,
            streams: [(); 2].map(|()| driver.create_stream().unwrap()),
            events: [(); 2].map(|()| driver.create_event(false).unwrap()),
            device: driver.allocate_device(BYTES).unwrap(),
            input: driver.allocate_pinned(BYTES, true).unwrap(),
            output: driver.allocate_pinned(BYTES, false).unwrap(),
        }
    }

    fn give_back(self) {
        self.driver.free_device(self.device);
        self.driver.free_pinned(self.input);
        self.driver.free_pinned(self.output);
        for stream in self.streams {
            self.driver.destroy_stream(stream);
        }
        for event in self.events {
            self.driver.destroy_event(event);
        }
    }
}

/// Sends three values to the device on one stream and back on the other; the flags leave out what
/// makes that right.
fn three_round_trips(driver: &dyn Driver, [wait, hold_up, synchronize]: [bool; 3]) -> Vec<u8> {
    let parts = Parts::new(driver);
    let [there, back] = parts.streams;
    let [sent, returned] = parts.events;
    let mut came = Vec::new();
    for value in 1..=3 {
        fill(parts.input, value);
        if hold_up {
            driver.wait(there, returned).unwrap();
        }
        upload(driver, there, parts.device, parts.input);
        driver.record(sent, there).unwrap();
        if wait {
            driver.wait(back, sent).unwrap();
        }
        download(driver, back, parts.output, parts.device);
        driver.record(returned, back).unwrap();
        if synchronize {
            driver.synchronize(returned).unwrap();
        }
        came.push(read(parts.output)[BYTES - 1]);
    }
    driver.synchronize(sent).unwrap();
    driver.synchronize(returned).unwrap();
    parts.give_back();
    came
}

#[test]
fn what_is_ordered_by_events_is_right_at_any_pace() {
    for seed in 0..SEEDS {
        let driver = DelayedDriver::new(Settings::default(), seed);
        assert_eq!(three_round_trips(&driver, [true; 3]), [1, 2, 3], "{seed}");
        driver.assert_nothing_left();
    }
    let host = HostDriver::new(Settings::default());
    assert_eq!(three_round_trips(&host, [true; 3]), [1, 2, 3]);
    host.assert_nothing_left();
}

#[test]
fn what_is_not_shows() {
    for missing in [[false, true, true], [true, true, false]] {
        let wrong = (0..SEEDS).filter(|&seed| {
            let driver = DelayedDriver::new(Settings::default(), seed);
            three_round_trips(&driver, missing) != [1, 2, 3]
        });
        assert!(wrong.count() > SEEDS as usize / 5, "{missing:?}");
    }
}

/// The next value is written while the copy of the last one is still to come.
#[test]
fn pinned_memory_that_is_written_too_early_shows() {
    let arrives = |seed, early: bool| {
        let driver = DelayedDriver::new(Settings::default(), seed);
        let parts = Parts::new(&driver);
        let ([stream, _], [sent, returned]) = (parts.streams, parts.events);
        fill(parts.input, 1);
        upload(&driver, stream, parts.device, parts.input);
        driver.record(sent, stream).unwrap();
        if !early {
            while !driver.is_done(sent).unwrap() {}
        }
        fill(parts.input, 2);
        download(&driver, stream, parts.output, parts.device);
        driver.record(returned, stream).unwrap();
        driver.synchronize(returned).unwrap();
        let arrived = read(parts.output)[0];
        parts.give_back();
        arrived
    };
    let early: Vec<u8> = (0..SEEDS).map(|seed| arrives(seed, true)).collect();
    assert!(early.contains(&1) && early.contains(&2), "{early:?}");
    assert!((0..SEEDS).all(|seed| arrives(seed, false) == 1));
}

#[test]
fn a_wait_is_for_the_latest_record_before_it() {
    let driver = DelayedDriver::with_pace(Settings::default(), 0, Pace::Late);
    let parts = Parts::new(&driver);
    let [one, other] = parts.streams;
    let [event, done] = parts.events;
    // Never recorded: nothing to wait for, and done.
    driver.wait(other, event).unwrap();
    assert!(driver.is_done(event).unwrap());
    fill(parts.input, 7);
    upload(&driver, one, parts.device, parts.input);
    driver.record(event, one).unwrap();
    driver.wait(other, event).unwrap();
    // A later record does not move the wait.
    // SAFETY: the device's memory is there, and this stream's work comes after the copy's.
    unsafe { driver.clear(one, parts.device, BYTES) }.unwrap();
    driver.record(event, one).unwrap();
    download(&driver, other, parts.output, parts.device);
    driver.record(done, other).unwrap();
    assert_eq!(driver.ran(), 0);
    driver.synchronize(done).unwrap();
    assert_eq!(read(parts.output), [7; BYTES]);
    assert_eq!(driver.ran(), 2, "the clear is not needed yet");
    assert!(!driver.is_done(event).unwrap() || driver.ran() == 3);
    driver.synchronize(event).unwrap();
    parts.give_back();
    driver.assert_nothing_left();
}

#[test]
fn calls_are_kept_in_order() {
    let driver = DelayedDriver::new(Settings::default(), 1);
    let stream = driver.create_stream().unwrap();
    let event = driver.create_event(true).unwrap();
    driver.record(event, stream).unwrap();
    driver.wait(stream, event).unwrap();
    driver.synchronize(event).unwrap();
    assert_eq!(driver.elapsed_ms(event, event), Ok(0.0));
    driver.destroy_event(event);
    driver.destroy_stream(stream);
    let expected = [
        Call::CreateStream(stream),
        Call::CreateEvent(event),
        Call::Record { event, stream },
        Call::Wait { stream, event },
        Call::Synchronize(event),
        Call::DestroyEvent(event),
        Call::DestroyStream(stream),
    ];
    assert_eq!(driver.log(), expected);
}

#[test]
fn memory_ends_where_it_was_said_to() {
    let driver = HostDriver::new(Settings {
        device_bytes: 1000,
        ..Settings::default()
    });
    let first = driver.allocate_device(600).unwrap();
    let refused = driver.allocate_device(401).unwrap_err();
    assert_eq!(refused.code, DriverError::OUT_OF_MEMORY);
    assert_eq!(driver.memory().unwrap().free, 400);
    assert_eq!(first % 256, 0);
    driver.free_device(first);
    let second = driver.allocate_device(1000).unwrap();
    assert_eq!(driver.left(), [1, 0, 0, 0]);
    driver.free_device(second);
    driver.assert_nothing_left();
}

#[test]
fn any_call_can_be_made_to_fail() {
    let calls = |driver: &dyn Driver| {
        let stream = driver.create_stream()?;
        let event = driver.create_event(false)?;
        driver.record(event, stream)?;
        driver.synchronize(event)
    };
    for sticky in [false, true] {
        for call in 1..=4 {
            let driver = HostDriver::new(Settings::default());
            driver.fail_at(call, 700, sticky);
            assert_eq!(calls(&driver).unwrap_err().code, 700);
            assert_eq!(driver.calls(), call);
            assert_eq!(driver.memory().is_err(), sticky);
        }
    }
    let driver = HostDriver::new(Settings::default());
    driver.fail_at(5, 700, false);
    calls(&driver).unwrap();
}

#[test]
fn work_that_fails_breaks_the_device() {
    let driver = DelayedDriver::with_pace(Settings::default(), 0, Pace::Late);
    driver.fail_running(1, 700);
    let parts = Parts::new(&driver);
    fill(parts.input, 1);
    upload(&driver, parts.streams[0], parts.device, parts.input);
    driver.record(parts.events[0], parts.streams[0]).unwrap();
    assert_eq!(driver.synchronize(parts.events[0]).unwrap_err().code, 700);
    assert_eq!(driver.create_stream().unwrap_err().code, 700);
    assert_eq!(driver.allocate_device(1).unwrap_err().code, 700);
    parts.give_back();
    driver.assert_nothing_left();
}

#[test]
#[should_panic(expected = "is freed before this ran")]
fn freeing_what_is_still_to_be_copied_is_found() {
    let driver = DelayedDriver::with_pace(Settings::default(), 0, Pace::Late);
    let parts = Parts::new(&driver);
    fill(parts.input, 1);
    upload(&driver, parts.streams[0], parts.device, parts.input);
    parts.give_back();
}

#[test]
#[should_panic(expected = "in the freed allocation")]
fn work_on_freed_memory_is_found() {
    let driver = DelayedDriver::with_pace(Settings::default(), 0, Pace::Late);
    let parts = Parts::new(&driver);
    driver.free_device(parts.device);
    upload(&driver, parts.streams[0], parts.device, parts.input);
    driver.record(parts.events[0], parts.streams[0]).unwrap();
    driver.synchronize(parts.events[0]).unwrap();
}

#[test]
#[should_panic(expected = "was written at 5")]
fn writing_to_freed_memory_is_found() {
    let driver = DelayedDriver::new(Settings::default(), 0);
    let pinned = driver.allocate_pinned(BYTES, false).unwrap();
    driver.free_pinned(pinned);
    // SAFETY: freed, but kept by the driver, which is to find this.
    unsafe { pinned.add(5).write(0) };
}

#[test]
#[should_panic(expected = "twice")]
fn freeing_twice_is_found() {
    let driver = DelayedDriver::new(Settings::default(), 0);
    let device = driver.allocate_device(BYTES).unwrap();
    driver.free_device(device);
    driver.free_device(device);
}

#[test]
#[should_panic(expected = "past the end of 64 bytes")]
fn copying_past_an_end_is_found() {
    let driver = HostDriver::new(Settings::default());
    let parts = Parts::new(&driver);
    upload(&driver, parts.streams[0], parts.device + 1, parts.input);
}

/// Bits to bytes by the kernel `expand`, for each block size and order.
fn expand(driver: &dyn Driver, masks: &[u32; 6], width: u32) -> [u8; BYTES] {
    let parts = Parts::new(driver);
    let [stream, _] = parts.streams;
    fill(parts.input, 0);
    // SAFETY: the input has 64 bytes.
    unsafe { parts.input.cast::<[u32; 6]>().write(*masks) };
    upload(driver, stream, parts.device, parts.input);
    let bytes = driver.allocate_device(BYTES).unwrap();
    let parameters = ExpandParameters {
        masks: parts.device,
        bytes,
        canvas: [width, 3],
        words: 1,
        count: 2,
    };
    let parameters = bytemuck::bytes_of(&parameters);
    // SAFETY: 6·width bytes at most fit, and all of it is there until the event is done.
    unsafe {
        driver.clear(stream, bytes, BYTES).unwrap();
        let launched = driver.launch(stream, Kernel::Expand, 2, 128, parameters);
        launched.unwrap();
    }
    download(driver, stream, parts.output, bytes);
    driver.record(parts.events[0], stream).unwrap();
    driver.synchronize(parts.events[0]).unwrap();
    let expanded = read(parts.output);
    driver.free_device(bytes);
    parts.give_back();
    expanded
}

#[test]
fn kernels_run_on_both() {
    if !kernels("kernels_run_on_both") {
        return;
    }
    let masks = [
        0b1,
        0b10_1100_1010,
        0,
        0b11_1111_1111,
        0b10_0000_0001,
        0b101,
    ];
    let width = 10;
    let mut expected = [0; BYTES];
    for (row, word) in masks.iter().enumerate() {
        for x in 0..width {
            expected[row * width + x] = (word >> x & 1) as u8;
        }
    }
    for threads in [32, 64, 96, 256, 1024] {
        for order in [Order::Forward, Order::Reverse, Order::Shuffled(5)] {
            let settings = Settings {
                threads: Some(threads),
                order,
                ..Settings::default()
            };
            let host = HostDriver::new(settings);
            assert_eq!(expand(&host, &masks, width as u32), expected);
            let delayed = DelayedDriver::new(settings, u64::from(threads));
            assert_eq!(expand(&delayed, &masks, width as u32), expected);
        }
    }
}

#[test]
fn a_launch_with_wrong_parameters_is_an_error() {
    if !kernels("a_launch_with_wrong_parameters_is_an_error") {
        return;
    }
    let driver = HostDriver::new(Settings::default());
    let stream = driver.create_stream().unwrap();
    // SAFETY: refused before anything runs.
    let result = unsafe { driver.launch(stream, Kernel::Expand, 1, 32, &[0; 8]) };
    let error = result.unwrap_err();
    assert_eq!(error.code, LAUNCH_FAILED);
    assert!(error.name.contains("takes 32 bytes"), "{error}");
    driver.destroy_stream(stream);
}
