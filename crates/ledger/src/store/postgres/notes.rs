//! Notes in PostgreSQL.

use tokio_postgres::Client;

use super::storable::{MAX_NAME_BYTES, MAX_USER_BYTES, bounded, storable};
use crate::store::notes::{
    INSERT_ASSIGNMENT, INSERT_VERDICT, Noted, Notes, SELECT_FEEDBACK, SELECT_REQUEST,
    SELECT_VERDICT, UPSERT_FEEDBACK,
};
use crate::{Assignment, DecidedVerdict, LedgerError};

pub(super) async fn write(client: &mut Client, notes: &Notes<'_>) -> Result<Noted, LedgerError> {
    let transaction = client.transaction().await?;
    if !notes.assignments.is_empty() {
        let names = |of: fn(&Assignment) -> &str| -> Vec<_> {
            let texts = notes.assignments.iter().map(|it| of(it));
            texts.map(|text| bounded(text, MAX_NAME_BYTES)).collect()
        };
        let units = notes.assignments.iter().map(|it| it.unit.as_str());
        let units: Vec<_> = units.map(|unit| bounded(unit, MAX_USER_BYTES)).collect();
        let moments: Vec<i64> = notes.assignments.iter().map(|it| it.assigned_us).collect();
        let insert = format!(
            "{INSERT_ASSIGNMENT} SELECT * FROM unnest($1::text[], $2::text[], $3::text[], \
             $4::text[], $5::bigint[]) ON CONFLICT DO NOTHING"
        );
        transaction
            .execute(
                &insert,
                &[
                    &names(|it| &it.experiment),
                    &names(|it| &it.arm),
                    &units,
                    &names(|it| &it.request_id),
                    &moments,
                ],
            )
            .await?;
    }
    let mut noted = Noted::default();
    for note in &notes.feedback {
        let it = note.feedback;
        let [request_id, metric, source] =
            [&it.request_id, &it.metric, &it.source].map(|text| bounded(text, MAX_NAME_BYTES));
        let stored = transaction
            .query_opt(SELECT_FEEDBACK, &[&request_id, &metric, &source])
            .await?;
        let stored = match stored {
            Some(row) => Some((row.try_get(0)?, row.try_get(1)?)),
            None => None,
        };
        let is_known = stored.is_some()
            || note.is_request_open
            || transaction
                .query_opt(SELECT_REQUEST, &[&request_id])
                .await?
                .is_some();
        if !is_known {
            noted.feedback.push(None);
            continue;
        }
        let comment = it.comment.as_deref().map(storable);
        transaction
            .execute(
                UPSERT_FEEDBACK,
                &[
                    &request_id,
                    &metric,
                    &source,
                    &it.value,
                    &comment,
                    &it.received_us,
                ],
            )
            .await?;
        noted.feedback.push(Some(note.change(stored.as_ref())));
    }
    for it in &notes.verdicts {
        let [experiment, plan] =
            [&it.experiment, &it.plan].map(|text| bounded(text, MAX_NAME_BYTES));
        let verdict = storable(&it.verdict);
        transaction
            .execute(
                INSERT_VERDICT,
                &[&experiment, &plan, &it.decided_us, &verdict],
            )
            .await?;
        let held = transaction
            .query_one(SELECT_VERDICT, &[&experiment, &plan])
            .await?;
        noted.verdicts.push(DecidedVerdict {
            decided_us: held.try_get(0)?,
            verdict: held.try_get(1)?,
            ..(*it).clone()
        });
    }
    transaction.commit().await?;
    Ok(noted)
}
