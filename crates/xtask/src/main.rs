//! `cargo xtask tidy`: see [`xtask::tidy`].

use std::path::Path;
use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["tidy"] => tidy(Path::new(".")),
        ["tidy", root] => tidy(Path::new(root)),
        _ => {
            eprintln!("usage: cargo xtask tidy [DIR]");
            Ok(ExitCode::from(2))
        }
    }
}

fn tidy(root: &Path) -> anyhow::Result<ExitCode> {
    let report = xtask::tidy::check(root)?;
    println!("{report}");
    Ok(if report.is_tidy() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
