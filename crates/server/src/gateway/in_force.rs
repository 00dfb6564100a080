//! The routes and vendors that requests use.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use farthing_economics::PriceBook;
use farthing_gateway::{ExperimentSpec, Route, RoutesFile, Target};
use farthing_ledger::{Filter, GroupBy};
use farthing_vendors::Vendor;

use crate::clock::today;
use crate::request::bookkeeper::{self, Bookkeeper};
use crate::served_models::ServedModels;

/// A routes file that was read, with its vendors.
#[derive(Default)]
pub(crate) struct InForce {
    pub routes: BTreeMap<String, Arc<Route>>,
    pub experiments: BTreeMap<String, Arc<ExperimentSpec>>,
    vendors: BTreeMap<String, VendorInForce>,
}

/// A vendor and what the file says of it.
struct VendorInForce {
    vendor: Arc<Vendor>,
    table: toml::Table,
}

impl InForce {
    /// Reads a routes file; see [`parse`](Self::parse).
    ///
    /// # Errors
    /// The file cannot be used. The message names the key.
    pub(crate) fn read(file: &Path, models: &ServedModels, before: &Self) -> anyhow::Result<Self> {
        let text = fs::read_to_string(file)
            .with_context(|| format!("cannot read the routes file {}", file.display()))?;
        let in_force = Self::parse(&text, models, before);
        in_force.with_context(|| format!("the routes file {} cannot be used", file.display()))
    }

    /// Reads the text of a routes file. A vendor of `before` whose table did not change stays the same, with
    /// what it has spent and the time for which it is left alone.
    ///
    /// # Errors
    /// The text cannot be used. The message names the key.
    pub(crate) fn parse(text: &str, models: &ServedModels, before: &Self) -> anyhow::Result<Self> {
        let file = RoutesFile::parse(text)?;
        let books = PriceBook::shipped()?;
        let mut vendors = BTreeMap::new();
        for (name, entry) in file.vendors {
            let unchanged = before
                .vendors
                .get(&name)
                .filter(|it| it.table == entry.table);
            let vendor = match unchanged {
                Some(same) => same.vendor.clone(),
                None => {
                    let secrets = |variable: &str| std::env::var(variable).ok();
                    let vendor = Vendor::new(&name, entry.config, &secrets, &books);
                    let vendor = vendor.context("[vendors]")?;
                    if let Some(same_name) = before.vendors.get(&name) {
                        // A new price or limit does not lift the day's cap.
                        vendor.add_spent(same_name.vendor.figures().spent_today_usd, today());
                    }
                    Arc::new(vendor)
                }
            };
            let table = entry.table;
            vendors.insert(name, VendorInForce { vendor, table });
        }
        for route in file.routes.values() {
            check_models(route, models)?;
        }
        Ok(Self {
            routes: file.routes,
            experiments: file.experiments,
            vendors,
        })
    }

    /// Counts what each vendor was paid today, so that a restart does not lift the day's cap.
    pub(crate) async fn count_spent(&self, bookkeeper: &Bookkeeper) -> anyhow::Result<()> {
        let window = bookkeeper::today()?;
        let (by, all) = (GroupBy::default(), Filter::default());
        let invoice = bookkeeper
            .read(move |ledger| ledger.invoice(window, by, &all))
            .await?;
        for line in invoice.vendors {
            if let Some(known) = self.vendor(&line.vendor) {
                known.add_spent(line.usage.vendor.usd, today());
            }
        }
        Ok(())
    }

    /// The vendor of an arm.
    pub(crate) fn vendor(&self, name: &str) -> Option<&Arc<Vendor>> {
        Some(&self.vendors.get(name)?.vendor)
    }

    pub(crate) fn vendors(&self) -> impl Iterator<Item = &Arc<Vendor>> {
        self.vendors.values().map(|it| &it.vendor)
    }
}

/// Names are unique, and arms of this server name what it serves. An adapter that is loaded later by its
/// name cannot be known now.
fn check_models(route: &Route, models: &ServedModels) -> anyhow::Result<()> {
    let name = &route.name;
    ensure!(
        !models.is_served(name),
        "routes.{name}: a model or an adapter of this server has this name"
    );
    for arm in &route.arms {
        if let Target::Own { model } = &arm.target {
            ensure!(
                models.may_be_served(model),
                "routes.{name}.arms.{}.model: this server has no model or adapter {model:?}",
                arm.name
            );
        }
    }
    Ok(())
}
