//! An attempt as the values of a row.

use rusqlite::types::Value;

use crate::{ChargeBasis, LedgerEntry, Routing, VendorCharge};

/// In the order of `INSERT_ATTEMPTS`.
pub(super) fn values(run: i64, seq: i64, entry: &LedgerEntry) -> [Value; 40] {
    let text = |text: &Option<String>| text.clone().map_or(Value::Null, Value::Text);
    let real = |real: Option<f64>| real.map_or(Value::Null, Value::Real);
    let some = |text: Option<&str>| text.map_or(Value::Null, |text| Value::Text(text.to_owned()));
    let integer = |integer: Option<i64>| integer.map_or(Value::Null, Value::Integer);
    let routing = entry.routing.as_ref();
    let assigned = routing.and_then(|routing| routing.assigned.as_ref());
    let vendor = entry.vendor.as_ref();
    let (bill, basis) = vendor.map(VendorCharge::stored).unzip();
    let bill = bill.flatten();
    [
        run.into(),
        seq.into(),
        entry.ended_us.into(),
        entry.started_us.into(),
        entry.request_id.clone().into(),
        text(&entry.api_key),
        text(&entry.user),
        entry.model.clone().into(),
        text(&entry.adapter),
        text(&entry.adapter_generation),
        (entry.input_tokens as i64).into(),
        (entry.cached_tokens as i64).into(),
        (entry.output_tokens as i64).into(),
        entry.device_time.stored().into(),
        entry.input_time.stored().into(),
        entry.cached_time.stored().into(),
        entry.output_time.stored().into(),
        text(&entry.cost_usd.map(|cost| cost.to_string())),
        real(entry.queue_seconds),
        real(entry.ttft_seconds),
        real(entry.itl_p50_seconds),
        real(entry.itl_p95_seconds),
        entry.outcome.as_str().to_owned().into(),
        i64::from(entry.status).into(),
        text(&entry.prompt),
        text(&entry.tenant),
        some(routing.map(|routing| &*routing.route)),
        some(routing.map(|routing| routing.role.as_str())),
        integer(routing.map(|routing| routing.attempt.into())),
        some(routing.map(|routing| &*routing.arm)),
        some(assigned.map(|assigned| &*assigned.experiment)),
        some(assigned.map(|assigned| &*assigned.arm)),
        some(assigned.map(|assigned| &*assigned.unit)),
        some(routing.and_then(Routing::booked_to)),
        some(vendor.map(|vendor| &*vendor.vendor)),
        some(vendor.map(|vendor| &*vendor.model)),
        some(vendor.and_then(|vendor| vendor.usage_json.as_deref())),
        integer(bill.map(|bill| bill.nanos)),
        integer(bill.map(|bill| bill.attos)),
        some(basis.map(ChargeBasis::as_str)),
    ]
}
