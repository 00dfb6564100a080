//! Routes files, right and wrong.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;

use farthing_gateway::{
    Arm, CheckOutcome, FallbackReason, RequestFacts, Route, RoutesFile, Situation, Target, Unit,
};
use rust_decimal::Decimal;
use serde_json::json;

const FILE: &str = r#"
[vendors.cheap]
dialect = "openai"
base_url = "http://127.0.0.1:9/v1"

[routes.assistant]
unit = "session"
salt = "2026-11"
fallback = ["theirs"]
clients_may_choose = true

[routes.assistant.arms]
ours = { model = "legal", weight = 90 }
theirs = { model = "small", vendor = "cheap", weight = 10 }

[routes.assistant.shadow]
arm = "theirs"
share = 0.25

[[routes.assistant.rules]]
arm = "theirs"
when = { prompt_tokens_above = 100 }

[[routes.assistant.rules]]
arm = "theirs"
when = { tools = true, tags = { tier = "gold" } }

[[routes.assistant.rules]]
arm = "theirs"
when = { languages = ["deu"] }

[[routes.assistant.rules]]
arm = "theirs"
when = { own_waiting_above = 8 }

[[routes.assistant.rules]]
arm = "theirs"
when = { cheaper_than = "ours", predicted_usd_above = "0.001" }

[routes.assistant.checks.is_json]
json_schema = { type = "object", required = ["answer"] }

[routes.assistant.checks.polite]
regex = "(?i)please"

[routes.assistant.checks.right]
equals_metadata = "reference"

[routes.assistant.checks.same]
json_equals_metadata = "reference"
"#;

struct Calm;

impl Situation for Calm {
    fn own_waiting(&self) -> usize {
        0
    }

    fn own_first_token_seconds(&self) -> Option<f64> {
        None
    }

    fn predicted_usd(&self, _arm: &Arm) -> Option<Decimal> {
        None
    }
}

struct Busy;

impl Situation for Busy {
    fn own_waiting(&self) -> usize {
        9
    }

    fn own_first_token_seconds(&self) -> Option<f64> {
        Some(3.0)
    }

    fn predicted_usd(&self, _arm: &Arm) -> Option<Decimal> {
        None
    }
}

/// The vendor is cheaper.
struct Expensive;

impl Situation for Expensive {
    fn own_waiting(&self) -> usize {
        0
    }

    fn own_first_token_seconds(&self) -> Option<f64> {
        None
    }

    fn predicted_usd(&self, arm: &Arm) -> Option<Decimal> {
        Some(Decimal::new(if arm.is_own() { 3 } else { 2 }, 3))
    }
}

fn route() -> Route {
    (*RoutesFile::parse(FILE).unwrap().routes["assistant"]).clone()
}

fn facts(body: serde_json::Value) -> RequestFacts {
    RequestFacts::of(body.as_object().unwrap())
}

fn says(text: &str) -> serde_json::Value {
    json!({"messages": [{"role": "user", "content": text}]})
}

#[test]
fn a_file_becomes_routes() {
    let file = RoutesFile::parse(FILE).unwrap();
    assert_eq!(file.vendors.keys().collect::<Vec<_>>(), ["cheap"]);
    let route = &file.routes["assistant"];
    assert_eq!(route.arm("ours").unwrap().weight, 90.0);
    let target = Target::Vendor {
        vendor: "cheap".to_owned(),
        model: "small".to_owned(),
    };
    assert_eq!(route.arm("theirs").unwrap().target, target);
    assert_eq!(route.experiment, "assistant");
    assert!(route.is_split());
}

#[test]
fn the_first_rule_that_applies_chooses() {
    let route = route();
    let chosen = |body, situation: &dyn Situation| {
        let arm = route.by_rule(&facts(body), situation);
        arm.map(|arm| arm.name.clone())
    };
    let theirs = Some("theirs".to_owned());
    assert_eq!(chosen(says("Hello there"), &Calm), None);
    assert_eq!(chosen(says(&"word ".repeat(100)), &Calm), theirs);
    let mut tools = says("Hello there");
    tools["tools"] = json!([{"type": "function", "function": {"name": "f"}}]);
    assert_eq!(chosen(tools.clone(), &Calm), None, "the tag is missing");
    tools["metadata"] = json!({"tier": "gold"});
    assert_eq!(chosen(tools, &Calm), theirs);
    let german = "Guten Tag, ich hätte gerne gewusst, wann mein Paket bei mir ankommt.";
    assert_eq!(chosen(says(german), &Calm), theirs);
    assert_eq!(chosen(says("Hello there"), &Busy), theirs);
    assert_eq!(chosen(says("Hello there"), &Expensive), theirs);
}

#[test]
fn failures_lead_to_the_next_arm_that_has_not_failed() {
    let route = route();
    let next = |failed: &[&str]| {
        let arm = route.after_failure(failed, FallbackReason::Overload);
        arm.map(|arm| arm.name.clone())
    };
    assert_eq!(next(&["ours"]), Some("theirs".to_owned()));
    assert_eq!(next(&["ours", "theirs"]), None);
}

#[test]
fn shadows_take_their_share_of_units_and_always_the_same() {
    let route = route();
    let shadowed = |number: u32| {
        let unit = Unit::from_text(format!("user:{number}"));
        route.shadows(&unit).is_some()
    };
    let share = (0..20_000).filter(|number| shadowed(*number)).count();
    assert!((4_700..5_300).contains(&share), "{share}");
    assert_eq!(shadowed(7), shadowed(7));
}

#[test]
fn a_ramp_moves_units_step_by_step_and_never_back() {
    let text = FILE.replace(
        "theirs = { model = \"small\", vendor = \"cheap\", weight = 10 }",
        "theirs = { model = \"small\", vendor = \"cheap\" }",
    ) + "
[routes.assistant.ramp]
arm = \"theirs\"
begins = \"2026-11-28T00:00:00Z\"
step_hours = 24
shares = [0.01, 0.1, 1.0]
";
    let file = RoutesFile::parse(&text).unwrap();
    let route = &file.routes["assistant"];
    let moved = |day: &str, rolled_back| {
        let now = format!("{day}T12:00:00Z").parse().unwrap();
        let units = (0..20_000).filter(|number| {
            let unit = Unit::from_text(format!("user:{number}"));
            route.assign(&unit, now, rolled_back).name == "theirs"
        });
        units.collect::<Vec<_>>()
    };
    assert_eq!(moved("2026-11-27", None), Vec::<u32>::new());
    let first = moved("2026-11-28", None);
    let second = moved("2026-11-29", None);
    assert!((150..250).contains(&first.len()), "{}", first.len());
    assert!((1_850..2_150).contains(&second.len()), "{}", second.len());
    assert!(first.iter().all(|unit| second.contains(unit)));
    assert_eq!(moved("2026-11-30", None).len(), 20_000);
    assert_eq!(moved("2027-01-01", None).len(), 20_000);
    assert_eq!(moved("2026-11-30", Some("theirs")), Vec::<u32>::new());
}

#[test]
fn checks_pass_fail_or_do_not_apply() {
    let route = route();
    let tags = BTreeMap::from([("reference", "42")]);
    let run = |name: &str, answer: &str| {
        let check = route
            .checks
            .iter()
            .find(|check| check.name() == name)
            .unwrap();
        check.run(answer, |tag| Some((*tags.get(tag)?).to_owned()))
    };
    assert_eq!(run("is_json", r#"{"answer": 1}"#), CheckOutcome::Passed);
    assert!(
        matches!(run("is_json", r#"{"other": 1}"#), CheckOutcome::Failed(why) if why.contains("answer"))
    );
    assert!(matches!(run("is_json", "Sure!"), CheckOutcome::Failed(_)));
    assert_eq!(run("polite", "Please wait."), CheckOutcome::Passed);
    assert!(matches!(run("polite", "Wait."), CheckOutcome::Failed(_)));
    assert_eq!(run("right", " 42\n"), CheckOutcome::Passed);
    assert!(matches!(run("right", "41"), CheckOutcome::Failed(_)));
    assert_eq!(run("same", "42"), CheckOutcome::Passed);
    assert_eq!(run("same", "```json\n42\n```"), CheckOutcome::Passed);
    assert!(matches!(run("same", "43"), CheckOutcome::Failed(_)));
    assert!(matches!(run("same", "It is 42."), CheckOutcome::Failed(why) if why.contains("JSON")));
    let same = route.checks.iter().find(|check| check.name() == "same");
    let order = |answer: &str| {
        let reference = |_: &str| Some(r#"{"a": 1, "b": [2]}"#.to_owned());
        same.unwrap().run(answer, reference)
    };
    assert_eq!(order("{\"b\":[2],\"a\":1}"), CheckOutcome::Passed);
    assert!(matches!(order("{\"b\":[2]}"), CheckOutcome::Failed(_)));
    let right = route
        .checks
        .iter()
        .find(|check| check.name() == "right")
        .unwrap();
    assert_eq!(right.run("42", |_| None), CheckOutcome::NotApplicable);
}

#[test]
fn wrong_files_name_the_key() {
    let cases = [
        (
            "fallback = [\"theirs\"]",
            "fallback = [\"nobody\"]",
            "routes.assistant.fallback: there is no arm \"nobody\": the arms are ours, theirs",
        ),
        (
            "vendor = \"cheap\"",
            "vendor = \"dear\"",
            "routes.assistant.arms.theirs.vendor: there is no [vendors.dear] in this file",
        ),
        (
            "weight = 90",
            "weight = -1",
            "routes.assistant.arms.ours.weight: -1 is no weight",
        ),
        (
            "weight = 90",
            "weights = 90",
            "routes.assistant.arms.ours: unknown field `weights`",
        ),
        (
            "share = 0.25",
            "share = 25",
            "routes.assistant.shadow.share: give a share above 0 and at most 1",
        ),
        (
            "languages = [\"deu\"]",
            "languages = [\"de\"]",
            "routes.assistant.rules[2].when.languages: \"de\" is no language",
        ),
        (
            "own_waiting_above = 8",
            "",
            "routes.assistant.rules[3].when: a rule needs a condition",
        ),
        (
            "cheaper_than = \"ours\"",
            "cheaper_than = \"us\"",
            "routes.assistant.rules[4].when.cheaper_than: there is no arm \"us\"",
        ),
        (
            "regex = \"(?i)please\"",
            "regex = \"(\"",
            "routes.assistant.checks.polite.regex: ",
        ),
        (
            "regex = \"(?i)please\"",
            "",
            "routes.assistant.checks.polite: give one of json_schema, regex, equals_metadata and json_equals_metadata",
        ),
        (
            "type = \"object\"",
            "type = \"thing\"",
            "routes.assistant.checks.is_json.json_schema: ",
        ),
        (
            "unit = \"session\"",
            "unit = \"planet\"",
            "unknown variant `planet`",
        ),
        (
            "[vendors.cheap]\n",
            "[vendors.\"che ap\"]\n",
            "a name has 1 to 100 ASCII characters and no spaces",
        ),
        (
            "dialect = \"openai\"",
            "dialect = \"klingon\"",
            "unknown variant `klingon`",
        ),
    ];
    for (right, wrong, expected) in cases {
        assert!(FILE.contains(right), "{right}");
        let text = FILE.replacen(right, wrong, 1);
        let error = RoutesFile::parse(&text).unwrap_err().to_string();
        assert!(error.contains(expected), "{wrong}: {error}");
    }
}

#[test]
fn a_schema_reaches_nothing_outside_itself() {
    let text = FILE.replace(
        "{ type = \"object\", required = [\"answer\"] }",
        "{ \"$ref\" = \"file:///etc/passwd\" }",
    );
    let error = RoutesFile::parse(&text).unwrap_err().to_string();
    assert!(
        error.starts_with("routes.assistant.checks.is_json.json_schema: "),
        "{error}"
    );
}
