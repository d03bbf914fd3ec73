//! A plot of a sweep as SVG: what was measured against what was varied, beside the ceiling.

use plotters::chart::ChartContext;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, ValueFormatter};
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{BenchError, Spread};

/// Width and height of a plot in pixels.
pub const PLOT_SIZE: (u32, u32) = (960, 600);

/// Measurements against one axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Plot {
    /// What it shows.
    pub title: String,
    /// What was measured and where, in words: lines under the title, broken where they are too long.
    pub notes: Vec<String>,
    /// What was varied.
    pub x: Axis,
    /// What was measured, with its unit.
    pub y_label: String,
    /// The measurements.
    pub series: Vec<Series>,
    /// What cannot be passed: a dashed line.
    pub ceiling: Option<Ceiling>,
}

/// The axis along the bottom.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// What was varied, with its unit.
    pub label: String,
    /// The places that are named, and their names.
    pub ticks: Vec<(f64, String)>,
    /// Whether equal steps are equal factors; all values must be above 0 then.
    pub is_logarithmic: bool,
}

/// One line of measurements with a mark at each median and a bar from the least to the greatest.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What was measured.
    pub name: String,
    /// Where on the axis, and what.
    pub points: Vec<(f64, Spread)>,
}

/// A bound that follows from something else that was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Ceiling {
    /// What bounds.
    pub name: String,
    /// Where on the axis, and how high.
    pub points: Vec<(f64, f64)>,
}

/// Okabe and Ito's blue, vermilion, green and purple, which colour-blind people can tell apart; the
/// marks differ in shape as well.
const COLOURS: [RGBColor; 4] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(170, 85, 140),
];
const INK: RGBColor = RGBColor(34, 34, 34);
const FAINT: RGBColor = RGBColor(90, 90, 90);
const GRID: RGBColor = RGBColor(225, 225, 225);
const FONT: &str = "sans-serif";
/// Distance of texts from the left edge.
const LEFT: i32 = 24;
/// Characters of a note's line.
const LINE: usize = 150;
/// Height of a note's line.
const LINE_HEIGHT: i32 = 19;
/// Values on the vertical axis whose largest is so many times the least are shown in equal factors.
const WIDE: f64 = 12.0;

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Scale, Scale>>;

impl Plot {
    /// Draws it.
    ///
    /// # Errors
    /// [`BenchError::Plot`] if there is no measurement, a number is not finite, or a value that is
    /// not above 0 lies on a logarithmic axis.
    pub fn svg(&self) -> Result<String, BenchError> {
        let scales = self.scales()?;
        let mut svg = String::new();
        let drawn = self.draw(&mut svg, &scales);
        drawn.map_err(|error| BenchError::Plot {
            problem: error.to_string(),
        })?;
        Ok(svg)
    }

    fn scales(&self) -> Result<[Scale; 2], BenchError> {
        let measured = self.series.iter().flat_map(|series| &series.points);
        let ceiling = self.ceiling.iter().flat_map(|ceiling| &ceiling.points);
        let (mut across, mut up) = (Vec::new(), Vec::new());
        for (x, spread) in measured {
            across.push(*x);
            up.extend([spread.least, spread.median, spread.greatest]);
        }
        if across.is_empty() {
            return Err(BenchError::Plot {
                problem: "nothing was measured".to_owned(),
            });
        }
        across.extend(ceiling.clone().map(|(x, _)| x));
        up.extend(ceiling.map(|(_, y)| y));
        let ticks = self.x.ticks.clone();
        let x = Scale::across(&across, ticks, self.x.is_logarithmic);
        match (x, Scale::up(&up)) {
            (Some(x), Some(y)) => Ok([x, y]),
            _ => Err(BenchError::Plot {
                problem: "a measurement is no number that its axis can show".to_owned(),
            }),
        }
    }

    fn draw(
        &self,
        svg: &mut String,
        [x, y]: &[Scale; 2],
    ) -> Result<(), Box<dyn std::error::Error>> {
        let root = SVGBackend::with_string(svg, PLOT_SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let top = self.head(&root)?;
        let below = root.margin(top, 12, 12, 28);
        let mut chart = ChartBuilder::on(&below)
            .x_label_area_size(56)
            .y_label_area_size(84)
            .build_cartesian_2d(x.clone(), y.clone())?;
        chart
            .configure_mesh()
            .bold_line_style(GRID)
            .axis_style(FAINT)
            .label_style(letters(18, INK))
            .axis_desc_style(letters(19, INK))
            .x_desc(&self.x.label)
            .y_desc(&self.y_label)
            .draw()?;
        self.draw_ceiling(&root, &chart, [x, y])?;
        for (number, series) in self.series.iter().enumerate() {
            self.draw_series(&root, &chart, [x, y], number, series)?;
        }
        root.present()?;
        Ok(())
    }

    /// Title, notes and the legend; gives where they end.
    fn head(&self, root: &Area<'_>) -> Result<i32, Box<dyn std::error::Error>> {
        let title = letters(26, INK);
        root.draw(&Text::new(self.title.clone(), (LEFT, 16), title))?;
        let mut top = 48;
        for line in self.notes.iter().flat_map(|note| broken(note, LINE)) {
            root.draw(&Text::new(line, (LEFT, top), letters(16, FAINT)))?;
            top += LINE_HEIGHT;
        }
        top += 14;
        let mut left = LEFT;
        let names = self.series.iter().map(|series| &series.name);
        for (number, name) in names
            .chain(self.ceiling.iter().map(|it| &it.name))
            .enumerate()
        {
            let line = [(left, top), (left + 34, top)];
            match self.series.get(number) {
                Some(_) => {
                    root.draw(&PathElement::new(line, colour(number).stroke_width(2)))?;
                    mark(root, (left + 17, top), number)?;
                }
                None => dashed(root, line)?,
            }
            let style = letters(18, INK);
            let style = style.pos(Pos::new(HPos::Left, VPos::Center));
            root.draw(&Text::new(name.clone(), (left + 42, top), style))?;
            left += 42 + 7 * name.chars().count() as i32 + 30;
        }
        Ok(top + 16)
    }

    fn draw_ceiling(
        &self,
        root: &Area<'_>,
        chart: &Chart<'_, '_>,
        scales: [&Scale; 2],
    ) -> Result<(), Box<dyn std::error::Error>> {
        let Some(ceiling) = &self.ceiling else {
            return Ok(());
        };
        let points = ceiling.points.iter();
        let points = points.map(|&(x, y)| chart.backend_coord(&place(scales, x, y)));
        dashed(root, points.collect::<Vec<_>>())
    }

    fn draw_series(
        &self,
        root: &Area<'_>,
        chart: &Chart<'_, '_>,
        scales: [&Scale; 2],
        number: usize,
        series: &Series,
    ) -> Result<(), Box<dyn std::error::Error>> {
        // Side by side, so that no bar hides another.
        let aside = 10 * number as i32 - 5 * (self.series.len() as i32 - 1);
        let at = |x: f64, y: f64| {
            let (x, y) = chart.backend_coord(&place(scales, x, y));
            (x + aside, y)
        };
        let style = colour(number).stroke_width(2);
        let medians = series
            .points
            .iter()
            .map(|(x, spread)| at(*x, spread.median));
        root.draw(&PathElement::new(medians.collect::<Vec<_>>(), style))?;
        for (x, spread) in &series.points {
            let [low, middle, high] =
                [spread.least, spread.median, spread.greatest].map(|value| at(*x, value));
            root.draw(&PathElement::new([low, high], style))?;
            for (x, y) in [low, high] {
                root.draw(&PathElement::new([(x - 4, y), (x + 4, y)], style))?;
            }
            mark(root, middle, number)?;
            let (end, side) = match self.is_upper(number, *x, spread.median) {
                true => ((high.0, high.1 - 6), VPos::Bottom),
                false => ((low.0, low.1 + 6), VPos::Top),
            };
            label(root, end, side, number, spread.median)?;
        }
        Ok(())
    }

    /// Whether no other line is above there: its number then stands above it, else below.
    fn is_upper(&self, number: usize, x: f64, median: f64) -> bool {
        let others = self.series.iter().enumerate();
        let others = others.filter(|(other, _)| *other != number);
        let mut there = others.flat_map(|(other, series)| {
            let points = series.points.iter().filter(|point| point.0 == x);
            points.map(move |(_, spread)| (spread.median, other))
        });
        // Of two equal ones the first is the upper one.
        !there.any(|(other, index)| other > median || (other == median && index < number))
    }
}

fn place([x, y]: [&Scale; 2], across: f64, up: f64) -> (f64, f64) {
    (x.place(across), y.place(up))
}

fn letters(size: u32, colour: RGBColor) -> TextStyle<'static> {
    TextStyle {
        color: colour.to_backend_color(),
        ..TextStyle::from((FONT, size))
    }
}

fn colour(number: usize) -> RGBColor {
    COLOURS[number % COLOURS.len()]
}

/// A number above or below a bar's end.
fn label(
    root: &Area<'_>,
    (x, y): (i32, i32),
    side: VPos,
    number: usize,
    value: f64,
) -> Result<(), Box<dyn std::error::Error>> {
    // Away from the bar beside it.
    let (away, x) = match number {
        0 => (HPos::Right, x + 6),
        _ => (HPos::Left, x - 6),
    };
    let style = letters(16, colour(number)).pos(Pos::new(away, side));
    root.draw(&Text::new(number_of(value), (x, y), style))?;
    Ok(())
}

/// A disc, a square, a triangle.
fn mark(
    root: &Area<'_>,
    (x, y): (i32, i32),
    number: usize,
) -> Result<(), Box<dyn std::error::Error>> {
    let style = colour(number).filled();
    match number % 3 {
        0 => root.draw(&Circle::new((x, y), 5, style))?,
        1 => root.draw(&Rectangle::new([(x - 5, y - 5), (x + 5, y + 5)], style))?,
        _ => root.draw(&Polygon::new(
            [(x - 6, y + 5), (x + 6, y + 5), (x, y - 6)],
            style,
        ))?,
    }
    Ok(())
}

fn dashed(
    root: &Area<'_>,
    points: impl IntoIterator<Item = (i32, i32)>,
) -> Result<(), Box<dyn std::error::Error>> {
    let points: Vec<_> = points.into_iter().collect();
    let style = FAINT.stroke_width(2);
    root.draw(&DashedPathElement::new(points, 8, 6, style))?;
    Ok(())
}

/// How values become places along an axis.
#[derive(Clone)]
struct Scale {
    is_logarithmic: bool,
    from: f64,
    to: f64,
    /// Places with names.
    ticks: Vec<(f64, String)>,
}

/// Share of an axis that a name needs beside it, at least.
const TICK_ROOM: f64 = 0.06;

impl Scale {
    fn across(values: &[f64], ticks: Vec<(f64, String)>, is_logarithmic: bool) -> Option<Scale> {
        let (least, greatest) = ends(values, is_logarithmic)?;
        let [least, greatest] = [least, greatest].map(|value| map(value, is_logarithmic));
        let room = match greatest - least {
            0.0 => 1.0,
            length => 0.07 * length,
        };
        let (from, to) = (least - room, greatest + room);
        let mut scale = Scale {
            is_logarithmic,
            from,
            to,
            ticks: Vec::new(),
        };
        for (value, name) in ticks {
            let place = map(value, is_logarithmic);
            let last = scale.ticks.last().map_or(f64::MIN, |(place, _)| *place);
            let is_in = (from..=to).contains(&place);
            if is_in && place - last >= TICK_ROOM * (to - from) {
                scale.ticks.push((place, name));
            }
        }
        Some(scale)
    }

    /// From 0 up, or in equal factors where values are far apart.
    fn up(values: &[f64]) -> Option<Scale> {
        let (least, greatest) = ends(values, false)?;
        if least < 0.0 || greatest <= 0.0 {
            return None;
        }
        let is_logarithmic = least > 0.0 && greatest / least > WIDE;
        let (from, to) = match is_logarithmic {
            true => (least / 1.5, greatest * 1.4),
            false => (0.0, greatest * 1.12),
        };
        let ticks = match is_logarithmic {
            true => factors(from, to),
            false => steps(to),
        };
        let named = |value: f64| (map(value, is_logarithmic), number_of(value));
        Some(Scale {
            is_logarithmic,
            from: map(from, is_logarithmic),
            to: map(to, is_logarithmic),
            ticks: ticks.into_iter().map(named).collect(),
        })
    }

    fn place(&self, value: f64) -> f64 {
        map(value, self.is_logarithmic)
    }
}

impl Ranged for Scale {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, place: &f64, (low, high): (i32, i32)) -> i32 {
        let share = (place - self.from) / (self.to - self.from);
        low + (share * f64::from(high - low)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // Nothing between the ticks.
        match hint.weight().allow_light_points() {
            true => Vec::new(),
            false => self.ticks.iter().map(|(place, _)| *place).collect(),
        }
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.from..self.to
    }
}

impl ValueFormatter<f64> for Scale {
    fn format_ext(&self, place: &f64) -> String {
        let tick = self.ticks.iter().find(|(named, _)| named == place);
        tick.map(|(_, name)| name.clone()).unwrap_or_default()
    }
}

fn map(value: f64, is_logarithmic: bool) -> f64 {
    match is_logarithmic {
        true => value.log10(),
        false => value,
    }
}

/// The least and the greatest, if there are any that such an axis can show.
fn ends(values: &[f64], is_logarithmic: bool) -> Option<(f64, f64)> {
    let can_be_shown = |value: &f64| value.is_finite() && (!is_logarithmic || *value > 0.0);
    if values.is_empty() || !values.iter().all(can_be_shown) {
        return None;
    }
    let least = values.iter().copied().fold(f64::MAX, f64::min);
    Some((least, values.iter().copied().fold(f64::MIN, f64::max)))
}

/// Round numbers from 0 up, at most eight.
fn steps(to: f64) -> Vec<f64> {
    let rough = to / 7.0;
    let power = 10f64.powf(rough.log10().floor());
    let sizes = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    let step = sizes.into_iter().find(|&size| size >= rough).unwrap_or(to);
    (0..=7)
        .map(|number| f64::from(number) * step)
        .take_while(|&value| value <= to)
        .collect()
}

/// 1, 2 and 5 times powers of ten; the powers alone where those are many.
fn factors(from: f64, to: f64) -> Vec<f64> {
    let decades = from.log10().floor() as i32..=to.log10().ceil() as i32;
    let of = |digits: &[f64]| -> Vec<f64> {
        let values = decades.clone().flat_map(|decade| {
            let digits = digits.iter();
            digits.map(move |digit| digit * 10f64.powi(decade))
        });
        values.filter(|value| (from..=to).contains(value)).collect()
    };
    let fine = of(&[1.0, 2.0, 5.0]);
    match fine.len() <= 10 {
        true => fine,
        false => of(&[1.0]),
    }
}

/// A number with commas between thousands, and three digits at least where it is small.
pub fn number_of(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 || size.fract() == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let (sign, digits) = match whole.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", whole),
    };
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    match fraction {
        "" => format!("{sign}{grouped}"),
        fraction => format!("{sign}{grouped}.{fraction}"),
    }
}

/// The lines of a text, broken at spaces where they are longer than `most` characters.
fn broken(text: &str, most: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut current = String::new();
        for word in line.split_whitespace() {
            if !current.is_empty() && current.chars().count() + 1 + word.chars().count() > most {
                lines.push(std::mem::take(&mut current));
            }
            if !current.is_empty() {
                current.push(' ');
            }
            current.push_str(word);
        }
        lines.push(current);
    }
    lines
}

#[cfg(test)]
mod tests;
