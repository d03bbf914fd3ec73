use super::*;

fn spread(median: f64) -> Spread {
    Spread::of(vec![0.9 * median, median, 1.2 * median])
}

fn plot() -> Plot {
    let values = [1.0, 2.0, 4.0];
    let series = |name: &str, rate: f64| Series {
        name: name.to_owned(),
        points: values.map(|value| (value, spread(rate * value))).to_vec(),
    };
    Plot {
        title: "Images/s by threads".to_owned(),
        notes: vec![
            "canvas <64x64> & \"more\"".to_owned(),
            "a machine".to_owned(),
        ],
        x: Axis {
            label: "threads".to_owned(),
            ticks: values.map(|value| (value, number_of(value))).to_vec(),
            is_logarithmic: false,
        },
        y_label: "images/s".to_owned(),
        series: vec![series("composing", 210.0), series("loader", 190.0)],
        ceiling: Some(Ceiling {
            name: "memory".to_owned(),
            points: values.map(|value| (value, 1000.0)).to_vec(),
        }),
    }
}

/// Names and attributes of all elements and all texts; panics where the XML is not well formed.
fn elements(svg: &str) -> (Vec<String>, Vec<String>) {
    let (mut tags, mut texts, mut open) = (Vec::new(), Vec::new(), Vec::new());
    let mut rest = svg;
    while let Some(start) = rest.find('<') {
        let text = rest[..start].trim();
        assert!(!text.contains('>'), "{text}");
        for entity in text.split('&').skip(1) {
            let is_known = ["lt;", "gt;", "amp;", "quot;", "apos;"];
            assert!(
                is_known.iter().any(|known| entity.starts_with(known)),
                "{text}"
            );
        }
        if !text.is_empty() {
            texts.push(text.to_owned());
        }
        let end = start + rest[start..].find('>').expect("an open tag");
        let tag = &rest[start + 1..end];
        assert!(
            !tag.contains('<') && tag.matches('"').count().is_multiple_of(2),
            "{tag}"
        );
        let name = tag
            .trim_start_matches('/')
            .split([' ', '/'])
            .next()
            .unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name.to_owned()));
        } else {
            tags.push(tag.to_owned());
            if !tag.ends_with('/') {
                open.push(name.to_owned());
            }
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} {rest}");
    (tags, texts)
}

#[test]
fn a_plot_is_well_formed_with_all_its_texts_and_points() {
    let (tags, texts) = elements(&plot().svg().unwrap());
    assert!(
        tags[0].contains("width=\"960\" height=\"600\""),
        "{}",
        tags[0]
    );
    let expected = [
        "Images/s by threads",
        "canvas &lt;64x64&gt; &amp; &quot;more&quot;",
        "a machine",
        "threads",
        "images/s",
        "composing",
        "loader",
        "memory",
        "1",
        "2",
        "4",
        "840",
        "190",
    ];
    for text in expected {
        assert!(
            texts.iter().any(|found| found == text),
            "no {text:?} in {texts:?}"
        );
    }
    let count = |name: &str, colour: &str| {
        let found = tags
            .iter()
            .filter(|tag| tag.starts_with(name) && tag.contains(colour));
        found.count()
    };
    // Three points and the legend's.
    assert_eq!(count("circle", "#0072B2"), 4);
    assert_eq!(count("rect", "fill=\"#D55E00\""), 4);
    // The line, the legend's, and for each point a bar with two caps.
    for colour in ["#0072B2", "#D55E00"] {
        assert_eq!(
            count("polyline", colour) + count("line", colour),
            1 + 1 + 3 * 3
        );
    }
}

#[test]
fn more_is_higher_and_further_right() {
    let (tags, _) = elements(&plot().svg().unwrap());
    let number = |tag: &str, key: &str| -> f64 {
        let (_, rest) = tag.split_once(&format!(" {key}=\"")).unwrap();
        rest.split('"').next().unwrap().parse().unwrap()
    };
    let circles = tags.iter().filter(|tag| tag.starts_with("circle")).skip(1);
    let places: Vec<_> = circles
        .map(|tag| (number(tag, "cx"), number(tag, "cy")))
        .collect();
    let [a, b, c] = places[..] else {
        panic!("{places:?}");
    };
    // Twice as many threads lie twice as far, and twice the rate is twice as high.
    assert!(((c.0 - b.0) - 2.0 * (b.0 - a.0)).abs() <= 2.0, "{places:?}");
    assert!(((b.1 - c.1) - 2.0 * (a.1 - b.1)).abs() <= 2.0, "{places:?}");
}

#[test]
fn what_cannot_be_shown_is_an_error() {
    let wrong = |change: fn(&mut Plot)| {
        let mut plot = plot();
        change(&mut plot);
        assert!(matches!(plot.svg(), Err(BenchError::Plot { .. })));
    };
    wrong(|plot| plot.series.clear());
    wrong(|plot| plot.series[0].points[1].1.median = f64::NAN);
    wrong(|plot| plot.ceiling.as_mut().unwrap().points[0].1 = f64::INFINITY);
    wrong(|plot| {
        plot.x.is_logarithmic = true;
        plot.series[0].points[0].0 = 0.0;
    });
}

#[test]
fn equal_factors_lie_at_equal_distances_on_a_logarithmic_axis() {
    let values = [1e3, 1e4, 1e6];
    let ticks = values.map(|value| (value, number_of(value))).to_vec();
    let scale = Scale::across(&values, ticks, true).unwrap();
    let [a, b, c] = values.map(|value| scale.place(value));
    assert!((2.0 * (b - a) - (c - b)).abs() < 1e-9);
    let names: Vec<_> = scale.ticks.iter().map(|(_, name)| &name[..]).collect();
    assert_eq!(names, ["1,000", "10,000", "1,000,000"]);
    // Rates that are far apart as well.
    assert!(Scale::up(&[10.0, 121.0]).unwrap().is_logarithmic);
    assert!(!Scale::up(&[10.0, 119.0]).unwrap().is_logarithmic);
    assert!(!Scale::up(&[0.0, 119.0]).unwrap().is_logarithmic);
}

#[test]
fn ticks_are_round_numbers() {
    assert_eq!(steps(451.0), [0.0, 100.0, 200.0, 300.0, 400.0]);
    assert_eq!(steps(0.75).len(), 4);
    assert_eq!(factors(15.0, 600.0), [20.0, 50.0, 100.0, 200.0, 500.0]);
    assert_eq!(factors(0.5, 20000.0), [1.0, 10.0, 100.0, 1000.0, 10000.0]);
    assert_eq!(number_of(1234567.0), "1,234,567");
    assert_eq!(number_of(-1234.5), "-1,234");
    assert_eq!(number_of(12.345), "12.3");
    assert_eq!(number_of(0.25), "0.250");
}

#[test]
fn names_that_would_touch_are_left_out() {
    let values: Vec<f64> = (1..=100).map(f64::from).collect();
    let ticks = values.iter().map(|&value| (value, number_of(value)));
    let scale = Scale::across(&values, ticks.collect(), false).unwrap();
    assert!(scale.ticks.len() < 20, "{}", scale.ticks.len());
}

#[test]
fn long_notes_are_broken_at_spaces() {
    assert_eq!(broken("one two three", 7), ["one two", "three"]);
    assert_eq!(broken("a\nlongerword", 4), ["a", "longerword"]);
}
