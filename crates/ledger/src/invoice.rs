//! The invoice of a window: its requests, and the other uses of the device time.

use std::collections::BTreeMap;

use farthing_economics::HourlyPrice;
use rust_decimal::Decimal;

use crate::picosecond_sum::{read_sum, sum_sql};
use crate::runs::Runs;
use crate::store::Store;
use crate::usage::{Charge, RunUsage};
use crate::{GroupKey, LedgerError, Outcome, Picoseconds, Usage, VendorBills, Window};

/// The costs of a window. The lines add up exactly to the window's device time at its price; time
/// that no row accounts for has a line of its own. The bills of vendors are beside them.
#[derive(Clone, Debug, PartialEq)]
pub struct Invoice {
    /// The invoiced window.
    pub window: Window,
    /// The total device time in the window, and its cost.
    pub total: Charge,
    /// The lines, requests first.
    pub lines: Vec<InvoiceLine>,
    /// The attempts at vendors, by vendor and model.
    pub vendors: Vec<VendorLine>,
}

/// One line of an invoice.
#[derive(Clone, Debug, PartialEq)]
pub struct InvoiceLine {
    /// How the time was used.
    pub item: Item,
    /// The group of requests; empty if the line is not about requests.
    pub key: GroupKey,
    /// The amounts.
    pub usage: Usage,
}

/// The attempts at one model of one vendor.
#[derive(Clone, Debug, PartialEq)]
pub struct VendorLine {
    /// The vendor.
    pub vendor: String,
    /// The model that served.
    pub model: String,
    /// The group of requests.
    pub key: GroupKey,
    /// The amounts. They have no device time.
    pub usage: Usage,
}

/// The uses of device time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Item {
    /// Requests that were answered.
    Served,
    /// Requests whose caller left.
    Aborted,
    /// Requests that failed.
    Failed,
    /// Shadows, judges and replays of an experiment, however they ended.
    Experiment,
    /// Time without any request.
    Idle,
    /// Time in which there was work but the device waited for the host.
    Host,
    /// Time to load and measure, before the first request.
    WarmUp,
    /// Time to load adapters.
    AdapterLoad,
    /// Requests that crossed a boundary of the window: time inside it whose row is outside, less
    /// time outside whose row is inside.
    InFlight,
    /// Requests of a process that was killed. Their rows are lost, but not their time.
    Lost,
}

impl Item {
    /// The name in reports and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Aborted => "aborted",
            Self::Failed => "failed",
            Self::Experiment => "experiment",
            Self::Idle => "idle",
            Self::Host => "host",
            Self::WarmUp => "warm_up",
            Self::AdapterLoad => "adapter_load",
            Self::InFlight => "in_flight",
            Self::Lost => "lost",
        }
    }

    /// Whether the item is about requests.
    pub fn is_requests(self) -> bool {
        matches!(
            self,
            Self::Served | Self::Aborted | Self::Failed | Self::Experiment
        )
    }

    fn of(outcome: Outcome, key: &GroupKey) -> Self {
        if key.experiment.is_some() {
            return Self::Experiment;
        }
        match outcome {
            Outcome::Stop | Outcome::Length => Self::Served,
            Outcome::Abort => Self::Aborted,
            Outcome::Error | Outcome::Refused => Self::Failed,
        }
    }
}

impl Invoice {
    /// The bills of all vendors.
    pub fn vendor_total(&self) -> VendorBills {
        let mut total = VendorBills::default();
        self.vendors
            .iter()
            .for_each(|line| total += line.usage.vendor);
        total
    }

    /// The device time and the bills of vendors together, in US dollars; `None` if the device time
    /// has no price. If a bill is unknown, it is at least this.
    pub fn total_usd(&self) -> Option<Decimal> {
        Some(self.total.usd? + self.vendor_total().usd)
    }

    /// The sum of the lines minus the total, in US dollars: 0 except for the last decimal digit.
    /// `None` if there is no price.
    pub fn residual_usd(&self) -> Option<Decimal> {
        let lines = self.lines.iter().map(|line| line.usage.device.usd);
        Some(lines.sum::<Option<Decimal>>()? - self.total.usd?)
    }

    /// The sum of the lines' time minus the window's: 0.
    pub fn residual_time(&self) -> Picoseconds {
        let lines = self.lines.iter().map(|line| line.usage.device.time);
        lines.sum::<Picoseconds>() - self.total.time
    }
}

/// What devices did in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DeviceUse {
    /// All device time.
    pub window: Picoseconds,
    /// The time of engine steps.
    pub steps: Picoseconds,
    /// The hourly price of the latest run that has one.
    pub latest_price: Option<HourlyPrice>,
}

/// Device time of one run in a period of a window.
pub(crate) struct RunTime {
    pub run: i64,
    pub stretch: i64,
    pub window: Picoseconds,
    pub steps: Picoseconds,
    /// The remaining uses.
    pub others: [(Item, Picoseconds); 4],
}

/// Device time in the window, by periods of `stretch_s` seconds from its start.
pub(crate) fn device_time(
    store: &mut dyn Store,
    window: Window,
    stretch_s: i64,
) -> Result<Vec<RunTime>, LedgerError> {
    let (start, end) = (window.start(), window.end());
    let sql = format!(
        "SELECT run, (start_s - {start}) / {stretch_s} AS stretch, {}, {}, {}, {}, {}, {} \
         FROM device_minutes WHERE start_s >= {start} AND start_s < {end} GROUP BY run, stretch \
         ORDER BY run",
        sum_sql("window_ps"),
        sum_sql("steps_ps"),
        sum_sql("idle_ps"),
        sum_sql("host_ps"),
        sum_sql("warm_up_ps"),
        sum_sql("adapter_load_ps"),
    );
    let mut times = Vec::new();
    store.query(&sql, &[], &mut |row| {
        let time = |column| read_sum(row, column);
        times.push(RunTime {
            run: row.integer(0)?,
            stretch: row.integer(1)?,
            window: time(2)?,
            steps: time(4)?,
            others: [
                (Item::Idle, time(6)?),
                (Item::Host, time(8)?),
                (Item::WarmUp, time(10)?),
                (Item::AdapterLoad, time(12)?),
            ],
        });
        Ok(())
    })?;
    Ok(times)
}

/// The invoice of one period; `usages` and `times` are of that period only. If only some requests
/// are selected, the lines and the total are of those only.
pub(crate) fn draw_up(
    window: Window,
    usages: Vec<RunUsage>,
    times: Vec<RunTime>,
    runs: &Runs,
    all_requests: bool,
) -> Invoice {
    let mut lines: BTreeMap<(Item, GroupKey), Usage> = BTreeMap::new();
    let mut vendors: BTreeMap<(GroupKey, (String, String)), Usage> = BTreeMap::new();
    // For each run: its steps minus the time in its rows.
    let mut unaccounted: BTreeMap<i64, Picoseconds> = BTreeMap::new();
    for RunUsage {
        run,
        outcome,
        key,
        vendor,
        mut usage,
        ..
    } in usages
    {
        let unaccounted = unaccounted.entry(run).or_default();
        *unaccounted = *unaccounted - usage.device.time;
        let item = Item::of(outcome, &key);
        if let Some(vendor) = vendor {
            let device = std::mem::take(&mut usage.device);
            let line = vendors.entry((key.clone(), vendor)).or_default();
            *line += &usage;
            // A vendor takes no time of our device. If a row has some, it is not lost.
            if device.time == Picoseconds::default() {
                continue;
            }
            usage = Usage {
                device,
                ..Usage::default()
            };
        }
        *lines.entry((item, key)).or_default() += &usage;
    }
    let mut total = Charge::default();
    if all_requests {
        let mut add = |item, time, run| {
            if time != Picoseconds::default() {
                let line = lines.entry((item, GroupKey::default())).or_default();
                line.device += Charge::new(time, runs.price(run));
            }
        };
        for time in times {
            total += Charge::new(time.window, runs.price(time.run));
            *unaccounted.entry(time.run).or_default() += time.steps;
            for (item, spent) in time.others {
                add(item, spent, time.run);
            }
        }
        for (run, time) in unaccounted {
            let item = if runs.was_killed_in(run, window) {
                Item::Lost
            } else {
                Item::InFlight
            };
            add(item, time, run);
        }
    } else {
        lines.values().for_each(|usage| total += usage.device);
    }
    let lines = lines.into_iter();
    Invoice {
        window,
        total,
        lines: lines
            .map(|((item, key), usage)| InvoiceLine { item, key, usage })
            .collect(),
        vendors: vendors
            .into_iter()
            .map(|((key, (vendor, model)), usage)| VendorLine {
                vendor,
                model,
                key,
                usage,
            })
            .collect(),
    }
}
