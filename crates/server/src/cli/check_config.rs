//! `farthing check-config`: checks a routes file without a server.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use farthing_economics::PriceBook;
use farthing_gateway::{Arm, Route, RoutesFile, Target};
use farthing_vendors::Vendor;

use super::output;
use crate::visible::visible_lines;

/// Flags of `check-config`.
#[derive(Clone, Debug, clap::Args)]
pub struct CheckConfigArgs {
    /// The routes file, as in `serve --routes`
    #[arg(value_name = "FILE")]
    routes: PathBuf,
}

/// Says what each route does. Keys are read, nothing is sent.
///
/// # Errors
/// The file cannot be used. The message names the key.
pub fn run(args: &CheckConfigArgs) -> anyhow::Result<()> {
    let file = args.routes.display();
    let text = fs::read_to_string(&args.routes).with_context(|| format!("cannot read {file}"))?;
    let routes = RoutesFile::parse(&text).with_context(|| format!("{file} cannot be used"))?;
    let books = PriceBook::shipped()?;
    let secrets = |variable: &str| std::env::var(variable).ok();
    for (name, entry) in &routes.vendors {
        Vendor::new(name, entry.config.clone(), &secrets, &books)
            .with_context(|| format!("{file} cannot be used"))?;
    }
    let mut shown = String::new();
    for route in routes.routes.values() {
        // Writing to a string cannot fail.
        let _ = write_route(&mut shown, route);
    }
    let (vendors, count) = (routes.vendors.len(), routes.routes.len());
    let _ = writeln!(
        shown,
        "{vendors} vendors and {count} routes. Arms of this server are checked when it starts: they name its \
         models and adapters."
    );
    output::print(visible_lines(&shown))
}

fn write_route(to: &mut String, route: &Route) -> std::fmt::Result {
    writeln!(to, "{}", route.name)?;
    let whole: f64 = route.arms.iter().map(|arm| arm.weight).sum();
    for arm in &route.arms {
        let share = match route.arms.len() {
            1 => "all requests".to_owned(),
            _ if arm.weight == 0.0 => "no units by assignment".to_owned(),
            _ => format!("{:.3} % of the units", 100.0 * arm.weight / whole),
        };
        writeln!(to, "  arm {}: {}, {share}", arm.name, target(arm))?;
    }
    for rule in &route.rules {
        writeln!(to, "  a rule sends requests to {}", rule.arm)?;
    }
    if !route.fallback.arms.is_empty() {
        writeln!(
            to,
            "  after a failure: {}",
            route.fallback.arms.join(", then ")
        )?;
    }
    if let Some(shadow) = &route.shadow {
        let percent = 100.0 * shadow.share;
        writeln!(
            to,
            "  shadow: {} answers {percent} % of the units unseen",
            shadow.arm
        )?;
    }
    if let Some(ramp) = &route.ramp {
        let shares = ramp
            .shares
            .iter()
            .map(|share| format!("{} %", 100.0 * share));
        let shares = shares.collect::<Vec<_>>().join(", ");
        writeln!(
            to,
            "  ramp: {} gets {shares}, {} h each",
            ramp.arm, ramp.step_hours
        )?;
    }
    for check in route.checks.iter() {
        writeln!(to, "  check of answers: {}", check.name())?;
    }
    Ok(())
}

fn target(arm: &Arm) -> String {
    match &arm.target {
        Target::Own { model } => format!("this server's {model}"),
        Target::Vendor { vendor, model } => format!("{model} of {vendor}"),
    }
}
