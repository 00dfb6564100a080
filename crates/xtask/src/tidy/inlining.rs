//! Checks that everything between `dispatch` and a vector instruction is inlined. A function or
//! closure that is not inlined is compiled without the level's instructions, and each of them
//! becomes a call.

use super::Finding;
use super::source::{SourceFile, Tree};

const OPS: &str = "crates/ops/src/";
/// Traits whose methods run at a level of instructions.
const TRAITS: [&str; 6] = [
    "Activation",
    "CacheElement",
    "Dot",
    "Grid",
    "Kernel",
    "Lanes",
];
/// Type bounds of functions that are compiled for each level.
const BOUNDS: [&str; 3] = ["S: Dot", "S: Lanes", "S: Simd"];

pub(super) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    let kernels = tree
        .rust_files()
        .filter(|file| file.path.starts_with(OPS) && !file.is_test());
    for file in kernels {
        check_file(file, findings);
    }
}

fn check_file(file: &SourceFile, findings: &mut Vec<Finding>) {
    let lines: Vec<&str> = file.code_lines().map(|(_, line)| line).collect();
    let mut in_trait_of_level = false;
    for (index, line) in lines.iter().enumerate() {
        if line.starts_with("impl") || line.starts_with("trait") || line.starts_with("pub") {
            in_trait_of_level = implements_trait_of_level(&signature(&lines[index..]));
        }
        if !is_function(line) {
            continue;
        }
        let signature = signature(&lines[index..]);
        let has_bound = BOUNDS.iter().any(|bound| signature.contains(bound));
        let runs_in_level = has_bound || in_trait_of_level && line.starts_with("    ");
        // A declaration in a trait has no body.
        if !runs_in_level || signature.ends_with(';') {
            continue;
        }
        let is_inlined = lines[..index]
            .iter()
            .rev()
            .take_while(|line| line.trim_start().starts_with('#'))
            .any(|line| line.contains("#[inline(always)]"));
        if !is_inlined {
            findings.push(Finding::error(
                &file.path,
                index + 1,
                "a function that runs inside a level is `#[inline(always)]`: else it is compiled \
                 without the level's instructions",
            ));
        }
        check_closures(file, &lines, index, findings);
    }
}

/// Whether the header of an `impl` names one of the traits.
fn implements_trait_of_level(header: &str) -> bool {
    let Some((before, _)) = header.split_once(" for ") else {
        return false;
    };
    let generics_end = before.rfind("> ").map_or(4, |at| at + 2);
    let name = before.get(generics_end..).unwrap_or(before).trim();
    TRAITS.iter().any(|it| name.split('<').next() == Some(*it))
}

/// Checks that closures of the function that starts on this line do not use the level.
fn check_closures(file: &SourceFile, lines: &[&str], first: usize, findings: &mut Vec<Finding>) {
    let indent = lines[first].len() - lines[first].trim_start().len();
    let end = format!("{}}}", " ".repeat(indent));
    let body = lines[first..].iter().take_while(|line| **line != end);
    for (offset, line) in body.enumerate() {
        let Some(start) = closure_start(line) else {
            continue;
        };
        let text = lines[first + offset..].join("\n");
        let closure = expression(&text[start..]);
        if closure.contains("S::") || closure.contains("<S>") || closure.contains("<S,") {
            findings.push(Finding::error(
                &file.path,
                first + offset + 1,
                "a closure is compiled without the level's instructions: write a loop",
            ));
        }
    }
}

fn is_function(line: &str) -> bool {
    line.split_whitespace()
        .take_while(|word| {
            ["pub", "pub(crate)", "pub(super)", "const", "unsafe", "fn"].contains(word)
        })
        .any(|word| word == "fn")
}

/// The text up to the start of the body or, for a declaration, up to the `;`. A `;` in brackets
/// belongs to an array type.
fn signature(lines: &[&str]) -> String {
    let text = lines.iter().take(20).copied().collect::<Vec<_>>().join(" ");
    let mut depth = 0;
    let end = text.char_indices().find(|(_, c)| {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            _ => {}
        }
        depth == 0 && matches!(c, '{' | ';')
    });
    let end = end.map_or(text.len(), |(at, _)| at + 1);
    text[..end].to_owned()
}

/// The start of the body of the line's first closure.
fn closure_start(line: &str) -> Option<usize> {
    let open = line.match_indices('|').find(|(at, _)| {
        let before = line[..*at].trim_end();
        before.ends_with(['(', ',', '=']) || before.ends_with("move")
    })?;
    let parameters = open.0 + 1;
    let close = line[parameters..].find('|')?;
    Some(parameters + close + 1)
}

/// The expression at the start of the text.
fn expression(text: &str) -> &str {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => return &text[..at],
            ')' | ']' | '}' => depth -= 1,
            ',' | ';' if depth == 0 => return &text[..at],
            _ => {}
        }
    }
    text
}
