//! What a window came to: its requests, and what else the device's time went on.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use crate::picoseconds::sum_sql;
use crate::runs::Runs;
use crate::store::Store;
use crate::usage::{Charge, RunUsage};
use crate::{GroupKey, LedgerError, Outcome, Picoseconds, Usage, Window};

/// A window's costs. The lines add up to the window's device time at its price, exactly:
/// what no row explains has a line of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Invoice {
    /// What it is about.
    pub window: Window,
    /// All the time that devices were up in it, at the price of each.
    pub total: Charge,
    /// What it went on, requests first.
    pub lines: Vec<InvoiceLine>,
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct InvoiceLine {
    /// What the time went on.
    pub item: Item,
    /// Whose requests; empty where it was no request's.
    pub key: GroupKey,
    /// How much.
    pub usage: Usage,
}

/// What the device's time can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Item {
    /// Requests that were answered.
    Served,
    /// Requests whose caller left.
    Aborted,
    /// Requests that failed.
    Failed,
    /// Nothing was wanted.
    Idle,
    /// Steps were wanted, and the device waited for the host.
    Host,
    /// Loading and measuring, before the first request.
    WarmUp,
    /// Loading adapters.
    AdapterLoad,
    /// Requests that ran over an end of the window: its share, less what belongs to its neighbours.
    InFlight,
    /// Requests of a process that was killed: their rows are lost, their time is not.
    Lost,
}

impl Item {
    /// Its name in reports, and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Aborted => "aborted",
            Self::Failed => "failed",
            Self::Idle => "idle",
            Self::Host => "host",
            Self::WarmUp => "warm_up",
            Self::AdapterLoad => "adapter_load",
            Self::InFlight => "in_flight",
            Self::Lost => "lost",
        }
    }

    /// Whether requests stand behind it.
    pub fn is_requests(self) -> bool {
        matches!(self, Self::Served | Self::Aborted | Self::Failed)
    }

    fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Stop | Outcome::Length => Self::Served,
            Outcome::Abort => Self::Aborted,
            Outcome::Error | Outcome::Refused => Self::Failed,
        }
    }
}

impl Invoice {
    /// Σ of the lines less the window at its price, in US dollars: 0 but for the last digit of a
    /// decimal. None where there is no price.
    pub fn residual_usd(&self) -> Option<Decimal> {
        let lines = self.lines.iter().map(|line| line.usage.device.usd);
        Some(lines.sum::<Option<Decimal>>()? - self.total.usd?)
    }

    /// Σ of the lines' time less the window's: 0.
    pub fn residual_time(&self) -> Picoseconds {
        let lines = self.lines.iter().map(|line| line.usage.device.time);
        lines.sum::<Picoseconds>() - self.total.time
    }
}

/// What a run's device did in a stretch of a window.
pub(crate) struct RunTime {
    pub run: i64,
    pub stretch: i64,
    pub window: Picoseconds,
    pub steps: Picoseconds,
    /// The rest of the window.
    pub others: [(Item, Picoseconds); 4],
}

/// The device's time of the window, by stretches of `stretch_s` seconds from its start.
pub(crate) fn device_time(
    store: &mut dyn Store,
    window: Window,
    stretch_s: i64,
) -> Result<Vec<RunTime>, LedgerError> {
    let (start, end) = (window.start(), window.end());
    let sql = format!(
        "SELECT run, (start_s - {start}) / {stretch_s} AS stretch, {}, {}, {}, {}, {}, {} \
         FROM device_minutes WHERE start_s >= {start} AND start_s < {end} GROUP BY run, stretch",
        sum_sql("window_ps"),
        sum_sql("steps_ps"),
        sum_sql("idle_ps"),
        sum_sql("host_ps"),
        sum_sql("warm_up_ps"),
        sum_sql("adapter_load_ps"),
    );
    let mut times = Vec::new();
    store.query(&sql, &[], &mut |row| {
        let time = |column| Picoseconds::read_sum(row, column);
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

/// The invoice of one stretch, of `usages` and `times` of that stretch alone. Where only some of
/// the requests are asked for, the lines are theirs alone, and so is the total.
pub(crate) fn draw_up(
    window: Window,
    usages: Vec<RunUsage>,
    times: Vec<RunTime>,
    runs: &Runs,
    all_requests: bool,
) -> Invoice {
    let mut lines: BTreeMap<(Item, GroupKey), Usage> = BTreeMap::new();
    // Of each run: its steps less what its rows tell.
    let mut untold: BTreeMap<i64, Picoseconds> = BTreeMap::new();
    for RunUsage {
        run,
        outcome,
        key,
        usage,
        ..
    } in usages
    {
        let untold = untold.entry(run).or_default();
        *untold = *untold - usage.device.time;
        *lines.entry((Item::of(outcome), key)).or_default() += &usage;
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
            *untold.entry(time.run).or_default() += time.steps;
            for (item, spent) in time.others {
                add(item, spent, time.run);
            }
        }
        for (run, time) in untold {
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
    }
}
