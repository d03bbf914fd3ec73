//! Parity with diffusers: scripts/goldens/schedulers.py.

use candle_core::{DType, Device, Tensor};
use serde::Deserialize;

use super::*;
use crate::build::models::goldens::{Golden, folder, relative_error};

#[derive(Deserialize)]
struct Case {
    kind: String,
    steps: usize,
    config: Value,
}

fn cases() -> Vec<Case> {
    let text = std::fs::read_to_string(folder().join("schedulers.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn time_steps_and_samples_are_diffusers() {
    let golden = Golden::open("schedulers");
    let (outputs, noises) = (golden.get("outputs"), golden.get("noises"));
    let taken = |bank: &Tensor, index: usize| bank.get(index % bank.dim(0).unwrap()).unwrap();
    let cases = cases();
    assert!(cases.len() > 20);
    for (number, case) in cases.into_iter().enumerate() {
        let what = format!("{number}: {}, {} steps", case.kind, case.steps);
        let golden = |name: &str| golden.get(&format!("{number}.{name}"));
        let config = SchedulerConfig::from_json(&case.config.to_string()).unwrap();
        let mut scheduler = config
            .scheduler(case.kind.parse().unwrap(), case.steps)
            .unwrap();
        let expected = golden("timesteps").to_dtype(DType::F64).unwrap();
        let expected = expected.to_vec1::<f64>().unwrap();
        let close = |(ours, theirs): (&f64, &f64)| (ours - theirs).abs() < 1e-3;
        let timesteps = scheduler.timesteps().to_vec();
        assert_eq!(timesteps.len(), expected.len(), "{what}");
        assert!(
            timesteps.iter().zip(&expected).all(close),
            "{what}: {timesteps:?} {expected:?}"
        );
        let mut sample = (taken(&noises, 0) * scheduler.init_noise_sigma()).unwrap();
        let (inputs, samples) = (golden("inputs"), golden("samples"));
        for index in 0..case.steps {
            let input = scheduler.scale_model_input(&sample, index).unwrap();
            let output = taken(&outputs, index);
            let noise = taken(&noises, index);
            sample = scheduler
                .step(&output, index, &sample, Some(&noise))
                .unwrap();
            let input = relative_error(&input, &inputs.narrow(0, index, 1).unwrap());
            let next = relative_error(&sample, &samples.narrow(0, index + 1, 1).unwrap());
            assert!(
                input.max(next) <= 1e-4,
                "{what}: step {index}: {input} {next}"
            );
        }
    }
}

#[test]
fn steps_and_settings_that_cannot_be_are_refused() {
    let json = cases().remove(0).config;
    let config = SchedulerConfig::from_json(&json.to_string()).unwrap();
    let refused = |kind, steps| config.scheduler(kind, steps).err();
    for kind in [
        SchedulerKind::Ddim,
        SchedulerKind::UniPc,
        SchedulerKind::DpmSolver,
    ] {
        assert!(refused(kind, 0).is_some_and(|message| message.contains("0 steps")));
        assert!(refused(kind, 1001).is_some());
    }
    assert_eq!(refused(SchedulerKind::EulerAncestral, 1000), None);
    let with = |field: &str, value: Value| {
        let mut json = json.clone();
        json[field] = value;
        SchedulerConfig::from_json(&json.to_string()).unwrap_err()
    };
    assert!(
        "pndm"
            .parse::<SchedulerKind>()
            .unwrap_err()
            .contains("dpm-solver++")
    );
    assert!(with("prediction_type", json!("sample")).contains("prediction_type"));
    assert!(with("beta_schedule", json!("cosine")).contains("beta_schedule"));
    assert!(with("beta_end", json!(2)).contains("[0.00085, 2.0]"));
    assert!(with("rescale_betas_zero_snr", json!(true)).contains("rescale_betas_zero_snr is true"));
    assert!(with("num_train_timesteps", json!(1)).contains("2 to a million"));
    for wrong in ["heun", "bh1"] {
        let message = with("solver_type", json!(wrong));
        assert!(
            message.contains("solver_type") && message.contains(wrong),
            "{message}"
        );
    }
    for known in [
        json!("midpoint"),
        json!("bh2"),
        json!("logrho"),
        Value::Null,
    ] {
        let mut json = json.clone();
        json["solver_type"] = known;
        assert!(SchedulerConfig::from_json(&json.to_string()).is_ok());
    }
    assert_eq!(
        with("steps_offset", json!(1000)),
        "steps_offset is 1000; less than the 1000 of num_train_timesteps was expected"
    );
}

#[test]
fn every_number_of_steps_goes_through_and_stays_finite() {
    let json = cases().remove(0).config;
    let sample = Tensor::ones((1, 1, 2, 2), DType::F32, &Device::Cpu).unwrap();
    for spacing in ["leading", "linspace", "trailing"] {
        for karras in [false, true] {
            let mut json = json.clone();
            json["timestep_spacing"] = json!(spacing);
            json["use_karras_sigmas"] = json!(karras);
            json["num_train_timesteps"] = json!(9);
            let config = SchedulerConfig::from_json(&json.to_string()).unwrap();
            // Of nine time steps solvers take eight; the offset of 1 takes all of them past the last
            // where spacing begins from 0.
            let is_refused = |kind: SchedulerKind, steps: usize| {
                let is_solver = matches!(kind, SchedulerKind::UniPc | SchedulerKind::DpmSolver);
                let is_past = spacing == "leading" && !(is_solver && karras);
                steps + usize::from(is_solver) + usize::from(is_past) > 9
            };
            let kinds = [
                SchedulerKind::Ddim,
                SchedulerKind::EulerAncestral,
                SchedulerKind::UniPc,
                SchedulerKind::DpmSolver,
            ];
            for (kind, steps) in kinds
                .iter()
                .flat_map(|kind| (1..=9).map(move |n| (*kind, n)))
            {
                let what = format!("{kind:?}, {spacing}, karras {karras}, {steps} steps");
                let scheduler = config.scheduler(kind, steps);
                assert_eq!(scheduler.is_err(), is_refused(kind, steps), "{what}");
                let Ok(mut scheduler) = scheduler else {
                    continue;
                };
                let mut latents = sample.clone();
                for index in 0..steps {
                    latents = scheduler
                        .step(&sample, index, &latents, Some(&sample))
                        .unwrap();
                    let values = latents.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                    assert!(
                        values.iter().all(|value| value.is_finite()),
                        "{what}, step {index}: {values:?}"
                    );
                }
                assert_eq!(scheduler.timesteps().len(), steps);
                assert!(
                    scheduler
                        .step(&sample, steps, &latents, Some(&sample))
                        .is_err()
                );
            }
        }
    }
}
