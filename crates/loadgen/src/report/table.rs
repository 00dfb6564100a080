//! The report as a text table.

use std::fmt;

use farthing_economics::shown_usd;
use rust_decimal::Decimal;

use super::Report;
use crate::load_cost::ClassCost;
use crate::load_report::LoadReport;

/// A row of the table: a name, and a value for each load.
pub(super) struct Row {
    pub name: String,
    pub cells: Vec<String>,
    /// A heading line above this row.
    pub heading: Option<&'static str>,
}

/// The figures of all loads, in vLLM's order.
pub(super) fn rows(report: &Report) -> Vec<Row> {
    let loads: Vec<&LoadReport> = report.loads().into_iter().map(|(_, load)| load).collect();
    let mut rows = Vec::new();
    let mut row = |heading, name: String, cell: &dyn Fn(&LoadReport) -> Option<String>| {
        let cells: Vec<_> = loads.iter().map(|load| cell(load)).collect();
        if cells.iter().any(Option::is_some) {
            let dash = || "–".to_owned();
            rows.push(Row {
                name,
                cells: cells
                    .into_iter()
                    .map(|cell| cell.unwrap_or_else(dash))
                    .collect(),
                heading,
            });
        }
    };
    let plain = |name: &str| name.to_owned();
    row(None, plain("Successful requests"), &|it| {
        Some(it.figures.completed.to_string())
    });
    row(None, plain("Failed requests"), &|it| {
        Some(it.figures.failed.to_string())
    });
    row(None, plain("Measured duration (s)"), &|it| {
        Some(two(it.figures.duration))
    });
    row(None, plain("Mean input tokens"), &|it| {
        Some(two(it.figures.mean_input_tokens))
    });
    row(None, plain("Mean cached tokens"), &|it| {
        Some(two(it.figures.mean_cached_tokens))
    });
    row(None, plain("Mean output tokens"), &|it| {
        Some(two(it.figures.mean_output_tokens))
    });
    row(None, plain("Request throughput (req/s)"), &|it| {
        Some(two(it.figures.request_throughput()))
    });
    row(None, plain("Request goodput (req/s)"), &|it| {
        it.figures.request_goodput.map(two)
    });
    row(None, plain("Output token throughput (tok/s)"), &|it| {
        Some(two(it.figures.output_throughput()))
    });
    row(None, plain("Total token throughput (tok/s)"), &|it| {
        Some(two(it.figures.total_token_throughput()))
    });
    row(None, plain("Peak output tokens in a second"), &|it| {
        Some(two(it.figures.max_output_tokens_per_s))
    });
    row(None, plain("Peak concurrent requests"), &|it| {
        Some(it.figures.max_concurrent_requests.to_string())
    });
    let names = [
        ("TTFT", "Time to first token"),
        ("TPOT", "Time per output token (without the first)"),
        ("ITL", "Inter-token latency"),
        ("E2EL", "End-to-end latency"),
    ];
    for (place, (short, long)) in names.into_iter().enumerate() {
        let of = |load: &LoadReport| load.figures.latencies()[place].1.cloned();
        row(Some(long), format!("Mean {short} (ms)"), &|it| {
            Some(two(of(it)?.mean_ms))
        });
        row(None, format!("Median {short} (ms)"), &|it| {
            Some(two(of(it)?.median_ms))
        });
        let percentiles = loads
            .first()
            .and_then(|load| of(load))
            .map(|it| it.percentiles_ms);
        for (percentile, (name, _)) in percentiles.unwrap_or_default().into_iter().enumerate() {
            row(None, format!("P{name} {short} (ms)"), &|it| {
                Some(two(of(it)?.percentiles_ms.get(percentile)?.1))
            });
        }
    }
    let per_million = "US dollars per million tokens [95 % confidence]";
    type Class = fn(&LoadReport) -> Option<&ClassCost>;
    let classes: [(&str, Class); 3] = [
        ("Input", |it| Some(&it.cost.as_ref()?.input)),
        ("Cached input", |it| Some(&it.cost.as_ref()?.cached)),
        ("Output", |it| Some(&it.cost.as_ref()?.output)),
    ];
    for (place, (name, class)) in classes.into_iter().enumerate() {
        let heading = (place == 0).then_some(per_million);
        row(heading, plain(name), &|it| priced(class(it)?));
    }
    row(None, plain("All"), &|it| {
        Some(shown_usd(it.cost.as_ref()?.usd_per_million_tokens?))
    });
    for (name, class) in classes {
        row(None, format!("{name}, if it never waited"), &|it| {
            Some(shown_usd(class(it)?.busy_usd_per_million?))
        });
    }
    row(Some("US dollars"), plain("A request"), &|it| {
        Some(shown_usd(it.cost.as_ref()?.usd_per_request?))
    });
    row(None, plain("The measured window"), &|it| {
        Some(shown_usd(it.cost.as_ref()?.usd))
    });
    row(
        None,
        plain("Share of it in which the server computed"),
        &|it| Some(format!("{:.1} %", it.cost.as_ref()?.busy_share? * 100.0)),
    );
    rows
}

/// A description of the result of the SLO search.
pub(super) fn slo_description(report: &Report) -> Option<String> {
    let slo = report.slo.as_ref()?;
    let Some(search) = &slo.search else {
        return Some(format!("Goodput counts answers with {}.", slo.slo));
    };
    let share = slo.attainment.unwrap_or_default() * 100.0;
    let limits = format!("{} in {share} % of the requests", slo.slo);
    Some(match (search.rate, search.broken_at) {
        (Some(rate), Some(broken)) => format!(
            "{limits}: kept at {rate:.2} requests a second, not at {broken:.2} ({} rates tried).",
            search.probes.len()
        ),
        (Some(rate), None) => {
            format!("{limits}: kept at {rate:.2} requests a second, the highest rate tried.")
        }
        (None, _) => format!("{limits}: not kept at any rate that was tried."),
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.loads().into_iter().map(|(name, _)| name).collect();
        let kind = if self.target.is_farthing {
            " (Farthing, metered)"
        } else {
            ""
        };
        let label = self.label.as_ref().map(|label| format!("{label}: "));
        writeln!(
            f,
            "{}{}{kind}",
            label.unwrap_or_default(),
            self.target.endpoint
        )?;
        writeln!(
            f,
            "{}; {}",
            self.target.models.join(", "),
            self.load.description()
        )?;
        let rows = rows(self);
        let widths: Vec<usize> = (0..names.len())
            .map(|column| {
                let cells = rows.iter().map(|row| row.cells[column].chars().count());
                cells.chain([names[column].len()]).max().unwrap_or(0)
            })
            .collect();
        let line = |f: &mut fmt::Formatter<'_>, name: &str, cells: &[&str]| {
            write!(f, "{name:NAME_WIDTH$}")?;
            for (cell, width) in cells.iter().zip(&widths) {
                write!(f, "  {cell:>width$}")?;
            }
            writeln!(f)
        };
        writeln!(f)?;
        line(f, "", &names)?;
        for row in &rows {
            if let Some(heading) = row.heading {
                writeln!(f, "{heading}")?;
            }
            let cells: Vec<&str> = row.cells.iter().map(String::as_str).collect();
            line(f, &row.name, &cells)?;
        }
        writeln!(f)?;
        if let Some(cost) = &self.measured_load.cost {
            let whose = if self.price_from_server {
                ", the server's own price"
            } else {
                ""
            };
            let price = shown_usd(cost.price_per_hour_usd);
            writeln!(
                f,
                "At {price} an hour{whose}; {}.",
                cost.split_description()
            )?;
        }
        if let Some(description) = slo_description(self) {
            writeln!(f, "{description}")?;
        }
        if self.measured_load.models.len() > 1 {
            writeln!(f)?;
            model_table(self, f)?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        Ok(())
    }
}

const NAME_WIDTH: usize = 42;

fn model_table(report: &Report, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let shares = &report.measured_load.models;
    let width = shares.iter().map(|it| it.model.len()).max().unwrap_or(0);
    writeln!(
        f,
        "{:width$}  {:>9}  {:>7}  {:>9}  {:>9}  {:>15}  {:>15}  {:>12}",
        "", "answered", "failed", "in", "out", "median TTFT ms", "median TPOT ms", "device time $"
    )?;
    for share in shares {
        writeln!(
            f,
            "{:width$}  {:>9}  {:>7}  {:>9}  {:>9}  {:>15}  {:>15}  {:>12}",
            share.model,
            share.completed,
            share.failed,
            share.input_tokens,
            share.output_tokens,
            share.median_ttft_ms.map(two).unwrap_or_default(),
            share.median_tpot_ms.map(two).unwrap_or_default(),
            share.usd.map(shown_usd).unwrap_or_default(),
        )?;
    }
    Ok(())
}

fn priced(class: &ClassCost) -> Option<String> {
    let price = shown_usd(class.usd_per_million?);
    let Some(interval) = class.interval else {
        return Some(price);
    };
    let shown = |usd: f64| Decimal::try_from(usd).map_or_else(|_| "?".to_owned(), shown_usd);
    Some(format!(
        "{price} [{}, {}]",
        shown(interval.low),
        shown(interval.high)
    ))
}

fn two(figure: f64) -> String {
    format!("{figure:.2}")
}
