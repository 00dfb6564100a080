//! Notes in SQLite.

use rusqlite::{OptionalExtension, Transaction, params};

use crate::store::notes::{
    INSERT_ASSIGNMENT, INSERT_VERDICT, Noted, Notes, SELECT_FEEDBACK, SELECT_REQUEST,
    SELECT_VERDICT, UPSERT_FEEDBACK,
};
use crate::{DecidedVerdict, LedgerError};

pub(super) fn write(
    transaction: &Transaction<'_>,
    notes: &Notes<'_>,
) -> Result<Noted, LedgerError> {
    let mut insert = transaction.prepare_cached(&format!(
        "{INSERT_ASSIGNMENT} VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING"
    ))?;
    for it in &notes.assignments {
        let values = params![
            it.experiment,
            it.arm,
            it.unit,
            it.request_id,
            it.assigned_us
        ];
        insert.execute(values)?;
    }
    let mut noted = Noted::default();
    for note in &notes.feedback {
        let it = note.feedback;
        let stored = transaction
            .prepare_cached(SELECT_FEEDBACK)?
            .query_row(params![it.request_id, it.metric, it.source], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        let is_known = stored.is_some()
            || note.is_request_open
            || transaction
                .prepare_cached(SELECT_REQUEST)?
                .exists([&it.request_id])?;
        if !is_known {
            noted.feedback.push(None);
            continue;
        }
        transaction
            .prepare_cached(UPSERT_FEEDBACK)?
            .execute(params![
                it.request_id,
                it.metric,
                it.source,
                it.value,
                it.comment,
                it.received_us
            ])?;
        noted.feedback.push(Some(note.change(stored.as_ref())));
    }
    for it in &notes.verdicts {
        transaction
            .prepare_cached(INSERT_VERDICT)?
            .execute(params![it.experiment, it.plan, it.decided_us, it.verdict])?;
        let mut select = transaction.prepare_cached(SELECT_VERDICT)?;
        let held = select.query_row([&it.experiment, &it.plan], |row| {
            Ok(DecidedVerdict {
                decided_us: row.get(0)?,
                verdict: row.get(1)?,
                ..(*it).clone()
            })
        })?;
        noted.verdicts.push(held);
    }
    Ok(noted)
}
