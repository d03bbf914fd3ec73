//! The shim by kernels of its own: barriers, votes, shuffles, orders, and the errors that it finds.

use std::io::Write;

use pastebank_kernels_on_host::{Order, available, launch, most_threads, sanitized};

const ORDERS: [Order; 5] = [
    Order::Forward,
    Order::Reverse,
    Order::Shuffled(1),
    Order::Shuffled(2),
    Order::Shuffled(3),
];

/// Whether there are kernels to run; says aloud if not.
fn kernels(test: &str) -> bool {
    if !available() {
        // Written past the test runner's capture, which shows only what failed.
        let words = format!("SKIPPED {test}: no C++ compiler\n");
        let _ = std::io::stderr().write_all(words.as_bytes());
    }
    available()
}

fn run(
    kernel: &str,
    [blocks, threads]: [u32; 2],
    value: u32,
    out: &mut [u32],
    order: Order,
) -> Result<(), String> {
    let mut parameters = [0u8; 16];
    parameters[..8].copy_from_slice(&(out.as_mut_ptr() as u64).to_ne_bytes());
    parameters[8..12].copy_from_slice(&value.to_ne_bytes());
    // SAFETY: the kernels of this file's neighbour take an address and a number, and each test gives
    // as many words as its kernel writes.
    unsafe { launch(kernel, blocks, threads, &parameters, order) }
}

#[test]
fn barriers_hold_in_any_order_and_block_size() {
    if !kernels("barriers_hold_in_any_order_and_block_size") {
        return;
    }
    for order in ORDERS {
        for threads in [32, 64, 96, 256, 1024] {
            let mut sums = [0; 3];
            run("shim_test_reduce", [3, threads], 0, &mut sums, order).unwrap();
            let expected = |block| (block * threads..(block + 1) * threads).sum::<u32>();
            assert_eq!(sums, [0, 1, 2].map(expected), "{order:?}, {threads}");
        }
    }
}

#[test]
fn votes_and_shuffles_give_what_cuda_says() {
    if !kernels("votes_and_shuffles_give_what_cuda_says") {
        return;
    }
    for order in ORDERS {
        let mut out = [0; 64 * 16];
        run("shim_test_warp", [1, 64], 0, &mut out, order).unwrap();
        for thread in 0..64 {
            let found = &out[16 * thread as usize..][..16];
            assert_eq!(found, expected_of(thread), "thread {thread}, {order:?}");
        }
    }
}

/// What thread `t` of two warps finds, from CUDA's definitions.
fn expected_of(t: u32) -> [u32; 16] {
    let (lane, warp) = (t % 32, t / 32 * 32);
    let ballot = |lanes: &dyn Fn(u32) -> bool| {
        let bits = (0..32).filter(|&lane| lanes(lane));
        bits.fold(0, |ballot, lane| ballot | 1 << lane)
    };
    [
        ballot(&|lane| (warp + lane).is_multiple_of(3)),
        u32::from(warp == 32),
        u32::from(warp == 32),
        warp + 5,
        if lane < 3 { t } else { t - 3 },
        if lane > 28 { t } else { t + 3 },
        t ^ 9,
        if lane % 8 > 4 { t } else { t + 3 },
        warp + 7,
        if lane < 16 { 0xaaaa } else { 0x000f_0000 },
        warp + lane / 4 * 4 + (lane + 1) % 4,
        13,
        1,
        0,
        ballot(&|lane| (warp + lane) / 7 == t / 7),
        0,
    ]
}

#[test]
fn threads_that_left_do_not_count_at_a_barrier() {
    if !kernels("threads_that_left_do_not_count_at_a_barrier") {
        return;
    }
    for order in ORDERS {
        let mut counts = [0; 2];
        run("shim_test_early_exit", [2, 128], 0, &mut counts, order).unwrap();
        assert_eq!(counts, [64, 64], "{order:?}");
    }
}

#[test]
fn every_block_and_thread_comes_once_in_the_order_asked_for() {
    if !kernels("every_block_and_thread_comes_once_in_the_order_asked_for") {
        return;
    }
    let came = |order| {
        let mut out = vec![0; 1 + 5 * 64];
        run("shim_test_order", [5, 64], 0, &mut out, order).unwrap();
        out.split_off(1)
    };
    let forward: Vec<u32> = (0..5 * 64).collect();
    assert_eq!(came(Order::Forward), forward);
    let reverse: Vec<u32> = forward.iter().rev().copied().collect();
    assert_eq!(came(Order::Reverse), reverse);
    let [one, two] = [1, 2].map(|seed| came(Order::Shuffled(seed)));
    assert_ne!(one, two);
    assert_eq!(one, came(Order::Shuffled(1)));
    for mut shuffled in [one, two] {
        assert_ne!(shuffled, forward);
        shuffled.sort_unstable();
        assert_eq!(shuffled, forward);
    }
}

#[test]
fn shared_memory_is_garbage_at_first() {
    if !kernels("shared_memory_is_garbage_at_first") {
        return;
    }
    let mut out = [0; 64];
    run("shim_test_uninitialised", [2, 32], 0, &mut out, ORDERS[0]).unwrap();
    let mut distinct = out.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 64);
}

#[test]
fn a_missing_barrier_shows() {
    if !kernels("a_missing_barrier_shows") {
        return;
    }
    let expected: Vec<u32> = (0..256).map(|thread| (thread + 1) % 256).collect();
    for order in ORDERS {
        for (barrier, right) in [(1, true), (0, false)] {
            let mut out = [0; 256];
            run("shim_test_race", [1, 256], barrier, &mut out, order).unwrap();
            assert_eq!(out[..] == expected[..], right, "{order:?}");
        }
    }
}

#[test]
fn what_hangs_or_is_undefined_on_a_gpu_is_an_error() {
    if !kernels("what_hangs_or_is_undefined_on_a_gpu_is_an_error") {
        return;
    }
    let cases = [
        (0, 32, "mask leaves it out"),
        (1, 32, "thread 7 has left the kernel"),
        (2, 32, "thread 7 waits at __syncthreads"),
        (3, 32, "a lane outside its mask"),
        (4, 64, "different barriers"),
        (5, 32, "deadlock"),
        (6, 32, "deadlock"),
        (7, 32, "power of two"),
        (8, 32, "selector"),
    ];
    for order in ORDERS {
        for (case, threads, words) in cases {
            let mut out = [0; 64];
            let found = run("shim_test_errors", [2, threads], case, &mut out, order);
            let message = found.expect_err("an error");
            assert!(message.starts_with("kernel shim_test_errors, block "));
            assert!(message.contains(words), "{case}, {order:?}: {message}");
            // What was left behind does no harm.
            run("shim_test_errors", [2, threads], 99, &mut out, order).unwrap();
        }
    }
}

#[test]
fn intrinsics_give_what_cuda_says() {
    if !kernels("intrinsics_give_what_cuda_says") {
        return;
    }
    let x = 0x00f0_1230u32;
    let mut out = [0; 16];
    run("shim_test_intrinsics", [1, 32], x, &mut out, ORDERS[0]).unwrap();
    let expected = [
        x.count_ones(),
        x.leading_zeros(),
        (u64::from(x) << 5).leading_zeros(),
        x.trailing_zeros() + 1,
        x.reverse_bits(),
        (x << 12) | (0x89ab_cdef >> 20),
        (x >> 12) | (0x0123_4567 << 20),
        0x1177_2266,
        ((u64::from(x) * 0xdead_beef) >> 32) as u32,
        x.count_ones(),
        1,
        7,
        7 + 9 + 3,
        256 + 1,
        x + 1,
        16 * 16 + 16 + 8,
    ];
    assert_eq!(out, expected);
}

#[test]
fn a_launch_with_wrong_numbers_is_refused() {
    if !kernels("a_launch_with_wrong_numbers_is_refused") {
        return;
    }
    let mut out = [0; 64];
    for [blocks, threads] in [[0, 32], [1, 0], [1, 33], [1, 1056], [1 << 31, 32]] {
        run("shim_test_order", [blocks, threads], 0, &mut out, ORDERS[0]).unwrap_err();
    }
    assert_eq!(most_threads("shim_test_intrinsics"), Some(64));
    assert_eq!(most_threads("shim_test_order"), Some(1024));
    assert_eq!(most_threads("none"), None);
    run("shim_test_intrinsics", [1, 96], 0, &mut out, ORDERS[0]).unwrap_err();
    run("none", [1, 32], 0, &mut out, ORDERS[0]).unwrap_err();
    // SAFETY: refused before anything runs.
    unsafe { launch("shim_test_order", 1, 32, &[0; 8], ORDERS[0]) }.unwrap_err();
}

#[test]
fn launches_from_many_threads_do_not_mix() {
    if !kernels("launches_from_many_threads_do_not_mix") {
        return;
    }
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for round in 0..50 {
                    let mut sums = [0; 2];
                    let order = Order::Shuffled(thread * 100 + round);
                    run("shim_test_reduce", [2, 64], 0, &mut sums, order).unwrap();
                    assert_eq!(sums, [64 * 63 / 2, 64 * 63 / 2 + 64 * 64]);
                }
            });
        }
    });
}

/// Each case must end the process, so each runs in one of its own.
#[test]
fn sanitizers_see_kernels_and_shared_memory() {
    if !kernels("sanitizers_see_kernels_and_shared_memory") {
        return;
    }
    if let Ok(case) = std::env::var("SHIM_OVERRUN") {
        let mut out = vec![0; 32];
        let value = case.parse().unwrap();
        let mut parameters = [0u8; 16];
        parameters[..8].copy_from_slice(&(out.as_mut_ptr() as u64).to_ne_bytes());
        parameters[8..12].copy_from_slice(&u32::to_ne_bytes(value));
        parameters[12..].copy_from_slice(&u32::to_ne_bytes(1));
        // SAFETY: not at all; AddressSanitizer or UBSan ends the process.
        let result = unsafe { launch("shim_test_overrun", 1, 32, &parameters, Order::Forward) };
        panic!("went on: {result:?}");
    }
    if !sanitized() {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED sanitizers_see_kernels_and_shared_memory: PASTEBANK_SANITIZE is not 1"
        );
        return;
    }
    let cases = [
        ("1", "index 32 out of bounds"),
        ("2", "heap-buffer-overflow"),
        ("3", "signed integer overflow"),
    ];
    for (case, words) in cases {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sanitizers_see_kernels_and_shared_memory"])
            .arg("--nocapture")
            .env("SHIM_OVERRUN", case)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stderr);
        assert!(!child.status.success(), "case {case}");
        assert!(said.contains(words), "case {case}: {said}");
    }
}

/// Says what a switch costs; thousands of plans need it to be little.
#[test]
fn a_vote_costs_little() {
    if !kernels("a_vote_costs_little") {
        return;
    }
    let mut out = [0; 256];
    let votes = 2000;
    let start = std::time::Instant::now();
    run("shim_test_speed", [4, 256], votes, &mut out, ORDERS[0]).unwrap();
    let switches = 4.0 * 256.0 * f64::from(votes);
    let nanoseconds = start.elapsed().as_secs_f64() * 1e9 / switches;
    println!("{nanoseconds:.1} ns for each thread and vote");
    assert!(nanoseconds < 2000.0);
}
