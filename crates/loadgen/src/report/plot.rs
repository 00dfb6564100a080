//! Plots as inline SVG. Colours come from the page, so that they follow light and dark mode.

use std::fmt::Write;

/// Curves over a common horizontal axis.
pub(super) struct Plot<'a> {
    pub title: &'a str,
    pub x_label: &'a str,
    pub y_label: &'a str,
    pub curves: Vec<Curve<'a>>,
    /// A shaded part of the horizontal axis.
    pub shaded: Option<[f64; 2]>,
    /// A horizontal line with its name.
    pub level: Option<(f64, String)>,
    pub y_max: Option<f64>,
}

/// One curve.
pub(super) struct Curve<'a> {
    pub name: &'a str,
    pub points: Vec<(f64, f64)>,
    /// The interval of each point; one per point, or none.
    pub bars: Vec<(f64, f64)>,
    pub style: CurveStyle,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum CurveStyle {
    Line,
    Points,
}

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;

impl Plot<'_> {
    pub(super) fn svg(&self) -> String {
        let points = || self.curves.iter().flat_map(|curve| &curve.points);
        let bars = self.curves.iter().flat_map(|curve| &curve.bars);
        let x_ticks = Ticks::up_to(points().map(|(x, _)| *x).fold(0.0, f64::max));
        let y_max = points()
            .map(|(_, y)| *y)
            .chain(bars.map(|(_, high)| *high))
            .chain(self.level.as_ref().map(|(y, _)| *y))
            .fold(0.0, f64::max);
        let y_ticks = Ticks::up_to(self.y_max.unwrap_or(y_max));
        let x_at = |x: f64| LEFT + x / x_ticks.end * (WIDTH - LEFT - RIGHT);
        let y_at = |y: f64| HEIGHT - BOTTOM - y / y_ticks.end * (HEIGHT - TOP - BOTTOM);
        let mut svg = String::new();
        let title = escape(self.title);
        // Writing to a string cannot fail.
        let _ = write!(
            svg,
            "<figure><figcaption>{title}</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             role=\"img\" aria-label=\"{title}\">"
        );
        if let Some([from, to]) = self.shaded {
            let (from, to) = (x_at(from), x_at(to.min(x_ticks.end)));
            let (width, height) = ((to - from).max(0.0), HEIGHT - TOP - BOTTOM);
            let _ = write!(
                svg,
                "<rect class=\"shade\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{width:.1}\" \
                 height=\"{height}\"/>"
            );
        }
        for y in y_ticks.all() {
            let (at, right) = (y_at(y), WIDTH - RIGHT);
            let _ = write!(
                svg,
                "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{right}\"/><text class=\"end\" x=\"{:.1}\" \
                 y=\"{:.1}\">{}</text>",
                LEFT - 6.0,
                at + 4.0,
                y_ticks.shown(y)
            );
        }
        for x in x_ticks.all() {
            let _ = write!(
                svg,
                "<text class=\"middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                x_at(x),
                HEIGHT - BOTTOM + 16.0,
                x_ticks.shown(x)
            );
        }
        let (middle_x, middle_y) = ((LEFT + WIDTH - RIGHT) / 2.0, (TOP + HEIGHT - BOTTOM) / 2.0);
        let _ = write!(
            svg,
            "<text class=\"middle\" x=\"{middle_x}\" y=\"{}\">{}</text><text class=\"middle\" \
             transform=\"translate(13 {middle_y}) rotate(-90)\">{}</text>",
            HEIGHT - 8.0,
            escape(self.x_label),
            escape(self.y_label)
        );
        if let Some((y, name)) = &self.level {
            let at = y_at(*y);
            let _ = write!(
                svg,
                "<path class=\"level\" d=\"M{LEFT} {at:.1}H{:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\">{}\
                 </text>",
                WIDTH - RIGHT,
                LEFT + 4.0,
                at - 4.0,
                escape(name)
            );
        }
        for (place, curve) in self.curves.iter().enumerate() {
            curve.draw(&mut svg, place, &x_at, &y_at);
        }
        svg.push_str("</svg>");
        if self.curves.len() > 1 {
            svg.push_str("<p class=\"legend\">");
            for (place, curve) in self.curves.iter().enumerate() {
                let _ = write!(
                    svg,
                    "<span class=\"c{place}\">{}</span>",
                    escape(curve.name)
                );
            }
            svg.push_str("</p>");
        }
        svg.push_str("</figure>");
        svg
    }
}

impl Curve<'_> {
    fn draw(
        &self,
        svg: &mut String,
        place: usize,
        x_at: &dyn Fn(f64) -> f64,
        y_at: &dyn Fn(f64) -> f64,
    ) {
        for ((x, _), (low, high)) in self.points.iter().zip(&self.bars) {
            let (x, low, high) = (x_at(*x), y_at(*low), y_at(*high));
            let _ = write!(
                svg,
                "<path class=\"line c{place}\" d=\"M{x:.1} {low:.1}V{high:.1}m-4 0h8M{:.1} {low:.1}h8\"/>",
                x - 4.0
            );
        }
        match self.style {
            CurveStyle::Line => {
                let mut path = String::new();
                for (number, (x, y)) in self.points.iter().enumerate() {
                    let command = if number == 0 { 'M' } else { 'L' };
                    let _ = write!(path, "{command}{:.1} {:.1}", x_at(*x), y_at(*y));
                }
                let _ = write!(svg, "<path class=\"line c{place}\" d=\"{path}\"/>");
            }
            CurveStyle::Points => {
                for (x, y) in &self.points {
                    let (x, y) = (x_at(*x), y_at(*y));
                    let _ = write!(
                        svg,
                        "<circle class=\"dot c{place}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>"
                    );
                }
            }
        }
    }
}

/// Round tick values from 0 on.
struct Ticks {
    step: f64,
    end: f64,
}

impl Ticks {
    fn up_to(most: f64) -> Self {
        if !(most > 0.0 && most.is_finite()) {
            return Self {
                step: 1.0,
                end: 1.0,
            };
        }
        let raw = most / 5.0;
        let power = 10f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0]
            .into_iter()
            .map(|factor| factor * power)
            .find(|step| *step >= raw * (1.0 - 1e-9))
            .unwrap_or(raw);
        let end = (most / step * (1.0 - 1e-9)).ceil() * step;
        Self { step, end }
    }

    fn all(&self) -> impl Iterator<Item = f64> + '_ {
        let count = (self.end / self.step).round() as usize;
        (0..=count).map(|place| place as f64 * self.step)
    }

    /// A value with as many digits as the step needs.
    fn shown(&self, value: f64) -> String {
        let digits = (0..12)
            .find(|digits| {
                let scaled = self.step * 10f64.powi(*digits);
                (scaled - scaled.round()).abs() < 1e-6 * scaled
            })
            .unwrap_or(12);
        format!("{value:.*}", digits as usize)
    }
}

/// Escapes text for HTML elements and attributes.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
