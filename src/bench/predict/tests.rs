use super::*;

const SHAPE: Shape = Shape {
    canvas: [1024.0, 1024.0],
    layers: 20.0,
    instances: 8.0,
    scene: [640.0, 480.0],
    cutout_bytes: 120_000.0,
};

fn job() -> Job {
    Job {
        gpus: 8.0,
        gpu_images_per_second: 180.0,
        shape: SHAPE,
        is_jpeg: false,
        jpeg_bytes: 186_000.0,
        scenes: 100_000.0,
        cutouts: 1_000_000.0,
        host: Host {
            memory: 2e12,
            disk: 6e9,
            reads: 500_000.0,
            link: 55e9,
            cores: 112.0,
        },
    }
}

fn measured() -> Measured {
    Measured {
        per_core: 200.0,
        host_seconds: 0.0005,
        copied_per_core: 20e9,
        shape: SHAPE,
        is_jpeg: false,
    }
}

fn find(limits: &[Limit], what: What, epoch: Epoch) -> Limit {
    let found = limits
        .iter()
        .find(|it| it.what == what && it.epoch == epoch);
    *found.unwrap()
}

fn near(found: f64, expected: f64) {
    assert!(
        (found / expected - 1.0).abs() < 1e-9,
        "{found}, not {expected}"
    );
}

#[test]
fn bytes_are_those_of_a_calculation_by_hand() {
    // 6 · 2^20 of pixels and 28 masks of 1024 rows of 128 bytes.
    assert_eq!(SHAPE.composed_bytes(), 6_291_456.0 + 28.0 * 131_072.0);
    // 921,600 of the scene and 20 times 90,000.
    assert_eq!(SHAPE.source_bytes(), 2_721_600.0);
    assert_eq!(job().read_bytes(false), 2_721_600.0);
    assert_eq!(job().read_bytes(true), 1_986_000.0);
    // Rows of masks are whole words of 32 pixels.
    let odd = Shape {
        canvas: [33.0, 10.0],
        layers: 0.0,
        instances: 1.0,
        ..SHAPE
    };
    assert_eq!(odd.composed_bytes(), 6.0 * 330.0 + 80.0);
}

#[test]
fn limits_are_those_of_a_calculation_by_hand() {
    let limits = job().limits(&measured());
    let disk = find(&limits, What::Disk, Epoch::First);
    near(disk.images_per_second(), 6e9 / 2_721_600.0);
    let reads = find(&limits, What::Reads, Epoch::First);
    near(reads.images_per_second(), 500_000.0 / 21.0);
    let link = find(&limits, What::Link(Route::Gpu), Epoch::Any);
    near(link.images_per_second(), 8.0 * 55e9 / 2_721_600.0);
    let link = find(&limits, What::Link(Route::Cpu), Epoch::Any);
    near(link.images_per_second(), 8.0 * 55e9 / 9_961_472.0);
    let cores = find(&limits, What::Cores(Route::Cpu), Epoch::Any);
    near(cores.images_per_second(), 112.0 * 200.0);
    let cores = find(&limits, What::Cores(Route::Gpu), Epoch::Any);
    // Half a millisecond, and 5,443,200 bytes that are read or written.
    near(cores.images_per_second(), 112.0 / 0.00077216);
}

#[test]
fn memory_that_holds_a_part_leaves_the_rest_to_the_disk() {
    let mut job = job();
    // 122.88 GB of scenes and 120 GB of cutouts.
    near(job.data_bytes(), 242.88e9);
    assert_eq!(job.missing_share(), 0.0);
    let later = find(&job.limits(&measured()), What::Disk, Epoch::Later);
    assert_eq!(later.images_per_second(), f64::INFINITY);
    job.host.memory = 182.16e9;
    near(job.missing_share(), 0.25);
    let later = find(&job.limits(&measured()), What::Disk, Epoch::Later);
    near(later.images_per_second(), 6e9 / (0.25 * 2_721_600.0));
    job.is_jpeg = true;
    // 18.6 GB of scenes: now it all fits.
    assert_eq!(job.missing_share(), 0.0);
}

#[test]
fn the_limit_that_comes_first_is_the_least_on_the_way() {
    let mut job = job();
    let first = |job: &Job, route, epoch| {
        let limits = job.limits(&measured());
        first_limit(&limits, route, epoch).unwrap().what
    };
    assert_eq!(first(&job, Route::Cpu, Epoch::First), What::Disk);
    assert_eq!(
        first(&job, Route::Cpu, Epoch::Later),
        What::Cores(Route::Cpu)
    );
    assert_eq!(
        first(&job, Route::Gpu, Epoch::Later),
        What::Cores(Route::Gpu)
    );
    job.host.link = 49e9;
    assert_eq!(
        first(&job, Route::Gpu, Epoch::Later),
        What::Link(Route::Gpu)
    );
    job.host.reads = 20_000.0;
    assert_eq!(first(&job, Route::Gpu, Epoch::First), What::Reads);
    job.host.link = 1e6;
    assert_eq!(
        first(&job, Route::Cpu, Epoch::Later),
        What::Link(Route::Cpu)
    );
}

#[test]
fn another_canvas_takes_as_much_longer_as_it_has_more_bytes() {
    let mut job = job();
    job.shape.layers = 0.0;
    let cores = find(
        &job.limits(&measured()),
        What::Cores(Route::Cpu),
        Epoch::Any,
    );
    // 9,961,472 + 2,721,600 bytes measured; 6,291,456 + 8 · 131,072 + 921,600 asked.
    near(cores.an_image * 200.0, 8_261_632.0 / 12_683_072.0);
}

#[test]
fn the_table_says_it_all() {
    let job = job();
    let table = Prediction {
        job: &job,
        measured: &measured(),
    };
    let table = table.to_string();
    for line in [
        "job       8 GPUs x 180 images/s = 1,440 images/s of 1024x1024 with 20 layers, raw scenes",
        "data      100,000 scenes and 1,000,000 cutouts of 120 KB: 243 GB; 2,000 GB of memory hold it all",
        "from disk, nothing in memory                2.72 MB        1.99 MB",
        "disk, first epoch                        2.72 MB       3.92 GB/s          6 GB/s    65 %       2,205",
        "disk, later epochs                       0.00 MB          0 GB/s          6 GB/s     0 %    no limit",
        "cores, composing on the CPU              5.00 ms      7.20 cores       112 cores     6 %      22,400",
        "composing on the CPU, first epoch: first limit the disk, at 2,205 images/s: enough, 1.53 times what is needed",
    ] {
        assert!(
            table.lines().any(|found| found == line),
            "no line {line:?} in\n{table}"
        );
    }
}

/// The page carries the very formulas of this module.
#[test]
fn the_page_has_the_same_formulas() {
    let formulas = include_str!("../predict.rs")
        .split("```")
        .nth(1)
        .unwrap()
        .replace("\n//! ", "\n");
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/scaling.md");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(
        page.contains(formulas.trim_end_matches("//! ").trim()),
        "{formulas}"
    );
}
