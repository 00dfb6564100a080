//! From the ledger's rows to sums by unit.

use std::collections::BTreeMap;

use farthing_ledger::{
    AssignedAttempt, AssignedRequest, ChargeBasis, ExperimentRows, LedgerReader, Outcome, Role,
};
use rust_decimal::Decimal;

use super::ReportError;
use super::arm_rows::{ArmRows, OwnTime, UnitRow};
use super::time::Period;
use crate::ExperimentSpec;

/// All arms of an experiment by name.
#[derive(Default)]
pub(super) struct Collected {
    arms: BTreeMap<String, ArmRows>,
    judge_own: OwnTime,
    judge_vendors_usd: Decimal,
    judge_unknown_bills: u64,
}

pub(super) fn collect(
    ledger: &mut LedgerReader,
    spec: &ExperimentSpec,
    period: &Period,
) -> Result<Collected, ReportError> {
    let rows = ExperimentRows {
        experiment: spec.id.clone(),
        from_us: period.from_us,
        until_us: period.until_us,
    };
    let mut requests = Requests::new(spec);
    ledger.assigned_requests(&rows, &spec.quality.metric, |row| requests.add(row))?;
    let mut collected = Collected {
        arms: requests.finish(),
        ..Collected::default()
    };
    let mut attempts = Attempts::new(&mut collected);
    ledger.assigned_attempts(&rows, |row| attempts.add(row))?;
    attempts.finish();
    Ok(collected)
}

impl Collected {
    /// Takes an arm out.
    pub(super) fn take(&mut self, arm: &str) -> ArmRows {
        self.arms.remove(arm).unwrap_or_else(|| ArmRows {
            name: arm.to_owned(),
            ..ArmRows::default()
        })
    }

    /// The arms that are left.
    pub(super) fn into_arms(self) -> impl Iterator<Item = ArmRows> {
        self.arms.into_values()
    }

    /// `None` if it is not known.
    pub(super) fn judge_usd(&self) -> Option<Decimal> {
        let own = self.judge_own.busy_usd()?;
        (self.judge_unknown_bills == 0).then_some(own + self.judge_vendors_usd)
    }
}

/// Reads assigned requests, which come by arm, unit and request.
struct Requests<'a> {
    spec: &'a ExperimentSpec,
    arms: BTreeMap<String, ArmRows>,
    arm: ArmRows,
    request_id: String,
    /// The values of the present request: their sum and number.
    values: (f64, u32),
}

impl<'a> Requests<'a> {
    fn new(spec: &'a ExperimentSpec) -> Self {
        Self {
            spec,
            arms: BTreeMap::new(),
            arm: ArmRows::default(),
            request_id: String::new(),
            values: (0.0, 0),
        }
    }

    fn add(&mut self, row: AssignedRequest) {
        let is_new_arm = self.arm.units.is_empty() || row.arm != self.arm.name;
        let is_new_unit = is_new_arm
            || self
                .arm
                .units
                .last()
                .is_none_or(|(unit, _)| *unit != row.unit);
        if is_new_unit || row.request_id != self.request_id {
            self.close_request();
            self.request_id = row.request_id;
            if is_new_arm {
                self.close_arm();
                self.arm.name = row.arm;
            }
            if is_new_unit {
                self.arm.units.push((row.unit, UnitRow::default()));
            }
            if let Some((_, unit)) = self.arm.units.last_mut() {
                unit.requests += 1;
            }
        }
        let source = row.source.filter(|it| self.spec.quality.from.includes(it));
        if let Some(value) = source.and(row.value) {
            self.values.0 += value;
            self.values.1 += 1;
        }
    }

    fn close_request(&mut self) {
        let (sum, count) = std::mem::take(&mut self.values);
        if count == 0 {
            return;
        }
        if let Some((_, unit)) = self.arm.units.last_mut() {
            unit.rated += 1;
            let mean = sum / f64::from(count);
            unit.accepted += u32::from(mean >= self.spec.quality.accept_at_least);
        }
    }

    fn close_arm(&mut self) {
        let arm = std::mem::take(&mut self.arm);
        if !arm.units.is_empty() {
            self.arms.insert(arm.name.clone(), arm);
        }
    }

    fn finish(mut self) -> BTreeMap<String, ArmRows> {
        self.close_request();
        self.close_arm();
        self.arms
    }
}

/// Reads attempts, which come by assigned arm, unit, request and attempt.
struct Attempts<'a> {
    collected: &'a mut Collected,
    arm: ArmRows,
    /// The place in the arm's units.
    cursor: usize,
    /// Units without an assigned request.
    unassigned: Vec<(String, UnitRow)>,
    request: Vec<AssignedAttempt>,
}

impl<'a> Attempts<'a> {
    fn new(collected: &'a mut Collected) -> Self {
        Self {
            collected,
            arm: ArmRows::default(),
            cursor: 0,
            unassigned: Vec::new(),
            request: Vec::new(),
        }
    }

    fn add(&mut self, attempt: AssignedAttempt) {
        if attempt.role == Role::Judge {
            let price = attempt.price.map(|price| price.usd());
            self.collected.judge_own.add(price, attempt.device_time);
            self.collected.judge_vendors_usd += attempt.billed_usd.unwrap_or_default();
            let is_unknown = attempt.basis == Some(ChargeBasis::Unknown);
            self.collected.judge_unknown_bills += u64::from(is_unknown);
            return;
        }
        let is_same = self.request.last().is_some_and(|last| {
            (&last.request_id, &last.unit, &last.arm)
                == (&attempt.request_id, &attempt.unit, &attempt.arm)
        });
        if !is_same {
            self.close_request();
        }
        self.request.push(attempt);
    }

    fn close_request(&mut self) {
        let attempts = std::mem::take(&mut self.request);
        let Some(last) = attempts.last() else {
            return;
        };
        if last.arm != self.arm.name {
            self.close_arm();
            self.arm = self.collected.take(&last.arm);
        }
        let units = &mut self.arm.units;
        while units.get(self.cursor).is_some_and(|it| it.0 < last.unit) {
            self.cursor += 1;
        }
        let unit = match units.get_mut(self.cursor) {
            Some((name, unit)) if *name == last.unit => unit,
            _ => {
                let is_new = self.unassigned.last().is_none_or(|it| it.0 != last.unit);
                if is_new {
                    let unit = (last.unit.clone(), UnitRow::default());
                    self.unassigned.push(unit);
                }
                let Some((_, unit)) = self.unassigned.last_mut() else {
                    return;
                };
                unit
            }
        };
        add_request(unit, &attempts, last);
        let totals = &mut self.arm.totals;
        totals.aborted += u64::from(last.outcome == Outcome::Abort);
        match totals.served_by.get_mut(&last.served_arm) {
            Some(served) => *served += 1,
            None => drop(totals.served_by.insert(last.served_arm.clone(), 1)),
        }
        for attempt in &attempts {
            totals.add(attempt);
        }
    }

    fn close_arm(&mut self) {
        let mut arm = std::mem::take(&mut self.arm);
        if !self.unassigned.is_empty() {
            arm.units.append(&mut self.unassigned);
            arm.units.sort_by(|one, other| one.0.cmp(&other.0));
        }
        self.cursor = 0;
        if !arm.units.is_empty() {
            self.collected.arms.insert(arm.name.clone(), arm);
        }
    }

    fn finish(mut self) {
        self.close_request();
        self.close_arm();
    }
}

fn is_failure(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Error | Outcome::Refused)
}

/// Adds a request, whose `last` attempt decides how it ended.
fn add_request(unit: &mut UnitRow, attempts: &[AssignedAttempt], last: &AssignedAttempt) {
    unit.attempted += 1;
    if is_failure(last.outcome) {
        unit.failed += 1;
    } else {
        unit.answered += 1;
        let is_empty = last.output_tokens == 0 && last.outcome != Outcome::Abort;
        unit.empty += u32::from(is_empty);
        unit.output_tokens += last.output_tokens as f64;
        unit.ttft_seconds
            .extend(last.ttft.map(|ttft| ttft.as_secs_f64()));
    }
    for attempt in attempts {
        unit.tokens += (attempt.input_tokens + attempt.output_tokens) as f64;
        let seconds = attempt.device_time.as_secs_f64();
        if seconds > 0.0 {
            unit.device_seconds += seconds;
            let price = attempt.price.map(|price| price.usd());
            unit.busy_usd += seconds * price.map_or(0.0, float) / 3600.0;
        }
        unit.vendor_usd += attempt.billed_usd.map_or(0.0, float);
    }
}

/// The nearest float.
fn float(decimal: Decimal) -> f64 {
    f64::try_from(decimal).unwrap_or(0.0)
}

impl super::arm_rows::ArmTotals {
    fn add(&mut self, attempt: &AssignedAttempt) {
        self.attempts += 1;
        self.failed_attempts += u64::from(is_failure(attempt.outcome));
        self.retries += u64::from(attempt.role == Role::Retry);
        self.fallbacks += u64::from(attempt.role == Role::Fallback);
        self.input_tokens += attempt.input_tokens;
        self.cached_tokens += attempt.cached_tokens;
        self.output_tokens += attempt.output_tokens;
        let price = attempt.price.map(|price| price.usd());
        self.own.add(price, attempt.device_time);
        let Some(basis) = attempt.basis else {
            let name = attempt.adapter.as_deref().unwrap_or_default();
            if !self.adapters.contains_key(name) {
                self.adapters.insert(name.to_owned(), Default::default());
            }
            if let Some(adapter) = self.adapters.get_mut(name) {
                adapter.attempts += 1;
                adapter.tokens += attempt.input_tokens + attempt.output_tokens;
                adapter.own.add(price, attempt.device_time);
            }
            return;
        };
        self.vendor_attempts += 1;
        self.vendor_usd += attempt.billed_usd.unwrap_or_default();
        match basis {
            ChargeBasis::Measured => {}
            ChargeBasis::Estimated => self.estimated_bills += 1,
            ChargeBasis::Unknown => self.unknown_bills += 1,
        }
    }
}
