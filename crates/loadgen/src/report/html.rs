//! The report as an HTML page without scripts or external resources.

use std::fmt::Write;

use farthing_economics::shown_usd;

use super::Report;
use super::plot::{Curve, CurveStyle, Plot, escape};
use super::table::{rows, slo_description};
use crate::distribution::Distribution;
use crate::load_cost::ClassCost;
use crate::load_report::LoadReport;

pub(super) fn page(report: &Report) -> String {
    let title = match &report.label {
        Some(label) => format!("{label}: farthing bench"),
        None => "farthing bench".to_owned(),
    };
    let title = escape(&title);
    let kind = if report.target.is_farthing {
        " (Farthing, metered)"
    } else {
        ""
    };
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><title>{title}</title>\
         <style>{STYLE}</style></head><body><h1>{title}</h1><p>{}{kind}<br>{}<br>{}<br>{}</p>",
        escape(&report.target.endpoint),
        escape(&report.target.models.join(", ")),
        escape(&report.load.description()),
        report.date.strftime("%Y-%m-%d %H:%M UTC"),
    );
    if !report.warnings.is_empty() {
        page.push_str("<ul class=\"warnings\">");
        for warning in &report.warnings {
            // Writing to a string cannot fail.
            let _ = write!(page, "<li>{}</li>", escape(warning));
        }
        page.push_str("</ul>");
    }
    if let Some(description) = slo_description(report) {
        let _ = write!(page, "<p>{}</p>", escape(&description));
    }
    table(report, &mut page);
    page.push_str("<div class=\"plots\">");
    for plot in plots(report) {
        page.push_str(&plot);
    }
    page.push_str("</div>");
    notes(report, &mut page);
    page.push_str("</body></html>\n");
    page
}

fn table(report: &Report, page: &mut String) {
    page.push_str("<div class=\"wide\"><table><tr><th></th>");
    let loads = report.loads();
    for (name, _) in &loads {
        let _ = write!(page, "<th scope=\"col\">{}</th>", escape(name));
    }
    page.push_str("</tr>");
    for row in rows(report) {
        if let Some(heading) = row.heading {
            let columns = loads.len() + 1;
            let heading = escape(heading);
            let _ = write!(
                page,
                "<tr><th class=\"heading\" colspan=\"{columns}\">{heading}</th></tr>"
            );
        }
        let _ = write!(page, "<tr><th scope=\"row\">{}</th>", escape(&row.name));
        for cell in row.cells {
            let _ = write!(page, "<td>{}</td>", escape(&cell));
        }
        page.push_str("</tr>");
    }
    page.push_str("</table></div>");
}

fn plots(report: &Report) -> Vec<String> {
    let mut plots = Vec::new();
    let latencies = [
        "Time to first token",
        "Time per output token",
        "Inter-token latency",
        "End-to-end latency",
    ];
    for (place, name) in latencies.into_iter().enumerate() {
        let curves: Vec<_> = report
            .loads()
            .into_iter()
            .filter_map(|(load_name, load)| {
                Some(Curve {
                    name: load_name,
                    points: cumulative(load.figures.latencies()[place].1?),
                    bars: Vec::new(),
                    style: CurveStyle::Line,
                })
            })
            .collect();
        if !curves.is_empty() {
            let plot = Plot {
                title: name,
                x_label: "ms",
                y_label: "share of all, %",
                curves,
                shaded: None,
                level: None,
                y_max: Some(100.0),
            };
            plots.push(plot.svg());
        }
    }
    plots.extend(timelines(&report.measured_load));
    plots.extend(search_plot(report));
    plots.extend(cost_plot(report));
    plots
}

/// Cumulative distribution with at most 200 points.
fn cumulative(distribution: &Distribution) -> Vec<(f64, f64)> {
    let sorted = &distribution.sorted_ms;
    let count = sorted.len();
    let points = count.min(200);
    (1..=points)
        .map(|point| {
            let rank = point * count / points;
            (sorted[rank - 1], rank as f64 / count as f64 * 100.0)
        })
        .collect()
}

fn timelines(load: &LoadReport) -> [String; 2] {
    let plot = |title, y_label, y: fn(&crate::load_report::TimelinePoint) -> f64| {
        let points = load.timeline.iter().map(|point| (point.at, y(point)));
        let plot = Plot {
            title,
            x_label: "s; the measured part is shaded",
            y_label,
            curves: vec![Curve {
                name: title,
                points: points.collect(),
                bars: Vec::new(),
                style: CurveStyle::Line,
            }],
            shaded: Some(load.window),
            level: None,
            y_max: None,
        };
        plot.svg()
    };
    [
        plot("Output over time", "tokens a second", |it| {
            it.output_tokens_per_s
        }),
        plot("Requests under way", "requests", |it| it.in_flight),
    ]
}

fn search_plot(report: &Report) -> Option<String> {
    let slo = report.slo.as_ref()?;
    let search = slo.search.as_ref()?;
    let attainment = slo.attainment? * 100.0;
    let curve = |name, is_kept: bool| {
        let probes = search.probes.iter().filter(move |it| it.is_kept == is_kept);
        Curve {
            name,
            points: probes
                .clone()
                .map(|it| (it.rate, it.good as f64 / it.total.max(1) as f64 * 100.0))
                .collect(),
            bars: probes
                .map(|it| (it.share.low * 100.0, it.share.high * 100.0))
                .collect(),
            style: CurveStyle::Points,
        }
    };
    let plot = Plot {
        title: "Requests inside the SLO, by load",
        x_label: "requests a second",
        y_label: "share, %",
        curves: vec![curve("kept", true), curve("not kept", false)],
        shaded: None,
        level: Some((attainment, format!("{attainment} % asked for"))),
        y_max: Some(100.0),
    };
    Some(plot.svg())
}

/// One bar per load and class of token, with its confidence interval.
fn cost_plot(report: &Report) -> Option<String> {
    let mut bars = Vec::new();
    for (load_name, load) in report.loads() {
        let Some(cost) = &load.cost else { continue };
        let classes = [
            ("input", &cost.input),
            ("cached", &cost.cached),
            ("output", &cost.output),
        ];
        for (place, (class, cost)) in classes.into_iter().enumerate() {
            if let Some(bar) = CostBar::of(format!("{class}, {load_name}"), place, cost) {
                bars.push(bar);
            }
        }
    }
    let most = bars
        .iter()
        .map(|bar| bar.high.max(bar.usd))
        .fold(0.0, f64::max);
    if most <= 0.0 {
        return None;
    }
    let height = bars.len() as f64 * 26.0 + 8.0;
    let title = "US dollars per million tokens, with 95 % confidence";
    let mut svg = format!(
        "<figure><figcaption>{title}</figcaption><svg viewBox=\"0 0 460 {height}\" role=\"img\" \
         aria-label=\"{title}\">"
    );
    for (place, bar) in bars.iter().enumerate() {
        let top = place as f64 * 26.0 + 4.0;
        let at = |usd: f64| 210.0 + usd / most * 170.0;
        let (low, high, middle) = (at(bar.low), at(bar.high), top + 10.0);
        let _ = write!(
            svg,
            "<text class=\"end\" x=\"204\" y=\"{:.1}\">{}</text><rect class=\"bar c{}\" x=\"210\" \
             y=\"{top}\" width=\"{:.1}\" height=\"20\"/><path class=\"error\" d=\"M{low:.1} {middle}\
             H{high:.1}M{low:.1} {top}v20M{high:.1} {top}v20\"/><text x=\"{:.1}\" y=\"{:.1}\">{}\
             </text>",
            top + 14.0,
            escape(&bar.name),
            bar.class,
            at(bar.usd) - 210.0,
            at(bar.usd.max(bar.high)) + 5.0,
            top + 14.0,
            bar.shown
        );
    }
    svg.push_str("</svg></figure>");
    Some(svg)
}

struct CostBar {
    name: String,
    class: usize,
    usd: f64,
    low: f64,
    high: f64,
    shown: String,
}

impl CostBar {
    fn of(name: String, class: usize, cost: &ClassCost) -> Option<Self> {
        let price = cost.usd_per_million?;
        let usd: f64 = price.try_into().ok()?;
        Some(Self {
            name,
            class,
            usd,
            low: cost.interval.map_or(usd, |it| it.low),
            high: cost.interval.map_or(usd, |it| it.high),
            shown: shown_usd(price),
        })
    }
}

fn notes(report: &Report, page: &mut String) {
    page.push_str("<h2>How to read it</h2><ul>");
    if let Some(cost) = &report.measured_load.cost {
        let whose = if report.price_from_server {
            ", the server's own price"
        } else {
            ""
        };
        let _ = write!(
            page,
            "<li>Dollars at {} an hour{whose}, {}.</li>",
            shown_usd(cost.price_per_hour_usd),
            escape(&cost.split_description())
        );
        if let Some(drawn) = &cost.bootstrap {
            let _ = write!(
                page,
                "<li>Intervals by moving-block bootstrap: {} slices of {:.2} s in blocks of {}, {} \
                 resamples.</li>",
                drawn.slices, drawn.slice_seconds, drawn.block_slices, drawn.resamples
            );
        }
    }
    let health = &report.measured_load.health;
    let late = health
        .send_lateness_p99_ms
        .map(|late| format!("requests left at most {late:.1} ms late (p99), "));
    let cpu = health
        .cpu_cores
        .map(|used| format!(", it took {used:.2} of {} cores", health.cores));
    let _ = write!(
        page,
        "<li>The client: {}its event loop lagged {:.1} ms (p99){}.</li>",
        late.unwrap_or_default(),
        health.event_loop_lag_p99_ms,
        cpu.unwrap_or_default()
    );
    page.push_str(
        "<li>Latencies are of the requests sent in the measured part, rates of what came in it: \
         warm-up and drain are left out.</li><li>TTFT is to the first text; TPOT from there to the \
         end, by the tokens after the first; ITL the gaps between pieces of text.</li></ul>",
    );
}

const STYLE: &str = "\
:root{color-scheme:light dark;--back:#fff;--text:#1b1f24;--dim:#5c6670;--grid:#e3e7eb;--shade:#eef3f8;\
--c0:#1f6feb;--c1:#c2410c;--c2:#15803d}\
@media(prefers-color-scheme:dark){:root{--back:#12161b;--text:#e6e9ec;--dim:#98a3ad;--grid:#2a3138;\
--shade:#1b232c;--c0:#6cb0ff;--c1:#ff9a5c;--c2:#5cd68a}}\
body{margin:0 auto;padding:16px;max-width:1000px;background:var(--back);color:var(--text);\
font:15px/1.5 system-ui,sans-serif}\
h1{font-size:1.4em}h2{font-size:1.1em}p,li{overflow-wrap:anywhere}\
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}\
th{text-align:left;font-weight:normal;padding:2px 16px 2px 0}td{text-align:right;padding:2px 0 2px 16px;\
white-space:nowrap}th[scope=col]{text-align:right;padding:2px 0 2px 16px;font-weight:600}\
tr+tr{border-top:1px solid var(--grid)}.heading{color:var(--dim);padding-top:10px}\
.warnings{border-left:4px solid var(--c1);padding:4px 8px 4px 28px}\
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,380px),1fr));gap:16px;\
margin-top:16px}\
figure{margin:0}figcaption{font-weight:600}svg{width:100%;height:auto}\
svg text{fill:var(--dim);font:12px system-ui,sans-serif}.end{text-anchor:end}.middle{text-anchor:middle}\
.grid{stroke:var(--grid)}.shade{fill:var(--shade)}.level{stroke:var(--dim);stroke-dasharray:4 4}\
.line{fill:none;stroke-width:2}.line.c0{stroke:var(--c0)}.line.c1{stroke:var(--c1)}\
.line.c2{stroke:var(--c2)}.dot.c0,.bar.c0{fill:var(--c0)}.dot.c1,.bar.c1{fill:var(--c1)}\
.dot.c2,.bar.c2{fill:var(--c2)}.error{stroke:var(--text);fill:none}\
.legend{margin:0;font-size:13px}.legend span{margin-right:16px}.legend span::before{content:'\u{25cf} '}\
.legend .c0::before{color:var(--c0)}.legend .c1::before{color:var(--c1)}\
.legend .c2::before{color:var(--c2)}";
