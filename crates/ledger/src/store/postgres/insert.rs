//! Inserting attempts into PostgreSQL.

use tokio_postgres::Transaction;

use super::storable::{MAX_NAME_BYTES, MAX_USER_BYTES, bounded, storable};
use crate::bill::Bill;
use crate::store::INSERT_ATTEMPTS;
use crate::{AssignedArm, LedgerEntry, LedgerError, Routing, VendorCharge};

/// Inserts all rows with one statement, one array per column.
pub(super) async fn insert_attempts(
    transaction: &mut Transaction<'_>,
    run: i64,
    entries: &[(i64, LedgerEntry)],
) -> Result<(), LedgerError> {
    fn column<'a, T>(
        entries: &'a [(i64, LedgerEntry)],
        value: impl Fn(&'a LedgerEntry) -> T,
    ) -> Vec<T> {
        entries.iter().map(|(_, entry)| value(entry)).collect()
    }
    let integers = |value: fn(&LedgerEntry) -> i64| column(entries, value);
    let reals = |value: fn(&LedgerEntry) -> Option<f64>| column(entries, value);
    let texts = |value: fn(&LedgerEntry) -> Option<&str>| {
        column(entries, |entry| value(entry).map(storable))
    };
    let names = |value: fn(&LedgerEntry) -> Option<&str>| {
        column(entries, |entry| {
            value(entry).map(|text| bounded(text, MAX_NAME_BYTES))
        })
    };
    let users = column(entries, |entry| {
        let user = entry.user.as_deref();
        user.map(|user| bounded(user, MAX_USER_BYTES))
    });
    let units = column(entries, |entry| {
        let unit = assigned(entry).map(|assigned| assigned.unit.as_str());
        unit.map(|unit| bounded(unit, MAX_USER_BYTES))
    });
    let bills = |part: fn(Bill) -> i64| {
        column(entries, |entry| {
            let (bill, _) = vendor(entry)?.stored();
            bill.map(part)
        })
    };
    let seqs: Vec<i64> = entries.iter().map(|(seq, _)| *seq).collect();
    let costs = column(entries, |entry| entry.cost_usd.map(|cost| cost.to_string()));
    let statement = format!(
        "{INSERT_ATTEMPTS} SELECT $1, seq, ended_us, started_us, request_id, api_key, user_id, \
         model, adapter, adapter_generation, input_tokens, cached_tokens, output_tokens, \
         device_ps, input_ps, cached_ps, output_ps, cost_usd::numeric, queue_seconds, \
         ttft_seconds, itl_p50_seconds, itl_p95_seconds, outcome, status, prompt, tenant, route, role, \
         attempt, arm, experiment, assigned_arm, unit, booked_to, vendor, vendor_model, \
         vendor_usage, billed_nanos, billed_attos, basis FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], \
         $7::text[], $8::text[], $9::text[], $10::text[], $11::bigint[], $12::bigint[], \
         $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[], $18::text[], \
         $19::float8[], $20::float8[], $21::float8[], $22::float8[], $23::text[], $24::bigint[], \
         $25::text[], $26::text[], $27::text[], $28::text[], $29::bigint[], $30::text[], \
         $31::text[], $32::text[], $33::text[], $34::text[], $35::text[], $36::text[], \
         $37::text[], $38::bigint[], $39::bigint[], $40::text[]) \
         AS row (seq, ended_us, started_us, request_id, api_key, user_id, model, adapter, \
         adapter_generation, input_tokens, cached_tokens, output_tokens, device_ps, input_ps, \
         cached_ps, output_ps, cost_usd, queue_seconds, ttft_seconds, itl_p50_seconds, \
         itl_p95_seconds, outcome, status, prompt, tenant, route, role, attempt, arm, experiment, \
         assigned_arm, unit, booked_to, vendor, vendor_model, vendor_usage, billed_nanos, \
         billed_attos, basis) ON CONFLICT DO NOTHING"
    );
    transaction
        .execute(
            &statement,
            &[
                &run,
                &seqs,
                &integers(|entry| entry.ended_us),
                &integers(|entry| entry.started_us),
                &names(|entry| Some(&entry.request_id)),
                &names(|entry| entry.api_key.as_deref()),
                &users,
                &names(|entry| Some(&entry.model)),
                &names(|entry| entry.adapter.as_deref()),
                &texts(|entry| entry.adapter_generation.as_deref()),
                &integers(|entry| entry.input_tokens as i64),
                &integers(|entry| entry.cached_tokens as i64),
                &integers(|entry| entry.output_tokens as i64),
                &integers(|entry| entry.device_time.stored()),
                &integers(|entry| entry.input_time.stored()),
                &integers(|entry| entry.cached_time.stored()),
                &integers(|entry| entry.output_time.stored()),
                &costs,
                &reals(|entry| entry.queue_seconds),
                &reals(|entry| entry.ttft_seconds),
                &reals(|entry| entry.itl_p50_seconds),
                &reals(|entry| entry.itl_p95_seconds),
                &texts(|entry| Some(entry.outcome.as_str())),
                &integers(|entry| entry.status.into()),
                &texts(|entry| entry.prompt.as_deref()),
                &names(|entry| entry.tenant.as_deref()),
                &names(|entry| Some(&routing(entry)?.route)),
                &texts(|entry| Some(routing(entry)?.role.as_str())),
                &column(entries, |entry| Some(i64::from(routing(entry)?.attempt))),
                &names(|entry| Some(&routing(entry)?.arm)),
                &names(|entry| Some(&assigned(entry)?.experiment)),
                &names(|entry| Some(&assigned(entry)?.arm)),
                &units,
                &names(|entry| routing(entry)?.booked_to()),
                &names(|entry| Some(&vendor(entry)?.vendor)),
                &names(|entry| Some(&vendor(entry)?.model)),
                &texts(|entry| vendor(entry)?.usage_json.as_deref()),
                &bills(|bill| bill.nanos),
                &bills(|bill| bill.attos),
                &texts(|entry| Some(vendor(entry)?.stored().1.as_str())),
            ],
        )
        .await?;
    Ok(())
}

fn routing(entry: &LedgerEntry) -> Option<&Routing> {
    entry.routing.as_ref()
}

fn assigned(entry: &LedgerEntry) -> Option<&AssignedArm> {
    routing(entry)?.assigned.as_ref()
}

fn vendor(entry: &LedgerEntry) -> Option<&VendorCharge> {
    entry.vendor.as_ref()
}
