//! Reading a ledger.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Instant;

use crate::invoice::{self, RunTime};
use crate::runs::Runs;
use crate::store::notes::SELECT_VERDICT;
use crate::store::{self, Access, Store};
use crate::usage::{self, RunUsage};
use crate::{
    AssignedAttempt, AssignedRequest, AssignedTo, DecidedVerdict, DeviceUse, ExperimentRows,
    ExportFormat, Filter, GroupBy, GroupKey, Invoice, LedgerError, Location, Outcome, Usage,
    Window, export,
};

/// A consistent snapshot of a ledger, also while a server writes it. It should not be kept for
/// long, because the database has to keep old versions for it.
pub struct LedgerReader {
    store: Box<dyn Store>,
}

/// Sums by group and outcome.
pub type Groups = BTreeMap<(GroupKey, Outcome), Usage>;

impl LedgerReader {
    /// Opens an existing ledger.
    ///
    /// # Errors
    /// There is no ledger, or it has another schema version.
    pub fn open(location: &Location) -> Result<Self, LedgerError> {
        let store = store::open(location, Access::Read { until: None })?;
        Ok(Self { store })
    }

    /// Like [`open`](Self::open), for answers that are of no use after `until`: whatever is not read
    /// by then ends with an error.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn open_until(location: &Location, until: Instant) -> Result<Self, LedgerError> {
        let until = Some(until);
        let store = store::open(location, Access::Read { until })?;
        Ok(Self { store })
    }

    /// Usage of requests, by periods of `stretch_s` seconds from the start of the window. The key
    /// is the first second of a period. Periods without requests are left out.
    ///
    /// # Errors
    /// The database failed.
    pub fn usage(
        &mut self,
        window: Window,
        stretch_s: i64,
        group_by: GroupBy,
        filter: &Filter,
    ) -> Result<BTreeMap<i64, Groups>, LedgerError> {
        let store = self.store.as_mut();
        let runs = Runs::load(store)?;
        let usages = usage::query(store, window, stretch_s, group_by, filter, &runs)?;
        let mut stretches: BTreeMap<i64, Groups> = BTreeMap::new();
        for usage in usages {
            let start = window.start() + usage.stretch * stretch_s;
            let groups = stretches.entry(start).or_default();
            *groups.entry((usage.key, usage.outcome)).or_default() += &usage.usage;
        }
        Ok(stretches)
    }

    /// The invoice of a window. With a filter it covers only the selected requests.
    ///
    /// # Errors
    /// The database failed.
    pub fn invoice(
        &mut self,
        window: Window,
        group_by: GroupBy,
        filter: &Filter,
    ) -> Result<Invoice, LedgerError> {
        let whole = window.end() - window.start();
        let mut invoices = self.invoices(window, whole, group_by, filter)?;
        let empty = || {
            let runs = Runs::default();
            invoice::draw_up(window, Vec::new(), Vec::new(), &runs, filter.is_empty())
        };
        Ok(invoices.remove(&window.start()).unwrap_or_else(empty))
    }

    /// One invoice per period, with the periods of [`usage`](Self::usage).
    ///
    /// # Errors
    /// The database failed.
    pub fn invoices(
        &mut self,
        window: Window,
        stretch_s: i64,
        group_by: GroupBy,
        filter: &Filter,
    ) -> Result<BTreeMap<i64, Invoice>, LedgerError> {
        let store = self.store.as_mut();
        let runs = Runs::load(store)?;
        let mut stretches: BTreeMap<i64, (Vec<RunUsage>, Vec<RunTime>)> = BTreeMap::new();
        for time in invoice::device_time(store, window, stretch_s)? {
            stretches.entry(time.stretch).or_default().1.push(time);
        }
        for usage in usage::query(store, window, stretch_s, group_by, filter, &runs)? {
            stretches.entry(usage.stretch).or_default().0.push(usage);
        }
        let draw_up = |(stretch, (usages, times))| {
            let start = window.start() + stretch * stretch_s;
            let stretch = Window::new(start, (start + stretch_s).min(window.end()))?;
            let invoice = invoice::draw_up(stretch, usages, times, &runs, filter.is_empty());
            Ok((start, invoice))
        };
        stretches.into_iter().map(draw_up).collect()
    }

    /// Writes the window's rows, oldest first, and returns their number.
    ///
    /// # Errors
    /// The database or the output failed.
    pub fn export(
        &mut self,
        window: Window,
        format: ExportFormat,
        out: impl Write + Send,
    ) -> Result<u64, LedgerError> {
        export::write(self.store.as_mut(), window, format, out)
    }

    /// The arms to which an experiment assigned requests.
    ///
    /// # Errors
    /// The database failed.
    pub fn assigned_arms(&mut self, rows: &ExperimentRows) -> Result<Vec<AssignedTo>, LedgerError> {
        rows.arms(self.store.as_mut())
    }

    /// Calls `each` for every assigned request of an experiment, with its value of `metric`, in the
    /// order of arm, unit and request.
    ///
    /// # Errors
    /// The database failed.
    pub fn assigned_requests(
        &mut self,
        rows: &ExperimentRows,
        metric: &str,
        mut each: impl FnMut(AssignedRequest),
    ) -> Result<(), LedgerError> {
        rows.requests(self.store.as_mut(), metric, &mut each)
    }

    /// Calls `each` for every attempt of an experiment, in the order of assigned arm, unit, request
    /// and attempt.
    ///
    /// # Errors
    /// The database failed.
    pub fn assigned_attempts(
        &mut self,
        rows: &ExperimentRows,
        mut each: impl FnMut(AssignedAttempt),
    ) -> Result<(), LedgerError> {
        rows.attempts(self.store.as_mut(), &mut each)
    }

    /// What the devices of all runs did in a window.
    ///
    /// # Errors
    /// The database failed.
    pub fn device_use(&mut self, window: Window) -> Result<DeviceUse, LedgerError> {
        let store = self.store.as_mut();
        let runs = Runs::load(store)?;
        let whole = window.end() - window.start();
        let mut used = DeviceUse::default();
        for time in invoice::device_time(store, window, whole)? {
            used.window += time.window;
            used.steps += time.steps;
            used.latest_price = runs.price(time.run).or(used.latest_price);
        }
        Ok(used)
    }

    /// The verdict of an experiment and plan that was decided, if there is one.
    ///
    /// # Errors
    /// The database failed.
    pub fn decided_verdict(
        &mut self,
        experiment: &str,
        plan: &str,
    ) -> Result<Option<DecidedVerdict>, LedgerError> {
        let params = [experiment.to_owned(), plan.to_owned()];
        let mut found = None;
        self.store.query(SELECT_VERDICT, &params, &mut |row| {
            found = Some(DecidedVerdict {
                experiment: experiment.to_owned(),
                plan: plan.to_owned(),
                decided_us: row.integer(0)?,
                verdict: row.text(1)?.unwrap_or_default(),
            });
            Ok(())
        })?;
        Ok(found)
    }
}
