//! Usage and costs from the ledger, in the format of OpenAI's admin API.

use std::collections::BTreeMap;

use farthing_api::{
    Amount, CompletionsUsage, Costs, Currency, OrganizationQuery, UsageBucket, UsageGroup,
    UsagePage,
};
use farthing_ledger::{
    Charge, Filter, GroupBy, GroupKey, Invoice, InvoiceLine, Item, LedgerError, LedgerReader,
    Outcome, Picoseconds, Usage, Window,
};
use rust_decimal::Decimal;

/// Answers `GET /v1/organization/usage/completions`. `now` is in Unix seconds.
pub(crate) fn usage(
    ledger: &mut LedgerReader,
    query: &OrganizationQuery,
    now: i64,
) -> Result<UsagePage<CompletionsUsage>, LedgerError> {
    let stretches = match window(query, now)? {
        Some(window) => ledger.usage(
            window,
            query.bucket_seconds,
            group_by(query),
            &filter(query),
        )?,
        None => BTreeMap::new(),
    };
    Ok(page(query, now, |start| {
        let mut groups: BTreeMap<&GroupKey, Usage> = BTreeMap::new();
        // Refused requests never reached the model.
        let reached = stretches.get(&start).into_iter().flatten();
        for ((key, _), usage) in reached.filter(|((_, outcome), _)| *outcome != Outcome::Refused) {
            *groups.entry(key).or_default() += usage;
        }
        let results = groups.into_iter();
        results
            .map(|(key, usage)| completions(key, &usage))
            .collect()
    }))
}

/// Answers `GET /v1/organization/costs`. `now` is in Unix seconds.
pub(crate) fn costs(
    ledger: &mut LedgerReader,
    query: &OrganizationQuery,
    now: i64,
) -> Result<UsagePage<Costs>, LedgerError> {
    // The names of line items begin with the name of the model.
    let by = GroupBy {
        model: true,
        ..group_by(query)
    };
    let invoices = match window(query, now)? {
        Some(window) => ledger.invoices(window, query.bucket_seconds, by, &filter(query))?,
        None => BTreeMap::new(),
    };
    Ok(page(query, now, |start| match invoices.get(&start) {
        Some(invoice) => folded(query, invoice),
        None => Vec::new(),
    }))
}

/// The window of the query's page; `None` if it is in the future.
fn window(query: &OrganizationQuery, now: i64) -> Result<Option<Window>, LedgerError> {
    let (start, end) = (query.start_time, page_end(query, now));
    if start < end {
        Window::new(start, end).map(Some)
    } else {
        Ok(None)
    }
}

fn page_end(query: &OrganizationQuery, now: i64) -> i64 {
    let most = query.start_time + query.limit as i64 * query.bucket_seconds;
    most.min(end(query, now))
}

/// The end of the last bucket of all pages.
fn end(query: &OrganizationQuery, now: i64) -> i64 {
    let width = query.bucket_seconds;
    let end = query.end_time.unwrap_or(now + 1);
    (end + width - 1).div_euclid(width) * width
}

fn page<R>(query: &OrganizationQuery, now: i64, results: impl Fn(i64) -> Vec<R>) -> UsagePage<R> {
    let width = query.bucket_seconds;
    let page_end = page_end(query, now);
    let starts = (query.start_time..page_end).step_by(width as usize);
    let has_more = page_end < end(query, now);
    UsagePage {
        data: starts
            .map(|start| UsageBucket {
                start_time: start,
                end_time: start + width,
                results: results(start),
            })
            .collect(),
        has_more,
        next_page: has_more.then(|| OrganizationQuery::page_at(page_end)),
    }
}

fn group_by(query: &OrganizationQuery) -> GroupBy {
    GroupBy {
        model: query.groups_by(UsageGroup::Model),
        adapter: query.groups_by(UsageGroup::Adapter),
        tenant: query.groups_by(UsageGroup::Tenant),
        user: query.groups_by(UsageGroup::User),
        api_key: query.groups_by(UsageGroup::ApiKey),
    }
}

fn filter(query: &OrganizationQuery) -> Filter {
    Filter {
        models: query.models.clone(),
        adapters: query.adapters.clone(),
        tenants: query.tenants.clone(),
        users: query.user_ids.clone(),
        api_keys: query.api_key_ids.clone(),
    }
}

fn completions(key: &GroupKey, usage: &Usage) -> CompletionsUsage {
    let key = key.clone();
    CompletionsUsage {
        input_tokens: usage.input_tokens,
        input_cached_tokens: usage.cached_tokens,
        output_tokens: usage.output_tokens,
        num_model_requests: usage.requests,
        user_id: key.user,
        api_key_id: key.api_key,
        model: key.model,
        adapter: key.adapter,
        tenant: key.tenant,
        ..CompletionsUsage::default()
    }
}

/// The smallest unit of costs.
struct Piece {
    line_item: String,
    /// Whether it belongs to requests, not to the time between them.
    is_served: bool,
    key: GroupKey,
    charge: Charge,
    quantity: Decimal,
    unit: &'static str,
}

/// The pieces of the invoice, summed by group.
fn folded(query: &OrganizationQuery, invoice: &Invoice) -> Vec<Costs> {
    let by_line_item = query.groups_by(UsageGroup::LineItem);
    let by_model = query.groups_by(UsageGroup::Model);
    let is_grouped = by_line_item || group_by(query) != GroupBy::default();
    let mut groups: BTreeMap<(Option<String>, GroupKey), (Charge, Decimal, &str)> = BTreeMap::new();
    for piece in invoice.lines.iter().flat_map(pieces) {
        if !query.line_items.is_empty() && !query.line_items.contains(&piece.line_item) {
            continue;
        }
        let is_named = by_line_item || is_grouped && !piece.is_served;
        let line_item = is_named.then_some(piece.line_item);
        let model = piece.key.model.filter(|_| by_model);
        let key = GroupKey { model, ..piece.key };
        let group = groups.entry((line_item, key));
        let (charge, quantity, unit) =
            group.or_insert((Charge::default(), Decimal::ZERO, piece.unit));
        *charge += piece.charge;
        *quantity += piece.quantity;
        *unit = piece.unit;
    }
    let costs =
        |((line_item, key), (charge, quantity, unit)): ((_, GroupKey), (Charge, _, _))| Costs {
            amount: Amount {
                value: charge.usd,
                currency: Currency::Usd,
            },
            line_item,
            quantity: by_line_item.then_some(quantity),
            quantity_unit: by_line_item.then_some(unit),
            project_id: None,
            user_id: key.user,
            api_key_id: key.api_key,
            model: key.model,
            adapter: key.adapter,
            tenant: key.tenant,
        };
    groups.into_iter().map(costs).collect()
}

fn pieces(line: &InvoiceLine) -> Vec<Piece> {
    const TOKENS: &str = "tokens";
    const SECONDS: &str = "duration_seconds";
    let usage = &line.usage;
    if line.item != Item::Served {
        return vec![Piece {
            line_item: line.item.as_str().to_owned(),
            is_served: false,
            key: line.key.clone(),
            charge: usage.device,
            quantity: usage.device.time.seconds(),
            unit: SECONDS,
        }];
    }
    let model = line.key.model.as_deref().unwrap_or_default();
    let piece = |what: &str, charge, quantity, unit| Piece {
        line_item: format!("{model}, {what}"),
        is_served: true,
        key: line.key.clone(),
        charge,
        quantity,
        unit,
    };
    let computed = usage.input_tokens - usage.cached_tokens;
    let mut pieces = vec![
        piece("input_tokens", usage.input, computed.into(), TOKENS),
        piece(
            "cached_input_tokens",
            usage.cached,
            usage.cached_tokens.into(),
            TOKENS,
        ),
        piece(
            "output_tokens",
            usage.output,
            usage.output_tokens.into(),
            TOKENS,
        ),
    ];
    let rest = usage.unsplit();
    if rest.time != Picoseconds::default() {
        pieces.push(piece("not_split", rest, rest.time.seconds(), SECONDS));
    }
    pieces
}
