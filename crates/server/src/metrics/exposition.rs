//! Prometheus' text format, version 0.0.4.

use std::fmt::{Display, Write};

use super::histogram::Histogram;
use crate::visible::visible;

/// A page of metrics with common labels.
pub(super) struct Exposition {
    text: String,
    /// `name="value",…`
    labels: String,
}

impl Exposition {
    pub(super) fn new(labels: &[(&str, &str)]) -> Self {
        let labels: Vec<_> = labels
            .iter()
            .map(|(name, value)| label(name, value))
            .collect();
        Self {
            text: String::new(),
            labels: labels.join(","),
        }
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, help, "gauge");
        self.sample(name, "", value);
    }

    /// A constant, expressed in labels.
    pub(super) fn info(&mut self, name: &str, help: &str, labels: &[(&str, &str)]) {
        self.labelled(name, help, labels, 1);
    }

    /// A gauge with labels.
    pub(super) fn labelled(
        &mut self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        value: impl Display,
    ) {
        let labels: Vec<_> = labels
            .iter()
            .map(|(name, value)| label(name, value))
            .collect();
        self.family(name, help, "gauge");
        self.sample(name, &labels.join(","), value);
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, help, "counter");
        self.sample(name, "", value);
    }

    /// One counter per value of a label.
    pub(super) fn counters<'a, V: Display>(
        &mut self,
        name: &str,
        help: &str,
        label_name: &str,
        values: impl IntoIterator<Item = (&'a str, V)>,
    ) {
        self.family(name, help, "counter");
        for (label_value, value) in values {
            self.sample(name, &label(label_name, label_value), value);
        }
    }

    /// One gauge per set of labels.
    pub(super) fn gauges<'a, V: Display, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        label_names: [&str; N],
        values: impl IntoIterator<Item = ([&'a str; N], V)>,
    ) {
        self.family(name, help, "gauge");
        self.samples(name, label_names, values);
    }

    /// One counter per set of labels.
    pub(super) fn counters_by<'a, V: Display, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        label_names: [&str; N],
        values: impl IntoIterator<Item = ([&'a str; N], V)>,
    ) {
        self.family(name, help, "counter");
        self.samples(name, label_names, values);
    }

    fn samples<'a, V: Display, const N: usize>(
        &mut self,
        name: &str,
        label_names: [&str; N],
        values: impl IntoIterator<Item = ([&'a str; N], V)>,
    ) {
        for (label_values, value) in values {
            let labels: Vec<_> = label_names
                .iter()
                .zip(label_values)
                .map(|(name, value)| label(name, value))
                .collect();
            self.sample(name, &labels.join(","), value);
        }
    }

    pub(super) fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.family(name, help, "histogram");
        let bucket = format!("{name}_bucket");
        for (bound, count) in histogram.cumulative() {
            let bound = if bound.is_finite() {
                format!("{bound:?}")
            } else {
                "+Inf".to_owned()
            };
            self.sample(&bucket, &label("le", &bound), count);
        }
        self.sample(&format!("{name}_count"), "", histogram.count());
        self.sample(&format!("{name}_sum"), "", histogram.sum());
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    fn family(&mut self, name: &str, help: &str, kind: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    fn sample(&mut self, name: &str, extra_label: &str, value: impl Display) {
        let comma = if extra_label.is_empty() { "" } else { "," };
        let labels = std::mem::take(&mut self.labels);
        self.line(format_args!(
            "{name}{{{labels}{comma}{extra_label}}} {value}"
        ));
        self.labels = labels;
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("a string takes all that is written to it");
    }
}

fn label(name: &str, value: &str) -> String {
    // The format itself would only escape line feeds.
    let value = visible(value).replace('\\', r"\\").replace('"', "\\\"");
    format!("{name}=\"{value}\"")
}
