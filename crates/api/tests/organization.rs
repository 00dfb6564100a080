//! OpenAI's admin API: accepted queries, and the format of the answers.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

use farthing_api::{
    Amount, CompletionsUsage, Costs, InvalidRequest, OrganizationQuery, OrganizationReport,
    UsageBucket, UsageGroup, UsagePage,
};
use serde_json::json;

fn parse(report: OrganizationReport, query: &str) -> Result<OrganizationQuery, InvalidRequest> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| {
        let (key, value) = pair.split_once('=').unwrap();
        (key.to_owned(), value.to_owned())
    });
    OrganizationQuery::from_pairs(report, pairs.collect())
}

fn usage(query: &str) -> Result<OrganizationQuery, InvalidRequest> {
    parse(OrganizationReport::Usage, query)
}

fn costs(query: &str) -> Result<OrganizationQuery, InvalidRequest> {
    parse(OrganizationReport::Costs, query)
}

#[test]
fn defaults_are_openais() {
    let query = usage("start_time=1730419200").unwrap();
    assert_eq!(
        (
            query.start_time,
            query.end_time,
            query.bucket_seconds,
            query.limit
        ),
        (1_730_419_200, None, 86_400, 7)
    );
    let limit = |query: &str| usage(query).unwrap().limit;
    assert_eq!(limit("start_time=0&bucket_width=1h"), 24);
    assert_eq!(limit("start_time=0&bucket_width=1m"), 60);
    assert_eq!(costs("start_time=0&limit=180").unwrap().limit, 180);
}

#[test]
fn buckets_begin_at_multiples_of_their_width() {
    let start = |query: &str| usage(query).unwrap().start_time;
    assert_eq!(
        start("start_time=1795500059&bucket_width=1m"),
        1_795_500_000
    );
    assert_eq!(
        start("start_time=1795503599&bucket_width=1h"),
        1_795_500_000
    );
    assert_eq!(start("start_time=1795500000"), 1_795_478_400);
}

/// As repeated keys, as the official client writes lists, and as a comma list.
#[test]
fn lists_are_read_as_clients_write_them() {
    for list in [
        "group_by=model&group_by=user_id",
        "group_by[]=model&group_by[]=user_id",
        "group_by=model,user_id",
    ] {
        let query = usage(&format!("start_time=0&{list}")).unwrap();
        assert_eq!(
            query.group_by,
            [UsageGroup::Model, UsageGroup::User],
            "{list}"
        );
    }
    let query =
        usage("start_time=0&models[]=a&adapters=b&adapters=c&user_ids=d,e&api_key_ids=f&tenants=g");
    let query = query.unwrap();
    assert_eq!(
        [
            query.models,
            query.adapters,
            query.user_ids,
            query.api_key_ids,
            query.tenants
        ]
        .concat(),
        ["a", "b", "c", "d,e", "f", "g"]
    );
    let query = usage("start_time=0&group_by=project_id,batch,service_tier").unwrap();
    assert_eq!(query.group_by, []);
}

#[test]
fn pages_go_on_where_the_last_ended() {
    let page = OrganizationQuery::page_at(1_795_564_800);
    let query = usage(&format!("start_time=1795478400&page={page}")).unwrap();
    assert_eq!(query.start_time, 1_795_564_800);
}

#[test]
fn what_cannot_be_told_is_refused_by_name() {
    for (query, param) in [
        ("", "start_time"),
        ("start_time=yesterday", "start_time"),
        ("start_time=-1", "start_time"),
        ("start_time=99999999999999", "start_time"),
        ("start_time=5&end_time=5", "end_time"),
        ("start_time=0&bucket_width=1w", "bucket_width"),
        ("start_time=0&limit=32", "limit"),
        ("start_time=0&limit=0", "limit"),
        ("start_time=0&limit=7&limit=8", "limit"),
        ("start_time=0&group_by=color", "group_by"),
        ("start_time=0&group_by=line_item", "group_by"),
        ("start_time=0&page=next", "page"),
        ("start_time=0&page=page_1", "page"),
        ("start_time=86400&page=page_0", "page"),
        ("start_time=0&project_ids=p", "project_ids"),
        ("start_time=0&batch=true", "batch"),
        ("start_time=0&line_items=x", "line_items"),
        ("start_time=0&colour=red", "colour"),
    ] {
        match usage(query) {
            Err(refusal) => assert_eq!(refusal.param.as_deref(), Some(param), "{query}"),
            Ok(query) => panic!("{query:?}"),
        }
    }
    assert!(costs("start_time=0&group_by=line_item&line_items=a").is_ok());
}

#[test]
fn answers_have_openais_shape() {
    let page = UsagePage {
        data: vec![UsageBucket {
            start_time: 0,
            end_time: 60,
            results: vec![CompletionsUsage {
                input_tokens: 10,
                model: Some("base".to_owned()),
                ..CompletionsUsage::default()
            }],
        }],
        has_more: true,
        next_page: Some("page_3c".to_owned()),
    };
    assert_eq!(
        serde_json::to_value(&page).unwrap(),
        json!({
            "object": "page",
            "data": [{
                "object": "bucket", "start_time": 0, "end_time": 60,
                "results": [{
                    "object": "organization.usage.completions.result",
                    "input_tokens": 10, "input_cached_tokens": 0, "output_tokens": 0,
                    "input_audio_tokens": 0, "output_audio_tokens": 0, "num_model_requests": 0,
                    "project_id": null, "user_id": null, "api_key_id": null, "model": "base",
                    "batch": null, "service_tier": null, "adapter": null, "tenant": null,
                }],
            }],
            "has_more": true, "next_page": "page_3c",
        })
    );
}

/// Floats would give 0.1 + 0.2 here.
#[test]
fn money_keeps_its_digits() {
    let costs = Costs {
        amount: Amount {
            value: Some("0.0000277777777777777777777778".parse().unwrap()),
            ..Amount::default()
        },
        line_item: Some("idle".to_owned()),
        ..Costs::default()
    };
    let text = serde_json::to_string(&costs).unwrap();
    assert!(
        text.contains(r#""amount":{"value":0.0000277777777777777777777778,"currency":"usd"}"#),
        "{text}"
    );
    assert!(
        text.contains(r#""object":"organization.costs.result""#),
        "{text}"
    );
    let unpriced = serde_json::to_value(Costs::default()).unwrap();
    assert_eq!(
        unpriced["amount"],
        json!({"value": null, "currency": "usd"})
    );
}

#[test]
fn errors_show_the_beginning_of_long_values() {
    let long = "é".repeat(100_000);
    for query in ["bucket_width", "page", "group_by"] {
        let error = usage(&format!("start_time=0&{query}={long}")).unwrap_err();
        assert!(error.message.len() < 500, "{} bytes", error.message.len());
    }
}
