use super::*;
use crate::plan::Keep;
use crate::sampler::Ground;
use crate::sampler::recipe::{Categories, KeepRule, Use};
use crate::sampler::test_packs::packs;

const FULL: &str = r#"
name = "all of it"
use = "p:0.25"
probability = 0.9
pad = [0, 128, 255]
keep = {min_area = 4, min_visible_permille = 50}
[scene]
scale = [0.8, 1.25]
flip = 0
[scene.color]
brightness = 0.2
[bank]
count = [1, 5]
categories = {weights = {"17" = 2.0, "-3" = 1}}
repeat_threshold = 0.01
sizes = "packs"
unmeasured = [0.05, 0.3]
min_side = 8
max_side = 0.7
aspect_jitter = 0.1
flip = 1
angle = [-15, 15]
reject = "redraw"
reject_below = 3
blend = [{weight = 2, gaussian = {sigma = 1.5}}, {box = {radius = 2}}, {soft = true}, {weight = 0, hard = true}]
match = 0.5
placement = {overlap = {most = 0.3, attempts = 20}}
color = {hue = 0.1, probability = 0.5}
[bank.ignore]
probability = 0.1
categories = [4, 5]
not_exhaustive = true
[copy]
scale = [0.5, 1.5]
flip = 0.25
objects = [1, 3]
match = 1
blend = [{hard = true}]
color = {contrast = 0.1}
ignore = {probability = 1}
[synthetic]
probability = 0.125
[schedule]
without_last_epochs = 2
linear = true
steps = [{from = 0, probability = 0.5}, {from = 1000, probability = 1}]
"#;

#[test]
fn every_recipe_survives_its_toml_and_its_json() {
    let mut recipes: Vec<RecipeSettings> = [
        "simple-copy-paste",
        "xpaste",
        "xpaste-original",
        "both",
        "p:0.5",
    ]
    .iter()
    .map(|name| RecipeSettings::built_in(name).unwrap())
    .collect();
    recipes.push(RecipeSettings::from_toml(FULL, "full").unwrap());
    for mode in [
        Categories::ByInstance,
        Categories::Present,
        Categories::RepeatFactor,
    ] {
        let mut recipe = RecipeSettings::xpaste();
        recipe.bank.categories = mode;
        recipes.push(recipe);
    }
    for recipe in recipes {
        recipe.check_settings().unwrap();
        let text = recipe.to_toml().unwrap();
        assert_eq!(
            RecipeSettings::from_toml(&text, "again").unwrap(),
            recipe,
            "{text}"
        );
        let mut json = recipe.settings();
        assert!(json.get("name").is_none(), "a name changes no sample");
        json["name"] = recipe.name.clone().into();
        assert_eq!(
            serde_json::from_value::<RecipeSettings>(json).unwrap(),
            recipe
        );
    }
}

#[test]
fn what_a_file_says_is_what_is_set() {
    let recipe = RecipeSettings::from_toml(FULL, "full").unwrap();
    assert_eq!(recipe.layers, Use::Choice(0.25));
    let keep = Keep {
        min_area: 4,
        min_visible_permille: 50,
        max_box_shift: None,
    };
    assert_eq!(recipe.keep, KeepRule(keep));
    assert_eq!(
        (recipe.bank.blend[0].weight, recipe.bank.blend[1].weight),
        (2.0, 1.0)
    );
    assert_eq!(
        RecipeSettings::from_toml("", "").unwrap(),
        RecipeSettings::xpaste()
    );
}

/// A text, and what its error must name: the field, then what was found.
#[test]
fn hostile_files_are_refused_by_field() {
    let cases = [
        ("probability = \"often\"", "`probability`", "often"),
        ("probability = nan", "`probability`", "NaN"),
        ("probability = -0.1", "`probability`", "-0.1"),
        ("probability = 1.5", "`probability`", "1.5"),
        ("pad = [1, 2]", "`pad`", "length 2"),
        ("pad = [1, 2, 300]", "`pad", "300"),
        ("name = 3", "`name`", "3"),
        ("nmae = \"x\"", "`nmae`", "unknown field"),
        ("use = \"p:2\"", "`use`", "p:2"),
        ("use = \"p:nan\"", "`use`", "p:nan"),
        ("use = \"all\"", "`use`", "all"),
        ("use = 1", "`use`", "1"),
        ("keep = \"loose\"", "`keep`", "loose"),
        ("keep = {min_area = -1}", "`keep.min_area`", "-1"),
        ("keep = {area = 1}", "`keep", "area"),
        ("scene = 3", "`scene`", "3"),
        ("[scene]\nscale = [2.0, 0.1]", "`scene.scale`", "[2.0, 0.1]"),
        ("[scene]\nscale = [0, 1]", "`scene.scale`", "[0.0, 1.0]"),
        ("[scene]\nscale = [nan, 1]", "`scene.scale`", "NaN"),
        ("[scene]\nscale = [1, inf]", "`scene.scale`", "inf"),
        ("[scene]\nscale = 1", "`scene.scale`", "1"),
        ("[scene]\nflip = true", "`scene.flip`", "true"),
        ("[scene.color]\nhue = 3", "`scene.color.hue`", "3"),
        ("[scene.color]\nhew = 3", "`scene.color.hew`", "hew"),
        ("[bank]\ncount = [5, 1]", "`bank.count`", "[5, 1]"),
        ("[bank]\ncount = [0, -1]", "`bank.count", "-1"),
        ("[bank]\ncount = [0, 70000]", "`bank.count`", "70000"),
        ("[bank]\ncount = [0.5, 1]", "`bank.count", "0.5"),
        ("[bank]\ncategories = \"some\"", "`bank.categories", "some"),
        (
            "[bank]\ncategories = {weights = {a = 1}}",
            "`bank.categories",
            "\"a\"",
        ),
        (
            "[bank]\ncategories = {weights = {\"1\" = -1}}",
            "`bank.categories.weights.1`",
            "-1",
        ),
        (
            "[bank]\nrepeat_threshold = 0",
            "`bank.repeat_threshold`",
            "0",
        ),
        (
            "[bank]\nsizes = \"/no/such/table.json\"",
            "`bank.sizes`",
            "/no/such/table.json",
        ),
        (
            "[bank]\nunmeasured = [0.5, 0.2]",
            "`bank.unmeasured`",
            "[0.5, 0.2]",
        ),
        ("[bank]\nmin_side = 0", "`bank.min_side`", "0"),
        ("[bank]\nmin_side = inf", "`bank.min_side`", "inf"),
        ("[bank]\nmax_side = 0", "`bank.max_side`", "0"),
        ("[bank]\naspect_jitter = 1", "`bank.aspect_jitter`", "1"),
        ("[bank]\nangle = [10, -10]", "`bank.angle`", "[10.0, -10.0]"),
        ("[bank]\nangle = [nan, nan]", "`bank.angle`", "NaN"),
        ("[bank]\nreject = \"never\"", "`bank.reject`", "never"),
        ("[bank]\nreject_below = nan", "`bank.reject_below`", "NaN"),
        ("[bank]\nblend = []", "`bank.blend`", "sum to"),
        (
            "[bank]\nblend = [{weight = 0, hard = true}]",
            "`bank.blend`",
            "sum to 0",
        ),
        (
            "[bank]\nblend = [{weight = -1, hard = true}]",
            "`bank.blend[0].weight`",
            "-1",
        ),
        ("[bank]\nblend = [{weight = 1}]", "`bank.blend[0]`", "none"),
        (
            "[bank]\nblend = [{hard = true, soft = true}]",
            "`bank.blend[0]`",
            "more than one",
        ),
        (
            "[bank]\nblend = [{gaussian = {sigma = 99}}]",
            "`bank.blend[0].gaussian.sigma`",
            "99",
        ),
        (
            "[bank]\nblend = [{box = {radius = 0}}]",
            "`bank.blend[0].box.radius`",
            "0",
        ),
        (
            "[bank]\nblend = [{fuzzy = true}]",
            "`bank.blend[0]",
            "fuzzy",
        ),
        ("[bank]\nmatch = 2", "`bank.match`", "2"),
        ("[bank]\nplacement = \"left\"", "`bank.placement", "left"),
        (
            "[bank]\nplacement = {grid = {columns = 0, rows = 1}}",
            "`bank.placement.columns`",
            "0",
        ),
        (
            "[bank.ignore]\nprobability = 7",
            "`bank.ignore.probability`",
            "7",
        ),
        (
            "[bank.ignore]\ncategories = [0.5]",
            "`bank.ignore.categories[0]`",
            "0.5",
        ),
        ("[copy]\nobjects = [2, 1]", "`copy.objects`", "[2, 1]"),
        ("[copy]\nscale = [-1, 1]", "`copy.scale`", "-1"),
        ("[copy]\ncount = [2, 1]", "`copy.count`", "unknown field"),
        (
            "[synthetic]\nprobability = nan",
            "`synthetic.probability`",
            "NaN",
        ),
        (
            "[schedule]\nwithout_last_epochs = -1",
            "`schedule.without_last_epochs`",
            "-1",
        ),
        (
            "[schedule]\nsteps = [{from = 3}]",
            "`schedule.steps[0]`",
            "probability",
        ),
        (
            "[schedule]\nsteps = [{from = 3, probability = 1}, {from = 3, probability = 1}]",
            "`schedule.steps[1].from`",
            "3",
        ),
        ("[[[", "line 1", "file.toml"),
        ("probability = 1\nprobability = 1", "line 2", "duplicate"),
        (
            "keep = {min_visible_permille = 1001}",
            "`keep.min_visible_permille`",
            "found 1001, expected thousandths in 0..=1000",
        ),
        (
            "use = \"both\"\n[bank]\ncount = [0, 60000]\n[copy]\nobjects = [60000, 60000]",
            "`bank.count`",
            "60000",
        ),
    ];
    for (text, field, found) in cases {
        let error = RecipeSettings::from_toml(text, "file.toml").unwrap_err();
        let error = format!("{:#}", anyhow::Error::from(error));
        for part in [field, found, "file.toml"] {
            assert!(
                error.contains(part),
                "{text:?} gives {error:?} without {part:?}"
            );
        }
    }
}

#[test]
fn a_wrong_type_is_found_by_its_line() {
    let text = "name = \"x\"\n[bank]\n\ncount = \"many\"\n";
    let error = RecipeSettings::from_toml(text, "my.toml")
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("recipe my.toml, line 4, `bank.count`"),
        "{error}"
    );
    let error = RecipeSettings::from_file("/no/such.toml".as_ref()).unwrap_err();
    assert!(error.to_string().contains("/no/such.toml"), "{error}");
}

#[test]
fn only_names_of_recipes_are_recipes() {
    for name in ["bank", "copy", "p:", "p:1.1", "p:-1", "P:0.5", "XPaste", ""] {
        assert_eq!(RecipeSettings::built_in(name), None, "{name}");
    }
}

#[test]
fn a_recipe_is_explained_in_words_and_numbers() {
    let packs = packs(
        &vec![plain_scene(); 3],
        &[square(1), square(2)],
        &[(1, 0.2, 0.1)],
    );
    let explained = |settings: &RecipeSettings| {
        let sampler = sampler(&packs, settings, [500, 500]);
        let ground: &Ground = sampler.ground();
        settings.explain(ground)
    };
    let mut settings = RecipeSettings::xpaste();
    settings.bank.angle = [-15.0, 15.0];
    settings.schedule.without_last_epochs = 4;
    let text = explained(&settings);
    for part in [
        "3 scenes and 0 synthetic ones, 2 cutouts of 2 categories",
        "on average 10.00 of the bank",
        "1 of 2 categories, means from 100 to 100 px",
        "sides of 10 to 250 px",
        "-15 to 15 degrees",
        "Gaussian of 2 px (100 %)",
        "nothing in the last 4 epochs",
        "at least 301 visible px, or whose box moved by at most 10 px",
    ] {
        assert!(text.contains(part), "{part:?} in\n{text}");
    }
}
