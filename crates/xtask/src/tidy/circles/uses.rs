//! Reads the `use` declarations of a file.

use super::super::source::SourceFile;

/// Every name that the file imports, with its path as written.
pub(super) fn uses(file: &SourceFile) -> Vec<(String, Vec<String>)> {
    let code: String = file
        .code_lines()
        .flat_map(|(_, line)| [line, " "])
        .collect();
    let mut imports = Vec::new();
    for (start, _) in code.match_indices("use ") {
        let before = code[..start].trim_end();
        let is_statement = before.is_empty()
            || before.ends_with([';', '{', '}', ']', ')'])
            || before.ends_with("pub");
        let text = &code[start + 4..];
        if let Some(end) = text.find(';').filter(|_| is_statement) {
            expand(text[..end].trim(), &[], &mut imports);
        }
    }
    imports
}

/// Adds the imports of `tree`, such as `a::{b, c as d}`, below `prefix`.
fn expand(tree: &str, prefix: &[String], imports: &mut Vec<(String, Vec<String>)>) {
    if let Some((path, group)) = tree.split_once('{') {
        let prefix = [prefix, &segments(path)].concat();
        let group = group.trim_end().strip_suffix('}').unwrap_or(group);
        for item in split_at_commas(group) {
            expand(item.trim(), &prefix, imports);
        }
        return;
    }
    let (path, alias) = match tree.split_once(" as ") {
        Some((path, alias)) => (path, Some(alias.trim())),
        None => (tree, None),
    };
    let mut path = [prefix, &segments(path)].concat();
    if path.last().is_some_and(|last| last == "self") && path.len() > 1 {
        path.pop();
    }
    if let Some(last) = path.last() {
        imports.push((alias.unwrap_or(last).to_owned(), path));
    }
}

fn segments(path: &str) -> Vec<String> {
    let parts = path.split("::").map(str::trim);
    parts
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Splits at the commas that are not inside braces.
fn split_at_commas(group: &str) -> Vec<&str> {
    let mut depth = 0;
    group
        .split(move |c| {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            c == ',' && depth == 0
        })
        .filter(|item| !item.trim().is_empty())
        .collect()
}
