//! The report as one HTML file. It loads nothing and runs nothing.

mod interval_picture;

use super::Report;
use super::decision::VerdictState;
use super::shown::{arm_rows, compared, conditions, measured};
use interval_picture::picture;

const STYLE: &str = include_str!("html/style.css");

pub(super) fn render(report: &Report) -> String {
    let spec = &report.spec;
    let title = format!("Experiment {}", spec.id);
    let introduction = format!(
        "Route {}: {} against {}, {}",
        spec.route,
        spec.candidate,
        spec.baseline,
        report.period.text()
    );
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title}</h1>\n<p class=\"quiet\">{}</p>\n{}{}{}{}{}</main>\n</body>\n</html>\n",
        escaped(&introduction),
        verdict(report),
        comparison(report),
        arms(report),
        guardrails(report),
        list("What this rests on", &conditions(report)),
        title = escaped(&title),
    )
}

fn verdict(report: &Report) -> String {
    let verdict = &report.verdict.verdict;
    let class = match verdict.state {
        VerdictState::NonInferiorAndCheaper => "verdict good",
        VerdictState::Worse | VerdictState::Invalid => "verdict bad",
        VerdictState::Collecting | VerdictState::Inconclusive => "verdict",
    };
    let mut words = vec![verdict.reason.clone()];
    if let Some(decided) = &report.verdict.decided_at {
        words.push(format!("Decided {decided}."));
    }
    words.extend(report.break_even.iter().map(|it| it.words.clone()));
    if report.is_undecided() {
        words.push(report.plan.words.clone());
    }
    let words: String = words
        .iter()
        .map(|words| format!("<p>{}</p>\n", escaped(words)))
        .collect();
    format!(
        "<section class=\"{class}\" aria-label=\"Verdict\">\n<p><strong>Verdict: {}</strong></p>\n\
         {words}</section>\n",
        verdict.state.words()
    )
}

fn comparison(report: &Report) -> String {
    let rows: String = compared(report)
        .into_iter()
        .map(|(what, figure, kind)| {
            format!(
                "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td></tr>\n",
                escaped(&what),
                escaped(&measured(figure, kind)),
                picture(&what, figure, kind)
            )
        })
        .collect();
    format!(
        "<h2>{}</h2>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Differences\">\n\
         <table>\n<thead><tr><th scope=\"col\">metric</th><th scope=\"col\">difference and interval</th>\
         <th scope=\"col\">picture (dashed: no difference)</th></tr></thead>\n<tbody>\n{rows}</tbody>\n\
         </table>\n</div>\n",
        escaped(&format!(
            "{} minus {}",
            report.spec.candidate, report.spec.baseline
        ))
    )
}

fn arms(report: &Report) -> String {
    [
        ("Arms", &report.arms),
        ("Other arms, not compared", &report.other_arms),
        ("Earlier, not compared", &report.earlier_arms),
    ]
    .into_iter()
    .filter(|(_, arms)| !arms.is_empty())
    .map(|(heading, arms)| arm_table(heading, arms))
    .collect()
}

fn arm_table(heading: &str, arms: &[super::arm_report::ArmReport]) -> String {
    let columns: Vec<Vec<(&str, String)>> = arms.iter().map(arm_rows).collect();
    let longest = columns.iter().max_by_key(|rows| rows.len());
    let names: String = arms
        .iter()
        .map(|arm| format!("<th scope=\"col\">{}</th>", escaped(&arm.arm)))
        .collect();
    let rows: String = longest
        .into_iter()
        .flatten()
        .enumerate()
        .map(|(row, (what, _))| {
            let cells: String = columns
                .iter()
                .zip(arms)
                .map(|(rows, arm)| {
                    let figure = rows.get(row).map_or("–", |(_, figure)| figure);
                    let (name, figure) = (escaped(&arm.arm), escaped(figure));
                    format!("<td data-arm=\"{name}\">{figure}</td>")
                })
                .collect();
            format!("<tr><th scope=\"row\">{what}</th>{cells}</tr>\n")
        })
        .collect();
    format!(
        "<h2>{heading}</h2>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" \
         aria-label=\"{heading}\">\n<table>\n<thead><tr><th scope=\"col\">by assigned arm</th>{names}\
         </tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n</div>\n"
    )
}

fn guardrails(report: &Report) -> String {
    let reasons: Vec<_> = report
        .guardrails
        .iter()
        .map(|guardrail| guardrail.status.reason.clone())
        .collect();
    match reasons.is_empty() {
        true => String::new(),
        false => list("Guardrails", &reasons),
    }
}

fn list(heading: &str, lines: &[String]) -> String {
    let lines: String = lines
        .iter()
        .map(|line| format!("<li>{}</li>\n", escaped(line)))
        .collect();
    format!("<h2>{heading}</h2>\n<ul>\n{lines}</ul>\n")
}

/// Text that is no markup, whatever callers and vendors have put into it.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            it => escaped.push(it),
        }
    }
    escaped
}
