//! Checks rules for all Rust code.

use super::Finding;
use super::source::Tree;

pub(super) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    for file in tree.rust_files() {
        let mut error = |line, message: &str| {
            findings.push(Finding::error(&file.path, line, message));
        };
        if !file.path.starts_with("crates/ops/") {
            for line in file.lines_saying("unsafe") {
                error(line, "`unsafe` belongs to crates/ops alone");
            }
        }
        for (line, code) in file.code_lines() {
            if code.contains("#[ignore") {
                error(
                    line,
                    "a test that is ignored proves nothing: make it run or delete it",
                );
            }
        }
        if file.is_test() {
            for line in file.lines_saying("sleep") {
                error(line, "a test waits for what it needs, not for time to pass");
            }
        }
    }
}
