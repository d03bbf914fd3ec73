use std::time::Duration;

use super::*;
use crate::bench::synthetic_packs;
use crate::pack::Encoding;

const DRAWN: SyntheticOptions = SyntheticOptions {
    scenes: 3,
    scene_size: [60, 50],
    instances: 2,
    encoding: Encoding::Raw,
};

/// A workload of a few pixels, measured as briefly as can be.
fn options() -> BenchOptions {
    BenchOptions {
        canvas: [64, 48],
        batch: 2,
        layers: 3,
        layer_side: 20,
        threads: NonZero::new(1),
        effort: Effort {
            least_runs: 2,
            most_runs: 2,
            time: Duration::from_secs(60),
            loader_run: Duration::from_millis(1),
            copied_bytes: 1 << 18,
        },
        ..BenchOptions::default()
    }
}

fn on_ground<T>(work: impl FnOnce(&Ground<'_>) -> T) -> T {
    let folder = tempfile::tempdir().unwrap();
    let packs = synthetic_packs(folder.path(), &DRAWN, &|| true).unwrap();
    let options = options();
    let temporary = folder.path().join("temporary");
    std::fs::create_dir(&temporary).unwrap();
    let done = work(&Ground {
        packs: &packs,
        drawn: Some(DRAWN),
        on: &On::Cpu,
        options: &options,
        folder: &temporary,
        goes_on: &|| true,
    });
    let left = std::fs::read_dir(&temporary).unwrap().count();
    assert_eq!(left, 0, "something is left behind");
    done
}

fn sweep(axis: Varied, values: &[Value]) -> Sweep {
    on_ground(|ground| {
        let mut told = Vec::new();
        let sweep = ground.sweep(axis, values, &mut |point| told.push(point.clone()));
        let sweep = sweep.unwrap();
        assert_eq!(sweep.points, told);
        sweep
    })
}

fn numbers(values: &[usize]) -> Vec<Value> {
    values.iter().copied().map(Value::Number).collect()
}

#[test]
fn one_thing_is_varied_and_everything_is_measured_and_checked() {
    type Told = fn(&Report) -> usize;
    let varied: [(Varied, Vec<Value>, Told); 5] = [
        (Varied::Threads, numbers(&[1, 2]), |it| it.workload.threads),
        (Varied::Layers, numbers(&[0, 4]), |it| it.workload.layers),
        (Varied::Batch, numbers(&[1, 3]), |it| it.workload.batch),
        (Varied::Instances, numbers(&[1, 5]), |it| {
            it.workload.instances_per_scene as usize
        }),
        (
            Varied::Canvas,
            vec![Value::Canvas([32, 40]), Value::Canvas([64, 41])],
            |it| it.workload.canvas[0] as usize,
        ),
    ];
    let fixed = |report: &Report, axis| {
        let workload = &report.workload;
        [
            (Varied::Threads, workload.threads),
            (Varied::Layers, workload.layers),
            (Varied::Batch, workload.batch),
            (Varied::Instances, workload.instances_per_scene as usize),
            (Varied::Canvas, workload.canvas[0] as usize),
            (Varied::BankSize, workload.cutouts),
        ]
        .map(|(other, value)| if other == axis { 0 } else { value })
    };
    for (axis, values, of) in varied {
        let sweep = sweep(axis, &values);
        let found: Vec<_> = sweep.points.iter().map(|point| of(&point.report)).collect();
        let expected = values.iter().map(|value| match value {
            Value::Number(number) => *number,
            Value::Canvas([width, _]) => *width as usize,
        });
        assert_eq!(found, expected.collect::<Vec<_>>(), "{axis:?}");
        for point in &sweep.points {
            let report = &point.report;
            let first = fixed(&sweep.points[0].report, axis);
            assert_eq!(fixed(report, axis), first, "{axis:?}");
            assert!(report.composing.images_per_second.median > 0.0);
            assert!(report.loader.images_per_second > 0.0);
            assert!(report.checked.batches.len() >= 3, "{:?}", report.checked);
            assert!(point.bank.is_none());
        }
    }
}

#[test]
fn a_larger_bank_gives_the_same_work() {
    let sweep = sweep(Varied::BankSize, &numbers(&[3000, 6, 300]));
    let rows: Vec<_> = sweep
        .points
        .iter()
        .map(|point| point.report.workload.cutouts)
        .collect();
    // From the least to the greatest, however they were given.
    assert_eq!(rows, [6, 300, 3000]);
    let banks: Vec<_> = sweep
        .points
        .iter()
        .filter_map(|point| point.bank.as_ref())
        .collect();
    let [small, middle, large] = banks[..] else {
        panic!("{} banks", banks.len());
    };
    assert!(small.bytes < middle.bytes && middle.bytes < large.bytes);
    // As long as ten times as many cutouts, but for the headers.
    let times = (large.bytes - 8192) as f64 / (middle.bytes - 8192) as f64;
    assert!((9.9..10.1).contains(&times), "{times}");
    for bank in banks {
        assert!(bank.opening_seconds.median > 0.0 && bank.drawing_microseconds.median > 0.0);
    }
    // Masks stay and are written at every size: nothing is transparent.
    let floors: Vec<_> = sweep
        .points
        .iter()
        .map(|point| point.report.floor)
        .collect();
    for floor in &floors {
        assert_eq!(floor.image, floors[0].image);
        assert!(floor.masks > 0.5 * floors[0].masks, "{floors:?}");
        assert!(floor.texels > 0.5 * floors[0].texels, "{floors:?}");
    }
}

#[test]
fn a_sweep_is_told_as_table_csv_json_and_plot() {
    let sweep = sweep(Varied::BankSize, &numbers(&[6, 60]));
    let head = sweep.axis.head();
    let width = |text: &str| text.chars().count();
    for point in &sweep.points {
        assert_eq!(width(&point.row()), width(&head), "{head}\n{}", point.row());
    }
    let csv = String::from_utf8(csv_of(std::slice::from_ref(&sweep)).unwrap()).unwrap();
    let lines: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(lines.len(), 3);
    assert!(lines.iter().all(|line| line.len() == lines[0].len()));
    assert_eq!(lines[2][..2], ["bank-size", "60"]);
    let at = lines[0]
        .iter()
        .position(|name| *name == "loader_images_per_second")
        .unwrap();
    let loaded: f64 = lines[2][at].parse().unwrap();
    assert_eq!(loaded, sweep.points[1].report.loader.images_per_second);
    let json = serde_json::to_value(&sweep).unwrap();
    assert_eq!(
        (&json["axis"], &json["points"][1]["value"]),
        (&"bank-size".into(), &60.into())
    );
    assert_eq!(json["points"][1]["loader"]["images_per_second"], loaded);
    assert_eq!(serde_json::from_value::<Sweep>(json).unwrap(), sweep);
    let plot = sweep.plot(&sweep.points[0].report);
    assert_eq!(plot.series.len(), 2);
    assert!(plot.series.iter().all(|series| series.points.len() == 2));
    assert!(plot.x.is_logarithmic && plot.ceiling.is_some());
    let svg = plot.svg().unwrap();
    for text in [
        "Images a second by bank-size",
        "cutouts in the bank",
        "images a second",
    ] {
        assert!(svg.contains(text), "no {text}");
    }
}

#[test]
fn scenes_that_were_not_drawn_keep_their_instances() {
    let error = on_ground(|ground| {
        let ground = Ground {
            drawn: None,
            ..*ground
        };
        let values = numbers(&[3]);
        ground
            .sweep(Varied::Instances, &values, &mut |_| ())
            .unwrap_err()
    });
    assert!(
        error.to_string().contains("--synthetic was expected"),
        "{error}"
    );
}

#[test]
fn a_stop_is_heard() {
    let stopped = on_ground(|ground| {
        let asked = std::cell::Cell::new(0);
        let goes_on = || {
            asked.set(asked.get() + 1);
            asked.get() < 12
        };
        let ground = Ground {
            goes_on: &goes_on,
            ..*ground
        };
        ground.sweep(Varied::BankSize, &numbers(&[50, 60]), &mut |_| ())
    });
    assert!(matches!(stopped, Err(BenchError::Stopped)));
}

#[test]
fn values_are_parsed_or_refused() {
    assert_eq!(Varied::Threads.parse("3"), Ok(Value::Number(3)));
    assert_eq!(
        Varied::Canvas.parse("640x480"),
        Ok(Value::Canvas([640, 480]))
    );
    assert_eq!(Varied::Canvas.parse("512"), Ok(Value::Canvas([512, 512])));
    for (axis, wrong) in [
        (Varied::Threads, "0"),
        (Varied::Threads, "1025"),
        (Varied::Layers, "-1"),
        (Varied::BankSize, "1e6"),
        (Varied::BankSize, "10000001"),
        (Varied::Canvas, "0x4"),
        (Varied::Canvas, "8193"),
        (Varied::Canvas, "4x"),
        (Varied::Batch, "many"),
    ] {
        let problem = axis.parse(wrong).unwrap_err();
        assert!(problem.contains("expected"), "{problem}");
    }
    for axis in Varied::ALL {
        let values = axis.default_values(6);
        assert!(values.is_sorted() && values.len() > 2, "{values:?}");
        for value in values {
            assert_eq!(axis.parse(&value.to_string()), Ok(value));
        }
    }
    let threads = Varied::Threads.default_values(6);
    assert_eq!(threads, numbers(&[1, 2, 4, 6]));
    assert_eq!(Varied::Threads.default_values(1), numbers(&[1]));
}
