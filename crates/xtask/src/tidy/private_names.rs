//! Finds names of machines and tools, which do not belong to the project.

use super::Finding;
use super::source::Tree;

/// Folders of a developer's machine. They are written in two parts, so that this file passes its
/// own check.
const HOMES: [&str; 4] = [
    concat!("/", "work/"),
    concat!("/", "root/"),
    concat!("/", "home/"),
    concat!("/", "Users/"),
];
/// Addresses of package registries, which only their clients need.
const REGISTRIES: [&str; 6] = [
    concat!("crates", ".io"),
    concat!("pypi", ".org"),
    concat!("python", "hosted.org"),
    concat!("npmjs", ".com"),
    concat!("npmjs", ".org"),
    concat!("deb", ".debian.org"),
];
/// Cargo itself writes the address of its registry.
const WRITTEN_BY_TOOLS: [&str; 1] = ["Cargo.lock"];

pub(super) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    let files = tree.files().iter();
    for file in files.filter(|file| !WRITTEN_BY_TOOLS.contains(&file.path.as_str())) {
        for (number, line) in (1..).zip(file.text.lines()) {
            if let Some(home) = HOMES.iter().find(|home| has_absolute(line, home)) {
                let message = format!("`{home}` is a folder of one machine");
                findings.push(Finding::error(&file.path, number, message));
            }
            if let Some(host) = REGISTRIES.iter().find(|host| line.contains(*host)) {
                let message = format!("`{host}` is a registry's address: name the package instead");
                findings.push(Finding::error(&file.path, number, message));
            }
        }
    }
}

/// Whether `path` starts here and is not a part of a longer path.
fn has_absolute(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(start, _)| {
        !line[..start].ends_with(|c: char| c.is_alphanumeric() || "_-.}/*~".contains(c))
    })
}
