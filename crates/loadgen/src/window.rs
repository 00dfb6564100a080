//! The measured part of a load.

use farthing_economics::statistics::quantile;

use crate::record::Record;

/// From the sending of the first request after the warm-up to the sending of the last one: the load
/// is neither building up nor draining. Seconds since the start of the load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Window {
    pub from: f64,
    pub to: f64,
    /// All requests were sent within the time of one answer, so there is no steady load, and the
    /// window extends to the end of the last answer.
    pub includes_drain: bool,
}

impl Window {
    /// `None` if nothing was measured.
    pub(crate) fn of(records: &[Record], warm_up_requests: usize) -> Option<Self> {
        let measured = || records.iter().filter(|it| it.number >= warm_up_requests);
        let sent = || measured().map(|record| record.sent_at);
        let from = sent().min_by(f64::total_cmp)?;
        let to = sent().max_by(f64::total_cmp)?;
        let mut answers: Vec<f64> = measured().filter_map(Record::e2e).collect();
        answers.sort_by(f64::total_cmp);
        let includes_drain = answers.is_empty() || to - from < quantile(&answers, 0.5);
        let ended = measured().map(Record::ended_at).max_by(f64::total_cmp);
        Some(Self {
            from,
            to: if includes_drain { ended? } else { to },
            includes_drain,
        })
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.to - self.from
    }

    pub(crate) fn holds(&self, at: f64) -> bool {
        (self.from..=self.to).contains(&at)
    }
}
