//! Pictures of plans: of a plan's file, or drawn by a running recipe. Each is composed here, and
//! once more without its layers, which tells what the scene held before anything was pasted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZero;

use image::RgbImage;

use crate::annotations::problems::{Problem, ProblemKind, Problems};
use crate::bank::{CutoutBank, ScenePack};
use crate::compose::{
    Backend, Batch, CpuBackend, Encoded, InstanceSource, Layout, MaskOutput, OutputSpec,
};
use crate::plan::{CheckedPlan, Plan, PlanError, SamplePlan};
use crate::view::gallery::{Origin, Picture, Reduction, Source};

/// A recipe that gives so many samples in a row without a chosen category is asked no more.
const MOST_PASSED: u32 = 1000;

/// One sample to be composed and shown.
#[derive(Clone, Debug, PartialEq)]
pub struct DrawnSample {
    /// What goes where.
    pub plan: SamplePlan,
    /// One a layer: its label is dropped. Layers without an entry have their labels.
    pub ignored: Vec<bool>,
}

/// Gives the sample of a number, or `None` past the end.
type Draw<'a> = Box<dyn FnMut(u64) -> Option<DrawnSample> + 'a>;

/// Composed samples, one after another.
pub struct SamplePictures<'a> {
    title: String,
    scenes: &'a ScenePack,
    bank: &'a CutoutBank,
    names: BTreeMap<i64, String>,
    /// Canvas, pad and keep of all samples.
    head: Plan,
    draw: Draw<'a>,
    total: Option<u64>,
    next: u64,
    wanted: BTreeSet<i64>,
    backend: CpuBackend,
    batch: Batch,
    ready: VecDeque<Picture>,
    problems: Problems,
}

/// A sample, its number and where it and its unpasted twin lie in the batch.
struct Queued {
    number: u64,
    drawn: DrawnSample,
    position: usize,
    twin: usize,
}

impl<'a> SamplePictures<'a> {
    /// The samples of a plan from number `first` on.
    ///
    /// # Errors
    /// [`PlanError`] if the plan does not fit the packs.
    pub fn of_plan(
        title: &str,
        mut plan: Plan,
        (scenes, bank): (&'a ScenePack, &'a CutoutBank),
        first: u64,
        threads: Option<NonZero<usize>>,
    ) -> Result<SamplePictures<'a>, PlanError> {
        CheckedPlan::new(&plan, scenes, bank)?;
        let samples = std::mem::take(&mut plan.samples);
        let total = samples.len() as u64;
        let draw = move |number: u64| {
            let plan = samples.get(usize::try_from(number).ok()?)?.clone();
            let ignored = Vec::new();
            Some(DrawnSample { plan, ignored })
        };
        let mut pictures = SamplePictures::drawn(title, plan, (scenes, bank), first, threads, draw);
        pictures.total = Some(total);
        Ok(pictures)
    }

    /// Samples from number `first` on as `draw` gives them; `head` has their canvas, pad and keep.
    pub fn drawn(
        title: &str,
        head: Plan,
        (scenes, bank): (&'a ScenePack, &'a CutoutBank),
        first: u64,
        threads: Option<NonZero<usize>>,
        draw: impl FnMut(u64) -> Option<DrawnSample> + 'a,
    ) -> SamplePictures<'a> {
        let names = [bank.manifest(), scenes.manifest()];
        let names = names.into_iter().flat_map(|manifest| &manifest.categories);
        SamplePictures {
            title: title.to_owned(),
            scenes,
            bank,
            names: names.map(|c| (c.id, c.name.clone())).collect(),
            head,
            draw: Box::new(draw),
            total: None,
            next: first,
            wanted: BTreeSet::new(),
            backend: CpuBackend::new(threads),
            batch: Batch::new(OutputSpec {
                layout: Layout::Hwc,
                masks: MaskOutput::Rle,
                ..OutputSpec::default()
            }),
            ready: VecDeque::new(),
            problems: Problems::default(),
        }
    }

    /// Draws and composes as many samples as there are threads.
    fn fill(&mut self, longest: u32) {
        let mut drawn = Vec::new();
        while drawn.len() < self.backend.threads() {
            let Some(sample) = (self.draw)(self.next) else {
                break;
            };
            drawn.push((self.next, sample));
            self.next = self.next.saturating_add(1);
        }
        self.compose(drawn, longest);
    }

    fn compose(&mut self, drawn: Vec<(u64, DrawnSample)>, longest: u32) {
        let mut plan = self.head.clone();
        let mut queue = Vec::with_capacity(drawn.len());
        for (number, drawn) in drawn {
            let position = plan.samples.len();
            plan.samples.push(drawn.plan.clone());
            if !drawn.plan.layers.is_empty() {
                let scene = drawn.plan.scene.clone();
                let layers = Vec::new();
                plan.samples.push(SamplePlan { scene, layers });
            }
            queue.push(Queued {
                number,
                drawn,
                position,
                twin: plan.samples.len() - 1,
            });
        }
        match self.execute(&plan) {
            Ok(()) => {
                let pictures = queue.iter().map(|queued| self.picture(queued, longest));
                let pictures: Vec<Picture> = pictures.collect();
                self.ready.extend(pictures);
            }
            Err(problem) => self.compose_one_by_one(queue, &problem, longest),
        }
    }

    fn execute(&mut self, plan: &Plan) -> Result<(), String> {
        let checked = CheckedPlan::new(plan, self.scenes, self.bank);
        let checked = checked.map_err(|error| error.to_string())?;
        let encoded = Encoded::new(&checked).map_err(|error| error.to_string())?;
        let composed = self.backend.compose(&encoded, &mut self.batch);
        composed.map_err(|error| error.to_string())
    }

    /// One sample that fails takes no other one with it.
    fn compose_one_by_one(&mut self, queue: Vec<Queued>, problem: &str, longest: u32) {
        if let [alone] = &queue[..] {
            let title = self.title_of(alone);
            let text = format!("sample {title}: {problem}");
            self.problems
                .add(Problem::new(ProblemKind::UndecodableImage, text));
            self.ready.push_back(Picture::missing(title, problem));
            return;
        }
        for queued in queue {
            self.compose(vec![(queued.number, queued.drawn)], longest);
        }
    }

    fn title_of(&self, queued: &Queued) -> String {
        let scene = usize::try_from(queued.drawn.plan.scene.index).ok();
        let scene = scene.and_then(|index| self.scenes.get(index));
        let name = scene.map_or(String::new(), |scene| match scene.file_name() {
            name if name.is_empty() => format!(" · image {}", scene.image),
            name => format!(" · {name}"),
        });
        format!("{}{name}", queued.number)
    }

    fn picture(&self, queued: &Queued, longest: u32) -> Picture {
        let title = self.title_of(queued);
        let canvas = self.batch.canvas();
        let (width, height) = (canvas.width(), canvas.height());
        let pixels = self.batch.pixels(queued.position).unwrap_or_default();
        let (Some(view), Some(twin), Some(image)) = (
            self.batch.sample(queued.position),
            self.batch.sample(queued.twin),
            RgbImage::from_raw(width, height, pixels.to_vec()),
        ) else {
            return Picture::missing(title, "it was not composed");
        };
        let reduction = Reduction::new([width, height], longest);
        let instance = |(index, mask)| {
            let origin = match view.sources[index] {
                InstanceSource::Annotation(_) => Origin::Scene,
                InstanceSource::Cutout(_) => Origin::Pasted,
            };
            let mut instance = reduction.instance(view.labels[index], origin, mask, index)?;
            instance.crowd = view.iscrowd[index] == 1;
            let layer = view.layers[index].map(usize::from);
            let ignored = layer.and_then(|layer| queued.drawn.ignored.get(layer));
            instance.ignored = ignored.copied().unwrap_or(false);
            Some(instance)
        };
        let masks = view.run_lengths.iter().enumerate();
        Picture {
            title,
            size: [width, height],
            image: reduction.image(image),
            instances: masks.filter_map(instance).collect(),
            before: Some(twin.labels.to_vec()),
            problem: None,
        }
    }
}

impl Source for SamplePictures<'_> {
    fn title(&self) -> String {
        self.title.clone()
    }

    fn names(&self) -> &BTreeMap<i64, String> {
        &self.names
    }

    fn total(&self) -> Option<u64> {
        self.total
    }

    fn choose(&mut self, categories: BTreeSet<i64>) {
        self.wanted = categories;
    }

    fn next(&mut self, longest: u32) -> Option<Picture> {
        let mut passed = 0;
        loop {
            if self.ready.is_empty() {
                self.fill(longest);
            }
            let mut picture = self.ready.pop_front()?;
            picture.keep_categories(&self.wanted);
            let is_wanted = self.wanted.is_empty() || !picture.instances.is_empty();
            if is_wanted || picture.problem.is_some() {
                return Some(picture);
            }
            passed += 1;
            // A plan ends by itself.
            if self.total.is_none() && passed == MOST_PASSED {
                let text = format!(
                    "{MOST_PASSED} samples in a row, up to number {}, have no instance of the \
                     chosen categories; no further ones were drawn",
                    self.next.saturating_sub(1 + self.ready.len() as u64)
                );
                let problem = Problem::new(ProblemKind::SearchGivenUp, text);
                self.problems.add(problem);
                return None;
            }
        }
    }

    fn problems(&self) -> &Problems {
        &self.problems
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bank::test_banks::{category, instance, row, write_bank, write_scenes};

    #[test]
    fn plans_are_searched_to_their_end_and_recipes_are_given_up_aloud() {
        let folder = tempfile::tempdir().unwrap();
        let [scenes, bank] = ["scenes", "bank"].map(|name| folder.path().join(name));
        let categories = [category(1, "cup"), category(2, "fork")];
        write_scenes(
            &scenes,
            &categories,
            &[32],
            &[instance(1, [2, 3, 20, 20], 0)],
        );
        write_bank(&bank, &categories, &[vec![row(24, 2, 6)]]);
        let scenes = ScenePack::open(&scenes).unwrap();
        let bank = CutoutBank::open(&bank).unwrap();
        let bare = json!({"scene": {"index": 0, "resized": [32, 32], "offset": [0, 0]},
            "layers": []});
        let mut pasted = bare.clone();
        pasted["layers"] = json!([{"cutout": 0, "resized": [24, 24], "offset": [4, 4]}]);
        let mut samples = vec![bare; MOST_PASSED as usize + 5];
        samples.push(pasted);
        let plan = json!({"canvas": [32, 32], "keep": {"min_area": 1}, "samples": samples});
        let plan: Plan = serde_json::from_value(plan).unwrap();
        let fork = BTreeSet::from([2]);
        let packs = (&scenes, &bank);
        let mut planned = SamplePictures::of_plan("", plan.clone(), packs, 0, None).unwrap();
        planned.choose(fork.clone());
        let found = planned.next(32).unwrap();
        assert!(found.title.starts_with("1005"), "{}", found.title);
        assert!(planned.next(32).is_none() && planned.problems().is_empty());
        // A recipe never ends, so a search does, and says where.
        let first = plan.samples[0].clone();
        let draw = move |_| {
            let plan = first.clone();
            let ignored = Vec::new();
            Some(DrawnSample { plan, ignored })
        };
        let head = Plan {
            samples: Vec::new(),
            ..plan
        };
        let mut drawn = SamplePictures::drawn("", head, packs, 0, None, draw);
        drawn.choose(fork);
        assert!(drawn.next(32).is_none());
        let text = drawn.problems().to_string();
        let part = "1000 samples in a row, up to number 999, have no instance";
        assert!(text.contains(part), "{text}");
    }
}
