//! Metrics of the ledger.

use farthing_ledger::LedgerStatus;

use super::exposition::Exposition;

pub(super) fn render(page: &mut Exposition, ledger: &LedgerStatus) {
    page.counter(
        "farthing_ledger_rows_total",
        "Rows written.",
        ledger.written,
    );
    page.gauge(
        "farthing_ledger_places_taken",
        "Requests that run, and rows that wait to be written.",
        ledger.places_taken,
    );
    page.gauge(
        "farthing_ledger_places",
        "Maximum of running requests and waiting rows.",
        ledger.places,
    );
    page.counter(
        "farthing_ledger_refusals_total",
        "Requests refused because there was no place.",
        ledger.refused,
    );
    page.counter(
        "farthing_ledger_failed_flushes_total",
        "Batches that the database did not accept; each is retried.",
        ledger.failed_flushes,
    );
    page.gauge(
        "farthing_ledger_up",
        "1 if the latest batch was written, 0 if it failed or has waited for an answer for 2 seconds.",
        u8::from(ledger.error.is_none()),
    );
}
