//! The report for a terminal.

use std::fmt::Write;

use super::Report;
use super::arm_report::ArmReport;
use super::shown::{arm_rows, compared, conditions, measured};

/// The width of a terminal that everyone has.
const COLUMNS: usize = 100;

pub(super) fn render(report: &Report) -> String {
    let mut text = String::new();
    let spec = &report.spec;
    let [baseline, candidate] = [&spec.baseline, &spec.candidate];
    let title = format!(
        "Experiment {} on route {}: {candidate} against {baseline}",
        spec.id, spec.route
    );
    put(&mut text, "", &title);
    put(&mut text, "", &report.period.text());
    text.push('\n');
    let verdict = &report.verdict.verdict;
    put(
        &mut text,
        "",
        &format!("Verdict: {}", verdict.state.words()),
    );
    put(&mut text, "  ", &verdict.reason);
    if let Some(decided) = &report.verdict.decided_at {
        put(&mut text, "  ", &format!("Decided {decided}."));
    }
    if let Some(break_even) = &report.break_even {
        put(&mut text, "  ", &break_even.words);
    }
    if report.is_undecided() {
        put(&mut text, "  ", &report.plan.words);
    }
    text.push('\n');

    put(&mut text, "", &format!("{candidate} minus {baseline}"));
    for (what, figure, kind) in compared(report) {
        row(&mut text, &what, &measured(figure, kind), 40);
    }
    if !report.guardrails.is_empty() {
        text.push('\n');
        put(&mut text, "", "Guardrails");
        for guardrail in &report.guardrails {
            put(&mut text, "  ", &guardrail.status.reason);
        }
    }
    let arms = [
        (&report.arms, ""),
        (&report.other_arms, " (not compared)"),
        (&report.earlier_arms, " (earlier, not compared)"),
    ];
    for (arm, note) in arms
        .into_iter()
        .flat_map(|(arms, note)| arms.iter().map(move |arm| (arm, note)))
    {
        text.push('\n');
        put_arm(&mut text, arm, note);
    }
    text.push('\n');
    for line in conditions(report) {
        put(&mut text, "", &line);
    }
    text
}

fn put_arm(text: &mut String, arm: &ArmReport, note: &str) {
    put(text, "", &format!("Arm {}{note}", arm.arm));
    for (what, figure) in arm_rows(arm) {
        row(text, what, &figure, 24);
    }
}

/// A row with two columns. A long figure continues in its column.
fn row(text: &mut String, what: &str, figure: &str, width: usize) {
    let first = format!("  {:width$}", visible(what));
    put_after(text, &first, &" ".repeat(width + 2), figure);
}

/// Writes a paragraph in lines of at most [`COLUMNS`].
fn put(text: &mut String, indent: &str, paragraph: &str) {
    put_after(text, indent, indent, paragraph);
}

/// A paragraph whose first line begins with `first` and whose other lines are indented.
fn put_after(text: &mut String, first: &str, indent: &str, paragraph: &str) {
    let mut line = first.to_owned();
    let mut is_start = true;
    for word in visible(paragraph).split(' ') {
        let gap = usize::from(!is_start);
        let columns = line.chars().count() + gap + word.chars().count();
        if !is_start && columns > COLUMNS {
            text.push_str(line.trim_end());
            text.push('\n');
            line = format!("{indent}{word}");
            continue;
        }
        if !is_start {
            line.push(' ');
        }
        line.push_str(word);
        is_start = false;
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

/// Names of callers and vendors command no terminal.
fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            it if it.is_control() || is_direction(it) => {
                // A string takes all that is written to it.
                let _ = write!(shown, "{}", it.escape_default());
            }
            it => shown.push(it),
        }
    }
    shown
}

/// Characters that are not seen, or change the order of others.
fn is_direction(character: char) -> bool {
    matches!(
        character,
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
    )
}
